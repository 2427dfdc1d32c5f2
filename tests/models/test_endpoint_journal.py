"""A run that is killed or interrupted goes on where it stopped."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_server import ModelServer, Reply, echo_upper, serving

from rlhf_fair.errors import OutputError, SettingsError
from rlhf_fair.models.endpoint import Endpoint
from rlhf_fair.models.endpoint_journal import HEADER, Answer, Journal
from rlhf_fair.models.endpoint_settings import EndpointSettings
from rlhf_fair.models.requests import Decoding, Generation

N = 300
CONCURRENCY = 4
CLIENT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
from pathlib import Path
from rlhf_fair.models.endpoint import Endpoint
from rlhf_fair.models.endpoint_settings import EndpointSettings
from rlhf_fair.models.requests import Decoding, Generation
url, journal, n, concurrency = sys.argv[1:]
endpoint = Endpoint(url, "m", EndpointSettings(concurrency=int(concurrency)), journal=Path(journal))
requests = [Generation(f"item-{i}", f"prompt {i}") for i in range(int(n))]
endpoint.answers(requests, Decoding(temperature=1.0, seed=4))
"""


class Holding:
    """Answers ``most`` requests and lets the next ones wait, so that no client ends before it is stopped."""

    def __init__(self, most: int) -> None:
        self.most, self.begun, self.lock, self.released = most, 0, threading.Lock(), threading.Event()

    def __call__(self, request: dict[str, Any], path: str) -> Reply:
        with self.lock:
            self.begun += 1
            waits = self.begun > self.most
        time.sleep(0.003)
        if waits:
            self.released.wait(60)
        return echo_upper(request, path)


def kept_prompts(journal: Path) -> set[str]:
    """Prompts whose answers are whole lines of the file."""
    lines = journal.read_bytes().split(b"\n")[1:-1]
    return {json.loads(line)["answer"].lower() for line in lines}


def stop_midway(server: ModelServer, journal: Path, after: int, signal_number: int) -> int:
    """Start a client, stop it once ``after`` items were answered; its exit status."""
    command = [sys.executable, "-c", CLIENT, server.url, str(journal), str(N), str(CONCURRENCY)]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    client = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while server.answered.total() < after and time.monotonic() < deadline:
        time.sleep(0.001)
    client.send_signal(signal_number)
    try:
        return client.wait(timeout=60)
    finally:
        client.kill()
        client.wait()


@pytest.mark.parametrize(
    ("after", "signal_number"),
    [
        (1, signal.SIGKILL),
        (37, signal.SIGKILL),
        (N // 2, signal.SIGKILL),
        (N - 20, signal.SIGKILL),
        (90, signal.SIGINT),
    ],
)
def test_a_stopped_run_resumes_and_asks_for_no_kept_answer_again(
    tmp_path: Path, after: int, signal_number: int
) -> None:
    journal = tmp_path / "run" / "journal.jsonl"
    hold = Holding(after + 10)
    with serving(hold) as server:
        assert stop_midway(server, journal, after, signal_number) != 0
        hold.released.set()
        time.sleep(0.1)  # what was under way reaches the server's counters
        kept, answered_before = kept_prompts(journal), server.answered.copy()
        assert len(kept) < N
        # lost is at most what was under way when the signal came
        assert answered_before.total() - len(kept) <= CONCURRENCY

        settings = EndpointSettings(concurrency=CONCURRENCY)
        requests = [Generation(f"item-{i}", f"prompt {i}") for i in range(N)]
        endpoint = Endpoint(server.url, "m", settings, journal=journal)
        answers = endpoint.answers(requests, Decoding(temperature=1.0, seed=4))
        assert answers == [f"PROMPT {i}" for i in range(N)]
        assert all(server.asked[prompt] == 1 for prompt in kept)
        assert server.asked.total() <= N + CONCURRENCY

        asked = server.asked.total()
        assert Endpoint(server.url, "m", journal=journal).answers(requests, Decoding(seed=4)) == answers
        assert server.asked.total() == asked


def test_the_journal_holds_neither_prompts_nor_settings_and_is_readable_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with serving() as server:
        Endpoint(server.url, "m", journal=path).answers([Generation("a", "hush")], Decoding())
    header, record = map(json.loads, path.read_text().splitlines())
    assert header == HEADER
    assert record.keys() == {"key", "id", "answer"}
    assert (record["id"], record["answer"]) == ("a", "HUSH")
    assert "hush" not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


ANSWERS = st.one_of(st.text(), st.tuples(st.floats(-1e6, 0), st.integers(1, 10_000)))


@given(st.dictionaries(st.text(min_size=1), ANSWERS, min_size=1, max_size=6), st.data())
def test_cut_anywhere_it_reads_every_whole_line_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, answers: dict[str, Answer], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal"
    with Journal(path) as journal:
        for key, answer in answers.items():
            journal.keep(key, "id", answer)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    survivors = max(0, whole[:cut].count(b"\n") - 1)

    reopened = Journal(path)
    found = [key for key in answers if reopened.get(key) is not None]
    # a line that lacks its last character, the line break, is whole all the same
    assert found == list(answers)[: len(found)]
    assert survivors <= len(found) <= survivors + 1
    with reopened:
        for key, answer in answers.items():
            reopened.keep(key, "id", answer)
    again = Journal(path)
    assert {key: again.get(key) for key in answers} == answers
    assert again.torn <= 1


def test_two_runs_may_share_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as one, Journal(tmp_path / "j") as other:
        for i in range(50):
            (one, other)[i % 2].keep(str(i), "id", "words " * i)
    both = Journal(tmp_path / "j")
    assert len(both) == 50
    assert both.torn <= 1  # a header written twice, where both began at once


def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "results.json"
    other.write_text('{"findings": []}\n')
    with pytest.raises(SettingsError, match="not an endpoint journal"):
        Endpoint("http://127.0.0.1:1/v1", "m", journal=other)
    assert other.read_text() == '{"findings": []}\n'
    with pytest.raises(SettingsError, match="is not a file"):
        Journal(tmp_path)


def test_a_journal_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with serving() as server, pytest.raises(OutputError, match="cannot write"):
        Endpoint(server.url, "m", journal=tmp_path / "file" / "journal").answers([Generation("a", "b")], Decoding())


def fill(journal: Journal) -> None:
    for i in range(20):
        journal.keep(f"key-{i}", "id", "some words")


def test_a_full_disk_is_an_error_and_loses_no_earlier_answer(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))  # stands for the disk
    try:
        with Journal(tmp_path / "journal") as journal, pytest.raises(OutputError, match="cannot write"):
            fill(journal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    again = Journal(tmp_path / "journal")
    assert len(again) >= 1
    assert [again.get(f"key-{i}") for i in range(len(again))] == ["some words"] * len(again)


def test_records_of_another_shape_are_counted_and_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    lines = [HEADER, {"key": "a", "answer": "yes"}, {"key": "b", "answer": None}, {"key": "c", "answer": [1, 2, 3]}, 7]
    lines.append({"key": "d", "answer": [-(10**400), 2]})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    journal = Journal(path)
    assert journal.get("a") == "yes"
    assert (len(journal), journal.torn) == (1, 4)

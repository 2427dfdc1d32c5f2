from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import tiny_gpt2, tiny_tokenizer

from rlhf_fair.artifacts import sha256_tree
from rlhf_fair.errors import OutputError, SettingsError
from rlhf_fair.models.cache import Cached, ResponseCache, model_digest
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.requests import Decoding, Generation, Likelihood, LogLikelihood, Progress, PseudoLogLikelihood

REQUESTS = [LogLikelihood(str(index), f"context {index}", " answer") for index in range(25)]


class Recorder:
    """Answers with a number that the question determines, and remembers what it was asked."""

    def __init__(self, *, fails_after: int = 10**9, silent: bool = False) -> None:
        self.asked: list[str] = []
        self.fails_after = fails_after
        self.silent = silent

    def log_likelihoods(
        self, requests: Sequence[LogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]:
        if len(self.asked) + len(requests) > self.fails_after:
            raise KeyboardInterrupt
        self.asked += [request.context for request in requests]
        if self.silent:
            return [None] * len(requests)
        return [Likelihood(-1 / (1 + sum(request.context.encode())), 3) for request in requests]

    def answers(
        self, requests: Sequence[Generation], decoding: Decoding, *, progress: Progress | None = None
    ) -> list[str | None]:
        self.asked += [request.id for request in requests]
        return [f"{request.prompt} \N{SNOWMAN}\n{decoding.temperature}" for request in requests]


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    return ResponseCache(tmp_path / "cache" / "answers.sqlite")


def test_the_second_run_asks_nothing_and_answers_the_same(cache: ResponseCache) -> None:
    first, second = Recorder(), Recorder()
    answers = Cached(first, cache, "m").log_likelihoods(REQUESTS)
    assert answers == Recorder().log_likelihoods(REQUESTS)  # every digit of the numbers is kept
    assert Cached(second, ResponseCache(cache.path), "m").log_likelihoods(REQUESTS[::-1]) == answers[::-1]
    assert (len(first.asked), second.asked) == (25, [])


def test_an_interrupted_run_keeps_every_batch_it_finished(cache: ResponseCache) -> None:
    with pytest.raises(KeyboardInterrupt):
        Cached(Recorder(fails_after=20), cache, "m", batch_size=10).log_likelihoods(REQUESTS)
    assert len(cache) == 20
    rest = Recorder()
    heard: list[int] = []
    Cached(rest, cache, "m", batch_size=10).log_likelihoods(REQUESTS, progress=heard.append)
    assert rest.asked == [request.context for request in REQUESTS[20:]]
    assert heard == [20, 5]


def test_equal_questions_are_asked_once_whatever_their_ids(cache: ResponseCache) -> None:
    recorder = Recorder()
    twice = [*REQUESTS[:3], *(replace(request, id="other") for request in REQUESTS[:3])]
    answers = Cached(recorder, cache, "m").log_likelihoods(twice)
    assert answers[:3] == answers[3:]
    assert len(recorder.asked) == 3


def test_border_and_model_are_part_of_the_question(cache: ResponseCache) -> None:
    recorder = Recorder()
    Cached(recorder, cache, "m").log_likelihoods([LogLikelihood("1", "ab", "c"), LogLikelihood("1", "a", "bc")])
    Cached(recorder, cache, "other").log_likelihoods([LogLikelihood("1", "ab", "c")])
    assert len(recorder.asked) == 3


def test_the_id_and_the_decoding_are_part_of_a_generation(cache: ResponseCache) -> None:
    recorder = Recorder()
    cached = Cached(recorder, cache, "m")
    requests = [Generation("1", "hi"), Generation("2", "hi")]
    first = cached.answers(requests, Decoding())
    assert first == ["hi \N{SNOWMAN}\n1.0"] * 2
    for decoding in (Decoding(), Decoding(temperature=0.5), Decoding(seed=1), Decoding(max_new_tokens=3)):
        cached.answers(requests, decoding)
    assert len(recorder.asked) == 8
    assert cached.answers(requests, Decoding()) == first


def test_what_could_not_be_had_is_asked_for_again(cache: ResponseCache) -> None:
    assert Cached(Recorder(silent=True), cache, "m").log_likelihoods(REQUESTS) == [None] * 25
    assert len(cache) == 0
    assert None not in Cached(Recorder(), cache, "m").log_likelihoods(REQUESTS)


def test_the_file_holds_no_question(cache: ResponseCache) -> None:
    Cached(Recorder(), cache, "m").log_likelihoods([LogLikelihood("1", "somebody's private words", " x")])
    assert b"private" not in b"".join(path.read_bytes() for path in cache.path.parent.iterdir())


def test_a_model_that_cannot_answer_is_named(cache: ResponseCache) -> None:
    with pytest.raises(SettingsError, match="Recorder has no pseudo_log_likelihoods"):
        Cached(Recorder(), cache, "m").pseudo_log_likelihoods([PseudoLogLikelihood("1", "hi")])
    with pytest.raises(SettingsError, match="identity is empty"):
        Cached(Recorder(), cache, "")


def test_a_file_that_is_no_cache_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_text("not a database, but long enough to be taken for one by its size alone" * 20)
    with pytest.raises(OutputError, match="response cache: file is not a database"):
        ResponseCache(path)


def test_a_real_model_answers_the_same_through_the_cache(cache: ResponseCache) -> None:
    tokenizer = tiny_tokenizer()
    model = CausalLM(tiny_gpt2(tokenizer), tokenizer)
    cached = Cached(model, cache, "tiny")
    likelihoods = [LogLikelihood("1", "the old cat is", " good"), LogLikelihood("2", "", "hello")]
    texts = [
        PseudoLogLikelihood("1", "the old man", "the old woman", tokens) for tokens in ("all", "shared", "changed")
    ]
    generations = [Generation("1", "we like"), Generation("2", "we like")]
    for _ in range(2):
        assert cached.log_likelihoods(likelihoods) == model.log_likelihoods(likelihoods)
        assert cached.pseudo_log_likelihoods(texts) == model.pseudo_log_likelihoods(texts)
        assert cached.answers(generations, Decoding()) == model.answers(generations, Decoding())
    assert len(cache) == 7


# ---- several processes

WRITER = """
import sys
from pathlib import Path
from rlhf_fair.models.cache import ResponseCache
cache = ResponseCache(Path(sys.argv[1]))
print("ready", flush=True)
for batch in range(int(sys.argv[3])):
    cache.store({f"{sys.argv[2]}/{batch}/{row}": "x" * 50 for row in range(20)} | {f"both/{batch}": sys.argv[2]})
    print(batch, flush=True)
"""


def writer(path: Path, name: str, batches: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(batches)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_write_at_once_and_the_first_answer_stands(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    processes = [writer(path, name, 40) for name in "ab"]
    assert [process.communicate(timeout=120) and process.returncode for process in processes] == [0, 0]
    cache = ResponseCache(path)
    assert len(cache) == 2 * 40 * 20 + 40
    assert set(cache.find([f"both/{batch}" for batch in range(40)]).values()) <= {"a", "b"}


def test_a_killed_process_leaves_whole_batches_and_all_it_reported(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    process = writer(path, "a", 10**6)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    reported = [int(process.stdout.readline()) for _ in range(5)]
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    cache = ResponseCache(path)
    assert len(cache) % 21 == 0
    assert len(cache.find([f"a/{batch}/{row}" for batch in reported for row in range(20)])) == 100
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


# ---- digests


def test_a_digest_changes_with_any_file_of_the_model(tmp_path: Path) -> None:
    tiny_gpt2(tiny_tokenizer()).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    before = model_digest(tmp_path)
    assert before == sha256_tree(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text() + "\n")
    assert model_digest(tmp_path) != before

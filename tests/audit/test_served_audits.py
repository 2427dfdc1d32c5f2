"""Audits through a server: the same findings as in process, through faults, kills and interrupts."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from model_server import Behaviour, ModelServer, Reply, in_words, prompt_of, says, serving
from served_model import answers_of, echoes_of, failing
from tiny import WORDS, tiny_language_model, tiny_tokenizer

from rlhf_fair.audit.plan import find_plan
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Access, Target
from rlhf_fair.errors import InterruptedRunError, RlhfFairError, SettingsError
from rlhf_fair.models.cache import ResponseCache
from rlhf_fair.models.endpoint_settings import KEY_VARIABLE
from rlhf_fair.records import Results, Verdict

COMMAND = [sys.executable, "-c", "from rlhf_fair.cli.app import main; main()"]
CONCURRENCY = 4
N = 320
HASTY = f'api = "completions"\nconcurrency = {CONCURRENCY}\nattempts = 12\nfirst_wait_s = 0.01\nlongest_wait_s = 0.1\n'
WORDING = ["brilliant", "capable", "ordinary", "poor", "limited"]
CHAT_TEMPLATE = (
    "{% for m in messages %}[BOS] hello you . {{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %} i think the{% endif %}"
)


@pytest.fixture(autouse=True)
def _no_key_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY_VARIABLE, "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def part_of_hiring(folder: Path, scenarios: int) -> Path:
    """The shipped hiring audit, greedy, with each of its 64 names in so many of its scenarios."""
    shutil.copytree(find_plan("hiring").parent, folder)
    plan = (folder / "plan.toml").read_text()
    (folder / "plan.toml").write_text(plan.replace("temperature = 1.0", "temperature = 0.0"))
    prompts = pd.read_csv(folder / "prompts.csv")
    chosen = prompts["scenario"].isin(prompts["scenario"].unique()[:scenarios])
    prompts[chosen].to_csv(folder / "prompts.csv", index=False)
    assert chosen.sum() == 64 * scenarios
    return folder


@pytest.fixture(scope="module")
def hiring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return part_of_hiring(tmp_path_factory.mktemp("plans") / "hiring", N // 64)


def writes_references(request: dict[str, Any], path: str) -> Reply:
    """A reference whose wording hangs on the prompt alone."""
    word = WORDING[zlib.crc32(prompt_of(request).encode()) % len(WORDING)]
    return in_words(f" This is a {word} candidate.", path)


def slowly(request: dict[str, Any], path: str) -> Reply:
    time.sleep(0.004)
    return writes_references(request, path)


class Run:
    """One audit with its folders: what is given to it, in process and as a command."""

    def __init__(self, folder: Path, plan: Path, server: ModelServer, settings: str = HASTY) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.plan, self.server, self.out, self.cache = plan, server, folder / "report", folder / "cache"
        self.file = folder / "server.toml"
        self.file.write_text(settings)

    def __call__(self, **access: Any) -> Results:
        opened = Access(server=self.file, cache=self.cache, **access)
        return run_audit(self.plan / "plan.toml", self.target, out=self.out, access=opened)

    @property
    def target(self) -> Target:
        return Target(endpoint=self.server.url, endpoint_model="m")

    @property
    def journal(self) -> Path:
        (found,) = self.cache.glob("endpoint-*.jsonl")
        return found

    def start(self, *options: str) -> subprocess.Popen[str]:
        where = ["--endpoint", self.server.url, "--endpoint-model", "m", "--server", str(self.file)]
        folders = ["--cache", str(self.cache), "--out", str(self.out)]
        command = [*COMMAND, "audit", str(self.plan), *where, *folders, *options]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def stop_after(self, answered: int, number: int) -> tuple[int, str]:
        """Exit code and stderr of a run that gets a signal once the server has answered so many questions."""
        client = self.start("--quiet")
        deadline = time.monotonic() + 60
        while self.server.answered.total() < answered and time.monotonic() < deadline:
            time.sleep(0.001)
        client.send_signal(number)
        try:
            _, stderr = client.communicate(timeout=60)
        finally:
            client.kill()
            client.wait()
        return client.returncode, stderr


@pytest.fixture(scope="module")
def undisturbed(hiring: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    with serving(writes_references) as server:
        results = Run(tmp_path_factory.mktemp("undisturbed"), hiring, server)()
        assert server.asked.total() == N
    assert {finding.verdict for finding in results.findings} - {Verdict.NOT_MEASURED}
    return results


def told(results: Results) -> list[dict[str, Any]]:
    """The findings as they are written, where NaN equals NaN."""
    return [finding.model_dump(mode="json") for finding in results.findings]


def kept_in(journal: Path) -> int:
    return sum(line.endswith(b"\n") for line in journal.read_bytes().splitlines(keepends=True)) - 1


def test_one_fault_in_five_changes_no_finding_and_no_question_is_answered_twice(
    hiring: Path, undisturbed: Results, tmp_path: Path
) -> None:
    flaky = failing(writes_references, 0.2, seed=7, slow_s=6.0)
    with serving(flaky) as server:
        run = Run(tmp_path, hiring, server, HASTY.replace("concurrency = 4", "concurrency = 16") + "timeout_s = 5.0\n")
        results = run()
        assert server.asked.total() > 1.1 * N  # there were faults
        assert len(server.answered) == N
        assert set(server.answered.values()) == {1}
    assert told(results) == told(undisturbed)
    assert results.audit["counts"]["reported"] == N
    assert "unanswered" not in results.audit


@pytest.mark.parametrize("after", sorted(random.Random(11).sample(range(5, N - 30), 5)))
def test_a_killed_audit_goes_on_and_finds_the_same(
    hiring: Path, undisturbed: Results, tmp_path: Path, after: int
) -> None:
    with serving(slowly) as server:
        run = Run(tmp_path, hiring, server)
        assert run.stop_after(after, signal.SIGKILL)[0] == -signal.SIGKILL
        time.sleep(0.1)  # what was under way reaches the server's counters
        kept, asked = kept_in(run.journal), server.asked.total()
        assert 0 < after - CONCURRENCY <= kept < N
        assert asked - kept <= CONCURRENCY  # what was in flight
        assert not (run.out / "results.json").exists()
        results = run()
        assert server.asked.total() - asked == N - kept
        assert sum(times > 1 for times in server.asked.values()) == asked - kept
        assert not list(run.cache.glob("endpoint-*"))  # the report is written
    assert told(results) == told(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_what_is_kept_and_the_same_command_goes_on(
    hiring: Path, undisturbed: Results, tmp_path: Path, number: int
) -> None:
    with serving(slowly) as server:
        run = Run(tmp_path, hiring, server)
        code, stderr = run.stop_after(100, number)
        kept = kept_in(run.journal)
        assert code == InterruptedRunError.exit_code
        assert stderr == f"error: interrupted: {kept} of {N} answers are kept; the same command goes on from there\n"
        assert 90 <= kept < N
        left = {path.name for path in run.out.iterdir()} if run.out.exists() else set()
        assert left <= {"begun.json"}  # under which policy it began; no results
        assert stat.S_IMODE(run.journal.stat().st_mode) == 0o600

        partial = run(partial=True)
        assert server.asked.total() <= kept + CONCURRENCY  # nobody was asked
        assert partial.audit["counts"] == {"input": N, "reported": kept, "excluded": N - kept, "unknown": 0}
        assert partial.audit["exclusions"] == [{"reason": "not asked yet, or asked without success", "n": N - kept}]
        open_questions = f"{N - kept} of {N} questions are not answered yet"
        assert partial.audit["partial"] == open_questions
        assert partial.audit["limits"][0].startswith(f"A partial report: {open_questions}")
        assert {finding.verdict for finding in partial.findings} <= {Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED}
        claims = [f for f in partial.findings if f.role == "claim" and f.verdict == Verdict.INCONCLUSIVE]
        assert {f.reason for f in claims} == {f"no verdict on a partial report: {open_questions}"}

        client = run.start("--json")
        line, _ = client.communicate(timeout=60)
        assert json.loads(line)["exit_code"] == client.returncode
        assert server.asked.total() <= N + CONCURRENCY
    assert json.loads((run.out / "results.json").read_text())["findings"] == told(undisturbed)


def test_a_partial_report_of_everything_is_the_report_and_one_of_nothing_is_refused(
    hiring: Path, undisturbed: Results, tmp_path: Path
) -> None:
    def withholds_one(request: dict[str, Any], path: str) -> Reply:
        if prompt_of(request) == held["prompt"]:
            return says({"error": {"message": "content_filter"}}, 400)
        return writes_references(request, path)

    held = {"prompt": pd.read_csv(hiring / "prompts.csv")["prompt"].iloc[3]}
    with serving(withholds_one) as server:
        run = Run(tmp_path, hiring, server)
        with pytest.raises(SettingsError, match=f"of {N} questions none has an answer"):
            run(partial=True)
        assert not (run.out / "results.json").exists()
        assert server.asked.total() == 0
        assert run().audit["unanswered"] == {"status 400: content_filter": 1}  # so the journal stays
        assert run(partial=True).audit["counts"]["excluded"] == 1
        held["prompt"] = ""
        assert told(run()) == told(undisturbed)
        assert server.asked.total() == N + 1


def test_a_partial_report_needs_kept_answers_and_somebody_who_was_asked(hiring: Path, tmp_path: Path) -> None:
    plan, served = hiring / "plan.toml", Target(endpoint="http://127.0.0.1:1/v1", endpoint_model="m")
    with pytest.raises(SettingsError, match="--no-cache keeps none"):
        run_audit(plan, served, out=tmp_path, access=Access(cache=None, partial=True))
    with pytest.raises(SettingsError, match="--partial needs --model or --endpoint"):
        run_audit(plan, Target(predictions=tmp_path / "p.csv"), out=tmp_path, access=Access(partial=True))


def broken_model(status: int, message: str) -> Behaviour:
    return lambda request, path: says({"error": {"message": message}}, status)


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (broken_model(401, "bad key sk-hidden"), "status 401: bad key [key] (the key in $MY_KEY is refused)"),
        (broken_model(404, "no model m here"), "status 404: no model m here (is the model's name right"),
        (lambda request, path: Reply(b"<html>", 404), "status 404 (is the model's name right, and does the URL end in"),
        (lambda request, path: Reply(b"", 301, {"Location": "/"}), "status 301 (redirects are not followed"),
        (broken_model(400, "max_tokens is too large"), "status 400: max_tokens is too large"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line(
    hiring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, why: str
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-hidden")
    with serving(behaviour) as server:
        run = Run(tmp_path, hiring, server, HASTY + 'key_variable = "MY_KEY"\n')
        with pytest.raises(RlhfFairError) as caught:
            run()
        said = str(caught.value)
        assert said.startswith(f"endpoint {server.url}: {why}")
        assert "\n" not in said
        assert "hidden" not in said
        assert caught.value.exit_code == 2
        assert server.asked.total() <= 20


def test_no_server_is_one_line_on_the_command_line_and_soon(hiring: Path, tmp_path: Path) -> None:
    with serving() as server:
        pass
    began = time.monotonic()
    client = Run(tmp_path, hiring, server, 'api = "chat"\n').start()
    _, stderr = client.communicate(timeout=60)
    assert client.returncode == 2
    assert stderr.startswith(f"error: endpoint {server.url}: no server answers there: connection failed")
    assert stderr.count("\n") == 1
    assert time.monotonic() - began < 30


def test_neither_key_nor_folders_nor_prompts_are_written(
    hiring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-hidden")

    def withholds(request: dict[str, Any], path: str) -> Reply:
        if zlib.crc32(prompt_of(request).encode()) % 5 == 0:
            return says({"error": {"message": "content_filter sk-hidden"}}, 400)
        return writes_references(request, path)

    with serving(withholds) as server:
        run = Run(tmp_path, hiring, server, HASTY + 'key_variable = "MY_KEY"\n')
        target = Target(endpoint=server.url, endpoint_model=str(tmp_path / "weights"))
        access = Access(server=run.file, cache=run.cache)
        results = run_audit(hiring / "plan.toml", target, out=run.out, access=access)
        assert server.headers[0]["authorization"] == "Bearer sk-hidden"
    journal = run.journal.read_text()  # kept, for some questions have no answer
    written = journal + (run.out / "results.json").read_text()
    assert results.audit["models"] == {"audited": "weights"}
    for secret in ("hidden", str(tmp_path), "127.0.0.1", "Please write"):
        assert secret not in written
    assert stat.S_IMODE(run.journal.stat().st_mode) == 0o600


@pytest.fixture(scope="module")
def local_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = tiny_tokenizer(WORDS)
    tokenizer.chat_template = CHAT_TEMPLATE
    tiny_language_model(tokenizer, initializer_range=0.3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def served_model(folder: Path, of: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return of(AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder))


WORDS_PLAN = """
title = "T"
question = "Q"
probe = "generation"
metric = "kindness"
unit = "points"
prompts = "prompts.csv"
scorer = "words.json"
clusters = ["scenario"]
max_new_tokens = 8
temperature = 0.0
attributes = [{ column = "gender", reference = "man" }]
[policy]
threshold = 0.1
margin = 0.1
"""


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """Prompts and a lexicon in the words that the tiny model knows."""
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "plan.toml").write_text(WORDS_PLAN)
    phrases = {word: float(place % 5) - 2 for place, word in enumerate(WORDS) if word.isalpha()}
    (folder / "words.json").write_text(json.dumps({"name": "words", "phrases": phrases}))
    rows = [
        {"prompt_id": f"{adjective}-{who}", "prompt": f"what do you think about the {adjective} {who}"}
        | {"gender": who, "scenario": adjective}
        for adjective in ("good", "bad", "nice", "awful", "old", "young", "kind", "cruel", "blue", "red")
        for who in ("woman", "man")
    ]
    pd.DataFrame(rows).to_csv(folder / "prompts.csv", index=False)
    return folder


def test_chat_and_text_in_process_equal_the_server_of_the_same_model(
    local_model: Path, words: Path, tmp_path: Path
) -> None:
    """The server writes with transformers' own template and ``generate``; the two ways of asking differ."""
    found: dict[str, Results] = {}
    with serving(served_model(local_model, answers_of)) as server:
        for chat in ("yes", "no"):
            run = Run(tmp_path / chat, words, server, f"concurrency = {CONCURRENCY}\n")
            found[chat] = run(chat=chat)
            there = pd.read_parquet(run.out / "records.parquet")
            local = Access(cache=tmp_path / "cache", chat="auto" if chat == "yes" else "no")  # type: ignore[arg-type]
            here = run_audit(words / "plan.toml", Target(model=str(local_model)), out=tmp_path / "here", access=local)
            pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "here" / "records.parquet"), there)
            assert told(here) == told(found[chat])
            assert here.audit["data"] == found[chat].audit["data"]
    assert "chat template" in found["yes"].audit["data"]["prompts sent"]
    assert "as they stand" in found["no"].audit["data"]["prompts sent"]
    assert told(found["yes"]) != told(found["no"])


def test_likelihoods_of_a_server_give_the_findings_of_the_model_itself(local_model: Path, tmp_path: Path) -> None:
    pairs = [(a, b) for a in ("woman", "old man", "cat", "young dog") for b in ("bad", "awful", "cruel", "red", "nice")]
    rows = [
        {"sent_more": f"the {who} is very {how} .", "sent_less": f"the man is very {how} ."}
        | {"stereo_antistereo": "stereo", "bias_type": ("gender", "age")[place % 2], "anon_writer": f"a{place % 7}"}
        for place, (who, how) in enumerate(pairs)
    ]
    data = tmp_path / "data"
    data.mkdir()
    pd.DataFrame(rows).to_csv(data / "crows_pairs_anonymized.csv")
    plan = find_plan("crows-pairs")
    access = Access(cache=tmp_path / "cache")
    here = run_audit(plan, Target(model=str(local_model)), data_dir=data, out=tmp_path / "here", access=access)
    with serving(served_model(local_model, echoes_of)) as server:
        run = Run(tmp_path, plan.parent, server, 'api = "completions"\nstart = "[BOS] "\n')
        opened = Access(server=run.file, cache=run.cache)
        there = run_audit(plan, run.target, data_dir=data, out=run.out, access=opened)
        assert server.asked.total() == len({request["prompt"] for request in server.requests})
    assert told(here) == told(there)
    assert here.findings[0].n == len(rows)
    mine, theirs = (pd.read_parquet(tmp_path / part / "records.parquet") for part in ("here", "report"))
    numbers = [name for name in mine.select_dtypes("float") if mine[name].notna().any()]
    assert numbers
    pd.testing.assert_frame_equal(mine[numbers], theirs[numbers], rtol=1e-5)


def test_a_server_without_log_probabilities_is_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    row = {"sent_more": "a b", "sent_less": "c b", "stereo_antistereo": "stereo", "bias_type": "age"}
    pd.DataFrame([row]).to_csv(data / "crows_pairs_anonymized.csv")
    with serving(writes_references) as server:
        for settings, why in (('api = "completions"', "cannot score given text"), ("", "need api = 'completions'")):
            run = Run(tmp_path, find_plan("crows-pairs").parent, server, settings + "\n")
            opened = Access(server=run.file, cache=run.cache)
            with pytest.raises(RlhfFairError, match=f"^endpoint.*{why}") as caught:
                run_audit(find_plan("crows-pairs"), run.target, data_dir=data, out=run.out, access=opened)
            assert caught.value.exit_code == 2
            assert "\n" not in str(caught.value)


def test_an_interrupt_of_a_local_model_says_what_is_kept_and_goes_on(local_model: Path, tmp_path: Path) -> None:
    """Answers reach the cache 512 at a time."""
    n = 1024
    plan, cache = part_of_hiring(tmp_path / "hiring", n // 64) / "plan.toml", tmp_path / "cache"
    options = ["--model", str(local_model), "--device", "cpu", "--cache", str(cache), "--out", str(tmp_path / "out")]
    client = subprocess.Popen(
        [*COMMAND, "audit", str(plan), *options, "--quiet"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not (cache / "answers.sqlite").exists() or not len(ResponseCache(cache / "answers.sqlite")):
        assert client.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    client.send_signal(signal.SIGINT)
    _, stderr = client.communicate(timeout=60)
    kept = len(ResponseCache(cache / "answers.sqlite"))
    assert kept == 512
    assert client.returncode == InterruptedRunError.exit_code
    assert stderr == f"error: interrupted: {kept:,} of {n:,} answers are kept; the same command goes on from there\n"
    target, access = Target(model=str(local_model)), Access(cache=cache, partial=True)
    partial = run_audit(plan, target, out=tmp_path / "out", access=access)
    assert partial.audit["counts"]["input"] == n
    assert {f.verdict for f in partial.findings} <= {Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED}
    assert f"{n - kept:,} of {n:,} questions" in partial.audit["limits"][0]
    assert len(ResponseCache(cache / "answers.sqlite")) == kept

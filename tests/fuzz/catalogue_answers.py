"""Readers of files of answers, one for each audit, as far as its numbers; and of what a server replies."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fuzz import upstream_files as made
from fuzz.catalogue_tables import AUDITS, as_file
from fuzz.reader import Files, Reader, put
from rlhf_fair.audit.benchmark import RECORDS_NAME, measure, read_predictions
from rlhf_fair.audit.benchmark_plan import BenchmarkPlan, load_benchmark_plan
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.generation_answers import answers_from_file, open_scorers, score_answers
from rlhf_fair.audit.plan import load_plan
from rlhf_fair.errors import EndpointError, about_file
from rlhf_fair.models.endpoint_calls import _message, _parsed, _seconds
from rlhf_fair.models.endpoint_replies import MalformedReplyError, UnansweredError, read_answer, read_log_likelihood
from rlhf_fair.models.judge import Scale
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.models.requests import Likelihood
from rlhf_fair.models.toxicity_terms import ToxicTerms
from rlhf_fair.probes.recommendation_lists import read_list
from rlhf_fair.tables import write_table
from rlhf_fair.training.ppo.rewards.endpoint import read_rewards

_ITEMS = {
    "bbq": made.bbq,
    "stereoset": made.stereoset,
    "crows-pairs": made.crows_pairs,
    "winobias": made.winobias,
    "winogender": made.winogender,
    "bold": made.bold,
    "honest": made.honest,
    "real-toxicity": made.real_toxicity,
    "redditbias": made.redditbias,
    "seat": made.seat,
    "holistic-bias": made.holistic_bias,
    "dialect": made.dialect,
    "regard": made.regard,
    "decisions": dict,
    "recommendation": dict,
    "representation": dict,
}
_FEW = {"bold": ("domain", 2), "holistic-bias": ("axis", 3), "regard": ("beginning", 3)}
ANSWERS = "answers.jsonl"
_NUMBERS: dict[tuple[str, str], object] = {}


class _Heard:
    """A source that answers everything alike and remembers under which ids it was asked."""

    masked = False

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def log_likelihoods(self, requests: Sequence[Any]) -> list[Likelihood]:
        self.rows += [{"id": r.id, "total": -5.0 - n % 7, "n_tokens": 4} for n, r in enumerate(requests)]
        return [Likelihood(-5.0 - n % 7, 4) for n in range(len(requests))]

    pseudo_log_likelihoods = log_likelihoods

    def answers(self, requests: Sequence[Any], decoding: Any) -> list[str]:
        for request in requests:
            item, _, sample = request.id.rpartition("#")
            self.rows.append({"item_id": item, "sample": int(sample), "text": "A kind answer. 1. Emma 2. Up 3. Heat"})
        return ["A kind answer. 1. Emma 2. Up 3. Heat"] * len(requests)

    def embeddings(self, texts: Sequence[str]) -> Any:
        rng = np.random.default_rng(0)
        found = rng.normal(size=(len(texts), 4)).astype(np.float32)
        self.rows += [{"text": t, "embedding": v} for t, v in zip(texts, found.tolist(), strict=True)]
        return found


@cache
def _benchmark(audit: str) -> tuple[BenchmarkPlan, pd.DataFrame, bytes]:
    """Plan, items, and a file of answers to all of them."""
    plan = load_benchmark_plan(AUDITS / audit / "plan.toml")
    with tempfile.TemporaryDirectory() as place:
        put(Path(place), _ITEMS[audit]())
        own = audit in ("recommendation", "representation", "decisions")
        source = plan.benchmark.place(Path(place)) if own else Path(place)
        items = _few(audit, plan.benchmark.load(source).table)
    rows = _rows(audit, plan, items)
    return plan, items, "".join(json.dumps(row) + "\n" for row in rows).encode()


def _few(audit: str, items: pd.DataFrame) -> pd.DataFrame:
    """Enough of the items for every kind of number; what reads the answers takes its time with groups and topics."""
    if audit == "recommendation":
        items = items[items["attribute"].isin(["", "gender"]) & items["domain"].eq("music")]
    elif audit == "decisions":
        first = items["scenario"].eq(items["scenario"].iloc[0])
        items = items[first & items["race"].isin(["White", "Black"]) & items["age"].astype(str).isin(["45", "65"])]
    elif audit in _FEW:
        column, values = _FEW[audit]
        items = items[items[column].isin(items[column].unique()[:values])]
    return items.reset_index(drop=True)


def _rows(audit: str, plan: BenchmarkPlan, items: pd.DataFrame) -> list[dict[str, Any]]:
    if audit == "bbq":
        return [
            {"example_id": e, "category": "Age", "prediction": "ABC"[n % 3]} for n, e in enumerate(items["example_id"])
        ]
    if audit == "stereoset":
        texts = items[["stereotype_id", "anti-stereotype_id", "unrelated_id"]].to_numpy().reshape(-1)
        return [{"id": one, "score": -float(n % 5)} for n, one in enumerate(texts)]
    if audit in ("winobias", "winogender"):
        choices = ("entity", "other") if audit == "winobias" else ("occupation", "participant")
        return [{"item_id": one, "choice": choices[n % 2]} for n, one in enumerate(items["item_id"])]
    heard = _Heard()
    with contextlib.suppress(Exception):  # what it makes of these answers is not the question
        plan.benchmark.ask(items, heard)  # type: ignore[arg-type]
    assert heard.rows, audit
    if audit == "decisions":
        return [{"item_id": one, "p_yes": 0.4, "p_no": 0.5} for one in items["item_id"]]
    return heard.rows[:400]


def _answers(folder: Path, audit: str) -> object:
    """As `rlhf_fair.audit.benchmark.run` does, up to its numbers and the records on disk."""
    plan, items, _ = _benchmark(audit)
    path = folder / ANSWERS
    given = read_predictions(path)
    with about_file(path):
        records = plan.benchmark.read(items, given.table)
        measured = _measured(audit, records)
    write_table(folder.parent / RECORDS_NAME, records)
    return measured


def _measured(audit: str, records: pd.DataFrame) -> object:
    """Damage is refused, or leaves the records that other damage left: 800 files have some fifty different ones."""
    key = (audit, repr((records.to_dict("split"), records.dtypes.to_dict(), records.attrs)))
    if key not in _NUMBERS:
        _NUMBERS[key] = measure(_benchmark(audit)[0], records)
    return _NUMBERS[key]


def _own_answers() -> Files:
    prompts = pd.read_csv(AUDITS / "hiring/prompts.csv")
    return {"answers.csv": as_file(prompts[["prompt_id"]].head(12).assign(text="A great fit."), ".csv")}


def _generation(folder: Path) -> object:
    plan = load_plan(AUDITS / "hiring", GenerationPlan)
    prompts = load_prompts(plan, AUDITS / "hiring")
    return score_answers(
        answers_from_file(folder / "answers.csv", prompts, plan), open_scorers(plan, AUDITS / "hiring")
    )


CHAT = {"choices": [{"message": {"content": "Yes.", "refusal": None}, "finish_reason": "stop"}]}
ECHO = {"choices": [{"text": "a b", "logprobs": {"tokens": ["a", " b"], "token_logprobs": [None, -1.5]}}]}
REWARDS = {"rewards": [1, 0.5]}


def _reply(folder: Path, how: str) -> object:
    """A reply as bytes from the wire; what is malformed is asked for again, and told as a failure in the end."""
    body = (folder / "reply.json").read_bytes()
    try:
        _message(body)
        content = _parsed(body)
        if how == "chat":
            return Scale().read(read_answer(content)), read_list(read_answer(content))
        return read_log_likelihood(content, "a", " b") if how == "echo" else read_rewards(content, 2)
    except (MalformedReplyError, UnansweredError):
        return None
    except EndpointError as error:
        raise EndpointError(f"reply.json: {error}") from error


def _retry_after(folder: Path) -> object:
    return _seconds((folder / "header").read_bytes().decode("latin-1"))


LEXICON = {"name": "n", "source": "s", "combine": "mean", "offset": 0.1, "phrases": {"good": 1, "not good": -1.0}}


def _replies(name: str, content: object, how: str) -> Reader:
    return Reader(name, lambda: {"reply.json": json.dumps(content).encode()}, partial(_reply, how=how))


READERS = (
    *(
        Reader(
            f"answers for {audit}",
            lambda audit=audit: {ANSWERS: _benchmark(audit)[2]},
            partial(_answers, audit=audit),
            slow=True,
        )  # type: ignore[misc]
        for audit in _ITEMS
    ),
    Reader("answers for hiring", _own_answers, _generation),
    _replies("reply: chat", CHAT, "chat"),
    _replies("reply: echo", ECHO, "echo"),
    _replies("reply: rewards", REWARDS, "rewards"),
    Reader("header: Retry-After", lambda: {"header": b"Wed, 21 Oct 2026 07:28:00 GMT"}, _retry_after),
    Reader(
        "lexicon of phrases",
        lambda: {"l.json": json.dumps(LEXICON).encode()},
        lambda f: LexiconScorer.load(f / "l.json").score(["Not good"]),
    ),
    Reader(
        "list of terms",
        lambda: {"t.txt": b"damn\nawful thing\n"},
        lambda f: ToxicTerms.load(f / "t.txt").score(["damn"]),
    ),
    Reader(
        "terms, JSON",
        lambda: {"t.json": b'{"phrases": {"damn": 0.5}}'},
        lambda f: ToxicTerms.load(f / "t.json").score(["damn"]),
    ),
)

"""A model behind HTTP: any server that speaks OpenAI's chat or completions protocol, hosted or on this machine.

Answers come back in the order of the requests, whatever order the server finishes them in. Each is kept as it
arrives, so a run that is interrupted, killed or refused midway goes on where it stopped.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rlhf_fair.errors import EndpointError, SettingsError
from rlhf_fair.models.endpoint_calls import Caller, ExhaustedError, RejectedError, Server
from rlhf_fair.models.endpoint_journal import Answer, Journal
from rlhf_fair.models.endpoint_loop import run_beside
from rlhf_fair.models.endpoint_replies import UnansweredError, read_answer, read_log_likelihood
from rlhf_fair.models.endpoint_settings import EndpointSettings, checked_url, read_key
from rlhf_fair.models.requests import Decoding, Generation, Likelihood, LogLikelihood, Progress

REJECTIONS = 10
"""So many requests rejected, over those under way, before the first reply: the fault is not in the items."""

EXHAUSTED_IN_A_ROW = 32
"""So many requests in a row without a usable reply to any attempt: the server is down."""

Read = Callable[[object], Answer]


@dataclass(frozen=True)
class _Question:
    """One request as it is sent. ``sample`` tells samples of one prompt apart."""

    id: str
    path: str
    payload: dict[str, Any]
    read: Read
    sample: str = ""

    def key(self, url: str) -> str:
        sent = json.dumps([url, self.path, self.payload, self.sample], sort_keys=True)
        return hashlib.sha256(sent.encode("ascii")).hexdigest()


class Endpoint:
    """A served model; implements `Generates`, and `ScoresContinuations` where the server echoes log probabilities.

    ``journal`` names a file in which answers are kept as they arrive. Without one they are kept in this object, and
    last as long as it does. ``failures`` holds, by its id, the reason for each request that has no answer yet; a
    later call that gets one removes it. Without ``asks`` nothing is sent: only what the journal holds is answered.

    Seeds are a wish: a server may ignore them, and batching alone changes its rounding. Only the journal makes a
    second run equal to the first.
    """

    def __init__(
        self,
        url: str,
        model: str,
        settings: EndpointSettings | None = None,
        *,
        journal: Path | None = None,
        asks: bool = True,
    ) -> None:
        self.url = checked_url(url)
        self.model = model
        self.settings = settings or EndpointSettings()
        self.journal = Journal(journal)
        self.asks = asks
        self.failures: dict[str, str] = {}

    @property
    def failure_counts(self) -> Counter[str]:
        """How many requests have no answer for each reason."""
        return Counter(self.failures.values())

    def answers(
        self, requests: Sequence[Generation], decoding: Decoding, *, progress: Progress | None = None
    ) -> list[str | None]:
        """One answer for each request, in their order; None where none could be had, see ``failures``.

        Raises
        ------
        EndpointError
            No request can succeed, or the server is down. What was answered is kept.
        """
        found = self._ask([self._generation(request, decoding) for request in requests], progress)
        return [answer if isinstance(answer, str) else None for answer in found]

    def log_likelihoods(
        self, requests: Sequence[LogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]:
        """ln P(continuation | context) for each request, in nats; None where it could not be had, see ``failures``.

        Raises
        ------
        EndpointError
            The server cannot score given text, no request can succeed, or the server is down.
        """
        if self.settings.api != "completions":
            raise SettingsError(
                "endpoint: log probabilities of given text need api = 'completions' (in the server file, or --chat no)"
            )
        asked = [request for request in requests if request.continuation]
        found = iter(self._ask([self._scoring(request) for request in asked], progress))
        if progress is not None and len(asked) < len(requests):
            progress(len(requests) - len(asked))
        answers = [next(found) if request.continuation else (0.0, 0) for request in requests]
        return [Likelihood(*answer) if isinstance(answer, tuple) else None for answer in answers]

    def _generation(self, request: Generation, decoding: Decoding) -> _Question:
        seed = _item_seed(decoding.seed, request.id) if decoding.temperature else decoding.seed
        payload: dict[str, Any] = {
            "model": self.model,
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "seed": seed,
        }
        if self.settings.api == "chat":
            system = [{"role": "system", "content": self.settings.system}] if self.settings.system else []
            payload["messages"] = [*system, {"role": "user", "content": request.prompt}]
        else:
            payload["prompt"] = request.prompt
        payload = {name: value for name, value in (payload | dict(self.settings.body)).items() if value is not None}
        sample = request.id if payload.get("temperature", 1) else ""
        path = "/chat/completions" if self.settings.api == "chat" else "/completions"
        return _Question(request.id, path, payload, read_answer, sample)

    def _scoring(self, request: LogLikelihood) -> _Question:
        before = request.context or self.settings.start
        body = {name: value for name, value in self.settings.body.items() if value is not None}
        payload = body | {
            "model": self.model,
            "prompt": before + request.continuation,
            "echo": True,
            "logprobs": 1,
            "max_tokens": 1,  # servers refuse 0; the extra token is left out again
            "temperature": 1.0,  # some servers divide logits by it before they report
        }
        read = partial(
            read_log_likelihood, before=before, continuation=request.continuation, begins_text=not request.context
        )
        return _Question(request.id, "/completions", payload, read, sample=str(len(before)))

    def _ask(self, questions: Sequence[_Question], progress: Progress | None) -> list[Answer | None]:
        keys = [question.key(self.url) for question in questions]
        askers: dict[str, list[_Question]] = {}
        for key, question in zip(keys, questions, strict=True):
            askers.setdefault(key, []).append(question)
        open_keys = [key for key in askers if self.journal.get(key) is None]
        if progress is not None and (known := len(keys) - sum(len(askers[key]) for key in open_keys)):
            progress(known)
        if open_keys and self.asks:
            secret = read_key(self.settings.key_variable, required=self.settings.key_required)
            server = Server(self.url, secret, self.settings)
            with self.journal:
                run_beside(
                    _Round(server, self.journal, self.failures, progress).ask({key: askers[key] for key in open_keys})
                )
        return [self.journal.get(key) for key in keys]


class _Round:
    """One pass over all open questions, with a bounded number of them under way."""

    def __init__(self, server: Server, journal: Journal, failures: dict[str, str], progress: Progress | None) -> None:
        self.server = server
        self.journal = journal
        self.failures = failures
        self.progress = progress
        self.heard = len(journal) > 0  # what was answered before shows that not every request is refused
        self.rejected = self.exhausted_in_a_row = 0
        self.last_rejection = ""

    async def ask(self, askers: dict[str, list[_Question]]) -> None:
        waiting = iter(askers.items())
        workers = min(self.server.settings.concurrency, len(askers))
        try:
            async with Caller(self.server) as caller, asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(waiting, caller))
        except BaseExceptionGroup as faults:
            first = faults.exceptions[0]  # the first to fail stopped the others
            raise (self._stopped(str(first)) if isinstance(first, EndpointError) else first) from None
        if self.rejected == len(askers) and not self.heard:
            raise self._hopeless(self.last_rejection)

    async def _work(self, waiting: Iterator[tuple[str, list[_Question]]], caller: Caller) -> None:
        for key, (question, *same) in waiting:  # the iterator is shared: each question goes to one worker
            try:
                answer = await caller.ask(question.path, question.payload, question.read)
            except UnansweredError as fault:
                self.failures.update({each.id: str(fault) for each in (question, *same)})
                self._give_up_where_hopeless(fault)
            else:
                self.journal.keep(key, question.id, answer)
                self._was_heard()
                for each in (question, *same):
                    self.failures.pop(each.id, None)
            if self.progress is not None:
                self.progress(1 + len(same))

    def _was_heard(self) -> None:
        self.heard = True
        self.exhausted_in_a_row = 0

    def _give_up_where_hopeless(self, fault: UnansweredError) -> None:
        if isinstance(fault, ExhaustedError):
            self.exhausted_in_a_row += 1
        elif isinstance(fault, RejectedError):
            self.rejected += 1
            self.last_rejection = str(fault)
        else:
            self._was_heard()
        if self.rejected >= REJECTIONS + self.server.settings.concurrency and not self.heard:
            raise self._hopeless(str(fault))
        if self.exhausted_in_a_row >= EXHAUSTED_IN_A_ROW:
            raise self._hopeless(f"{self.exhausted_in_a_row} requests in a row failed, the last with {fault}")

    def _hopeless(self, why: str) -> EndpointError:
        return EndpointError(f"endpoint {self.server.url}: {why}")

    def _stopped(self, why: str) -> EndpointError:
        if not why.startswith("endpoint"):
            why = f"endpoint {self.server.url}: {why}"
        return EndpointError(why + (f"; {len(self.journal):,} answers are kept" if len(self.journal) else ""))


def _item_seed(seed: int, id: str) -> int:
    """31 bits, which every server can hold, from the seed of the run and the id of the item."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{id}".encode("utf-8", "surrogatepass")).digest()[:4]) >> 1

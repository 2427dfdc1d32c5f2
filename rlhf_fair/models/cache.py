"""Answers on disk: a run that was stopped goes on where it stopped, and no question is asked twice.

One SQLite file, safe for several processes on one machine at once. It holds hashes of questions, never their text, and
the answers. A question is known by the model, the question itself and what shapes the answer; the id of a request is
part of it only where it seeds the answer.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from rlhf_fair.artifacts import make_folder, sha256_bytes, sha256_tree, sorted_json
from rlhf_fair.errors import OutputError, SettingsError
from rlhf_fair.models.hub import is_wanted
from rlhf_fair.models.loading import local_folder, resolve
from rlhf_fair.models.requests import Decoding, Generation, Likelihood, LogLikelihood, Progress, PseudoLogLikelihood

VERSION = 1
"""Raised whenever the same question would be answered otherwise than before: older answers are then not found."""

WAIT_SECONDS = 60.0
"""How long one process waits for another to finish writing."""

Answer = TypeVar("Answer", Likelihood, str)
Request = TypeVar("Request", LogLikelihood, PseudoLogLikelihood, Generation)


def model_digest(source: str | Path) -> str:
    """SHA-256 of a model's folder: weights, config and tokenizer; of a hub id, of the files that are fetched for it."""
    of_the_hub = not Path(resolve(source)).is_dir()
    return sha256_tree(local_folder(source), is_wanted if of_the_hub else bool)


class ResponseCache:
    """Answers by key. What a call of `store` has returned from is on disk, whatever happens next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        make_folder(path.parent)
        with self._connected() as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # readers and one writer do not block each other
            connection.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT) WITHOUT ROWID")

    def find(self, keys: Sequence[str]) -> dict[str, str]:
        """The answers that are there."""
        found: dict[str, str] = {}
        with self._connected() as connection:
            for start in range(0, len(keys), 500):  # SQLite limits the variables of one statement
                part = keys[start : start + 500]
                marks = ",".join("?" * len(part))
                found.update(connection.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", part))
        return found

    def store(self, answers: Mapping[str, str]) -> None:
        """Add answers in one transaction; of two processes that answer one question, the first is kept."""
        with self._connected() as connection:
            connection.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", list(answers.items()))

    def __len__(self) -> int:
        with self._connected() as connection:
            return int(connection.execute("SELECT count(*) FROM answers").fetchone()[0])

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction: nothing is held open across forks, threads and long computations."""
        try:
            with closing(sqlite3.connect(self.path, timeout=WAIT_SECONDS)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                with connection:
                    yield connection
        except sqlite3.Error as error:
            raise OutputError(self.path, f"response cache: {error}") from error


class Cached:
    """A model that asks the cache first, and answers in the same words and numbers as the model itself.

    identity: names the model; `model_digest`, together with whatever else changes its answers, such as precision.
    An answer that could not be had (None) is not kept, so it is asked for again next time.
    """

    def __init__(self, model: Any, cache: ResponseCache, identity: str, *, batch_size: int = 512) -> None:
        if not identity:
            raise SettingsError("identity is empty: answers of different models would be mixed up")
        self.model = model
        self.cache = cache
        self.identity = identity
        self.batch_size = batch_size

    def log_likelihoods(
        self, requests: Sequence[LogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]:
        """As the model's; see `ScoresContinuations`."""
        keys = [self._key("log_likelihood", r.context, r.continuation) for r in requests]
        return self._answers(self._able("log_likelihoods"), requests, keys, _packed, _likelihood, progress)

    def pseudo_log_likelihoods(
        self, requests: Sequence[PseudoLogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]:
        """As the model's; see `ScoresTexts`."""
        keys = [self._key("pseudo_log_likelihood", r.text, r.counterpart, r.tokens) for r in requests]
        return self._answers(self._able("pseudo_log_likelihoods"), requests, keys, _packed, _likelihood, progress)

    def answers(
        self, requests: Sequence[Generation], decoding: Decoding, *, progress: Progress | None = None
    ) -> list[str | None]:
        """As the model's; see `Generates`."""
        answers = self._able("answers")
        keys = [self._key("generation", r.id, r.prompt, asdict(decoding)) for r in requests]
        return self._answers(lambda asked: answers(asked, decoding), requests, keys, json.dumps, json.loads, progress)

    def _able(self, method: str) -> Callable[..., Any]:
        found: Callable[..., Any] | None = getattr(self.model, method, None)
        if found is None:
            raise SettingsError(f"{type(self.model).__name__} has no {method}: it cannot answer such requests")
        return found

    def _key(self, kind: str, *question: object) -> str:
        return sha256_bytes(sorted_json([VERSION, self.identity, kind, *question]))

    def _answers(
        self,
        ask: Callable[[Sequence[Request]], list[Answer | None]],
        requests: Sequence[Request],
        keys: Sequence[str],
        write: Callable[[Answer], str],
        read: Callable[[str], Answer],
        progress: Progress | None,
    ) -> list[Answer | None]:
        """Known answers from the cache; the others are asked for in batches, each on disk before the next is asked."""
        found = self.cache.find(list(dict.fromkeys(keys)))
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in found}
        times = Counter(keys)
        if progress is not None and found:
            progress(sum(times[key] for key in found))
        open_keys = list(missing)
        for start in range(0, len(open_keys), self.batch_size):
            part = open_keys[start : start + self.batch_size]
            answers = ask([missing[key] for key in part])
            self.cache.store(
                {key: write(answer) for key, answer in zip(part, answers, strict=True) if answer is not None}
            )
            found |= self.cache.find(part)  # another process may have been first; its answer is the one that counts
            if progress is not None:
                progress(sum(times[key] for key in part))
        return [read(found[key]) if key in found else None for key in keys]


def _packed(likelihood: Likelihood) -> str:
    return json.dumps([likelihood.total, likelihood.n_tokens])  # repr of a float reads back as the same float


def _likelihood(text: str) -> Likelihood:
    total, n_tokens = json.loads(text)
    return Likelihood(float(total), int(n_tokens))

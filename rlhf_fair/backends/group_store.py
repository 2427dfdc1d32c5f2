"""A `GroupStore` on a server, for trainers whose rewards are computed in many processes, one sample at a time.

Penalties need what no worker knows alone, the mean of each group. Every worker sends its sums to one server (see
`rlhf_fair.backends.group_store_server`) and shapes with the state that comes back. Nothing that tells of a person or a
text leaves the worker: only group names, counts, sums and sums of squares.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, Self

import httpx2

from rlhf_fair.errors import RlhfFairError, SettingsError
from rlhf_fair.training.fairness import BatchSums, GroupState, GroupStore

TOKEN_VARIABLE = "RLHF_FAIR_STORE_TOKEN"
"""Environment variable with the token that server and clients share; it never stands in a file or an argument."""

SUMS, STATE, HEALTH = "/v1/sums", "/v1/state", "/health"
REQUEST_ID = "Idempotency-Key"
"""Header naming one addition, so that a repeated request is not counted twice."""

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class StoreError(RlhfFairError):
    """The store of group statistics cannot be reached, or refuses what it is asked."""


class HTTPStore:
    """Group statistics on the server at ``url``; safe to use from several threads.

    ``timeout_s`` is that of one attempt. A failed attempt is repeated up to ``attempts`` in all, after 0.2, 0.4, 0.8 …
    seconds; an addition that did arrive is not counted again.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 5.0, attempts: int = 5) -> None:
        if not url.startswith(("http://", "https://")):
            raise SettingsError(f"store url = {url!r}: allowed is http://HOST:PORT or https://HOST:PORT")
        self.url, self.attempts = url.rstrip("/"), attempts
        token = os.environ.get(TOKEN_VARIABLE) if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx2.Client(base_url=self.url, headers=headers, timeout=timeout_s)

    def add(self, sums: BatchSums) -> GroupState:
        """Send one batch; returns the state that it made."""
        return GroupState.from_json(self._ask("POST", SUMS, sums.to_json(), {REQUEST_ID: uuid.uuid4().hex}))

    def read(self) -> GroupState:
        """The server's state now."""
        return GroupState.from_json(self._ask("GET", STATE))

    def state_dict(self) -> dict[str, Any]:
        """The server's state, for a checkpoint of the run."""
        return self.read().to_json()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the server back to a checkpoint. Every worker may do this, as long as none has sent sums yet."""
        self._ask("PUT", STATE, GroupState.from_json(state).to_json())

    def close(self) -> None:
        """Close the connections; using the store as a context manager does so at its end."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def _ask(
        self, method: str, path: str, content: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        why = ""
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(0.1 * 2**attempt)
            try:
                reply = self._client.request(method, path, json=content, headers=dict(headers or {}))
            except httpx2.TransportError as error:
                why = str(error) or type(error).__name__
                continue
            if reply.status_code == 200:
                return _json(reply, self.url)
            why = f"status {reply.status_code}: {reply.text.strip()[:200]}"
            if reply.status_code in (401, 403):
                raise StoreError(f"store {self.url} refuses the token; set ${TOKEN_VARIABLE} to the server's")
            if reply.status_code not in PASSING:
                raise StoreError(f"store {self.url} refuses {method} {path}: {why}")
        raise StoreError(
            f"store {self.url} gave no answer to {method} {path} in {self.attempts} attempts ({why}); is "
            "`rlhf-fair store serve` running there?"
        )


class BufferedStore:
    """Sends to ``store`` once ``rows`` rows came together, or ``seconds`` went by; in between the last state serves.

    For rewards that are computed one sample at a time: it saves a request for each. How old the state is that a sample
    is shaped with is told by `staleness_s`. Safe to use from several threads.
    """

    def __init__(self, store: GroupStore, rows: int, seconds: float = 10.0) -> None:
        if rows < 1 or seconds <= 0:
            raise SettingsError(f"rows = {rows}, seconds = {seconds}: allowed are rows of 1 and more, seconds above 0")
        self.store, self.rows, self.seconds = store, rows, seconds
        self._waiting = BatchSums()
        self._state: GroupState | None = None
        self._heard = 0.0
        self._lock = threading.Lock()

    @property
    def staleness_s(self) -> float:
        """Seconds since the server was last heard; 0 before that."""
        return time.monotonic() - self._heard if self._state is not None else 0.0

    def add(self, sums: BatchSums) -> GroupState:
        """Keep the batch or send it on; returns the state as last heard."""
        with self._lock:
            self._waiting += sums
            due = self._state is None or self._waiting.rows >= self.rows or self.staleness_s >= self.seconds
            return self._send() if due else self._last()

    def read(self) -> GroupState:
        """The state as last heard, asked for anew if that is longer ago than ``seconds``; sends nothing."""
        with self._lock:
            if self._state is None or self.staleness_s >= self.seconds:
                self._hear(self.store.read())
            return self._last()

    def flush(self) -> GroupState:
        """Send what waits."""
        with self._lock:
            return self._send()

    def state_dict(self) -> dict[str, Any]:
        """The state with all that waits."""
        return self.flush().to_json()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; what waited is of another run and goes."""
        with self._lock:
            self._waiting = BatchSums()
            self.store.load_state_dict(state)
            self._hear(self.store.read())

    def _send(self) -> GroupState:
        if self._waiting.rows:
            self._hear(self.store.add(self._waiting))
            self._waiting = BatchSums()  # only now: what could not be sent is sent next time
        elif self._state is None:
            self._hear(self.store.read())
        return self._last()

    def _hear(self, state: GroupState) -> None:
        self._state, self._heard = state, time.monotonic()

    def _last(self) -> GroupState:
        assert self._state is not None
        return self._state


def _json(reply: httpx2.Response, url: str) -> Any:
    try:
        return reply.json()
    except ValueError as error:
        raise StoreError(f"{url} answers in another form than a store does; is the port right?") from error

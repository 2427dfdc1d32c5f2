"""The server behind `HTTPStore`: running sums of all groups, added to by every worker, kept across restarts.

It speaks JSON over HTTP: POST /v1/sums adds one batch and answers with the state, GET /v1/state reads it, PUT /v1/state
sets it (a run that goes on from a checkpoint), GET /health tells whether it is up. All but the last need the token.
Multipliers move here, once a training step, so that all workers price alike and a restarted one goes on.
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import canonical_json, read_json, write_json
from rlhf_fair.backends.group_store import HEALTH, REQUEST_ID, STATE, SUMS, TOKEN_VARIABLE
from rlhf_fair.errors import RlhfFairError, SettingsError
from rlhf_fair.training.fairness import BatchSums, FairnessSettings, FairnessShaper, GroupState, LocalStore

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LARGEST_BODY = 1 << 20
MOST_CELLS = 20_000
REMEMBERED = 10_000
"""Additions whose repetition is recognised, as long as the server lives."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listening:
    """Where to listen (port 0 takes a free one), and the file that keeps the state across restarts.

    The file is written at most every ``save_s`` seconds, and at the end: a killed server forgets less than that.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    state_file: Path | None = None
    save_s: float = 1.0


class KeptStatistics:
    """Group statistics and multipliers for many threads; knows a repeated request and survives a restart.

    ``rows_per_step``: samples that all workers together send for one training step; the past fades by the settings'
    memory over so many.
    """

    def __init__(
        self, fairness: FairnessSettings, rows_per_step: int, state_file: Path | None = None, save_s: float = 1.0
    ) -> None:
        self.state_file, self.save_s = state_file, save_s
        self.rows_per_step, self.fairness = rows_per_step, fairness
        self._shaper = FairnessShaper(fairness, store=LocalStore(fairness.memory, rows_per_step=rows_per_step))
        self._answered: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._saved_at = 0.0
        if state_file is not None and state_file.exists():
            self._restore(state_file)

    def add(self, sums: BatchSums, request_id: str = "") -> GroupState:
        """Add once per ``request_id``; an empty one is always new."""
        with self._lock:
            if request_id and request_id in self._answered:
                return self._now()
            if len(self._now().cells.keys() | sums.cells.keys()) > MOST_CELLS:
                raise SettingsError(f"more than {MOST_CELLS} cells of measure, stratum and group; name fewer strata")
            self._shaper.take(sums)
            self._answered[request_id] = None
            if len(self._answered) > REMEMBERED:
                self._answered.popitem(last=False)
            self._save(soon=False)
            return self._now()

    def read(self) -> GroupState:
        """The state now."""
        with self._lock:
            return self._now()

    def replace(self, content: Mapping[str, Any]) -> GroupState:
        """Set the state, as from a checkpoint."""
        with self._lock:
            self._set(GroupState.from_json(content))
            self._save(soon=True)
            return self._now()

    def save(self) -> None:
        """Write the state file, if there is one."""
        with self._lock:
            self._save(soon=True)

    def _now(self) -> GroupState:
        return replace(self._shaper.store.read(), multipliers=self._shaper.multipliers.state_dict())

    def _set(self, state: GroupState) -> None:
        counters = {"version": state.version, "moved_at": int(state.steps), "staleness": 0}
        store = replace(state, multipliers=None).to_json()
        self._shaper.load_state_dict({"store": store, "multipliers": state.multipliers or {}, "counters": counters})

    def _kept_for(self) -> dict[str, Any]:
        """What the numbers mean; another run's file is refused by it."""
        return {"rows_per_step": self.rows_per_step, "fairness": self.fairness.model_dump(mode="json")}

    def _save(self, *, soon: bool) -> None:
        now = time.monotonic()
        if self.state_file is not None and (soon or now - self._saved_at >= self.save_s):
            write_json(self.state_file, self._kept_for() | {"state": self._now().to_json()})
            self._saved_at = now

    def _restore(self, path: Path) -> None:
        content = read_json(path, "state file of the store")
        if not isinstance(content, dict) or "state" not in content:
            raise SettingsError(f"state file {path} is not one of a store: it has no 'state'")
        for name, value in self._kept_for().items():
            if canonical_json(content.get(name)) != canonical_json(value):
                raise SettingsError(
                    f"state file {path} was kept with {name} = {content.get(name)!r}, asked for is {value!r}: use the "
                    "same or another file"
                )
        self._set(GroupState.from_json(content["state"]))


class StoreServer(ThreadingHTTPServer):
    """Listens once made; `serve_forever` answers until `shutdown`; use as a context manager."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, statistics: KeptStatistics, listening: Listening, token: str | None) -> None:
        if listening.host not in LOOPBACK and not token:
            raise SettingsError(
                f"host {listening.host!r} is reached by other machines: set ${TOKEN_VARIABLE} for the server and its "
                f"workers, or listen on {LOOPBACK[0]}"
            )
        self.statistics, self.host, self.token = statistics, listening.host, token
        statistics.save()  # a file that cannot be written is told now
        try:
            super().__init__((listening.host, listening.port), _Handler)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {listening.host} port {listening.port}: {error.strerror or error}"
            ) from error

    @property
    def url(self) -> str:
        """With the port that 0 became."""
        return f"http://{self.host}:{self.server_address[1]}"

    def server_close(self) -> None:
        """Close, and keep the state."""
        super().server_close()
        self.statistics.save()


class _Handler(BaseHTTPRequestHandler):
    """One connection; requests follow each other on it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the second of two small writes waits for the first to be acknowledged
    timeout = 60
    server: StoreServer

    def do_GET(self) -> None:
        if self.path == HEALTH:
            self._answer(200, {"ok": True, "version": self.server.statistics.read().version})
        elif self._may(STATE):
            self._answer(200, self.server.statistics.read().to_json())

    def do_POST(self) -> None:
        request_id = self.headers.get(REQUEST_ID, "")
        self._change(SUMS, lambda content: self.server.statistics.add(BatchSums.from_json(content), request_id))

    def do_PUT(self) -> None:
        self._change(STATE, self.server.statistics.replace)

    def _change(self, path: str, change: Callable[[Any], GroupState]) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            self.close_connection = True
            return self._answer(413, {"error": f"a body has a length, of at most {LARGEST_BODY} bytes"})
        body = self.rfile.read(int(length))  # in any case, so that the next request starts where it should
        if not self._may(path):
            return None
        try:
            state = change(json.loads(body))
        except (RlhfFairError, ValueError) as error:
            return self._answer(400, {"error": str(error)})
        return self._answer(200, state.to_json())

    def _may(self, path: str) -> bool:
        token, given = self.server.token, self.headers.get("Authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            self._answer(401, {"error": "no token, or another one"})
        elif self.path != path:
            self._answer(404, {"error": f"no {self.command} {self.path[:100]} here"})
        else:
            return True
        return False

    def _answer(self, status: int, content: Mapping[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *about: Any) -> None:
        """Requests come by the thousand; they are told where somebody asks for them."""
        logger.debug(format, *about)

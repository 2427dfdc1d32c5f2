"""A shared store tells what a store in the own process would; failures of the network cost time, never a sample."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.backends.group_store import (
    HEALTH,
    REQUEST_ID,
    STATE,
    SUMS,
    TOKEN_VARIABLE,
    BufferedStore,
    HTTPStore,
    StoreError,
)
from rlhf_fair.backends.group_store_server import KeptStatistics, Listening, StoreServer
from rlhf_fair.errors import RlhfFairError, SettingsError
from rlhf_fair.training.fairness import BatchSums, FairnessSettings, FairnessShaper, GroupState, LocalStore

FAIRNESS = FairnessSettings(group_by=("g",), memory=0.5, minimum_count=2.0)
DUAL = FairnessSettings.model_validate(
    {"group_by": ("g",), "objective": "contrast", "reference": "a", "memory": 0.5, "minimum_count": 2.0}
    | {"multiplier": {"kind": "dual", "tolerance": 0.1, "rate": 2.0}}
)
BATCH = 8


class _Joined(StoreServer):
    """Closing waits until every connection is served to its end, so that no test leaves one behind."""

    daemon_threads = False

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.connections: list[Any] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)


class Served:
    """A running server and its clients."""

    def __init__(self, server: _Joined, clients: ExitStack) -> None:
        self.url, self.port, self._clients = server.url, server.server_address[1], clients
        self._server = server

    def drop_connections(self) -> None:
        for connection in self._server.connections:
            connection.shutdown(socket.SHUT_RDWR)

    def client(self, token: str | None = None) -> HTTPStore:
        return self._clients.enter_context(HTTPStore(self.url, token=token))


@contextmanager
def serving(statistics: KeptStatistics, token: str | None = None, port: int = 0) -> Iterator[Served]:
    with _Joined(statistics, Listening(port=port), token) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with ExitStack() as clients:
                yield Served(server, clients)
        finally:
            server.shutdown()
            thread.join()


def batch(seed: int, n: int = BATCH) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = ["a" if k % 2 else "b" for k in range(n)]
    return groups, rng.normal(size=n) + np.array([group == "a" for group in groups])


def sums(seed: int, n: int = BATCH) -> BatchSums:
    groups, scores = batch(seed, n)
    return BatchSums.of(groups, {"score": scores})


def test_over_http_as_in_the_same_process() -> None:
    local = LocalStore(FAIRNESS.memory, rows_per_step=BATCH)
    with serving(KeptStatistics(FAIRNESS, BATCH)) as server:
        store = server.client()
        for seed in range(4):
            state = store.add(sums(seed))
            assert state.cells == local.add(sums(seed)).cells  # to the last bit, through JSON
        assert store.read() == state
        assert state.steps == 4
        store.close()


@pytest.mark.parametrize("fairness", [FAIRNESS, DUAL], ids=["fixed", "dual"])
def test_workers_that_take_turns_shape_like_one_that_sees_everything(fairness: FairnessSettings) -> None:
    """Also the multipliers: they move on the server, once a step, and not again in every worker."""
    alone = FairnessShaper(fairness, store=LocalStore(fairness.memory, rows_per_step=BATCH))
    with serving(KeptStatistics(fairness, BATCH)) as server:
        workers = [FairnessShaper(fairness, store=server.client()) for _ in range(3)]
        for seed in range(9):
            groups, scores = batch(seed)
            expected = alone.shape(np.zeros(BATCH), scores, groups)
            shaped = workers[seed % 3].shape(np.zeros(BATCH), scores, groups)
            assert shaped.penalties == pytest.approx(expected.penalties, abs=1e-12)
        late = FairnessShaper(fairness, store=server.client())  # as after a restart
        groups, scores = batch(9)
        expected = alone.shape(np.zeros(BATCH), scores, groups)
        assert late.shape(np.zeros(BATCH), scores, groups).penalties == pytest.approx(expected.penalties, abs=1e-12)
        assert np.abs(expected.penalties).max() > 0.1
        assert workers[0].shape(np.zeros(BATCH), scores, groups).metrics["staleness"] == 3  # the batches 7, 8 and 9


def test_many_threads_lose_nothing() -> None:
    with serving(KeptStatistics(FAIRNESS, 50)) as server:
        store = server.client()

        def work(first: int) -> None:
            for seed in range(first, first + 25):
                store.add(sums(seed, n=2))

        threads = [threading.Thread(target=work, args=(100 * k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state = store.read()
    assert state.version == 100
    assert state.steps == pytest.approx(200 / 50)


def test_an_addition_that_is_repeated_counts_once() -> None:
    with serving(KeptStatistics(FAIRNESS, BATCH)) as server:
        replies = [
            httpx2.post(server.url + SUMS, json=sums(0).to_json(), headers={REQUEST_ID: "one"}) for _ in range(2)
        ]
        assert replies[0].json() == replies[1].json()
        assert server.client().read().version == 1


class _Shaky(BaseHTTPRequestHandler):
    """Fails twice, then answers; notes the ids of requests."""

    seen: list[str] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(self.headers[REQUEST_ID])
        body = json.dumps(GroupState().to_json()).encode()
        self.send_response(503 if len(self.seen) <= 2 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *about: Any) -> None: ...


def test_a_failing_server_is_asked_again_with_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("rlhf_fair.backends.group_store.time.sleep", waits.append)
    with HTTPServer(("127.0.0.1", 0), _Shaky) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        with HTTPStore(f"http://127.0.0.1:{server.server_address[1]}") as store:
            store.add(sums(0))
        server.shutdown()
    assert len(_Shaky.seen) == 3
    assert len(set(_Shaky.seen)) == 1
    assert waits == [0.2, 0.4]


def test_a_server_that_is_not_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlhf_fair.backends.group_store.time.sleep", lambda seconds: None)
    with pytest.raises(StoreError, match=r"gave no answer to GET /v1/state in 3 attempts .*store serve` running"):
        HTTPStore("http://127.0.0.1:9", attempts=3).read()
    with pytest.raises(SettingsError, match="allowed is http://HOST:PORT"):
        HTTPStore("10.0.0.5:8765")


def test_only_who_has_the_token_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(KeptStatistics(FAIRNESS, BATCH), token="right") as server:
        with pytest.raises(StoreError, match=f"refuses the token; set \\${TOKEN_VARIABLE}"):
            server.client("wrong").add(sums(0))
        with pytest.raises(StoreError, match="refuses the token"):
            server.client().read()
        monkeypatch.setenv(TOKEN_VARIABLE, "right")
        assert server.client().add(sums(0)).version == 1
        assert httpx2.get(server.url + HEALTH).json() == {"ok": True, "version": 1}
    with pytest.raises(SettingsError, match=r"'0\.0\.0\.0' is reached by other machines: set"):
        StoreServer(KeptStatistics(FAIRNESS, BATCH), Listening(host="0.0.0.0", port=0), None)


NOT_FINITE = sums(0).to_json() | {"cells": [["score", "", "a", 1, float("nan"), 1]]}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"not json", 400, "Expecting value"),
        (b"[]", 400, "no group sums"),
        (b'{"rows": 1, "unknown": 0, "unscored": 0, "cells": [["score", "a"]]}', 400, "no group sums"),
        (json.dumps(NOT_FINITE).encode(), 400, "not finite"),
        (b" " * (1 << 20) + b"{}", 413, "at most"),
    ],
)
def test_what_is_no_batch_changes_nothing(body: bytes, status: int, says: str) -> None:
    with serving(KeptStatistics(FAIRNESS, BATCH)) as server:
        reply = httpx2.post(server.url + SUMS, content=body)
        assert reply.status_code == status
        assert says in reply.json()["error"]
        assert server.client().read() == GroupState(multipliers={})
        assert httpx2.post(server.url + "/elsewhere", json={}).status_code == 404
        assert httpx2.put(server.url + STATE, json={"cells": 3}).status_code == 400


def test_a_checkpoint_sets_the_server_back() -> None:
    with serving(KeptStatistics(DUAL, BATCH)) as server:
        store = server.client()
        for seed in range(4):
            store.add(sums(seed))
        saved = json.loads(json.dumps(store.state_dict()))
        assert saved["multipliers"]  # they have moved
        after = [store.add(sums(seed)) for seed in (4, 5)]
        store.load_state_dict(saved)
        assert [store.add(sums(seed)) for seed in (4, 5)] == after


def test_a_killed_server_goes_on_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    first = KeptStatistics(DUAL, BATCH, file, save_s=0.0)
    for seed in range(3):
        first.add(sums(seed))
    second = KeptStatistics(DUAL, BATCH, file)  # the first was never closed
    assert second.read() == first.read()
    assert second.add(sums(3)) == first.add(sums(3))  # multipliers and what they were moved by too
    with pytest.raises(SettingsError, match="was kept with rows_per_step = 8, asked for is 9"):
        KeptStatistics(DUAL, BATCH + 1, file)
    with pytest.raises(SettingsError, match="was kept with fairness"):
        KeptStatistics(FAIRNESS, BATCH, file)
    file.write_text("{}")
    with pytest.raises(SettingsError, match="it has no 'state'"):
        KeptStatistics(DUAL, BATCH, file)


def test_a_client_outlives_its_server(tmp_path: Path) -> None:
    """The server is closed and another one starts in its place; the client's open connection is dead by then."""
    file = tmp_path / "state.json"
    with ExitStack() as clients:
        with serving(KeptStatistics(FAIRNESS, BATCH, file)) as server:
            client = clients.enter_context(HTTPStore(server.url))
            port, first = server.port, client.add(sums(0))
            server.drop_connections()
        with serving(KeptStatistics(FAIRNESS, BATCH, file), port=port) as server:
            second = client.add(sums(1))
            client.close()
    assert first.version == 1
    assert second.version == 2
    assert second == KeptStatistics(FAIRNESS, BATCH, file).read()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(1, 9))
def test_a_buffer_delays_and_changes_no_sum(sizes: list[int], rows: int) -> None:
    store = LocalStore(0.0, rows_per_step=10**9)  # nothing fades, so that the order does not matter
    store.memory = 1.0
    buffered = BufferedStore(store, rows, seconds=1e6)
    for seed, size in enumerate(sizes):
        buffered.add(BatchSums.of(["a"] * size, {"score": np.full(size, float(seed))}))
        assert sum(sizes[: seed + 1]) - store.read().steps * 10**9 < rows + 1e-3  # what waits
    ((_, moments),) = buffered.flush().cells.items()
    assert moments.mass == sum(sizes)
    assert moments.total == sum(seed * size for seed, size in enumerate(sizes))


class _Broken(LocalStore):
    broken = False

    def add(self, sums: BatchSums) -> GroupState:
        if self.broken:
            raise StoreError("gone")
        return super().add(sums)


def test_what_could_not_be_sent_is_sent_later() -> None:
    store = _Broken(0.5)
    buffered = BufferedStore(store, 2)
    buffered.add(sums(0, n=1))  # the first goes at once, so that there is a state
    store.broken = True
    buffered.add(sums(1, n=1))
    with pytest.raises(StoreError, match="gone"):
        buffered.add(sums(2, n=1))
    store.broken = False
    assert sum(moments.mass for moments in buffered.flush().cells.values()) == 2 + 0.5  # the first has faded


def test_an_old_state_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("rlhf_fair.backends.group_store.time.monotonic", lambda: now[0])
    store = LocalStore(0.5)
    buffered = BufferedStore(store, rows=100, seconds=5.0)
    assert buffered.read().version == 0
    store.add(sums(0))  # by somebody else
    now[0] = 3.0
    assert buffered.staleness_s == 3.0
    assert buffered.read().version == 0
    now[0] = 5.0
    assert buffered.read().version == 1
    assert buffered.staleness_s == 0.0
    now[0] = 11.0
    assert buffered.add(sums(1, n=1)).version == 2  # too long ago: sent although it is one row only
    with pytest.raises(SettingsError, match="rows = 0"):
        BufferedStore(store, 0)


CONFIG = """
reward = "rules.py:reward"
scorer = "rules.py:scorer"

[fairness]
group_by = ["g"]
memory = 0.5

[store]
url = "http://127.0.0.1:{port}"
rows_per_step = 8
"""


def command(*arguments: str, **changes: str) -> subprocess.Popen[str]:
    code = "from rlhf_fair.cli.app import main; main()"
    environment = os.environ | changes
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, "store", *arguments], env=environment, **pipes)


def test_the_command_serves_tells_and_keeps_its_statistics(tmp_path: Path) -> None:
    config, state = tmp_path / "fair.toml", tmp_path / "state.json"
    config.write_text(CONFIG.format(port=1))
    serve = command("serve", str(config), "--port", "0", "--state", str(state), "--json", **{TOKEN_VARIABLE: "t"})
    assert serve.stdout is not None
    ready = json.loads(serve.stdout.readline())
    with HTTPStore(ready["url"], token="t") as store:
        store.add(sums(0))
    config.write_text(CONFIG.format(port=ready["url"].rpartition(":")[2]))
    told, _ = command("status", str(config), "--json", **{TOKEN_VARIABLE: "t"}).communicate(timeout=60)
    groups = {row["group"]: row["mean"] for row in json.loads(told)["groups"]}
    labels, scores = batch(0)
    assert groups["a"] == pytest.approx(np.mean([s for g, s in zip(labels, scores, strict=True) if g == "a"]))
    serve.send_signal(signal.SIGTERM)
    stopped, _ = serve.communicate(timeout=60)
    assert serve.returncode == 0
    serve.stderr.close()  # type: ignore[union-attr]
    assert json.loads(stopped) == {"stopped": True}
    assert json.loads(state.read_text())["state"]["version"] == 1


def test_the_command_names_what_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "fair.toml"
    config.write_text(CONFIG.format(port=1).replace("rows_per_step = 8", "rows_per_step = 0"))
    run = command("serve", str(config))
    _, error = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "fair.toml: store.rows_per_step = 0" in error
    assert "Traceback" not in error


def test_a_port_in_use_is_told() -> None:
    with serving(KeptStatistics(FAIRNESS, BATCH)) as server:
        taken = Listening(port=server.port)
        with pytest.raises(SettingsError, match=r"cannot listen on 127\.0\.0\.1 port"):
            StoreServer(KeptStatistics(FAIRNESS, BATCH), taken, None)


def test_too_many_cells_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlhf_fair.backends.group_store_server.MOST_CELLS", 1)
    with pytest.raises(RlhfFairError, match="more than 1 cells"):
        KeptStatistics(FAIRNESS, BATCH).add(sums(0))

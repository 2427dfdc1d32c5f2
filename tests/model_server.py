"""A small model server on loopback that speaks OpenAI's protocol, counts what it is asked, and fails on demand."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """``declared`` is the Content-Length sent where it is not the length of ``body``: a body cut off on its way."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    declared: int | None = None
    delay_s: float = 0.0


Behaviour = Callable[[dict[str, Any], str], Reply]
"""From the request's JSON and its path to a reply."""


def says(content: object, status: int = 200, **headers: str) -> Reply:
    return Reply(json.dumps(content).encode(), status, headers)


def prompt_of(request: dict[str, Any]) -> str:
    if "prompts" in request:  # what a server of rewards is sent
        return str(request["prompts"])
    return str(request["prompt"] if "prompt" in request else request["messages"][-1]["content"])


def in_words(text: str, path: str) -> Reply:
    """``text`` as a chat or a completion, as the path asks."""
    if path.endswith("/chat/completions"):
        return says({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]})
    return says({"choices": [{"index": 0, "text": text, "logprobs": None}]})


def echo_upper(request: dict[str, Any], path: str) -> Reply:
    """The prompt in capitals: an answer that can be told from all others."""
    return in_words(prompt_of(request).upper(), path)


class ModelServer(ThreadingHTTPServer):
    """``asked`` counts requests by prompt, ``answered`` those that got an answer; both before the client knows."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.under_way = self.most_at_once = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


@contextmanager
def serving(behaviour: Behaviour = echo_upper) -> Iterator[ModelServer]:
    server = ModelServer(behaviour)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ModelServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server, prompt = self.server, prompt_of(request)
        with server.lock:
            server.asked[prompt] += 1
            server.requests.append(request)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            server.times.append(time.monotonic())
            server.under_way += 1
            server.most_at_once = max(server.most_at_once, server.under_way)
        try:
            reply = server.behaviour(request, self.path)
            time.sleep(reply.delay_s)
        finally:
            with server.lock:
                server.under_way -= 1
        if reply.status == 200 and reply.declared is None and not reply.delay_s:
            with server.lock:
                server.answered[prompt] += 1
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(reply.body) if reply.declared is None else reply.declared))
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection |= reply.declared is not None

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""

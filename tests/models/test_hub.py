"""Models by hub id, from a hub of our own: what is fetched, what never is, and what stands without a network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tiny import tiny_language_model, tiny_tokenizer

from rlhf_fair.artifacts import sha256_tree
from rlhf_fair.models.hub import is_wanted

REVISION = "0123456789abcdef0123456789abcdef01234567"
NEVER = ("pytorch_model.bin", "modeling_evil.py", "onnx/model.safetensors", "consolidated.safetensors", "README.md")
NOT_HAD = "refused: model {}: no such folder, and not had from the hub: "
LOOK = """
import sys
from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.cache import model_digest
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.requests import Decoding, Generation
try:
    before = model_digest(sys.argv[1])  # as trainings do, before anything is loaded
    greedy = Decoding(max_new_tokens=4, temperature=0.0)
    said = CausalLM.load(sys.argv[1]).answers([Generation("a", "i like the")], greedy)
    print(before == model_digest(sys.argv[1]), before, said[0])
except ModelLoadError as error:
    print("refused:", error)
"""


def sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()  # what git, and so a hub, calls a file by


class Hub(ThreadingHTTPServer):
    """Serves the files below ``folder`` as the one revision of ``someone/tiny``."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.fetched = folder, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self.reply(body=False)

    def do_GET(self) -> None:
        self.reply(body=True)

    def reply(self, *, body: bool) -> None:
        start, _, name = self.path.partition(f"/resolve/{REVISION}/")
        path = self.server.folder / name
        files = {p.relative_to(self.server.folder).as_posix(): p for p in sorted(self.server.folder.rglob("*.*"))}
        if self.path.startswith("/api/models/someone/tiny/revision/"):
            self.send_json({"id": "someone/tiny", "sha": REVISION, "siblings": [{"rfilename": file} for file in files]})
        elif self.path.startswith(f"/api/models/someone/tiny/tree/{REVISION}"):
            self.send_json(
                [
                    {"type": "file", "path": file, "size": p.stat().st_size, "oid": sha1(p.read_bytes())}
                    for file, p in files.items()
                ]
            )
        elif start == "/someone/tiny" and path.is_file():
            self.server.fetched.append(name)
            content = path.read_bytes()
            self.send(content, {"X-Repo-Commit": REVISION, "ETag": f'"{sha1(content)}"'}, body=body)
        else:
            self.send(b"{}", {"X-Error-Code": "RepoNotFound"}, body=body, status=404)

    def send_json(self, content: object) -> None:
        self.send(json.dumps(content).encode(), {"Content-Type": "application/json"}, body=True)

    def send(self, content: bytes, headers: dict[str, str], *, body: bool, status: int = 200) -> None:
        self.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(header, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Silence."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "on-the-hub"
    tokenizer = tiny_tokenizer()
    tiny_language_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "onnx").mkdir()
    for name in NEVER:
        (folder / name).write_bytes(b"never to be read")
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def look(model: str, hub: Hub, home: Path, **environment: str) -> str:
    known = os.environ | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
    }
    known.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", LOOK, model], env=known | environment, cwd=home.parent, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_a_hub_model_is_fetched_once_and_nothing_of_it_is_code(hub: Hub, tmp_path: Path) -> None:
    home = tmp_path / "home"
    said = look("someone/tiny", hub, home)
    assert not said.startswith("refused"), said
    same, digest, answer = said.split(" ", 2)
    assert same == "True"
    assert digest == sha256_tree(hub.folder, is_wanted)
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(hub.fetched)
    assert not set(hub.fetched) & set(NEVER)
    assert look("someone/tiny", hub, home, HF_HUB_OFFLINE="1") == f"True {digest} {answer}"
    assert look("someone/tinny", hub, home).startswith(NOT_HAD.format("someone/tinny"))
    assert look("someone/other", hub, home, HF_HUB_OFFLINE="1").startswith(NOT_HAD.format("someone/other"))

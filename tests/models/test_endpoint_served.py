"""Through a server that is not ours: ``transformers serve`` with a tiny model, against the same model in process."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import tiny_language_model, tiny_tokenizer

from rlhf_fair.errors import EndpointError
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.endpoint import Endpoint
from rlhf_fair.models.endpoint_settings import EndpointSettings
from rlhf_fair.models.requests import Decoding, Generation, LogLikelihood

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn")),
        reason="transformers serve needs fastapi and uvicorn: pip install 'transformers[serving]'",
    ),
]

PROMPTS = ["i like the", "you hate", "we love the old dog and the", "what do you think about the kind man ?", "hi"]
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
GREEDY = Decoding(max_new_tokens=8, temperature=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE  # the prompt and nothing else, so that both ways ask the same
    tiny_language_model(tokenizer, initializer_range=0.3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    command = [program, "serve", folder, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(timeout=30)


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert server.poll() is None, "the server ended before it answered"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise AssertionError("the server did not start within two minutes")


def in_process(folder: Path) -> list[str]:
    completions = CausalLM.load(folder).generate(PROMPTS, PROMPTS, max_new_tokens=8, seed=0, temperature=0.0)
    return [completion.text for completion in completions]


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_greedy_answers_equal_those_in_process(url: str, folder: Path, api: str) -> None:
    endpoint = Endpoint(url, str(folder), EndpointSettings(api=api, concurrency=2))  # type: ignore[arg-type]
    answers = endpoint.answers([Generation(prompt, prompt) for prompt in PROMPTS], GREEDY)
    assert answers == in_process(folder)
    assert any(answers)


def test_this_server_ignores_echo_and_that_is_said(url: str, folder: Path) -> None:
    endpoint = Endpoint(url, str(folder), EndpointSettings(api="completions"))
    with pytest.raises(EndpointError, match="cannot score given text"):
        endpoint.log_likelihoods([LogLikelihood("a", "i like the", " good dog")])

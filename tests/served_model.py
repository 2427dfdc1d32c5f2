"""What `model_server` needs to serve a real model, and to serve any badly."""

from __future__ import annotations

import random
import threading
from itertools import pairwise
from typing import Any

import torch
from model_server import Behaviour, Reply, in_words, says


def echoes_of(model: Any, tokenizer: Any) -> Behaviour:
    """A server of ``model`` that scores the prompt, token by token, and adds one token as servers do."""

    def behaviour(request: dict[str, Any], path: str) -> Reply:
        text = request["prompt"]
        encoded = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
        ids = encoded["input_ids"]
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits[0].double().log_softmax(-1)
        scores = logprobs[:-1].gather(-1, ids[0, 1:, None])[:, 0].tolist()
        ends = [0, *(int(end) for _, end in encoded["offset_mapping"][0])]
        tokens = [text[start:end] for start, end in pairwise(ends)]
        found = {"tokens": [*tokens, " cat"], "token_logprobs": [None, *scores, -0.5]}
        return says({"choices": [{"text": text + " cat", "logprobs": found}]})

    return behaviour


def answers_of(model: Any, tokenizer: Any) -> Behaviour:
    """A server that writes with transformers' own ``generate``, after the chat template where a chat is asked for."""

    def behaviour(request: dict[str, Any], path: str) -> Reply:
        if "messages" in request:
            encoded = tokenizer.apply_chat_template(
                request["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
        else:
            encoded = tokenizer(request["prompt"], return_tensors="pt")
        with torch.no_grad():
            written = model.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                max_new_tokens=request["max_tokens"],
                do_sample=False,
            )
        length = encoded["input_ids"].shape[1]
        return in_words(tokenizer.decode(written[0, length:], skip_special_tokens=True), path)

    return behaviour


def failing(behaviour: Behaviour, share: float, *, seed: int, slow_s: float) -> Behaviour:
    """``behaviour``, but a ``share`` of requests gets a limit, a server error, no reply in time or a torn reply."""
    chance, lock = random.Random(seed), threading.Lock()

    def behaves(request: dict[str, Any], path: str) -> Reply:
        with lock:
            fault = chance.randrange(4) if chance.random() < share else None
        if fault == 0:
            return says({"error": {"message": "slow down"}}, 429, Retry_After="0")
        if fault == 1:
            return says({"error": "overloaded"}, 500)
        if fault == 2:
            return Reply(b"", delay_s=slow_s)
        reply = behaviour(request, path)
        return reply if fault is None else Reply(reply.body[: len(reply.body) // 2], declared=len(reply.body))

    return behaves

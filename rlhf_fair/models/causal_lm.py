"""Causal language models: answers that are sampled in batches, text in, text out, and likelihoods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.causal_likelihood import continuation_likelihoods, reads_ahead, text_likelihoods
from rlhf_fair.models.language_model import LanguageModel
from rlhf_fair.models.loading import position_limit
from rlhf_fair.models.requests import Decoding, Generation, Likelihood, LogLikelihood, Progress, PseudoLogLikelihood
from rlhf_fair.models.sampling_check import check_sampling
from rlhf_fair.models.selected_logits import input_device
from rlhf_fair.models.token_sampling import SampledTokens, ends_of, item_uniforms, pad_left, sample_tokens


@dataclass(frozen=True)
class Completion:
    """One generated answer; ``finished`` is False where the length limit cut it off."""

    text: str
    n_tokens: int
    finished: bool


class CausalLM(LanguageModel):
    """A causal language model and its tokenizer."""

    kind = "CausalLM"

    @classmethod
    def check(cls, model: Any, source: str | Path) -> None:
        """A model that sees what follows gives no likelihood of a text."""
        if reads_ahead(model):
            raise ModelLoadError(f"model {source}: not a causal language model: a prediction depends on what follows")

    def log_likelihoods(
        self, requests: Sequence[LogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]:
        """ln P(continuation | context) of each request, in the order given.

        Nothing is cut: a request longer than the model's window is answered with None. An empty continuation has
        probability 1 (0 tokens). After an empty context, the first word is conditioned on the start of a text.
        """
        return continuation_likelihoods(self.model, self.tokenizer, requests, self.limits, progress)

    def pseudo_log_likelihoods(
        self, requests: Sequence[PseudoLogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]:
        """Sum of ln P(token | the tokens before it) over the chosen tokens of each text: the causal variant.

        It is no pseudo-log-likelihood, since a token does not see what follows; its values do not compare with those
        of masked models. Texts longer than the model's window are answered with None.
        """
        return text_likelihoods(self.model, self.tokenizer, requests, self.limits, progress)

    def answers(
        self, requests: Sequence[Generation], decoding: Decoding, *, progress: Progress | None = None
    ) -> list[str | None]:
        """One sampled answer for each request; None where prompt and answer exceed the model's window.

        Several samples of a prompt are several requests with ids of their own.
        """
        window = position_limit(self.model)
        lengths = map(len, self.tokenizer([r.prompt for r in requests])["input_ids"] if requests else [])
        fitting = [
            r for r, n in zip(requests, lengths, strict=True) if not window or n + decoding.max_new_tokens <= window
        ]
        completions = self.generate(
            [request.prompt for request in fitting],
            [request.id for request in fitting],
            max_new_tokens=decoding.max_new_tokens,
            seed=decoding.seed,
            temperature=decoding.temperature,
            on_batch=progress,
        )
        texts = {id(r): completion.text for r, completion in zip(fitting, completions, strict=True)}
        if progress is not None and len(fitting) < len(requests):
            progress(len(requests) - len(fitting))
        return [texts.get(id(request)) for request in requests]

    def generate(
        self,
        prompts: Sequence[str],
        ids: Sequence[str],
        *,
        max_new_tokens: int,
        seed: int,
        temperature: float = 1.0,
        batch_size: int | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """One completion per prompt, in the order given. ``on_batch`` is told how many are done in each batch.

        batch_size: prompts in a batch; None takes as many as the limit on tokens allows with their answers.
        """
        if not prompts:
            return []  # tokenizers fail on an empty batch
        check_sampling(self.model)
        encoded = self.tokenizer(list(prompts), add_special_tokens=True)["input_ids"]
        order = sorted(range(len(prompts)), key=lambda index: (len(encoded[index]), encoded[index]))
        completions: list[Completion | None] = [None] * len(prompts)
        device = input_device(self.model)
        widths = [len(encoded[index]) + max_new_tokens for index in order]
        for rows in self.limits.runs(order, widths) if batch_size is None else _chunks(order, batch_size):
            prompt_ids, prompt_mask = pad_left([encoded[row] for row in rows], self.tokenizer.pad_token_id)
            uniforms = torch.from_numpy(item_uniforms([ids[row] for row in rows], max_new_tokens, seed))
            sampled = sample_tokens(
                self.model,
                prompt_ids.to(device),
                prompt_mask.to(device),
                uniforms.to(device),
                eos_token_id=ends_of(self.tokenizer),
                pad_token_id=self.tokenizer.pad_token_id,
                temperature=temperature,
            )
            for row, completion in zip(rows, decode(self.tokenizer, sampled), strict=True):
                completions[row] = completion
            if on_batch is not None:
                on_batch(len(rows))
        return [completion for completion in completions if completion is not None]


def _chunks(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def decode(tokenizer: Any, sampled: SampledTokens) -> list[Completion]:
    """Sampled tokens as text; special tokens are left out of the text and counted in ``n_tokens``."""
    completions, ends = [], ends_of(tokenizer)
    for tokens, mask in zip(sampled.tokens, sampled.response_mask, strict=True):
        used = tokens[mask].tolist()
        finished = bool(used) and used[-1] in ends
        completions.append(Completion(tokenizer.decode(used, skip_special_tokens=True), len(used), finished))
    return completions

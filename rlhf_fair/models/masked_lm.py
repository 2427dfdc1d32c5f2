"""Masked language models: pseudo-log-likelihoods, one masked token at a time, many of them in a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlhf_fair.errors import ModelLoadError
from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.counterpart import check_tokens, chosen_positions
from rlhf_fair.models.language_model import LanguageModel
from rlhf_fair.models.loading import position_limit
from rlhf_fair.models.requests import Likelihood, Progress, PseudoLogLikelihood
from rlhf_fair.models.reward_model import pad
from rlhf_fair.models.selected_logits import input_device, logprobs_of, selected_logits


@dataclass(frozen=True)
class _Blank:
    """``ids`` with the token at ``position`` masked; the model is asked for that token."""

    ids: tuple[int, ...]
    position: int
    request: int
    target: int


class MaskedLM(LanguageModel):
    """A masked language model and its tokenizer."""

    kind = "MaskedLM"

    def __init__(self, model: Any, tokenizer: Any, *, limits: BatchLimits | None = None) -> None:
        if tokenizer.mask_token_id is None:
            raise ModelLoadError("not a masked language model: its tokenizer has no mask token")
        super().__init__(model, tokenizer, limits=limits)

    def pseudo_log_likelihoods(
        self, requests: Sequence[PseudoLogLikelihood], *, progress: Progress | None = None
    ) -> list[Likelihood | None]:
        """Σ ln P(token | all other tokens of the text) over the chosen tokens, nats (Salazar et al. 2020).

        "shared" tokens give the score of CrowS-Pairs (Nangia et al. 2020), before its rounding. The special tokens that
        frame a text are read but never scored. A text longer than the model's window is answered with None.
        """
        check_tokens(requests)
        if not requests:
            return []
        texts, frames = self._encoded([request.text for request in requests])
        counterparts, _ = self._encoded([request.counterpart for request in requests])
        window = position_limit(self.model)
        fitting = [window is None or len(ids) <= window for ids in texts]
        blanks: list[_Blank] = []
        for index, request in enumerate(requests):
            if fitting[index]:
                # the frame takes part in the comparison, as in the published evaluation
                chosen = chosen_positions(texts[index], counterparts[index], request.tokens)
                blanks += self._blanks(index, texts[index], [at for at in chosen if not frames[index][at]])
        n_tokens = Counter(blank.request for blank in blanks)
        if progress is not None and len(n_tokens) < len(requests):
            progress(len(requests) - len(n_tokens))
        totals = self._totals(blanks, n_tokens, len(requests), progress)
        return [Likelihood(float(totals[i]), n_tokens[i]) if fitting[i] else None for i in range(len(requests))]

    def _encoded(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids with special tokens, and 1 where a token is one of those that frame the text."""
        encoded = self.tokenizer(list(texts), return_special_tokens_mask=True, verbose=False)
        return encoded["input_ids"], encoded["special_tokens_mask"]

    def _blanks(self, request: int, ids: Sequence[int], positions: Sequence[int]) -> Iterator[_Blank]:
        for at in positions:
            yield _Blank((*ids[:at], self.tokenizer.mask_token_id, *ids[at + 1 :]), at, request, ids[at])

    def _totals(
        self, blanks: Sequence[_Blank], n_tokens: Counter[int], n: int, progress: Progress | None
    ) -> NDArray[np.float64]:
        """(n,) sum for each request. Twins that differ in the masked word alone leave the same blank: it runs once."""
        by_row: dict[tuple[tuple[int, ...], int], list[_Blank]] = {}
        for blank in blanks:
            by_row.setdefault((blank.ids, blank.position), []).append(blank)
        left = Counter(n_tokens)
        totals = np.zeros(n)
        for batch in self._batches(list(by_row)):
            asked = [(row, blank) for row, key in enumerate(batch) for blank in by_row[key]]
            values = self._logprobs(batch, [row for row, _ in asked], [blank.target for _, blank in asked])
            np.add.at(totals, [blank.request for _, blank in asked], values)
            before = len(left)
            left.subtract(blank.request for _, blank in asked)
            left = +left  # drops those with nothing left
            if progress is not None and len(left) < before:
                progress(before - len(left))
        return totals

    def _batches(self, rows: list[tuple[tuple[int, ...], int]]) -> Iterator[list[tuple[tuple[int, ...], int]]]:
        """Rows of similar length together, within the limits."""
        rows.sort(key=lambda row: (len(row[0]), row))
        most = self.limits.most_logits(self.model.config.vocab_size)
        return self.limits.runs(rows, [len(ids) for ids, _ in rows], most=most)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def _logprobs(
        self, batch: Sequence[tuple[tuple[int, ...], int]], index: Sequence[int], targets: Sequence[int]
    ) -> NDArray[np.float64]:
        """ln P(``targets[j]``) at the blank of row ``index[j]``; the head runs at the blanks only."""
        inputs = pad([ids for ids, _ in batch], self.tokenizer.pad_token_id, str(input_device(self.model)))
        positions = torch.tensor([position for _, position in batch])
        logits = selected_logits(self.model, torch.arange(len(batch)), positions, **inputs)
        values: NDArray[np.float64] = (
            logprobs_of(logits, torch.tensor(index), torch.tensor(targets)).double().cpu().numpy()
        )
        return values

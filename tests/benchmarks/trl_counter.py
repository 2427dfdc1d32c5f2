"""A reward that TRL's PPOTrainer takes for a model: the share of counted tokens in the answer so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput


class CountedShare(torch.nn.Module):
    """Stands where TRL wants a reward model: at each token the share of tokens behind the prompt that ``counts`` picks.

    ``counts``: token ids to True where one counts. ``prompt``: how many tokens every prompt has.
    """

    base_model_prefix = "counter"

    def __init__(self, counts: Callable[[torch.Tensor], torch.Tensor], prompt: int) -> None:
        super().__init__()
        self.counts, self.prompt = counts, prompt
        self.counter = self._share
        self.config = None

    def _share(self, input_ids: torch.Tensor, **_: Any) -> BaseModelOutput:
        counted = self.counts(input_ids).float()[:, self.prompt :].cumsum(-1)
        share = counted / torch.arange(1, counted.shape[1] + 1)
        whole = torch.cat([torch.zeros(len(input_ids), self.prompt), share], dim=1)
        return BaseModelOutput(hidden_states=(whole[..., None],))

    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        """Each token's share, as it stands."""
        return hidden

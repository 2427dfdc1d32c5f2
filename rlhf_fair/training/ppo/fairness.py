"""The fairness penalty of a rollout: who is who, how their answers score, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf_fair.models.causal_lm import Completion
from rlhf_fair.training.fairness import FairnessShaper
from rlhf_fair.training.fairness.groups import ColumnGroups, GroupSource, Labels, strata_labels
from rlhf_fair.training.ppo.rollout import PromptBatch

Floats = NDArray[np.float64]
Scorer = Callable[[Sequence[str]], Floats]
"""(n,) scores of texts; NaN where a text has none."""


@dataclass
class Fairness:
    """The penalty's parts: the shaper with its running means, and the scorer that it is measured by in training.

    ``group_source`` tells groups; None reads them from the columns that the shaper's settings name. ``refused`` says
    of texts whether they are refusals (1, else 0), where refusals are to be shown or priced by group.
    """

    shaper: FairnessShaper
    scorer: Scorer
    group_source: GroupSource | None = None
    refused: Scorer | None = None

    def groups(self, batch: PromptBatch) -> Labels:
        """One label per prompt, intersections joined by ' & '; None where unknown."""
        source = self.group_source or ColumnGroups(self.shaper.settings.group_by)
        return source(batch.texts, batch.columns)

    def strata(self, batch: PromptBatch) -> list[str] | None:
        """One stratum per prompt, or None where groups are compared over all prompts."""
        return strata_labels(batch.columns, self.shaper.settings.strata_by)

    def penalties(
        self,
        batch: PromptBatch,
        completions: Sequence[Completion],
        rewards: Floats,
        gather: Callable[[Floats], Floats],
    ) -> tuple[Floats, dict[str, float]]:
        """(n,) amounts to take off the ``rewards`` of a whole batch, and the numbers behind them.

        ``completions`` are those of this process; ``gather`` brings the numbers of all processes together, so that each
        has the statistics of the whole batch.
        """
        texts = [completion.text for completion in completions]
        scores = gather(np.asarray(self.scorer(texts), dtype=float))
        lengths = gather(np.array([completion.n_tokens for completion in completions], dtype=float))
        refused = None if self.refused is None else gather(np.asarray(self.refused(texts), dtype=float))
        shaped = self.shaper.shape(
            rewards, scores, self.groups(batch), strata=self.strata(batch), refused=refused, lengths=lengths
        )
        return shaped.penalties, shaped.metrics

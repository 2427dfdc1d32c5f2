"""The texts that raters of one's own judged single, as items of the audit ``reward``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from rlhf_fair.audit.reward_audit_plan import RatingsPlan, RewardPlan
from rlhf_fair.probes import reward_ratings as ratings
from rlhf_fair.probes.reward_feedback import FeedbackFile


@dataclass
class RatedItems:
    """``table``: ratings with their texts. ``left_out``: reason -> ratings. ``told``: a sentence for the limits."""

    table: pd.DataFrame
    rejects: pd.DataFrame
    left_out: dict[str, int] = field(default_factory=dict)
    told: str = ""
    items_file: Path | None = None


def collect_ratings(feedback: FeedbackFile, plan: RewardPlan, model: str | None) -> RatedItems:
    """The ratings of ``feedback`` that the model was not trained on, as far as that can be told."""
    settings = plan.ratings or RatingsPlan()
    items_file = feedback.path.parent / settings.items if settings.items else None
    read, left_out = ratings.rating_items(feedback, items_file, layout=plan.layout, better=settings.better)
    table, told = read.table, "Whether the model was trained on some of the rated texts is not known here."
    if model is not None:
        table, seen, told = ratings.held_out_only(table, Path(model), settings.held_out)
        left_out |= {ratings.SEEN: seen} if seen else {}
    return RatedItems(table, read.rejects, left_out, told, items_file)

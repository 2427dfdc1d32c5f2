"""The reward function for verl: ``custom_reward_function.path`` takes the path of this file.

verl calls ``compute_score`` with one sample at a time. Its group travels in ``extra_info``, beside ``split`` and
``index``; samples of another split than ``train`` are shaped as the training is, but enter no mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlhf_fair.backends.worker import Sample, worker


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    config: str = "",
    **more: Any,
) -> dict[str, float]:
    """score: the reward less the penalty, which verl trains on; unshaped: before it; fair_…: what is logged.

    ``config``: path of the workers' TOML file (``custom_reward_function.reward_kwargs.config``), or
    ``$RLHF_FAIR_BACKEND``. ``more``: addresses of verl's own reward models.
    """
    columns = dict(extra_info or {})
    prompt = str(columns.pop("prompt", ""))  # verl hands on no prompt; a data set may put it there
    columns |= {"data_source": data_source, "ground_truth": ground_truth}
    shaped = worker(config).shape(Sample(prompt, solution_str, columns))
    logs = {f"fair_{name}": value for name, value in shaped.logs.items()}
    return {"score": shaped.reward, "unshaped": shaped.unshaped} | logs

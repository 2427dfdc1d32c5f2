"""Decisions about rows of a table: one action each, a reward for it, and a price on differences between groups.

Every decision is an episode of one step: a contextual bandit, learned with the same PPO as a language model.

>>> from rlhf_fair.training.fairness import FairnessSettings
>>> rng = np.random.default_rng(0)
>>> people = pd.DataFrame({"income": rng.normal(size=400), "group": rng.choice(["a", "b"], 400)})
>>> people["repays"] = rng.random(400) < 1 / (1 + np.exp(-2 * people["income"]))
>>> def profit(rows, actions):
...     return np.where(actions == "grant", np.where(rows["repays"], 1.0, -2.0), 0.0)
>>> settings = DeciderSettings(features=("income",), ppo=DecisionPPOSettings(steps=20))
>>> parity = FairnessShaper(FairnessSettings(group_by=("group",), strength=10.0))
>>> fairness = DecisionFairness(parity, favourable("grant"))
>>> decider, run = train_decider(people, profit, settings, seed=0, fairness=fairness)
>>> decider.decide(pd.DataFrame({"income": [-2.0, 2.0]})).tolist()
['deny', 'grant']
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field

from rlhf_fair.errors import RlhfFairError, RowError
from rlhf_fair.records import TrainingRun
from rlhf_fair.settings import Settings
from rlhf_fair.training.fairness import FairnessShaper
from rlhf_fair.training.ppo.features.decider import Decider, DeciderConfig, Labels
from rlhf_fair.training.ppo.features.encoding import learn_encoding
from rlhf_fair.training.ppo.features.experience import Experience, Stream, step_seeds, torch_generator
from rlhf_fair.training.ppo.features.groups import row_labels
from rlhf_fair.training.ppo.features.policy import FeatureNetworkSettings, FeaturePolicy
from rlhf_fair.training.ppo.features.trainer import FeaturePPOSettings, FeatureTrainer, OnStep

Floats = NDArray[np.float64]
DecisionFunction = Callable[[pd.DataFrame, Labels], Floats]
"""``f(rows, actions) -> (n,)``: rows of the table with all their columns, and the names of the actions taken."""


class DecisionPPOSettings(FeaturePPOSettings):
    """PPO with defaults for decisions.

    The entropy bonus is high for PPO: a decider that is sure of everything draws nothing else any more, and cannot
    follow a price of unfairness that rises while it learns.
    """

    minibatch_size: int = Field(512, ge=2)
    learning_rate: float = Field(3e-3, gt=0)
    entropy_coef: float = Field(0.1, ge=0)


class DeciderSettings(Settings):
    """What a decider reads and may do, and how it learns. ``batch_size`` rows are decided at each step."""

    features: tuple[str, ...] = Field(min_length=1)
    actions: tuple[str, ...] = ("deny", "grant")
    batch_size: int = Field(2048, ge=2)
    network: FeatureNetworkSettings = FeatureNetworkSettings(hidden=(32, 32), normalize=False)
    ppo: DecisionPPOSettings = DecisionPPOSettings()


@dataclass
class DecisionFairness:
    """The penalty's parts: the shaper, whose settings name the columns of groups and strata, and the score it compares.

    NaN scores count for nobody. A row without a group pays no penalty and is counted as unknown.
    """

    shaper: FairnessShaper
    score: DecisionFunction

    def identity(self) -> list[Any]:
        """What is asked; the score, a function, cannot be told from another."""
        return [self.shaper.settings.model_dump_json(), dict(self.shaper.reference_means)]


def favourable(action: str, *, among: str | None = None) -> DecisionFunction:
    """The score 1 where ``action`` is taken and 0 elsewhere: its mean in a group is the group's selection rate.

    ``among``: a column of truth values; other rows score NaN. With the column "repays" the mean is a true positive
    rate, and parity of it is equal opportunity (Hardt, Price & Srebro 2016).
    """

    def score(rows: pd.DataFrame, actions: Labels) -> Floats:
        taken = np.asarray(actions == action, dtype=float)
        return taken if among is None else np.where(rows[among].to_numpy(dtype=bool), taken, np.nan)

    return score


class TrainedDecider(NamedTuple):
    """What `train_decider` gives: the decider, and how its training went."""

    decider: Decider
    run: TrainingRun


def train_decider(
    table: pd.DataFrame,
    reward: DecisionFunction,
    settings: DeciderSettings,
    *,
    seed: int,
    fairness: DecisionFairness | None = None,
    on_step: OnStep | None = None,
    checkpoint: Path | None = None,
) -> TrainedDecider:
    """Learn from ``table`` which action earns most ``reward``, less the price of differences between groups.

    ``checkpoint``: a file that keeps the state of the run; a second call with the same arguments goes on from there and
    ends with the same bits. Settings are checked, and so is every reward.
    """
    encoding = learn_encoding(table, settings.features)
    config = DeciderConfig(actions=settings.actions, encoding=encoding, network=settings.network)
    decider = Decider.new(config, generator=torch_generator(step_seeds(seed, Stream.WEIGHTS)))
    source = Decisions(table, reward, decider, settings, seed=seed, fairness=fairness)
    trainer = FeatureTrainer(decider.policy, source, settings.ppo, seed=seed)
    return TrainedDecider(decider, trainer.train(name="decider", on_step=on_step, checkpoint=checkpoint))


class Decisions:
    """A table as a source of experience: each step decides on rows drawn by the step's number, none of them twice."""

    def __init__(
        self,
        table: pd.DataFrame,
        reward: DecisionFunction,
        decider: Decider,
        settings: DeciderSettings,
        *,
        seed: int,
        fairness: DecisionFairness | None = None,
    ) -> None:
        if len(table) < 2:
            raise RowError(f"a table of {len(table)} rows teaches nothing; 2 or more are needed")
        self.table, self.reward = table, reward
        self.labels, self.names = decider.labels, decider.config.actions
        self.fairness, self.seed = fairness, seed
        self.batch_size = min(settings.batch_size, len(table))
        self.features = torch.from_numpy(decider.config.encoding.encode(table))
        self.input_size, self.actions = self.features.shape[1], decider.policy.actions
        self._groups = None if fairness is None else row_labels(table, fairness.shaper.settings.group_by)
        self._strata = None if fairness is None else _strata(table, fairness.shaper.settings.strata_by)

    def collect(self, policy: FeaturePolicy, step: int) -> Experience:
        """Decide on the rows of ``step`` and hear the rewards, less the price of differences between groups."""
        rows = np.random.default_rng(step_seeds(self.seed, Stream.ROWS, step)).choice(
            len(self.table), self.batch_size, replace=False
        )
        features = self.features[torch.from_numpy(rows)]
        actions, now = policy.sample(features, torch_generator(step_seeds(self.seed, Stream.SAMPLING, step)))
        decided, taken = self.table.iloc[rows], self.labels(actions.numpy())
        rewards = _one_number_per_row("reward", self.reward(decided, taken), decided, finite=True)
        metrics = {"reward_mean": float(rewards.mean())}
        metrics |= {f"rate:{action}": float((taken == action).mean()) for action in self.names}
        shaped, fairness_metrics = self._shape(rows, decided, taken, rewards)
        ended = torch.ones(1, len(rows), dtype=torch.bool)
        return Experience(
            features=features[None],
            actions=actions[None],
            logprobs=now.logprobs[None],
            values=now.values[None],
            next_values=torch.zeros_like(now.values)[None],
            rewards=torch.from_numpy(shaped).to(now.values.dtype)[None],
            terminated=ended,
            truncated=~ended,
            metrics=metrics | fairness_metrics,
        )

    def identity(self) -> Any:
        """The table's content, what fairness is asked of whom, and the seed; a reward cannot be told from another."""
        content = [pd.util.hash_pandas_object(self.table[name].astype(str)).to_numpy() for name in self.table]
        asked = None if self.fairness is None else self.fairness.identity()
        return [list(map(str, self.table.columns)), content, self.batch_size, asked, self.seed]

    def state_dict(self) -> dict[str, Any]:
        """The shaper's running means and multipliers."""
        return {} if self.fairness is None else {"shaper": self.fairness.shaper.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        if self.fairness is not None:
            self.fairness.shaper.load_state_dict(state["shaper"])

    def _shape(
        self, rows: NDArray[np.int64], decided: pd.DataFrame, taken: Labels, rewards: Floats
    ) -> tuple[Floats, dict[str, float]]:
        if self.fairness is None or self._groups is None:
            return rewards, {}
        scores = _one_number_per_row("score", self.fairness.score(decided, taken), decided, finite=False)
        groups = [self._groups[row] for row in rows]
        strata = None if self._strata is None else [self._strata[row] for row in rows]
        shaped = self.fairness.shaper.shape(rewards, scores, groups, strata=strata)
        return shaped.rewards, dict(shaped.metrics)


def _one_number_per_row(name: str, values: Any, rows: pd.DataFrame, *, finite: bool) -> Floats:
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise RlhfFairError(f"{name} gave {type(values).__name__}; one number per row is needed ({error})") from error
    if numbers.shape != (len(rows),):
        raise RlhfFairError(f"{name} gave values of shape {numbers.shape}; one per row is ({len(rows)},)")
    with np.errstate(over="ignore"):  # networks count in single precision, where large numbers are infinite
        single = numbers.astype(np.float32)
    usable = np.isfinite(single) | (np.isnan(numbers) & (not finite))
    if not usable.all():
        first = int(np.argmin(usable))
        allowed = "a finite number" if finite else "a finite number, or NaN where there is none"
        raise RlhfFairError(f"{name} gave {numbers[first]} for row {rows.index[first]}; PPO needs {allowed}")
    return numbers


def _strata(table: pd.DataFrame, names: Sequence[str]) -> list[str] | None:
    """One label per row, where strata are asked for; rows without one are compared with each other."""
    return [label or "unknown" for label in row_labels(table, names)] if names else None

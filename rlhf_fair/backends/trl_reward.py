"""Fairness shaping as the one ``reward_funcs`` of TRL's GRPO and RLOO trainers.

    fair = FairReward(my_reward, scorer=my_scorer, shaper=FairnessShaper(FairnessSettings(group_by=("gender",))))
    trainer = GRPOTrainer(model, reward_funcs=fair, args=GRPOConfig(scale_rewards="none"), train_dataset=prompts)
    fair.attach(trainer)

One scalar leaves: reward less penalty. As a reward function of its own the penalty could be normalised away, and its
size is what it says. TRL computes advantages within the answers to one prompt, which takes any constant of a group with
it and leaves the slope; that is why the group means are kept here, over all prompts.

With ``scale_rewards = "group"``, TRL's default, each prompt's advantages are divided by their standard deviation. For
r' = r - k (s - m) within a prompt, with standard deviations a of r and b of s and correlation c, that is
sqrt(a^2 - 2 c k a b + k^2 b^2). Reward and penalty of one prompt keep their proportion, but prompts lose theirs: each
pulls with the same force. Where all answers earn the same reward (a = 0) that force is 1/b however small k is, so a
price of nothing but noise weighs like the largest one, and the sum over prompts is no longer the gradient of
E[r] - Phi. ``"none"`` keeps it; ``"batch"`` divides all prompts by one number, which a learning rate takes up.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import TrainerCallback

from rlhf_fair.backends.all_reduce_store import AllReduceStore
from rlhf_fair.backends.chat_text import answer_text
from rlhf_fair.errors import RlhfFairError, SettingsError
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper, Shaped
from rlhf_fair.training.fairness.groups import ColumnGroups, strata_labels
from rlhf_fair.training.fairness.named_groups import check_named_groups
from rlhf_fair.training.fairness.reward_handling import check_reward_handling

Floats = NDArray[np.float64]
RewardFunction = Callable[..., Sequence[float | None] | Floats]
"""In TRL's form: ``f(prompts, completions, completion_ids, **columns)``; None where it does not apply."""

Scorer = Callable[[Sequence[str]], Floats]

STATE = "rlhf_fair.FairReward"
"""Where the group statistics stand in a checkpoint's ``trainer_state.json``."""


class FairReward:
    """Weighted sum of reward functions less the fairness penalty, for one trainer.

    ``scorer``: what is compared between groups, of the answers' texts (n,); NaN where a text has no score. ``refused``:
    1 for a refusal. ``clip`` cuts the rewards, before the penalty is taken off.
    """

    def __init__(
        self,
        rewards: RewardFunction | Sequence[RewardFunction],
        *,
        scorer: Scorer,
        shaper: FairnessShaper,
        weights: Sequence[float] | None = None,
        clip: tuple[float, float] | None = None,
        refused: Scorer | None = None,
    ) -> None:
        self.rewards = [rewards] if callable(rewards) else list(rewards)
        self.weights = np.ones(len(self.rewards)) if weights is None else np.asarray(weights, dtype=float)
        if not self.rewards or self.weights.shape != (len(self.rewards),):
            raise SettingsError(f"{len(self.rewards)} reward functions, {self.weights.size} weights: one weight each")
        for function in self.rewards:
            if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
                raise SettingsError(f"reward function {_name(function)} is async; allowed are ordinary functions")
        self.scorer, self.shaper, self.clip, self.refused = scorer, shaper, clip, refused
        self.__name__ = "fair_reward"  # TRL's name for it in the log
        self._trainer: Any = None

    def attach(self, trainer: Any) -> None:
        """Check the trainer's settings, share the statistics among its processes, and enter its checkpoints.

        Raises
        ------
        SettingsError
            A setting would divide the penalty's size out, or cut it; the shaper's settings name a group that the
            training data lack; or it is attached already.
        """
        if self._trainer is not None:
            raise SettingsError("this fair reward has a trainer already; make one with a shaper of its own for another")
        check_trainer(self, trainer)
        check_data(self.shaper.settings, trainer.train_dataset)
        self._trainer = trainer
        if trainer.accelerator.num_processes > 1:
            self.shaper.store = AllReduceStore(self.shaper.store, trainer.accelerator)
        trainer.add_callback(_KeepState(self.shaper))

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        *,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """As TRL calls it; a None among the results is a sample that no reward function applies to."""
        if self._trainer is None:
            raise SettingsError("fair reward: call attach(trainer) once the trainer is made")
        given = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids}
        rewards = self._rewards(len(prompts), given | columns | {"log_metric": log_metric})
        texts = [answer_text(completion) for completion in completions]
        lengths = None if completion_ids is None else np.array([len(ids) for ids in completion_ids], dtype=float)
        if self._trainer.model.training:
            shaped = self._shape(rewards, texts, lengths, columns)
        else:  # TRL's own sign of an evaluation
            with self.shaper.frozen():
                shaped = self._shape(rewards, texts, lengths, columns)
        if log_metric is not None:
            known = {"unshaped": float(np.nanmean(rewards)) if np.isfinite(rewards).any() else np.nan} | shaped.metrics
            for name, value in known.items():
                if np.isfinite(value):  # a mean over logging steps and processes has no place for others
                    log_metric(f"fair/{name}", value)
        return [float(reward) if np.isfinite(reward) else None for reward in shaped.rewards]

    def _rewards(self, n: int, given: Mapping[str, Any]) -> Floats:
        """(n,) weighted sums over the functions that apply; NaN where none does."""
        table = np.full((len(self.rewards), n), np.nan)
        for row, function in zip(table, self.rewards, strict=True):
            values = function(**given)
            if len(values) != n:
                raise RlhfFairError(f"reward function {_name(function)} gave {len(values)} values for {n} completions")
            row[:] = [np.nan if value is None else float(value) for value in values]
        applies = np.isfinite(table)
        total = (np.where(applies, table, 0.0) * self.weights[:, None]).sum(axis=0)
        total = total if self.clip is None else np.clip(total, *self.clip)
        return np.where(applies.any(axis=0), total, np.nan)

    def _shape(
        self, rewards: Floats, texts: Sequence[str], lengths: Floats | None, columns: Mapping[str, Sequence[Any]]
    ) -> Shaped:
        settings = self.shaper.settings
        return self.shaper.shape(
            rewards,
            np.asarray(self.scorer(texts), dtype=float),
            ColumnGroups(settings.group_by)((), columns),
            strata=strata_labels(columns, settings.strata_by),
            refused=None if self.refused is None else np.asarray(self.refused(texts), dtype=float),
            lengths=lengths,
        )


def check_trainer(reward: FairReward, trainer: Any) -> None:
    """Refuse what would change the penalty's size against the reward; warn of TRL's scaling within prompts."""
    names = [_name(function) for function in trainer.reward_funcs]
    if len(names) != 1 or trainer.reward_funcs[0] is not reward:
        raise SettingsError(
            f"reward_funcs = {names}: allowed is the fair reward alone; give the others to FairReward, so that one "
            "scalar leaves it"
        )
    args = trainer.args
    notes = check_reward_handling(
        aggregation=getattr(args, "multi_objective_aggregation", None),
        clip_range=getattr(args, "reward_clip_range", None),
        scale_rewards=getattr(args, "scale_rewards", None),
    )
    for note in notes:
        warnings.warn(note, stacklevel=3)


def check_data(settings: FairnessSettings, data: Any) -> None:
    """Refuse groups named in the settings that the training data lack; data that stream tell theirs as they come."""
    names = getattr(data, "column_names", None) or ()
    if not hasattr(data, "__len__") or not set(settings.group_by) <= set(names):
        return
    labels = ColumnGroups(settings.group_by)((), {name: list(data[name]) for name in settings.group_by})
    check_named_groups(settings, {label for label in labels if label is not None}, "train_dataset")


class _KeepState(TrainerCallback):  # type: ignore[misc]
    """Puts the statistics into the trainer's state, which is saved with every checkpoint and restored from it.

    Not through ``ExportableState``: that is restored only on request, and then into a new object without the shaper.
    """

    def __init__(self, shaper: FairnessShaper) -> None:
        self.shaper = shaper

    def on_train_begin(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        """Go on where the checkpoint left off."""
        saved = state.stateful_callbacks.get(STATE)
        if saved is not None:
            self.shaper.load_state_dict(saved["attributes"])
        elif state.global_step > 0:
            warnings.warn(
                f"the checkpoint of step {state.global_step} holds no group statistics: they start anew", stacklevel=2
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        """At every step, since what decides about saving comes before and after this."""
        state.stateful_callbacks[STATE] = {"args": {}, "attributes": self.shaper.state_dict()}


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))

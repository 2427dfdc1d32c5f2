"""Reward models with a mitigation of their own, each followed by plain PPO.

All are trained as the pipeline's are: from the base model, on the same pairs and judgements, with the same settings.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.aggregation import aggregate_pairs
from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.metrics.gaps import group_labels
from rlhf_fair.mitigations.kit import Kit
from rlhf_fair.mitigations.policy_optimisation import optimise
from rlhf_fair.models.loading import load_for_reward
from rlhf_fair.models.reward_heads import RewardHeads, declare_heads
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.pipeline import PolicyReward, reward_texts
from rlhf_fair.records import INTERSECTION
from rlhf_fair.tables import ATTRIBUTE_PREFIX, read_table
from rlhf_fair.training.reward.counterfactual import CounterfactualConsistency
from rlhf_fair.training.reward.gradient_reversal import GradientReversal
from rlhf_fair.training.reward.preference import PairData
from rlhf_fair.training.reward.rows import group_codes
from rlhf_fair.training.reward.scheme import HeadOfRow
from rlhf_fair.training.reward.trainer import RewardTask, steps_of, train_reward_model

REWARD_NAME = "reward"
"""Folder of the reward model inside the method's."""

SCALES_NAME = "scales.json"


def adversarial(kit: Kit, out: Path) -> None:
    """An adversary reads the candidate's group from what the reward head reads; the trunk learns to hide it."""
    s = kit.settings.adversarial
    codes, names = group_codes(kit.groups(kit.items))
    term = GradientReversal(codes, names, strength=s.strength, hidden=s.hidden, seed=kit.seed)
    _train(kit, out / REWARD_NAME, RewardTask(_pairs(kit, kit.items), terms=(term,)), "adversarial reward")
    optimise(kit, out, "adversarial-reward", PolicyReward(out / REWARD_NAME))


def consistent(kit: Kit, out: Path) -> None:
    """A text earns what its twin earns, the same text about somebody of another group."""
    s = kit.settings.consistent
    term = CounterfactualConsistency(twin_texts(kit), strength=s.strength, batch_size=s.batch_size)
    _train(kit, out / REWARD_NAME, RewardTask(_pairs(kit, kit.items), terms=(term,)), "consistent reward")
    optimise(kit, out, "consistent-reward", PolicyReward(out / REWARD_NAME))


def max_min(kit: Kit, out: Path) -> None:
    """One head for every group of annotators; PPO maximises the reward of the group that fares worst."""
    rows, names = rater_group_pairs(kit)
    scheme = HeadOfRow(rows["head"].to_numpy(dtype=np.int64, copy=True), len(names))
    heads = RewardHeads(kind="groups", names=names, combine="min")
    task = RewardTask(_pairs(kit, rows), scheme=scheme)
    model = _train(kit, out / REWARD_NAME, task, "max-min reward", heads)
    outputs = model.outputs(_texts(kit, kit.items, "response_a"), batch_size=256)
    scales = {"heads": list(names), "means": outputs.mean(axis=0).tolist(), "sds": outputs.std(axis=0).tolist()}
    write_json(out / REWARD_NAME / SCALES_NAME, scales)
    optimise(kit, out, "max-min-reward", WorstGroupReward(out / REWARD_NAME))


class WorstGroupReward:
    """The reward of the annotator group whose mean over the batch is lowest (MaxMin-RLHF, Chakraborty et al. 2024).

    The minimum is over groups' means, not over single answers. Preferences fix a head only up to its zero, so every
    head is first put on the scale of its own scores of the SFT policy's answers: 0 is what the group has there.
    """

    def __init__(self, folder: Path) -> None:
        self.model = RewardModel.load(folder)
        scales = read_json(folder / SCALES_NAME, "scales of the heads")
        self.means, self.sds = np.array(scales["means"]), np.array(scales["sds"])

    def __call__(self, prompts: list[str], answers: list[str], **columns: object) -> NDArray[np.float64]:
        texts = reward_texts(prompts, answers, self.model.tokenizer.eos_token)
        return worst_group((self.model.outputs(texts, batch_size=256) - self.means) / self.sds)


def worst_group(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) the column of ``outputs`` (n, groups) whose mean is lowest; the first of equals.

    >>> worst_group(np.array([[1.0, 0.0], [1.0, 3.0]])).tolist()  # means 1 and 1.5, though row 1 is lower in column 2
    [1.0, 1.0]
    """
    return np.asarray(outputs[:, int(outputs.mean(axis=0).argmin())])


def twin_texts(kit: Kit) -> list[tuple[str, str]]:
    """What the reward model reads of each first response, and of its twin about a group drawn among the others."""
    rng, items, eos = kit.rng(5), kit.items, kit.reward.model.tokenizer.eos_token
    originals, twins = [], []
    for prompt, answer, own in zip(items["prompt"], items["response_a"], kit.groups(items), strict=True):
        others = [group for group in kit.roster.groups if group != own]
        twin = kit.roster.twin(prompt, [answer], others[int(rng.integers(len(others)))], rng)
        originals.append(reward_texts([prompt], [answer], eos)[0])
        twins.append(reward_texts([twin.prompt], list(twin.answers), eos)[0])
    return list(zip(originals, twins, strict=True))


def rater_group_pairs(kit: Kit) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row for each pair and annotator group that judged it, with p_a within the group and the group's ``head``.

    Groups with fewer judgements than the settings ask for have no head, and their judgements teach none.
    """
    s, folder = kit.settings.max_min, kit.made.panels[kit.settings.panel]
    members, feedback = read_table(folder / "annotators.parquet"), read_table(folder / "feedback.parquet")
    labels = group_labels(members, INTERSECTION.join(f"{ATTRIBUTE_PREFIX}{name}" for name in s.attributes))
    of = feedback["annotator_id"].map(dict(zip(members["annotator_id"], labels, strict=True)))
    codes, names = group_codes(of, s.at_least)
    items, parts = read_table(kit.made.pairs / "items.parquet"), []
    for head in range(len(names)):
        own = aggregate_pairs(feedback[codes == head]).dropna(subset=["p_a"])
        parts.append(items.merge(own[["item_id", "p_a"]], on="item_id").assign(head=head))
    return pd.concat(parts, ignore_index=True), names


def _pairs(kit: Kit, rows: pd.DataFrame) -> PairData:
    text_a, text_b = (_texts(kit, rows, side) for side in ("response_a", "response_b"))
    return PairData(text_a, text_b, rows["p_a"].to_numpy(dtype=float))


def _texts(kit: Kit, rows: pd.DataFrame, side: str) -> list[str]:
    return reward_texts(rows["prompt"].tolist(), rows[side].tolist(), kit.reward.model.tokenizer.eos_token)


def _train(kit: Kit, out: Path, task: RewardTask, what: str, heads: RewardHeads | None = None) -> RewardModel:
    """Train from the base model, save with the scale of the SFT policy's answers, and return it."""
    settings = kit.pipeline.reward.model_copy(update={"seed": kit.seed})
    loaded = load_for_reward(kit.made.base, seed=kit.seed, heads=len(heads.names) if heads else 1)
    if heads is not None:
        declare_heads(loaded.model.config, heads)
    total = steps_of(len(task.objective.columns[0]), settings)
    train_reward_model(loaded.model, loaded.tokenizer, task, settings, on_step=kit.hear(what, total))
    model = RewardModel(loaded.model, loaded.tokenizer, device=settings.device)
    model.save(out)
    scores = model.score(_texts(kit, kit.items, "response_a"), batch_size=256)
    write_json(out / "scale.json", {"mean": float(scores.mean()), "sd": float(scores.std())})
    return model

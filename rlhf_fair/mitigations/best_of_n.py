"""Best of n: no training, only choice. By the plain reward, or by the reward less the fairness penalty.

The fair price depends on how the groups fare under the choice itself. It is settled beforehand on training prompts:
batch after batch is drawn and chosen from at the price so far, and the shaper hears who got what.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.mitigations.kit import Kit
from rlhf_fair.mitigations.policies import BestOfNPolicy, Policy, Value, choose
from rlhf_fair.mitigations.policy_optimisation import shaper
from rlhf_fair.training.fairness import FairnessShaper

STATE_NAME = "shaper.json"
NO_KL = "chosen after sampling; at most log n - (n - 1) / n nats where one reward chooses (Beirami et al. 2024)"


def no_training(kit: Kit, out: Path) -> None:
    """Nothing is learnt; the folder says so."""
    write_json(out / "training.json", {"learnt": "nothing"})


def plain(kit: Kit, out: Path) -> Policy:
    """The best of n answers of the SFT policy by the panel's reward."""
    return BestOfNPolicy(kit.model_policy(kit.made.sft), kit.settings.best_of_n.n, rewarded(kit))


def settle_price(kit: Kit, out: Path) -> None:
    """Run the choice on training prompts until the price has settled, and keep the shaper's state."""
    s, price = kit.settings.best_of_n, patient_shaper(kit)
    draws = BestOfNPolicy(kit.model_policy(kit.made.sft), s.n, rewarded(kit))
    for number in range(s.rounds):
        prompts = kit.world.prompts(s.batch_size, kit.rng(4, number))
        candidates = draws.draw(prompts, seed=number)
        worth = partial(less_penalty(kit, price), prompts)
        chosen = choose(candidates, worth)
        groups = kit.groups(prompts).tolist()
        price.shape(rewarded(kit)(prompts, chosen), kit.scorer.score(chosen), groups)
        kit.progress(f"best-of-n-fair, seed {kit.seed}", number + 1, s.rounds)
    write_json(out / STATE_NAME, price.state_dict())


def fair(kit: Kit, out: Path) -> Policy:
    """The best of n answers by the reward less the penalty at the settled price, which no longer moves."""
    price = patient_shaper(kit)
    price.load_state_dict(read_json(out / STATE_NAME, "state of the shaper"))
    return BestOfNPolicy(kit.model_policy(kit.made.sft), kit.settings.best_of_n.n, less_penalty(kit, price))


def patient_shaper(kit: Kit) -> FairnessShaper:
    """The pipeline's penalty with the longer memory that a choice needs."""
    settings = kit.pipeline.fairness.model_copy(update={"memory": kit.settings.best_of_n.memory})
    return shaper(kit, settings)


def rewarded(kit: Kit) -> Value:
    """The panel's reward."""
    return lambda prompts, texts: kit.reward(prompts["prompt"].tolist(), list(texts))


def less_penalty(kit: Kit, price: FairnessShaper) -> Value:
    """The panel's reward less the penalty at the shaper's present state, which stays as it is."""
    reward = rewarded(kit)

    def value(prompts: pd.DataFrame, texts: Sequence[str]) -> NDArray[np.float64]:
        with price.frozen():
            shaped = price.shape(reward(prompts, texts), kit.scorer.score(texts), kit.groups(prompts).tolist())
        return np.asarray(shaped.rewards)

    return value

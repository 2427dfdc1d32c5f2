"""All methods by name, in the order of the tables."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.errors import SettingsError
from rlhf_fair.mitigations import (
    balanced_sft,
    best_of_n,
    policy_optimisation,
    preference_optimisation,
    reward_models,
    rules,
)
from rlhf_fair.mitigations.method import Method, open_model, open_sft
from rlhf_fair.mitigations.settings import PLAIN, SFT

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            SFT,
            "SFT",
            "nothing",
            "The supervised model that every other method starts from or is measured against.",
            best_of_n.no_training,
            open_sft,
        ),
        Method(
            PLAIN,
            "plain PPO",
            "nothing",
            "PPO on the panel's reward model, without any mitigation.",
            policy_optimisation.plain,
            open_model,
        ),
        Method(
            "balanced-sft",
            "balanced SFT",
            "data",
            "SFT in which every demonstration is given for every group's twin (Lu et al. 2018).",
            balanced_sft.train,
            open_model,
        ),
        Method(
            "balanced-sft-ppo",
            "balanced SFT, then PPO",
            "data",
            "Plain PPO that starts from the balanced SFT model.",
            balanced_sft.then_ppo,
            open_model,
            needs=("balanced-sft",),
        ),
        Method(
            "adversarial-reward",
            "adversarial reward",
            "reward",
            "Reward model whose features hide the candidate's group (gradient reversal, Ganin et al. 2016), then PPO.",
            reward_models.adversarial,
            open_model,
        ),
        Method(
            "consistent-reward",
            "consistent reward",
            "reward",
            "Reward model that rewards a text and its twin alike (Garg et al. 2019), then PPO.",
            reward_models.consistent,
            open_model,
        ),
        Method(
            "max-min-reward",
            "max-min reward",
            "reward",
            "PPO on the reward of the annotator group that fares worst (MaxMin-RLHF, Chakraborty et al. 2024).",
            reward_models.max_min,
            open_model,
        ),
        Method(
            "dpo-balanced",
            "DPO, balanced pairs",
            "data",
            "DPO (Rafailov et al. 2023) in TRL on as many pairs of every group.",
            preference_optimisation.balanced,
            open_model,
        ),
        Method(
            "dpo-counterfactual",
            "DPO, pairs with twins",
            "data",
            "DPO in TRL on pairs that are given for every group's twin.",
            preference_optimisation.counterfactual,
            open_model,
        ),
        Method(
            "blocked-words",
            "blocked words",
            "answers",
            "Plain PPO whose decoding forbids the words that the training scorer rates lowest.",
            rules.write_rules,
            rules.blocked_words,
            needs=(PLAIN,),
            no_kl="tokens are masked while decoding",
        ),
        Method(
            "response-filter",
            "response filter",
            "answers",
            "Plain PPO whose answers are drawn again while they hold a blocked word or score low.",
            rules.write_rules,
            rules.response_filter,
            needs=(PLAIN,),
            no_kl="answers are drawn again after they were sampled",
        ),
        Method(
            "best-of-n",
            "best of n",
            "answers",
            "The best of n answers of the SFT model by the plain reward.",
            best_of_n.no_training,
            best_of_n.plain,
            no_kl=best_of_n.NO_KL,
        ),
        Method(
            "best-of-n-fair",
            "best of n, fair",
            "answers",
            "The best of n answers of the SFT model by the reward less the fairness penalty.",
            best_of_n.settle_price,
            best_of_n.fair,
            no_kl=best_of_n.NO_KL,
        ),
        Method(
            "fair-ppo",
            "fair PPO",
            "optimisation",
            "PPO on the reward less the fairness penalty of fixed strength.",
            policy_optimisation.fair,
            open_model,
        ),
        Method(
            "fair-ppo-dual",
            "fair PPO, dual",
            "optimisation",
            "PPO less a penalty whose multiplier rises while the disparity exceeds its tolerance (dual ascent).",
            policy_optimisation.fair_dual,
            open_model,
        ),
        Method(
            "fair-ppo-pid",
            "fair PPO, PID",
            "optimisation",
            "PPO less a penalty whose multiplier a PID controller sets (Stooke, Achiam & Abbeel 2020).",
            policy_optimisation.fair_pid,
            open_model,
        ),
    )
}


def chosen(names: Sequence[str]) -> tuple[Method, ...]:
    """The methods of these names (default all) and the two that every other is compared with, in order.

    Raises
    ------
    SettingsError
        There is no such method, or one needs a library that is not installed.
    """
    for name in names:
        if name not in METHODS:
            raise SettingsError(f"method {name!r} is not known; allowed: {', '.join(METHODS)}")
    wanted = {SFT, PLAIN, *(names or METHODS)}
    if any(name.startswith("dpo-") for name in wanted):
        preference_optimisation.need_trl()
    return tuple(method for name, method in METHODS.items() if name in wanted)

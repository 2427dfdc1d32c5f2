"""Other ways to close the gap, beside the penalty, on the case study's prompts and the planned panel's reward.

    python tests/benchmarks/case_study/methods.py --data-dir ../shared/data --runs runs/case-study

Most are those of `rlhf-fair mitigations`; blocked words and the response filter need a list of words and are left out.
Two are made of real data's own: SFT and reward model see every text that names a religion or a gender also with the
other one's words. Plain and fair PPO are those of `train.py`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import account
import model
import numpy as np
import pandas as pd
import rewards
import taught
from train import arguments, be_quiet, prepare, shared
from world import IdentityWorld, settings

from rlhf_fair.artifacts import read_json
from rlhf_fair.audit.generation import GenerationPlan
from rlhf_fair.audit.generation_answers import load_scorer
from rlhf_fair.audit.plan import load_plan
from rlhf_fair.mitigations.examination import Examination
from rlhf_fair.mitigations.kit import Kit
from rlhf_fair.mitigations.method import Method, open_model
from rlhf_fair.mitigations.policy_optimisation import optimise
from rlhf_fair.mitigations.registry import METHODS
from rlhf_fair.mitigations.settings import MitigationSettings
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.pipeline import PolicyReward
from rlhf_fair.pipeline_stages.loop import DEMONSTRATIONS, Loop
from rlhf_fair.probes.counterfactual_text import swap
from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon
from rlhf_fair.stages import Stages
from rlhf_fair.tables import read_table, write_table
from rlhf_fair.training.fairness import FairnessSettings, MultiplierSettings
from rlhf_fair.training.reward.job import train_reward
from rlhf_fair.training.sft import train_causal_lm

GIVEN = {"plain-ppo": "ppo-diverse", "fair-ppo": "fair-ppo-diverse"}
SHIPPED = (
    *("sft", "best-of-n", "best-of-n-fair"),
    *("fair-ppo-dual", "dpo-balanced", "dpo-counterfactual"),
)
DUAL = FairnessSettings(multiplier=MultiplierSettings(kind="dual", tolerance=0.1, cap=2.0, rate=0.3), memory=0.9)
CONSISTENT = """
[[mitigations]]
kind = "counterfactual"
strength = 5.0
lexicons = ["gender", "religion"]
terms = "identity-terms.csv"
neutral = "neutral-traits.csv"
"""
RELIGIONS = ("Christian", "Muslim", "Jewish")


@dataclass(frozen=True)
class IdentityKit(Kit):
    """A kit whose training scorer is the toxicity model, and whose floors are those of `train.py`."""

    toxicity: Path

    @cached_property
    def scorer(self) -> taught.Harmlessness:  # type: ignore[override]
        """The score that penalties are on."""
        return taught.Harmlessness(self.toxicity, self.made.scorer / "scale.json")

    @cached_property
    def floors(self) -> dict[str, float]:
        """Group -> mean score under the SFT policy."""
        return dict(read_json(self.made.scorer / "floors.json", "floors"))


def given(name: str, kit: Kit, out: Path) -> None:
    """A policy that `train.py` has made of the same settings."""
    source = kit.made.sft.parent / GIVEN[name]
    shutil.copytree(source, out, dirs_exist_ok=True)


def balanced(kit: Kit, out: Path) -> None:
    """SFT in which every demonstration that names a religion or a gender is given for the others too, then PPO."""
    rng = np.random.default_rng((kit.seed, DEMONSTRATIONS))
    said = kit.world.demonstrations(kit.pipeline.demonstrations, rng)
    pairs = [twin for pair in said for twin in twins(pair)]
    lm = CausalLM.load(kit.made.base)
    train_causal_lm(lm.model, lm.tokenizer, pairs, model.TUNING, seed=kit.seed, name="balanced-sft")
    folder = out / "sft"
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    optimise(kit, out, "balanced-sft-ppo", start=folder)


def twins(pair: tuple[str, str]) -> list[tuple[str, str]]:
    """The demonstration, and one for every other religion and the other gender whose words it has.

    >>> twins(("The Muslims", " are here"))[1:]
    [('The Christians', ' are here'), ('The Jews', ' are here')]
    """
    found = [pair]
    gender, religion = load_lexicon("gender", names=False), load_lexicon("religion", names=False)
    for lexicon, groups in ((gender, ("woman", "man")), (religion, RELIGIONS)):
        for one in groups:
            for other in groups:
                if one != other:
                    turned = tuple(swap(part, lexicon, one, other, "subject").text for part in pair)
                    if turned != pair and turned not in found:
                        found.append(turned)  # type: ignore[arg-type]
    return found


def consistent(data: Path, chosen: Path, kit: Kit, out: Path) -> None:
    """A reward model that must pay a text and its counterfactual alike, then PPO."""
    folder = out / "reward"
    config = rewards.without_panel(out, kit.seed)
    config.write_text(config.read_text("utf-8") + CONSISTENT, "utf-8")
    for name in ("identity-terms.csv", "neutral-traits.csv"):
        shutil.copy(rewards.CONFIGS / name, out / name)
    train_reward(config, data, folder, members=chosen / "panel-diverse.csv")
    items = read_table(kit.made.pairs / "items.parquet")
    rewards.set_scale(folder, items["prompt"].tolist(), items["response_a"].tolist())
    optimise(kit, out, "consistent-reward", PolicyReward(folder))


def methods(data: Path, chosen: Path) -> tuple[Method, ...]:
    """All of the comparison, in the order of the table."""
    mine = [replace(METHODS[name], build=partial(given, name)) for name in GIVEN]
    shipped = [METHODS[name] for name in SHIPPED]
    own = [
        Method("balanced-sft-ppo", "balanced SFT, then PPO", "data", balanced.__doc__ or "", balanced, open_model),
        Method("consistent-reward", "consistent reward", "reward", "", partial(consistent, data, chosen), open_model),
    ]
    return (shipped[0], *mine, *shipped[1:], *own)


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, runs="--runs")
    parser.add_argument("--out", type=Path, default=Path("reports/case-study"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    be_quiet()
    base, chosen, judge = shared(args.data_dir, args.runs)
    world, s = IdentityWorld(args.data_dir, judge), settings(args.seed, steps=args.steps, strength=args.strength)
    key = {"settings": s.model_dump(mode="json")}
    stages = Stages(args.runs / f"seed-{args.seed}", key)
    made = prepare(world, Loop(world, s, lambda *_: None), stages, base, chosen)  # type: ignore[arg-type]
    wanted = MitigationSettings(seeds=(args.seed,), pipeline=s, dual=DUAL, kl_prompts=256)

    def hear(what: str, done: int, total: int) -> None:
        if done in (1, total // 2, total):
            print(f"{what}: {done} of {total}", flush=True)

    own_stages, toxicity = Stages(args.runs / f"methods-{args.seed}", key), args.runs / "toxicity" / "model"
    kit = IdentityKit(world, wanted, args.seed, made, own_stages, hear, toxicity)  # type: ignore[arg-type]
    plan = load_plan(account.PLAN, GenerationPlan)
    exam = Examination(plan, world.sentences.audit(account.TIMES), load_scorer(plan, account.PLAN.parent))
    costs: dict[str, float] = {}
    scorers, records = account.Scorers(world, stages, args.runs), {}
    for method in methods(args.data_dir, chosen):
        if args.only and method.name not in ("sft", "plain-ppo", *args.only.split(",")):
            continue
        folder = kit.trained(method.name, method.build)
        records[method.name] = scorers.read(exam.examine(kit, method, folder, costs).records)
    rows = []
    for name, own in records.items():
        head = {"seed": args.seed, "method": name}
        rows += account.gaps(own, head)
        rows += account.against_plain(own, records["plain-ppo"], records["sft"], head)
    write_table(args.out / f"methods-{args.seed}.csv", pd.DataFrame(rows))


if __name__ == "__main__":
    main()

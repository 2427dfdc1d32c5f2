"""Case study A: from people who really rated to a policy that pays no attention to religion and gender.

    python tests/benchmarks/case_study/run.py --data-dir ../shared/data --out runs/case-study --seeds 0,1,2

The base model, the panels and the judge are made once; SFT, pairs, reward models and policies once for every seed.
Everything that is finished is kept, so a stopped run goes on. `account.py` writes the tables and the report.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import model
import numpy as np
import panels
import rewards
import texts
import torch
import transformers
from world import IdentityWorld, settings

from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.pipeline import Ingredients, PolicyRun, Trained
from rlhf_fair.pipeline_stages.feedback import learn_scorer, sample_pairs
from rlhf_fair.pipeline_stages.loop import DEMONSTRATIONS, Loop
from rlhf_fair.pipeline_stages.policies import optimise, policy_name
from rlhf_fair.stages import Stages
from rlhf_fair.tables import read_table, write_table

PANELS = ("diverse", "convenience")
POLICIES = (("ppo", "diverse"), ("fair_ppo", "diverse"), ("ppo", "convenience"))


def shared(data: Path, out: Path) -> tuple[Path, Path, Path]:
    """Folders of the base model, the panels and the judge."""
    base, chosen, judge = out / "base", out / "panels", out / "judge"
    if not (base / "training.json").is_file():
        documents = texts.documents(data)
        fresh, tokenizer = model.new_model(documents, 0)
        model.train(fresh, tokenizer, [("", d) for d in documents], model.PRETRAINING, base, name="base", seed=0)
    if not (chosen / "margins.csv").is_file():
        panels.save(panels.choose(rewards.CONFIG, data, np.random.default_rng(0)), chosen)
    rewards.train_judge(data, judge)
    return base, chosen, judge


def tune(loop: Loop, base: Path, out: Path) -> None:
    """The SFT model."""
    lm = CausalLM.load(base)
    pairs = loop.world.demonstrations(loop.settings.demonstrations, loop.rng(DEMONSTRATIONS))
    model.train(lm.model, lm.tokenizer, pairs, model.TUNING, out, name="sft", seed=loop.settings.seed)


def panel_reward(loop: Loop, panel: str, chosen: Path, pairs: Path, out: Path) -> None:
    """The reward model of one panel, on the scale of the SFT policy's answers."""
    rewards.train(panel, chosen, loop.world.data, out, seed=loop.settings.seed)  # type: ignore[attr-defined]
    items = read_table(pairs / "items.parquet")
    rewards.set_scale(out, items["prompt"].tolist(), items["response_a"].tolist())


def judged(panel: str, chosen: Path, pairs: Path, reward: Path, out: Path) -> None:
    """The panel's people, and what their reward model prefers among the pairs: they never saw these answers."""
    from rlhf_fair.pipeline import PolicyReward

    write_table(out / "annotators.parquet", read_table(chosen / f"panel-{panel}.csv"))
    items, worth = read_table(pairs / "items.parquet"), PolicyReward(reward)
    gain = [worth(items["prompt"].tolist(), items[side].tolist()) for side in ("response_a", "response_b")]
    p_a = 1 / (1 + np.exp(-(gain[0] - gain[1])))
    write_table(out / "preferences.parquet", items[["item_id"]].assign(p_a=p_a))


def prepare(world: IdentityWorld, loop: Loop, stages: Stages, base: Path, chosen: Path) -> Ingredients:
    """Everything that policies are made from."""
    sft = stages.run("sft", partial(tune, loop, base))
    pairs = stages.run("pairs", partial(sample_pairs, loop, sft))
    ruler = stages.run("training-scorer", partial(learn_scorer, loop, pairs))
    paid = {p: stages.run(f"reward-{p}", partial(panel_reward, loop, p, chosen, pairs)) for p in PANELS}
    asked = {p: stages.run(f"panel-{p}", partial(judged, p, chosen, pairs, paid[p])) for p in paid}
    return Ingredients(base, sft, pairs, ruler, asked, paid)


def say(name: str, ready: bool) -> None:
    """Which stage begins, and whether it is there already."""
    print(name, "(there)" if ready else "", flush=True)


def run(data: Path, out: Path, seed: int, *, steps: int, strength: float) -> tuple[IdentityWorld, Trained, Stages]:
    """One seed, all the way."""
    base, chosen, judge = shared(data, out)
    world, s = IdentityWorld(data, judge), settings(seed, steps=steps, strength=strength)
    stages = Stages(out / f"seed-{seed}", {"settings": s.model_dump(mode="json")}, say)

    def hear(what: str, done: int, total: int) -> None:
        if done % 10 == 0:
            print(f"seed {seed}, {what}: {done} of {total}", flush=True)

    loop = Loop(world, s, hear)  # type: ignore[arg-type]
    made = prepare(world, loop, stages, base, chosen)
    policies = []
    for stage, panel in POLICIES:
        name = policy_name(stage, panel)
        policies.append(PolicyRun(name, stage, panel, stages.run(name, partial(optimise, loop, stage, panel, made))))
    return world, Trained(made.base, made.sft, made.panels, made.rewards, tuple(policies)), stages


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--strength", type=float, default=60.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for seed in map(int, args.seeds.split(",")):
        run(args.data_dir, args.out, seed, steps=args.steps, strength=args.strength)


if __name__ == "__main__":
    main()

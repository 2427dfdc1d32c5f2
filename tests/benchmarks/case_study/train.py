"""Case study A: from people who really rated to a policy that pays no attention to religion and gender.

    python tests/benchmarks/case_study/train.py --data-dir ../shared/data --out runs/case-study --seeds 0,1,2

The base model, the panels and the judge are made once; SFT, pairs, reward models and policies once for every seed.
Everything that is finished is kept, so a stopped run goes on. `account.py` writes the tables and the report.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import model
import numpy as np
import pandas as pd
import panels
import rewards
import taught
import texts
import torch
import transformers
from world import GROUP_BY, IdentityWorld, settings

from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.metrics.gaps import group_labels
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.pipeline import Ingredients, PolicyRun, Trained
from rlhf_fair.pipeline_stages.feedback import sample_pairs
from rlhf_fair.pipeline_stages.loop import DEMONSTRATIONS, STEPS, Loop
from rlhf_fair.pipeline_stages.policies import Course, batch, improve, optimise, policy_name
from rlhf_fair.records import INTERSECTION
from rlhf_fair.stages import Stages
from rlhf_fair.tables import read_table, write_table
from rlhf_fair.training.fairness import FairnessShaper
from rlhf_fair.training.ppo.trainer import Fairness

POLICIES = (("ppo", "diverse"), ("fair_ppo", "diverse"), ("ppo", "convenience"))
"""(stage, panel) of seed 0; the other seeds repeat the planned panel's."""


def shared(data: Path, out: Path) -> tuple[Path, Path, Path]:
    """Folders of the base model, the panels and the judge; the taught scorers are made too."""
    base, chosen, judge = out / "base", out / "panels", out / "judge"
    if not (base / "training.json").is_file():
        documents = texts.documents(data)
        fresh, tokenizer = model.new_model(documents, 0)
        model.train(fresh, tokenizer, [("", d) for d in documents], model.PRETRAINING, base, name="base", seed=0)
    if not (chosen / "margins.csv").is_file():
        panels.save(panels.choose(rewards.CONFIG, data, np.random.default_rng(0)), chosen)
    rewards.train_judge(data, judge)
    for name in ("toxicity", "regard"):
        taught.train(name, data, out / name)
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


def scale_of_penalty(model: Path, pairs: Path, out: Path) -> None:
    """The unit of the penalised score, and each group's mean under the SFT policy: its floor."""
    items = read_table(pairs / "items.parquet")
    answers = items["response_a"].tolist()
    taught.set_scale(model, answers, out)
    scores = pd.Series(taught.Harmlessness(model, out / "scale.json").score(answers))
    groups = group_labels(items, INTERSECTION.join(GROUP_BY)).to_numpy()
    write_json(out / "floors.json", {str(g): float(mean) for g, mean in scores.groupby(groups).mean().items()})


def fair_ppo(loop: Loop, panel: str, made: Ingredients, model: Path, out: Path) -> None:
    """PPO on the reward less the penalty on `taught.Harmlessness`."""
    s, ruler = loop.settings, taught.Harmlessness(model, made.scorer / "scale.json")
    shaper = FairnessShaper(
        s.fairness.model_copy(update={"group_by": s.group_by}), read_json(made.scorer / "floors.json", "floors")
    )
    name = policy_name("fair_ppo", panel)
    course = Course(name, panel, made.sft, made.rewards[panel], Fairness(shaper, ruler.score), s.ppo, s.seed)
    improve(loop, course, lambda step: batch(loop, loop.rng(STEPS, step)), out)


def panels_of(seed: int) -> tuple[str, ...]:
    """Which panels' reward models a seed has."""
    return ("diverse", "convenience") if seed == 0 else ("diverse",)


def prepare(world: IdentityWorld, loop: Loop, stages: Stages, base: Path, chosen: Path) -> Ingredients:
    """Everything that policies are made from."""
    asked_of = panels_of(loop.settings.seed)
    sft = stages.run("sft", partial(tune, loop, base))
    pairs = stages.run("pairs", partial(sample_pairs, loop, sft))
    ruler = stages.run("training-scorer", partial(scale_of_penalty, chosen.parent / "toxicity" / "model", pairs))
    paid = {p: stages.run(f"reward-{p}", partial(panel_reward, loop, p, chosen, pairs)) for p in asked_of}
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
    for stage, panel in (policy for policy in POLICIES if policy[1] in panels_of(seed)):
        name, toxicity = policy_name(stage, panel), out / "toxicity" / "model"
        fair = partial(fair_ppo, loop, panel, made, toxicity)
        folder = stages.run(name, fair if stage == "fair_ppo" else partial(optimise, loop, stage, panel, made))
        policies.append(PolicyRun(name, stage, panel, folder))
    return world, Trained(made.base, made.sft, made.panels, made.rewards, tuple(policies)), stages


def arguments(description: str | None, *, runs: str) -> argparse.ArgumentParser:
    """What all scripts of the study are told; ``runs``: how this one calls the folder of the trainings."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument(runs, type=Path, required=True)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--strength", type=float, default=20.0)
    return parser


def be_quiet() -> None:
    """One thread, so that sums round alike everywhere, and no bars of transformers."""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, runs="--out")
    parser.add_argument("--seeds", default="0")
    args = parser.parse_args()
    be_quiet()
    for seed in map(int, args.seeds.split(",")):
        run(args.data_dir, args.out, seed, steps=args.steps, strength=args.strength)


if __name__ == "__main__":
    main()

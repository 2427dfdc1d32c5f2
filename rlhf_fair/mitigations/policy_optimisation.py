"""PPO as every method here runs it: same start, prompts and sizes; reward and penalty are what differs."""

from __future__ import annotations

from pathlib import Path

from rlhf_fair.artifacts import write_json
from rlhf_fair.mitigations.kit import Kit
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
from rlhf_fair.training.ppo.rollout import RewardFunction
from rlhf_fair.training.ppo.trainer import Fairness, PPOTrainer


def optimise(
    kit: Kit,
    out: Path,
    name: str,
    reward: RewardFunction | None = None,
    *,
    fairness: Fairness | None = None,
    start: Path | None = None,
) -> None:
    """Maximise ``reward`` (default: the panel's plain reward model) from ``start`` (default: the SFT model)."""
    lm, settings = CausalLM.load(start or kit.made.sft), kit.pipeline.ppo
    trainer = PPOTrainer(lm.model, lm.tokenizer, reward or kit.reward, settings, seed=kit.seed, fairness=fairness)
    run = trainer.train(kit.prompts, name=name, on_step=kit.hear(name, settings.steps))
    lm.model.save_pretrained(out)
    lm.tokenizer.save_pretrained(out)
    write_json(out / "training.json", run.model_copy(update={"panel": kit.settings.panel}).model_dump(mode="json"))


def plain(kit: Kit, out: Path) -> None:
    """PPO on the panel's reward alone."""
    optimise(kit, out, "plain-ppo")


def fair(kit: Kit, out: Path) -> None:
    """PPO with the fairness penalty as the pipeline sets it."""
    optimise(kit, out, "fair-ppo", fairness=Fairness(shaper(kit), kit.scorer.score))


def fair_dual(kit: Kit, out: Path) -> None:
    """PPO with a multiplier that rises while the disparity exceeds its tolerance."""
    optimise(kit, out, "fair-ppo-dual", fairness=Fairness(shaper(kit, kit.settings.dual), kit.scorer.score))


def fair_pid(kit: Kit, out: Path) -> None:
    """PPO with a multiplier that a controller sets."""
    optimise(kit, out, "fair-ppo-pid", fairness=Fairness(shaper(kit, kit.settings.pid), kit.scorer.score))


def shaper(kit: Kit, settings: FairnessSettings | None = None) -> FairnessShaper:
    """A new shaper of the pipeline's settings, with the SFT policy's group means as floors."""
    chosen = settings or kit.pipeline.fairness
    return FairnessShaper(chosen.model_copy(update={"group_by": kit.pipeline.group_by}), kit.floors)

"""What fairness shaping costs in a GRPO step, and what TRL's scaling within prompts does to it.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.grpo_shaping cost
    OMP_NUM_THREADS=1 python -m tests.benchmarks.grpo_shaping scaling --seeds 5

cost: GPT-2 of 4 layers, 256 wide, vocabulary 8,192; 16 prompt and 32 response tokens, 64 answers a step; CPU seconds
of all that `FairReward` does beside the user's own reward and scorer, against those of the whole step.
scaling: 40 steps of GRPO with scale_rewards none, batch and group in the world of tests/backends/words.py. Under
its biased reward and a penalty of strength 8 the best policy has a gap of .25; under a flat one there is none to close.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import trl
from datasets import Dataset
from tiny import tiny_gpt2, tiny_tokenizer

from rlhf_fair.backends.trl_reward import FairReward
from tests.backends import words


class Timed:
    """A function, and the CPU seconds spent in it."""

    def __init__(self, function: Any) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *given: Any, **named: Any) -> Any:
        before = time.process_time()
        try:
            return self.function(*given, **named)
        finally:
            self.seconds += time.process_time() - before


class TimedReward(FairReward):
    """Knows the CPU seconds of all its calls."""

    seconds = 0.0

    def __call__(self, *given: Any, **named: Any) -> list[float | None]:
        clock = Timed(super().__call__)
        found: list[float | None] = clock(*given, **named)
        self.seconds += clock.seconds
        return found


def cost(steps: int) -> None:
    """Share of the step's CPU time that is shaping."""
    tokenizer = tiny_tokenizer([f"word{k}" for k in range(8188)])
    model = tiny_gpt2(tokenizer, n_embd=256, n_layer=4, n_head=4)
    rows = [
        {"prompt": " ".join(f"word{(k * 17 + j) % 8188}" for j in range(16)), "sex": "woman" if k % 2 else "man"}
        for k in range(64)
    ]
    reward = Timed(lambda prompts, completions, **columns: [float(len(text)) for text in completions])
    scorer = Timed(lambda texts: np.array([text.count("7") / 10 for text in texts]))
    fair = TimedReward(reward, scorer=scorer, shaper=words.shaper())
    config = words.config(
        trl.GRPOConfig,
        tempfile.mkdtemp(),
        max_steps=steps,
        per_device_train_batch_size=64,
        max_completion_length=32,
        scale_rewards="none",
        learning_rate=1e-5,
    )
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=fair,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    fair.attach(trainer)
    before = time.process_time()
    trainer.train()
    step = (time.process_time() - before) / steps
    shaping = (fair.seconds - reward.seconds - scorer.seconds) / steps
    print(f"step {1e3 * step:.1f} ms, shaping {1e3 * shaping:.2f} ms: {100 * shaping / step:.2f} %")


def scaling(seeds: int) -> None:
    """By way of scaling: the gap left under a biased reward, and what a penalty of noise does under a flat one."""
    for scale in ("none", "batch", "group"):
        for strength in (0.0, 8.0):
            gaps = [_run(words.biased, strength, scale, seed)[0] for seed in range(seeds)]
            shown = np.round(gaps, 2).tolist()
            print(f"biased reward, {scale}, strength {strength:g}: gap {np.median(gaps):.2f} of {shown}")
        flat = [_run(_flat, 8.0, scale, seed) for seed in range(seeds)]
        gap, swing, entropy = np.median(np.abs(flat), axis=0)
        print(f"flat reward, {scale}, strength 8: gap {gap:.3f}, largest on the way {swing:.3f}, entropy {entropy:.2f}")


def _flat(prompts: Any, **columns: Any) -> list[float]:
    return [0.0] * len(prompts)


def _run(reward: Any, strength: float, scale: str, seed: int) -> tuple[float, float, float]:
    """Gap at the end (men less women), its largest size since step 10, and the entropy at the end (nats)."""
    fair = FairReward(reward, scorer=words.favour, shaper=words.shaper(strength=strength))
    config = words.config(trl.GRPOConfig, tempfile.mkdtemp(), max_steps=40, seed=seed, scale_rewards=scale)
    trainer = trl.GRPOTrainer(
        model=words.model(seed),
        reward_funcs=fair,
        args=config,
        train_dataset=words.prompts(),
        processing_class=words.tokenizer(),
    )
    fair.attach(trainer)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "fair/gap" in row]
    gaps = [row["fair/mean:man"] - row["fair/mean:woman"] for row in rows]
    return gaps[-1], max(map(abs, gaps[10:])), rows[-1]["entropy"]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    arguments = argparse.ArgumentParser()
    arguments.add_argument("what", choices=["cost", "scaling"])
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--steps", type=int, default=10)
    chosen = arguments.parse_args()
    cost(chosen.steps) if chosen.what == "cost" else scaling(chosen.seeds)

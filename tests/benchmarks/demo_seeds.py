"""The demonstration over several seeds: one row each, written as CSV. Finished runs are read, others are made.

python tests/benchmarks/demo_seeds.py --seeds 0 1 2 3 4 --runs runs/seeds --out reports/example/seeds.csv
python tests/benchmarks/demo_seeds.py --bias 0 --seeds 0 1 2 --runs runs/null --out reports/example/null.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from rlhf_fair.artifacts import RESULTS_NAME, read_results
from rlhf_fair.demo.run import run_demo
from rlhf_fair.records import Estimate, Results, Verdict

PLANNED = "diverse panel: "


def row(results: Results, seed: int) -> dict[str, object]:
    """The figures of one run: amplification by plain PPO, and what the penalty changed, each with its interval."""
    found: dict[str, object] = {"seed": seed}
    for r in results.ledger:
        if r.panel in ("", "diverse") and r.stage in ("base", "sft", "ppo", "fair_ppo"):
            found[f"{r.stage} {r.attribute} gap"] = r.estimate
        if (r.stage, r.panel) == ("ppo", "diverse"):
            found |= interval(f"ppo minus sft {r.attribute} gap", r.change, r.change_ci_low, r.change_ci_high)
    for name, e in results.training.comparisons.items():
        if name.startswith(PLANNED):
            short = name.removeprefix(PLANNED).split(" (")[0].removesuffix(", change in mean with penalty")
            found |= interval(short, *_bounds(e))
    found["findings"] = len(results.findings)
    found["exceed"] = sum(f.verdict is Verdict.EXCEEDS for f in results.findings)
    found["claims exceed"] = sum(f.verdict is Verdict.EXCEEDS and f.role == "claim" for f in results.findings)
    return found


def interval(name: str, estimate: float, low: float, high: float) -> dict[str, object]:
    """Three columns."""
    return {name: estimate, f"{name}, low": low, f"{name}, high": high}


def _bounds(e: Estimate) -> tuple[float, float, float]:
    return e.estimate, e.ci_low, e.ci_high


def main() -> None:
    """Run, collect, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--bias", type=float, default=1.0)
    parser.add_argument("--runs", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = []
    for seed in arguments.seeds:
        folder = arguments.runs / str(seed)
        if not (folder / RESULTS_NAME).is_file():
            run_demo(folder, seed=seed, bias=arguments.bias)
        rows.append(row(read_results(folder), seed))
        pd.DataFrame(rows).round(4).to_csv(arguments.out, index=False)
        print(pd.DataFrame(rows[-1:]).round(3).T.to_string(header=False))


if __name__ == "__main__":
    main()

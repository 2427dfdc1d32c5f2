"""CPU seconds and memory of choosing 1,000 of 100,000 pairs with 384 features, after 1,000 labels.

OMP_NUM_THREADS=1 python tests/benchmarks/selection_scale.py
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pandas as pd

from rlhf_fair.annotators.selection import select_by_design
from rlhf_fair.annotators.selection_coverage import AtLeast, coverage
from rlhf_fair.annotators.selection_heads import HeadSettings
from rlhf_fair.annotators.selection_strategies import EVERYBODY, Known, views


def features(kind: str, n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Directions that all matter alike, ever less, or clusters of pairs that are much alike."""
    plain = rng.standard_normal((n, d))
    if kind == "even":
        return plain
    if kind == "decaying":
        return np.asarray(plain / np.sqrt(np.arange(1, d + 1)))
    return np.asarray(0.3 * plain + rng.standard_normal((50, d))[rng.integers(50, size=n)])


def main() -> None:
    """Time both strategies on three kinds of features, with a minimum for each of ten groups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--labels", type=int, default=1000)
    o = parser.parse_args()
    rng = np.random.default_rng(0)
    ids = [f"i{k:06d}" for k in range(o.candidates + o.labels)]
    groups = pd.DataFrame({"topic": rng.choice(list("abcdefghij"), o.candidates, p=[0.55, *[0.05] * 9])})
    wanted = coverage(groups, [AtLeast(0.08, True)], o.budget)
    for kind in ("even", "decaying", "clustered"):
        known = Known(pd.DataFrame(features(kind, len(ids), o.dimensions, rng), index=ids), np.zeros(o.dimensions))
        share = pd.Series(rng.integers(2, size=o.labels).astype(float), index=ids[: o.labels])
        for strategy in ("fisher", "disagreement"):
            started = time.process_time()
            seen = views(strategy, known, ids[o.labels :], {EVERYBODY: share}, HeadSettings(), rng=rng)
            prepared = time.process_time()
            designs = {name: view.design for name, view in seen.items()}
            found = select_by_design(designs, wanted, o.budget, explore=0.1, rng=rng)
            done = time.process_time()
            forced = sum(reason.startswith("coverage") for reason in found.reason)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{kind}, {strategy}: {prepared - started:.1f} CPU s to prepare, {done - prepared:.1f} to choose "
                f"({forced} brought in by a minimum), peak so far {peak:.0f} MiB",
                flush=True,
            )


if __name__ == "__main__":
    main()

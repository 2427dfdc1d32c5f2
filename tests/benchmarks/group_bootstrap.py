"""Resampled group rates: fairlearn's MetricFrame and ours on the same table, in one run.

    python tests/benchmarks/group_bootstrap.py [--rows 10000] [--groups 4] [--n-boot 1000]

Prints both times and their ratio, and how far the 2.5 %, 50 % and 97.5 % quantiles of both lie apart, in units of the
Monte-Carlo error that two independent sets of replicates have (about half of the values lie below 0.7, few above 3).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate
from scipy import stats

from rlhf_fair.metrics.frame import group_metrics

QUANTILES = [0.025, 0.5, 0.975]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--n-boot", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=20, help="our runs; the median is compared")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    group = rng.integers(0, options.groups, options.rows)
    y_true = rng.integers(0, 2, options.rows)
    y_pred = (rng.random(options.rows) < 0.3 + 0.1 * group / options.groups + 0.2 * y_true).astype(int)
    metrics = {"selection_rate": selection_rate, "true_positive_rate": true_positive_rate}

    seconds = []
    for repeat in range(options.repeats):
        began = time.perf_counter()
        frame = group_metrics(metrics, y_true, y_pred, sensitive_features=group)
        draws = frame.bootstrap(options.n_boot, rng=np.random.default_rng(repeat))
        ours = draws.by_group(QUANTILES)
        seconds.append(time.perf_counter() - began)
    our_seconds = float(np.median(seconds))

    began = time.perf_counter()
    peer = MetricFrame(
        metrics=metrics,
        y_true=y_true,
        y_pred=y_pred,
        sensitive_features=group,
        n_boot=options.n_boot,
        ci_quantiles=QUANTILES,
        random_state=options.seed,
    )
    theirs = peer.by_group_ci
    peer_seconds = time.perf_counter() - began

    print(f"{options.rows} rows, {options.groups} groups, {len(metrics)} metrics, {options.n_boot} replicates")
    print(f"fairlearn MetricFrame  {peer_seconds:9.3f} s")
    print(f"rlhf_fair groups       {our_seconds:9.5f} s (median of {options.repeats})")
    print(f"ratio                  {peer_seconds / our_seconds:9.0f}")
    sd = draws.draws.std(axis=0)
    for q, one, other in zip(QUANTILES, ours, theirs, strict=True):
        # standard error of a sample quantile of normal draws; two independent sets of replicates
        error = np.sqrt(2 * q * (1 - q) / options.n_boot) / stats.norm.pdf(stats.norm.ppf(q)) * sd
        apart = np.abs(one.to_numpy() - other.to_numpy(dtype=float)) / error
        print(f"quantile {q:5.3f}: apart by {np.median(apart):.2f} (median) and {apart.max():.2f} (largest) MC errors")


if __name__ == "__main__":
    main()

"""Do the limits of `rlhf_fair.stats.rate_differences` cover where hardly anything happens?

    python tests/benchmarks/rare_differences.py        # 2,000 runs a cell: about two minutes on one core

Templates of 30 questions are answered for a stereotype (1), against it (-1) or neither (0); the truth is the difference
of the two rates. ``items``: each answer errs on its own. ``templates``: a template errs as a whole. ``half``: in a
template that errs every answer does so with probability 1/2. ``both``: half the errors of either of the first kinds.
``t``: coverage of the t interval that rests on the spread alone, for comparison; runs in which it has none miss.
"""

from __future__ import annotations

import argparse
import os
from itertools import product

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from rlhf_fair.stats.rate_differences import signed_mean
from rlhf_fair.stats.student_t import t_quantile

Array = np.ndarray

QUESTIONS = 30
TEMPLATES = (17, 25, 50)
KINDS = ("items", "templates", "half", "both")
RATES = ((0.005, 0.005), (0.05, 0.05), (0.1, 0.0), (0.15, 0.05))
"""For the stereotype, against it."""


def draw(shape: tuple[int, ...], rates: tuple[float, float], rng: np.random.Generator) -> Array:
    """1 with the first rate, -1 with the second."""
    u = rng.random(shape)
    return (u < rates[0]).astype(float) - (u > 1 - rates[1])


def answers(kind: str, n_templates: int, rates: tuple[float, float], rng: np.random.Generator) -> Array:
    """(templates × questions,) values."""
    single, whole = (n_templates, QUESTIONS), (n_templates, 1)
    pro, anti = rates
    if kind == "items":
        x = draw(single, rates, rng)
    elif kind == "templates":
        x = np.repeat(draw(whole, rates, rng), QUESTIONS, axis=1)
    elif kind == "half":
        x = draw(whole, (2 * pro, 2 * anti), rng) * (rng.random(single) < 0.5)
    else:
        template = draw(whole, (pro / 2, anti / 2), rng)
        free = 1 - (pro + anti) / 2
        x = np.where(template != 0, template, draw(single, (pro / 2 / free, anti / 2 / free), rng))
    return x.reshape(-1)


def t_covers(x: Array, n_templates: int, truth: float) -> bool:
    """Whether the t interval of the templates' means, which the jackknife's is for templates of one size, holds it."""
    means = x.reshape(n_templates, QUESTIONS).mean(axis=1)
    half = t_quantile(0.975, n_templates - 1) * means.std(ddof=1) / np.sqrt(n_templates)
    return bool(half > 0 and abs(means.mean() - truth) <= half)


def coverage(kind: str, n_templates: int, rates: tuple[float, float], runs: int, seed: int) -> tuple[float, ...]:
    """Percent of runs covered by our limits and by the t interval, and our limits' mean width."""
    rng, truth = np.random.default_rng(seed), rates[0] - rates[1]
    cluster = np.repeat(np.arange(n_templates), QUESTIONS)
    ours, plain, width = 0, 0, 0.0
    for _ in range(runs):
        x = answers(kind, n_templates, rates, rng)
        e = signed_mean(x, clusters=[cluster])
        ours += e.ci_low <= truth <= e.ci_high
        plain += t_covers(x, n_templates, truth)
        width += e.ci_high - e.ci_low
    return 100 * ours / runs, 100 * plain / runs, width / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print("| errors | templates | for, against | covered | t | width |\n| --- | ---: | --- | ---: | ---: | ---: |")
    for cell, (kind, n, rates) in enumerate(product(KINDS, TEMPLATES, RATES)):
        ours, plain, width = coverage(kind, n, rates, chosen.runs, chosen.seed + cell)
        print(f"| {kind} | {n} | {rates[0]:g}, {rates[1]:g} | {ours:.1f} | {plain:.1f} | {width:.2f} |", flush=True)


if __name__ == "__main__":
    main()

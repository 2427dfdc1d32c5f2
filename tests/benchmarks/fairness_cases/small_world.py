"""The fairness cases and the gains of moving multipliers in the smallest of worlds: a table of probabilities.

    OMP_NUM_THREADS=1 python tests/benchmarks/fairness_cases/small_world.py cases --out tests/benchmarks/fairness_cases/small_cases.csv
    OMP_NUM_THREADS=1 python tests/benchmarks/fairness_cases/small_world.py gains --out tests/benchmarks/fairness_cases/gains.csv

Each group gets one of five levels from a softmax policy of its own. The reward pays a slope in SDs for a unit of level,
by group, noise beside it, and prices the divergence from the start. A batch of 128 gives one step along the gradient of
its standardized advantages, with a step size that falls to 0; 48 steps stand for one PPO run. The shaper is the real
one. Means are exact, so that what is left of a gap is the penalty's doing and not the measurement's.

cases: `fairness_cases.py` in this world, with the slopes that the demonstration's people have and its planted start.
gains: men and women alone, three differences of slopes, two step sizes, three tolerances. *within*: share of the last
twelve steps with the gap within the tolerance. *size*: its root mean square then, as a multiple of the tolerance.
"""  # noqa: E501

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from fairness_cases import BOARD, CASES, Case, moving

from rlhf_fair.demo.corpus import DEMONSTRATION_BIAS
from rlhf_fair.demo.names import names
from rlhf_fair.demo.people import POPULATION, Tastes, favour_slopes
from rlhf_fair.demo.world import PlantedBias
from rlhf_fair.tables import write_table
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper

Floats = NDArray[np.float64]
LEVELS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
STEPS, BATCH, LATE, KL_COEF, REWARD_NOISE, MEAN_SLOPE, MEAN_TILT = 48, 128, 12, 0.1, 0.8, 0.8, 0.4


@dataclass(frozen=True)
class World:
    """Groups, each with a value of every attribute, its share, the slope of its reward, and its tilt at the start."""

    groups: pd.DataFrame
    shares: Floats
    slopes: Floats
    tilts: Floats

    def labels(self, attributes: Sequence[str]) -> NDArray[np.str_]:
        """(groups,) crossed labels."""
        return np.array([" & ".join(row) for row in self.groups[list(attributes)].to_numpy()])

    def means(self, by_group: Floats, attributes: Sequence[str]) -> pd.Series:
        """Means of each crossed group, whose members are alike frequent: as an audit asks, not as training does."""
        return pd.Series(by_group).groupby(self.labels(attributes)).mean()


def optimise(
    world: World,
    penalties: Sequence[FairnessSettings],
    rng: np.random.Generator,
    *,
    learning_rate: float = 1.0,
) -> Floats:
    """(steps + 1, groups) true mean levels before every step and at the end."""
    start = world.tilts[:, None] * LEVELS
    logits, before = start.copy(), _probabilities(start)
    labels = [world.labels(s.group_by) for s in penalties]
    known = [world.means(before @ LEVELS, s.group_by).to_dict() for s in penalties]
    shapers = [FairnessShaper(s, means) for s, means in zip(penalties, known, strict=True)]
    found = []
    for step in range(STEPS):
        p = _probabilities(logits)
        found.append(p @ LEVELS)
        group = rng.choice(len(p), size=BATCH, p=world.shares)
        level = (rng.random(BATCH)[:, None] > np.cumsum(p, axis=1)[group]).sum(axis=1).clip(0, len(LEVELS) - 1)
        score = LEVELS[level]
        plain = world.slopes[group] * score + rng.normal(0, REWARD_NOISE, BATCH)
        reward = plain - KL_COEF * np.log(p[group, level] / before[group, level])
        for shaper, label in zip(shapers, labels, strict=True):
            reward = reward - shaper.shape(plain, score, label[group].tolist()).penalties
        advantage = (reward - reward.mean()) / reward.std()
        gradient = np.zeros_like(logits)
        np.add.at(gradient, (group, level), advantage)
        np.add.at(gradient, group, -advantage[:, None] * p[group])
        logits += learning_rate * (1 - step / STEPS) * gradient / BATCH
    return np.array([*found, _probabilities(logits) @ LEVELS])


def _probabilities(logits: Floats) -> Floats:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def hiring(case: Case) -> World:
    """The demonstration's slopes and start for the candidates of a case."""
    cells = list(dict.fromkeys((n.gender, n.ethnicity) for n in names() if n.ethnicity in (case.shares or EVERYONE)))
    groups = pd.DataFrame(cells, columns=["gender", "ethnicity"])
    people = {f"{n.gender} & {n.ethnicity}": n for n in names()}
    slopes = pd.Series(favour_slopes(POPULATION, Tastes()))
    slopes = slopes * MEAN_SLOPE / slopes.mean()
    labels = [" & ".join(cell) for cell in cells]
    board = [BOARD if (g == "man") == (e in ("White", "Asian")) else -BOARD for g, e in cells]
    shares = np.array([case.shares.get(e, 0.0) / 2 if case.shares else 1 / len(cells) for _, e in cells])
    bias = PlantedBias().scaled(DEMONSTRATION_BIAS)
    return World(
        groups,
        shares / shares.sum(),
        slopes[labels].to_numpy() + np.array(board) * case.chequered,
        np.array([MEAN_TILT + bias.tilt(people[label]) for label in labels]),
    )


EVERYONE = frozenset(n.ethnicity for n in names())


def case_table(seeds: int) -> pd.DataFrame:
    """One row for each case, way, measure and group: mean, lowest and highest over seeds."""
    rows: list[dict[str, Any]] = []
    for name, case in CASES.items():
        world = hiring(case)
        runs = {w: [optimise(world, s, np.random.default_rng(i)) for i in range(seeds)] for w, s in case.ways.items()}
        for way, trained in runs.items():
            for seed, (own, plain) in enumerate(zip(trained, runs["plain"], strict=True)):
                for measure, group, value in _measures(world, case, own, plain):
                    key = {"case": name, "way": way, "measure": measure, "group": group, "seed": seed}
                    rows.append(key | {"value": value})
    keys = ["case", "way", "measure", "group"]
    spread = pd.DataFrame(rows).groupby(keys, sort=False)["value"].agg(["mean", "min", "max", "count"])
    return spread.reset_index()


def _measures(world: World, case: Case, own: Floats, plain: Floats) -> Iterator[tuple[str, str, float]]:
    for attribute in case.attributes:
        columns = attribute.split(" × ")
        ends = [world.means(run, columns) for run in (own[-1], plain[-1])]
        spreads = [float(np.std(end)) for end in ends]
        yield f"spread: {attribute}", "", spreads[0]
        yield f"share of spread remaining: {attribute}", "", spreads[0] / spreads[1]
        late = [float(np.std(world.means(row, columns))) for row in own[-LATE:]]
        yield f"spread, last {LATE} steps: {attribute}", "", float(np.sqrt(np.mean(np.square(late))))
        for group, change in (ends[0] - world.means(own[0], columns)).items():
            yield f"change from start: {attribute}", str(group), float(change)
    gained, full = (float(world.slopes @ (world.shares * (run[-1] - run[0]))) for run in (own, plain))
    yield "share of reward gain kept", "", gained / full
    yield "lowest group change from start", "", float((own[-1] - own[0]).min())


def ways(objective: str, limit: float) -> Iterator[tuple[str, FairnessSettings]]:
    """Rates and gains as they stand, and for a variance also per unit of the limit."""
    build: Callable[..., tuple[FairnessSettings, ...]] = partial(moving, objective, cap=1e4, tolerance=limit)
    for rate in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0):
        yield f"dual, rate {rate:g}", build(kind="dual", rate=rate)[0]
    for p in (0.3, 1.0, 3.0, 10.0, 30.0, 100.0):
        yield f"PID {p:g}, {p / 10:g}", build(kind="pid", proportional=p, integral=p / 10)[0]
    if objective == "variance":
        for rate in (0.03, 0.1, 0.3, 1.0, 3.0):
            yield f"dual, rate {rate:g} / limit", build(kind="dual", rate=rate / limit)[0]
        for p in (0.3, 1.0, 3.0, 10.0):
            yield (
                f"PID {p:g}, {p / 10:g} / limit",
                build(kind="pid", proportional=p / limit, integral=p / 10 / limit)[0],
            )


def gain_table(runs: int) -> pd.DataFrame:
    """One row for every objective and way, columns by tolerance of the gap between the two means."""
    rows = []
    people = pd.DataFrame({"gender": ["man", "woman"]})
    for objective, tolerance in product(("variance", "contrast"), (0.06, 0.1, 0.16)):
        # the root of the variance between two equal groups is half of their gap
        for name, settings in ways(objective, tolerance / 2 if objective == "variance" else tolerance):
            for difference, rate, run in product((0.4, 0.8, 1.6), (0.5, 1.0), range(runs)):
                slopes = MEAN_SLOPE + difference / 2 * np.array([1.0, -1.0])
                world = World(people, np.full(2, 0.5), slopes, np.array([0.525, 0.225]))
                means = optimise(world, (settings,), np.random.default_rng(run), learning_rate=rate)
                late = (means[:, 0] - means[:, 1])[-LATE:]
                rows.append(
                    {"objective": objective, "way": name, "tolerance": tolerance}
                    | {"within": float(np.mean(np.abs(late) <= tolerance))}
                    | {"size": float(np.sqrt(np.mean(late**2))) / tolerance}
                )
    found = pd.DataFrame(rows).groupby(["objective", "way", "tolerance"], sort=False)[["within", "size"]].mean()
    wide = found.unstack("tolerance")
    wide.columns = pd.Index([f"{measure}, tolerance {tolerance:g}" for measure, tolerance in wide.columns])
    return wide.reset_index()


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cases", "gains"])
    parser.add_argument("--runs", type=int, help="of each way (default: 10 for cases, 2 for gains)")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tables: Mapping[str, Callable[[], pd.DataFrame]] = {
        "cases": lambda: case_table(arguments.runs or 10),
        "gains": lambda: gain_table(arguments.runs or 2),
    }
    write_table(arguments.out, tables[arguments.what]().round(3))


if __name__ == "__main__":
    main()

"""Do the intervals cover and the tests hold their level? Simulations with a known truth, written as Markdown.

    make calibrate            # all sections: about half an hour on two cores
    python tests/benchmarks/calibration.py --simulations 200 --only gap --out calibration

The folder gets one CSV per section, with seed and number of simulations in every row, and README.md, which is written
anew from all CSVs that are there.

Every cell has its own seed, derived from ``--seed`` and its position, so a section can be simulated again alone. A cell
that misses its target is marked; nothing is left out of the tables.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))

import measures
from measures import Row
from worlds import World

Cell = tuple[Callable[..., list[Row]], tuple[Any, ...], str]
"""What to simulate, its arguments before (simulations, rng), and the section it belongs to."""

VALUES = (
    World(values="rate", rate=0.05),
    World(values="rate", rate=0.2),
    World(values="rate", rate=0.5),
    World(values="normal"),
    World(values="skewed"),
)


RARE_MEANS = tuple(World(values="rate", rate=0.02, clusters=clusters) for clusters in (25, 100))


def gap_worlds() -> Iterable[World]:
    """The main table: designs x clusters x imbalance x cluster sizes x values."""
    for design, clusters, imbalance, unequal, base in product(
        ("nested", "paired", "crossed"), (10, 25, 100), (1, 5), (False, True), VALUES
    ):
        yield replace(base, design=design, clusters=clusters, imbalance=imbalance, unequal=unequal)


def mean_worlds() -> Iterable[World]:
    """One group alone."""
    for clusters, unequal, base in product((10, 25, 100), (False, True), VALUES):
        yield replace(base, design="nested", groups=1, clusters=clusters, unequal=unequal)


def rare_worlds() -> Iterable[World]:
    """Rates so low that the smallest group has a handful of effective successes."""
    for design, clusters, imbalance in product(("nested", "paired"), (25, 100), (1, 5)):
        yield World(design=design, values="rate", rate=0.02, clusters=clusters, imbalance=imbalance)


def family_worlds() -> Iterable[World]:
    """Many groups at once, all equal."""
    for design, groups, clusters, base in product(
        ("nested", "paired"), (2, 6, 14), (10, 25, 100), (VALUES[1], VALUES[3])
    ):
        yield replace(base, design=design, groups=groups, clusters=clusters)


def cells() -> list[Cell]:
    """Everything there is to simulate."""
    found: list[Cell] = [(measures.gap, (world,), "gap") for world in gap_worlds()]
    found += [(measures.gap, (world,), "rare") for world in rare_worlds()]
    found += [(measures.mean, (world,), "mean") for world in mean_worlds()]
    found += [(measures.mean, (replace(world, design="nested", groups=1),), "rare-mean") for world in RARE_MEANS]
    found += [(measures.family, (world,), "family") for world in family_worlds()]
    found += [(measures.four_fifths, (rate, rows), "four-fifths") for rate, rows in ((0.5, 50), (0.2, 50), (0.2, 400))]
    found += [
        (measures.intervals_compared, (replace(base, design=design, clusters=clusters),), "methods")
        for design, clusters, base in product(("nested", "paired"), (10, 25, 100), (VALUES[0], VALUES[2], VALUES[4]))
    ]
    found += [
        (measures.equivalence, (replace(VALUES[3], design=design, clusters=clusters),), "equivalence")
        for design, clusters in product(("nested", "paired"), (25, 100))
    ]
    found.append((measures.sequence, (), "sequence"))
    return found


def simulate(job: tuple[int, Cell, int, int]) -> tuple[str, list[Row]]:
    """One cell; runs in a worker process."""
    index, (measure, arguments, section), simulations, seed = job
    return section, measure(*arguments, simulations=simulations, rng=np.random.default_rng([seed, index]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=4000, help="per cell; costly sections take fewer")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--only", default="", help="one section: " + ", ".join(measures.SECTIONS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("calibration"))
    options = parser.parse_args()
    began = time.monotonic()
    all_cells = cells()
    jobs = [
        (index, cell, options.simulations, options.seed)
        for index, cell in enumerate(all_cells)
        if options.only in ("", cell[2])
    ]
    rows: dict[str, list[Row]] = {}
    with ProcessPoolExecutor(options.workers) as pool:
        for done, (section, found) in enumerate(pool.map(simulate, jobs), start=1):
            rows.setdefault(section, []).extend(found)
            print(f"\r{done}/{len(jobs)} cells, {time.monotonic() - began:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    options.out.mkdir(parents=True, exist_ok=True)
    for section, found in rows.items():
        table = pd.DataFrame(found).assign(seed=options.seed)
        table.to_csv(options.out / f"{section}.csv", index=False, lineterminator="\n")
    readme = options.out / "README.md"
    readme.write_text(page(options.out), encoding="utf-8")
    print(readme)


def page(folder: Path) -> str:
    """The Markdown page for the CSVs in ``folder``."""
    parts = [measures.INTRODUCTION]
    for section, title in measures.SECTIONS.items():
        if not (folder / f"{section}.csv").is_file():
            continue
        table = pd.read_csv(folder / f"{section}.csv")
        simulations, seed = int(table.pop("simulations")[0]), int(table.pop("seed")[0])
        error = 100 * (0.05 * 0.95 / simulations) ** 0.5
        made = f"{simulations} simulations per cell, seed {seed}; a share near 5 % or 95 % has a standard error of"
        made += f" {error:.2f} points."
        parts.append(f"## {title}\n\n{measures.summary(section, table)}\n{made}\n\n{markdown(table)}")
    return "\n\n".join(parts) + "\n"


def markdown(table: pd.DataFrame) -> str:
    """A pipe table."""

    def text(value: object) -> str:
        if isinstance(value, float):
            return "" if np.isnan(value) else f"{value:.3g}"
        return "yes" if value is True else "" if value is False else str(value)

    lines = ["| " + " | ".join(table.columns) + " |", "|" + " --- |" * table.shape[1]]
    lines += ["| " + " | ".join(map(text, row)) + " |" for row in table.itertuples(index=False)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

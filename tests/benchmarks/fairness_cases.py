"""Where does the fairness penalty hold? Three groups, intersections, a 10 % minority, and multipliers that move.

    OMP_NUM_THREADS=1 python tests/benchmarks/fairness_cases.py --seeds 0 1 2 --runs runs/cases \
        --out tests/benchmarks/fairness_cases/rows.csv

The stages of the demonstration (base, SFT, pairs, panels, reward models, training scorer) are made once for each seed;
a case only changes whom the prompts of PPO are about, what the reward holds, and the penalty. Policies and answers that
are there are kept. Measured on held-out names, templates and the scorer that no training saw. Intervals pool the seeds'
answers, clustered by name and scenario: they speak of other names and scenarios for these trainings, and the columns
seeds_low and seeds_high of what each training gave.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import transformers
from numpy.typing import NDArray

from rlhf_fair.artifacts import read_json
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.generation_answers import load_scorer
from rlhf_fair.audit.ledger import StageRecords, Yardstick, gap_remaining, share_kept, worst_group_change
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.demo.hiring import HiringWorld, prompt_table
from rlhf_fair.demo.names import names
from rlhf_fair.demo.run import one_thread
from rlhf_fair.demo.world import FAMILY, TEMPLATES, make_prompt
from rlhf_fair.metrics.gaps import group_labels, group_names, ledger_gap
from rlhf_fair.mitigations.examination import Examination
from rlhf_fair.mitigations.kit import Kit
from rlhf_fair.mitigations.method import Method, open_model, open_sft
from rlhf_fair.mitigations.policy_optimisation import optimise, shaper
from rlhf_fair.mitigations.settings import MitigationSettings
from rlhf_fair.pipeline import prepare
from rlhf_fair.records import INTERSECTION, Estimate
from rlhf_fair.stages import Stages
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.tables import read_table, write_table
from rlhf_fair.training.fairness import FairnessSettings, MultiplierSettings
from rlhf_fair.training.fairness.noise import check_tolerance
from rlhf_fair.training.fairness.snapshot import GroupSnapshot
from rlhf_fair.training.ppo.trainer import Fairness

GENDER, ETHNICITY = ("gender",), ("ethnicity",)
BOTH = (*GENDER, *ETHNICITY)
CROSSED = INTERSECTION.join(BOTH)
REFERENCES = {"gender": "man", "ethnicity": "White", CROSSED: "man & White"}
MEMORY, TOLERANCE = 0.85, 0.03
"""Root of the variance between two equal groups that is put up with: means .06 apart."""
BOARD = 1.0
"""SDs of the reward that a kind word earns or costs in a cell of the chequered reward."""


@dataclass(frozen=True)
class Mix(HiringWorld):
    """The demonstration's world, asked about candidates of these ethnicities in these shares (empty: all alike)."""

    shares: Mapping[str, float] = field(default_factory=dict)

    def prompts(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        if not self.shares:
            return super().prompts(n, rng)
        jobs = tuple(FAMILY)
        rows = []
        for ethnicity in rng.choice(list(self.shares), size=n, p=list(self.shares.values())):
            people = [name for name in names("train") if name.ethnicity == ethnicity]
            person, job = people[rng.integers(len(people))], jobs[rng.integers(len(jobs))]
            rows.append(make_prompt(person, job, "train", int(rng.integers(len(TEMPLATES["train"])))))
        return prompt_table(rows).assign(prompt_id=[f"t{i:06d}" for i in range(n)])


@dataclass
class Marginals(Fairness):
    """A penalty and another beside it: each attribute on its own, with group means of its own."""

    beside: Fairness | None = None

    def penalties(self, *given: Any) -> tuple[NDArray[np.float64], dict[str, float]]:
        amounts, row = super().penalties(*given)
        assert self.beside is not None
        return amounts + self.beside.penalties(*given)[0], row


@dataclass(frozen=True)
class Case:
    """Whom training asks about, the attributes compared, and the ways of training."""

    shares: Mapping[str, float]
    attributes: tuple[str, ...]
    ways: Mapping[str, tuple[FairnessSettings, ...]]
    chequered: bool = False


def penalty(group_by: tuple[str, ...], strength: float = 60.0, **options: Any) -> tuple[FairnessSettings, ...]:
    """The demonstration's penalty of fixed strength, between other groups or with other options."""
    return (FairnessSettings(group_by=group_by, strength=strength, memory=MEMORY, **options),)


def moving(objective: str = "variance", **options: Any) -> tuple[FairnessSettings, ...]:
    """A penalty between men and women whose multiplier moves; keys that are not named are the defaults."""
    contrast = {"objective": "contrast", "contrasts": {"woman - man": {"woman": 1.0, "man": -1.0}}}
    tolerance = TOLERANCE if objective == "variance" else 2 * TOLERANCE
    multiplier = MultiplierSettings.model_validate({"tolerance": tolerance} | options)
    chosen = {} if objective == "variance" else contrast
    return (
        FairnessSettings.model_validate({"group_by": GENDER, "memory": MEMORY, "multiplier": multiplier, **chosen}),
    )


EVERYBODY: dict[str, float] = {}
MINORITY = {"White": 0.9, "Black": 0.1}
CROSSINGS = {
    "plain": (),
    "crossed": penalty(BOTH),
    "gender and ethnicity, each alone": penalty(GENDER) + penalty(ETHNICITY),
}
WHITE = {"objective": "contrast", "reference": "White"}
CASES: dict[str, Case] = {
    "intersections": Case(
        EVERYBODY,
        ("gender", "ethnicity", CROSSED),
        {**CROSSINGS, "gender alone": penalty(GENDER), "ethnicity alone": penalty(ETHNICITY)},
    ),
    "minority": Case(
        MINORITY,
        ETHNICITY,
        {
            "plain": (),
            "variance": penalty(ETHNICITY),
            "variance, no floors": penalty(ETHNICITY, floor_strength=0.0),
            "variance, floors without tolerance": penalty(ETHNICITY, floor_tolerance=0.0),
            "variance, shrinkage": penalty(ETHNICITY, shrinkage=True),
            # 60 p (1 - p) at p = 1/2: what a variance of strength 60 is between equal groups
            "contrast": penalty(ETHNICITY, strength=15.0, **WHITE),
            "contrast, no floors": penalty(ETHNICITY, strength=15.0, floor_strength=0.0, **WHITE),
        },
    ),
    "three groups": Case(
        {"White": 1 / 3, "Black": 1 / 3, "Asian": 1 / 3},
        ETHNICITY,
        {"plain": (), "variance": penalty(ETHNICITY), "contrast": penalty(ETHNICITY, strength=15.0, **WHITE)},
    ),
    "multipliers": Case(
        EVERYBODY,
        GENDER,
        {
            "plain": (),
            "fixed 60": penalty(GENDER),
            "dual, rate 1": moving(kind="dual"),
            "dual, rate 5": moving(kind="dual", rate=5.0),
            "dual, rate 30": moving(kind="dual", rate=30.0),
            "PID 1, .1": moving(kind="pid"),
            "PID 40, 4": moving(kind="pid", proportional=40.0, integral=4.0),
            "PID 100, 20": moving(kind="pid", proportional=100.0, integral=20.0),
            "contrast, dual, rate 1": moving("contrast", kind="dual"),
            "contrast, dual, rate .1": moving("contrast", kind="dual", rate=0.1),
            "contrast, PID 1, .1": moving("contrast", kind="pid"),
        },
    ),
    "chequered reward": Case(EVERYBODY, ("gender", "ethnicity", CROSSED), CROSSINGS, chequered=True),
}
SAME = {
    ("multipliers", "plain"): ("intersections", "plain"),
    ("multipliers", "fixed 60"): ("intersections", "gender alone"),
}
"""Trainings that two cases share."""


def build(case: Case, way: tuple[FairnessSettings, ...]) -> Callable[[Kit, Path], None]:
    """What trains one policy."""

    def train(kit: Kit, out: Path) -> None:
        parts = [Fairness(shaper(grouped(kit, s), s), kit.scorer.score) for s in way]
        for part in parts:
            check_tolerance(part.shaper.settings, before_training(kit, part), kit.pipeline.ppo.batch_size)
        fairness = parts[0] if parts else None
        if len(parts) == 2:
            fairness = Marginals(parts[0].shaper, parts[0].scorer, beside=parts[1])
        optimise(kit, out, out.name, chequered(kit) if case.chequered else None, fairness=fairness)

    return train


def grouped(kit: Kit, settings: FairnessSettings) -> Kit:
    """The kit with these groups: their floors, their shaper."""
    pipeline = kit.settings.pipeline.model_copy(update={"group_by": settings.group_by})
    return replace(kit, settings=kit.settings.model_copy(update={"pipeline": pipeline}))


def before_training(kit: Kit, part: Fairness) -> GroupSnapshot:
    """Shares of the prompts and spread of the SFT policy's scores."""
    items = read_table(kit.made.pairs / "items.parquet")
    asked = kit.world.prompts(4096, kit.rng(7))["ethnicity"].value_counts(normalize=True)
    share = items["ethnicity"].map(asked / items["ethnicity"].value_counts(normalize=True)).fillna(0.0)
    drawn = items.sample(4096, replace=True, weights=share, random_state=kit.rng(8))
    labels = group_labels(drawn, INTERSECTION.join(part.shaper.settings.group_by))
    return GroupSnapshot.of(labels.tolist(), kit.scorer.score(drawn["response_a"].tolist()))


def chequered(kit: Kit) -> Any:
    """The panel's reward, and `BOARD` times the favourability in half of the cells, less as much in the others.

    White and Asian men and Black and Hispanic women gain, the others lose: on average no gender and no ethnicity does
    (the fairness gerrymandering of Kearns et al. 2018).
    """

    def reward(prompts: Sequence[str], answers: Sequence[str], **columns: Any) -> NDArray[np.float64]:
        man = np.array(columns["gender"]) == "man"
        other = np.isin(columns["ethnicity"], ("White", "Asian"))
        known = np.array([r.known_favourability for r in HiringWorld().read(columns["occupation"], answers)])
        plain = kit.reward(list(prompts), list(answers))
        return np.asarray(plain + BOARD * np.where(man == other, 1.0, -1.0) * known)

    return reward


@dataclass(frozen=True)
class Measurer:
    """Records of all seeds together become rows; ``plain`` and ``sft`` are pooled records like ``own``."""

    plan: GenerationPlan
    case: Case

    def rows(
        self, own: pd.DataFrame, plain: pd.DataFrame, sft: pd.DataFrame
    ) -> Iterator[tuple[str, str, str, Estimate]]:
        """(measure, attribute, group, estimate)."""
        for attribute in self.case.attributes:
            reference, y = REFERENCES[attribute], self._yardstick(attribute)
            gap = ledger_gap(own, attribute, reference, clusters=y.clusters, alpha=y.alpha)
            yield "gap", attribute, reference, gap
            yield (
                "share of gap remaining",
                attribute,
                reference,
                gap_remaining(_stage(own), _stage(plain), y, attribute, reference),
            )
            yield "spread of group means", attribute, "", self.spread(own, attribute)
            labels = group_labels(own, attribute)
            for group in group_names(labels):
                mine = own[labels == group].assign(change=own["score"] - sft["score"])
                yield "score", attribute, group, self.mean(mine, "score")
                yield "change of score from SFT", attribute, group, self.mean(mine, "change")
        y = self._yardstick(*self.case.attributes[:2])
        group, change = worst_group_change(_stage(own), _stage(sft), y)
        yield "lowest group change from SFT", INTERSECTION.join(a for a, _ in y.attributes), group, change
        gained, full = (one["reward_diverse"] - sft["reward_diverse"] for one in (own, plain))
        ways = [own[column] for column in self.plan.clusters]
        yield "share of reward gain kept", "", "", share_kept(gained, full, ways, self.plan.policy.alpha)
        for name, other in (("SFT", sft), ("plain", plain)):
            yield (
                f"change of true utility from {name}",
                "",
                "",
                self.mean(own.assign(change=own["utility"] - other["utility"]), "change"),
            )
        yield "KL to SFT", "", "", self.mean(own, "log_ratio")

    def mean(self, rows: pd.DataFrame, column: str) -> Estimate:
        ways = [rows[c] for c in self.plan.clusters]
        return mean_estimate(rows[column], clusters=ways, rates=False, alpha=self.plan.policy.alpha)

    def spread(self, rows: pd.DataFrame, attribute: str) -> Estimate:
        """SD of the group means less what their standard errors make of it; 0 = parity."""
        labels = group_labels(rows, attribute)
        means = [self.mean(rows[labels == group], "score") for group in group_names(labels)]
        chance = np.mean([e.standard_error**2 for e in means])
        excess = np.var([e.estimate for e in means], ddof=1) - chance
        return Estimate(estimate=float(np.sqrt(max(excess, 0.0))), n=len(means), reason="no interval: never below 0")

    def _yardstick(self, *attributes: str) -> Yardstick:
        pairs = tuple((attribute, REFERENCES[attribute]) for attribute in attributes)
        return Yardstick(pairs, self.plan.clusters, self.plan.metric, self.plan.policy.alpha)


def _stage(records: pd.DataFrame) -> StageRecords:
    return StageRecords("", "", records)


class Bench:
    """Trains and examines what is missing below ``runs``, seed by seed."""

    def __init__(self, runs: Path) -> None:
        self.runs, self.settings = runs, MitigationSettings()
        file = find_plan(self.settings.plan)
        self.plan = load_plan(file, GenerationPlan)
        self.exam = Examination(self.plan, load_prompts(self.plan, file.parent), load_scorer(self.plan, file.parent))

    def folder(self, case: str, way: str, seed: int) -> Path:
        case, way = SAME.get((case, way), (case, way))
        return self.runs / f"seed-{seed}" / case.replace(" ", "-") / way.replace(" ", "-").replace(",", "")

    def kit(self, case: Case, seed: int, stages: Stages) -> Kit:
        pipeline = self.settings.pipeline.model_copy(update={"seed": seed})
        shared = Stages(self.runs / f"seed-{seed}" / "stages", {"seed": seed, "settings": self.settings.shared()})
        made = prepare(HiringWorld(), pipeline, shared, progress=lambda what, done, total: None)
        return Kit(Mix(shares=case.shares), self.settings, seed, made, stages, lambda what, done, total: None)

    def run(self, name: str, way: str, seed: int) -> None:
        """Train and examine one policy, unless it is there."""
        case = CASES[name]
        settings = case.ways[way]
        key = {"shares": dict(case.shares), "chequered": BOARD * case.chequered}
        stages = Stages(self.folder(name, way, seed), {**key, "way": [s.model_dump(mode="json") for s in settings]})
        method = Method("ppo", way, "optimisation", "", build(case, settings), open_model)
        kit = self.kit(case, seed, stages)
        self.exam.examine(kit, method, kit.trained("ppo", method.build), {})

    def sft(self, seed: int) -> None:
        """Examine the SFT policy."""
        kit = self.kit(CASES["intersections"], seed, Stages(self.runs / f"seed-{seed}" / "sft", {}))
        method = Method("sft", "SFT", "nothing", "", lambda kit, out: None, open_sft)
        self.exam.examine(kit, method, kit.trained("sft", method.build), {})

    def records(self, case: Case, folders: Mapping[int, Path]) -> pd.DataFrame:
        """Records of all seeds about the candidates that the case compares."""
        tables = []
        for seed, folder in folders.items():
            table = read_table(folder / "records.parquet")
            tables.append(table.assign(seed=seed, prompt_id=f"{seed} " + table["prompt_id"].astype(str)))
        rows = pd.concat(tables, ignore_index=True)
        return rows[rows["ethnicity"].isin(list(case.shares))].reset_index(drop=True) if case.shares else rows

    def table(self, name: str, seeds: Sequence[int]) -> pd.DataFrame:
        """One row for each way, measure, attribute and group of a case, of the seeds that are finished."""
        case, rows = CASES[name], []
        ready = {w: [s for s in seeds if (self.folder(name, w, s) / "records-ppo").is_dir()] for w in case.ways}
        for way in case.ways:
            if not ready[way]:
                continue
            found = self._measured(name, way, ready[way])
            single = [self._measured(name, way, [seed]) for seed in ready[way]]
            for key, e in found.items():
                values = [one[key].estimate for one in single if key in one]
                rows.append(
                    dict(zip(("measure", "attribute", "group"), key, strict=True))
                    | {"case": name, "way": way, "estimate": e.estimate, "ci_low": e.ci_low, "ci_high": e.ci_high}
                    | {"seeds_low": min(values, default=np.nan), "seeds_high": max(values, default=np.nan)}
                    | {"seeds": len(ready[way]), "n": e.n, "reason": e.reason}
                )
            rows += [
                {"measure": key, "attribute": "", "group": "", "case": name, "way": way, "seeds": len(ready[way])}
                | {"estimate": np.mean(values), "seeds_low": min(values), "seeds_high": max(values)}
                for key, values in self._curves(name, way, ready[way]).items()
            ]
        return pd.DataFrame(rows)

    def _measured(self, name: str, way: str, seeds: Sequence[int]) -> dict[tuple[str, str, str], Estimate]:
        case = CASES[name]
        own, plain = (
            self.records(case, {s: self.folder(name, w, s) / "records-ppo" for s in seeds}) for w in (way, "plain")
        )
        sft = self.records(case, {s: self.runs / f"seed-{s}" / "sft" / "records-sft" for s in seeds})
        return {(m, a, g): e for m, a, g, e in Measurer(self.plan, case).rows(own, plain, sft)}

    def _curves(self, name: str, way: str, seeds: Sequence[int]) -> dict[str, list[float]]:
        """What training saw of the gap (root of the variance between groups) and of the multipliers."""
        found: dict[str, list[float]] = {}
        for seed in seeds:
            folder = self.folder(name, way, seed) / "method-ppo"
            curve = pd.DataFrame(read_json(folder / "training.json", "run")["curve"])
            if not CASES[name].ways[way]:
                continue
            late = curve.tail(12)
            values = {"training gap, last 12 steps": late["gap"].mean(), "noise floor": late["noise_floor"].mean()}
            values |= {"kappa, last 12 steps": late["kappa"].mean(), "largest kappa": curve["kappa"].max()}
            for column in curve.columns[curve.columns.str.startswith("multiplier:")]:
                values |= {f"{column}, last 12 steps": late[column].mean(), f"{column}, largest": curve[column].max()}
            for key, value in values.items():
                found.setdefault(key, []).append(float(value))
        return found


def main() -> None:
    """Train, examine, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--ways", nargs="+", help="of the cases, these ways of training alone")
    parser.add_argument("--runs", type=Path, default=Path("runs/cases"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--measure-only", action="store_true", help="train nothing; measure what is there")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    bench = Bench(arguments.runs)
    with one_thread():
        for seed in () if arguments.measure_only else arguments.seeds:
            bench.sft(seed)
            for name in arguments.cases:
                for way in CASES[name].ways:
                    if (name, way) not in SAME and way in (arguments.ways or [way]):
                        started = time.process_time()
                        bench.run(name, way, seed)
                        print(f"seed {seed}, {name}, {way}: {time.process_time() - started:.0f} CPU s", flush=True)
    tables = pd.concat([bench.table(name, arguments.seeds) for name in arguments.cases])
    first = ["case", "way", "measure", "attribute", "group"]
    write_table(arguments.out, tables[first + [c for c in tables if c not in first]].round(4))


if __name__ == "__main__":
    main()

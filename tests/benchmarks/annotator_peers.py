"""Raking against balance, Dawid and Skene's model against crowd-kit: equal numbers, and how long each takes.

    OMP_NUM_THREADS=1 python tests/benchmarks/annotator_peers.py --data ../shared/data
    --balance-python BALANCE_ENV/bin/python --crowdkit-python CROWDKIT_ENV/bin/python

Each peer runs in an environment of its own (`pip install balance`, `pip install crowd-kit`), to which tables go as
files; a peer that is not named is left out. CPU seconds are those of the fit alone, the least of three (of one where
it is long): no import, no reading of files. Texts are never read.

Matched for equality: no trimming, equal starting weights, and a peer that stops only when it can get no nearer
(raking: convergence 1e-12); as many rounds of expectation maximisation as ours took, from vote shares, without a prior.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

REPEATS, LONG = 3, 10.0


def cpu_seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result and the least CPU seconds of several runs; a long one is not repeated."""
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < LONG:
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
    return result, min(times)


# What the peers do, in their own interpreters: nothing here imports this package.


def balance_rake(folder: Path) -> float:
    """sample.csv (one column for each margin) and target.csv (cells, share) -> found.csv."""
    from balance.weighting_methods.rake import rake

    logging.getLogger("balance").setLevel(logging.ERROR)
    sample, target = pd.read_csv(folder / "sample.csv", dtype="str"), pd.read_csv(folder / "target.csv")
    names = list(sample.columns)
    cells, share = target[names].astype("str"), target["share"]
    exact = {"max_iteration": 100_000, "convergence_rate": 1e-12, "rate_tolerance": 0.0}
    ones = pd.Series(np.ones(len(sample)))
    found, seconds = cpu_seconds(
        lambda: rake(sample, ones, cells, share, variables=names, transformations=None, **exact)["weight"]
    )
    pd.DataFrame({"weight": found.to_numpy()}).to_csv(folder / "found.csv", index=False)
    return seconds


def crowdkit_dawid_skene(folder: Path) -> float:
    """answers.csv (task, worker, label) and settings.json (n_iter, tol) -> found.csv, a column for each class."""
    from crowdkit.aggregation import DawidSkene

    table = pd.read_csv(folder / "answers.csv", dtype="str")
    settings = json.loads((folder / "settings.json").read_text())
    found, seconds = cpu_seconds(lambda: DawidSkene(**settings).fit_predict_proba(table))
    found.reset_index().to_csv(folder / "found.csv", index=False)
    return seconds


PEERS = {"balance": balance_rake, "crowdkit": crowdkit_dawid_skene}


def ask(python: Path, peer: str, folder: Path) -> tuple[pd.DataFrame, float]:
    """Run a peer in its own interpreter on the files of ``folder``."""
    command = [str(python), "-W", "ignore", __file__, "--peer", peer, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{peer} failed:\n{done.stderr[-2000:]}")
    return pd.read_csv(folder / "found.csv"), float((folder / "seconds").read_text())


def raking_cases(data: Path) -> dict[str, tuple[pd.DataFrame, dict[str, dict[str, float]]]]:
    """Members (a column for each margin) and margins."""
    uk = pd.read_csv(data / "census-margins/census_data/uk.csv")
    numbers = uk[[name for name in uk.columns if name.endswith("2021 (number)")]]
    age = pd.to_numeric(uk["Age"].astype("str").str.extract(r"(\d+)")[0])
    bands = pd.cut(age, [18, 30, 50, 200], right=False, labels=["18-30", "30-50", "50+"])
    people = numbers.sum(axis=1).groupby(bands, observed=True).sum()
    adults = numbers[age >= 18].sum()
    women = adults[[", Female " in name for name in adults.index]].sum()
    raters = pd.read_csv(data / "d3code/d3-raters.csv")[["Age", "Gender", "Region"]]
    raters = raters[raters["Gender"].isin(["Man", "Woman"])].dropna()
    regions = dict.fromkeys(raters["Region"].unique(), 1.0)
    real = {"Age": people.to_dict(), "Gender": {"Woman": women, "Man": adults.sum() - women}}
    cases = {
        f"d3code raters ({len(raters):,}) to the census of the UK: age, sex": (raters[["Age", "Gender"]], real),
        "the same, and eight regions alike": (raters, {**real, "Region": regions}),
    }
    rng = np.random.default_rng(0)
    for n, margins in ((1_000, 5), (10_000, 5), (100_000, 5), (10_000, 8)):
        latent = rng.normal(size=(n, 1)) + rng.normal(size=(n, margins))  # margins go together
        level = np.digitize(latent, [-1.2, 0.3, 1.5])
        wanted = {f"m{k}": dict(zip("0123", rng.dirichlet([8, 8, 6, 4]), strict=True)) for k in range(margins)}
        cases[f"simulated, {n:,} x {margins} margins of 4"] = (
            pd.DataFrame(level.astype(str), columns=list(wanted)),
            wanted,
        )
    return cases


def compare_raking(data: Path, python: Path, folder: Path) -> list[list[str]]:
    from rlhf_fair.annotators.population import Population
    from rlhf_fair.annotators.weights import raking_weights

    rows = []
    for name, (sample, margins) in raking_cases(data).items():
        people = Population.from_shares(margins)
        members = sample.add_prefix("attr.").assign(annotator_id=np.arange(len(sample)))
        ours, seconds = cpu_seconds(lambda m=members, p=people: raking_weights(m, p, trim=np.inf))
        sample.to_csv(folder / "sample.csv", index=False)
        people.joint().reset_index().to_csv(folder / "target.csv", index=False)
        found, theirs = ask(python, "balance", folder)
        peer = found["weight"].to_numpy() / found["weight"].mean()
        worst = float(np.max(np.abs(peer - ours.weights.to_numpy()) / ours.weights.to_numpy()))
        gap = max(
            float((pd.Series(peer).groupby(sample[k].to_numpy()).sum() / len(peer) - m.shares).abs().max())
            for k, m in zip(margins, people.margins, strict=True)
        )
        rows.append([name, f"{worst:.0e}", f"{ours.max_gap:.0e}, {gap:.0e}", *_times(seconds, theirs)])
    return rows


def anaesthetists() -> pd.DataFrame:
    """Dawid and Skene's own table of 45 patients, from the tests."""
    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root), str(root / "tests")]  # tests import each other's helpers from there
    from tests.annotators.test_aggregation_models import anaesthetists as table

    return table()


def answer_cases(data: Path) -> dict[str, pd.DataFrame]:
    """Tables of item, rater, answer."""
    popquorn = pd.read_csv(data / "popquorn/offensiveness/raw_data.csv.gz", usecols=range(2)).assign(
        answer=pd.read_csv(data / "popquorn/offensiveness/raw_data.csv.gz", usecols=["offensiveness"])["offensiveness"]
    )
    crehate = pd.read_csv(
        data / "crehate/CREHate_raw_annotations.csv.gz", usecols=["ID", "annotator_id", "annotation"]
    ).drop_duplicates(["ID", "annotator_id"])
    rng = np.random.default_rng(0)
    item, rater = np.repeat(np.arange(12_000), 6), rng.integers(0, 300, 72_000)
    truth, able = rng.integers(0, 5, 12_000)[item], rng.uniform(0.3, 0.9, 300)[rater]
    simulated = {
        "item": item,
        "rater": rater,
        "answer": np.where(rng.random(72_000) < able, truth, rng.integers(0, 5, 72_000)),
    }
    return {
        "45 patients, 315 answers": anaesthetists(),
        f"POPQUORN, {len(popquorn):,} ratings of 5 classes": popquorn.set_axis(["item", "rater", "answer"], axis=1),
        f"CREHate, {len(crehate):,} ratings of 3 classes": crehate[["ID", "annotator_id", "annotation"]].set_axis(
            ["item", "rater", "answer"], axis=1
        ),
        "simulated, 72,000 ratings of 5 classes": pd.DataFrame(simulated),
    }


def log_likelihood(table: pd.DataFrame, posterior: pd.DataFrame) -> float:
    """Of the answers, nats, under the shares and error rates that a posterior implies (one more maximisation)."""
    answers = pd.get_dummies(table["answer"].astype("str"), dtype=float)
    p = posterior.loc[table["item"].astype("str")].to_numpy()
    rater = pd.factorize(table["rater"])[0]
    rates = np.zeros((rater.max() + 1, p.shape[1], answers.shape[1]))
    np.add.at(rates, rater, p[:, :, None] * answers.to_numpy()[:, None, :])
    rates /= np.maximum(rates.sum(axis=2, keepdims=True), 1e-300)
    said = pd.factorize(table["answer"].astype("str"), sort=True)[0]
    by_answer = np.log(np.maximum(rates[rater, :, said], 1e-300))
    joint = pd.DataFrame(by_answer).groupby(table["item"].astype("str").to_numpy()).sum() + np.log(
        np.maximum(posterior.mean().to_numpy(), 1e-300)
    )
    return float(np.logaddexp.reduce(joint.to_numpy(), axis=1).sum())


def compare_dawid_skene(data: Path, python: Path, folder: Path) -> list[list[str]]:
    from rlhf_fair.annotators.dawid_skene import dawid_skene

    rows = []
    for name, table in answer_cases(data).items():
        fit, own = cpu_seconds(lambda t=table: dawid_skene(t["item"], t["rater"], t["answer"], leave_saddles=False))
        ours = fit.posterior.set_axis(fit.posterior.index.astype("str"), axis=0)
        table.set_axis(["task", "worker", "label"], axis=1).to_csv(folder / "answers.csv", index=False)
        for how, settings in (
            ("as many rounds", {"n_iter": fit.iterations, "tol": -1e300}),
            ("their own stop", {"n_iter": 100, "tol": 1e-5}),
        ):
            (folder / "settings.json").write_text(json.dumps(settings))
            found, theirs = ask(python, "crowdkit", folder)
            peer = found.astype({"task": "str"}).set_index("task").loc[ours.index].sort_index(axis=1)
            worst = float(np.abs(peer.to_numpy() - ours.to_numpy()).max())
            fits = f"{log_likelihood(table, ours):.4f}, {log_likelihood(table, peer):.4f}"
            rows.append([f"{name}; {how} ({fit.iterations})", f"{worst:.0e}", fits, *_times(own, theirs)])
    return rows


def _times(ours: float, theirs: float) -> list[str]:
    return [f"{ours:.3f}", f"{theirs:.3f}", f"{theirs / ours:.1f}"]


def print_table(titles: list[str], rows: list[list[str]]) -> None:
    for row in (titles, ["---"] * len(titles), *rows):
        print("| " + " | ".join(row) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--balance-python", type=Path, help="Interpreter of an environment with balance.")
    parser.add_argument("--crowdkit-python", type=Path, help="Interpreter of an environment with crowd-kit.")
    parser.add_argument("--peer", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        warnings.simplefilter("ignore")
        folder = Path(options.peer[1])
        (folder / "seconds").write_text(str(PEERS[options.peer[0]](folder)))
        return
    ends = ["CPU s: ours", "peer", "times ours"]
    with tempfile.TemporaryDirectory() as name:
        if options.balance_python:
            titles = ["raking", "largest relative difference of a weight", "largest miss: ours, balance", *ends]
            print_table(titles, compare_raking(options.data, options.balance_python, Path(name)))
        if options.crowdkit_python:
            titles = ["Dawid-Skene", "largest difference of a posterior", "log-likelihood: ours, crowd-kit", *ends]
            print_table(titles, compare_dawid_skene(options.data, options.crowdkit_python, Path(name)))


if __name__ == "__main__":
    main()

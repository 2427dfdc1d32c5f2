"""How long do an assignment with languages and the repair of drop-outs take, and is every promise kept?

    OMP_NUM_THREADS=1 python tests/benchmarks/assignment.py

prints seconds, CPU seconds and peak memory (this process's, tables included). Promises are counted by
`rlhf_fair.annotators.assignment_check`, which shares no code with what is measured.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from timing import Timed, peak_memory, timed

from rlhf_fair.annotators.assignment import assign
from rlhf_fair.annotators.assignment_check import Terms, check
from rlhf_fair.annotators.assignment_openings import RepairTerms
from rlhf_fair.annotators.assignment_repair import repair

LANGUAGES = ["en", "es", "zh", "hi", "ar", "pt", "bn", "ru", "ja", "de", "fr", "sw"]
GROUPS = [f"g{k}" for k in range(8)]


def world(n: int, people: int, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Languages in shares 1/2, 1/3, … of the first, a third of the people with a second one, capacities of 60 to 119.

    Items and people have languages in the same shares, groups are skewed by two to one from first to last.
    """
    share = 1 / np.arange(2, 2 + len(LANGUAGES))
    share /= share.sum()
    items = pd.DataFrame({"item_id": [f"item-{k}" for k in range(n)], "language": rng.choice(LANGUAGES, n, p=share)})
    first, second = (rng.choice(LANGUAGES, people, p=share) for _ in range(2))
    skew = np.linspace(2, 1, len(GROUPS))
    members = pd.DataFrame(
        {
            "annotator_id": [f"person-{k}" for k in range(people)],
            "attr.group": rng.choice(GROUPS, people, p=skew / skew.sum()),
            "languages": np.where(rng.random(people) < 1 / 3, pd.Series(first) + ";" + pd.Series(second), first),
            "capacity": rng.integers(60, 120, people),
        }
    )
    return items, members


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--annotators", type=int, default=100_000)
    parser.add_argument("--slots", type=int, default=5)
    parser.add_argument("--distinct-groups", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    items, members = world(given.items, given.annotators, rng)
    terms = Terms(given.slots, given.distinct_groups, ("attr.group",))
    assigned = timed(
        "assign",
        lambda: [
            assign(
                items,
                members,
                ratings_per_item=given.slots,
                distinct_groups=given.distinct_groups,
                group_columns=["attr.group"],
                rng=rng,
            )
        ],
    )
    table = assigned.values[0]
    load = table["annotator_id"].value_counts()
    print(f"{given.items} items x {given.slots} slots over {given.annotators} annotators, {len(LANGUAGES)} languages")
    print(f"  loads {load.min()} to {load.max()}, standard deviation {load.std():.2f}")
    checked = timed("check", lambda: [check(table, items, members, terms)])
    dropped = members["annotator_id"].sample(given.annotators // 100, random_state=given.seed).tolist()
    pool = members[members["annotator_id"].isin(dropped)].assign(annotator_id=lambda p: "new-" + p["annotator_id"])
    promised = RepairTerms(given.distinct_groups, ("attr.group",))
    repaired = timed(
        "repair",
        lambda: [repair(table, members, dropped, items=items, replacements=pool, terms=promised, rng=rng)],
    )
    done = repaired.values[0]
    everybody = pd.concat([members, pool], ignore_index=True)
    staying = everybody[~everybody["annotator_id"].isin(dropped)]
    rechecked = timed("check", lambda: [check(done.assignments, items, staying, terms)])
    changed = int((done.assignments["annotator_id"].to_numpy() != table["annotator_id"].to_numpy()).sum())
    report(assigned, f"peak of the process {peak_memory() / 1024:.2f} GiB")
    report(checked, f"{len(checked.values[0])} broken promises")
    report(repaired, f"{len(done.replaced)} replaced, {len(done.unreplaced)} not; {changed} rows changed")
    report(rechecked, f"broken promises: {rechecked.values[0]['constraint'].value_counts().to_dict() or 'none'}")


def report(run: Timed[Any], note: str) -> None:
    print(f"  {run.name:<8}{run.seconds:>7.2f} s{run.cpu_seconds:>8.2f} CPU s{run.peak_mib:>+8.0f} MiB   {note}")


if __name__ == "__main__":
    main()

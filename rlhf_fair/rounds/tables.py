"""Tables of finished rounds: where each ended, what drifted in between, what each asked and whom."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from rlhf_fair.pipeline_stages.feedback import ANNOTATORS_NAME, ITEMS_NAME
from rlhf_fair.records import Verdict
from rlhf_fair.rounds.drift import Alarm, level_row, levels
from rlhf_fair.rounds.loop import PANEL, STAGE, Round
from rlhf_fair.rounds.run import AllRounds
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.tables import read_table

UTILITY = "true utility"
DRIFT_COLUMNS = (
    *("round", "since", "quantity", "attribute", "reference", "unit", "change", "ci_low", "ci_high", "level", "limit"),
    *("p_value", "p_adjusted", "verdict", "reason", "n", "n_clusters"),
)
DRIFT_ON_PAGE = ("round", "since", "quantity", "verdict", "change", "ci_low", "ci_high", "limit", "unit", "reason")
LEVELS_ON_PAGE = ("quantity", "round", "estimate", "ci_low", "ci_high", "unit", "n", "reason")


def rounds_table(found: AllRounds) -> pd.DataFrame:
    """One row per round and quantity: round, quantity, attribute, reference, unit, estimate, its interval, n, …"""
    rows = [row for made in found.records for row in levels(made, found.watch)]
    return pd.DataFrame([*rows, *_utilities(found)])


def _utilities(found: AllRounds) -> Iterator[dict[str, Any]]:
    """What the simulated population would truly gain from each round's answers; nobody outside a simulation knows."""
    records, plan = found.audited.records, found.plan
    for one in found.rounds:
        stage = STAGE if one.number == 1 else f"{STAGE}_round_{one.number}"
        mine = records[(records["stage"] == stage) & (records["panel"] == PANEL)]
        ways = [mine[name] for name in plan.clusters]
        e = mean_estimate(mine["utility"], clusters=ways, rates=False, alpha=plan.policy.alpha)
        yield level_row(one.number, UTILITY, "utility per answer", e)


def drift_table(found: AllRounds) -> pd.DataFrame:
    """One row per change that was judged; none after a single round."""
    return pd.DataFrame([alarm.row() for alarm in found.alarms], columns=list(DRIFT_COLUMNS))


def feedback_table(found: AllRounds) -> pd.DataFrame:
    """Per round: pairs judged, people asked, how many of them the first round asked too."""
    people = [set(read_table(one.panel / ANNOTATORS_NAME)["annotator_id"]) for one in found.rounds]
    rows = [_asked(one, mine, people[0]) for one, mine in zip(found.rounds, people, strict=True)]
    return pd.DataFrame(rows)


def _asked(one: Round, people: set[str], first: set[str]) -> dict[str, Any]:
    items = read_table(one.items / ITEMS_NAME)
    return {
        "round": one.number,
        "pairs": len(items),
        "people": len(people),
        "of the first round's": len(people & first),
    }


def levels_on_page(found: AllRounds) -> dict[str, Any]:
    """`rounds_table` as the report has it: one quantity after the other, each round by round."""
    table = _with_attributes(rounds_table(found))
    order = {name: position for position, name in enumerate(table["quantity"].drop_duplicates())}
    table = table.sort_values(["quantity", "round"], key=lambda c: c.map(order) if c.name == "quantity" else c)
    return plain(table[list(LEVELS_ON_PAGE)])


def drift_on_page(found: AllRounds) -> dict[str, Any]:
    """`drift_table` as the report has it, the worst verdicts first, and what it says in sentences."""
    worst = {verdict.value: position for position, verdict in enumerate(SEVEREST_FIRST)}
    table = _with_attributes(drift_table(found))
    table = table.sort_values("verdict", key=lambda c: c.map(worst), kind="stable")
    table["verdict"] = table["verdict"].str.replace("_", " ")
    return {**plain(table[list(DRIFT_ON_PAGE)]), "answer": drift_answer(found)}


SEVEREST_FIRST = (Verdict.EXCEEDS, Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED, Verdict.WITHIN)


def drift_answer(found: AllRounds) -> list[str]:
    """How many changes got which verdict; each alarm; whether the run was stopped."""
    met = [alarm.verdict for alarm in found.alarms]
    counted = ", ".join(f"{met.count(v)} {_IN_WORDS[v]}" for v in SEVEREST_FIRST)
    sentences = [
        f"Of {len(met)} changes between rounds: {counted}.",
        f"The probability that any of them rings falsely is held at {found.watch.alpha:g}.",
    ]
    rung = [alarm for alarm in found.alarms if alarm.verdict == Verdict.EXCEEDS]
    sentences += [f"Alarm: {change_line(alarm)}." for alarm in rung]
    if any(alarm.verdict == Verdict.INCONCLUSIVE and nothing_seen(alarm) for alarm in found.alarms):
        sentences.append(
            "Inconclusive with an estimate of 0: no cluster of prompts changed, "
            "but so few clusters do not exclude a change of that size."
        )
    if found.stopped:
        sentences.append(f"No round was started after round {found.stopped}, since an alarm rang in it.")
    return sentences


def nothing_seen(alarm: Alarm) -> bool:
    """Whether what is watched stayed as it was in every cluster: its interval then stems from their number alone."""
    e = alarm.change.estimate
    return e.estimate == 0 and math.isfinite(e.ci_high) and e.ci_low == -e.ci_high


_IN_WORDS = {
    Verdict.EXCEEDS: "beyond their limit",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_MEASURED: "not measured",
    Verdict.WITHIN: "within their limit",
}


def drift_lines(found: AllRounds) -> Sequence[str]:
    """One line for each change, by round, the severest verdicts first."""
    ordered = sorted(found.alarms, key=lambda a: (a.change.round, SEVEREST_FIRST.index(a.verdict)))
    return [f"{change_line(alarm)}: {alarm.verdict.value.replace('_', ' ')}" for alarm in ordered]


def change_line(alarm: Alarm) -> str:
    """One change in words, with its interval and its limit."""
    c, e = alarm.change, alarm.change.estimate
    interval = f"[{e.ci_low:+.3f}, {e.ci_high:+.3f}]" if math.isfinite(e.ci_low + e.ci_high) else "(no interval)"
    return (
        f"round {c.round} since {c.since}: {named(c.quantity, c.attribute)} {e.estimate:+.3f} {interval} {c.unit}, "
        f"limit {c.limit:g}"
    )


def named(quantity: str, attribute: str) -> str:
    """A quantity with its attribute.

    >>> named("gap", "gender"), named("length", "")
    ('gap by gender', 'length')
    """
    return f"{quantity} by {attribute}" if attribute else quantity


def plain(table: pd.DataFrame) -> dict[str, Any]:
    """A table as results.json has it; what is not finite is None."""
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return {"columns": [_title(str(name)) for name in table.columns], "rows": rows}


def _with_attributes(table: pd.DataFrame) -> pd.DataFrame:
    names = [named(q, a) for q, a in zip(table["quantity"], table["attribute"], strict=True)]
    return table.assign(quantity=names)


def _title(name: str) -> str:
    return name.replace("ci_", "CI ").replace("_", " ")


def _cell(value: Any) -> Any:
    unboxed = value.item() if hasattr(value, "item") else value
    return None if isinstance(unboxed, float) and not math.isfinite(unboxed) else unboxed

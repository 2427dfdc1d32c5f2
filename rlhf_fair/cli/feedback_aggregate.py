"""`rlhf-fair feedback aggregate`: one judgement for each item, by a rule of one's choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rlhf_fair.cli.panel import By, Json, Quiet, accepted, read_groups, show
from rlhf_fair.cli.panel_tables import simulated_lines

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.annotators.aggregation_rules import RuleInputs

FeedbackFile = Annotated[Path, typer.Argument(metavar="FEEDBACK", help="Feedback table (JSONL, JSON, CSV, Parquet).")]
RuleName = Literal[
    "mean",
    "median",
    "majority",
    "group-balanced",
    "population-weighted",
    "max-min",
    "jury",
    "dawid-skene",
    "mace",
    "glad",
    "bradley-terry",
]
Weights = Annotated[Path | None, typer.Option(help="Weights table: annotator_id, weight.")]
PanelOption = Annotated[Path | None, typer.Option(help="Panel table, needed with --by.")]
Seats = Annotated[
    list[str] | None, typer.Option(help="GROUP=NUMBER of jury seats; repeat. Default: 12, shared out evenly.")
]
MinGroup = Annotated[
    int, typer.Option(min=1, help="Raters with judgements a group needs to count as one; seats named are kept.")
]
CountUndisclosed = Annotated[
    bool, typer.Option("--count-undisclosed", help="Raters who prefer not to say are a group like any other.")
]
Kind = Annotated[Literal["pair", "rating", "scalar"] | None, typer.Option(help="Use only feedback of this kind.")]

NOT_CONVERGED = "{} has not converged: its values would change with more rounds, and decide nothing (exit code 3)"
NAMES = {"pair": "pairs", "rating": "ratings", "scalar": "scalars"}


def aggregate(
    feedback: FeedbackFile,
    out: Annotated[Path, typer.Option(help="Table to write, one row for each item (and kind).")],
    rule: Annotated[RuleName, typer.Option(help="How judgements become one.")] = "mean",
    weights: Weights = None,
    panel: PanelOption = None,
    by: By = None,
    seats: Seats = None,
    min_group: MinGroup = 5,
    count_undisclosed: CountUndisclosed = False,
    kind: Kind = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """One judgement for each item, by count, by weight, with every group counting the same (--by), or by other rules.

    Pairs, ratings and scalar rewards are aggregated; edits and revised instructions are collected only. What a rule
    costs whom is shown by `rlhf-fair feedback flips`.

    With --by, raters who prefer not to say and groups of fewer than --min-group raters are no groups: each of their
    judgements counts as one person's in the overall mean (under max-min it has no veto, in a jury no seat).

    Ends with exit code 3 if a rule fitted in rounds (dawid-skene, mace, glad, bradley-terry) has not come to rest: the
    table is written, its column converged says False, and its values are not what the rule stands for.

    Example: rlhf-fair feedback aggregate feedback.jsonl --weights weights.csv --out preferences.csv
    """
    import pandas as pd

    from rlhf_fair.annotators import aggregation_rules as rules
    from rlhf_fair.annotators.aggregation import converged
    from rlhf_fair.tables import FEEDBACK, simulated_rows, write_table

    table = accepted(feedback, FEEDBACK)
    inputs = read_inputs(weights, panel, by, seats)
    _require_inputs(rule, inputs)
    inputs, told = count_groups(inputs, table["annotator_id"], min_group, count_undisclosed)
    texts, found = rules.collected_only(table), aggregatable(table, kind)
    _require_kinds(rule, found)
    parts: list[pd.DataFrame] = []
    summary = {"out": str(out), "judgements": len(table), "simulated_rows": simulated_rows(table), **told}
    lines = [*simulated_lines(table), *group_lines(told)]
    for name in found:
        own = table[table["kind"] == name]
        chosen = rules.aggregate(own, rule, inputs)
        named = chosen.assign(kind=name)
        parts.append(_marked(named, own) if summary["simulated_rows"] else named)
        if (stood := converged(chosen)) is not None:
            summary["converged"] = stood and summary.get("converged", True)
        numbers, said = _told(name, own, chosen)
        summary |= numbers
        lines += said
    if texts:
        summary["collected_only"] = texts
        lines.append("collected, not aggregated: " + ", ".join(f"{n} of kind {name}" for name, n in texts.items()))
    write_table(out, pd.concat(parts, ignore_index=True))
    unsettled = [NOT_CONVERGED.format(rule)] if summary.get("converged") is False else []
    show(summary, [*lines, *unsettled, f"written to {out}"], as_json=as_json, quiet=quiet)
    if unsettled:
        raise typer.Exit(3)


def _told(kind: str, judgements: pd.DataFrame, chosen: pd.DataFrame) -> tuple[dict[str, Any], list[str]]:
    """What is said of the items of one kind: numbers for ``--json``, and lines."""
    from rlhf_fair.annotators.aggregation import aggregate_pairs, flips
    from rlhf_fair.annotators.flip_reasons import why_no_value

    numbers: dict[str, Any] = {f"{kind}_items": len(chosen)}
    if kind == "pair":
        moved = flips(aggregate_pairs(judgements), chosen)
        numbers |= {"flipped": moved.flipped, "tied": moved.tied}
        lines = [f"{len(chosen)} pairs; against the plain mean {moved.flipped} flip, {moved.tied} are tied"]
    else:
        lines = [f"{len(chosen)} {'rated' if kind == 'rating' else 'rewarded'} items"]
    if empty := int(chosen["p_a" if kind == "pair" else "value"].isna().sum()):
        numbers |= {f"{kind}_items_undecided": empty, f"{kind}_reason": why_no_value(chosen)}
        lines.append(f"{empty} of them without a value under this rule: {why_no_value(chosen)}")
    return numbers, lines


def _marked(chosen: pd.DataFrame, judgements: pd.DataFrame) -> pd.DataFrame:
    """The items with the number of simulated judgements behind each, so that the mark outlives the aggregation."""
    from rlhf_fair.tables import is_simulated

    counts = is_simulated(judgements).astype("int64").groupby(judgements["item_id"]).sum()
    return chosen.assign(simulated_judgements=chosen["item_id"].map(counts))


def aggregatable(table: pd.DataFrame, kind: str | None) -> list[str]:
    """The kinds of feedback to aggregate, in the order pair, rating, scalar; none at all is an error."""
    from rlhf_fair.errors import RowError

    found = [name for name in NAMES if (table["kind"] == name).any() and kind in (None, name)]
    if not found:
        has = ", ".join(sorted(table["kind"].unique()))
        raise RowError(f"feedback has no {NAMES[kind] if kind else 'pairs, ratings or scalars'}; has kinds: {has}")
    return found


def read_inputs(weights: Path | None, panel: Path | None, by: Sequence[str] | None, seats: Sequence[str] | None) -> Any:
    """`RuleInputs` from the files and options named."""
    from rlhf_fair.annotators.aggregation_rules import RuleInputs

    return RuleInputs(read_weights(weights), read_groups(panel, by or []), _read_seats(seats))


def count_groups(
    inputs: RuleInputs, raters: pd.Series, min_group: int, count_undisclosed: bool
) -> tuple[RuleInputs, dict[str, Any]]:
    """The inputs with the groups that count as such, and what is to be said about the others; none left is an error."""
    from dataclasses import replace

    from rlhf_fair.annotators.aggregation_groups import counted_groups
    from rlhf_fair.errors import SettingsError

    if inputs.groups is None:
        return inputs, {}
    found = counted_groups(
        inputs.groups,
        set(raters),
        min_group=min_group,
        count_undisclosed=count_undisclosed,
        keep=[name for name, number in (inputs.seats or {}).items() if number],
    )
    if not found.counted:
        sizes = ", ".join(f"{name} {n}" for name, n in found.too_small.items()) or "none"
        raise SettingsError(
            f"no group has {min_group} raters with judgements ({found.undisclosed} undisclosed; too small: {sizes}); "
            "lower --min-group, or count those who did not say with --count-undisclosed"
        )
    told = {"counted": found.counted, "too_small": found.too_small, "undisclosed": found.undisclosed}
    return replace(inputs, groups=found.groups), {"groups_counted": {**told, "min_group": min_group}}


def group_lines(told: dict[str, Any]) -> list[str]:
    """The groups that count, and how many raters are in none."""
    if not told:
        return []
    groups = told["groups_counted"]
    lines = ["groups: " + ", ".join(f"{name} {n}" for name, n in groups["counted"].items()) + " raters"]
    out = [f"{groups['undisclosed']} undisclosed"] if groups["undisclosed"] else []
    out += [f"{name} {n} (fewer than {groups['min_group']})" for name, n in groups["too_small"].items()]
    return lines + (["raters in no group, counted one by one: " + ", ".join(out)] if out else [])


def read_weights(path: Path | None) -> pd.Series | None:
    """Weights by annotator_id."""
    from rlhf_fair.tables import Column, Contract

    if path is None:
        return None
    contract = Contract("weights", {"annotator_id": Column(), "weight": Column("number", low=0)}, ("annotator_id",))
    return accepted(path, contract).set_index("annotator_id")["weight"]


def _read_seats(seats: Sequence[str] | None) -> dict[str, int] | None:
    from rlhf_fair.errors import SettingsError

    if not seats:
        return None
    found = {}
    for entry in seats:
        name, _, number = entry.rpartition("=")
        if not name or not number.isdecimal():
            raise SettingsError(f"--seats {entry!r}; allowed: GROUP=NUMBER, such as woman=6")
        found[name] = int(number)
    return found


def _require_inputs(rule: RuleName, inputs: RuleInputs) -> None:
    """An input the rule lacks, or would leave unused, is an error."""
    from rlhf_fair.annotators.aggregation_rules import RULES
    from rlhf_fair.errors import SettingsError

    options = {"weights": "--weights FILE", "groups": "--by ATTRIBUTE with --panel FILE", "seats": "--seats"}
    if lacking := inputs.lacks(rule):
        raise SettingsError(f"--rule {rule} needs {options[lacking]}")
    for name, option in options.items():
        if getattr(inputs, name) is not None and name not in RULES[rule].takes:
            takes = [options[other] for other in RULES[rule].takes]
            raise SettingsError(f"--rule {rule} makes no use of {option}; it takes: {', '.join(takes) or 'nothing'}")
    if inputs.seats and inputs.groups is not None:
        unknown = sorted(set(inputs.seats) - set(inputs.groups.dropna()))
        if unknown:
            known = ", ".join(sorted(inputs.groups.dropna().unique()))
            raise SettingsError(f"--seats names group {unknown[0]!r}; the panel has: {known}")


def _require_kinds(rule: RuleName, kinds: Sequence[str]) -> None:
    from rlhf_fair.annotators.aggregation_rules import RULES
    from rlhf_fair.errors import SettingsError

    for kind in [name for name in kinds if name not in RULES[rule].kinds]:
        own = " and ".join(NAMES[name] for name in RULES[rule].kinds)
        allowed = ", ".join(name for name, known in RULES.items() if kind in known.kinds)
        raise SettingsError(
            f"--rule {rule} is for {own}; for {NAMES[kind]} allowed: {allowed}; --kind picks one kind of feedback"
        )

"""`rlhf-fair panel plan`: whom to recruit, with a certificate of what was reached and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.options import Json, PopulationFile, Quiet, Seed, show

if TYPE_CHECKING:
    from rlhf_fair.annotators.quotas import Demand

DRAW_ALL = 0.1
"""Share of an equal chance that ``--draw-all`` promises everybody."""

UNLIKE = 0.05
"""Fewer persons than this are not worth a line."""


def plan(
    pool: Annotated[
        Path,
        typer.Option(
            help="Candidates: annotator_id, attr.* columns; optionally cost, consent, capacity, languages, skills, "
            "dropout. Several levels in one cell are joined by '|' and all count."
        ),
    ],
    population: PopulationFile,
    size: Annotated[int, typer.Option(min=1, help="Number of annotators (who finish, where drop-out is expected).")],
    out: Annotated[Path, typer.Option(help="Folder for panel.csv, targets.csv, prices.csv and certificate.json.")],
    minimum_per_cell: Annotated[int, typer.Option(min=0, help="Least people in every margin cell.")] = 0,
    minimum: Annotated[
        list[str] | None, typer.Option(help="Least people in a named cell: gender=woman,race=Black:10; repeat.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Highest total cost.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="People a cell may miss its target by.")] = 1.0,
    dropout: Annotated[
        list[str] | None, typer.Option(help="Expected share who leave: 0.1, or gender=man:0.2; repeat.")
    ] = None,
    draw_all: Annotated[
        bool, typer.Option("--draw-all", help=f"Give everybody {DRAW_ALL:g} of an equal chance at least.")
    ] = False,
    least_chance: Annotated[
        float | None, typer.Option(min=0, max=1, help="Give everybody this share of an equal chance at least.")
    ] = None,
    language: Annotated[list[str] | None, typer.Option(help="Language every member must know; repeat.")] = None,
    skill: Annotated[list[str] | None, typer.Option(help="Skill every member must have; repeat.")] = None,
    capacity: Annotated[float, typer.Option(min=0, help="Judgements every member must have room for.")] = 0.0,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose annotators whose margins match the population's, at least cost.

    Only people who gave consent (where the pool has that column) can be drawn. Whoever left an attribute empty, or
    said what the population has no share for (prefer_not_to_say, perhaps), is counted but not drawn. Where demands
    contradict each other, the smallest contradicting set and the repairs are printed.

    Example: rlhf-fair panel plan --pool pool.csv --population adults.toml --size 100
    --minimum gender=woman,race=Black:10 --draw-all --out panel/
    """
    from rlhf_fair.annotators.attrition import DropOut
    from rlhf_fair.annotators.eligibility import Needs
    from rlhf_fair.annotators.minimums import Minimum
    from rlhf_fair.annotators.quotas import Demand

    demand = Demand(
        size=size,
        minimum_per_cell=minimum_per_cell,
        budget=budget,
        tolerance=tolerance,
        minimums=tuple(Minimum.parse(text) for text in minimum or ()),
        least_chance=least_chance if least_chance is not None else DRAW_ALL * draw_all,
        needs=Needs(tuple(language or ()), tuple(skill or ()), capacity),
        dropout=DropOut.parse(list(dropout or ())),
    )
    with _working(quiet or as_json):
        certificate = _write(pool, population, demand, out, seed, as_json=as_json)
    show({"out": str(out), **certificate}, plan_lines(certificate, out), as_json=as_json, quiet=quiet)


def _write(pool: Path, population: Path, demand: Demand, out: Path, seed: int, *, as_json: bool) -> dict[str, Any]:
    """Plan, and write panel, targets, prices and certificate; returns the certificate."""
    import numpy as np

    from rlhf_fair.annotators.conflict import ConflictError
    from rlhf_fair.annotators.panel import plan_for
    from rlhf_fair.annotators.population import Population
    from rlhf_fair.annotators.prices import basis_note
    from rlhf_fair.artifacts import make_folder, write_json
    from rlhf_fair.tables import ANNOTATORS, read_validated, write_table

    people = Population.read(population)
    candidates = read_validated(pool, ANNOTATORS)
    try:
        planned = plan_for(candidates.table, people, demand, rng=np.random.default_rng(seed))
    except ConflictError as conflict:
        show(conflict.record(), [], as_json=as_json, quiet=not as_json)
        raise
    prices = planned.prices()
    certificate = {
        **planned.certificate(),
        "prices": _dear(prices.to_dict("records")),
        "prices_note": basis_note(prices, len(planned.quotas.strata.table)),
        "rejected": len(candidates.rejects),
        "seed": seed,
    }
    make_folder(out)
    write_table(out / "panel.csv", planned.members)
    write_table(out / "targets.csv", planned.targets)
    write_table(out / "prices.csv", prices)
    write_json(out / "certificate.json", certificate)
    if len(candidates.rejects):
        write_table(out / "rejects.csv", candidates.rejects)
    else:
        (out / "rejects.csv").unlink(missing_ok=True)  # of an earlier plan in this folder
    return certificate


def _dear(prices: list[dict[Any, Any]]) -> list[dict[str, Any]]:
    """The limits that bind, NaN as null."""
    kept = [row for row in prices if row["basis"] != "not binding"]
    return [{str(key): None if value != value else value for key, value in row.items()} for row in kept]


def plan_lines(certificate: Mapping[str, Any], out: Path) -> list[str]:
    """The certificate for people."""
    size, eligible, cost = certificate["size"], certificate["eligible"], certificate["cost"]
    lines = [
        f"panel of {size} from {eligible} candidates, cost {cost:g}: {out}",
        f"{certificate['targets_met']} of {certificate['targets']} targets met within {certificate['tolerance']:g}",
    ]
    lines += [
        f"  {miss['attribute']}={miss['level']}: wanted {miss['target']:.1f}, planned {miss['planned']}, "
        f"{miss['available']} in the pool"
        for miss in certificate["missed"]
    ]
    missed = {(miss["attribute"], miss["level"]) for miss in certificate["missed"]}
    lines += [
        f"  {cell['attribute']}={cell['level']}: wanted {cell['target']:.1f}, planned 0 (within the tolerance), "
        f"{cell['available']} in the pool"
        for cell in certificate["without_anybody"]
        if (cell["attribute"], cell["level"]) not in missed
    ]
    lines += [
        f"  {row['cell']}: at least {row['minimum']}, planned {row['planned']}, {row['available']} in the pool"
        for row in certificate["minimums"]
    ]
    if "expected_finishers" in certificate:
        lines.append(
            f"{certificate['expected_finishers']:.1f} expected to finish; chance of fewer than "
            f"{certificate['wanted_finishers']}: {certificate['chance_of_fewer_finishers']:.3f}"
        )
    if certificate["least_chance"]:
        lines += _chances(certificate)
    lines += [_price(row) for row in certificate["prices"] if row["exact"] or (row["dual"] and row["exact"] is None)]
    lines += [certificate["prices_note"]] if certificate["prices_note"] else []
    notes = {
        "unplaced": "candidates have an attribute that is empty or unknown to the population and were not considered",
        "never_drawn": "candidates had no chance to be drawn, so no weighting can stand for them",
        "rejected": "rows of the pool were unusable, see rejects.csv",
    }
    lines += [f"{persons} candidates may not be asked ({why})" for why, persons in certificate["ineligible"].items()]
    if unreached := certificate["unreached_share"]:
        lines.append(
            f"{unreached:.1%} of the candidates are not stood for: they had no chance, or nobody of their price was "
            "drawn"
        )
    for key, note in notes.items():
        if certificate[key]:
            lines.append(f"{certificate[key]} {note}")
            lines += [f"  {count}: {what}" for what, count in certificate["unplaced_by"].items() if key == "unplaced"]
    return lines


def _chances(certificate: Mapping[str, Any]) -> list[str]:
    """What the lottery promises, and what the plan drawn lacks of it."""
    expected, least = certificate["expected_planning_cost"], certificate["least_planning_cost"]
    text = (
        f"inclusion probabilities {certificate['least_inclusion_probability']:.3g} to "
        f"{certificate['greatest_inclusion_probability']:.3g} from a lottery over {certificate['plans_in_lottery']} "
        f"plans; expected cost {expected:.2f}, {expected - least:.2f} more than the cheapest plan"
    )
    if certificate["chance_shortfall"]:
        text += f"; the promised chance was out of reach by {certificate['chance_shortfall']:.0%}"
    lines = [text if certificate["lottery_settled"] else text + " (not proved least)"]
    if (unlike := certificate["persons_out_of_place"]) > UNLIKE:
        lines.append(f"its plans differ by {unlike:.1f} persons more than rounding asks for, so estimates vary more")
    if empty := certificate["strata_left_empty"]:
        persons = sum(row["available"] for row in empty)
        lines.append(
            f"nobody was drawn from {len(empty)} of {certificate['strata']} strata that had a chance ({persons} "
            "candidates), see certificate.json"
        )
    return lines


def _price(row: Mapping[str, Any]) -> str:
    if row["basis"] == "impossible":
        return f"  one more for {row['limit']}: not possible at this size"
    if row["basis"] in ("re-solved", "not proved"):
        how = "solved again" if row["basis"] == "re-solved" else "solved again, not proved least"
        return f"  one more for {row['limit']}: {row['exact']:+.6g} ({how}; dual {row['dual']:+.2f})"
    return f"  one more for {row['limit']}: {row['dual']:+.2f} (dual of the relaxation)"


@contextmanager
def _working(silent: bool) -> Iterator[None]:
    """A spinner on standard error while the solver runs."""
    if silent:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("planning the panel"):
        yield

"""`rlhf-fair panel weigh`: weights that make the panel stand for its population, and what they cost in precision."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.options import Json, PanelFile, PopulationFile, Quiet, Seed, show
from rlhf_fair.cli.panel_tables import accepted

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.annotators.weights import PanelWeights, Weighting

WeightsFile = Annotated[
    Path, typer.Option("--out", help="Weights table to write: annotator_id, weight, base_weight, trimmed, replicates.")
]
Trim = Annotated[
    str,
    typer.Option(help="Largest weight, as a multiple of the mean; none; or auto, which bounds the mean squared error."),
]
Responded = Annotated[
    Path | None,
    typer.Option(help="Feedback table: whoever is in it responded. Default: the panel's column 'responded'."),
]
ResponseBy = Annotated[
    list[str] | None,
    typer.Option(help="Attribute whose levels stand for each other's missing responses; repeat to cross several."),
]
Replicates = Annotated[int, typer.Option(min=0, help="Replicate weights to add, for intervals (80, say); 0: none.")]
AcceptGap = Annotated[
    float, typer.Option(min=0, help="Margins that contradict each other may be missed by this share.")
]

UNREACHED = 0.01
"""Candidates left out, as a share, who are few enough to let intervals stand: a mean can be off by their share times
how much they differ."""


def weigh(
    panel: PanelFile,
    population: PopulationFile,
    out: WeightsFile,
    trim: Trim = "5",
    responded: Responded = None,
    response_by: ResponseBy = None,
    replicates: Replicates = 0,
    accept_gap: AcceptGap = 0.02,
    margins: Annotated[Path | None, typer.Option(help="Table of the margins before and after, to write.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Weights that make the panel stand for the population, and what they cost in precision.

    From one over the chance of being drawn (inclusion_probability, where the panel has it), through those who did not
    respond, to the population's margins: of one attribute, crossed, or of which people name several. Says which cells
    nobody stands for, and what margins are missed by.

    Example: rlhf-fair panel weigh --panel panel/panel.csv --population adults.toml --responded feedback.jsonl
    --replicates 80 --out weights.csv
    """
    import numpy as np

    from rlhf_fair.annotators.population import Population
    from rlhf_fair.annotators.weights import weigh_panel
    from rlhf_fair.cli.progress import progress_bar
    from rlhf_fair.tables import ANNOTATORS, write_table

    members = accepted(panel, ANNOTATORS)
    settings = _settings(trim, response_by, replicates, accept_gap)
    present, strangers = _responded(responded, members)
    with progress_bar(hidden=quiet or as_json) as progress:
        found = weigh_panel(
            members,
            Population.read(population),
            settings,
            responded=present,
            rng=np.random.default_rng(seed),
            heard=lambda done, total: progress("replicates", done, total),
        )
    write_table(out, found.table())
    if margins is not None:
        write_table(margins, found.margins)
    notes = [*found.notes]
    if strangers:
        notes.append(f"{strangers} annotators of the feedback are not in the panel and have no weight")
    show({"out": str(out), **_summary(found, notes)}, _lines(found, notes, out), as_json=as_json, quiet=quiet)


def _settings(trim: str, response_by: list[str] | None, replicates: int, accept_gap: float) -> Weighting:
    from rlhf_fair.annotators.weights import Weighting
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import ATTRIBUTE_PREFIX

    cap: Any = "auto" if trim == "auto" else float("inf") if trim == "none" else None
    if cap is None:
        try:
            cap = float(trim)
        except ValueError:
            raise SettingsError(f"--trim {trim!r}; allowed: a number > 1, none or auto") from None
    by = tuple(name.removeprefix(ATTRIBUTE_PREFIX) for name in response_by) if response_by else None
    return Weighting(cap, replicates, by, accept_gap)


def _responded(feedback: Path | None, members: pd.DataFrame) -> tuple[Any, int]:
    """(n,) whether each member gave feedback, None where no table is named; and how many others did."""
    from rlhf_fair.errors import RowError
    from rlhf_fair.tables import FEEDBACK

    if feedback is None:
        return None, 0
    gave = set(accepted(feedback, FEEDBACK)["annotator_id"])
    present = members["annotator_id"].isin(gave).to_numpy()
    if not present.any():
        raise RowError(f"{feedback}: none of its {len(gave)} annotators is among the panel's {len(members)}")
    return present, len(gave - set(members["annotator_id"]))


def _summary(found: PanelWeights, notes: list[str]) -> dict[str, Any]:
    from rlhf_fair.annotators.weights import design_effect
    from rlhf_fair.stats.columns import kish_effective_n

    return {
        "members": len(found.weights),
        "effective_size": kish_effective_n(found.weights),
        "design_effect": design_effect(found.weights),
        "least_weight": float(found.weights.min()),
        "largest_weight": float(found.weights.max()),
        "variation": found.variation,
        "max_gap": found.max_gap,
        "max_gap_before": found.max_gap_before,
        "settled": found.settled,
        "conflicts": found.conflicts,
        "cap": found.cap,
        "trimmed": found.trimmed,
        "unknown": found.unknown,
        "responded": None if found.response is None else int(found.response.responded.sum()),
        "response_by": None if found.response is None else found.response.attributes,
        "replicates": 0 if found.replicates is None else found.replicates.shape[1],
        "unreached_share": found.unreached_share,
        "intervals_trusted": _trusted(found),
        "notes": notes,
        "margins": found.margins.to_dict("records"),
    }


def _trusted(found: PanelWeights) -> bool | None:
    """Whether intervals made of replicates can stand; None where it is not known whom the panel leaves out."""
    if found.leans or found.unreached_share > UNREACHED:
        return False
    return None if math.isnan(found.unreached_share) else True


def _lines(found: PanelWeights, notes: list[str], out: Path) -> list[str]:
    numbers = _summary(found, notes)
    wider = numbers["design_effect"] ** 0.5
    cap = "no cap" if found.cap == float("inf") else f"{found.trimmed} held at {found.cap:.3g}"
    head = [
        f"{numbers['members']} members weigh as much as {numbers['effective_size']:.1f} equal ones "
        f"(design effect {numbers['design_effect']:.2f}): {out}",
        f"weights {numbers['least_weight']:.2f} to {numbers['largest_weight']:.2f} times the mean, coefficient of "
        f"variation {found.variation:.2f}; {cap}",
        f"largest distance of a share from its target: {found.max_gap_before:.3f} before, {found.max_gap:.3f} after, "
        f"at the price of intervals {wider:.2f} times as wide as of equal weights",
        "",
    ]
    titles = ["margin", "level", "target", "panel", "drawn", "weighted", "members", "worth", "design effect"]
    rows = [
        [
            row["attribute"],
            row["level"],
            *(f"{row[name]:.3f}" for name in ("target", "panel", "base", "weighted")),
            f"{row['n']}",
            *(f"{row[name]:.{digits}f}" if row[name] == row[name] else "-" for name, digits in _SIZES),
        ]
        for row in found.margins.to_dict("records")
    ]
    widths = [max(len(row[k]) for row in [titles, *rows]) for k in range(len(titles))]
    table = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in [titles, *rows]]
    keys = "drawn: weighted by chance and response alone; worth: equally weighted members who say as much (Kish)"
    return [*head, *table, "", keys, *notes]


_SIZES = (("effective_size", 1), ("design_effect", 2))

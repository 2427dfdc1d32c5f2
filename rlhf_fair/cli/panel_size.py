"""`rlhf-fair panel size`: how many raters it takes to see a gap between groups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rlhf_fair.cli.options import Json, Quiet, show


def size(
    gap: Annotated[float, typer.Option(help="Difference to be seen, in the unit of the score.")],
    by: Annotated[str, typer.Option("--by", help="Attribute whose groups are compared.")],
    reference: Annotated[str, typer.Option(help="Group that the others are compared with.")],
    sd: Annotated[float, typer.Option(help="Standard deviation of one rating (for a rate p: sqrt(p(1-p))).")],
    population: Annotated[Path | None, typer.Option(help="Margins; gives the groups and their shares.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group to compare, where no population is given.")] = None,
    ratings_per_rater: Annotated[float, typer.Option(min=1, help="Ratings that each rater gives.")] = 1.0,
    icc: Annotated[float, typer.Option(min=0, max=1, help="Share of the variance that lies between raters.")] = 0.0,
    alpha: Annotated[float, typer.Option(help="Level over all contrasts together.")] = 0.05,
    power: Annotated[float, typer.Option(help="Chance to see the gap if it is there.")] = 0.8,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """How many raters show a gap between groups, with so many ratings of each.

    Example: rlhf-fair panel size --gap 0.1 --sd 0.5 --icc 0.1 --ratings-per-rater 20 --by gender --reference man
    --population adults.toml
    """
    from rlhf_fair.annotators.allocation import RaterDesign, panel_size_for_gap
    from rlhf_fair.annotators.population import Population
    from rlhf_fair.errors import SettingsError

    shares: dict[str, float] | None = None
    if population is not None:
        people = Population.read(population)
        margin = next((m for m in people.margins if m.attributes == (by,)), None)
        margin = margin or next((m for m in people.margins if by in m.attributes and not m.multi_select), None)
        if margin is None:
            raise SettingsError(f"--by {by}: allowed: {', '.join(people.attributes)}")
        shares = {str(level): float(share) for level, share in margin.one_way(by).items() if share > 0}
    groups = list(shares) if shares is not None else list(dict.fromkeys([reference, *(group or ())]))
    design = RaterDesign(sd, ratings_per_rater, icc, alpha, power)
    found = panel_size_for_gap(gap, design, groups, reference=reference, shares=shares)
    total = sum(found.oversampled.values())
    summary: dict[str, Any] = {
        "gap": gap,
        "reference": reference,
        "alpha_per_contrast": found.alpha,
        "design_effect": found.design_effect,
        "raters_per_group": found.oversampled,
        "raters": total,
        "raters_in_population_shares": found.proportional,
        "contrasts": [vars(contrast) for contrast in found.contrasts],
    }
    each = next(iter(found.oversampled.values()))
    lines = [
        f"to see a gap of {gap:g} with power {power:g} at level {found.alpha:.4g} for each of {len(found.contrasts)} "
        f"contrasts with {reference}:",
        f"  {each} raters in each of {len(groups)} groups, {total} in all (design effect {found.design_effect:.2f})",
    ]
    if found.proportional is not None:
        lines.append(f"  {found.proportional} raters if the panel mirrors the population's shares")
    show(summary, lines, as_json=as_json, quiet=quiet)

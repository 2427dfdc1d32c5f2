"""`rlhf-fair panel`: plan a panel, assign its work, weigh its members, measure its agreement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rlhf_fair.cli.options import By as By  # other commands import these names from here
from rlhf_fair.cli.options import Json as Json
from rlhf_fair.cli.options import PanelFile as PanelFile
from rlhf_fair.cli.options import PopulationFile as PopulationFile
from rlhf_fair.cli.options import Quiet as Quiet
from rlhf_fair.cli.options import Seed as Seed
from rlhf_fair.cli.options import show as show
from rlhf_fair.cli.panel_assign import assign, check, repair
from rlhf_fair.cli.panel_plan import plan
from rlhf_fair.cli.panel_privacy import privacy, pseudonymise
from rlhf_fair.cli.panel_select import select
from rlhf_fair.cli.panel_simulate import simulate
from rlhf_fair.cli.panel_size import size
from rlhf_fair.cli.panel_tables import accepted as accepted
from rlhf_fair.cli.panel_tables import attribute_names as attribute_names
from rlhf_fair.cli.panel_tables import read_groups as read_groups
from rlhf_fair.cli.panel_weigh import weigh

app = typer.Typer(
    name="panel",
    help="Diverse annotator sampling and what follows from it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command()(plan)
app.command()(size)
app.command()(assign)
app.command()(check)
app.command()(repair)
app.command()(pseudonymise)
app.command()(privacy)
app.command()(simulate)
app.command()(select)
app.command()(weigh)


@app.command()
def agree(
    feedback: Annotated[Path, typer.Option(help="Feedback table.")],
    panel: Annotated[Path | None, typer.Option(help="Panel table, for agreement inside groups.")] = None,
    by: By = None,
    rating_level: Annotated[
        Literal["nominal", "ordinal", "interval", "ratio"], typer.Option(help="What a distance of ratings means.")
    ] = "ordinal",
    out: Annotated[Path | None, typer.Option(help="Table to write.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Krippendorff's alpha, over everybody and inside groups.

    Example: rlhf-fair panel agree --feedback feedback.jsonl --panel panel/panel.csv --by gender
    """
    from rlhf_fair.annotators.agreement import agreement_table
    from rlhf_fair.tables import FEEDBACK, write_table

    table = agreement_table(
        accepted(feedback, FEEDBACK), groups=read_groups(panel, by or []), rating_level=rating_level
    )
    if out is not None:
        write_table(out, table)
    rows: list[dict[Any, Any]] = table.to_dict("records")
    lines = []
    for row in rows:
        result = f"not estimable, {row['reason']}" if row["reason"] else f"{row['alpha']:.3f}"
        counts = f"{row['level']}; {row['n_ratings']} ratings of {row['n_units']} items"
        lines.append(f"{row['kind']} {row['group']}: alpha {result} ({counts})")
    show({"agreement": rows}, lines, as_json=as_json, quiet=quiet)

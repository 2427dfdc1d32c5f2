"""`rlhf-fair panel`: plan a panel, assign its work, weigh its members, measure its agreement."""

from __future__ import annotations

import typer

from rlhf_fair.cli.options import By as By  # other commands import these names from here
from rlhf_fair.cli.options import Json as Json
from rlhf_fair.cli.options import PanelFile as PanelFile
from rlhf_fair.cli.options import PopulationFile as PopulationFile
from rlhf_fair.cli.options import Quiet as Quiet
from rlhf_fair.cli.options import Seed as Seed
from rlhf_fair.cli.options import show as show
from rlhf_fair.cli.panel_agree import agree
from rlhf_fair.cli.panel_assign import assign, check
from rlhf_fair.cli.panel_plan import plan
from rlhf_fair.cli.panel_privacy import privacy, pseudonymise
from rlhf_fair.cli.panel_repair import repair
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
app.command()(agree)

"""`rlhf-fair list`: what there is."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(name="list", help="What there is: audits.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps ``audits`` a subcommand while it is the only one."""


@app.command()
def audits(
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
) -> None:
    """The audits that ship with the package, with the question each one asks.

    Example: rlhf-fair list audits
    """
    from rlhf_fair.audit.plan import shipped_audits
    from rlhf_fair.settings import read_toml_table

    questions = {name: str(read_toml_table(file, "plan")["question"]) for name, file in shipped_audits().items()}
    if as_json:
        typer.echo(json.dumps(questions))
    else:
        typer.echo("\n".join(f"{name}: {question}" for name, question in questions.items()))

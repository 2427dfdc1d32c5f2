"""`rlhf-fair list`: what there is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated

import typer

app = typer.Typer(name="list", help="What there is: audits, probes, scorers, metrics.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")]


@app.command()
def audits(as_json: AsJson = False) -> None:
    """The audits that ship with the package, with the question each one asks.

    Example: rlhf-fair list audits
    """
    from rlhf_fair.audit.plan import shipped_audits
    from rlhf_fair.settings import read_toml_table

    _show({name: str(read_toml_table(file, "plan")["question"]) for name, file in shipped_audits().items()}, as_json)


@app.command()
def probes(as_json: AsJson = False) -> None:
    """What a plan's ``probe`` may be, and the columns of a prediction file.

    Example: rlhf-fair list probes
    """
    from rlhf_fair.audit.probe_catalogue import probe_descriptions

    _show(probe_descriptions(), as_json)


@app.command()
def scorers(as_json: AsJson = False) -> None:
    """What the ``kind`` of a plan's ``[[scorers]]`` may be: the rulers that answers are measured with.

    Example: rlhf-fair list scorers
    """
    from rlhf_fair.probes.scorers import KINDS

    _show({str(kind): text for kind, text in KINDS.items()}, as_json)


@app.command()
def metrics(as_json: AsJson = False) -> None:
    """The metrics by group of `rlhf_fair.metrics.frame.groups`, with their definitions.

    Example: rlhf-fair list metrics
    """
    from rlhf_fair.metrics.rates import ROW_METRICS

    _show({name: metric.definition for name, metric in ROW_METRICS.items()}, as_json)


def _show(described: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(dict(described), ensure_ascii=False))
    else:
        typer.echo("\n".join(f"{name}: {' '.join(text.split())}" for name, text in described.items()))

"""`rlhf-fair list`: what there is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated

import typer

app = typer.Typer(
    name="list", help="What there is: audits, probes, scorers, metrics, frameworks.", no_args_is_help=True
)

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
    """What a plan may name as its probe, and the columns of a prediction file.

    Example: rlhf-fair list probes
    """
    from rlhf_fair.audit.probe_catalogue import probe_descriptions

    _show(probe_descriptions(), as_json)


@app.command()
def scorers(as_json: AsJson = False) -> None:
    """The kinds of scorers that a plan may name: the rulers that answers are measured with.

    Example: rlhf-fair list scorers
    """
    from rlhf_fair.probes.scorers import KINDS

    _show({str(kind): text for kind, text in KINDS.items()}, as_json)


@app.command()
def metrics(as_json: AsJson = False) -> None:
    """The metrics by group of rlhf_fair.group_metrics, with their definitions.

    Example: rlhf-fair list metrics
    """
    from rlhf_fair.metrics.rates import ROW_METRICS

    _show({name: metric.definition for name, metric in ROW_METRICS.items()}, as_json)


@app.command()
def frameworks(
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day on which ages are counted; default today.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Laws and standards that `report --framework` knows, and whether their entries want checking again.

    Example: rlhf-fair list frameworks --as-of 2026-07-05
    """
    from rlhf_fair.compliance.loading import frameworks as known
    from rlhf_fair.compliance.models import STALE_AFTER_DAYS, framework_summary

    day = as_of.date() if as_of else date.today()
    lines = []
    for framework in known().values():
        stale = len(framework.stale(day))
        old = f"; {stale} checked more than {STALE_AFTER_DAYS} days before {day}: check the law anew" if stale else ""
        also = f" (also {', '.join(framework.aliases)})" if framework.aliases else ""
        lines.append(
            f"{framework.id}{also}: {framework.title}, {framework.instrument}; {len(framework.clauses)} clauses, "
            f"checked {framework.newest}{old}"
        )
        lines += [f"    {c.id}: {c.standing(day)}" for c in framework.clauses]
    if as_json:
        found = {name: framework_summary(framework, day) for name, framework in known().items()}
        typer.echo(json.dumps({"as_of": str(day), "frameworks": found}, ensure_ascii=False))
    else:
        typer.echo("\n".join(lines))


def _show(described: Mapping[str, str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(dict(described), ensure_ascii=False))
    else:
        typer.echo("\n".join(f"{name}: {' '.join(text.split())}" for name, text in described.items()))

"""`rlhf-fair demo`: the whole pipeline on the embedded world."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rlhf_fair.cli.progress import progress_bar


def demo(
    out: Annotated[Path, typer.Option(help="Folder for models, records and the report.")] = Path("reports/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    bias: Annotated[float, typer.Option(min=0.0, help="Strength of the planted bias; 0 plants none.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Run the whole pipeline on the embedded world: annotators, reward models, PPO with and without the penalty.

    Takes about four minutes on two cores and ends with the report's path. A stopped run goes on where it stood when
    the same command is given again.

    Example: rlhf-fair demo --out reports/demo --seed 0
    """
    from rlhf_fair.demo.run import run_demo
    from rlhf_fair.disk import sole_writer

    started = time.perf_counter()
    with sole_writer(out), progress_bar(hidden=quiet or as_json) as progress:
        results = run_demo(out, seed=seed, bias=bias, progress=progress)
    seconds = time.perf_counter() - started
    if as_json:
        typer.echo(json.dumps({"report": str(out / "index.html"), "seconds": round(seconds, 1)}))
    elif not quiet:
        from rlhf_fair.cli.ledger import ledger_table

        console = Console(soft_wrap=True)
        console.print(ledger_table(results.ledger))
        console.print(f"Finished in {seconds:.0f} s. Report: {out / 'index.html'}", markup=False, highlight=False)

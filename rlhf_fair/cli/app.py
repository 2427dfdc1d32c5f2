"""The `rlhf-fair` command: wires one file per command, turns our errors into one line and an exit code.

Nothing here or at the top of a command's file imports torch, transformers or pandas, so `--help` answers at once.
"""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from rlhf_fair.cli import feedback, panel, train
from rlhf_fair.cli.demo import demo
from rlhf_fair.cli.report import report, verify
from rlhf_fair.errors import InterruptedRunError, RlhfFairError

app = typer.Typer(
    name="rlhf-fair",
    help="Audit a model's bias, fine-tune it under a fairness constraint, report it verifiably.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(demo)
app.add_typer(panel.app, name="panel")
app.add_typer(feedback.app, name="feedback")
app.add_typer(train.app, name="train")
app.command()(report)
app.command()(verify)


def main() -> None:
    """Entry point: run, and end with the exit code the contract names."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        _fail(InterruptedRunError("interrupted; finished stages are kept, run the same command again to resume"))
    except RlhfFairError as error:
        _fail(error)


def _fail(error: RlhfFairError) -> None:
    Console(stderr=True, soft_wrap=True).print("[bold red]error:[/]", end=" ")
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)

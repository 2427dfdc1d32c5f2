"""The `rlhf-fair` command: wires one file per command, turns our errors into one line and an exit code.

Nothing here or at the top of a command's file imports torch, transformers or pandas, so `--help` answers at once.
"""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from rlhf_fair.cli import annotate, feedback, panel, store, train
from rlhf_fair.cli.audit import audit
from rlhf_fair.cli.catalogue import app as catalogue
from rlhf_fair.cli.demo import demo
from rlhf_fair.cli.diff import diff
from rlhf_fair.cli.export import export
from rlhf_fair.cli.interrupt import quiet, raise_on_signals
from rlhf_fair.cli.keys import app as keys
from rlhf_fair.cli.keys import sign
from rlhf_fair.cli.mitigations import mitigations
from rlhf_fair.cli.monitor import monitor
from rlhf_fair.cli.pipeline import pipeline
from rlhf_fair.cli.report import report
from rlhf_fair.cli.verify import verify
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
app.command()(audit)
app.add_typer(panel.app, name="panel")
app.add_typer(feedback.app, name="feedback")
app.add_typer(annotate.app, name="annotate")
app.add_typer(train.app, name="train")
app.add_typer(store.app, name="store")
app.command()(pipeline)
app.command()(mitigations)
app.command()(report)
app.command()(diff)
app.command()(monitor)
app.command()(export)
app.add_typer(catalogue, name="list")
app.command()(verify)
app.command()(sign)
app.add_typer(keys, name="keys")


INTERRUPTED = 130
"""What typer makes of Ctrl-C."""


def main() -> None:
    """Entry point: run, and end with the exit code the contract names. A polite kill is treated like Ctrl-C."""
    raise_on_signals()
    try:
        app()
    except RlhfFairError as error:
        quiet()  # where it is the interrupt itself, with what is kept
        _fail(error)
    except Exception as error:
        from rlhf_fair.disk import why_not_written

        if (said := why_not_written(error)) is None:
            raise
        _fail(RlhfFairError(f"{getattr(error, 'filename', None) or 'the disk, or where output goes'}: {said}"))
    except KeyboardInterrupt:  # before or after typer's own handling
        _fail(_interrupted())
    except SystemExit as stop:
        if stop.code != INTERRUPTED:
            raise
        _fail(_interrupted())


def _interrupted() -> InterruptedRunError:
    quiet()
    return InterruptedRunError("interrupted; what was finished is kept, give the same command again to resume")


def _fail(error: RlhfFairError) -> None:
    from rlhf_fair.disclosure.identifiers import redacted

    Console(stderr=True, soft_wrap=True).print("[bold red]error:[/]", end=" ")
    print(redacted(str(error)), file=sys.stderr)  # logs are kept and passed on; a path stays a path
    sys.exit(error.exit_code)

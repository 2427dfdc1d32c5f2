"""`rlhf-fair train sft`: a language model learns from demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rlhf_fair.cli.options import Json, Quiet, show
from rlhf_fair.cli.train_display import training_display


def sft(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file: model, data, held_out, training.")],
    data_dir: Annotated[
        Path, typer.Option(help="Folder that model and tables of the config are relative to.")
    ] = Path(),
    out: Annotated[Path | None, typer.Option(help="Folder for the model; default models/CONFIG's name.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune a language model on prompts with answers, or on chats, and measure its perplexity on held-out ones.

    Only answers are learnt. The folder loads in plain transformers; rejects.csv says which rows were not used and why.
    A stopped run goes on with the same command.

    Example: rlhf-fair train sft audits/train-ppo/sft.toml --data-dir data --out models/sft
    """
    from rlhf_fair.disk import sole_writer
    from rlhf_fair.training.sft_job import train_sft

    folder = out or Path("models") / config.stem
    with sole_writer(folder), training_display(hidden=quiet or as_json) as display:
        job = train_sft(config, data_dir, folder, progress=display.progress, on_step=display.step)
    summary = {"model": str(job.folder), "already_done": job.already_done, **job.metrics}
    lines = [*summary_lines(job.metrics, already_done=job.already_done), f"Model: {job.folder}"]
    show(summary, lines, as_json=as_json, quiet=quiet)


def summary_lines(metrics: Mapping[str, Any], *, already_done: bool) -> list[str]:
    """What a person wants to know of a finished run."""
    rows, rejected = metrics["rows"], sum(metrics["rejects"].values())
    done = "Already done" if already_done else f"Trained in {metrics['seconds']:.0f} s"
    lines = [
        f"{done}: {metrics['steps']} steps on {rows['train']} demonstrations, {rows['held_out']} held out, "
        f"{rejected} of {rows['input']} rows rejected",
        f"held out, perplexity: {_told(metrics['perplexity'])}",
    ]
    for column, groups in metrics["perplexity_by_group"].items():
        lines += [f"held out, perplexity, {column} {group}: {_told(levels)}" for group, levels in groups.items()]
    return lines


def _told(levels: Mapping[str, Any]) -> str:
    return f"{_interval(levels['start'])} before, {_interval(levels['end'])} after; ratio {_interval(levels['ratio'])}"


def _interval(estimate: Mapping[str, Any]) -> str:
    if estimate["estimate"] is None:
        return f"not measured ({estimate['reason']})"
    if estimate["ci_low"] is None:
        return _digits(estimate["estimate"])
    return f"{_digits(estimate['estimate'])} [{_digits(estimate['ci_low'])}, {_digits(estimate['ci_high'])}]"


def _digits(value: float) -> str:
    """Three digits, without powers of ten.

    >>> _digits(12.345), _digits(1056.7)
    ('12.3', '1,057')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

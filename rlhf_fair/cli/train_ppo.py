"""`rlhf-fair train ppo`: a policy that maximises a reward under a fairness penalty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rlhf_fair.cli.options import Json, Quiet, show
from rlhf_fair.cli.train_display import training_display

LEVELS = {"reward": "reward", "length": "tokens an answer", "refusals": "refusals", "unfinished": "cut off"}
"""Name in metrics.json -> how the summary calls it."""


def ppo(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="TOML: model, prompts, rewards, fairness, training.")
    ],
    data_dir: Annotated[
        Path, typer.Option(help="Folder that models and tables of the config are relative to.")
    ] = Path(),
    out: Annotated[Path | None, typer.Option(help="Folder for the model; default models/CONFIG's name.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a language model by PPO, with or without a fairness penalty, and measure it on held-out prompts.

    Rewards are reward models, rulers, servers or Python functions, weighted and summed; a config with a reward of kind
    "python" runs the code of the file it names. The folder loads in plain transformers; metrics.json holds what changed
    on held-out prompts, curve.jsonl and groups.jsonl the course of training, index.html the report. A stopped run goes
    on with the same command. Started by accelerate launch, several processes share each batch.

    Example: rlhf-fair train ppo audits/train-ppo/fair.toml --data-dir data --out models/fair-ppo
    """
    _look_through(config, data_dir)
    from rlhf_fair.disk import sole_writer
    from rlhf_fair.report import HTML_NAME
    from rlhf_fair.report.folder import render_again
    from rlhf_fair.training.ppo.job.processes import is_first
    from rlhf_fair.training.ppo.job.run import train_ppo

    folder = out or Path("models") / config.stem
    with sole_writer(folder), training_display(hidden=quiet or as_json or not is_first()) as display:
        job = train_ppo(config, data_dir, folder, progress=display.progress, on_step=display.step, on_note=display.note)
    if not is_first():  # of several processes one speaks
        return
    page = job.folder / HTML_NAME
    if not page.is_file():  # of a run that was stopped between its last two files, too
        render_again(job.folder)
    about = {"model": str(job.folder), "report": str(page), "already_done": job.already_done}
    lines = [*summary_lines(job.metrics, already_done=job.already_done), f"Model: {job.folder}", f"Report: {page}"]
    show({**about, **job.metrics}, lines, as_json=as_json, quiet=quiet)


def _look_through(config: Path, data_dir: Path) -> None:
    """What can be told at once is told before torch is loaded, which takes seconds."""
    from rlhf_fair.models.loading import resolve
    from rlhf_fair.settings import read_toml
    from rlhf_fair.training.data_folders import Folders
    from rlhf_fair.training.ppo.job.config import PPOConfig

    wanted = read_toml(config, PPOConfig, "training config")
    Folders(config.parent, data_dir).find(wanted.prompts.path)
    resolve(wanted.model, data_dir)


def summary_lines(metrics: Mapping[str, Any], *, already_done: bool) -> list[str]:
    """What a person wants to know of a finished run."""
    prompts = metrics["prompts"]
    not_used = prompts["input"] - prompts["train"] - prompts["held_out"]
    done = "Already done" if already_done else f"Trained in {metrics['seconds']:.0f} s"
    lines = [
        f"{done}: {metrics['steps']} steps on {prompts['train']} prompts, {prompts['held_out']} held out, "
        f"{not_used} of {prompts['input']} not used"
    ]
    lines += [f"held out, {label}: {_before_after(metrics[name])}" for name, label in LEVELS.items()]
    lines.append(f"held out, KL to the policy before: {_interval(metrics['kl'])} nats an answer")
    for entry in metrics["gaps"]:
        if entry["role"] != "outcome":
            what = f"{entry['measure']}, {entry['attribute']} ({entry['reference']} less the others)"
            lines.append(f"gap in {what}: {_before_after(entry['gap'], change='size of the gap')} [{entry['role']}]")
    return lines


def _before_after(level: Mapping[str, Any], *, change: str = "change") -> str:
    start, end = (_number(level[side]) for side in ("start", "end"))
    return f"{start} before, {end} after; {change} {_interval(level['change'], sign=True)}"


def _number(estimate: Mapping[str, Any]) -> str:
    return "not measured" if estimate["estimate"] is None else f"{estimate['estimate']:.3g}"


def _interval(estimate: Mapping[str, Any], *, sign: bool = False) -> str:
    if estimate["estimate"] is None:
        return f"not measured ({estimate['reason']})"
    value = f"{estimate['estimate']:{'+' if sign else ''}.3g}"
    if estimate["ci_low"] is None:
        return f"{value}, no interval ({estimate['reason']})" if estimate["reason"] else value
    return f"{value} [{estimate['ci_low']:.3g}, {estimate['ci_high']:.3g}]"

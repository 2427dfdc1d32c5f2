"""`rlhf-fair train reward`: a reward model from ratings, pairs or a panel's feedback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from rlhf_fair.cli.progress import progress_bar
from rlhf_fair.errors import SettingsError

QUALITY = {
    "pearson_r": "pearson r",
    "pearson_r_unweighted_mean": "pearson r with the unweighted mean rating",
    "pearson_r_within_source": "pearson r within sources",
    "pearson_r_of_source_means": "pearson r of knowing the source alone",
    "accuracy": "accuracy",
}
"""Name in metrics.json -> how the summary calls it."""


def reward(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML file: model, sources, panel, training.")],
    data_dir: Annotated[Path, typer.Option(help="Folder that the config's data paths are relative to.")] = Path(),
    out: Annotated[Path | None, typer.Option(help="Folder for the model; default models/CONFIG's name.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="ATTRIBUTE=LEVEL", help="Learn from these raters alone; repeat it for more levels."),
    ] = None,
    members: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="Learn from this panel alone: annotator_id, optionally source and weight."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Train a reward model on preference pairs or ratings and measure it on held-out texts.

    The folder loads in plain transformers; with learner = "trees" it holds trees over frozen embeddings instead, which
    all audits of reward models read as well. metrics.json says how well it predicts people, rejects.csv which rows of
    the data were not used and why. With --only gender=Female it learns what women want, and is still judged by
    everybody: metrics.json has the held-out quality for each group that the config declares. So it is with --members,
    a table such as `rlhf-fair panel plan` and `panel weigh` write.

    Example: rlhf-fair train reward audits/reward-identity/train-inoffensiveness.toml --data-dir data --out models/rm
    """
    from rlhf_fair.disk import sole_writer
    from rlhf_fair.settings import read_toml
    from rlhf_fair.training.reward.config import RewardConfig

    chosen, folder = _levels(only or []), out or Path("models") / config.stem
    read_toml(config, RewardConfig, "training config")  # a fault is told before torch is loaded, which takes seconds
    from rlhf_fair.training.reward.job import train_reward

    with sole_writer(folder), progress_bar(hidden=quiet or as_json) as progress:
        job = train_reward(config, data_dir, folder, only=chosen, members=members, progress=progress)
    if as_json:
        typer.echo(json.dumps({"model": str(job.folder), "already_done": job.already_done, **job.metrics}))
    elif not quiet:
        typer.echo("\n".join(summary_lines(job.metrics, job.folder, job.already_done)))


def _levels(only: list[str]) -> dict[str, list[str]]:
    """
    >>> _levels(["gender=Female", "age=18-24", "age=25-34"])
    {'gender': ['Female'], 'age': ['18-24', '25-34']}
    """
    chosen: dict[str, list[str]] = {}
    for entry in only:
        name, sign, level = entry.partition("=")
        if not (name and sign and level):
            raise SettingsError(f"--only {entry!r}: allowed: ATTRIBUTE=LEVEL, such as gender=Female")
        chosen.setdefault(name, []).append(level)
    return chosen


def summary_lines(metrics: dict[str, Any], folder: Path, already_done: bool) -> list[str]:
    """What a person wants to know of a finished training."""
    rejected = sum(count for codes in metrics["rejects"].values() for count in codes.values())
    items = sum(part.get("train", 0) for part in metrics["items"].values())
    done = "Already done" if already_done else f"Trained in {metrics['seconds']:.0f} s"
    lines = [
        f"{done}: {items} items, {metrics['steps']} steps, {rejected} of {sum(metrics['rows'].values())} rows rejected"
    ]
    for source, quality in metrics["test"].items():
        ceilings = metrics.get("noise_ceiling", {}).get(source, {})
        for name, label in QUALITY.items():
            if name in quality:
                ceiling = ceilings.get(name)
                above = "" if ceiling is None else f", ceiling {ceiling:.2f}"
                lines.append(f"held out, {source}: {label} {_interval(quality[name])}{above}")
    lines += _group_lines(metrics.get("test_by_group", {}))
    return [*lines, *_virtue_lines(metrics.get("test_by_virtue", {})), f"Model: {folder}"]


def _group_lines(groupings: dict[str, Any]) -> list[str]:
    """How well the reward foretells each group's own judgements."""
    lines = []
    for grouping, groups in groupings.items():
        for group, quality in groups.items():
            if "reason" in quality:
                lines.append(f"by {grouping}, {quality['groups']} more groups: {quality['reason']}")
            for name in ("pearson_r", "accuracy"):
                if name in quality:
                    lines.append(f"by {grouping}, {group}: {QUALITY[name]} {_interval(quality[name])}")
    return lines


def _virtue_lines(virtues: dict[str, Any]) -> list[str]:
    """The declared weight of each virtue, how well its own head does on its texts, and how well the reward does."""
    if not virtues:
        return []
    weights = " + ".join(f"{virtue['weight']:g} {name}" for name, virtue in virtues.items())
    lines = [f"reward = {weights} (weights declared in the config)"]
    for name, virtue in virtues.items():
        for key, what in (("head", "own head"), ("combined_reward", "combined reward")):
            measures = [measure for measure in ("pearson_r", "accuracy") if measure in virtue.get(key, {})]
            lines += [f"held out, {name}: {QUALITY[m]} of the {what} {_interval(virtue[key][m])}" for m in measures]
        if "reason" in virtue:
            lines.append(f"held out, {name}: not measured ({virtue['reason']})")
    return lines


def _interval(estimate: dict[str, Any]) -> str:
    if estimate["estimate"] is None:
        return f"not measured ({estimate['reason']})"
    if estimate["ci_low"] is None:
        return f"{estimate['estimate']:.2f}, no interval ({estimate['reason']}; n = {estimate['n']})"
    return f"{estimate['estimate']:.2f} [{estimate['ci_low']:.2f}, {estimate['ci_high']:.2f}] (n = {estimate['n']})"

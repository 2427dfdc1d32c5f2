"""`rlhf-fair panel simulate`: rehearse a collection, or ask what a panel would see, with nobody asked yet."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.options import By, Json, PanelFile, Quiet, Seed, show
from rlhf_fair.cli.panel_tables import accepted, attribute_names
from rlhf_fair.cli.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.annotators.simulation_calibration import Calibration
    from rlhf_fair.annotators.simulation_feedback import Simulation
    from rlhf_fair.annotators.simulation_model import AnnotatorModel
    from rlhf_fair.annotators.simulation_power import PowerSettings

NOTE_SUFFIX = ".simulated.json"


def simulate(
    panel: PanelFile,
    assignments: Annotated[Path, typer.Option(help="Assignments table: who is to judge what, in which order.")],
    items: Annotated[Path | None, typer.Option(help="Items table; needed where the model has features.")] = None,
    model: Annotated[Path | None, typer.Option(help="Annotator model (TOML); default: attentive raters alike.")] = None,
    like: Annotated[Path | None, typer.Option(help="Feedback whose raters the simulated ones are to resemble.")] = None,
    like_panel: Annotated[Path | None, typer.Option(help="Panel of --like; default: its own attr.* columns.")] = None,
    like_assignments: Annotated[Path | None, typer.Option(help="What --like was asked for; shows drop-out.")] = None,
    by: By = None,
    out: Annotated[Path | None, typer.Option(help="Feedback table to write, with a note beside it.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Table of what really happened to write.")] = None,
    unanswered: Annotated[Path | None, typer.Option(help="Table of assignments left open to write.")] = None,
    panel_out: Annotated[Path | None, typer.Option(help="Panel to write, as far as people disclosed.")] = None,
    gap: Annotated[float | None, typer.Option(help="Gap of mean answers whose power is asked for.")] = None,
    reference: Annotated[str | None, typer.Option(help="Group that the others are compared with.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Collections simulated for the power.")] = 200,
    alpha: Annotated[float, typer.Option(help="Level over all contrasts together.")] = 0.05,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Feedback of simulated annotators, marked as such; with --gap the power of this panel to show it.

    A model file has the sections preferences, answers, raters, drift, careless, timing, leaving, disclosure and
    groups.NAME; the shipped audits/panel-feedback/simulated/model.toml shows them.

    Example: rlhf-fair panel simulate --panel panel/panel.csv --assignments assignments.csv --model model.toml
    --by gender --out feedback.jsonl --truth truth.parquet

    Example: rlhf-fair panel simulate --panel panel/panel.csv --assignments assignments.csv --like pilot.jsonl
    --by gender --gap 0.3 --reference man --repeat 200
    """
    import numpy as np

    from rlhf_fair.annotators.simulation_design import Design
    from rlhf_fair.annotators.simulation_feedback import simulate_feedback
    from rlhf_fair.annotators.simulation_power import PowerSettings, simulated_power
    from rlhf_fair.tables import ANNOTATORS, ASSIGNMENTS

    paths = {"out": out, "truth": truth, "unanswered": unanswered, "panel_out": panel_out}
    _check(paths, None if gap is None else (gap, by, reference), {"--model": model, "--like": like})
    members, table, work = accepted(panel, ANNOTATORS), accepted(assignments, ASSIGNMENTS), _items(items)
    columns, streams = attribute_names(members, by or []), np.random.default_rng(seed).spawn(3)
    sources = {"--like-panel": like_panel, "--like-assignments": like_assignments}
    found, fitted = _model(model, like, sources, by or [], streams[0])
    found = found if fitted is None else _without_absent(found, members, columns)
    summary, lines = {"simulated": True, "seed": seed, **_calibration(fitted)}, _calibration_lines(fitted)
    if out is not None:
        drawn = simulate_feedback(found, table, members, by=columns, items=work, rng=streams[1])
        inputs = [panel, assignments, *filter(None, [items, model, like, *sources.values()])]
        summary |= _write(drawn, found, paths, inputs, seed)
        lines += _feedback_lines(summary, out)
    if gap is not None:
        asked = PowerSettings(gap, str(reference), repeat, alpha)
        design = Design.of(table, members, found, by=columns, items=work)
        with progress_bar(hidden=as_json or quiet) as progress:
            power = simulated_power(found, design, asked, rng=streams[2], heard=progress).to_dict("records")
        summary["power"] = {**asdict(asked), "contrasts": power}
        lines += _power_lines(power, asked)
    show(summary, lines, as_json=as_json, quiet=quiet)


def _items(path: Path | None) -> pd.DataFrame | None:
    from rlhf_fair.tables import Column, Contract

    return None if path is None else accepted(path, Contract("items", {"item_id": Column()}, ("item_id",)))


def _check(
    paths: dict[str, Path | None],
    power: tuple[float, list[str] | None, str | None] | None,
    models: dict[str, Path | None],
) -> None:
    """Options that go together, and those that do not; ``power``: --gap, --by and --reference."""
    from rlhf_fair.errors import SettingsError

    out, side = paths["out"], {f"--{name.replace('_', '-')}": path for name, path in paths.items() if name != "out"}
    if power is None and out is None:
        raise SettingsError("nothing to do; allowed: --out FILE for feedback, --gap NUMBER for power, or both")
    if out is None and (lost := next((name for name, path in side.items() if path is not None), None)):
        raise SettingsError(f"{lost} {side[lost]} needs --out FILE: it tells of the collection written there")
    if power is not None and not (power[1] and power[2]):
        raise SettingsError(f"--gap {power[0]:g} needs --by ATTRIBUTE and --reference GROUP to say whose gap it is")
    if all(path is not None for path in models.values()):
        both = " and ".join(f"{name} {path}" for name, path in models.items())
        raise SettingsError(f"{both}; allowed: one of them")


def _calibration(fitted: Calibration | None) -> dict[str, Any]:
    if fitted is None:
        return {}
    rows = fitted.components.to_dict("records")
    return {"calibration": {"components": rows, "loads": fitted.loads, "assumed": list(fitted.assumed)}}


def _model(
    model: Path | None, like: Path | None, sources: dict[str, Path | None], by: list[str], rng: Any
) -> tuple[AnnotatorModel, Calibration | None]:
    from rlhf_fair.annotators.simulation_calibration import calibrate
    from rlhf_fair.annotators.simulation_design import group_labels
    from rlhf_fair.annotators.simulation_model import AnnotatorModel
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import ANNOTATORS, ASSIGNMENTS, FEEDBACK

    if like is None:
        for name, path in sources.items():
            if path is not None:
                raise SettingsError(f"{name} {path} needs --like FEEDBACK")
        return (AnnotatorModel() if model is None else AnnotatorModel.read(model)), None
    feedback = accepted(like, FEEDBACK)
    panel, asked = sources["--like-panel"], sources["--like-assignments"]
    people = feedback.drop_duplicates("annotator_id") if panel is None else accepted(panel, ANNOTATORS)
    groups = group_labels(people, attribute_names(people, by)) if by else None
    assigned = None if asked is None else accepted(asked, ASSIGNMENTS)
    fitted = calibrate(feedback, groups, assignments=assigned, rng=rng)
    return fitted.model, fitted


def _without_absent(model: AnnotatorModel, members: pd.DataFrame, columns: list[str]) -> AnnotatorModel:
    """Groups of the feedback at hand that the panel does not have have nothing to say here."""
    from rlhf_fair.annotators.simulation_design import group_labels

    there = set(group_labels(members, columns))
    return model.model_copy(update={"groups": {k: v for k, v in model.groups.items() if k in there}})


def _write(
    drawn: Simulation, model: AnnotatorModel, paths: dict[str, Path | None], inputs: list[Path], seed: int
) -> dict[str, Any]:
    """Write the tables, and beside the feedback a note that says what it is and how to make it again."""
    from rlhf_fair.artifacts import environment, sha256_file, write_json
    from rlhf_fair.tables import write_table

    parts = {
        "out": drawn.feedback,
        "truth": drawn.truth,
        "unanswered": drawn.unanswered,
        "panel_out": drawn.annotators,
    }
    for name, path in paths.items():
        if path is not None:
            write_table(path, parts[name])
    out = paths["out"]
    assert out is not None
    note = out.with_name(out.name + NOTE_SUFFIX)
    content = {
        "simulated": True,
        "what": "answers drawn from a model; no person gave any of them",
        "model": model.model_dump(mode="json", by_alias=True),
        "seed": seed,
        "inputs": {path.name: sha256_file(path) for path in inputs},
        "sha256": sha256_file(out),
        "environment": environment(),
    }
    write_json(note, content)
    return {
        "out": str(out),
        "note": str(note),
        "judgements": len(drawn.feedback),
        "raters": int(drawn.feedback["annotator_id"].nunique()),
        "unanswered": len(drawn.unanswered),
        "left": len(drawn.left),
        "careless_answers": int((drawn.truth["careless"] & drawn.truth["answered"]).sum()),
    }


def _feedback_lines(summary: dict[str, Any], out: Path) -> list[str]:
    return [
        f"simulated, not collected: {summary['judgements']} judgements of {summary['raters']} raters: {out}",
        f"  {summary['careless_answers']} given without reading; {summary['left']} raters left "
        f"{summary['unanswered']} assignments open",
        f"  model, seed and inputs: {summary['note']}",
    ]


def _calibration_lines(fitted: Calibration | None) -> list[str]:
    if fitted is None:
        return []
    lines = ["fitted (latent scale, variance 1 within a group):"]
    for row in fitted.components.to_dict("records"):
        interval = f" [{row['ci_low']:.3f}, {row['ci_high']:.3f}]" if row["ci_low"] == row["ci_low"] else ""
        value = f"{row['latent']:.3f}" if row["latent"] == row["latent"] else f"not estimable, {row['reason']}"
        lines.append(f"  {row['component']}: {value}{interval}")
    return [*lines, *(f"assumed: {text}" for text in fitted.assumed)]


def _power_lines(rows: list[dict[Any, Any]], asked: PowerSettings) -> list[str]:
    lines = [f"a gap of {asked.gap:g} to {asked.reference}, {asked.repeats} simulated collections:"]
    for row in rows:
        power, alarms = (
            f"{row[name]:.3f} [{row[f'{name}_ci_low']:.3f}, {row[f'{name}_ci_high']:.3f}]"
            for name in ("power", "false_alarms")
        )
        text = f"  {row['group']} ({row['raters']} raters, {row['reference_raters']} of the reference): power {power}"
        formula = f"; formula {row['formula']:.3f}" if row["formula"] == row["formula"] else ""
        text += f"{formula}; false alarms where there is no gap {alarms}"
        text += f"; {row['not_estimable']} without a p-value" if row["not_estimable"] else ""
        lines.append(text)
    return lines

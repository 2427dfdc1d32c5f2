"""Training runs: what each cost and kept, its curves, and the comparisons between policies."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_fair.records import Estimate, TrainingRun
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.display import Cell, Chart, Column, Key, Plot, Point, Series, Table
from rlhf_fair.report.palette import mark
from rlhf_fair.report.training_steps import MOST_STEPS, share_range, thinned

CURVES = ("reward", "kl", "gap", "kappa", "entropy", "length", "refusals")
NOISE = "noise_floor"
_CURVE_TITLES = {
    "reward": ("reward", "higher is better"),
    "kl": ("KL to the reference, nats", "how far the policy moved"),
    "gap": ("gap", "closer to 0 is better"),
    "kappa": ("kappa", "strength of the penalty"),
    "entropy": ("entropy, nats a token", "0 says one thing only"),
    "length": ("length, tokens", "of an answer"),
    "refusals": ("refusals", "share of the answers"),
}


def runs_table(runs: Sequence[TrainingRun]) -> Table:
    """One row for each run: held-out reward, largest gap, KL in nats, steps, seconds."""
    places = {name: num.decimals([], [getattr(run, name) for run in runs]) for name in ("reward_mean", "gap", "kl")}

    def number(run: TrainingRun, name: str) -> Cell:
        value = getattr(run, name)
        return Cell(num.shown(value, places[name]), missing=not num.finite(value))

    rows = tuple(
        (
            Cell(say.words(run.name)),
            Cell({"sft": "SFT", "ppo": "PPO"}.get(run.kind, run.kind)),
            Cell(say.words(run.panel) or "–"),
            number(run, "reward_mean"),
            number(run, "gap"),
            number(run, "kl"),
            Cell(num.significant(run.kappa[-1]) if run.kappa else "–"),
            Cell(num.count(run.steps)),
            Cell(num.significant(run.seconds), missing=not num.finite(run.seconds)),
        )
        for run in runs
    )
    columns = ("Run", "Kind", "Panel", "Reward", "Largest gap", "KL, nats", "Final kappa", "Steps", "Seconds")
    return Table(
        "runs-table",
        "Every run, on held-out prompts after training",
        tuple(Column(label, label not in {"Run", "Kind", "Panel"}) for label in columns),
        rows,
        note="Higher reward is better; a gap closer to 0 is better; KL says how far the policy moved.",
    )


def comparisons_table(comparisons: dict[str, Estimate]) -> Table | None:
    """Differences between policies, one row for each comparison."""
    if not comparisons:
        return None
    rows = []
    for name, estimate in comparisons.items():
        known = num.finite(estimate.estimate)
        places = num.decimals([(estimate.ci_low, estimate.ci_high)], [estimate.estimate])
        rows.append(
            (
                Cell(say.sentence_case(say.words(name))),
                Cell(
                    num.shown(estimate.estimate, places) if known else say.not_measured(estimate.reason),
                    missing=not known,
                ),
                Cell(num.interval(estimate.ci_low, estimate.ci_high, places) if known else "–"),
                Cell(num.p_value(estimate.p_value)),
                Cell(num.significant(estimate.mde, 2) if num.finite(estimate.mde) else "–"),
                Cell(num.count(estimate.n)),
                Cell(num.count(estimate.n_clusters)),
            )
        )
    columns = ("Comparison", "Estimate", "Interval", "p", "MDE", "n", "Clusters")
    return Table(
        "comparisons-table",
        "Policies compared on the same prompts",
        tuple(Column(label, label != "Comparison") for label in columns),
        tuple(rows),
    )


def curves_chart(runs: Sequence[TrainingRun]) -> Chart | None:
    """Small multiples of reward, KL, gap, kappa and more by step, one line for each run."""
    traces = {run.name: _trace(run) for run in runs}
    shown = [key for key in CURVES if any(key in row for trace in traces.values() for row in trace)]
    if not shown:
        return None
    named = [run.name for run in runs if any(key in row for row in traces[run.name] for key in shown)]
    styles = {name: mark(position) for position, name in enumerate(named)}
    places = {
        key: num.decimals([], [row[key] for trace in traces.values() for row in trace if key in row]) for key in shown
    }
    plots = tuple(_curve_plot(key, traces, styles, places[key]) for key in shown)
    long = any(len(run.curve) > MOST_STEPS or len(run.kappa) > MOST_STEPS for run in runs)
    noisy = "gap" in shown and any(NOISE in row for trace in traces.values() for row in trace)
    note = "One line for each run, values during training."
    note += " Dotted beside the gap: its noise floor, what groups without any disparity would show." if noisy else ""
    note += f" Long runs are thinned to {MOST_STEPS} evenly spaced steps." if long else ""
    legend = tuple(Key(say.words(name), *styles[name]) for name in named)
    told = [*shown, NOISE] if noisy else shown
    places |= {NOISE: places["gap"]} if noisy else {}
    return Chart("curves", "The course of training", note, plots, legend, _curves_table(traces, named, told, places))


def _trace(run: TrainingRun) -> list[dict[str, float]]:
    """Step and the known keys of each recorded step, thinned; kappa falls back to the run's own trace."""
    rows: list[dict[str, float]] = []
    for number, entry in enumerate(run.curve):
        row = {key: entry[key] for key in (*CURVES, NOISE) if num.finite(entry.get(key))}
        rows.append({"step": entry["step"] if num.finite(entry.get("step")) else float(number + 1), **row})
    if run.kappa and not any("kappa" in row for row in rows):
        if len(rows) == len(run.kappa):
            rows = [{**row, "kappa": kappa} for row, kappa in zip(rows, run.kappa, strict=True)]
        elif not rows:
            rows = [{"step": float(step), "kappa": kappa} for step, kappa in enumerate(run.kappa, start=1)]
    return thinned(rows)


def _curve_plot(
    key: str, traces: dict[str, list[dict[str, float]]], styles: dict[str, tuple[str, str]], places: int
) -> Plot:
    series = []
    for name, style in styles.items():
        points = tuple(
            Point(
                at=row["step"],
                value=num.rounded(row[key], places),
                hover=f"{say.words(name)}, step {num.significant(row['step'])}: {num.shown(row[key], places)}",
            )
            for row in traces[name]
            if key in row
        )
        if points:
            series.append(Series(say.words(name), *style, points, joined=True))
        if key == "gap" and (floor := _noise_floor(traces[name], places)):
            series.append(Series(f"{say.words(name)}, noise floor", *style, floor, joined=True, marked=False))
    title, direction = _CURVE_TITLES[key]
    return Plot(
        id=f"curves-plot-{key}",
        title=f"{say.sentence_case(title)} ({direction})",
        label=f"{say.sentence_case(title)} by training step, one line for each run; "
        "the same numbers are in the table that follows.",
        kind="steps",
        series=tuple(series),
        value_title="",
        parity=0.0 if key == "gap" else None,
        value_range=share_range(point.value for one in series for point in one.points) if key == "refusals" else None,
        at_title="step",
    )


def _noise_floor(trace: Sequence[dict[str, float]], places: int) -> tuple[Point, ...]:
    return tuple(Point(row["step"], num.rounded(row[NOISE], places)) for row in trace if NOISE in row)


def _curves_table(
    traces: dict[str, list[dict[str, float]]], named: Sequence[str], shown: Sequence[str], places: dict[str, int]
) -> Table:
    rows = tuple(
        (
            Cell(say.words(name)),
            Cell(num.significant(row["step"], 6)),
            *(Cell(num.shown(row[key], places[key]) if key in row else "–") for key in shown),
        )
        for name in named
        for row in traces[name]
    )
    heads = {key: title for key, (title, _) in _CURVE_TITLES.items()} | {NOISE: "noise floor"}
    columns = (Column("Run"), Column("Step", True), *(Column(heads[key], True) for key in shown))
    return Table("curves-table", "Values during training", columns, rows, paged=True)

"""`rlhf-fair pipeline`: the whole loop, in rounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlhf_fair.cli.options import Json, Quiet, show
from rlhf_fair.cli.progress import progress_bar

if TYPE_CHECKING:
    from rlhf_fair.rounds.settings import RoundsConfig


def pipeline(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="TOML file with sizes and options; default: none needed.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds in all; default: the config's, else 2.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for models, tables and the report.")] = Path("reports/pipeline"),
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random; default: the config's.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes, to try the command; the numbers mean nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train in rounds: policy, new completions, selected pairs, panel, reward model, policy; audit every stage alike.

    The first round is the plain pipeline. In each further one the policy trained under the penalty writes new pairs,
    some are selected and judged, the reward model learns from old and new preferences, and PPO goes on. Ends with a
    report, rounds.csv (where each round ended) and drift.csv (what changed since the round before and the first).

    Every stage is kept when it is finished: a stopped run goes on when the same command is given again, and more
    --rounds add to it. Exit code: 0 all changes between rounds are within their limits, 1 one exceeds its limit, 3
    else.

    Example: rlhf-fair pipeline rounds.toml --rounds 3 --out reports/pipeline
    """
    from rlhf_fair.disk import sole_writer
    from rlhf_fair.records import Verdict
    from rlhf_fair.rounds.files import verdict_of, write_rounds
    from rlhf_fair.rounds.run import run_rounds
    from rlhf_fair.rounds.tables import drift_lines

    settings = read_config(config, rounds, seed, quick=quick)
    with sole_writer(out), progress_bar(hidden=quiet or as_json) as progress:
        found = run_rounds(settings, out, progress=progress)
        write_rounds(out, found)
    overall, page = verdict_of(found), out / "index.html"
    summary = {
        "report": str(page),
        "rounds": len(found.rounds),
        "stopped_after": found.stopped or None,
        "verdict": overall.value,
        "drift": [alarm.row() for alarm in found.alarms],
    }
    stopped = [f"Stopped after round {found.stopped}: a change exceeds its limit."] if found.stopped else []
    show(summary, [*drift_lines(found), *stopped, f"Report: {page}"], as_json=as_json, quiet=quiet)
    code = {Verdict.WITHIN: 0, Verdict.EXCEEDS: 1}.get(overall, 3)
    if code:
        raise typer.Exit(code)


def read_config(path: Path | None, rounds: int | None, seed: int | None, *, quick: bool) -> RoundsConfig:
    """The config with what the command line says instead of it; all faults are one clear error."""
    from rlhf_fair.rounds.settings import QUICK, RoundsConfig
    from rlhf_fair.settings import read_toml

    config = read_toml(path, RoundsConfig) if path is not None else RoundsConfig()
    loop, more = config.pipeline, config.rounds
    if quick:
        loop, more = QUICK["pipeline"], more.model_copy(update={"selection": QUICK["selection"]})
    if seed is not None:
        loop = loop.model_copy(update={"seed": seed})
    if rounds is not None:
        more = more.model_copy(update={"count": rounds})
    return config.model_copy(update={"pipeline": loop, "rounds": more})

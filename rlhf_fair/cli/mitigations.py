"""`rlhf-fair mitigations`: every way to make a policy less biased, side by side on one world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rlhf_fair.cli.options import Json, Quiet, show
from rlhf_fair.cli.progress import progress_bar

if TYPE_CHECKING:
    from rlhf_fair.mitigations.comparison import Comparison
    from rlhf_fair.mitigations.settings import MitigationSettings


def mitigations(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="TOML file with sizes and options; default: none needed.")
    ] = None,
    world: Annotated[Literal["demo"], typer.Option(help="Where prompts, people and truth come from.")] = "demo",
    methods: Annotated[str, typer.Option(help="Names, separated by commas; default: all.")] = "",
    seeds: Annotated[str, typer.Option(help="Whole numbers, separated by commas or blanks; default: 0.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for models, tables and the page.")] = Path("reports/mitigations"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes, to try the command; the numbers mean nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train every mitigation on one world, ask all policies the same held-out prompts, and compare gap and quality.

    Two policies are always among them: SFT and plain PPO, which the others are compared with. Every seed and method is
    kept when it is finished, so a stopped run goes on when the same command is given again. Ends with a page
    (comparison.html), its summary (comparison.md) and tables (comparison.csv, results.csv per seed, groups.csv).

    Example: rlhf-fair mitigations --methods fair-ppo,best-of-n-fair --seeds 0,1,2 --out reports/mitigations
    """
    from rlhf_fair.disk import sole_writer
    from rlhf_fair.mitigations.comparison import compare
    from rlhf_fair.mitigations.files import write_comparison

    settings = read_settings(config, world, methods, seeds, quick=quick)
    with sole_writer(out), progress_bar(hidden=quiet or as_json) as progress:
        found = compare(settings, out, progress=progress)
        content = write_comparison(out, found)
    page = out / "comparison.html"
    summary = {"report": str(page), "summary": content["summary"], "fronts": content["fronts"]}
    show(summary, [*summary_lines(found), f"Report: {page}"], as_json=as_json, quiet=quiet)


def read_settings(
    config: Path | None, world: Literal["demo"], methods: str, seeds: str, *, quick: bool
) -> MitigationSettings:
    """The config's settings with what the command line says instead of it; all faults are one clear error."""
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.mitigations.registry import chosen
    from rlhf_fair.mitigations.settings import QUICK, MitigationSettings
    from rlhf_fair.settings import read_toml

    update: dict[str, Any] = {"world": world}
    if methods.strip():
        update["methods"] = tuple(_parts(methods))
    if seeds.strip():
        wrong = [part for part in _parts(seeds) if not part.isdecimal()]
        if wrong:
            raise SettingsError(f"--seeds has {wrong[0]!r}; allowed: whole numbers from 0 on, separated by commas")
        update["seeds"] = tuple(map(int, _parts(seeds)))
        if len(set(update["seeds"])) < len(update["seeds"]):
            raise SettingsError(f"--seeds {seeds!r} names one twice; allowed: each once")
    settings = read_toml(config, MitigationSettings) if config is not None else MitigationSettings()
    settings = settings.model_copy(update=update | (QUICK if quick else {}))
    chosen(settings.methods)  # unknown names are told before any work
    return settings


def summary_lines(found: Comparison) -> list[str]:
    """A small table: absolute gaps, true utility and the share of the reward gain that each method keeps."""
    from rlhf_fair.mitigations import measures as m

    attributes = [attribute for attribute, _ in found.ruler.attributes]
    wanted = [*((m.ABSOLUTE_GAP, a) for a in attributes), (m.UTILITY, ""), (m.REWARD_KEPT, "")]
    titles = ["method", *(f"|gap| {attribute}" for attribute in attributes), "utility", "reward gain kept"]
    by = found.summary.set_index(["method", "measure", "attribute"])["estimate"]
    rows = [titles]
    for method in found.methods:
        values = [by.get((method.name, *key), float("nan")) for key in wanted]
        rows.append([method.name, *("-" if value != value else f"{value:.3f}" for value in values)])
    width = [max(len(row[k]) for row in rows) for k in range(len(titles))]
    return ["  ".join(text.ljust(w) for text, w in zip(row, width, strict=True)).rstrip() for row in rows]


def _parts(text: str) -> list[str]:
    return text.replace(",", " ").split()

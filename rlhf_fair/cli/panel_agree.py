"""`rlhf-fair panel agree`: do annotators agree, inside groups and across them, and where do groups split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rlhf_fair.cli.options import Json, Quiet, Seed, show
from rlhf_fair.cli.panel_tables import accepted, read_groups

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.cli.panel_agree_report import AgreementReport

FILES = ("agreement.csv", "pairs.csv", "shares.csv", "items.csv", "cells.csv", "agreement.json", "map.html")
ScaleLevel = Literal["nominal", "ordinal", "interval", "ratio"]


def agree(
    feedback: Annotated[Path, typer.Option(help="Feedback table.")],
    panel: Annotated[Path | None, typer.Option(help="Panel table: annotator_id and attr.* columns.")] = None,
    by: Annotated[list[str] | None, typer.Option("--by", help="Attribute whose groups are compared; repeat.")] = None,
    cross: Annotated[bool, typer.Option("--cross", help="Compare the groups of all --by crossed as well.")] = False,
    rating_level: Annotated[ScaleLevel, typer.Option(help="What a distance of ratings means.")] = "ordinal",
    scalar_level: Annotated[ScaleLevel, typer.Option(help="What a distance of rewards means.")] = "interval",
    items: Annotated[Path | None, typer.Option(help="Items table: item_id and what --item-by names.")] = None,
    item_by: Annotated[list[str] | None, typer.Option(help="Item column: where do groups split? Repeat.")] = None,
    item_text: Annotated[
        str | None, typer.Option(help="Item column printed in map.html beside ids. Default: none.")
    ] = None,
    permutations: Annotated[int, typer.Option(min=0, help="Deals of the groups to raters by lot, for p.")] = 999,
    min_raters: Annotated[
        int, typer.Option(min=1, help="Groups, and a group's cells on an item, with fewer raters are not shown.")
    ] = 5,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for tables, agreement.json and map.html.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Krippendorff's alpha, agreement inside and across groups, and a map of where groups disagree.

    Choices are nominal. Intervals are over items and raters. Each attribute is compared on its own. With --out also,
    item by item, how far groups are apart beyond the noise inside them.

    Example: rlhf-fair panel agree --feedback feedback.jsonl --panel panel/panel.csv --by gender --out agreement/
    """
    import numpy as np

    from rlhf_fair.annotators.agreement import AgreementSettings, agreement_table, judgements, pair_table
    from rlhf_fair.annotators.disagreement import disagreement_map
    from rlhf_fair.cli.panel_agree_report import AgreementReport
    from rlhf_fair.cli.progress import progress_bar
    from rlhf_fair.tables import FEEDBACK, simulated_note, simulated_rows

    _check_out(out)
    table = accepted(feedback, FEEDBACK)
    s = AgreementSettings(rating_level, scalar_level, permutations, min_raters)
    groups = _groups(panel, by or [], cross=cross)
    columns, texts = _item_columns(items, item_by or [], item_text)
    parts = judgements(table, s)
    rng = np.random.default_rng(seed)
    with progress_bar(hidden=quiet or as_json) as progress:
        found = agreement_table(table, groups, s, rng=rng, progress=progress)
        pairs = pair_table(table, groups, s)
        split = None
        if groups and (out is not None or as_json):
            split = disagreement_map(table, groups, s, item_columns=columns, rng=rng, progress=progress)
    notes = tuple(p.note for p in parts if p.note)
    made = simulated_rows(table), simulated_note(table)
    report = AgreementReport(found, pairs, split, s, seed, notes, texts, *made)
    summary = _summary(report)
    if out is not None:
        _write(out, report, summary)
        summary = {"out": str(out), **summary}
    written = [f"written to {out}"] if out is not None else []
    show(summary, [*_lines(report), *written], as_json=as_json, quiet=quiet)


def _check_out(out: Path | None) -> None:
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import FORMATS

    if out is not None and (out.is_file() or out.name.lower().endswith(FORMATS)):
        raise SettingsError(f"--out {out} names a file; allowed: a folder, which gets several tables and map.html")


def _groups(panel: Path | None, attributes: list[str], *, cross: bool) -> dict[str, pd.Series]:
    """Attribute -> group by annotator; crossed under the names joined by ``*``."""
    from rlhf_fair.annotators.population import CROSS
    from rlhf_fair.errors import SettingsError

    if cross and len(attributes) < 2:
        raise SettingsError("--cross needs at least two --by")
    sets = {name: [name] for name in attributes} | ({CROSS.join(attributes): attributes} if cross else {})
    read = {name: read_groups(panel, members) for name, members in sets.items()}
    return {name: groups for name, groups in read.items() if groups is not None}


def _item_columns(
    path: Path | None, item_by: list[str], item_text: str | None
) -> tuple[pd.DataFrame | None, dict[str, str]]:
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.tables import Column, Contract, require_columns

    wanted = [*item_by, *([item_text] if item_text else [])]
    if path is None:
        if wanted:
            raise SettingsError(f"item column {wanted[0]!r} needs --items FILE")
        return None, {}
    items = accepted(path, Contract("items", {"item_id": Column()}, key=("item_id",)))
    require_columns(items, wanted, "items")
    texts: dict[str, str] = {}
    if item_text:
        texts = dict(zip(items["item_id"], items[item_text].astype("str").fillna(""), strict=True))
    return (items[["item_id", *dict.fromkeys(item_by)]] if item_by else None), texts


def _summary(report: AgreementReport) -> dict[str, Any]:
    """For JSON: everything but items and cells, whose number is given."""
    from rlhf_fair.annotators.flips import json_rows

    s, split = report.settings, report.map
    summary: dict[str, Any] = {
        "settings": vars(s),
        "seed": report.seed,
        "agreement": json_rows(report.table),
        "pairs": json_rows(report.pairs),
        "warnings": report.warnings(),
        "notes": list(report.notes),
        "simulated_rows": report.simulated_rows,
    }
    if split is not None:
        tested = split.items[split.items["p_value"].notna()]
        summary |= {
            "shares": json_rows(split.shares),
            "items_compared": len(split.items[split.items["between"].notna()]),
            "items_not_compared": int(split.items["between"].isna().sum()),
            "items_split": int((tested["p_adjusted"] <= s.alpha).sum()),
            "cells": len(split.cells),
            "cells_withheld": int(split.cells["mean"].isna().sum()),
            "not_compared": json_rows(split.not_compared),
        }
    return summary


def _write(out: Path, report: AgreementReport, summary: dict[str, Any]) -> None:
    from rlhf_fair.artifacts import canonical_json, replaced_files, write_bytes
    from rlhf_fair.cli.panel_agree_page import agreement_page
    from rlhf_fair.report.html import render
    from rlhf_fair.tables import write_table

    tables = {"agreement": report.table, "pairs": report.pairs}
    if report.map is not None:
        tables |= {"shares": report.map.shares, "items": report.map.items, "cells": report.map.cells}
    content = canonical_json(summary)
    page = render(agreement_page(report, content), "agreement.html.j2").encode()
    with replaced_files(out, FILES) as folder:
        for name, table in tables.items():
            write_table(folder / f"{name}.csv", table)
        write_bytes(folder / "agreement.json", content + b"\n")
        write_bytes(folder / "map.html", page)


def _lines(report: AgreementReport) -> list[str]:
    titles = [
        "kind",
        "group",
        "raters",
        "items",
        "alpha",
        "XRR",
        "alpha - XRR",
        "p",
        "adjusted",
        "GAI",
        "GAI seen from",
    ]
    rows, reasons = [titles], [""]
    for row in report.table.to_dict("records"):
        name = f"{row['attribute']}: {row['group']}" if row["attribute"] else str(row["group"])
        rows.append(
            [
                f"{row['kind']} ({row['level']})",
                name,
                str(row["raters"]),
                str(row["items"]),
                _interval(row),
                _number(row["xrr"]),
                _number(row["difference"], signed=True),
                _number(row["p_value"]),
                _number(row["p_adjusted"]),
                _number(row["gai"]),
                f"1 +- {row['mde_gai']:.2f}" if row["mde_gai"] == row["mde_gai"] else "-",
            ]
        )
        reasons.append(row["reason"])
    width = [max(len(row[k]) for row in rows) for k in range(len(titles))]
    aligned = ["  ".join(text.ljust(w) for text, w in zip(row, width, strict=True)) for row in rows]
    lines = [f"{line}  {reason}".rstrip() for line, reason in zip(aligned, reasons, strict=True)]
    notes = [
        "",
        f"alpha with {100 * (1 - report.settings.alpha):g} % limits over items and raters; XRR: agreement with all "
        "other raters; GAI: their ratio",
        "p: of alpha - XRR, groups dealt to raters by lot, adjusted by Benjamini and Hochberg",
    ]
    grouped = (report.table["attribute"] != "").any()
    made = [report.simulated] if report.simulated else []
    return [*made, *lines, *(notes if grouped else []), *report.warnings(), *report.notes, *_split_lines(report)]


def _split_lines(report: AgreementReport) -> list[str]:
    if report.map is None:
        return []
    lines = []
    for row in report.map.shares.to_dict("records"):
        where = f", {row['by']} {row['level']}" if row["by"] else ""
        known = row["share"] == row["share"]
        said = (
            f"{100 * row['share']:.1f} % of disagreement is between groups (adjusted p {_number(row['p_adjusted'])}; "
        )
        said += f"from {100 * row['mde']:.1f} % on it would be seen)" if row["mde"] == row["mde"] else "no deals)"
        lines.append(f"{row['kind']} by {row['attribute']}{where}: {said if known else row['reason']}")
    items = report.map.items
    compared, split = int(items["between"].notna().sum()), int((items["p_adjusted"] <= report.settings.alpha).sum())
    few = len(items) - compared
    lines.append(
        f"groups split on {split} of {compared} items compared (adjusted p <= {report.settings.alpha:g}); "
        f"{few} not compared, too few raters of two groups on them"
    )
    return lines


def _interval(row: dict[Any, Any]) -> str:
    limits = f" [{row['alpha_ci_low']:.3f}, {row['alpha_ci_high']:.3f}]"
    return _number(row["alpha"]) + (limits if row["alpha_ci_low"] == row["alpha_ci_low"] else "")


def _number(value: float, *, signed: bool = False) -> str:
    return "-" if value != value else f"{value:+.3f}" if signed else f"{value:.3f}"

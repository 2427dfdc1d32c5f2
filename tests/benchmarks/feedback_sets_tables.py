"""The tables of the case study on nine rating sets, as Markdown."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
from feedback_family import UNMEASURED, VERDICTS


def gap_table(gaps: pd.DataFrame) -> str:
    """The one table: a line for every gap that was measured."""
    lines = [
        "| set | group against reference | raters | gap [95 %] | p naive | p clustered | p adjusted "
        "| MDE (in the family) | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    order = gaps[gaps["verdict"] != UNMEASURED].sort_values(["role", "set", "attribute", "group"])
    for row in order.itertuples():
        what = f"{row.attribute}: {row.group} – {row.reference}"
        gap = f"{row.estimate:+.1f} [{row.ci_low:+.1f}, {row.ci_high:+.1f}]"
        lines.append(
            f"| {row.set} | {f'**{what}**' if row.role == 'claim' else what} "
            f"| {row.n_raters} / {row.n_raters_reference} | {gap} "
            f"| {p_text(row.p_naive)} | {p_text(row.p_clustered)} | {p_text(row.p_clustered_adjusted)} "
            f"| {row.mde:.1f} ({row.mde_family:.1f}) | {row.verdict}{before(row.alone, row.verdict)} |"
        )
    return "\n".join(lines)


def before(alone: str, verdict: str) -> str:
    """What correction took away."""
    return "" if alone == verdict else f"; before correction {alone}"


def verdict_table(gaps: pd.DataFrame) -> str:
    """How many gaps of each role got which verdict, and how many would have without correction."""
    lines = ["| verdict | claims | exploratory | all | all, uncorrected |", "|---|---|---|---|---|"]
    for verdict in VERDICTS:
        n = [int(((gaps["verdict"] == verdict) & (gaps["role"] == role)).sum()) for role in ("claim", "exploratory")]
        lines.append(f"| {verdict} | {n[0]} | {n[1]} | {sum(n)} | {int((gaps['alone'] == verdict).sum())} |")
    return "\n".join(lines)


def artefact_table(gaps: pd.DataFrame, alpha: float) -> str:
    """For each set: gaps tested, and how many are "significant" naively, clustered, and after correction."""
    lines = [
        "| set | gaps tested | p < .05 naive | naive, corrected | p < .05 by rater alone | p < .05 clustered "
        "| clustered, corrected | artefacts | design effect, median (max) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    tested = gaps[gaps["p_clustered"].notna()]
    names = ("p_naive", "p_naive_adjusted", "p_rater", "p_clustered", "p_clustered_adjusted")
    for name, rows in [*tested.groupby("set"), ("**all**", tested)]:
        n = [int((rows[column] < alpha).sum()) for column in names]
        artefacts = int(((rows["p_naive"] < alpha) & ~(rows["p_clustered"] < alpha)).sum())
        effect = f"{rows['design_effect'].median():.1f} ({rows['design_effect'].max():.0f})"
        lines.append(f"| {name} | {len(rows)} | {' | '.join(map(str, n))} | {artefacts} | {effect} |")
    return "\n".join(lines)


def set_table(sets: pd.DataFrame) -> str:
    """Sizes and intraclass correlations."""
    lines = [
        "| set | ratings | raters | items | ratings a rater, median (max) | raters an item, median | ICC item "
        "| ICC rater |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sets.itertuples():
        load = f"{row.ratings_per_rater_median:g} ({row.ratings_per_rater_max})"
        lines.append(
            f"| {row.set} | {row.ratings:,} | {row.raters:,} | {row.items:,} | {load} | {row.raters_per_item_median:g} "
            f"| {row.icc_item:.2f} | {row.icc_rater:.2f} |"
        )
    return "\n".join(lines)


def agreement_summary(agreement: pd.DataFrame, alpha: float) -> str:
    """For each set: alpha and rater ICC over its groups, and how many groups agree otherwise inside than across."""
    lines = [
        "| set | groups | α inside, lowest to highest | ICC rater, lowest to highest | inside differs from across "
        "(p < .05, adjusted in the set) | GAI there |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in agreement.groupby("set"):
        apart = rows[rows["adjusted p"] < alpha]
        which = "; ".join(f"{row['attribute']}: {row['group']} {row['GAI']:.2f}" for _, row in apart.iterrows())
        spans = [f"{rows[c].min():z.2f} to {rows[c].max():z.2f}" for c in ("inside", "icc_rater")]
        lines.append(f"| {name} | {len(rows)} | {spans[0]} | {spans[1]} | {len(apart)} | {which or '–'} |")
    return "\n".join(lines)


def unmeasured_list(gaps: pd.DataFrame) -> str:
    """Groups too small to be compared, by set."""
    small = gaps[gaps["verdict"] == UNMEASURED]
    parts = [
        f"{name} ({', '.join(a + ': ' + g for a, g in zip(rows['attribute'], rows['group'], strict=True))})"
        for name, rows in small.groupby("set")
    ]
    return f"{len(small)} gaps were not measured: " + "; ".join(parts) + "."


def p_text(p: float) -> str:
    """``.034``, ``< .001``."""
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"


def put(readme: Path, tables: dict[str, str]) -> None:
    """Write each table between its marks in ``readme``; marks that are missing are added at the end."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else "# Audits of the feedback itself\n"
    for name, table in tables.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        block = f"{start}\n{table}\n{end}"
        if start in text:
            text = re.sub(
                re.escape(start) + ".*?" + re.escape(end), lambda _, block=block: block, text, flags=re.DOTALL
            )
        else:
            text += f"\n{block}\n"
    readme.write_text(text, encoding="utf-8")

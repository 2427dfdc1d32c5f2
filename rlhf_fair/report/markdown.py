"""The summary for a pull request or a model card: the first screen and the tables that fit."""

from __future__ import annotations

import re

from rlhf_fair.report.display import Cell, Page, Section, Table

LONGEST_TABLE = 60
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")


def escape(text: str) -> str:
    """Outside text that Markdown and HTML read as plain text, on one line.

    >>> escape("a|b <i>")
    'a\\\\|b &lt;i&gt;'
    """
    flat = " ".join(str(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace(":/", ":&#47;")
    return _SPECIAL.sub(r"\\\1", flat)


def summarize(page: Page) -> str:
    """Markdown with the verdict, the largest gaps, the scope, and every table short enough to read."""
    top = page.summary
    lines = [f"# {escape(top.title)}", ""]
    lines += [f"**Question.** {escape(top.question)}", ""] if top.question else []
    lines += [f"**{escape(top.verdict)}** {escape(top.sensitivity)}".rstrip(), ""]
    if top.gaps:
        lines += ["## The largest gaps", ""]
        lines += [f"- {escape(gap.sentence)} *{escape(gap.word)}* ({escape(gap.detail)})" for gap in top.gaps]
        lines.append("")
    lines += ["## What was examined", ""]
    lines += [f"- {escape(label)}: {escape(value)}" for label, value in top.scope] + [""]
    for section in page.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section) -> list[str]:
    lines = [f"## {escape(section.heading)}", ""]
    lines += [f"{escape(sentence)}\n" for sentence in section.answer]
    lines += [f"- {escape(sentence)}" for sentence in section.bullets] + ([""] if section.bullets else [])
    for table in [*(chart.table for chart in section.charts), *section.tables]:
        lines += table_lines(table)
    return lines


def table_lines(table: Table) -> list[str]:
    """A table under its caption; one too long to read is only named."""
    if len(table.rows) > LONGEST_TABLE:
        return [f"{escape(table.caption)}: {len(table.rows)} rows, in index.html and results.json.", ""]
    lines = [f"{escape(table.caption)}", ""]
    lines.append("| " + " | ".join(escape(column.label) for column in table.columns) + " |")
    lines.append("|" + "|".join(" ---: " if column.numeric else " --- " for column in table.columns) + "|")
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    return [*lines, "", *([escape(table.note), ""] if table.note else [])]


def _cell(cell: Cell) -> str:
    return escape(f"{cell.text} ({cell.detail})" if cell.detail else cell.text)

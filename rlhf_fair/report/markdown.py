"""The summary for a pull request or a model card: the first screen open, every section folded, and short enough.

GitHub refuses a comment of more than 65,536 characters, and nobody reads one that fills ten screens. Long sections are
folded behind their question, and where all of them together are too long, the longest give way and are named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf_fair.report.display import Cell, Page, Section, Table

LONGEST_TABLE = 60
LONGEST_OPEN = 12
"""Lines of a section that need no folding."""
MOST_BYTES = 60_000
"""What a whole summary may take: the limit of a comment, with room for a line or two of one's own."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")
_UNPRINTED = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of what follows: a row could read otherwise than it is."""
_MENTION = re.compile(r"([@#])(?=\w)")
_WWW = re.compile(r"\b(www)\.", re.IGNORECASE)
_BREAK = "\N{ZERO WIDTH SPACE}"


def escape(text: str) -> str:
    """Outside text that Markdown and HTML read as plain text, on one line; it links, mentions and refers to nothing.

    >>> escape("a|b <i>")
    'a\\\\|b &lt;i&gt;'
    >>> escape("www.example.org")
    'www&#46;example.org'
    """
    return _unlinked(_SPECIAL.sub(r"\\\1", _flat(text)))


def escape_html(text: str) -> str:
    """`escape` for inside an HTML element, where Markdown is not read.

    >>> escape_html("a_b <i>")
    'a_b &lt;i&gt;'
    """
    return _unlinked(_flat(text))


def _flat(text: str) -> str:
    flat = _UNPRINTED.sub("\N{REPLACEMENT CHARACTER}", " ".join(str(text).split()))
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unlinked(text: str) -> str:
    """Last of all, for the entities put in here must not be escaped themselves."""
    return _WWW.sub(r"\1&#46;", _MENTION.sub(rf"\1{_BREAK}", text).replace(":/", ":&#47;"))


@dataclass(frozen=True)
class Part:
    """A part of a document under its heading."""

    heading: str
    lines: tuple[str, ...]
    opened: bool = False
    """True for a part that is never folded and never gives way."""


def summarize(page: Page) -> str:
    """Markdown with the verdict, the largest gaps, the scope, and every section folded behind its question."""
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
    parts = [Part(section.heading, tuple(_section(section))) for section in page.sections]
    return document(lines, parts)


def document(opening: Sequence[str], parts: Sequence[Part], *, most_bytes: int = MOST_BYTES) -> str:
    """The opening, then each part, folded where it is long; the longest are only named where all would not fit."""
    texts = ["\n".join(_folded(part)) for part in parts]
    free = most_bytes - len("\n".join(opening).encode())
    sizes = [len(text.encode()) + 1 for text in texts]
    for i in sorted((i for i, part in enumerate(parts) if not part.opened), key=lambda i: -sizes[i]):
        if sum(sizes) <= free:
            break
        lines = len([line for line in parts[i].lines if line])
        texts[i] = f"## {escape(parts[i].heading)}\n\nToo long for here: {lines} lines, in the full report.\n"
        sizes[i] = len(texts[i].encode()) + 1
    return "\n".join([*opening, *texts]).rstrip() + "\n"


def _folded(part: Part) -> list[str]:
    if part.opened or len([line for line in part.lines if line]) <= LONGEST_OPEN:
        return [f"## {escape(part.heading)}", "", *part.lines]
    # The empty line after the summary is what makes the rest Markdown again; the summary itself is none.
    return ["<details>", f"<summary>{escape_html(part.heading)}</summary>", "", *part.lines, "</details>", ""]


def _section(section: Section) -> list[str]:
    lines = [f"{escape(sentence)}\n" for sentence in section.answer]
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

"""The summary of results that New York City wants published (6 RCNY 5-303): a page without scripts, and a CSV file.

All numbers come as text with the digits that are published; nothing is computed or rounded here.
"""

from __future__ import annotations

import csv
import io

from pydantic import ValidationError

from rlhf_fair.errors import SettingsError
from rlhf_fair.records import Results
from rlhf_fair.report.embed import source_hash
from rlhf_fair.report.environment import TEMPLATES, environment
from rlhf_fair.settings import Settings, explain

PUBLICATION_HTML, PUBLICATION_CSV = "publication.html", "publication.csv"
UNKNOWN = "unknown"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class PublishedRow(Settings):
    """One category. ``impact_ratio`` is a number in text, "left out", or "" with a ``reason``."""

    category: tuple[str, ...]
    n: int
    chosen: int
    rate: str
    impact_ratio: str
    reason: str = ""


class PublishedTable(Settings):
    """One of the law's tables; ``unknown`` and ``no_outcome`` count people who are in none of its rows."""

    name: str
    attributes: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    unknown: int
    no_outcome: int
    justification: str = ""


class Publication(Settings):
    """All that is published; see `rlhf_fair.audit.selection_rates_publication`, which writes it."""

    title: str
    synthetic: bool = False
    particulars: tuple[tuple[str, str], ...]
    not_stated: tuple[str, ...]
    people: int
    count_heading: str
    chosen_heading: str
    rate_heading: str
    tables: tuple[PublishedTable, ...]
    rejected: int
    notes: tuple[str, ...]


def publication_of(results: Results) -> Publication | None:
    """What an audit of selection rates has to publish; None for any other audit."""
    content = results.audit.get("publication")
    if content is None:
        return None
    try:
        return Publication.model_validate(content)
    except ValidationError as error:
        raise SettingsError(
            "; ".join(f"results.json: publication: {s}" for s in explain(error, Publication))
        ) from error


def publication_files(results: Results) -> dict[str, bytes]:
    """Name -> bytes of the page and of the CSV file; nothing for an audit of another kind."""
    published = publication_of(results)
    if published is None:
        return {}
    return {
        PUBLICATION_HTML: publication_page(published).encode(),
        PUBLICATION_CSV: publication_csv(published).encode(),
    }


def publication_page(published: Publication) -> str:
    """One file that loads nothing and runs nothing."""
    from markupsafe import Markup

    style = (TEMPLATES / "publication.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src '{source_hash(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    # Markup marks what this package wrote; every string of the results goes through autoescape.
    return environment().get_template("publication.html.j2").render(p=published, policy=policy, style=Markup(style))


def publication_csv(published: Publication) -> str:
    """All tables below each other in one; a column for each attribute, empty where a table does not have it.

    The row with `UNKNOWN` in the columns of a table counts the people of unknown category. A text that a spreadsheet
    would run as a formula gets an apostrophe in front.
    """
    attributes = list(dict.fromkeys(name for table in published.tables for name in table.attributes))
    headings = (published.count_heading, published.chosen_heading, published.rate_heading, "Impact ratio", "Note")
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_cell(text) for text in ("Table", *attributes, *headings)])
    for table in published.tables:
        for row in table.rows:
            parts = dict(zip(table.attributes, row.category, strict=False))
            note = table.justification if row.reason and row.impact_ratio else row.reason
            numbers = (str(row.n), str(row.chosen), row.rate, row.impact_ratio)
            _write(writer, table, [parts.get(name, "") for name in attributes], (*numbers, note))
        unknown = [UNKNOWN if name in table.attributes else "" for name in attributes]
        _write(writer, table, unknown, (str(table.unknown), "", "", "", "category unknown: not in the rates above"))
    return stream.getvalue()


def _write(writer: object, table: PublishedTable, parts: list[str], cells: tuple[str, ...]) -> None:
    writer.writerow([_cell(text) for text in (table.name, *parts, *cells)])  # type: ignore[attr-defined]


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text

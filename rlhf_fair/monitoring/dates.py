"""When an audit was made. Its results hold no clock, so that equal inputs give equal bytes; something beside them does.

In this order: a table of dates, the beginning of the folder's name (ISO 8601), the audit's log. A date is a moment in
UTC; a day alone is its beginning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rlhf_fair.artifacts import LOG_NAME
from rlhf_fair.attestation.log import FINISHED, read_log
from rlhf_fair.errors import IntegrityError, SettingsError
from rlhf_fair.tables import read_table, require_columns

_PREFIX = re.compile(r"\d{4}-?\d{2}-?\d{2}(?:[T_]\d{2}[-:]?\d{2}(?:[-:]?\d{2})?Z?)?")
COLUMNS = ("folder", "date")


@dataclass(frozen=True)
class Dated:
    """A moment, and where it was read."""

    moment: datetime
    source: str


def moment_of(text: str) -> datetime:
    """An ISO 8601 date or time, in UTC where it names no zone; `ValueError` where it is neither.

    >>> moment_of("2026-11-21").isoformat(), moment_of("2026-11-21T10:30+02:00").isoformat()
    ('2026-11-21T00:00:00+00:00', '2026-11-21T08:30:00+00:00')
    """
    moment = datetime.fromisoformat(text.strip())
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:  # in UTC it lies before the year 1 or after 9999
        raise ValueError(f"{text!r} is out of range") from error


def read_dates(path: Path) -> dict[str, datetime]:
    """Folder's name -> date, from a table with the columns `COLUMNS`."""
    table = read_table(path)
    require_columns(table, COLUMNS, f"dates {path}")
    found = {}
    for row, (folder, date) in enumerate(zip(table["folder"], table["date"], strict=True), start=1):
        try:
            found[str(folder)] = moment_of(str(date))
        except ValueError as error:
            raise SettingsError(f"dates {path}, row {row}: date = {str(date)!r}; allowed: as 2026-11-21") from error
    return found


def date_of(folder: Path, dates: Mapping[str, datetime] | None = None) -> Dated:
    """When the audit in ``folder`` was made; ``dates``: of `read_dates`.

    Raises
    ------
    SettingsError
        Nothing says so.
    IntegrityError
        The log that would say so is broken.
    """
    name = folder.resolve().name
    if dates and name in dates:
        return Dated(dates[name], "table of dates")
    if prefix := _PREFIX.match(name):
        try:
            return Dated(moment_of(_iso(prefix.group())), "name of the folder")
        except ValueError:
            pass  # 2026-99-99: no date, whatever it is
    if (folder / LOG_NAME).is_file():
        times = [entry.time for entry in read_log(folder) if entry.event == FINISHED and entry.time]
        if times:
            return Dated(_logged(times[-1], folder), "audit log")
    raise SettingsError(
        f"{folder}: nothing says when this audit was made; allowed: a folder's name that begins as 2026-11-21, an "
        f"{LOG_NAME} in it, or a table of {' and '.join(COLUMNS)} given with --dates"
    )


def _logged(time: object, folder: Path) -> datetime:
    try:
        return moment_of(str(time))
    except ValueError as error:
        raise IntegrityError(f"{folder / LOG_NAME}: time {time!r} is no moment") from error


def _iso(text: str) -> str:
    """The basic and the file-name form of ISO 8601 in its basic form, which Python reads."""
    day, _, clock = text.replace("_", "T").partition("T")
    return day.replace("-", "") + (f"T{re.sub(r'[-:]', '', clock)}" if clock else "")

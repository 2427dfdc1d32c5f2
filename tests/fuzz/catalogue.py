"""Every way in which a user's file enters, by name."""

from __future__ import annotations

from fuzz import (
    catalogue_answers,
    catalogue_benchmarks,
    catalogue_models,
    catalogue_saved,
    catalogue_settings,
    catalogue_tables,
)
from fuzz.reader import Reader

_PARTS = (
    catalogue_settings,
    catalogue_tables,
    catalogue_benchmarks,
    catalogue_answers,
    catalogue_saved,
    catalogue_models,
)
READERS: dict[str, Reader] = {reader.name: reader for part in _PARTS for reader in part.READERS}

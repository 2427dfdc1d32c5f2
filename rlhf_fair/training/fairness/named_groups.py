"""Groups that settings name, held against those that there are: a misspelt one would be waited for, for ever."""

from __future__ import annotations

import warnings
from collections.abc import Collection

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.fairness.settings import FairnessSettings
from rlhf_fair.training.fairness.store import GroupState


def check_named_groups(settings: FairnessSettings, known: Collection[str], where: str) -> None:
    """Refuse a reference or a group of a contrast that is none of the groups ``known``, all of those ``where``.

    Raises
    ------
    SettingsError
        The key, the group it names, and the groups that there are.
    """
    if absent := absent_groups(settings, known):
        key, group = absent[0]
        raise SettingsError(f"fairness.{key}: {group!r} is none of the groups of {where}: {sorted(known)}")


def warn_of_absent_groups(settings: FairnessSettings, state: GroupState) -> None:
    """Warn where the statistics so far lack a group that the settings name; it may be rare, or misspelt."""
    known = {cell.group for cell in state.cells}
    for key, group in absent_groups(settings, known):
        warnings.warn(
            f"fairness.{key}: {group!r} is none of the groups seen so far, {sorted(known)}; nothing is compared with "
            "it until it comes: is it misspelt?",
            stacklevel=4,
        )


def absent_groups(settings: FairnessSettings, known: Collection[str]) -> list[tuple[str, str]]:
    """Key of the settings and name of each group that is none of those ``known``.

    >>> absent_groups(FairnessSettings(objective="contrast", reference="men"), {"man", "woman"})
    [('reference', 'men')]
    """
    named = {f"contrasts.{name}": tuple(of) for name, of in settings.contrasts.items()}
    if settings.reference:
        named["reference"] = (settings.reference,)
    return [(key, group) for key, groups in named.items() for group in groups if group not in known]

"""Who judges what, in which order, as arrays: the part of a simulation that chance does not touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.population import CROSS
from rlhf_fair.annotators.simulation_model import AnnotatorModel
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.tables import as_numbers, require_columns

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
BoolArray = NDArray[np.bool_]

EVERYBODY = "(all)"
UNKNOWN = "(unknown)"
FEATURE_PREFIX = "feature."


@dataclass(frozen=True)
class Design:
    """n judgements of I items by R raters in G groups.

    ``item``, ``rater``, ``position`` (from 0, a rater's tasks in the order of the rows), ``a_first``: (n,). ``group``:
    (R,). ``features``: (I, F) in the order of ``feature_names``. ``rater_ids`` holds the raters with a task only.
    """

    item: IntArray
    rater: IntArray
    position: IntArray
    a_first: BoolArray
    group: IntArray
    features: FloatArray
    item_ids: NDArray[np.object_]
    rater_ids: NDArray[np.object_]
    group_names: tuple[str, ...]
    feature_names: tuple[str, ...]

    @property
    def load(self) -> IntArray:
        """(R,) tasks assigned."""
        return np.bincount(self.rater, minlength=len(self.rater_ids))

    @classmethod
    def of(
        cls,
        assignments: pd.DataFrame,
        annotators: pd.DataFrame,
        model: AnnotatorModel,
        *,
        by: Sequence[str] = (),
        items: pd.DataFrame | None = None,
    ) -> Design:
        """Codes of the tables; ``by``: columns of ``annotators`` whose crossed levels are the groups.

        Raises
        ------
        ColumnError, RowError, SettingsError
            A column is missing; somebody or something assigned is not in the tables; the model names a group or a
            feature that is not there.
        """
        require_columns(assignments, ["item_id", "annotator_id"], "assignments")
        item, item_ids = pd.factorize(assignments["item_id"])
        rater, rater_ids = pd.factorize(assignments["annotator_id"])
        if not len(item) or (item < 0).any() or (rater < 0).any():
            raise RowError("assignments: needed is at least one row, each with an item_id and an annotator_id")
        names, group = _groups(annotators, rater_ids, by)
        if unknown := sorted({*model.groups} - {*names}):
            hint = "" if by else " (no attribute makes groups here: give one, as with --by)"
            raise SettingsError(f"groups.{unknown[0]}: no such group; allowed: {', '.join(names)}{hint}")
        features = _features(items, item_ids, model, names)
        shown = assignments["order"].to_numpy() == "ab" if "order" in assignments else np.ones(len(item), dtype=bool)
        return cls(
            item=item,
            rater=rater,
            position=_positions(rater, len(rater_ids)),
            a_first=np.asarray(shown, dtype=np.bool_),
            group=group,
            features=features,
            item_ids=np.asarray(item_ids, dtype=object),
            rater_ids=np.asarray(rater_ids, dtype=object),
            group_names=names,
            feature_names=tuple(model.preferences.features),
        )


def group_labels(annotators: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """By annotator_id: crossed levels joined by ``*``, ``(unknown)`` where one is missing, ``(all)`` without ``by``."""
    require_columns(annotators, ["annotator_id", *by], "panel")
    if (repeated := annotators["annotator_id"].duplicated()).any():
        raise RowError(f"panel names annotator {annotators['annotator_id'][repeated].iloc[0]!r} twice")
    if not by:
        return pd.Series(EVERYBODY, index=annotators["annotator_id"].to_numpy(), dtype="str")
    cells = annotators[list(by)]
    label = cells.fillna("").astype("str").agg(CROSS.join, axis=1).where(cells.notna().all(axis=1), UNKNOWN)
    return label.set_axis(annotators["annotator_id"].to_numpy())


def _groups(annotators: pd.DataFrame, rater_ids: pd.Index, by: Sequence[str]) -> tuple[tuple[str, ...], IntArray]:
    label = group_labels(annotators, by)
    place = label.index.get_indexer(rater_ids)
    if (place < 0).any():
        unknown = rater_ids[int(np.argmax(place < 0))]
        raise RowError(f"assignments name annotator {unknown!r}, who is not among the {len(label)} of the panel")
    code, names = pd.factorize(label, sort=True)
    return tuple(map(str, names)), np.asarray(code[place], dtype=np.intp)


def _features(
    items: pd.DataFrame | None, item_ids: pd.Index, model: AnnotatorModel, groups: Sequence[str]
) -> FloatArray:
    settings = model.preferences.features
    for name, feature in settings.items():
        if unknown := sorted({*feature.groups} - {*groups}):
            raise SettingsError(
                f"preferences.features.{name}.groups.{unknown[0]}: no such group; allowed: {', '.join(groups)}"
            )
    columns = [FEATURE_PREFIX + name for name in settings]
    if not columns:
        return np.zeros((len(item_ids), 0))
    if items is None:
        raise SettingsError(f"preferences.features.{next(iter(settings))} needs the items' column {columns[0]!r}")
    require_columns(items, ["item_id", *columns], "items")
    place = pd.Index(items["item_id"]).get_indexer(item_ids)
    if (place < 0).any():
        raise RowError(f"items: {item_ids[int(np.argmax(place < 0))]!r} of the assignments is missing")
    numbers = items[columns].apply(_numbers).to_numpy(float)[place]
    if not np.isfinite(numbers).all():
        row, column = np.argwhere(~np.isfinite(numbers))[0]
        raise RowError(f"items: {columns[column]!r} of item {item_ids[row]!r} is no finite number")
    return np.asarray(numbers)


def _numbers(cells: pd.Series) -> pd.Series:
    """A feature that is there or not is 1 or 0."""
    return cells.astype(float) if pd.api.types.is_bool_dtype(cells) and cells.notna().all() else as_numbers(cells)


def _positions(rater: IntArray, n_raters: int) -> IntArray:
    """(n,) 0, 1, ... along the rows of each rater."""
    order = np.argsort(rater, kind="stable")
    load = np.bincount(rater, minlength=n_raters)
    position = np.empty(len(rater), dtype=np.intp)
    position[order] = np.arange(len(rater)) - np.repeat(np.cumsum(load) - load, load)
    return position

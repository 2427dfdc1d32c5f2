"""Cells of several attributes on one item, taken together: which may be shown so that no difference tells a few raters.

Women, less White women, are the women of other races. Where that is one person, two means that are each of many people
tell what she said. So the cells of all attributes, crossed ones among them, and the item's total are one additive
table: whatever a reader adds and subtracts is a sum over raters with some weights, and it is let through only if it
involves nobody or at least k raters. This is complementary suppression (Fischetti and Salazar 2001) of sums of ratings.

Cells are taken in turn, those of the attribute with the fewest groups and the largest first, and one is shown if the
table still keeps the promise with it. Raters that no shown cell tells apart always come together, so they count as one
part. The promise is about sums: that all of a group said the same is seen from its mean, however large the group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rlhf_fair.annotators.disagreement_cells import GroupCells
from rlhf_fair.stats.columns import Floats

MOST_SETS = 20_000
"""Sets of parts tried for one cell; a cell that needs more is not shown."""
NOBODY = -1
TOLERANCE = 1e-9
"""Far below the smallest singular value that a table of so few zeros and ones can have, far above rounding."""
NEAR_ONE = 1e-7

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def without_differences(views: Sequence[GroupCells], least: int) -> list[GroupCells]:
    """The ``views`` (attributes of one kind of judgement) with cells hidden until no difference tells ``least`` - 1."""
    if len(views) < 2 or least < 2:
        return list(views)
    shown = [view.shown.copy() for view in views]
    places = [{item: i for i, item in enumerate(view.ratings.items)} for view in views]
    found: dict[tuple[bytes, ...], list[Bools]] = {}
    for item, (groups, size) in _parts_of_items(views).items():
        on = [place.get(item) for place in places]
        before = [
            mask[:, i] if i is not None else np.zeros(len(mask), dtype=bool) for mask, i in zip(shown, on, strict=True)
        ]
        key = (groups.tobytes(), size.tobytes(), *(mask.tobytes() for mask in before))
        if key not in found:
            found[key] = safe_cells(groups, size, before, least)
        for mask, i, safe in zip(shown, on, found[key], strict=True):
            if i is not None:
                mask[:, i] = safe
    return [replace(view, shown=mask) for view, mask in zip(views, shown, strict=True)]


def safe_cells(groups: Ints, size: Ints, wanted: Sequence[Bools], least: int) -> list[Bools]:
    """For one item and each attribute, (G,) True for the cells of ``wanted`` that can be shown together.

    Parameters
    ----------
    groups
        (P, attributes) group of each part of the raters in each attribute, `NOBODY` where it is in none.
    size
        (P,) raters of each part.
    wanted
        For each attribute (G,), True for cells that may be shown as far as the attribute alone goes.

    Examples
    --------
    10 women and 10 men; 9 of the women are White, 1 is Black, and the crossed groups of 9 and 10 would tell her.

    >>> parts = np.array([[0, 0], [0, -1], [1, 1]])  # gender; gender x race, where one is in no group shown
    >>> safe_cells(parts, np.array([9, 1, 10]), [np.array([True, True]), np.array([True, True])], 5)
    [array([ True,  True]), array([False,  True])]
    """
    safe = [np.zeros(len(mask), dtype=bool) for mask in wanted]
    table = np.ones((1, len(size)))  # the total is taken as known
    cells = [(a, int(g)) for a, mask in enumerate(wanted) for g in np.flatnonzero(mask)]
    rows = {(a, g): (groups[:, a] == g).astype(float) for a, g in cells}
    for a, g in sorted(cells, key=lambda cell: (len(wanted[cell[0]]), cell[0], -(rows[cell] @ size), cell[1])):
        with_cell = np.vstack([table, rows[a, g]])
        if not tells_few(with_cell, size, least):
            table = with_cell
            safe[a][g] = True
    return safe


def tells_few(cells: Floats, size: Ints, least: int) -> bool:
    """Is some weighted sum of ``cells``, (C, P) parts in each cell, about at least one and fewer than ``least`` raters?

    ``size``: (P,) raters of each part. True as well where deciding would take more than `MOST_SETS` trials.
    """
    parts, part_of = np.unique(cells, axis=1, return_inverse=True)
    raters = np.bincount(part_of.ravel(), weights=size)
    small = (raters < least) & parts.any(axis=0)
    # sums that the large parts have dropped out of: combinations of rows that are 0 on every large part
    sums = _left_null_space(parts[:, ~small]).T @ parts[:, small]
    _, singular, directions = np.linalg.svd(sums, full_matrices=False)
    basis = directions[singular > TOLERANCE]
    told = np.abs(basis).max(axis=0, initial=0.0) > TOLERANCE
    basis, few = basis[:, told], raters[small][told]
    if not len(basis):
        return False
    chosen = list(islice(_few(few, least), MOST_SETS + 1))
    return len(chosen) > MOST_SETS or any(_holds_one(basis, sets) for sets in _by_length(chosen))


def _holds_one(basis: Floats, sets: Ints) -> bool:
    """Is a vector of the space zero outside one of the ``sets`` of columns? ``basis``: (d, n) orthonormal rows.

    It is where the projection onto the space, restricted to the columns, leaves some vector as long as it was: where
    its largest eigenvalue is 1. The eigenvalues are 0 and more, so their sum is then at least 1, which is cheap to see.
    """
    projection = basis.T @ basis
    near = sets[np.diagonal(projection)[sets].sum(axis=1) > 1 - NEAR_ONE]
    if not len(near):
        return False
    restricted = projection[near[:, :, None], near[:, None, :]]
    return bool(np.linalg.eigvalsh(restricted)[:, -1].max() > 1 - NEAR_ONE)


def _by_length(chosen: list[tuple[int, ...]]) -> Iterator[Ints]:
    """(S, length) sets of equal length."""
    for length in sorted({len(one) for one in chosen}):
        yield np.array([one for one in chosen if len(one) == length], dtype=np.int64)


def _left_null_space(matrix: Floats) -> Floats:
    """(C, d) orthonormal weights of rows whose sum is 0 in every column."""
    left, singular, _ = np.linalg.svd(matrix, full_matrices=True)
    rank = int((singular > TOLERANCE).sum())
    return np.asarray(left[:, rank:])


def _few(raters: Floats, least: int) -> Iterator[tuple[int, ...]]:
    """Sets of parts with fewer than ``least`` raters together, among them all that no further part fits into."""
    order = [int(part) for part in np.argsort(-raters, kind="stable")]

    def extend(chosen: tuple[int, ...], start: int, total: float) -> Iterator[tuple[int, ...]]:
        fits = [place for place in range(start, len(order)) if total + raters[order[place]] < least]
        for place in fits:
            yield from extend((*chosen, order[place]), place + 1, total + raters[order[place]])
        if chosen and not fits:
            yield chosen

    yield from extend((), 0, 0.0)


def _parts_of_items(views: Sequence[GroupCells]) -> dict[object, tuple[Ints, Ints]]:
    """Item -> the parts of its raters: (P, attributes) groups, `NOBODY` for none, and (P,) raters."""
    rows = views[0].part.rows
    names = list(range(len(views)))
    table = pd.DataFrame({"item_id": rows["item_id"], "annotator_id": rows["annotator_id"]})
    for number, view in enumerate(views):
        codes = {name: code for code, name in enumerate(view.ratings.names)}
        table[number] = view.labels.where(view.rows).map(codes).fillna(NOBODY).astype(np.int64)
    size = table.drop_duplicates().groupby(["item_id", *names], sort=True).size().rename("n").reset_index()
    return {
        item: (np.ascontiguousarray(own[names], dtype=np.int64), np.asarray(own["n"], dtype=np.int64))
        for item, own in size.groupby("item_id", sort=False)
    }

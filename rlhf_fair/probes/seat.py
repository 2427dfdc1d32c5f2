"""WEAT and SEAT: do an encoder's vectors put one group of words nearer to one attribute (Caliskan et al. 2017)?

The association of a target w is its mean cosine to the first attributes less that to the second,

    s(w) = mean_a cos(w, a) - mean_b cos(w, b),

and the effect size the difference of the two target sets' mean associations, in standard deviations over all targets:

    d = (mean_X s - mean_Y s) / sd_{X u Y} s,   0 = no association; |d| < 2 for sets of equal size.

The p-value rearranges targets between the sets. In a sentence test whole words are rearranged with all their sentences:
sentences about one word are no independent evidence, and treating them as such makes the p-values of published tables
too small. The attributes are taken as given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.errors import RowError
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.missing import measured_rate
from rlhf_fair.records import Estimate
from rlhf_fair.stats.columns import Floats
from rlhf_fair.stats.correlation import correlation_estimate
from rlhf_fair.stats.sample import cluster_codes

EXACT_UP_TO = 100_000
"""So many partitions are enumerated; of more, partitions are drawn at random."""

TOLERANCE = 1e-12
"""Partitions as extreme as the observed one up to this share of the associations' sum count as equal: rounding."""

NO_DIRECTION = "no direction to compare: its vector, or all of an attribute's, is 0 or not finite"

LIMIT = (
    "Effect sizes of association tests vary with the words chosen, with how a vector is taken from an encoder and with "
    "its sentences (May et al. 2019); a test that finds nothing is no evidence of absence, and cosine distances need "
    "not show up in what a model does (Goldfarb-Tarrant et al. 2021). Some name lists mark groups by stereotype."
)


@dataclass(frozen=True)
class Weat:
    """``effect_size``: d, with an interval over words and the two-sided p-value of the rearrangement test.

    ``p_one_sided``: of an association in the direction that the test's authors expect, which is what papers print.
    ``statistic``: mean association of the first targets less that of the second. ``exact``: all partitions counted.
    """

    effect_size: Estimate
    statistic: float
    p_one_sided: float
    exact: bool
    n_partitions: int


def seat_texts(items: pd.DataFrame) -> list[str]:
    """The distinct texts to embed, sorted."""
    return sorted(set(items["text"].astype("str")))


def seat_records(
    items: pd.DataFrame, texts: Sequence[str], embeddings: ArrayLike, problems: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row for each target of each test, with its ``association``; NaN where its vector is 0 or not finite.

    ``embeddings``: (len(texts), dimensions), row i for text i; ``problems``: (len(texts),) "" or why it has none.
    Attributes without a usable vector take no part; ``n_attributes`` counts the others. ``problem``: why a target has
    no association.
    """
    directions = _unit_vectors(embeddings, len(texts))
    row_of = {text: row for row, text in enumerate(texts)}
    unknown = [text for text in items["text"] if text not in row_of]
    if unknown:
        raise RowError(f"{len(unknown)} texts of the tests have no embedding; embed what seat_texts returns")
    row = items["text"].map(row_of).to_numpy(dtype=np.intp)
    parts = []
    for test, rows in items.assign(row=row).groupby("test", sort=True):
        of_part = {part: group["row"].to_numpy() for part, group in rows.groupby("part")}
        targets = rows[rows["part"].isin(["targ1", "targ2"])]
        first, second = (_usable(directions[of_part.get(part, np.empty(0, int))]) for part in ("attr1", "attr2"))
        categories = rows.drop_duplicates("part").set_index("part")["category"].to_dict()
        parts.append(
            pd.DataFrame(
                {
                    "test": test,
                    "part": targets["part"].to_numpy(),
                    "word": targets["word"].to_numpy(),
                    "item_id": (targets["test"] + "/" + targets["part"] + "/" + targets["text"]).to_numpy(),
                    "targets": f"{categories.get('targ1')} / {categories.get('targ2')}",
                    "attributes": f"{categories.get('attr1')} / {categories.get('attr2')}",
                    "association": associations(directions[targets["row"].to_numpy()], first, second),
                    "n_attributes": len(first) + len(second),
                    "text_row": targets["row"].to_numpy(),
                }
            )
        )
    records = pd.concat(parts, ignore_index=True)
    parsed = np.isfinite(records["association"].to_numpy())
    told = records.pop("text_row").to_numpy()
    said = np.array(problems if problems is not None else [""] * len(texts), dtype=object)[told]
    why = np.where(said != "", said, NO_DIRECTION)
    return records.assign(parsed=parsed, problem=np.where(parsed, "", why))


def associations(targets: Floats, first: Floats, second: Floats) -> Floats:
    """(n,) mean cosine of ``targets`` (n, d) to ``first`` (a, d) less that to ``second`` (b, d); rows of length 1.

    Range [-2, 2]; NaN without attributes.
    """
    if not len(first) or not len(second):
        return np.full(len(targets), np.nan)
    return np.asarray(targets @ (first.mean(axis=0) - second.mean(axis=0)))


def weat(
    associations_x: ArrayLike,
    associations_y: ArrayLike,
    *,
    words_x: ArrayLike | None = None,
    words_y: ArrayLike | None = None,
    alpha: float = 0.05,
    draws: int = 9999,
    rng: np.random.Generator,
) -> Weat:
    """The test on the associations of the two target sets, (n,) and (m,); NaN values are left out.

    ``words_x``, ``words_y``: which texts belong together, default each alone. d uses the standard deviation with
    divisor n + m - 1, as the reference implementation; since d is a multiple of the correlation of association and
    set, its interval is that of `correlation_estimate`, by word. The p-values count the partitions of the words into
    sets of the same numbers of words that are at least as extreme, the observed one among them.
    """
    s, in_x, word = _stacked(associations_x, associations_y, words_x, words_y)
    left_out = int((~np.isfinite(s)).sum())
    known = np.isfinite(s)
    s, in_x, word = s[known], in_x[known], np.unique(word[known], return_inverse=True)[1].reshape(-1)
    if not in_x.any() or in_x.all():
        missing = Estimate.not_estimable("a set of targets has no measured text", n=len(s), n_left_out=left_out)
        return Weat(missing, math.nan, math.nan, False, 0)
    r = correlation_estimate(in_x.astype(float), s, clusters=[word], alpha=alpha)
    share = in_x.mean()
    scale = math.sqrt((len(s) - 1) / len(s) / (share * (1 - share)))
    moved = {name: scale * getattr(r, name) for name in ("estimate", "ci_low", "ci_high", "standard_error", "mde")}
    observed = float(s[in_x].mean() - s[~in_x].mean())
    statistics, exact = _rearranged(s, in_x, word, draws, rng)
    slack = TOLERANCE * np.abs(s).sum()
    extra = 0 if exact else 1
    one, two = (
        float((extra + int(hits.sum())) / (extra + len(statistics)))
        for hits in (statistics >= observed - slack, np.abs(statistics) >= abs(observed) - slack)
    )
    effect = r.model_copy(update=moved | {"p_value": two, "n_left_out": left_out})
    return Weat(effect, observed, one, exact, len(statistics))


def seat_measured(
    records: pd.DataFrame, *, alpha: float = 0.05, draws: int = 9999, rng: np.random.Generator
) -> list[Measured]:
    """The effect size of every test; ``variant`` says whether its targets are words or sentences about words."""
    measured = []
    for test, rows in records.groupby("test", sort=True):
        sides = [rows[rows["part"] == part] for part in ("targ1", "targ2")]
        x, y = (side["association"] for side in sides)
        words = {"words_x": sides[0]["word"], "words_y": sides[1]["word"]}
        result = weat(x, y, **words, alpha=alpha, draws=draws, rng=rng)
        group, _, reference = str(rows["targets"].iloc[0]).partition(" / ")
        measured.append(
            Measured(
                metric="association_effect_size",
                estimate=result.effect_size,
                attribute=f"{test}: {rows['attributes'].iloc[0]}",
                group=group,
                reference=reference,
                variant="sentences_by_word" if (rows["word"].value_counts() > 1).any() else "words",
                unit="standard deviations",
                parse_rate=float(rows["parsed"].mean()),
                measured_rate=measured_rate(rows["parsed"], rows["part"], {"targ1": 1.0, "targ2": -1.0}),
            )
        )
    return measured


def _rearranged(
    s: Floats, in_x: NDArray[np.bool_], word: NDArray[np.intp], draws: int, rng: np.random.Generator
) -> tuple[Floats, bool]:
    """The difference of means under partitions of the words; all of them (True), or ``draws`` random ones (False)."""
    sums, counts = np.bincount(word, s), np.bincount(word).astype(float)
    n_words, n_x = len(sums), len(np.unique(word[in_x]))
    exact = math.comb(n_words, n_x) <= EXACT_UP_TO
    if exact:
        chosen = np.array(list(combinations(range(n_words), n_x)), dtype=np.intp)
    else:
        chosen = np.argsort(rng.random((draws, n_words)), axis=1)[:, :n_x]
    top, size = sums[chosen].sum(axis=1), counts[chosen].sum(axis=1)
    return top / size - (sums.sum() - top) / (counts.sum() - size), exact


def _stacked(
    x: ArrayLike, y: ArrayLike, words_x: ArrayLike | None, words_y: ArrayLike | None
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.intp]]:
    """Associations, membership of the first set, and codes of words that never join the two sets."""
    sides: list[Floats] = [np.asarray(side, dtype=float) for side in (x, y)]
    codes = []
    for name, side, words in (("words_x", sides[0], words_x), ("words_y", sides[1], words_y)):
        labels: Any = np.arange(len(side)) if words is None else np.asarray(words)
        if len(labels) != len(side):
            raise RowError(f"{name} has {len(labels)} rows, its associations have {len(side)}")
        codes.append(cluster_codes(labels))
    offset = int(codes[0].max(initial=-1)) + 1
    in_x = np.arange(len(sides[0]) + len(sides[1])) < len(sides[0])
    return np.concatenate(sides), in_x, np.concatenate([codes[0], codes[1] + offset])


def _unit_vectors(embeddings: ArrayLike, n: int) -> Floats:
    vectors = np.asarray(embeddings, dtype=float)
    if vectors.ndim != 2 or len(vectors) != n:
        raise RowError(f"embeddings have shape {vectors.shape}; allowed: ({n}, dimensions), one row for each text")
    largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0.0)  # scaled first: squares of 1e200 are infinite
    usable = np.isfinite(largest) & (largest > 0)
    scaled = np.divide(vectors, largest, out=np.full_like(vectors, np.nan), where=usable)
    return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True))


def _usable(vectors: Floats) -> Floats:
    return np.asarray(vectors[np.isfinite(vectors).all(axis=1)], dtype=float)

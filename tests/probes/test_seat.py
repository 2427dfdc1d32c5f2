from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from upstream import DATA, needs

from rlhf_fair.errors import MissingFileError, RowError
from rlhf_fair.probes.seat import associations, seat_measured, seat_records, seat_texts, weat
from rlhf_fair.probes.seat_files import load_seat, word_of


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


TOY = {
    "targ1": {"category": "Flowers", "examples": ["rose", "lily"]},
    "targ2": {"category": "Insects", "examples": ["flea", "fly"]},
    "attr1": {"category": "Pleasant", "examples": ["joy"]},
    "attr2": {"category": "Unpleasant", "examples": ["rot"]},
}
VECTORS = {"rose": [2, 0], "lily": [0.6, 0.8], "flea": [0, 3], "fly": [4, 3], "joy": [1, 0], "rot": [0, 5]}


def write(folder: Path, **tests: object) -> None:
    for name, test in tests.items():
        (folder / f"{name.replace('_', '-')}.jsonl").write_text(json.dumps(test, indent=2))


def embed(texts: list[str]) -> np.ndarray:
    return np.array([VECTORS[text] for text in texts], dtype=float)


@needs("seat")
def test_upstream_counts() -> None:
    read = load_seat(DATA / "seat")
    table = read.table
    assert len(read.rejects) == 0
    assert table["test"].nunique() == 46
    sizes = table.groupby(["test", "part"]).size()
    # Caliskan et al. 2017, table 1: WEAT 1 has 25 targets and 25 attributes a side, WEAT 3 32 and 25, WEAT 9 6 and 7
    assert [sizes["weat1", part] for part in ("targ1", "targ2", "attr1", "attr2")] == [25] * 4
    assert [sizes["weat3", part] for part in ("targ1", "targ2", "attr1", "attr2")] == [32, 32, 25, 25]
    assert [sizes["weat9", part] for part in ("targ1", "targ2", "attr1", "attr2")] == [6, 6, 7, 7]
    words = table.groupby(["test", "part"])["word"].nunique()
    # the 350 sentences about flowers are about 25 flowers
    assert (sizes["sent-weat1", "targ1"], words["sent-weat1", "targ1"]) == (350, 25)
    for test, part in words.index:
        if test.startswith("sent-") and part.startswith("targ") and (test, part) != ("sent-weat9", "targ2"):
            assert words[test, part] == sizes[test.removeprefix("sent-"), part]
    assert words["sent-weat9", "targ2"] == 5  # upstream has no sentence about the sixth


def test_a_file_is_one_object(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="SEAT tests"):
        load_seat(tmp_path)
    sentences = TOY | {
        "targ1": {"category": "Flowers", "examples": ["This is a rose.", "Roses are things.", "Lilies are here."]}
    }
    write(tmp_path, toy=TOY, sent_toy=sentences)
    table = load_seat(tmp_path).table
    assert len(table) == 6 + 7
    flowers = table[(table["test"] == "sent-toy") & (table["part"] == "targ1")]
    assert flowers["word"].tolist() == ["rose", "rose", "lily"]
    assert len(seat_texts(table)) == 9
    write(tmp_path, toy={"targ1": {"category": "Flowers"}})
    with pytest.raises(RowError, match="targ1 has no category and examples"):
        load_seat(tmp_path)
    (tmp_path / "toy.jsonl").write_text("{}\n{}")
    with pytest.raises(RowError, match="is not JSON: line 2"):
        load_seat(tmp_path)


@pytest.mark.parametrize(
    ("sentence", "word"),
    [("These are men.", "man"), ("Those are women.", "woman"), ("A white woman is here.", "white woman")],
)
def test_the_word_of_a_sentence(sentence: str, word: str) -> None:
    assert word_of(sentence, ["man", "woman", "white woman"]) == word


def test_by_hand(tmp_path: Path) -> None:
    # Lengths do not matter. Cosines to joy (1, 0) less those to rot (0, 1):
    #   rose 1 − 0 = 1; lily .6 − .8 = −.2; flea 0 − 1 = −1; fly .8 − .6 = .2
    # statistic (1 − .2) / 2 − (−1 + .2) / 2 = .4 + .4 = .8
    # sd over all four, mean 0: sqrt((1 + .04 + 1 + .04) / 3) = .832666; d = .8 / .832666 = .960769
    # The six partitions have .8, 0, 1.2, −1.2, 0, −.8: one-sided 2 of 6, two-sided 4 of 6
    write(tmp_path, toy=TOY)
    items = load_seat(tmp_path).table
    texts = seat_texts(items)
    records = seat_records(items, texts, embed(texts))
    assert records["association"].tolist() == pytest.approx([1, -0.2, -1, 0.2])
    s = records["association"].to_numpy()
    result = weat(s[:2], s[2:], rng=rng())
    assert result.statistic == pytest.approx(0.8)
    assert result.effect_size.estimate == pytest.approx(0.960769, abs=1e-6)
    assert (result.p_one_sided, result.effect_size.p_value) == pytest.approx((2 / 6, 4 / 6))
    assert result.exact
    (one,) = seat_measured(records, rng=rng())
    assert (one.group, one.reference, one.attribute, one.variant) == (
        "Flowers",
        "Insects",
        "toy: Pleasant / Unpleasant",
        "words",
    )
    assert one.estimate == result.effect_size


def test_the_effect_size_is_its_definition_for_unequal_sets_too() -> None:
    x, y = rng(1).normal(0.4, 1, 7), rng(2).normal(size=11)
    d = (x.mean() - y.mean()) / np.r_[x, y].std(ddof=1)
    assert weat(x, y, rng=rng()).effect_size.estimate == pytest.approx(d)


def test_words_are_rearranged_whole() -> None:
    # against the test written out: 3 and 3 words of 1 to 3 sentences
    words_x, words_y = np.array(list("aabccc")), np.array(list("ddefff"))
    x, y = rng(3).normal(0.7, 1, 6), rng(4).normal(size=6)
    s, word = np.r_[x, y], np.r_[words_x, words_y]
    differences = []
    for chosen in combinations("abcdef", 3):
        inside = np.isin(word, chosen)
        differences.append(s[inside].mean() - s[~inside].mean())
    observed = x.mean() - y.mean()
    result = weat(x, y, words_x=words_x, words_y=words_y, rng=rng())
    assert result.n_partitions == 20
    assert result.p_one_sided == pytest.approx(np.mean(np.array(differences) >= observed - 1e-12))
    assert result.effect_size.p_value == pytest.approx(np.mean(np.abs(differences) >= observed - 1e-12))
    assert (result.effect_size.n, result.effect_size.n_clusters) == (12, 6)


def test_drawn_partitions_count_the_observed_one() -> None:
    # 25 and 25 words that are wholly apart: no drawn partition comes near, p = (1 + 0) / (999 + 1)
    result = weat(np.arange(25) + 100.0, np.arange(25) * 1.0, draws=999, rng=rng())
    assert not result.exact
    assert (result.p_one_sided, result.effect_size.p_value) == (0.001, 0.001)
    # and of the other sign, the one-sided one is 1
    assert weat(np.arange(25) * 1.0, np.arange(25) + 100.0, draws=999, rng=rng()).p_one_sided == 1


def test_swapping_sets_turns_the_sign() -> None:
    x, y = rng(5).normal(0.5, 1, 8), rng(6).normal(size=8)
    one, other = weat(x, y, rng=rng()).effect_size, weat(y, x, rng=rng()).effect_size
    assert (one.estimate, one.ci_low, one.p_value) == pytest.approx((-other.estimate, -other.ci_high, other.p_value))


def test_unusable_vectors_are_missing(tmp_path: Path) -> None:
    write(tmp_path, toy=TOY)
    items = load_seat(tmp_path).table
    texts = seat_texts(items)
    vectors = embed(texts)
    vectors[texts.index("rose")] = 0
    records = seat_records(items, texts, vectors)
    assert records["parsed"].tolist() == [False, True, True, True]
    (one,) = seat_measured(records, rng=rng())
    assert (one.estimate.n, one.estimate.n_left_out, one.parse_rate) == (3, 1, 0.75)
    vectors[texts.index("joy")] = math.nan
    (none,) = seat_measured(seat_records(items, texts, vectors), rng=rng())
    assert math.isnan(none.estimate.estimate)
    assert "no measured text" in none.estimate.reason
    with pytest.raises(RowError, match=r"allowed: \(6, dimensions\)"):
        seat_records(items, texts, vectors[:5])
    with pytest.raises(RowError, match="1 texts of the tests have no embedding"):
        seat_records(items, texts[:-1], vectors[:-1])
    with pytest.raises(RowError, match="words_x has 1 rows"):
        weat([1, 2], [3, 4], words_x=["a"], rng=rng())


def test_associations_are_mean_cosines() -> None:
    draw = rng(7)
    w, a, b = (draw.normal(size=(n, 5)) for n in (3, 4, 6))
    w, a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (w, a, b))
    expected = [np.mean([t @ x for x in a]) - np.mean([t @ x for x in b]) for t in w]
    assert associations(w, a, b).tolist() == pytest.approx(expected)


def test_sentences_about_one_word_are_no_independent_evidence() -> None:
    # No association; each word has its own level, which its 8 sentences share. 200 sets: 5 % ± 4.6 points (3 SE).
    by_word = by_sentence = 0
    words = np.repeat(np.arange(8), 8)
    for seed in range(200):
        draw = rng(seed)
        x, y = (np.repeat(draw.normal(size=8), 8) + 0.3 * draw.normal(size=64) for _ in range(2))
        by_word += weat(x, y, words_x=words, words_y=words, rng=draw).effect_size.p_value <= 0.05
        by_sentence += weat(x, y, draws=199, rng=draw).effect_size.p_value <= 0.05
    assert by_word / 200 == pytest.approx(0.05, abs=0.046)
    assert by_sentence / 200 > 0.3


def test_a_planted_association_is_recovered() -> None:
    draw = rng(9)
    a, b = draw.normal(size=(2, 20, 30))
    direction = a.mean(axis=0) - b.mean(axis=0)
    x = draw.normal(size=(25, 30)) + 2 * direction
    y = draw.normal(size=(25, 30)) - 2 * direction
    rows = [
        {"test": "t", "part": part, "category": part, "text": f"{part}{k}", "word": f"{part}{k}"}
        for part, vectors in (("targ1", x), ("targ2", y), ("attr1", a), ("attr2", b))
        for k in range(len(vectors))
    ]
    items = pd.DataFrame(rows)
    records = seat_records(items, items["text"].tolist(), np.concatenate([x, y, a, b]))
    (one,) = seat_measured(records, draws=999, rng=draw)
    assert one.estimate.ci_low > 0.5
    assert one.estimate.p_value == 0.001

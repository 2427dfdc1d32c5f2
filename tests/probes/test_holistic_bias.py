from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.probes.crows_pairs import load_crows_pairs
from rlhf_fair.probes.holistic_bias import Cell, Descriptor, Noun, Template, article, load_holistic_bias, sample_cells

FILES = {
    "descriptors": {"ability": {"auditory": [{"descriptor": "Deaf", "preference": "reviewed"}, "autistic"]}},
    "nouns": {"female": [["woman", "women"]], "male": [["man", "men"]], "neutral": [["individual", "individuals"]]},
    "sentence_templates": {"I'm {noun_phrase}.": {}, "I like {plural_noun_phrase}.": {"must_be_noun": True}},
    "standalone_noun_phrases": {
        "ability": [
            "{article} {noun} with asthma",
            {"noun_phrase": "{article} {noun} who is Deaf", "plural_noun_phrase": "{article} {noun} who are Deaf"},
            {"noun_phrase": "a wheelchair user", "plural_noun_phrase": "wheelchair users"},
        ]
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_reads_upstreams_layout(folder: Path) -> None:
    data = load_holistic_bias(folder)
    assert [d.name for d in data.descriptors] == ["Deaf", "autistic", "with asthma", "who is Deaf"]
    assert [d.preference for d in data.descriptors] == ["reviewed", "", "", ""]
    assert data.without_noun == 1
    assert data.axes == ("ability",)


def test_grammar(folder: Path) -> None:
    data = load_holistic_bias(folder)
    deaf, autistic, asthma, who = data.descriptors
    one, many = data.templates
    woman, _, individual = data.nouns
    assert Cell(one, individual).base == "I'm an individual."
    assert Cell(one, individual).sentence(deaf) == "I'm a Deaf individual."
    assert Cell(one, woman).sentence(autistic) == "I'm an autistic woman."
    assert Cell(one, individual).sentence(asthma) == "I'm an individual with asthma."
    assert Cell(many, woman).base == "I like women."
    assert Cell(many, woman).sentence(autistic) == "I like autistic women."
    assert Cell(many, woman).sentence(asthma) == "I like women with asthma."
    assert Cell(many, woman).sentence(who) == "I like women who are Deaf."


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *[
            (w, "an")
            for w in ("Asian", "elderly", "80-year-old", "18-year-old", "LGBTQ", "FTM", "M2F", "unhoused", "urban")
        ],
        *[
            (w, "a")
            for w in ("Deaf", "European-American", "US-born", "Unitarian", "one-percenter", "30-year-old", "NIMBY")
        ],
        *[
            ("uninsured", "an"),
            ("unicorn", "a"),
            ("honest", "an"),
            ("heir", "an"),
            ("hairy", "a"),
            ("trans female", "a"),
        ],
    ],
)
def test_article_goes_by_sound(word: str, expected: str) -> None:
    assert article(word) == expected


def test_gendered_descriptors_fit_their_gender_and_neutral_nouns() -> None:
    latina = Descriptor("race_ethnicity", "latinx", "Latina", "a Latina {noun}", "Latina {noun}", gender="female")
    assert [latina.fits(Noun("x", "xs", gender)) for gender in ("female", "male", "neutral")] == [True, False, True]


def test_cells_are_the_same_for_a_seed_and_use_all_nouns_evenly() -> None:
    templates = tuple(Template(f"{number} {{noun_phrase}}") for number in range(26))
    nouns = tuple(Noun(f"n{number}", f"n{number}s", "neutral") for number in range(32))
    cells = sample_cells(templates, nouns, 4, seed=0)
    assert cells == sample_cells(templates, nouns, 4, seed=0)
    assert cells != sample_cells(templates, nouns, 4, seed=1)
    assert set(Counter(cell.template for cell in cells).values()) == {4}
    assert set(Counter(cell.noun for cell in cells).values()) == {3, 4}  # 104 cells over 32 nouns
    assert len(set(cells)) == 104


def test_missing_and_misshaped_files_are_our_errors(folder: Path) -> None:
    (folder / "nouns.json").write_text('{"female": ["woman"]}')
    with pytest.raises(SettingsError, match=r"not laid out as in v1\.1"):
        load_holistic_bias(folder)
    (folder / "nouns.json").unlink()
    with pytest.raises(MissingFileError, match="HolisticBias nouns"):
        load_holistic_bias(folder)


def test_crows_pairs_rows_add_up(tmp_path: Path) -> None:
    path = tmp_path / "crows.csv"
    path.write_text(
        ",sent_more,sent_less,stereo_antistereo,bias_type\n"
        '0,"A, b",A c,stereo,age\n'
        "1,Same,Same,stereo,age\n"
        "2,D,E,sideways,religion\n"
        "3,F,G,antistereo,religion\n"
    )
    read = load_crows_pairs(path)
    assert read.table["pair_id"].tolist() == ["0", "3"]
    assert read.table["sent_more"].tolist() == ["A, b", "F"]
    assert read.rejects["code"].tolist() == ["inconsistent", "not_allowed"]

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.models.toxicity_terms import ToxicTerms
from rlhf_fair.probes.generation_scores import add_scores
from rlhf_fair.probes.generations import generation_records, read_generations
from rlhf_fair.probes.honest import honest_measured, honest_scoring, load_honest, load_hurtlex
from rlhf_fair.probes.measured import Measured

DATA = Path(__file__).parents[3] / "shared/data/honest"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="data set not at hand: ../shared/data/honest")

LEXICON = ToxicTerms({"fool": 1.0, "good for nothing": 1.0}, name="own")
HEADER = "template_masked\traw\tidentity\tnumber\tcategory\ttype\n"
HURT, FINE = "a fool.", "a clerk."


def written(folder: Path, identities: dict[str, list[str]], n_templates: int) -> Path:
    """Templates "the X n [M]." for every identity of every category."""
    (folder / "binary").mkdir()
    rows = [
        f"{identity} t{n} [M].\t[I] t{n} [M]\t{identity}\tsingular\t{category}\toccupation"
        for category, names in identities.items()
        for identity in names
        for n in range(n_templates)
    ]
    (folder / "binary/en_template.tsv").write_text(HEADER + "\n".join(rows) + "\n")
    return folder


@pytest.fixture
def items(tmp_path: Path) -> pd.DataFrame:
    return load_honest(written(tmp_path, {"female": ["she", "her"], "male": ["he", "him"]}, 5), "binary").table


def scores(items: pd.DataFrame, answers: list[str | None], n_samples: int = 1) -> list[Measured]:
    return honest_measured(add_scores(generation_records(items, answers, n_samples), honest_scoring(LEXICON)), "male")


def value(measured: list[Measured], metric: str, group: str) -> float:
    (found,) = [one for one in measured if (one.metric, one.group) == (metric, group)]
    return found.estimate.estimate


@needs_data
def test_upstreams_counts() -> None:
    binary, queer = load_honest(DATA, "binary"), load_honest(DATA, "queer_nonqueer")
    assert (len(binary.table), len(queer.table)) == (810, 705)
    assert binary.rejects.empty
    assert queer.rejects.empty
    assert binary.table["category"].value_counts().to_dict() == {"female": 405, "male": 405}
    assert not binary.table["prompt"].str.contains(r"\[M\]").any()


@needs_data
def test_what_the_limit_says_of_the_english_binary_set() -> None:
    table = load_honest(DATA, "binary").table
    assert table.drop(columns="item_id").duplicated().sum() == 42
    both = table.groupby("identity")["category"].nunique()
    assert sorted(both[both > 1].index) == ["the child", "the young", "the youngs"]


def test_hurtful_completions_by_all_completions(items: pd.DataFrame) -> None:
    # N = 20 templates, K = 2: 40 completions. Hurtful: 3 of the 20 female ones, 1 of the 20 male ones
    answers: list[str | None] = [FINE] * 40
    for place in (0, 1, 9, 21):
        answers[place] = HURT
    measured = scores(items, answers, 2)
    assert value(measured, "honest_score", "all") == pytest.approx(4 / 40)
    assert value(measured, "honest_score", "female") == pytest.approx(3 / 20)
    assert value(measured, "honest_score", "male") == pytest.approx(1 / 20)
    assert value(measured, "honest_gap", "female") == pytest.approx(2 / 20)
    assert {one.variant for one in measured} == {"own, first sentence, refusals scored"}


@pytest.mark.parametrize(
    ("completion", "hurtful"),
    [
        ("fool", 1),
        ("A FOOL", 1),
        ("a clerk and a fool", 1),  # completions of several words count wherever the word stands
        ("a good  for nothing!", 1),  # and so do entries of several words
        ("good", 0),
        ("foolproof", 0),
        ("a clerk. What a fool.", 0),  # the second sentence is no completion of the template
    ],
)
def test_what_counts_as_hurtful(items: pd.DataFrame, completion: str, hurtful: int) -> None:
    assert value(scores(items, [completion] * 20), "honest_score", "all") == hurtful


def test_one_word_first_does_not_decide_how_others_are_read(items: pd.DataFrame) -> None:
    answers: list[str | None] = ["clerk", *["a real fool"] * 19]
    assert value(scores(items, answers), "honest_score", "all") == pytest.approx(19 / 20)


def test_missing_completions_leave_the_denominator_and_refusals_stay(items: pd.DataFrame) -> None:
    answers: list[str | None] = [HURT, None, "I'm sorry, but I cannot help with that.", *[FINE] * 17]
    measured = scores(items, answers)
    assert value(measured, "honest_score", "all") == pytest.approx(1 / 19)
    overall = measured[0]
    assert overall.estimate.n_left_out == 1
    assert overall.refusal_rate == pytest.approx(1 / 19)


def test_clusters_are_templates_and_identities_unless_there_is_one_identity(tmp_path: Path) -> None:
    several = load_honest(written(tmp_path, {"queer": ["a"], "nonqueer": ["b", "c", "d"]}, 6), "binary").table
    answers = [HURT if place % 5 == 0 else FINE for place in range(len(several))]
    measured = honest_measured(add_scores(generation_records(several, answers), honest_scoring(LEXICON)), "nonqueer")
    clusters = {(one.metric, one.group): one.estimate.n_clusters for one in measured}
    assert clusters[("honest_score", "nonqueer")] == 3  # the smaller of 6 templates and 3 identities
    assert clusters[("honest_score", "queer")] == 6
    assert clusters[("honest_gap", "queer")] == 6


def test_no_hurtful_completion_has_an_upper_limit(items: pd.DataFrame) -> None:
    measured = scores(items, [FINE] * 20)[0]
    assert measured.estimate.estimate == 0
    assert 0 < measured.estimate.ci_high < 1


def test_one_category_has_scores_and_no_gap(items: pd.DataFrame) -> None:
    female = items[items["category"] == "female"]
    records = add_scores(generation_records(female, [FINE] * len(female)), honest_scoring(LEXICON))
    assert [(one.metric, one.group) for one in honest_measured(records)] == [
        ("honest_score", "all"),
        ("honest_score", "female"),
    ]


def test_a_prediction_file(items: pd.DataFrame) -> None:
    table = pd.DataFrame({"item_id": items["item_id"][:10], "text": [HURT, *[FINE] * 9]})
    records = add_scores(read_generations(items, table).table, honest_scoring(LEXICON))
    overall = honest_measured(records)[0].estimate
    assert (overall.estimate, overall.n, overall.n_left_out) == (pytest.approx(1 / 10), 10, 10)


def test_hurtlex_by_level_and_category(tmp_path: Path) -> None:
    path = tmp_path / "hurtlex_EN.tsv"
    path.write_text(
        "id\tpos\tcategory\tstereotype\tlemma\tlevel\n"
        "1\tn\tan\tno\tape\tconservative\n"
        "2\tn\tcds\tno\tcomplete fool\tconservative\n"
        "3\tn\tcds\tno\tsod\tinclusive\n"
    )
    texts = ["ape", "a complete fool", "sod"]
    assert load_hurtlex(path).score(texts).tolist() == [1, 1, 0]
    chosen = load_hurtlex(path, categories=["cds"])
    assert (chosen.name, chosen.score(texts).tolist()) == ("hurtlex conservative cds", [0, 1, 0])
    with pytest.raises(SettingsError, match="HurtLex has no level 'strict'"):
        load_hurtlex(path, level="strict")


def test_faults_of_the_user(tmp_path: Path, items: pd.DataFrame) -> None:
    with pytest.raises(SettingsError, match="subset is 'all'"):
        load_honest(tmp_path, "all")  # type: ignore[arg-type]
    with pytest.raises(MissingFileError, match="HONEST"):
        load_honest(tmp_path, "queer_nonqueer")
    with pytest.raises(SettingsError, match="no group 'x'"):
        honest_measured(generation_records(items, [FINE] * 20), "x")

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from upstream import DATA, needs

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.requests import Likelihood
from rlhf_fair.probes.measured import Measured
from rlhf_fair.probes.winogender import (
    gotcha_gap,
    load_winogender,
    paired_disagreement,
    pronoun_gaps,
    read_winogender_predictions,
    winogender_measured,
    winogender_records,
    winogender_requests,
)
from rlhf_fair.stats.correlation import correlation_estimate

SHARES = {"nurse": 90.0, "clerk": 70.0, "miner": 5.0, "baker": 50.0}


@pytest.fixture
def items(tmp_path: Path) -> pd.DataFrame:
    """Four occupations, two templates each, three genders, no "someone": 24 sentences in upstream's layout."""
    templates, sentences = ["occupation(0)\tother-participant(1)\tanswer\tsentence"], ["sentid\tsentence"]
    for name in SHARES:
        for code in "01":
            templates.append(f"{name}\tguest\t{code}\tThe $OCCUPATION met the $PARTICIPANT as $NOM_PRONOUN left.")
            for gender, word in (("female", "she"), ("male", "he"), ("neutral", "they")):
                sentences.append(f"{name}.guest.{code}.{gender}.txt\tThe {name} met the guest as {word} left.")
    shares = [f"{name}\t0\t{share}\t2015" for name, share in SHARES.items()]
    write(tmp_path, "templates.tsv", templates)
    write(tmp_path, "all_sentences.tsv", sentences)
    write(tmp_path, "occupations-stats.tsv", ["occupation\tbergsma_pct_female\tbls_pct_female\tbls_year", *shares])
    read = load_winogender(tmp_path)
    assert not len(read.rejects)
    return read.table


def write(folder: Path, name: str, lines: list[str]) -> None:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def choose(items: pd.DataFrame, taken_for_occupation: pd.Series) -> pd.DataFrame:
    choice = np.where(taken_for_occupation, "occupation", "participant")
    return read_winogender_predictions(items, pd.DataFrame({"item_id": items["item_id"], "choice": choice}))


def find(measured: list[Measured], metric: str, group: str, variant: str = "") -> Measured:
    (one,) = [m for m in measured if (m.metric, m.group) == (metric, group) and m.variant in ("", variant)]
    return one


@needs("winogender")
def test_upstream_counts() -> None:
    read = load_winogender(DATA / "winogender")
    table = read.table
    assert (len(table), len(read.rejects)) == (720, 0)
    assert table["gender"].value_counts().to_dict() == {"female": 240, "male": 240, "neutral": 240}
    assert table["occupation"].nunique() == 60
    assert (table["participant"] == "someone").sum() == 360
    assert table["answer"].value_counts().to_dict() == {"occupation": 360, "participant": 360}
    assert len({request.id for request in winogender_requests(table)}) == 1440
    # half of the gendered sentences are gotchas: each occupation has one template for either answer
    records = winogender_records(table, [None] * 1440)
    assert records["gotcha"].value_counts(dropna=False).to_dict() == {True: 240, False: 240, None: 240}


@needs("winogender")
def test_the_papers_correlation_of_its_two_gender_statistics() -> None:
    # figure 3 of Rudinger et al. 2018: Pearson's r of the shares in text and in the labour force is .67
    shares = pd.read_csv(DATA / "winogender" / "occupations-stats.tsv", sep="\t")
    e = correlation_estimate(shares["bergsma_pct_female"], shares["bls_pct_female"])
    assert round(e.estimate, 2) == 0.67
    assert e.n == 60


def test_a_stereotyping_system_by_hand(items: pd.DataFrame) -> None:
    # "she" is the occupation where it is mostly female (nurse, clerk, baker at 50 %), "he" where it is not (miner),
    # "they" always the occupation
    mostly_female = items["percent_female"] >= 50
    taken = np.where(items["gender"] == "neutral", True, (items["gender"] == "female") == mostly_female)
    records = choose(items, pd.Series(taken))
    # every gotcha is wrong, every other sentence is right
    assert gotcha_gap(records).estimate == pytest.approx(1)
    assert gotcha_gap(records, answer="occupation").estimate == pytest.approx(1)
    # he and she never agree
    assert paired_disagreement(records, "female", "male").estimate == pytest.approx(1)
    # they and he: alike for the miner alone, 1 occupation of 4
    assert paired_disagreement(records, "neutral", "male").estimate == pytest.approx(3 / 4)
    gaps = pronoun_gaps(records)
    assert gaps["gap"].to_dict() == {"baker": 1, "clerk": 1, "miner": -1, "nurse": 1}
    # r of (1, 1, −1, 1) with (50, 70, 5, 90), written out: deviations .5 .5 −1.5 .5 and −3.75 16.25 −48.75 36.25:
    # Σxy = 97.5, Σxx = 3, Σyy = 3968.75: 97.5 / sqrt(11906.25) = .8935
    measured = winogender_measured(records)
    correlation = find(measured, "pronoun_gap_correlation", "female", "choices")
    assert correlation.estimate.estimate == pytest.approx(0.8935, abs=1e-4)
    assert find(measured, "accuracy", "female").estimate.estimate == pytest.approx(0.5)
    assert find(measured, "accuracy", "neutral").estimate.n_clusters == 4
    assert [m.variant for m in measured if m.metric == "gotcha_gap"] == ["all_sentences", "occupation_is_meant"]


def test_gotchas_as_in_table_2(items: pd.DataFrame) -> None:
    # For a female pronoun: occupation meant and < 50 % female, or >= 50 % female and participant meant; for a male one
    # the other way round.
    records = choose(items, pd.Series(True, index=items.index)).set_index("item_id")["gotcha"]
    assert records["miner.guest.0.female.txt"]
    assert not records["miner.guest.1.female.txt"]
    assert records["baker.guest.1.female.txt"]
    assert records["nurse.guest.0.male.txt"]
    assert not records["nurse.guest.1.male.txt"]
    assert records["nurse.guest.0.neutral.txt"] is None


def test_a_system_blind_to_gender_has_no_gap(items: pd.DataFrame) -> None:
    # right about participants of nurses, wrong about all else: bad, but not about gender
    taken = ~((items["answer"] == "participant") & (items["occupation"] == "nurse"))
    measured = winogender_measured(choose(items, taken))
    assert find(measured, "paired_disagreement", "female").estimate.estimate == 0
    assert find(measured, "gotcha_gap", "not_gotcha", "all_sentences").estimate.estimate == pytest.approx(0)
    correlation = find(measured, "pronoun_gap_correlation", "female", "choices").estimate
    assert np.isnan(correlation.estimate)
    assert "no occupation has a gap" in correlation.reason


def test_likelihoods_give_a_finer_gap(items: pd.DataFrame) -> None:
    # the occupation's log odds with "she" rise by .02 for each percentage point of women, and are 0 else
    she = items["gender"] == "female"
    first = np.where(she, 0.02 * items["percent_female"], 0.0) - 5
    answers = [Likelihood(x, 2) for pair in zip(first, np.full(len(items), -5.0), strict=True) for x in pair]
    records = winogender_records(items, answers)
    gaps = pronoun_gaps(records, "log_odds")
    assert gaps["gap"].to_dict() == pytest.approx({"baker": 1.0, "clerk": 1.4, "miner": 0.1, "nurse": 1.8})
    measured = winogender_measured(records)
    assert find(measured, "pronoun_gap_correlation", "female", "log_odds").estimate.estimate == pytest.approx(1)
    # "he" is a tie: half a disagreement with "she"
    assert find(measured, "paired_disagreement", "female").estimate.estimate == pytest.approx(0.5)
    with pytest.raises(SettingsError, match="allowed: 'value', 'log_odds'"):
        pronoun_gaps(records, "correct")


def test_missing_and_refused_answers_are_counted(items: pd.DataFrame) -> None:
    table = pd.DataFrame({"item_id": items["item_id"], "choice": "occupation", "refused": "no"})
    table.loc[0, "refused"] = "yes"
    table.loc[1, "choice"] = "the nurse"
    records = read_winogender_predictions(items, table[:20])
    measured = winogender_measured(records)
    assert measured[0].parse_rate == pytest.approx(18 / 24)
    assert measured[0].refusal_rate == pytest.approx(1 / 24)
    # nurse.0 lost "she" and "he"; of the last four sentences one has "she" and one "he" of the same template
    pairs = find(measured, "paired_disagreement", "female").estimate
    assert (pairs.n, pairs.n_left_out) == (6, 2)


def test_a_sentence_of_no_template_is_rejected(tmp_path: Path, items: pd.DataFrame) -> None:
    path = tmp_path / "all_sentences.tsv"
    path.write_text(path.read_text() + "pilot.guest.0.male.txt\tThe pilot met the guest as he left.\nnonsense\tNo.\n")
    read = load_winogender(tmp_path)
    assert (len(read.table), len(read.rejects)) == (24, 2)


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_a_planted_stereotype_is_recovered(bias: float) -> None:
    # 60 occupations; how often "she" is taken for one rises with its share of women, by `bias`
    draw = np.random.default_rng(5)
    shares = draw.uniform(0, 100, 60)
    rows = [
        {
            "item_id": f"o{o}.p{k}.{gender}",
            "occupation": f"o{o}",
            "participant": f"p{k}",
            "answer": "occupation",
            "gender": gender,
            "percent_female": shares[o],
        }
        for o in range(60)
        for k in range(4)
        for gender in ("female", "male")
    ]
    items = pd.DataFrame(rows)
    tilt = np.where(items["gender"] == "female", 1, -1) * bias * (items["percent_female"] / 100 - 0.5)
    records = choose(items, pd.Series(draw.random(len(items)) < 0.5 + tilt))
    measured = winogender_measured(records)
    gap = find(measured, "gotcha_gap", "not_gotcha", "all_sentences").estimate
    correlation = find(measured, "pronoun_gap_correlation", "female", "choices").estimate
    # shares are uniform: a stereotyped answer has probability .5 + bias / 4, its opposite .5 − bias / 4
    assert gap.ci_low < bias / 2 < gap.ci_high
    assert (correlation.p_value < 0.001) == (bias > 0)
    assert gap.n_clusters == 60

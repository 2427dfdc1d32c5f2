"""MACE and GLAD: planted spammers and difficulty are found, restarts differ, an absent package is one clear error."""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.annotators.aggregation_rules import LATENT_CLASS, RuleInputs, aggregate, default_rules
from rlhf_fair.annotators.crowd_models import glad, mace, mace_log_likelihood
from rlhf_fair.cli.feedback import app
from rlhf_fair.errors import RowError, SettingsError

crowd = pytest.importorskip("crowdkit", reason="crowd-kit is not installed: pip install 'rlhf-fair[crowd]'")


@pytest.fixture
def two_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule with fewer restarts: their number is tested apart."""
    monkeypatch.setitem(LATENT_CLASS, "mace", lambda t: mace(t, restarts=2, iterations=20))


def spammed(rng: np.random.Generator, items: int = 150) -> tuple[pd.DataFrame, np.ndarray]:
    """Of 9 raters of every item 4 are right nine times of ten, and 5 answer by a habit of their own: mostly a."""
    truth = rng.choice(["a", "b"], items)
    other = {"a": "b", "b": "a"}
    rows = [
        (
            i,
            f"r{k}",
            (t if rng.random() < 0.9 else other[t]) if k < 4 else str(rng.choice(["a", "b"], p=[0.85, 0.15])),
        )
        for i, t in enumerate(truth)
        for k in range(9)
    ]
    return pd.DataFrame(rows, columns=["item", "rater", "answer"]), truth


def test_mace_finds_planted_spammers_and_beats_the_majority() -> None:
    table, truth = spammed(np.random.default_rng(0))
    fit = mace(table, restarts=3)
    majority = table.groupby("item")["answer"].agg(lambda answers: answers.mode()[0])
    accuracy = float((fit.posterior.idxmax(axis=1).reindex(range(150)) == truth).mean())
    assert float((majority == truth).mean()) < 0.75  # 5 of 9 lean to a: most items of b are lost
    assert accuracy > 0.95  # of four raters right in .9, at most one errs in .95 of items
    assert fit.competence[[f"r{k}" for k in range(4)]].min() > 0.6 > 0.3 > fit.competence[["r4", "r5", "r6"]].max()
    np.testing.assert_allclose(fit.posterior.sum(axis=1), 1)
    assert np.isfinite(fit.competence).all()


def test_order_of_rows_and_names_of_raters_do_not_matter() -> None:
    table, truth = spammed(np.random.default_rng(5), items=60)
    for order in (table, table.iloc[::-1], table.sample(frac=1, random_state=0)):
        named = order.assign(rater=order["rater"].map({f"r{k}": f"q{(7 * k) % 9}" for k in range(9)}))
        fit = mace(named, restarts=2)
        assert float((fit.posterior.idxmax(axis=1).reindex(range(60)) == truth).mean()) > 0.9


def test_whether_the_models_came_to_rest() -> None:
    table, _ = spammed(np.random.default_rng(5), items=20)
    assert not mace(table, restarts=1, iterations=2).converged  # 16 rounds at most
    settled, longer = mace(table, restarts=1), mace(table, restarts=1, iterations=200)
    assert settled.converged
    assert (settled.posterior - longer.posterior).abs().to_numpy().max() < 0.01
    assert not glad(table, iterations=1).converged
    assert glad(table).converged


def test_restarts_differ_the_best_is_kept_and_the_seed_decides() -> None:
    table, _ = spammed(np.random.default_rng(1), items=30)
    fit = mace(table, restarts=4, iterations=3)
    assert len(set(fit.restarts)) == 4
    assert fit.log_likelihood == max(fit.restarts)
    pd.testing.assert_frame_equal(mace(table, restarts=4, iterations=3).posterior, fit.posterior)
    assert mace(table, restarts=4, iterations=3, seed=1).restarts != fit.restarts


def test_mace_likelihood_is_the_sum_over_everything_that_may_have_happened() -> None:
    # two raters, two items, every combination of truth and of who knew it
    table = pd.DataFrame({"task": ["x", "x", "y"], "worker": ["p", "q", "p"], "label": ["a", "b", "b"]})
    spamming, habits = np.array([[0.3, 0.7], [0.6, 0.4]]), np.array([[0.2, 0.8], [0.5, 0.5]])

    def chance(answers: list[tuple[int, int]]) -> float:
        total = 0.0
        for truth in (0, 1):
            for knows in product((0, 1), repeat=len(answers)):
                p = 0.5
                for (rater, answer), known in zip(answers, knows, strict=True):
                    p *= spamming[rater, known] * (float(answer == truth) if known else habits[rater, answer])
                total += p
        return total

    by_hand = np.log(chance([(0, 0), (1, 1)])) + np.log(chance([(0, 1)]))
    assert mace_log_likelihood(table, spamming, habits) == pytest.approx(by_hand)


def test_glad_finds_planted_difficulty_and_ability() -> None:
    rng = np.random.default_rng(2)
    ability, easy = np.array([3.0, 2.0, 2.0, 1.0, 1.0, 0.0]), np.arange(60) < 30
    rows = []
    for i in range(60):
        truth = "ab"[i % 2]
        right = rng.random(6) < 1 / (1 + np.exp(-ability * (3.0 if easy[i] else 0.15)))
        rows += [(i, f"r{k}", truth if right[k] else {"a": "b", "b": "a"}[truth]) for k in range(6)]
    fit = glad(pd.DataFrame(rows, columns=["item", "rater", "answer"]), iterations=10)
    easiness = fit.easiness.reindex(range(60))
    assert easiness[easy].mean() > easiness[~easy].mean() + 0.3
    assert fit.ability["r0"] > fit.ability["r5"] + 0.5
    assert np.isfinite(fit.ability).all()
    assert np.isfinite(fit.easiness).all()
    np.testing.assert_allclose(fit.posterior.sum(axis=1), 1)


@pytest.mark.usefixtures("two_starts")
@pytest.mark.parametrize("rule", ["mace", "glad"])
def test_as_rules_for_pairs_and_ratings(rule: str) -> None:
    rng = np.random.default_rng(3)
    ids = {"item_id": np.repeat([f"i{k}" for k in range(12)], 4), "annotator_id": np.tile(list("pqrs"), 12)}
    high = np.repeat(np.arange(12) % 2 == 0, 4) ^ (rng.random(48) < 0.1)
    pairs = pd.DataFrame({**ids, "kind": "pair", "choice": np.where(high, "a", "b")})
    ratings = pd.DataFrame({**ids, "kind": "rating", "value": np.where(high, 10.0, 2.0)})  # 10 sorts before 2 as text
    p_a, value = aggregate(pairs, rule, RuleInputs())["p_a"], aggregate(ratings, rule, RuleInputs())["value"]
    assert (p_a > 0.5).tolist() == [True, False] * 6
    assert value.tolist() == [10.0, 2.0] * 6
    assert rule not in default_rules()


@pytest.mark.parametrize("model", [mace, glad])
def test_everybody_of_one_mind_and_faults(model: object) -> None:
    assert callable(model)
    same = pd.DataFrame({"item": ["x", "x", "y"], "rater": ["p", "q", "p"], "answer": "a"})
    assert model(same).posterior["a"].tolist() == [1, 1]
    with pytest.raises(RowError, match="3 answers; needed: at least one, and no missing"):
        model(same.assign(answer=["a", None, "b"]))
    with pytest.raises(SettingsError, match="iterations 0"):
        model(same, iterations=0)


def write_feedback(folder: Path) -> None:
    table, _ = spammed(np.random.default_rng(4), items=20)
    table = table.rename(columns={"item": "item_id", "rater": "annotator_id", "answer": "choice"}).assign(kind="pair")
    table.to_csv(folder / "f.csv", index=False)
    pd.DataFrame({"annotator_id": [f"r{k}" for k in range(9)], "attr.gender": ["woman"] * 4 + ["man"] * 5}).to_csv(
        folder / "panel.csv", index=False
    )


def run(folder: Path, command: str) -> str:
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in command.split()]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.usefixtures("two_starts")
def test_commands_take_the_rules_where_they_are_named(tmp_path: Path) -> None:
    write_feedback(tmp_path)
    summary = json.loads(run(tmp_path, "aggregate @f.csv --rule mace --out @out.csv --json"))
    assert summary["pair_items"] == 20
    assert pd.read_csv(tmp_path / "out.csv").columns.tolist() == [
        *["item_id", "p_a", "n", "confidence", "converged", "kind"]
    ]
    common = "flips @f.csv --panel @panel.csv --by gender --lots 0 --out @flips --json"
    named = json.loads(run(tmp_path, f"{common} --rule mace --rule glad"))
    assert {row["rule"] for row in named["rules"]} == {"majority", "mace", "glad"}
    assert "mace" not in {row["rule"] for row in json.loads(run(tmp_path, common))["rules"]}


def test_an_absent_package_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_feedback(tmp_path)
    monkeypatch.setitem(sys.modules, "crowdkit", None)
    with pytest.raises(SettingsError, match=r"GLAD needs crowd-kit, which is not installed.*rlhf-fair\[crowd\]"):
        run(tmp_path, "aggregate @f.csv --rule glad --out @out.csv")

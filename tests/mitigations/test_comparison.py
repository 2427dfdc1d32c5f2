"""The whole comparison: every method runs, is measured on the same prompts, and is found again."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from mitigations.conftest import Finished
from rlhf_fair.artifacts import read_json
from rlhf_fair.demo.hiring import prompt_table
from rlhf_fair.demo.names import names
from rlhf_fair.demo.world import sample_prompts
from rlhf_fair.errors import SettingsError
from rlhf_fair.mitigations import measures as m
from rlhf_fair.mitigations.balanced_sft import read_demonstrations
from rlhf_fair.mitigations.best_of_n import less_penalty, rewarded
from rlhf_fair.mitigations.comparison import compare
from rlhf_fair.mitigations.files import comparison_content
from rlhf_fair.mitigations.policy_optimisation import shaper
from rlhf_fair.mitigations.registry import METHODS, chosen
from rlhf_fair.mitigations.reward_models import WorstGroupReward, rater_group_pairs, twin_texts
from rlhf_fair.mitigations.rules import without_words
from rlhf_fair.mitigations.settings import DPO, OPTIONS_OF, MitigationSettings
from rlhf_fair.pipeline import run_pipeline
from rlhf_fair.tables import read_table

TRAINED = [name for name in METHODS if name not in ("sft", "blocked-words", "response-filter", "best-of-n")]


def test_every_method_is_measured_by_everything(finished: Finished) -> None:
    results = finished.comparison.results
    assert set(results["method"]) == set(METHODS)
    for method, part in results.groupby("method"):
        own = {m.GAP, m.UTILITY, m.REWARD, m.OTHER_REWARD, m.LOWEST_CHANGE, m.REFUSALS, m.WORDS, m.TRAINING_CPU}
        assert own <= set(part["measure"]), method
        assert (set(m.PAIRED) <= set(part["measure"])) is (method not in ("sft", "plain-ppo"))
        assert set(part.loc[part["measure"] == m.GAP, "attribute"]) == {"gender", "ethnicity", "gender × ethnicity"}
    missing = results[results["estimate"].isna()]
    assert (missing["reason"] != "").all()


def test_all_answer_the_same_held_out_prompts(finished: Finished) -> None:
    held_out = {name.text for name in names("held_out")}
    asked = [finished.records(name) for name in METHODS]
    assert all(table["prompt_id"].equals(asked[0]["prompt_id"]) for table in asked)
    assert set(asked[0]["name"]) == held_out
    assert not held_out & set(finished.kit.roster.group_of)


def test_a_gap_is_the_difference_of_means_in_the_records(finished: Finished) -> None:
    rows = finished.records("fair-ppo")
    means = rows.groupby("ethnicity")["score"].mean()
    by_hand = means["White"] - means.drop("White").mean()
    found = finished.comparison.results.query("method == 'fair-ppo' and measure == 'gap' and attribute == 'ethnicity'")
    assert found["estimate"].item() == pytest.approx(by_hand)
    moved = finished.comparison.groups.query("method == 'fair-ppo'").set_index("group")
    cell = rows[(rows["gender"] == "woman") & (rows["ethnicity"] == "Asian")]["utility"]
    assert moved.loc["woman & Asian", "utility"] == pytest.approx(cell.mean())
    assert moved["n"].sum() == len(rows)


def test_plain_ppo_is_the_pipelines(finished: Finished) -> None:
    kit = finished.kit
    trained = run_pipeline(kit.world, kit.pipeline, kit.stages, progress=kit.progress)
    folder = next(policy.folder for policy in trained.policies if policy.name == "ppo-diverse")
    theirs, own = (load_file(path / "model.safetensors") for path in (folder, finished.out / "seed-0/method-plain-ppo"))
    assert theirs.keys() == own.keys()
    assert all(np.array_equal(theirs[name], own[name]) for name in own)


@pytest.mark.parametrize("method", TRAINED)
def test_what_is_learnt_is_kept_with_its_cost(finished: Finished, method: str) -> None:
    folder = finished.out / "seed-0" / f"method-{method}"
    assert read_json(folder / "cost.json", "cost")["cpu_seconds"] > 0
    if method != "best-of-n-fair":
        weights = load_file(folder / "model.safetensors")
        before = load_file(finished.kit.made.sft / "model.safetensors")
        assert any(not np.array_equal(weights[name], before[name]) for name in weights)


def test_cost_counts_what_a_method_builds_on(finished: Finished) -> None:
    cost = finished.comparison.results.query(f"measure == '{m.TRAINING_CPU}'").set_index("method")["estimate"]
    assert cost["response-filter"] > cost["plain-ppo"]
    assert cost["balanced-sft-ppo"] > cost["balanced-sft"]
    assert cost["sft"] < 0.1


def test_a_finished_comparison_trains_nothing_again(finished: Finished) -> None:
    built: list[str] = []
    again = compare(
        finished.comparison.settings,
        finished.out,
        on_stage=lambda name, ready: None if ready else built.append(name),
    )
    assert built == []
    pd.testing.assert_frame_equal(again.results, finished.comparison.results)


def test_other_settings_in_the_same_folder_are_refused(finished: Finished) -> None:
    other = finished.comparison.settings.model_copy(update={"bias": 0.5})
    with pytest.raises(SettingsError, match="other settings"):
        compare(other, finished.out)


def test_other_options_of_a_method_concern_that_method_alone(finished: Finished) -> None:
    settings = finished.comparison.settings
    other = settings.model_copy(update={"dpo": DPO(beta=0.2)})
    assert set(compare(other.model_copy(update={"methods": ("fair-ppo",)}), finished.out).results["method"])
    with pytest.raises(SettingsError, match=r"method-dpo-balanced was made with other options \(dpo\)"):
        compare(other.model_copy(update={"methods": ("dpo-balanced",)}), finished.out)


def test_every_option_belongs_to_a_method_or_to_all() -> None:
    settings = MitigationSettings()
    alone = {section for method in METHODS for section in settings.options(method)}
    assert set(OPTIONS_OF) <= set(METHODS)
    assert alone | set(settings.shared()) | {"methods", "seeds"} == set(MitigationSettings.model_fields)


def test_some_methods_are_compared_with_sft_and_plain_ppo(finished: Finished) -> None:
    assert [method.name for method in chosen(["fair-ppo"])] == ["sft", "plain-ppo", "fair-ppo"]
    some = compare(finished.comparison.settings.model_copy(update={"methods": ("best-of-n",)}), finished.out)
    assert set(some.results["method"]) == {"sft", "plain-ppo", "best-of-n"}


def test_the_model_learnt_from_balanced_data(finished: Finished) -> None:
    data = read_demonstrations(finished.out / "seed-0" / "method-balanced-sft")
    demonstrations = finished.comparison.settings.pipeline.demonstrations
    assert data["group"].value_counts().to_dict() == dict.fromkeys(finished.kit.roster.groups, demonstrations)


def test_dpo_learnt_from_balanced_pairs(finished: Finished) -> None:
    for method in ("dpo-balanced", "dpo-counterfactual"):
        pairs = read_table(finished.out / "seed-0" / f"method-{method}" / "pairs.parquet")
        assert pairs["group"].value_counts().nunique() == 1


def test_dpo_without_trl_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlhf_fair.mitigations.preference_optimisation.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"rlhf-fair\[trl\]"):
        chosen(["dpo-balanced"])
    assert chosen(["fair-ppo"])


def test_filtered_answers_hold_no_blocked_word(finished: Finished) -> None:
    rules = read_json(finished.out / "seed-0" / "method-response-filter" / "rules.json", "rules")
    assert len(rules["blocked_words"]) >= 1
    assert without_words(rules["blocked_words"])(finished.records("response-filter")["text"].tolist()).all()


def test_the_best_of_n_has_no_lower_reward_than_its_first_candidate(finished: Finished) -> None:
    kit, records = finished.kit, finished.records("best-of-n")
    policy = METHODS["best-of-n"].open(kit, finished.out / "seed-0" / "method-best-of-n")
    candidates = policy.draw(records, seed=finished.comparison.plan.seed)  # type: ignore[attr-defined]
    rewards = np.stack([rewarded(kit)(records, texts) for texts in candidates])
    assert records[f"reward_{kit.settings.panel}"].to_numpy() == pytest.approx(rewards.max(axis=0))


def test_the_fair_choice_pays_the_penalty_and_leaves_the_price_alone(finished: Finished) -> None:
    kit, price = finished.kit, shaper(finished.kit)
    rows = prompt_table(sample_prompts(400, "train", np.random.default_rng(0)))
    kind = " A brilliant candidate. He can plan a budget. I would hire him at once."
    groups = kit.groups(rows)
    high = groups == "man & White"  # one group has it better in everything that the shaper has heard
    price.update(groups.tolist(), np.where(high, 1.0, 0.0) + np.random.default_rng(1).normal(0, 0.1, len(rows)))
    before = json.dumps(price.state_dict())
    worth = less_penalty(kit, price)(rows, [kind] * len(rows)) - rewarded(kit)(rows, [kind] * len(rows))
    assert json.dumps(price.state_dict()) == before
    scores = kit.scorer.score([kind])
    if np.isfinite(scores).all():
        state = price.snapshot()
        by_hand = price.penalties(groups.tolist(), np.repeat(scores, len(rows)), state)
        assert worth == pytest.approx(-by_hand)


def test_rater_groups_judge_by_themselves(finished: Finished) -> None:
    rows, heads = rater_group_pairs(finished.kit)
    assert heads == ("man", "woman")
    folder = finished.kit.made.panels["diverse"]
    feedback, members = (read_table(folder / f"{name}.parquet") for name in ("feedback", "annotators"))
    women = set(members.loc[members["attr.gender"] == "woman", "annotator_id"])
    own = feedback[feedback["annotator_id"].isin(women)]
    by_hand = own["choice"].map({"a": 1.0, "tie": 0.5, "b": 0.0}).groupby(own["item_id"]).mean()
    found = rows[rows["head"] == 1].set_index("item_id")["p_a"]
    assert found.to_dict() == pytest.approx(by_hand.to_dict())


def test_max_min_starts_every_group_at_0(finished: Finished) -> None:
    """On the SFT policy's own answers each head has mean 0, so the worst group's mean is 0 as well."""
    reward = WorstGroupReward(finished.out / "seed-0" / "method-max-min-reward" / "reward")
    items = finished.kit.items
    found = reward(items["prompt"].tolist(), items["response_a"].tolist())
    assert found.mean() == pytest.approx(0.0, abs=1e-6)


def test_twin_texts_differ_in_the_person_alone(finished: Finished) -> None:
    roster = finished.kit.roster
    for own, twin in twin_texts(finished.kit):
        assert roster.group_of[roster.find(own)] != roster.group_of[roster.find(twin)]
        assert own.split("\n")[0].replace(roster.find(own), "") == twin.split("\n")[0].replace(roster.find(twin), "")


def test_two_seeds_are_two_worlds_and_one_table(finished: Finished) -> None:
    settings = finished.comparison.settings.model_copy(update={"methods": ("best-of-n",), "seeds": (0, 1)})
    found = compare(settings, finished.out)
    assert set(found.results["seed"]) == {0, 1}
    rewards = found.results.query(f"method == 'best-of-n' and measure == '{m.REWARD}'")["estimate"]
    assert rewards.nunique() == 2
    row = found.summary.query(f"method == 'best-of-n' and measure == '{m.REWARD}'").iloc[0]
    assert (row["estimate"], row["seeds"]) == (pytest.approx(rewards.mean()), 2)
    assert "over seeds" in comparison_content(found)["sensitivity"]

"""Rounds: two of them end to end, which alarms ring and how often falsely, and whom the selection must not forget."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import stats
from tiny import tiny_llama, tiny_tokenizer
from typer.testing import CliRunner

from rlhf_fair.artifacts import read_results
from rlhf_fair.audit.plan import PLAN_NAME, find_plan
from rlhf_fair.cli.app import app
from rlhf_fair.cli.pipeline import read_config
from rlhf_fair.errors import SettingsError
from rlhf_fair.integrity.verify import verify_folder
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.pipeline_stages.feedback import ANNOTATORS_NAME, ITEMS_NAME
from rlhf_fair.records import Estimate, Verdict
from rlhf_fair.rounds.alpha_spending import even, open_ended, spent
from rlhf_fair.rounds.drift import AGREES, KL, LENGTH, LOG_RATIO, REFUSED, SCORE, RoundRecords, Watch, judge_round
from rlhf_fair.rounds.files import DRIFT_NAME, DRIFT_TABLE, ROUNDS_NAME, verdict_of, write_rounds
from rlhf_fair.rounds.run import AllRounds, run_rounds
from rlhf_fair.rounds.selection import select_pairs
from rlhf_fair.rounds.settings import QUICK, DriftLimits, RoundsConfig, RoundSettings, SelectionSettings
from rlhf_fair.tables import read_table

TINY = RoundsConfig(
    pipeline=QUICK["pipeline"],
    rounds=RoundSettings(count=1, selection=SelectionSettings(candidates=48, budget=24, members=4), ageing=0.5),
)


@pytest.fixture(scope="module")
def small_plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped audit with 2 of its 48 scenarios."""
    shipped, folder = find_plan("hiring").parent, tmp_path_factory.mktemp("plan")
    prompts = pd.read_csv(shipped / "prompts.csv")
    prompts[prompts["scenario"].isin(prompts["scenario"].unique()[::24])].to_csv(folder / "prompts.csv", index=False)
    for name in (PLAN_NAME, "favourability.json"):
        (folder / name).write_bytes((shipped / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def finished(small_plan: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AllRounds]:
    """One round, then a second one that is stopped in its reward model, then resumed."""
    out = tmp_path_factory.mktemp("run") / "rounds"
    assert run_rounds(TINY, out, plan_name=small_plan).alarms == ()
    two = TINY.model_copy(update={"rounds": TINY.rounds.model_copy(update={"count": 2})})

    def stop(what: str, done: int, total: int) -> None:
        if what.startswith("reward model"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_rounds(two, out, plan_name=small_plan, progress=stop)
    kept = {path.name for path in (out / "stages").iterdir()}
    assert {"round-2-pairs", "round-2-selection", "round-2-panel"} <= kept
    assert not any("round-2-reward" in name for name in kept), "a half-built stage was left behind"
    reused: list[str] = []
    found = run_rounds(
        two, out, plan_name=small_plan, on_stage=lambda name, ready: reused.append(name) if ready else None
    )
    assert {"fair-ppo-diverse", "answers-sft", "round-2-panel"} <= set(reused)
    write_rounds(out, found)
    return out, found


def test_ledger_has_a_block_for_every_round(finished: tuple[Path, AllRounds]) -> None:
    rows = read_results(finished[0]).ledger
    later = [row for row in rows if row.stage.endswith("round_2")]
    assert {(row.stage, row.attribute) for row in later} == {
        (stage, attribute)
        for stage in ("reward_model_round_2", "fair_ppo_round_2")
        for attribute in ("gender", "ethnicity")
    }
    assert {row.change_from for row in later} == {"fair_ppo (diverse)", "reward_model (diverse)"}
    assert {row.stage for row in rows} > {"base", "sft", "reward_model", "ppo", "fair_ppo"}


def test_every_quantity_is_in_both_tables(finished: tuple[Path, AllRounds]) -> None:
    out, found = finished
    rounds, drift = pd.read_csv(out / ROUNDS_NAME), pd.read_csv(out / DRIFT_NAME)
    assert set(rounds["round"]) == {1, 2}
    assert set(drift["since"]) == {1}, "the first round and the one before are the same here"
    assert set(rounds["quantity"]) == set(drift["quantity"])
    assert set(drift["attribute"].dropna()) == {"gender", "ethnicity", "gender × ethnicity"}
    assert DRIFT_TABLE in read_results(out).audit["tables"]
    assert verdict_of(found) in set(Verdict)


def test_levels_and_changes_are_of_the_same_answers(finished: tuple[Path, AllRounds]) -> None:
    out, _ = finished
    rounds, drift = pd.read_csv(out / ROUNDS_NAME), pd.read_csv(out / DRIFT_NAME)
    first, second = (rounds[(rounds["round"] == r) & (rounds["quantity"] == KL)]["estimate"].item() for r in (1, 2))
    assert drift[drift["quantity"] == KL]["change"].item() == pytest.approx(second - first)
    ledger = {(row.stage, row.attribute): row.estimate for row in read_results(out).ledger}
    gaps = rounds[rounds["quantity"] == "gap"].set_index(["round", "attribute"])["estimate"]
    assert gaps[2, "gender"] == pytest.approx(ledger["fair_ppo_round_2", "gender"], nan_ok=True)
    assert gaps[1, "gender"] == pytest.approx(ledger["fair_ppo", "gender"], nan_ok=True)


def test_the_policy_goes_on_from_the_last_one(finished: tuple[Path, AllRounds]) -> None:
    """Two steps move a policy little: it is nearer to where it started than to where SFT is, and priced from SFT."""
    _, found = finished
    runs = {run.name: run for run in found.audited.training.runs}
    later = runs["fair-ppo-round-2"]
    assert later.steps == len(later.curve) == TINY.pipeline.ppo.steps
    assert runs["fair-ppo-diverse"].curve[0]["kl"] == pytest.approx(0, abs=1e-3)  # the first round starts at SFT
    assert abs(later.curve[0]["kl"]) > 1e-3


def test_old_and_new_preferences_are_weighed(finished: tuple[Path, AllRounds]) -> None:
    from rlhf_fair.rounds.loop import Rounds
    from rlhf_fair.stages import Stages

    _, found = finished
    stages = Stages.__new__(Stages)  # preferences read finished folders alone
    maker = Rounds(found.world, TINY.pipeline, TINY.rounds, stages, lambda *_: None)
    table = maker.preferences(found.rounds)
    assert table["weight"].mean() == pytest.approx(1)
    old, new = (table.loc[table["round"] == r, "weight"].unique().item() for r in (1, 2))
    assert old / new == pytest.approx(0.5)
    window = TINY.rounds.model_copy(update={"window": 1})
    latest = Rounds(found.world, TINY.pipeline, window, stages, lambda *_: None).preferences(found.rounds)
    assert set(latest["round"]) == {2}
    assert len(latest) == TINY.rounds.selection.budget


def test_a_panel_planned_anew_draws_from_the_same_people(finished: tuple[Path, AllRounds]) -> None:
    _, found = finished
    pool = found.world.pool(np.random.default_rng((TINY.pipeline.seed, 4))).set_index("annotator_id")
    first, second = (read_table(one.panel / ANNOTATORS_NAME) for one in found.rounds)
    assert set(first["annotator_id"]) != set(second["annotator_id"])
    for members in (first, second):
        theirs = pool.loc[members["annotator_id"], "attr.gender"].tolist()
        assert members["attr.gender"].tolist() == theirs


def test_report_and_manifest_verify(finished: tuple[Path, AllRounds]) -> None:
    out, _ = finished
    assert "Did anything drift between rounds" in (out / "index.html").read_text(encoding="utf-8")
    assert verify_folder(out).files > 10


def test_other_settings_in_the_same_folder_are_refused(finished: tuple[Path, AllRounds], small_plan: Path) -> None:
    other = TINY.model_copy(update={"rounds": TINY.rounds.model_copy(update={"panel": "kept"})})
    with pytest.raises(SettingsError, match="other settings"):
        run_rounds(other, finished[0], plan_name=small_plan)


# Alarms on simulated rounds: nothing is trained.

WATCH = Watch(
    attributes=(("group", "m"),),
    clusters=("name",),
    limits=DriftLimits(gap=0.1, level=0.1),
    unit="points",
    alpha=0.05,
    planned=2,
    scores=(-1.0, 1.0),
    longest=40.0,
)


def simulated(number: int, rng: np.random.Generator, *, gap: float = 0.0, kl: float = 0.0) -> RoundRecords:
    """60 names in 4 prompts each, whose scores share a part by name; changes against the first round are known."""
    names = np.repeat(np.arange(60), 4)
    group = np.where(names % 2 == 0, "m", "w")
    luck = np.repeat(rng.normal(0, 0.05, 60), 4) + rng.normal(0, 0.15, 240)
    head = pd.DataFrame({"prompt_id": [f"p{i}" for i in range(240)], "name": names, "group": group})
    answers = head.assign(
        **{
            SCORE: luck + np.where(group == "m", 0.3 + gap, 0.0),
            REFUSED: 0.0,
            LENGTH: rng.normal(20, 3, 240),
            LOG_RATIO: kl + rng.normal(0, 2, 240),
        }
    )
    pairs = head.rename(columns={"prompt_id": "item_id"}).assign(**{AGREES: (rng.random(240) < 0.7).astype(float)})
    return RoundRecords(number, answers, pairs)


def rings(shift: Callable[[int], dict[str, float]], seed: int, rounds: int = 3) -> set[tuple[int, str]]:
    """(round, quantity) of every alarm of a run whose rounds differ by ``shift(number)``."""
    rng = np.random.default_rng(seed)
    made = [simulated(number, rng, **shift(number)) for number in range(1, rounds + 1)]
    alarms = [alarm for k in range(2, rounds + 1) for alarm in judge_round(made[:k], WATCH)]
    return {(a.change.round, a.change.quantity) for a in alarms if a.verdict == Verdict.EXCEEDS}


def test_a_planted_drift_rings_in_its_round() -> None:
    found = [rings(lambda number: {"gap": 0.35 if number == 3 else 0.0}, seed) for seed in range(10)]
    assert sum((3, "gap") in one for one in found) >= 9
    assert not any((2, "gap") in one for one in found)


def test_small_steps_that_add_up_ring_against_the_first_round() -> None:
    """Each step of 2.5 nats is within the limit of 3, both together are not."""
    rng = np.random.default_rng(0)
    made = [simulated(number, rng, kl=2.5 * (number - 1)) for number in (1, 2, 3)]
    alarms = {(a.change.since, a.change.quantity): a for a in judge_round(made, WATCH)}
    assert alarms[2, KL].verdict != Verdict.EXCEEDS
    assert alarms[1, KL].verdict == Verdict.EXCEEDS


def test_false_alarms_are_rarer_than_alpha_at_the_very_limit() -> None:
    """Truths that lie exactly on their limits are the hardest case: any alarm in any round is then false.

    A rate of 5 % that is held passes with probability .99 (binomial).
    """
    runs, alpha = 60, WATCH.alpha
    shift = {1: {}, 2: {"gap": WATCH.gap_limit(), "kl": WATCH.limits.kl}, 3: {"gap": WATCH.gap_limit(), "kl": 3.0}}
    false = sum(bool(rings(lambda number: shift[number], 1000 + seed)) for seed in range(runs))
    assert false <= stats.binom.ppf(0.99, runs, alpha)


def test_nothing_rings_where_nothing_drifts() -> None:
    assert not any(rings(lambda number: {}, 5000 + seed) for seed in range(15))


def test_no_refusal_anywhere_is_within_and_not_unmeasured() -> None:
    rng = np.random.default_rng(0)
    alarms = {a.change.quantity: a for a in judge_round([simulated(1, rng), simulated(2, rng)], WATCH)}
    found = alarms["refusals"].change.estimate
    assert found.estimate == 0
    assert found.ci_high == pytest.approx(1 - (0.025 / 2) ** (1 / 60))  # Clopper-Pearson at 0 of 60 names, alpha .025
    assert alarms["refusals"].verdict == Verdict.INCONCLUSIVE  # 60 names cannot exclude a share of 2 %


def test_a_score_that_is_missing_everywhere_is_not_measured() -> None:
    rng = np.random.default_rng(0)
    now, then = simulated(2, rng), simulated(1, rng)
    silent = RoundRecords(2, now.answers.assign(**{SCORE: math.nan}), now.old_pairs)
    for alarm in judge_round([then, silent], WATCH):
        if alarm.change.quantity in ("gap", "level"):
            assert alarm.verdict == Verdict.NOT_MEASURED
            assert alarm.reason


def test_relabelling_the_groups_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    made = [simulated(1, rng), simulated(2, rng, gap=0.2)]
    words = {"m": "x", "w": "a"}
    other = [RoundRecords(r.round, r.answers.assign(group=r.answers["group"].map(words)), r.old_pairs) for r in made]
    renamed = Watch(**{**vars(WATCH), "attributes": (("group", "x"),)})
    ours, theirs = (
        next(a for a in judge_round(rounds, watch) if a.change.quantity == "gap")
        for rounds, watch in ((made, WATCH), (other, renamed))
    )
    assert isinstance(ours.change.estimate, Estimate)
    assert ours.change.estimate.estimate == pytest.approx(theirs.change.estimate.estimate)
    assert ours.change.p_value == pytest.approx(theirs.change.p_value)


@pytest.mark.parametrize("rounds", [1, 5, 1000])
def test_spending_never_exceeds_alpha(rounds: int) -> None:
    # sum of 1 / (j (j + 1)) to J telescopes to 1 - 1 / (J + 1)
    assert sum(open_ended(0.05, j) for j in range(1, rounds + 1)) == pytest.approx(0.05 * rounds / (rounds + 1))
    assert rounds * even(0.05, rounds) == pytest.approx(0.05)


def test_an_even_share_is_for_the_planned_rounds_alone() -> None:
    with pytest.raises(SettingsError, match="comparison 3 of 2"):
        spent("even", 0.05, 3, 2)


# Selection


@pytest.fixture(scope="module")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    RewardModel(tiny_llama(num_labels=1, initializer_range=0.3), tiny_tokenizer(), device="cpu").save(folder)
    return folder


def items(n: int, rng: np.random.Generator, *, prefix: str, rare: int) -> pd.DataFrame:
    """``n`` pairs of random words, the last ``rare`` of them about group r."""
    words = np.array(["good", "bad", "nice", "awful", "day", "cat", "dog"])
    said = [[" ".join(rng.choice(words, 5)) for _ in range(n)] for _ in range(3)]
    table = pd.DataFrame({"item_id": [f"{prefix}{i}" for i in range(n)], "prompt": said[0]})
    return table.assign(response_a=said[1], response_b=said[2], group=["c"] * (n - rare) + ["r"] * rare)


@pytest.mark.parametrize("strategy", ["fisher", "disagreement", "random"])
def test_selection_honours_minimums(reward_folder: Path, strategy: str) -> None:
    rng = np.random.default_rng(0)
    settings = SelectionSettings.model_validate(
        {"candidates": 80, "budget": 20, "strategy": strategy, "groups": ("group",), "at_least": ("group=r:6",)}
        | {"members": 4}
        | ({} if strategy == "random" else {"explore": 0.2})
    )
    judged = items(12, rng, prefix="old", rare=0).assign(p_a=rng.random(12))
    chosen = select_pairs(
        items(80, rng, prefix="new", rare=7), judged, reward_folder, settings, rng=rng, progress=lambda *_: None
    )
    assert len(chosen.items) == 20 == chosen.items["item_id"].nunique()
    assert (chosen.items["group"] == "r").sum() >= 6  # 7 of 80 by chance alone: 1.75 expected
    assert set(chosen.items["item_id"]).isdisjoint(judged["item_id"])
    assert chosen.coverage.set_index("group").loc["r", "at_least"] == 6
    assert chosen.account["item_id"].tolist() == chosen.items["item_id"].tolist()


def test_copies_are_judged_once_and_a_short_list_is_taken_whole(reward_folder: Path) -> None:
    rng = np.random.default_rng(0)
    written = items(10, rng, prefix="new", rare=2)
    twice = pd.concat([written, written.assign(item_id=written["item_id"] + "'")], ignore_index=True)
    settings = SelectionSettings(candidates=20, budget=15, strategy="random", groups=(), at_least=())
    judged = items(3, rng, prefix="old", rare=0).assign(p_a=0.5)
    chosen = select_pairs(twice, judged, reward_folder, settings, rng=rng, progress=lambda *_: None)
    assert len(chosen.items) == 10


# Settings and the command


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"budget": 20, "candidates": 10}, "more than the 10 candidates"),
        ({"at_least": ("many",)}, "at-least 'many'"),
        ({"groups": ()}, "at_least needs groups"),
        ({"strategy": "random", "explore": 0.5}, "explore is for"),
    ],
)
def test_settings_that_cannot_hold_are_refused(wrong: dict[str, object], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        SelectionSettings.model_validate(wrong)


def test_the_command_line_stands_over_the_config(tmp_path: Path) -> None:
    file = tmp_path / "rounds.toml"
    file.write_text('bias = 0.5\n[pipeline]\nseed = 3\n[rounds]\ncount = 4\nreference = "last"\n', encoding="utf-8")
    config = read_config(file, None, None, quick=False)
    assert (config.bias, config.pipeline.seed, config.rounds.count) == (0.5, 3, 4)
    other = read_config(file, 2, 7, quick=True)
    assert (other.pipeline.seed, other.rounds.count, other.rounds.reference) == (7, 2, "last")
    assert other.pipeline.documents == QUICK["pipeline"].documents
    assert (
        config.made_of()
        == config.model_copy(
            update={"rounds": config.rounds.model_copy(update={"count": 9, "on_alarm": "stop"})}
        ).made_of()
    )


def test_an_unknown_key_is_one_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "rounds.toml"
    file.write_text("[rounds]\nrouns = 4\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"rounds\.toml.*'rounds\.rouns'.*count"):
        read_config(file, None, None, quick=False)


def test_help_has_an_example() -> None:
    result = CliRunner().invoke(app, ["pipeline", "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "Example: rlhf-fair pipeline" in result.stdout


def test_the_command_resumes_tells_and_exits_by_verdict(
    finished: tuple[Path, AllRounds], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = finished
    monkeypatch.setattr("rlhf_fair.cli.pipeline.read_config", lambda *_, **__: found.config)
    monkeypatch.setattr("rlhf_fair.rounds.run.find_plan", lambda _: found.plan_file)
    result = CliRunner().invoke(app, ["pipeline", "--json", "--out", str(out)])
    told = json.loads(result.stdout)
    assert told["rounds"] == 2
    assert told["stopped_after"] is None
    assert told["verdict"] == verdict_of(found).value
    assert len(told["drift"]) == len(found.alarms)
    assert result.exit_code == {Verdict.WITHIN: 0, Verdict.EXCEEDS: 1, Verdict.INCONCLUSIVE: 3}[verdict_of(found)]
    lines = CliRunner().invoke(app, ["pipeline", "--out", str(out)]).stdout.splitlines()
    assert len([line for line in lines if line.startswith("round 2 since 1: ")]) == len(found.alarms)


def test_items_of_later_rounds_have_ids_of_their_own(finished: tuple[Path, AllRounds]) -> None:
    ids = [set(read_table(one.items / ITEMS_NAME)["item_id"]) for one in finished[1].rounds]
    assert ids[0].isdisjoint(ids[1])

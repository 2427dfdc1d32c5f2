"""Real GRPO and RLOO trainers on the CPU; what TRL does with rewards is looked up in what it logs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

trl = pytest.importorskip("trl", reason="TRL is not installed")

from rlhf_fair.backends.chat_text import answer_text  # noqa: E402
from rlhf_fair.backends.trl_reward import FairReward  # noqa: E402
from rlhf_fair.errors import ColumnError, RlhfFairError, RowError, SettingsError  # noqa: E402
from tests.backends import words  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*deprecated and will be removed in v6:FutureWarning"
)  # TRL's own calls

TRAINERS = {"grpo": (trl.GRPOTrainer, trl.GRPOConfig), "rloo": (trl.RLOOTrainer, trl.RLOOConfig)}


def trainer(
    kind: str, fair: Any, out: Path, *, seed: int = 0, data: Any = None, evaluated: Any = None, **changes: Any
) -> Any:
    make, config = TRAINERS[kind]
    scaling = {"scale_rewards": "none"} if kind == "grpo" else {}
    return make(
        model=words.model(seed),
        reward_funcs=fair,
        args=words.config(config, out, **({"seed": seed} | scaling | changes)),
        train_dataset=words.prompts() if data is None else data,
        eval_dataset=evaluated,
        processing_class=words.tokenizer(),
    )


def fair_reward(**changes: Any) -> FairReward:
    return FairReward(words.biased, scorer=words.favour, shaper=words.shaper(**changes))


def trained_gap(kind: str, seed: int, strength: float, out: Path) -> float:
    """Favour of men less that of women at the end of training, over its last steps."""
    fair = fair_reward(strength=strength)
    running = trainer(kind, fair, out, seed=seed, max_steps=60)
    fair.attach(running)
    running.train()
    state = fair.shaper.snapshot()
    man, woman = (float(state.means[state.groups.index(sex)]) for sex in ("man", "woman"))
    return man - woman


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_the_gap_that_a_biased_reward_teaches_is_small_with_the_penalty(kind: str, tmp_path: Path) -> None:
    """Half of the prompts each: E[r] = D / 2 and the penalty is 8 / 2 * D^2 / 4, so their sum is largest at D = 1/4."""
    plain = statistics.median(trained_gap(kind, seed, 0.0, tmp_path) for seed in (0, 1))
    fair = statistics.median(trained_gap(kind, seed, 8.0, tmp_path) for seed in (0, 1))
    assert plain > 0.8  # on the way to the 2 of a policy that pleases the reward
    assert -0.1 < fair < 0.4


@pytest.mark.parametrize(
    "named", [{"reference": "men"}, {"contrasts": {"gap": {"man": 1.0, "women": -1.0}}}], ids=["reference", "contrasts"]
)
def test_a_group_that_the_training_data_lack_is_refused(named: dict[str, Any], tmp_path: Path) -> None:
    fair = fair_reward(objective="contrast", **named)
    with pytest.raises(
        SettingsError, match=r"'(men|women)' is none of the groups of train_dataset: \['man', 'woman'\]"
    ):
        fair.attach(trainer("grpo", fair, tmp_path))


def one_step(fair: FairReward, out: Path, **changes: Any) -> Any:
    running = trainer("grpo", fair, out, max_steps=1, **changes)
    fair.attach(running)
    running.train()
    return running


def flat(prompts: Sequence[str], **columns: Any) -> list[float]:
    """The same for every answer."""
    return [1.0] * len(prompts)


@pytest.mark.filterwarnings("ignore:scale_rewards = 'group':UserWarning")
def test_scaling_within_prompts_divides_the_strength_out_where_rewards_are_flat(tmp_path: Path) -> None:
    """r' = 1 - k (s - m): the advantage is -sign(k) (s - mean s) / sd s, whatever k; unscaled it grows with k."""
    found = {}
    for scaling in ("group", "none"):
        for strength in (50.0, 5000.0):
            fair = FairReward(flat, scorer=words.favour, shaper=words.shaper(strength=strength))
            running = one_step(fair, tmp_path, scale_rewards=scaling)
            found[scaling, strength] = np.array(running._logs["advantages"])
    assert np.abs(found["none", 50.0]).max() > 0
    assert found["none", 5000.0] == pytest.approx(100 * found["none", 50.0], rel=1e-3, abs=1e-5)
    assert found["group", 5000.0] == pytest.approx(found["group", 50.0], rel=0.02, abs=1e-3)
    assert np.abs(found["group", 5000.0]).max() == pytest.approx(1.5, abs=1e-3)  # one of four differs: .75 / .5


def test_advantages_in_trl_are_those_of_the_shaped_reward(tmp_path: Path) -> None:
    """By hand from what TRL logs: each prompt's four answers, shaped reward less its mean over them."""
    fair = fair_reward(strength=8.0)
    running = one_step(fair, tmp_path)
    state = fair.shaper.snapshot()
    texts = list(running._logs["completion"])
    sexes = ["woman" if prompt.split()[0] in words.NAMES["woman"] else "man" for prompt in running._logs["prompt"]]
    scores = words.favour(texts)
    means = dict(zip(state.groups, state.means.tolist(), strict=True))
    raw = np.array(words.biased(texts, texts, sex=sexes))
    price = np.array([8.0 * (means[sex] - state.overall) for sex in sexes])
    shaped = (raw - price * (scores - np.array([means[sex] for sex in sexes]))).reshape(-1, 4)
    expected = shaped - shaped.mean(axis=1, keepdims=True)
    assert running._logs["advantages"] == pytest.approx(expected.ravel().tolist(), abs=1e-6)
    (row,) = [row for row in running.state.log_history if "fair/gap" in row]
    assert row["fair/gap"] == pytest.approx(state.between_group_sd)
    assert row["fair/unshaped"] == pytest.approx(raw.mean(), abs=1e-6)


def test_chats(tmp_path: Path) -> None:
    """Prompts and answers are lists of messages; the ruler reads what the assistant says."""
    tokenizer = words.tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
    rows = [{"prompt": [{"role": "user", "content": row["prompt"]}], "sex": row["sex"]} for row in words.prompts(2)]
    seen: list[str] = []

    def ruler(texts: Sequence[str]) -> np.ndarray:
        seen.extend(texts)
        return words.favour(texts)

    fair = FairReward(flat, scorer=ruler, shaper=words.shaper())
    config = words.config(trl.GRPOConfig, tmp_path, max_steps=1, scale_rewards="none")
    running = trl.GRPOTrainer(
        words.model(), fair, config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    fair.attach(running)
    running.train()
    assert seen == [completion[0]["content"] for completion in running._logs["completion"]]
    assert fair.shaper.store.read().version == 1


def test_evaluation_moves_no_mean(tmp_path: Path) -> None:
    fair = fair_reward()
    data = words.prompts(2)
    running = trainer("grpo", fair, tmp_path, max_steps=2, eval_strategy="steps", eval_steps=1, evaluated=data)
    fair.attach(running)
    running.train()
    assert fair.shaper.store.read().version == 2  # two steps of training, and not the two evaluations
    before = json.dumps(fair.shaper.state_dict())
    logged = running.evaluate()
    assert json.dumps(fair.shaper.state_dict()) == before
    assert logged["eval_fair/version"] == 2


def test_a_resumed_run_goes_on_with_the_same_statistics(tmp_path: Path) -> None:
    """Six steps at once, and three with three more from the checkpoint: state and curve are equal to the last bit."""
    whole = fair_reward(memory=0.9)
    running = trainer("grpo", whole, tmp_path / "whole", max_steps=6)
    whole.attach(running)
    running.train()
    first = fair_reward(memory=0.9)
    running = trainer("grpo", first, tmp_path / "parts", max_steps=6, save_strategy="steps", save_steps=3)
    first.attach(running)
    running.train()
    rest = fair_reward(memory=0.9)
    resumed = trainer("grpo", rest, tmp_path / "parts", max_steps=6)
    rest.attach(resumed)
    resumed.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-3"))
    assert rest.shaper.state_dict() == whole.shaper.state_dict()
    assert rest.shaper.store.read().version == 6


def test_a_checkpoint_without_statistics_is_told(tmp_path: Path) -> None:
    running = trainer("grpo", flat, tmp_path, max_steps=2, save_strategy="steps", save_steps=1)
    running.train()
    fair = fair_reward()
    resumed = trainer("grpo", fair, tmp_path, max_steps=2)
    fair.attach(resumed)
    with pytest.warns(UserWarning, match="holds no group statistics"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_settings_that_take_the_penalty_apart_are_refused(tmp_path: Path) -> None:
    fair = fair_reward()
    running = trainer("grpo", [fair, flat], tmp_path)
    with pytest.raises(SettingsError, match=r"reward_funcs = \['fair_reward', 'flat'\].*alone"):
        fair.attach(running)
    running = trainer("grpo", fair, tmp_path, multi_objective_aggregation="normalize_then_sum")
    with pytest.raises(SettingsError, match="aggregation = 'normalize_then_sum' brings every reward to unit spread"):
        fair.attach(running)
    running = trainer("rloo", fair, tmp_path, reward_clip_range=(-1.0, 1.0))
    with pytest.raises(SettingsError, match=r"clip range of rewards = \[-1.0, 1.0\] would cut"):
        fair.attach(running)
    running = trainer("grpo", fair, tmp_path, scale_rewards="group")
    with pytest.warns(UserWarning, match="scale_rewards = .group. divides"):
        fair.attach(running)
    with pytest.raises(SettingsError, match="has a trainer already"):
        fair.attach(running)


def test_what_the_user_forgot_is_named(tmp_path: Path) -> None:
    fair = fair_reward()
    with pytest.raises(SettingsError, match=r"call attach\(trainer\)"):
        fair(["p"], ["c"])
    data = Dataset.from_list([{"prompt": "ann is"}] * 16)
    running = trainer("grpo", FairReward(flat, scorer=words.favour, shaper=words.shaper()), tmp_path, data=data)
    running.reward_funcs[0].attach(running)
    with pytest.raises(ColumnError, match="lacks column 'sex'"):
        running.train()
    with pytest.raises(SettingsError, match="2 reward functions, 1 weights"):
        FairReward([flat, flat], scorer=words.favour, shaper=words.shaper(), weights=[1.0])

    async def later(prompts: Any, **columns: Any) -> list[float]:
        return [0.0]

    with pytest.raises(SettingsError, match="later is async"):
        FairReward(later, scorer=words.favour, shaper=words.shaper())


class _Trainer:
    """As much of a trainer as a single call needs."""

    class model:
        training = True


def called(fair: FairReward, **columns: Any) -> tuple[list[float | None], dict[str, float]]:
    fair._trainer = _Trainer()
    logged: dict[str, float] = {}
    n = len(next(iter(columns.values())))
    return fair(["p"] * n, ["good"] * n, [[1]] * n, log_metric=logged.__setitem__, **columns), logged


def test_functions_that_do_not_apply_are_left_out_and_clipping_comes_before_the_penalty() -> None:
    def sometimes(prompts: Any, **columns: Any) -> list[float | None]:
        return [None, 3.0, None]

    def women_only(prompts: Any, **columns: Any) -> list[float | None]:
        return [1.0, 1.0, None]

    fair = FairReward(
        [sometimes, women_only], weights=[2.0, 0.5], clip=(-2.0, 2.0), scorer=words.favour, shaper=words.shaper()
    )
    rewards, logged = called(fair, sex=["woman", "woman", "man"])
    assert rewards == [0.5, 2.0, None]  # 0.5 * 1; 2 * 3 + 0.5 * 1 cut to 2; nothing applies. All scores equal: no gap
    assert logged["fair/unshaped"] == pytest.approx(1.25)
    with pytest.raises(RlhfFairError, match="women_only gave 3 values for 2 completions"):
        called(FairReward(women_only, scorer=words.favour, shaper=words.shaper()), sex=["man", "man"])


def test_unknown_groups_are_counted_and_not_priced() -> None:
    rewards, logged = called(fair_reward(strength=100.0), sex=["woman", None, "man", ""])
    assert logged["fair/unknown"] == 0.5
    assert None not in rewards


def test_chats_are_read_as_what_the_assistant_says() -> None:
    chat = [{"role": "assistant", "content": "good"}, {"role": "tool", "content": "bad"}, {"role": "assistant"}]
    assert answer_text(chat).strip() == "good"
    with pytest.raises(RowError, match="content is a int"):
        answer_text([{"role": "assistant", "content": 3}])

"""Heads, weightings and terms in the trainer: what each of them must do to a model, and that a stop changes nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import WORDS, tiny_bert, tiny_llama, tiny_tokenizer

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.reward_heads import RewardHeads, declare_heads
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.training.reward.counterfactual import CounterfactualConsistency
from rlhf_fair.training.reward.gap_constraint import GapConstraint
from rlhf_fair.training.reward.gradient_reversal import GradientReversal
from rlhf_fair.training.reward.group_dro import GroupDRO
from rlhf_fair.training.reward.ordinal import OrdinalData
from rlhf_fair.training.reward.rating import RatingData
from rlhf_fair.training.reward.scheme import BootstrapHeads, HeadOfRow
from rlhf_fair.training.reward.settings import LoRA, RewardSettings
from rlhf_fair.training.reward.trainer import RewardTask, train_reward_model

SETTINGS = RewardSettings(
    epochs=6, learning_rate=5e-3, batch_size=8, max_length=16, dropout=0.0, seed=3, checkpoint_steps=4
)


def sentences(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(2, 12))) for _ in range(n)]


def good_or_bad(n: int = 64) -> RatingData:
    texts = [f"{'good' if k % 2 else 'bad'} {text}" for k, text in enumerate(sentences(n))]
    return RatingData(texts, np.array([1.0 if k % 2 else -1.0 for k in range(n)]))


def everything(n: int = 40) -> tuple[Any, RewardTask]:
    """A model with three heads and a task that uses every kind of part with a state."""
    data = good_or_bad(n)
    groups = np.arange(n) % 3
    swaps = [(f"woman {text}", f"man {text}") for text in sentences(10, seed=5)]
    task = RewardTask(
        data,
        HeadOfRow(groups, 3),
        GroupDRO(groups, ("x", "y", "z"), None, step_size=0.1),
        (
            CounterfactualConsistency(swaps, strength=0.1, batch_size=4),
            GradientReversal(np.arange(n) % 2, ("one", "other"), strength=0.1, hidden=4),
            GapConstraint({"gender": swaps}, tolerance=0.0, batch_size=4),
        ),
    )
    model = tiny_bert(num_labels=3, hidden_dropout_prob=0.1)
    declare_heads(model.config, RewardHeads(kind="groups", names=("x", "y", "z"), combine="min"))
    return model, task


def test_heads_of_groups_learn_what_their_group_says() -> None:
    data = good_or_bad(80)
    group = (np.arange(80) // 2) % 2
    says = RatingData(data.text, np.where(group == 0, data.target, -data.target))  # the second group sees it reversed
    model = tiny_bert(num_labels=2)
    declare_heads(model.config, RewardHeads(kind="groups", names=("x", "y"), combine="mean"))
    train_reward_model(model, tiny_tokenizer(), RewardTask(says, HeadOfRow(group, 2)), SETTINGS)
    rm = RewardModel(model, tiny_tokenizer())
    new = sentences(20, seed=9)
    gap = rm.outputs([f"good {t}" for t in new]) - rm.outputs([f"bad {t}" for t in new])
    assert (gap[:, 0] > 1).all()
    assert (gap[:, 1] < -1).all()
    assert np.abs(gap.mean(axis=1)).max() < 1  # on average they cancel


def test_ensemble_heads_agree_on_what_was_seen_and_differ_beyond() -> None:
    data = good_or_bad(80)
    model = tiny_bert(num_labels=4)
    declare_heads(model.config, RewardHeads(kind="ensemble", names=("1", "2", "3", "4"), combine="mean"))
    scheme = BootstrapHeads.draw(np.arange(80), 4, np.random.default_rng(0))
    run = train_reward_model(model, tiny_tokenizer(), RewardTask(data, scheme), SETTINGS)
    rm = RewardModel(model, tiny_tokenizer())
    outputs = rm.outputs(data.text)
    assert np.corrcoef(outputs.T).min() > 0.8
    assert rm.heads.uncertainty(outputs).min() > 0
    assert run.curve[-1]["mean_absolute_error"] < 0.5


def test_bootstrap_counts_are_poisson_and_equal_within_a_cluster() -> None:
    clusters = np.repeat(np.arange(2000), 2)
    counts = BootstrapHeads.draw(clusters, 3, np.random.default_rng(0)).counts
    assert np.array_equal(counts[::2], counts[1::2])
    # mean 1 and variance 1 over 6,000 draws: standard errors .013 and .032
    assert counts.mean() == pytest.approx(1, abs=0.05)
    assert counts.var() == pytest.approx(1, abs=0.12)


def test_ordinal_training_orders_texts_and_moves_the_thresholds() -> None:
    texts = [f"{('bad', 'kind', 'good')[k % 3]} {text}" for k, text in enumerate(sentences(90))]
    data = OrdinalData(texts, np.arange(90) % 3, 3)
    before = data.thresholds.detach().clone()
    model = tiny_bert()
    train_reward_model(model, tiny_tokenizer(), data, SETTINGS)
    new = sentences(20, seed=9)
    low, middle, high = (
        RewardModel(model, tiny_tokenizer()).score([f"{w} {t}" for t in new]).mean() for w in ("bad", "kind", "good")
    )
    assert low < middle < high
    assert not torch.equal(data.thresholds.detach(), before)


def test_consistency_makes_the_named_groups_equal_and_keeps_the_skill() -> None:
    """Texts about women are rated worse: that is what a plain model learns, and a consistent one does not."""
    texts = [f"{('woman', 'man')[k % 2]} {('good', 'bad')[k // 2 % 2]} {t}" for k, t in enumerate(sentences(120))]
    target = np.array([(1.0 if k // 2 % 2 == 0 else -1.0) + (0.0 if k % 2 else -1.0) for k in range(120)])
    swaps = [(f"woman {text}", f"man {text}") for text in sentences(40, seed=5)]
    gaps, skills = [], []
    for terms in ((), (CounterfactualConsistency(swaps, strength=3.0, batch_size=8),)):
        model = tiny_bert()
        train_reward_model(model, tiny_tokenizer(), RewardTask(RatingData(texts, target), terms=terms), SETTINGS)
        rm, new = RewardModel(model, tiny_tokenizer()), sentences(30, seed=9)
        gaps.append(float((rm.score([f"woman {t}" for t in new]) - rm.score([f"man {t}" for t in new])).mean()))
        skills.append(
            float((rm.score([f"man good {t}" for t in new]) - rm.score([f"man bad {t}" for t in new])).mean())
        )
    assert gaps[0] < -0.5
    assert abs(gaps[1]) < 0.3 * abs(gaps[0])
    assert skills[1] > 1


def test_micro_batches_change_nothing_but_rounding() -> None:
    weights = []
    for size in (None, 3):
        model = tiny_bert()
        settings = SETTINGS.model_copy(update={"micro_batch_size": size, "epochs": 1})
        train_reward_model(model, tiny_tokenizer(), good_or_bad(), settings)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*weights, atol=2e-4)


@pytest.mark.parametrize("build", [tiny_bert, tiny_llama])
def test_lora_trains_little_and_leaves_a_plain_model(build: Callable[..., Any], tmp_path: Path) -> None:
    model, before = build(), build()
    data = good_or_bad()
    settings = SETTINGS.model_copy(update={"lora": LoRA(rank=4), "epochs": 12})
    train_reward_model(model, tiny_tokenizer(), data, settings, checkpoint=tmp_path / "checkpoint.pt")
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in before.named_parameters()]
    embedding = model.get_input_embeddings().weight
    assert torch.equal(embedding, before.get_input_embeddings().weight)
    rm = RewardModel(model, tiny_tokenizer())
    assert np.corrcoef(rm.score(data.text), data.target)[0, 1] > 0.9
    rm.save(tmp_path / "saved")
    assert RewardModel.load(tmp_path / "saved").score(data.text) == pytest.approx(rm.score(data.text), abs=1e-5)


def test_unknown_lora_targets_are_one_clear_error() -> None:
    settings = SETTINGS.model_copy(update={"lora": LoRA(targets=("nowhere",))})
    with pytest.raises(SettingsError, match=r"training\.lora\.targets = \['nowhere'\]"):
        train_reward_model(tiny_bert(), tiny_tokenizer(), good_or_bad(), settings)


def test_the_curve_reaches_tensorboard(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = SETTINGS.model_copy(update={"epochs": 2, "trackers": ("tensorboard",)})
    run = train_reward_model(
        tiny_bert(), tiny_tokenizer(), good_or_bad(), settings, checkpoint=tmp_path / "checkpoint.pt"
    )
    folders = {path.parent for path in tmp_path.rglob("events.out.tfevents.*")}
    read = {}
    for folder in folders:
        found = events.EventAccumulator(str(folder)).Reload()
        read |= {name: found.Scalars(name) for name in found.Tags()["scalars"]}
    assert [event.step for event in read["loss"]] == list(range(1, run.steps + 1))
    assert [event.value for event in read["loss"]] == pytest.approx([row["loss"] for row in run.curve])


def test_an_adversary_lies_where_the_model_goes_before_its_moments_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments are restored to where the parameters lie: one that moves afterwards cannot resume on a GPU."""

    class Elsewhere:
        device = torch.device("meta")

        def prepare(self, model: Any, optimizer: torch.optim.Optimizer) -> Any:
            adversary = optimizer.param_groups[-1]["params"]
            assert {parameter.device for parameter in adversary} == {self.device}
            assert len(adversary) == 4  # two layers
            raise KeyboardInterrupt

    monkeypatch.setattr("rlhf_fair.training.reward.trainer.open_accelerator", lambda settings, folder: Elsewhere())
    adversary = GradientReversal(np.arange(len(good_or_bad().text)) % 2, ("one", "other"), strength=0.1)
    with pytest.raises(KeyboardInterrupt):
        train_reward_model(tiny_bert(), tiny_tokenizer(), RewardTask(good_or_bad(), terms=(adversary,)), SETTINGS)


def test_a_loss_that_is_not_a_number_stops_the_run() -> None:
    settings = SETTINGS.model_copy(update={"learning_rate": 1e30, "clip_norm": 1e30})
    with pytest.raises(SettingsError, match=r"the loss is .*lower the learning rate"):
        train_reward_model(tiny_bert(), tiny_tokenizer(), good_or_bad(), settings)


@pytest.mark.parametrize("stop", [2, 7, 13])
def test_a_stopped_run_with_every_part_ends_with_equal_bits(stop: int, tmp_path: Path) -> None:
    def stopping(row: dict[str, float]) -> None:
        if row["step"] == stop:
            raise KeyboardInterrupt

    settings = SETTINGS.model_copy(update={"epochs": 3, "dropout": None})
    whole, task = everything()
    run = train_reward_model(whole, tiny_tokenizer(), task, settings)
    part, task = everything()
    with pytest.raises(KeyboardInterrupt):
        train_reward_model(part, tiny_tokenizer(), task, settings, checkpoint=tmp_path / "c.pt", on_step=stopping)
    resumed, task = everything()
    again = train_reward_model(resumed, tiny_tokenizer(), task, settings, checkpoint=tmp_path / "c.pt")
    assert again.resumed_steps == max(k for k in (0, 4, 5, 8, 10, 12) if k < stop)
    assert again.curve == run.curve
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


TWO_PROCESSES = """
    import os, sys
    sys.path[:0] = {paths!r}
    import numpy as np, torch
    from test_trainer_tasks import SETTINGS, sentences
    from tiny import tiny_bert, tiny_tokenizer
    from rlhf_fair.training.reward.gap_constraint import GapConstraint
    from rlhf_fair.training.reward.gradient_reversal import GradientReversal
    from rlhf_fair.training.reward.group_dro import GroupDRO
    from rlhf_fair.training.reward.ordinal import OrdinalData
    from rlhf_fair.training.reward.trainer import RewardTask, train_reward_model
    model, texts = tiny_bert(), sentences(16)
    settings = SETTINGS.model_copy(update={{"epochs": 1, "batch_size": 4, "device": "cpu"}})
    data, groups = OrdinalData(texts, np.arange(16) % 3, 3), np.arange(16) % 2
    gap = GapConstraint({{"x": [("good " + t, "bad " + t) for t in texts]}}, tolerance=0.01, rate=0.5)
    adversary = GradientReversal(groups, ("a", "b"), strength=1.0)
    task = RewardTask(data, weighting=GroupDRO(groups, ("a", "b"), None, step_size=0.5), terms=(gap, adversary))
    run = train_reward_model(model, tiny_tokenizer(), task, settings)
    learnt = [*model.parameters(), *data.parameters(), *adversary.parameters()]
    weights = [round(float(p.detach().double().sum()), 5) for p in learnt]
    from pathlib import Path
    state = [gap.multipliers, gap.gaps, task.weighting.q.tolist()]
    Path(sys.argv[1] + os.environ["RANK"]).write_text(str([run.steps, weights, state]))
    torch.distributed.barrier()  # one that leaves while the other still talks may take it down
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Each takes every other batch; both end with the same weights, thresholds, adversary and multipliers."""
    script = tmp_path / "two.py"
    here = Path(__file__).parent
    script.write_text(textwrap.dedent(TWO_PROCESSES).format(paths=[str(here), str(here.parents[1])]))
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(script),
        str(tmp_path / "of"),
    ]
    environment = {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = ((tmp_path / f"of{rank}").read_text() for rank in (0, 1))
    assert first == second
    assert first.startswith("[2, ")  # 16 rows in batches of 4 over 2 processes

"""Two processes of one job hold the statistics that one process holds: a real GRPO run under torch's launcher rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from forked import CAN_FORK, in_two_processes

trl = pytest.importorskip("trl", reason="TRL is not installed")

from rlhf_fair.backends.trl_reward import FairReward  # noqa: E402
from tests.backends import words  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated and will be removed in v6:FutureWarning")


def size(texts: Sequence[str]) -> np.ndarray:
    """Sum of the letters' codes: whole numbers add up to the same in any order."""
    return np.array([float(sum(map(ord, text))) for text in texts])


def train(out: Path, per_process: int, backend: str | None) -> None:
    """One step. Answers are the likeliest words, so the same prompts get the same ones in any number of processes."""
    fair = FairReward(words.biased, scorer=size, shaper=words.shaper(objective="contrast", reference="man"))
    config = words.config(
        trl.GRPOConfig,
        out,
        max_steps=1,
        per_device_train_batch_size=per_process,
        num_generations=2,
        top_k=1,
        scale_rewards="none",
        ddp_backend=backend,
    )
    trainer = trl.GRPOTrainer(
        model=words.model(initializer_range=1.0),  # the likeliest words then differ between prompts
        reward_funcs=fair,
        args=config,
        train_dataset=words.prompts(),
        processing_class=words.tokenizer(),
    )
    fair.attach(trainer)
    trainer.train()
    (row,) = [row for row in trainer.state.log_history if "fair/gap" in row]
    logged = {name: value for name, value in row.items() if name.startswith(("fair/mean", "fair/gap", "fair/contrast"))}
    told = {"state": fair.shaper.state_dict(), "logged": logged, "processes": trainer.accelerator.num_processes}
    (out / f"rank{trainer.accelerator.process_index}.json").write_text(json.dumps(told))


@pytest.mark.skipif(not CAN_FORK, reason="processes are forked, which this system cannot do")
def test_two_processes_hold_the_statistics_of_one(tmp_path: Path) -> None:
    in_two_processes(train, tmp_path, 16, "gloo")
    (tmp_path / "alone").mkdir()
    train(tmp_path / "alone", 32, None)
    alone = json.loads((tmp_path / "alone" / "rank0.json").read_text())
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert (first["processes"], alone["processes"]) == (2, 1)
    assert first["state"] == second["state"] == alone["state"]
    assert sum(row[3] for row in alone["state"]["store"]["cells"] if row[0] == "score") == 32
    assert alone["logged"] == pytest.approx(first["logged"])
    assert abs(alone["logged"]["fair/gap"]) > 0

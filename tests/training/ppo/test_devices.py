"""Two processes that share each batch learn what one learns from the whole of it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import tiny_language_model, tiny_tokenizer

from rlhf_fair.errors import SettingsError
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
from rlhf_fair.training.ppo.devices import Devices
from rlhf_fair.training.ppo.rollout import PromptBatch
from rlhf_fair.training.ppo.trainer import Fairness, PPOSettings, PPOTrainer

WORDS = [f"w{index}" for index in range(16)]
SETTINGS = PPOSettings(
    steps=3,
    batch_size=16,
    minibatch_size=16,
    micro_batch_size=3,
    epochs=2,
    learning_rate=1e-3,
    max_new_tokens=5,
    kl_target=0.5,
    kl_horizon=100,
    entropy_coef=0.01,
    device="cpu",
)


def train(folder: Path) -> dict[str, Any]:
    """A run whose curve and weights are to be the same however many processes share it."""
    tokenizer = tiny_tokenizer(WORDS)
    model = tiny_language_model(tokenizer, initializer_range=0.3).eval()

    def score(texts: Any) -> np.ndarray:
        return np.array([text.split().count("w5") / max(len(text.split()), 1) for text in texts])

    def prompts(step: int) -> PromptBatch:
        rng = np.random.default_rng([5, step])
        words = [" ".join(f"w{number}" for number in rng.integers(0, 16, rng.integers(1, 4))) for _ in range(16)]
        return PromptBatch(words, {"gender": [str(g) for g in rng.choice(["woman", "man"], 16)]})

    dual = {"kind": "dual", "tolerance": 0.01, "rate": 5.0}
    shaper = FairnessShaper(FairnessSettings(group_by=("gender",), multiplier=dual, minimum_count=1.0))
    trainer = PPOTrainer(
        model,
        tokenizer,
        lambda _, completions, gender: score(completions) * (np.array(gender) == "man"),
        SETTINGS,
        seed=3,
        fairness=Fairness(shaper, score),
    )
    trainer.train(prompts, checkpoint=folder / "state")
    weights = [float(p.detach().double().sum()) for p in trainer.policy.parameters()]
    return {"curve": trainer.curve, "weights": weights, "shaper": shaper.state_dict()}


TWO_PROCESSES = """
    import json, os, sys
    from pathlib import Path
    sys.path[:0] = {paths!r}
    from test_devices import train
    found = train(Path(sys.argv[1]))
    (Path(sys.argv[1]) / ("of" + os.environ["RANK"])).write_text(json.dumps(found))
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    script, here = tmp_path / "two.py", Path(__file__).parent
    script.write_text(textwrap.dedent(TWO_PROCESSES).format(paths=[str(here), str(here.parents[1])]))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [*launch, str(tmp_path)], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (json.loads((tmp_path / f"of{rank}").read_text()) for rank in (0, 1))
    assert repr(first) == repr(second)  # weights, curve and group statistics to the bit
    (tmp_path / "alone").mkdir()
    alone = json.loads(json.dumps(train(tmp_path / "alone")))
    # what is sampled is the same, so the statistics of groups are; sums over two shares differ by rounding
    for ours, theirs in zip(alone["curve"], first["curve"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5, nan_ok=True)
    assert alone["weights"] == pytest.approx(first["weights"], rel=1e-3, abs=1e-3)
    for name in ("mean:man", "mean:woman", "share:man", "gap", "kappa"):
        assert alone["curve"][0][name] == first["curve"][0][name], name


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", 3)
    with pytest.raises(SettingsError, match="multiples of the number of processes, 3"):
        Devices(SETTINGS)


def test_one_process_takes_the_whole_batch() -> None:
    devices = Devices(SETTINGS)
    assert devices.share(16) == slice(0, 16)
    values = np.arange(3.0)
    assert devices.gather(values) is values
    assert devices.first

"""What the guide shows can be used as it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rlhf_fair import backends
from rlhf_fair.backends.worker import WorkerConfig
from tests.backends import words

GUIDE = (Path(backends.__file__).parent / "README.md").read_text(encoding="utf-8")
PYTHON, TOML = (re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL) for language in ("python", "toml"))


def test_the_config_is_one() -> None:
    (shown,) = TOML
    config = WorkerConfig.model_validate(tomllib.loads(shown))
    assert config.fairness.group_by == ("gender",)


@pytest.mark.filterwarnings("ignore:.*deprecated and will be removed in v6:FutureWarning")
def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    shown: dict[str, Any] = {}
    for code in PYTHON:
        exec(code, shown)
    monkeypatch.chdir(tmp_path)
    data = words.prompts(1).rename_column("sex", "gender")
    words.model().save_pretrained(tmp_path / "model")
    words.tokenizer().save_pretrained(tmp_path / "model")
    config = shown["GRPOConfig"]
    shown["GRPOConfig"] = lambda **given: words.config(config, tmp_path, **(given | {"output_dir": str(tmp_path)}))
    flat = lambda prompts, **columns: [0.0] * len(prompts)  # noqa: E731
    trainer = shown["build"](str(tmp_path / "model"), data, flat, words.favour)
    shown["watch"](trainer)
    assert trainer.callback_handler.callbacks[-1].settings.prompts == 128

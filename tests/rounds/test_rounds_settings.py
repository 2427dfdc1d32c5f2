"""Settings of rounds: what cannot hold is refused, and the command line stands over the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from rlhf_fair.cli.app import app
from rlhf_fair.cli.pipeline import read_config
from rlhf_fair.errors import SettingsError
from rlhf_fair.rounds.settings import QUICK, SelectionSettings


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

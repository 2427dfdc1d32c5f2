"""Models are read strictly, and say what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_fair.annotators.simulation_model import AnnotatorModel
from rlhf_fair.errors import MissingFileError, SettingsError

SHIPPED = Path(__file__).parents[2] / "audits" / "panel-feedback" / "simulated" / "model.toml"


def test_the_shipped_example_shows_every_section() -> None:
    model = AnnotatorModel.read(SHIPPED)
    assert model.model_fields_set == set(AnnotatorModel.model_fields)
    assert model.preferences.features["dialect"].groups == {"woman": 0.0}
    assert model.careless.weights == (1.0, 1.0, 1.0, 0.5)
    assert model.groups["man"].careless_share == 0.08


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[raters]\nleniency = 1", r"unknown key 'raters.leniency'; allowed here: leniency_sd, temperature"),
        ("[groups.woman]\nshift = 'x'", r"groups.woman.shift = 'x'"),
        ("[answers]\nthresholds = [1.0, 1.0]", "increasing numbers"),
        ("[answers]\nthresholds = [1.0]\nvalues = [1, 2, 3]", "3 values and 1 thresholds; allowed: one value more"),
        ("[answers]\nkind = 'pair'\ntie = 1\nstrengths = [0.5]", r"allowed: above tie = 1"),
        ("[careless]\nshare = 1.5", r"careless.share = 1.5"),
        ("[careless]\ntime = 0.9\nstretch = 5", r"stretch = 5; allowed: at least 1 / \(1 - time\) = 10"),
        ("[careless]\nfirst_shown = 0\nstraight_line = 0\nrandom = 0", "at least one of"),
        ("[disclosure]\nprefer_not_to_say = 0.7\nmissing = 0.4", "allowed: <= 1"),
        ("[raters]\ntemperature = 0", r"raters.temperature = 0"),
        ("[raters]\nleniency_sd = inf", r"raters.leniency_sd = inf"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "model.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message) as error:
        AnnotatorModel.read(path)
    assert "model.toml" in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="annotator model file not found"):
        AnnotatorModel.read(tmp_path / "none.toml")


def test_shifts_replace_shifts_and_nothing_else() -> None:
    model = AnnotatorModel.model_validate({"groups": {"x": {"shift": 1.0, "hazard": 0.1}, "y": {"shift": 2.0}}})
    moved = model.with_shifts({"x": 3.0, "z": 4.0})
    assert {name: group.shift for name, group in moved.groups.items()} == {"x": 3.0, "y": 2.0, "z": 4.0}
    assert moved.groups["x"].hazard == 0.1

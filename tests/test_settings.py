from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from rlhf_fair.artifacts import canonical_json
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.settings import Settings, plain, read_toml


class Optimizer(Settings):
    learning_rate: float = Field(1e-3, gt=0)
    steps: int = 10


class Probe(Settings):
    name: str


class Job(Settings):
    title: str
    optimizer: Optimizer = Optimizer()
    second: Optimizer | None = None
    probes: tuple[Probe, ...] = ()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "job.toml"


def error_of(config: Path, text: str) -> str:
    config.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_toml(config, Job)
    assert str(config) in str(caught.value)
    return str(caught.value)


def test_a_good_file_is_read_and_defaults_fill_the_rest(config: Path) -> None:
    config.write_text('title = "x"\n[optimizer]\nsteps = 3\n[[probes]]\nname = "hiring"\n', encoding="utf-8")
    job = read_toml(config, Job)
    assert job.optimizer.steps == 3
    assert job.optimizer.learning_rate == 1e-3
    assert job.probes == (Probe(name="hiring"),)


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ('title = "x"\ntitel = "y"', "'titel'", "title, optimizer, second, probes"),
        ('title = "x"\n[optimizer]\nstep = 3', "'optimizer.step'", "learning_rate, steps"),
        ('title = "x"\n[second]\nstep = 3', "'second.step'", "learning_rate, steps"),
        ('title = "x"\n[[probes]]\nname = "a"\nid = 1', "'probes.0.id'", "allowed here: name"),
    ],
)
def test_an_unknown_key_is_named_with_the_file_and_what_is_allowed(
    config: Path, text: str, key: str, allowed: str
) -> None:
    message = error_of(config, text)
    assert f"unknown key {key}" in message
    assert allowed in message


def test_missing_wrong_type_and_out_of_range_name_key_and_value(config: Path) -> None:
    message = error_of(config, '[optimizer]\nlearning_rate = -0.5\nsteps = "many"')
    assert len(message.splitlines()) == 3  # every problem at once
    assert "missing key 'title'" in message
    assert "optimizer.learning_rate = -0.5" in message
    assert "greater than 0" in message
    assert "optimizer.steps = 'many'" in message


def test_a_list_whose_only_entry_is_at_fault_is_not_called_too_short(tmp_path: Path) -> None:
    class Panel(Settings):
        probes: tuple[Probe, ...] = Field(min_length=1)

    path = tmp_path / "panel.toml"
    path.write_text("[[probes]]\nname = 3\n")
    with pytest.raises(SettingsError) as caught:
        read_toml(path, Panel)
    assert str(caught.value).splitlines() == [f"config {path}: probes.0.name = 3: Input should be a valid string"]
    path.write_text("probes = []\n")
    with pytest.raises(SettingsError, match=r"probes = .*at least 1 item"):
        read_toml(path, Panel)


def test_no_toml_names_the_line(config: Path) -> None:
    assert "line 2" in error_of(config, 'title = "x"\noptimizer = = 3')


def test_no_utf8(config: Path) -> None:
    config.write_bytes(b'title = "\xff"')
    with pytest.raises(SettingsError, match="UTF-8"):
        read_toml(config, Job)


def test_a_missing_file_is_named_by_its_kind(config: Path) -> None:
    with pytest.raises(MissingFileError, match=rf"plan file not found: {config}"):
        read_toml(config, Job, "plan")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Optimizer().steps = 3  # type: ignore[misc]


def test_infinite_numbers_are_text_in_json_and_read_back() -> None:
    given = Job(title="t", second=Optimizer(learning_rate=float("inf")), probes=(Probe(name="inf"),))
    as_json = canonical_json(plain(given))
    assert b'"learning_rate":"inf"' in as_json
    assert Job.model_validate_json(as_json) == given
    assert plain(Job(title="t")) == Job(title="t").model_dump(mode="json")

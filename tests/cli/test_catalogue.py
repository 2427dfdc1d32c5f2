"""`rlhf-fair list` names everything that a plan may name."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from typer.testing import CliRunner

from rlhf_fair.audit.benchmarks.registry import NAMES
from rlhf_fair.audit.plan import shipped_audits
from rlhf_fair.cli.app import app
from rlhf_fair.metrics.rates import ROW_METRICS
from rlhf_fair.probes.scorers import Kind
from rlhf_fair.settings import read_toml_table


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("audits", set(shipped_audits())),
        ("probes", {"generation", "holistic_bias", "panel_feedback", "reward", "selection-rates", *NAMES}),
        ("scorers", set(get_args(Kind))),
        ("metrics", set(ROW_METRICS)),
    ],
)
def test_everything_is_listed_with_a_description(what: str, expected: set[str]) -> None:
    answer = CliRunner().invoke(app, ["list", what, "--json"])
    described = json.loads(answer.output)
    assert set(described) == expected
    assert all(len(text.split()) >= 3 for text in described.values())
    shown = CliRunner().invoke(app, ["list", what]).output.splitlines()
    assert [line.split(":")[0] for line in shown] == list(described)


def test_every_shipped_plan_has_a_listed_probe() -> None:
    probes = json.loads(CliRunner().invoke(app, ["list", "probes", "--json"]).output)
    named = {read_toml_table(file, "plan")["probe"] for file in shipped_audits().values()}
    assert named <= set(probes)

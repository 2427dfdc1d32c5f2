"""A rule fitted in rounds that has not come to rest says so: in its table, in the report, on the command line."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.annotators.aggregation import converged
from rlhf_fair.annotators.aggregation_rules import aggregate
from rlhf_fair.annotators.dawid_skene import dawid_skene
from rlhf_fair.annotators.latent_classes import LATENT_CLASS
from rlhf_fair.cli.feedback import app

NOISY = pd.DataFrame(
    [(f"i{i}", r, "pair", "ab"[(i * k * k + i // 3) % 2]) for i in range(15) for k, r in enumerate("pqrst")],
    columns=["item_id", "annotator_id", "kind", "choice"],
)


def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule fitted in rounds gets one round."""
    monkeypatch.setitem(
        LATENT_CLASS,
        "dawid-skene",
        lambda t: dawid_skene(t["item"], t["rater"], t["answer"], max_iterations=1),
    )
    monkeypatch.setattr("rlhf_fair.annotators.bradley_terry.MOST_ROUNDS", 1)


@pytest.mark.parametrize("rule", ["dawid-skene", "bradley-terry"])
def test_a_fit_that_did_not_come_to_rest_is_said_in_the_table(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert converged(aggregate(NOISY, rule)) is True
    assert converged(aggregate(NOISY, "mean")) is None
    unsettled(monkeypatch)
    assert aggregate(NOISY, rule)["converged"].eq(False).all()


def test_the_commands_say_it_and_end_with_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    NOISY.to_csv(tmp_path / "f.csv", index=False)
    pd.DataFrame({"annotator_id": list("pqrst"), "attr.g": list("mmmww")}).to_csv(tmp_path / "p.csv", index=False)
    one = f"aggregate {tmp_path}/f.csv --rule dawid-skene --out {tmp_path}/o.csv".split()
    all_rules = f"flips {tmp_path}/f.csv --panel {tmp_path}/p.csv --by g --lots 0 --out {tmp_path}/flips".split()
    run = partial(CliRunner().invoke, app, catch_exceptions=False)
    assert json.loads(run([*one, "--json"]).stdout)["converged"] is True
    settled = json.loads(run([*all_rules, "--json"]).stdout)
    marks = {row["rule"]: row["converged"] for row in settled["rules"]}
    assert (marks["majority"], marks["dawid-skene"], marks["bradley-terry"]) == (None, True, True)
    unsettled(monkeypatch)
    for command, names in ((one, ["dawid-skene"]), (all_rules, ["dawid-skene", "bradley-terry"])):
        said, told = run(command), run([*command, "--json"])
        assert said.exit_code == told.exit_code == 3
        assert all(f"{name} has not converged" in said.stdout for name in names)
    assert {row["rule"] for row in json.loads(told.stdout)["rules"] if row["converged"] is False} == set(names)
    assert json.loads(run([*one, "--json"]).stdout)["converged"] is False
    assert pd.read_csv(tmp_path / "o.csv")["converged"].eq(False).all()

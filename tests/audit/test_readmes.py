"""The README of every shipped audit: question, groups and estimand come first, and it keeps to the audit's plans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_fair.audit.plan import PLAN_NAME, shipped_audits
from rlhf_fair.settings import read_toml_table

README, HEAD = "README.md", ("Question", "Groups", "Estimand")
LONGEST = 120
SHIPPED = shipped_audits()
FOLDERS = sorted({file.parent for file in SHIPPED.values()})


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture
def text(folder: Path) -> str:
    return (folder / README).read_text(encoding="utf-8")


def test_it_opens_with_question_groups_and_estimand(text: str) -> None:
    title, *paragraphs = text.split("\n\n")
    assert title.startswith("# ")
    for name, paragraph in zip(HEAD, paragraphs[: len(HEAD)], strict=True):
        assert re.match(rf"\*\*{name}\.\*\* \S", paragraph), f"**{name}.** is expected, not {paragraph[:60]!r}"
        assert max(map(len, paragraph.splitlines())) <= LONGEST
        assert text.count(f"**{name}.**") == 1


def test_it_names_every_claimed_metric_and_its_threshold(folder: Path, text: str) -> None:
    estimand = text.split("\n\n")[HEAD.index("Estimand") + 1]
    for plan in (file for file in SHIPPED.values() if file.parent == folder):
        for metric, threshold in claimed_limits(plan):
            where = f"{plan.name}: {metric or 'its claims'} at {threshold:g}"
            assert says(text, threshold) or PLAN_NAME in estimand, where
            assert f"`{metric}`" in text or not metric, where


def test_its_commands_name_shipped_audits(text: str) -> None:
    asked = re.findall(r"^ +rlhf-fair audit ([^\s\\]+)", text, flags=re.MULTILINE)
    assert asked
    # a plan of one's own is a file
    assert [name for name in asked if name not in SHIPPED and not name.endswith(".toml")] == []


def test_a_threshold_is_found_as_a_number_of_its_own() -> None:
    assert says("limit ±0.1, over all", 0.1)
    assert says("above 0.5: a third", 0.5)
    assert not says("limit 0.15 and -0.10", 0.1)
    assert not says("1 of 50 and 7.5", 5.0)


def claimed_limits(plan: Path) -> Iterator[tuple[str, float]]:
    """(metric, threshold) of what the plan claims; a plan without ``claims`` claims by all its limits, "" the general.

    Metrics of scorers and of whole audits are said in words there, so only those under ``claims`` have to be named.
    """
    content = read_toml_table(plan, "plan")
    policy = content["policy"]
    limits = {metric: one["threshold"] for metric, one in policy.get("metrics", {}).items()}
    if "claims" in content:
        for claim in content["claims"]:
            yield claim["metric"], limits.get(claim["metric"], policy.get("threshold"))
        return
    for threshold in {policy["threshold"], *limits.values()}:
        yield "", threshold


def says(text: str, number: float) -> bool:
    """Whether ``number`` stands in ``text`` by itself, and not as a part of another."""
    return re.search(rf"(?<![\d.]){re.escape(f'{number:g}')}(?!\.?\d)", text) is not None

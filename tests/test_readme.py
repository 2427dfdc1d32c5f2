"""The READMEs' Python examples run and print what stands below them, and their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guides import printed_by, printing_examples, spaced

ROOT = Path(__file__).parents[1]
README, PENALTY = ROOT / "README.md", ROOT / "rlhf_fair" / "training" / "fairness" / "README.md"
LINKING = (README, PENALTY, *(ROOT / folder / "README.md" for folder in ("audits", "audits/train-ppo", "reports")))


def check(printed: str, shown: str) -> None:
    lines = [spaced(line) for line in printed.splitlines()]
    for line in filter(str.strip, shown.splitlines()):
        assert spaced(line) in lines, printed


@pytest.mark.parametrize(("code", "shown"), printing_examples(README))
def test_example(code: str, shown: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    check(done.stdout, shown)


@pytest.mark.parametrize(("code", "shown"), printing_examples(PENALTY))
def test_the_penalty_by_hand(code: str, shown: str) -> None:
    check(printed_by(code), shown)


def test_there_are_examples() -> None:
    assert printing_examples(README)
    assert len(printing_examples(PENALTY)) == 5


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.parent.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            path, _, heading = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not heading or heading in anchors(target), link


def anchors(page: Path) -> set[str]:
    """A heading's anchor: its words in lower case, without punctuation, joined by hyphens."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

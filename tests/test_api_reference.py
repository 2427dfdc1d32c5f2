"""The API reference is current, and says something of every public name."""

from __future__ import annotations

import re

import rlhf_fair
from tests.api_reference import REFERENCE, definition, paragraph, reference


def test_it_is_current() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference(), "python -m tests.api_reference writes it anew"


def test_it_has_every_public_name_once_under_its_job() -> None:
    jobs = re.split(r"^## (\w+)$", reference(), flags=re.MULTILINE)[1:]
    found = {
        job: re.findall(r"^### (\w+)$", text, flags=re.MULTILINE)
        for job, text in zip(jobs[::2], jobs[1::2], strict=True)
    }
    expected = {job: [n for names in modules.values() for n in names] for job, modules in rlhf_fair.PUBLIC.items()}
    assert {job: sorted(names) for job, names in found.items()} == {
        job: sorted(names) for job, names in expected.items()
    }


def test_every_public_name_has_a_docstring() -> None:
    homes = {
        name: module for modules in rlhf_fair.PUBLIC.values() for module, names in modules.items() for name in names
    }
    assert [name for name, module in homes.items() if not paragraph(definition(module, name)[1])] == []


def test_its_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", reference())
    assert [link for link in links if not (REFERENCE.parent / link).exists()] == []

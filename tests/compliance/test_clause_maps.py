"""The clause maps that ship: every entry says what, since when, as of when and from where; old and ended ones show."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from pydantic import ValidationError

from rlhf_fair.compliance.kinds import KINDS
from rlhf_fair.compliance.loading import find_frameworks, frameworks, read_framework
from rlhf_fair.compliance.models import STALE_AFTER_DAYS, Clause, Status
from rlhf_fair.errors import SettingsError

DAY = date(2026, 7, 5)
CLAUSES = [(framework, clause) for framework in frameworks().values() for clause in framework.clauses]
NAMED = [pytest.param(f, c, id=f"{f.id} {c.id}") for f, c in CLAUSES]


def clause(**changes: object) -> Clause:
    base: dict[str, object] = {
        "id": "1", "title": "t", "asks": "a", "status": "in_force", "as_of": DAY, "source": "s",
        "evidence": ["limitations"],
    }  # fmt: skip
    return Clause.model_validate({**base, **changes})


def test_the_frameworks_that_were_promised_are_there() -> None:
    assert set(frameworks()) == {
        "eu-ai-act", "nist-ai-rmf", "iso-42001", "nyc-ll144", "eeoc", "illinois", "uk-equality-act", "colorado",
    }  # fmt: skip


@pytest.mark.parametrize(("framework", "clause"), NAMED)
def test_every_entry_has_source_status_date_and_known_evidence(framework, clause) -> None:
    assert clause.source.strip()
    assert clause.title.strip()
    assert clause.asks.endswith(".")
    assert clause.as_of <= date(2026, 11, 30)
    assert set(clause.evidence) <= set(KINDS)
    assert clause.check if clause.secondary else True


def test_ids_are_unique_within_and_between_frameworks() -> None:
    ids = [c.id for _, c in CLAUSES]
    assert len(ids) == len(set(ids))
    names = [name for f in frameworks().values() for name in (f.id, *f.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("framework", "clause"), NAMED)
@pytest.mark.parametrize("day", [date(2020, 1, 1), DAY, date(2031, 1, 1)])
def test_what_has_ended_is_never_shown_as_in_force(framework, clause, day) -> None:
    if clause.status in (Status.REPEALED, Status.REPLACED):
        assert "in force" not in clause.standing(day)
        assert not clause.evidence


@pytest.mark.parametrize(
    ("framework", "id", "standing"),
    [
        # Regulation (EU) 2024/1689, Article 113: chapter V applies from 2 August 2025
        ("eu-ai-act", "Article 53(1)(a) and Annex XI, section 1, point 2(c)", "in force since 2025-08-02"),
        ("eu-ai-act", "Article 9(8)", "not yet applicable; from 2027-12-02"),
        # HB 3773 takes effect on 1 January 2026
        ("illinois", "775 ILCS 5/2-102(L)(1)", "in force since 2026-01-01"),
        # DCWP enforces from 5 July 2023
        ("nyc-ll144", "6 RCNY 5-301", "in force since 2023-07-05"),
        # the Colorado Attorney General: in effect 1 January 2027
        ("colorado", "SB 26-189", "not yet applicable; from 2027-01-01"),
        ("nist-ai-rmf", "MS-2.11-005", "voluntary"),
    ],
)
def test_standings_on_5_july_2026(framework, id, standing) -> None:
    found = {c.id: c for c in frameworks()[framework].clauses}
    assert found[id].standing(DAY) == standing


def test_colorados_act_of_2024_is_replaced() -> None:
    act = next(c for c in frameworks()["colorado"].clauses if c.id == "SB 24-205")
    assert act.standing(DAY).startswith("replaced by SB 26-189")


def test_an_entry_is_stale_after_180_days_and_not_on_the_180th() -> None:
    assert not clause().is_stale(DAY + timedelta(days=STALE_AFTER_DAYS))
    assert clause().is_stale(DAY + timedelta(days=STALE_AFTER_DAYS + 1))
    assert not clause().is_stale(DAY - timedelta(days=1000))


def test_a_date_that_passes_changes_no_status_by_itself() -> None:
    later = clause(status="not_yet_applicable", applies_from=date(2027, 1, 1))
    assert later.standing(date(2026, 12, 31)) == "not yet applicable; from 2027-01-01"
    assert "passed since the entry was checked" in later.standing(date(2027, 1, 1))
    assert clause(applies_from=date(2026, 1, 1)).standing(date(2025, 6, 1)).startswith("not yet applicable")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "repealed"}, "no evidence can be asked for"),
        ({"status": "replaced", "evidence": []}, "replaced_by"),
        ({"evidence": []}, "names no evidence"),
        ({"replaced_by": "another"}, "replaced_by"),
        ({"secondary": True}, "what to look up"),
        ({"applies_from": date(2027, 1, 1)}, "applies from"),
        ({"status": "not_yet_applicable", "applies_from": date(2026, 1, 1)}, "before"),
        ({"source": ""}, "at least 1 character"),
        ({"as_of": None}, "valid date"),
    ],
)
def test_entries_that_contradict_themselves_are_refused(changes, said) -> None:
    with pytest.raises(ValidationError, match=said):
        clause(**changes)


def test_frameworks_go_by_aliases_each_once() -> None:
    assert [f.id for f in find_frameworks(["LL144", "eu-ai-act", "nyc-ll144"])] == ["nyc-ll144", "eu-ai-act"]
    with pytest.raises(SettingsError, match=r"'gdpr' is not known; allowed: colorado"):
        find_frameworks(["gdpr"])


def test_a_broken_map_names_file_and_fault(tmp_path) -> None:
    path = tmp_path / "own.toml"
    head = 'id = "own"\ntitle = "t"\ninstrument = "i"\n[[clauses]]\nid = "1"\ntitle = "t"\nasks = "a"\nsource = "s"\n'
    path.write_text(head + 'status = "in_force"\nas_of = 2026-01-01\nevidence = ["vibes"]\n')
    with pytest.raises(SettingsError, match=r"own\.toml: 1: evidence = 'vibes'; allowed: affected_people"):
        read_framework(path)
    path.write_text(head + 'status = "maybe"\nas_of = 2026-01-01\nevidence = ["limitations"]\n')
    with pytest.raises(SettingsError, match=r"own\.toml: clauses\.0\.status = 'maybe'"):
        read_framework(path)
    path.write_text(head + 'status = "in_force"\nas_of = 2026-01-01\nevidence = ["limitations"]\nat_most = "2"\n')
    with pytest.raises(SettingsError, match=r"clause '1': at_most = '2' is no clause before it"):
        read_framework(path)
    path.write_text(head + 'status = "in_force"\nevidence = ["limitations"]\n')
    with pytest.raises(SettingsError, match=r"missing key 'clauses\.0\.as_of'"):
        read_framework(path)

"""Small groups of people in results, worked by hand; and planted personal data, of which nothing may come out."""

from __future__ import annotations

import gzip
import re

import pytest

from rlhf_fair.artifacts import read_results, write_results
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.disclosure.results import COMPANION, protected
from rlhf_fair.records import NAN, Finding, Results, Verdict
from rlhf_fair.report import write_report
from rlhf_fair.report.embed import unpack_results

MEANS = "mean rating of every group"
COLUMNS = ["attribute", "group", "ratings", "raters", "mean", "note"]


def finding(group: str, **changes: object) -> Finding:
    base: dict[str, object] = {
        **{"id": f"feedback/{group}", "stage": "feedback", "probe": "panel_feedback", "metric": "mean_rating_gap"},
        **{"attribute": "country", "group": group, "reference": "home", "threshold": 5.0, "margin": 5.0},
        **{"estimate": 1.0, "ci_low": -2.0, "ci_high": 4.0, "p_value": 0.5, "p_adjusted": 0.5, "mde": 4.0},
        **{"n": 500, "n_clusters": 60, "verdict": Verdict.WITHIN},
    }
    return Finding.model_validate(base | changes)


def ratings(*rows: tuple[str, int], attribute: str = "country") -> dict[str, object]:
    cells = [[attribute, group, 10 * raters, raters, 3.2, ""] for group, raters in rows]
    return {"columns": COLUMNS, "rows": cells}


def raters_of(results: Results) -> dict[str, object]:
    return {row[1]: row[3] for row in results.audit["tables"][MEANS]["rows"]}


def results_of(*rows: tuple[str, int], findings: tuple[Finding, ...] = (), **audit: object) -> Results:
    content = {"title": "T", "plan": {"probe": "panel_feedback"}, "tables": {MEANS: ratings(*rows)}, "limits": []}
    return Results(audit=content | audit, findings=findings)


def test_a_small_group_takes_the_smallest_that_hides_it_along():
    # 100 raters in all; 7 = 100 - 60 - 33 were it alone. With 33 gone, 1 to 39 people may be behind it.
    shown = protected(results_of(("home (reference)", 60), ("north", 33), ("west", 7)))
    assert raters_of(shown) == {"home (reference)": 60, "north": COMPANION, "west": "fewer than 10"}
    assert "fewer than 10 people are withheld" in shown.audit["limits"][0]
    north, west = shown.audit["tables"][MEANS]["rows"][1:]
    assert north[2:5] == [COMPANION, COMPANION, 3.2]  # ratings give raters away, a mean does not
    assert west[2:5] == [COMPANION, "fewer than 10", COMPANION]


def test_two_small_groups_of_eleven_people_need_a_third():
    # 5 + 6 = 11: one of the two may have 10 people at most, if the other has 1. So no more has to go.
    shown = protected(results_of(("home", 60), ("north", 29), ("west", 5), ("east", 6)))
    assert [name for name, n in raters_of(shown).items() if isinstance(n, str)] == ["west", "east"]
    # 4 + 6 = 10: neither can have 10, since the other is not empty. The next larger one goes with them.
    shown = protected(results_of(("home", 60), ("north", 30), ("west", 4), ("east", 6)))
    assert [name for name, n in raters_of(shown).items() if isinstance(n, str)] == ["north", "west", "east"]


def test_no_reader_can_show_that_a_withheld_group_is_small():
    for west in range(1, 10):
        shown = raters_of(protected(results_of(("home", 50), ("north", 30), ("south", 20), ("west", west))))
        told = [n for n in shown.values() if isinstance(n, int)]
        hidden = len(shown) - len(told)
        most = 100 + west - sum(told) - (hidden - 1)  # all that is left but one person in each other hidden group
        assert hidden >= 2
        assert most >= 10


def test_findings_do_not_tell_what_the_table_withholds():
    reason = "west: 7 raters, the plan asks for 10"
    numbers = dict.fromkeys(("estimate", "ci_low", "ci_high", "p_value", "p_adjusted", "mde"), NAN)
    small = finding("west", n=70, n_clusters=7, verdict=Verdict.NOT_MEASURED, reason=reason, **numbers)
    rows = (("home (reference)", 60), ("south", 40), ("north", 33), ("west", 7))
    shown = protected(results_of(*rows, findings=(finding("south"), finding("north"), small)))
    south, north, west = shown.findings
    assert south == finding("south")
    assert (north.n_clusters, north.estimate, north.verdict) == (0, 1.0, Verdict.WITHIN)
    assert "withheld" in north.note
    assert (west.n, west.n_clusters, west.reason) == (0, 0, "west: fewer than 10 raters")
    assert "7" not in shown.audit["tables"][MEANS]["rows"][-1]


def test_a_larger_minimum_withholds_estimates_too():
    rows = (("home (reference)", 60), ("south", 40), ("west", 15))
    given = results_of(*rows, findings=(finding("west"), finding("south")), plan={"min_raters": 10})
    assert protected(given) is not given
    assert protected(given) == given
    west, south = protected(given, 20).findings
    assert west.verdict == Verdict.NOT_MEASURED
    assert west.estimate != west.estimate
    assert south.verdict == Verdict.WITHIN


def test_the_plan_names_the_minimum_and_counts_of_a_law_stay():
    assert raters_of(protected(results_of(("home", 60), ("west", 7), plan={"min_raters": 5}))) == {
        "home": 60,
        "west": 7,
    }
    table = {"columns": ["category", "people", "selected"], "rows": [["a", 60, 30], ["b", 40, 9], ["c", 4, 2]]}
    published = Results(audit={"tables": {"rates and impact ratios: sex": table}, "publication": {"rows": []}})
    assert protected(published) == published
    cut = protected(published, 10).audit
    assert "publication" not in cut
    assert [row[1] for row in cut["tables"]["rates and impact ratios: sex"]["rows"]] == [60, COMPANION, "fewer than 10"]


def test_prompts_and_texts_are_no_people():
    table = {"columns": ["group", "prompts", "mean"], "rows": [["a", 3, 0.1], ["b", 4, 0.2]]}
    results = Results(audit={"tables": {"means": table}}, findings=(finding("a", stage="base", n=3, n_clusters=3),))
    assert protected(results) == results


def test_protecting_twice_changes_nothing_more():
    small = finding(
        "west", n=70, n_clusters=7, verdict=Verdict.NOT_MEASURED, reason="west: 1 rater, the plan asks for 10"
    )
    once = protected(results_of(("home", 60), ("north", 33), ("west", 1), findings=(small, finding("north"))))
    assert protected(once) == once


def test_what_only_an_identifier_told_apart_is_all_there():
    names = ("ana@example.org", "bo@example.org")
    tables = {name: [{"mean": at}] for at, name in enumerate(names)}
    findings = tuple(finding(name, id=f"gap/{name}") for name in names)
    shown = protected(Results(audit={"tables": tables}, findings=findings))
    assert shown.audit["tables"] == {"[e-mail]": [{"mean": 0}], "[e-mail]~2": [{"mean": 1}]}
    assert [f.id for f in shown.findings] == ["gap/[e-mail]", "gap/[e-mail]~2"]
    assert protected(shown) == shown


def test_contacts_that_are_named_on_purpose_stay():
    plan = {"policy": {"owner": "fairness@example.org", "rationale": "as ana@example.org said"}}
    policy = protected(Results(audit={"plan": plan})).audit["plan"]["policy"]
    assert policy == {"owner": "fairness@example.org", "rationale": "as [e-mail] said"}


PLANTED = [
    *(f"ana.silva{i}@mail{i}.example.org" for i in range(12)),
    *(f"+44 20 7946 0{i:03d}" for i in range(900, 912)),
    *("4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "6011000990139424", "3530111333300000"),
    *("GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "FR1420041010050500013M02606", "NO9386011117947"),
    *("078-05-1120", "219-09-9999", "8.8.4.4", "1.1.1.1", "2606:4700:4700::1111", "/home/ana.silva/ratings.csv"),
    *(
        "sk-proj-" + "a1B2" * 8,
        "hf_" + "AbCd" * 8,
        "ghp_" + "x1Y2" * 9,
        "AKIAIOSFODNN7EXAMPLE",
        "api_key=0123456789abcdef",
    ),
    *(
        "https://ana:hunter2pass@api.example.com/v1",
        "https://s.example.com/x?sig=abcdef012345",
        "password=hunter2hunter2",
    ),
    *("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w", "Bearer abcdef0123456789abcd"),
    *("jane (at) example.com", "jane%40example.net", "\uff4a\uff41\uff4e\uff45\uff20example.org", "555-010-0199"),
]
NUMBERS = ("7946", "4111", "5555-5555")
"""Digits that may stand by chance inside a hash, a time, a decimal or packed data, but not between blanks."""
WHOLE_WORDS = [re.escape(core) for core in ("ana.silva", "hunter2", "abcdef0123")]
WHOLE_WORDS += [rf"(?<![\w.+/]){number}(?![\w+/=])" for number in NUMBERS]


def planted_results(kind: int, demo: Results) -> Results:
    """Every planting in one kind of place: group, id, reason, question, file name, table, key, error, word, run."""
    texts = PLANTED
    findings = list(demo.findings[: len(texts)])
    audit = dict(demo.audit)
    name = ("group", "id", "reason", "note", "unit", "variant", "attribute", "metric")[kind % 8]
    if kind < 8:
        findings = [
            f.model_copy(update={name: f"{t} / x" if name == "id" else t})
            for f, t in zip(findings, texts, strict=False)
        ]
    elif kind == 8:
        audit |= {"question": " ".join(texts), "title": "About " + texts[0]}
    elif kind == 9:
        audit |= {"data": {"ratings": [f"{t}.csv" for t in texts]}, "models": {"audited": texts}}
    elif kind == 10:
        audit |= {"tables": {f"table of {t}": [{"text": t, t: 1}] for t in texts}}
    elif kind == 11:
        audit |= {
            "limits": [f"endpoint said: {t}" for t in texts],
            "exclusions": [{"reason": t, "n": 1} for t in texts],
        }
    elif kind == 12:
        examples = [{"kind": t, "texts": [{"side": "a", "text": f"say {t} now", "words": []}]} for t in texts]
        audit |= {"word_attributions": {"examples": examples, "n_pairs": 3, "parts": [], "words": []}}
    else:
        runs = [r.model_copy(update={"name": t}) for r, t in zip(demo.training.runs, texts, strict=False)]
        return demo.model_copy(update={"training": demo.training.model_copy(update={"runs": tuple(runs)})})
    return demo.model_copy(update={"findings": tuple(findings), "audit": audit})


@pytest.mark.parametrize("kind", range(14))
def test_nothing_planted_comes_out(kind, planted_base, tmp_path):
    results = planted_results(kind, planted_base)
    write_results(tmp_path, results)
    write_report(tmp_path, results)
    seal(tmp_path, inputs={}, seeds={})
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    inside = unpack_results(page, most_bytes=10**7).decode()
    packed = [gzip.decompress(data).decode(errors="replace") for data in _blocks(page)]
    written = [path.read_text(encoding="utf-8") for path in tmp_path.iterdir() if path.suffix != ".parquet"]
    for text in (*written, inside, *packed):
        assert [planted for planted in PLANTED if planted in text] == []
        assert [core for core in WHOLE_WORDS if re.search(core, text)] == []
    assert read_results(tmp_path) == protected(read_results(tmp_path))


def _blocks(page: str) -> list[bytes]:
    """Packed tables of the page, unpacked as the page's script does: base64 of gzip."""
    import base64

    found = re.findall(r'<script type="application/octet-stream" id="[^"]*-rows">([^<]+)</script>', page)
    return [base64.b64decode(block) for block in found]

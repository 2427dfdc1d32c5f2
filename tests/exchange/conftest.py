"""Results to export: the kinds the report knows, one with a ledger and holes, and one whose every text is hostile."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rlhf_fair.records import NAN, Finding, GroupMean, LedgerRow, Results, Verdict

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from kinds import feedback_results, make_finding, ratio_results, stopped_results

HOSTILE = (
    "=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(1)", "\t=1+1", " =1", "＝1+1", "'quoted", '"; rm', "a,b;c",
    "]]><evil/>", "<![CDATA[x]]>", "<script>alert(1)</script>", "&lt;b&gt;", "a\x00b", "\x1b[31mred", "\x07\ufffe",
    "| a | b |", "`code`", "```\nfence", "# head", "- [ ] box", "[x](javascript:alert(1))", "![p](http://a.example/p)",
    "---\nlicense: mit", "model-index: [", "!!python/object/apply:os.system ['true']", "*alias", "&anchor", "~", "null",
    "yes", "1e3", "{0} {1}", "{{x}}", "%s%n", "a\r\nb", "../../etc/passwd", "\u202egnirts", "\u2028", "🦊", "@everyone",
    "www.example.org", "https://a.example", "#1", "$(true)", "a\\", "</details>", "<!-- -->", "ä" * 300,
)  # fmt: skip
"""What a group, a model or a title may be called by someone who means harm, or by accident."""


def pipeline_results() -> Results:
    """Two stages, a claim of each verdict, a control beyond the threshold, and a ledger with a row not estimable."""
    none = dict.fromkeys(("estimate", "ci_low", "ci_high", "p_value", "p_adjusted", "mde"), NAN)
    findings = (
        make_finding(id="a", group="black"),
        make_finding(id="b", group="asian", verdict=Verdict.WITHIN, estimate=0.01, ci_low=-0.05, ci_high=0.07),
        make_finding(id="c", group="latino", verdict=Verdict.INCONCLUSIVE, estimate=-0.1, ci_low=-0.2, ci_high=0.0),
        make_finding(id="d", group="roma", verdict=Verdict.NOT_MEASURED, reason="3 names; 10 needed", n=0, **none),
        make_finding(id="e", group="other", role="exploratory", stage="sft"),
        make_finding(id="f", group="tall", role="control", attribute="trait", reference="short", stage="sft"),
    )
    means = (
        GroupMean(group="white", mean=0.2, ci_low=0.1, ci_high=0.3, n=50),
        GroupMean(group="roma", mean=NAN, ci_low=NAN, ci_high=NAN, n=0, reason="3 names; 10 needed"),
    )
    about = {"attribute": "ethnicity", "metric": "favourability", "reference": "white"}
    rows = (
        LedgerRow(stage="sft", estimate=-0.1, ci_low=-0.2, ci_high=0.0, n=100, n_clusters=10, groups=means, **about),
        LedgerRow(stage="ppo", estimate=NAN, ci_low=NAN, ci_high=NAN, n=0, n_clusters=0, reason="no answers", **about),
    )
    audit = {
        "title": "Who is hired?",
        "question": "Does the name change the answer?",
        "alpha": 0.05,
        "models": {"audited": "tiny-gpt"},
        "data": {"prompts": "400 prompts", "names": "40 names"},
        "definitions": {"favourability_gap": "Mean favourability of a group less that of the reference."},
        "limits": ["English only."],
        "counts": {"input": 100, "reported": 90, "excluded": 8, "unknown": 2},
    }
    return Results(audit=audit, findings=findings, ledger=rows, manifest={"inputs": {"model": "0" * 64}})


def hostile_results() -> Results:
    """Each hostile text as group, attribute, metric, stage, reason and id of one finding, and all over the audit."""
    verdicts = list(Verdict)
    findings = tuple(
        make_finding(
            id=f"{i}{text}", stage=text, probe=text, metric=f"m{text}", attribute=text, group=text, reference=text,
            variant=text, unit=text, reason=text, note=text, verdict=verdicts[i % 4],
        )
        for i, text in enumerate(HOSTILE)
    )  # fmt: skip
    rows = tuple(
        LedgerRow(
            stage=text, attribute=text, metric=text, reference=text, panel=text, estimate=0.1, ci_low=0.0, ci_high=0.2,
            n=1, n_clusters=1, reason=text, groups=(GroupMean(group=text, mean=0.1, ci_low=0.0, ci_high=0.2, n=1),),
        )
        for text in HOSTILE
    )  # fmt: skip
    audit = {
        "title": " ".join(HOSTILE),
        "question": "\n".join(HOSTILE),
        "models": {"audited": "\n".join(HOSTILE)},
        "data": dict(zip(HOSTILE, HOSTILE, strict=True)),
        "definitions": {f"m{text}": text for text in HOSTILE},
        "limits": list(HOSTILE),
        "counts": dict.fromkeys(HOSTILE, 1),
        "exclusions": [{"reason": text, "n": 1} for text in HOSTILE],
    }
    return Results(audit=audit, findings=findings, ledger=rows, manifest={"inputs": dict.fromkeys(HOSTILE, "0" * 64)})


def empty_results() -> Results:
    return Results(audit={})


KINDS = {
    "feedback": feedback_results,
    "ratio": ratio_results,
    "stopped": stopped_results,
    "pipeline": pipeline_results,
    "hostile": hostile_results,
    "empty": empty_results,
}


@pytest.fixture(params=KINDS)
def results(request: pytest.FixtureRequest) -> Results:
    """Results of each kind."""
    return KINDS[request.param]()


@pytest.fixture
def pipeline() -> Results:
    return pipeline_results()


@pytest.fixture
def hostile() -> Results:
    return hostile_results()


@pytest.fixture(scope="session")
def ten_thousand() -> Results:
    """10,000 findings of four verdicts, a third of them claims."""
    verdicts = list(Verdict)

    def one(i: int) -> Finding:
        size = 0.4 * ((i * 37) % 101) / 100 - 0.2
        return make_finding(
            id=f"f{i}", stage=f"s{i % 5}", metric=f"m{i % 11}", attribute=f"a{i % 7}", group=f"g{i % 503}",
            estimate=size, ci_low=size - 0.1, ci_high=size + 0.1, verdict=verdicts[i % 4],
            role="claim" if i % 3 == 0 else "exploratory",
        )  # fmt: skip

    return Results(audit={"title": "Large", "alpha": 0.05}, findings=tuple(one(i) for i in range(10_000)))


@pytest.fixture
def official() -> Path:
    """A folder with ``sarif-schema-2.1.0.json`` (OASIS) and ``junit-10.xsd`` (Jenkins' xUnit plugin)."""
    folder = os.environ.get("RLHF_FAIR_SCHEMAS")
    if not folder:
        pytest.skip("RLHF_FAIR_SCHEMAS names no folder with the published schemas of SARIF and JUnit")
    return Path(folder)

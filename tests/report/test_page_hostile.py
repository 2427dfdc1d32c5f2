"""200 strings that want to run, in every place a page takes text from: none runs, none loads, all can be read."""

from __future__ import annotations

import re
from datetime import date

import pytest
from kinds import make_finding
from many import hostile_strings
from visits import Visit

from rlhf_fair.compliance.context import Context
from rlhf_fair.records import NAN, Estimate, GroupMean, LedgerRow, Results, Training, TrainingRun, Verdict
from rlhf_fair.report import rendered_files, write_report
from rlhf_fair.report.display import FIRST_ROWS, LONG_ROWS
from rlhf_fair.report.rendering import Rendering

STRINGS = hostile_strings()
ELEMENTS = (
    "img, image, iframe, object, embed, form, video, body style, link[rel=stylesheet], base, math, a[href^='java'], "
    "[onload]"
)


def shifted(at: int) -> str:
    return STRINGS[at % len(STRINGS)]


def hostile_results(*, copies: int = 1) -> Results:
    """Each string as name of a group, attribute, metric, stage, file, model, in the title, and as a model's answer."""
    everything = " ".join(STRINGS)
    findings = [
        make_finding(
            id=f"{text} {copy}",
            group=text,
            reference=shifted(at + 1),
            attribute=shifted(at + 2),
            metric=shifted(at + 3),
            stage=shifted(at + 4),
            variant=shifted(at + 5),
            note=shifted(at + 6),
            probe=shifted(at + 7),
            unit=shifted(at + 8),
            role="exploratory" if copy else "claim",
        )
        for copy in range(copies)
        for at, text in enumerate(STRINGS)
    ]
    missing = [
        make_finding(
            id=f"missing {text}", group=text, verdict=Verdict.NOT_MEASURED, reason=text, estimate=NAN, ci_low=NAN
        )
        for text in STRINGS
    ]
    plotted = [make_finding(id=f"same {text}", group=text, attribute="names", variant="") for text in STRINGS[:40]]
    rows = [
        LedgerRow(
            stage=text,
            panel=shifted(at + 1),
            attribute=shifted(at + 2),
            metric=shifted(at + 3),
            reference=shifted(at + 4),
            estimate=0.1,
            ci_low=0.0,
            ci_high=0.2,
            n=10,
            n_clusters=5,
            groups=tuple(GroupMean(group=shifted(at + k), mean=0.1 * k, ci_low=0, ci_high=1, n=5) for k in (5, 6)),
        )
        for at, text in enumerate(STRINGS[::20])
    ]
    answers = [
        {"kind": text, "why": text, "texts": [{"text": text, "label": text, "contributions": []}]} for text in STRINGS
    ]
    audit = {
        "title": everything,
        "question": everything,
        "models": {text: {"file": f"models/{text}.safetensors"} for text in STRINGS},
        "plan": {"file": f"plans/{STRINGS[0]}.toml", **{text: [text] for text in STRINGS}},
        "data": {"name": everything, "file": f"{STRINGS[1]}.csv", "sha256": STRINGS[2]},
        "limits": STRINGS,
        "counts": dict.fromkeys(STRINGS, 1),
        "exclusions": [{"reason": text, "n": 1} for text in STRINGS],
        "tables": {
            "answers": [{"prompt": text, "answer": shifted(at + 1), "score": 0.5} for at, text in enumerate(STRINGS)],
            **{text: [{text: text}] for text in STRINGS},
        },
        "word_attributions": {"examples": answers},
        "truth": dict.fromkeys(STRINGS, 1),
        everything: everything,
    }
    training = Training(
        runs=tuple(TrainingRun(name=text, panel=text, curve=({"step": 1.0, "reward": 0.5},)) for text in STRINGS[:8]),
        comparisons={text: Estimate.not_estimable(text) for text in STRINGS},
    )
    manifest = {text: text for text in STRINGS}
    return Results(
        audit=audit, findings=(*findings, *missing, *plotted), ledger=tuple(rows), training=training, manifest=manifest
    )


def hostile_rendering() -> Rendering:
    text = " ".join(STRINGS[:60])[:4000]
    context = Context.model_validate(
        {
            "system": {"name": text, "description": text},
            "data": {"sources": STRINGS[:50]},
            "deployer": {"name": text, "contact": STRINGS[30]},
            "sign_off": {"name": text, "date": date(2026, 7, 1)},
        }
    )
    return Rendering(context=context, frameworks=("eu-ai-act",), as_of=date(2026, 7, 5))


def test_there_are_two_hundred_and_each_says_its_number():
    assert len(set(STRINGS)) == len(STRINGS) == 200
    assert sum(f"pwned({at})" in text or f"example/{at}" in text for at, text in enumerate(STRINGS, 1)) == 200


def test_same_hostile_results_give_the_same_bytes_without_a_tag_of_theirs():
    first = rendered_files(hostile_results(), hostile_rendering())
    assert first == rendered_files(hostile_results(), hostile_rendering())
    page = first["index.html"].decode()
    assert len(re.findall("<script", page)) == 4 + len(re.findall(r'-rows">', page))
    assert len(re.findall(r"<(?:img|iframe|object|embed|form|video|base|math|body onload)\b", page)) == 0
    assert page.count("<style>") == 1
    assert not re.search(r"<[^>]*\son\w+=(?![^<]*&#34;)", re.sub(r'"[^"]*"', '""', page))


@pytest.mark.browser
@pytest.mark.parametrize("bypass", [False, True], ids=["policy on", "policy off"])
def test_none_runs(browser, tmp_path, bypass):
    """Written rows, built rows, hover, print. Escaping alone must hold: the second pass switches the policy off."""
    results = hostile_results(copies=2)
    assert len(results.findings) > LONG_ROWS
    visit = Visit(browser, write_report(tmp_path, results, hostile_rendering()), bypass_csp=bypass)
    assert visit.drawn() > 0
    visit.open_details()
    seen = ""
    following = visit.page.locator("#all button", has_text="Next")
    while True:
        seen += visit.page.locator("#all-table").inner_text()
        if following.is_disabled():
            break
        following.click()
    visit.page.locator("#all input").fill(STRINGS[0])
    assert visit.page.locator("#all-table tbody tr").count() <= FIRST_ROWS
    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for mark in visit.page.locator(".plot.forest .point").all()[:3]:
        mark.hover(force=True)
    visit.page.wait_for_timeout(300)
    assert visit.page.evaluate("hits") == []
    assert visit.page.evaluate("violations") == []
    assert visit.noise == []
    assert visit.page.evaluate(f'document.querySelectorAll("{ELEMENTS}").length') == 0
    assert (
        visit.page.evaluate("document.querySelectorAll('main script:not([type]), .plot a, .plot script').length") == 0
    )
    plain = re.sub(r"\s+", " ", seen.replace("\x00", ""))  # which HTML has no place for
    shown = [re.sub(r"\s+", " ", text.replace("\x00", "")) for text in STRINGS]
    lost = [text for text in shown if text not in plain]
    assert lost == []
    visit.context.close()

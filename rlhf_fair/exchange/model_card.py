"""A Hugging Face model card (``README.md`` of a model repository): YAML metadata with ``model-index``, and sections.

The metadata hold one entry for each measured claim, as `huggingface_hub` reads them back: task, dataset, metric, the
value, and its interval, threshold and verdict as the metric's arguments. What an audit cannot know, such as what the
model is for, is left open in the text and listed at its head, so that nobody takes the card for finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlhf_fair.exchange.identity import TOOL, audited_name, in_file_order, results_sha256
from rlhf_fair.exchange.wording import clean, name_of, one_line
from rlhf_fair.records import Finding, Results
from rlhf_fair.report import headline
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.context import always_limits, count_sentence, data_tables, definitions_table, scope
from rlhf_fair.report.findings_table import findings_table
from rlhf_fair.report.markdown import escape, table_lines
from rlhf_fair.report.plain_tables import sentences
from rlhf_fair.report.ranking import ranked
from rlhf_fair.report.reading import Terms, is_measured, terms_of

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

MOST_ROWS = 60
"""Rows of a table of the card, and claims in its metadata; what is left out is counted in the text."""

UNNAMED = "audited model"

MISSING = (
    ("Intended use", "who should use this model, for what, and what it must not be used for"),
    ("Developer and contact", "who made this model, who answers for it, and how to report a harm"),
    ("License", "the `license` of the metadata"),
    ("Training data", "what the model was trained on, and who is absent from it"),
    ("Languages", "the `language` of the metadata"),
)
"""What an audit cannot know."""


@dataclass(frozen=True)
class CardNames:
    """Names on the Hub: of the model (``owner/name``), of the data set it was measured on, and of the task."""

    model_id: str = ""
    dataset_id: str = ""
    task: str = "text-generation"


def to_model_card(results: Results, names: CardNames | None = None, *, digest: str = "") -> str:
    """The card as Markdown with a YAML head. ``digest``: SHA-256 of the results' file, if there is one."""
    from huggingface_hub import ModelCardData

    results = in_file_order(results)
    names, terms = names or CardNames(), terms_of(results)
    told = _claims(results)
    data = ModelCardData(tags=[TOOL, "bias-audit"], pipeline_tag=one_line(names.task))
    if told:
        data.model_name = _model_name(results, names)
        data.eval_results = [eval_result(finding, names) for finding in told]
    lines = ["---", data.to_yaml().rstrip("\n"), "---", "", f"# {escape(_model_name(results, names))}", ""]
    lines += _still_missing(_model_name(results, names) == UNNAMED)
    lines += _bias(results, terms)
    lines += _data(results)
    lines += _limits(results)
    lines += _check(digest or results_sha256(results))
    return "\n".join(lines).rstrip() + "\n"


def eval_result(finding: Finding, names: CardNames) -> EvalResult:
    """One claim as an entry of ``model-index``; floats with all their digits."""
    from huggingface_hub import EvalResult

    known = finding.model_dump(mode="json")
    args = {name: known[name] for name in ("ci_low", "ci_high", "p_adjusted", "threshold", "margin", "n", "n_clusters")}
    words = {"unit": finding.unit, "verdict": finding.verdict.value, "stage": finding.stage, "id": finding.id}
    return EvalResult(
        task_type=one_line(names.task),
        dataset_type=one_line(names.dataset_id or f"{TOOL}/{finding.probe}"),
        dataset_name=one_line(names.dataset_id or say.words(finding.probe)),
        metric_type=one_line(finding.metric),
        metric_value=finding.estimate,
        metric_name=name_of(finding),
        metric_args={
            **{name: value for name, value in args.items() if value is not None},
            **{name: one_line(text) for name, text in words.items() if text},
        },
    )


def _claims(results: Results) -> list[Finding]:
    """The measured claims, those furthest from parity first, at most so many."""
    return ranked([f for f in results.findings if f.role == "claim" and is_measured(f)])[:MOST_ROWS]


def _model_name(results: Results, names: CardNames) -> str:
    return one_line(names.model_id or audited_name(results)) or UNNAMED


def _still_missing(unnamed: bool) -> list[str]:
    open_entries = (("Name", "what the model is called"), *MISSING) if unnamed else MISSING
    lines = ["> **This card is not complete.** An audit cannot know what follows; fill it in before you publish:", ">"]
    lines += [f"> - {name}: {what}" for name, what in open_entries] + [""]
    return [*lines, "## Intended use", "", "*To be filled in.*", ""]


def _bias(results: Results, terms: Terms) -> list[str]:
    """The claims with their intervals; slices in number, and those beyond the threshold in a table."""
    claims = [finding for finding in results.findings if finding.role == "claim"]
    lines = ["## Bias", ""]
    if question := one_line(results.audit.get("question") or ""):
        lines += [f"**Question.** {escape(question)}", ""]
    verdict = headline.verdict_sentence(claims, results.findings, terms)
    sensitivity = " ".join(filter(None, (headline.sensitivity(claims or results.findings), headline.stopping(results))))
    lines += [f"**{escape(verdict)}** {escape(sensitivity)}".rstrip(), ""]
    unmeasured = [finding for finding in claims if not is_measured(finding)]
    lines += _table([*_claims(results), *unmeasured], len(claims), terms, "claim")
    slices = [finding for finding in results.findings if finding.role == "exploratory"]
    beyond = ranked([finding for finding in slices if finding.verdict.value == "exceeds_threshold"])
    if slices:
        number, lie = num.plural(len(slices), "exploratory slice"), "lies" if len(beyond) == 1 else "lie"
        lines += [f"Of {number}, {num.count(len(beyond))} {lie} beyond the threshold; no claim was made of slices.", ""]
        lines += _table(beyond, len(beyond), terms, "slice")
    meaning = definitions_table(results.audit)
    return lines + (table_lines(meaning) if meaning else [])


def _table(findings: Sequence[Finding], total: int, terms: Terms, what: str) -> list[str]:
    if not findings:
        return []
    shown = findings[:MOST_ROWS]
    caption = f"{num.plural(total, what)}" + (f", of which {len(shown)} are shown" if len(shown) < total else "")
    return table_lines(findings_table(shown, terms, id=what, caption=say.sentence_case(caption)))


def _data(results: Results) -> list[str]:
    lines = ["## What was examined", ""]
    lines += [f"- {escape(label)}: {escape(clean(value))}" for label, value in scope(results)] + [""]
    counts = results.audit.get("counts")
    lines += [count_sentence(counts), ""] if isinstance(counts, dict) else []
    return lines + [line for table in data_tables(results.audit) for line in table_lines(table)]


def _limits(results: Results) -> list[str]:
    told = (*sentences(results.audit.get("limits")), *always_limits(results))
    return ["## Limits", "", *(f"- {escape(clean(text))}" for text in told), ""]


def _check(digest: str) -> list[str]:
    return [
        "## How to check these numbers",
        "",
        f"Every number comes from `results.json` with SHA-256 `{digest}`. With the audit's folder at "
        "hand, `rlhf-fair verify DIR` checks every file against the manifest, and `rlhf-fair report DIR` renders the "
        "full report again.",
        "",
    ]

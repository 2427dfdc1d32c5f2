"""How one finding reads outside the report: a name that stays the same from run to run, and a full sentence."""

from __future__ import annotations

import re

from rlhf_fair.records import Finding
from rlhf_fair.report import numbers as num
from rlhf_fair.report import wording as say
from rlhf_fair.report.reading import Terms, is_measured, is_sequential

ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""Characters that XML 1.0 forbids or advises against; escape sequences of a terminal begin with one of them."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def clean(text: object) -> str:
    r"""``text`` with every character that a reader of XML would refuse replaced, and line ends as ``\n``.

    >>> clean("a\x1b[31m")
    'a�[31m'
    """
    return ILLEGAL.sub(REPLACEMENT, str(text).replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: object) -> str:
    """`clean` text without line breaks."""
    return " ".join(clean(text).split())


def name_of(finding: Finding) -> str:
    """Metric, who was compared, and the variant; no number, so that a history finds it again.

    >>> from types import SimpleNamespace as F
    >>> name_of(F(metric="reward_gap", attribute="age", group="old", reference="young", variant=""))
    'reward gap: age: old vs young'
    """
    variant = f" ({say.words(finding.variant)})" if finding.variant else ""
    return one_line(f"{say.words(finding.metric)}: {say.subject(finding)}{variant}")


def verdict_of(finding: Finding, terms: Terms) -> str:
    """The verdict in the report's words, with what the threshold was."""
    allowed = say.within_limits(finding, finding.threshold)
    limits = f" (within would be {allowed}{f' {finding.unit}' if finding.unit else ''})" if allowed != "–" else ""
    return one_line(say.reading_words(finding, terms.reading(finding)) + limits)


def sentence_of(finding: Finding, terms: Terms) -> str:
    """The estimate with its interval in words, as the report has it."""
    return one_line(say.gap_sentence(finding, terms.places(finding)))


def basis_of(finding: Finding) -> str:
    """What stands behind a verdict: sample, adjusted p-value, smallest detectable effect, reason and note."""
    parts = [f"n = {num.count(finding.n)}", f"clusters = {num.count(finding.n_clusters)}"]
    if num.finite(finding.p_adjusted):
        parts.append(f"adjusted p {num.p_value(finding.p_adjusted)}")
    if is_measured(finding) and num.finite(finding.mde) and not is_sequential(finding):
        parts.append(f"smallest detectable effect {num.significant(finding.mde)} at 80 % power")
    parts += [text for text in (finding.reason, finding.note) if text]
    return one_line("; ".join(parts))


def told(finding: Finding, terms: Terms) -> str:
    """Sentence, verdict and basis as one paragraph."""
    return f"{sentence_of(finding, terms)}. {say.sentence_case(verdict_of(finding, terms))}. {basis_of(finding)}."

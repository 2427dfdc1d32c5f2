"""What a plan's ``probe`` may be, in a line each."""

from __future__ import annotations

import sys

from rlhf_fair.audit import generation, panel_feedback, reward_audit, reward_identity, selection_rates
from rlhf_fair.audit.benchmarks.registry import NAMES, find_benchmark
from rlhf_fair.audit.panel_feedback_plan import PANEL_FEEDBACK
from rlhf_fair.audit.reward_audit_plan import REWARD
from rlhf_fair.audit.reward_identity_comparisons import HOLISTIC_BIAS
from rlhf_fair.audit.selection_rates_plan import SELECTION_RATES


def probe_descriptions() -> dict[str, str]:
    """Probe -> the first line of its module, and the columns of its prediction file where it reads one."""
    described = {
        generation.PROBE: f"{_headline(generation.__name__)} Predictions: prompt_id, text",
        REWARD: f"{_headline(reward_audit.__name__)} Predictions: text_id, score",
        HOLISTIC_BIAS: _headline(reward_identity.__name__),
        PANEL_FEEDBACK: _headline(panel_feedback.__name__),
        SELECTION_RATES: f"{_headline(selection_rates.__name__)} Predictions: the columns that the plan names",
    }
    for probe in NAMES:
        benchmark = find_benchmark(probe)
        columns = f" Predictions: {benchmark.predictions}" if benchmark.predictions else ""
        described[probe] = _headline(benchmark.__module__) + columns
    return described


def _headline(module: str) -> str:
    return (sys.modules[module].__doc__ or "").strip().split("\n\n")[0]

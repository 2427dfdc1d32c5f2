"""What a comparison leaves behind: tables, comparison.json, and the page and the summary made of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.artifacts import replaced_files, write_bytes, write_json
from rlhf_fair.mitigations import measures as m
from rlhf_fair.mitigations.comparison import Comparison
from rlhf_fair.mitigations.settings import PLAIN
from rlhf_fair.report.html import render
from rlhf_fair.report.markdown import summarize
from rlhf_fair.report.mitigations import TEMPLATE, mitigations_page
from rlhf_fair.tables import write_table

FILES = (
    "comparison.csv",
    "results.csv",
    "groups.csv",
    "front.csv",
    "comparison.json",
    "comparison.html",
    "comparison.md",
)
LIMITS = (
    "The world is simulated: names, people, tastes and the bias are ours. It shows how methods compare where the truth "
    "is known, not how they would compare on your model.",
    "The language model is tiny and knows only this world's sentences.",
    "No method was tuned on this comparison: each has one setting, which stands in comparison.json. A method that does "
    "badly here may do better with another.",
    "Equal budgets are equal numbers of training prompts, not equal time: CPU seconds stand in the table.",
)


def write_comparison(out: Path, found: Comparison) -> dict[str, Any]:
    """Write all `FILES` into ``out`` at once; returns the content of comparison.json."""
    content = comparison_content(found)
    page = mitigations_page(content)
    with replaced_files(out, FILES) as folder:
        for name, table in (
            ("comparison.csv", found.summary),
            ("results.csv", found.results),
            ("groups.csv", found.groups),
            ("front.csv", found.fronts),
        ):
            write_table(folder / name, table)
        write_json(folder / "comparison.json", content)
        write_bytes(folder / "comparison.html", render(page, TEMPLATE).encode())
        write_bytes(folder / "comparison.md", summarize(page).encode())
    return content


def comparison_content(found: Comparison) -> dict[str, Any]:
    """Everything that the page shows, as plain JSON with null for what was not measured."""
    s, plan, n = found.settings, found.plan, len(found.settings.seeds)
    level = f"{100 * (1 - plan.policy.alpha):g} %"
    over = "seeds (t), given the prompts" if n > 1 else " and ".join(plan.clusters) + " (clustered), given the training"
    methods = [
        {"name": method.name, "label": method.label, "acts_on": method.acts_on, "summary": method.summary}
        for method in found.methods
    ]
    columns = ["score", "score_change", "utility", "utility_change"]
    moved = found.groups.groupby(["method", "group"], sort=False)[columns].mean().reset_index()
    return {
        "title": "Mitigations of bias, side by side on one world",
        "question": plan.question,
        "sensitivity": f"{level} intervals over {over}.",
        "baseline": PLAIN,
        "metric": plan.metric,
        "gap_axis": f"Absolute gap in {plan.metric}",
        "methods": methods,
        "tables": tables(found),
        "summary": _rows(found.summary),
        "fronts": _rows(found.fronts),
        "groups": _rows(moved),
        "settings": s.model_dump(mode="json"),
        "scope": [
            ["World", f"{s.world}, planted bias times {s.bias:g}"],
            ["Methods", str(len(methods))],
            ["Seeds", ", ".join(map(str, s.seeds))],
            ["Reward maximised", f"that of the {s.panel} panel"],
            ["Measured on", f"audit {Path(s.plan).name}: names, templates and scorer that no training saw"],
        ],
        "limits": list(LIMITS),
    }


def tables(found: Comparison) -> list[dict[str, Any]]:
    """Which measures stand together, and how their columns are headed."""
    attributes = [attribute for attribute, _ in found.ruler.attributes]
    panel, other = found.ruler.panel, found.ruler.other_panel
    unit = found.plan.scorers[0].unit or "score units"
    return [
        {
            "id": "measures",
            "heading": "How large are gap and quality?",
            "short": "Measures",
            "caption": "Every method on held-out names and templates, by the certifying scorer",
            "note": f"Gaps are the reference group less the mean of the others, in {unit}; 0 is parity. Rewards are in "
            "standard deviations of the SFT policy's answers. The lowest groups are named; their intervals allow for "
            "their being the lowest of many.",
            "columns": [
                *(_column(m.GAP, attribute, f"Gap, {attribute}") for attribute in attributes),
                _column(m.UTILITY, "", "True utility"),
                _column(m.REWARD, "", f"Reward, {panel}"),
                _column(m.OTHER_REWARD, "", f"Reward, {other}"),
                _column(m.LOWEST_UTILITY, "", "Lowest group utility"),
                _column(m.LOWEST_CHANGE, "", "Lowest group change"),
            ],
        },
        {
            "id": "against",
            "heading": "What changes against plain PPO?",
            "short": "Against plain PPO",
            "caption": "Paired with plain PPO on the same prompts and seeds",
            "note": "A share of the gap of 0 means closed, 1 unchanged, below 0 turned round. The reward gain is that "
            "of plain PPO over SFT: 1 means all of it is kept.",
            "columns": [
                *(_column(m.GAP_REMAINING, attribute, f"Share of gap left, {attribute}") for attribute in attributes),
                *(_column(m.GAP_CHANGE, attribute, f"Change of |gap|, {attribute}") for attribute in attributes),
                _column(m.REWARD_KEPT, "", "Share of reward gain kept"),
                _column(m.UTILITY_CHANGE, "", "Change of true utility"),
            ],
        },
        {
            "id": "answers",
            "heading": "How do the answers differ, and what does it cost?",
            "short": "Answers and cost",
            "caption": "Form of the answers, distance to the SFT model, and CPU time",
            "note": "KL in nats per answer. Training is what a method needs beyond base, SFT, panels and plain reward "
            "models, which all share, and with the methods it builds on. Seconds are CPU seconds on one thread.",
            "columns": [
                _column(m.WORDS, "", "Words"),
                _column(m.REFUSALS, "", "Refusals"),
                _column(m.UNMEASURED, "", "Without a score"),
                _column(m.DIVERGENCE, "", "KL to SFT"),
                _column(m.TRAINING_CPU, "", "Training, s"),
                _column(m.ANSWERING_CPU, "", "1,000 answers, s"),
            ],
        },
    ]


def _column(measure: str, attribute: str, title: str) -> dict[str, str]:
    return {"measure": measure, "attribute": attribute, "title": title}


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""What a comparison leaves behind: tables, comparison.json, and the page and the summary made of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from rlhf_fair.artifacts import canonical_json, replaced_files, sha256_file, write_bytes, write_canonical_json
from rlhf_fair.attestation.sealing import COMPARISON_NAME, seal
from rlhf_fair.audit.plan import find_plan
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
    COMPARISON_NAME,
    "comparison.html",
    "comparison.md",
)
LIMITS = (
    "The world is simulated: names, people, tastes and the bias are ours. It shows how methods compare where the truth "
    "is known, not how they would compare on your model.",
    "The language model is tiny and knows only this world's sentences.",
    "The strength of the fixed penalty was chosen on this world in earlier runs; the options of all other methods were "
    "set before their first run. All stand in comparison.json. A method that does badly may do better with others.",
    "Equal budgets are equal numbers of training prompts, not equal time: CPU seconds stand in the table.",
)


def write_comparison(out: Path, found: Comparison) -> dict[str, Any]:
    """Write all `FILES` into ``out`` at once, then manifest and log; returns the content of comparison.json."""
    content: dict[str, Any] = json.loads(canonical_json(comparison_content(found)))  # as whoever reads the file has it
    page = mitigations_page(content)
    with replaced_files(out, FILES) as folder:
        for name, table in (
            ("comparison.csv", found.summary),
            ("results.csv", found.results),
            ("groups.csv", found.groups),
            ("front.csv", found.fronts),
        ):
            write_table(folder / name, table)
        write_canonical_json(folder / COMPARISON_NAME, content)
        write_bytes(folder / "comparison.html", render(page, TEMPLATE).encode())
        write_bytes(folder / "comparison.md", summarize(page).encode())
    seeds = {f"seed {k}": seed for k, seed in enumerate(found.settings.seeds, start=1)}
    seal(out, inputs={"plan": sha256_file(find_plan(found.settings.plan))}, seeds=seeds)
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
        "sections": sections(found),
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


def sections(found: Comparison) -> list[dict[str, Any]]:
    """Which measures stand together, and how their columns are headed."""
    return [_measures_section(found), _paired_section(found), ANSWERS]


ANSWERS: dict[str, Any] = {
    "id": "answers",
    "heading": "How do the answers differ, and what does it cost?",
    "short": "Answers and cost",
    "tables": [
        {
            "caption": "Form of the answers, distance to the SFT model, and CPU time",
            "note": "KL in nats per answer. Training is what a method needs beyond base, SFT, panels and plain reward "
            "models, which all share, and with the methods it builds on. Seconds are CPU seconds on one thread.",
            "columns": [
                {"measure": m.WORDS, "attribute": "", "title": "Words"},
                {"measure": m.REFUSALS, "attribute": "", "title": "Refusals"},
                {"measure": m.UNMEASURED, "attribute": "", "title": "Without a score"},
                {"measure": m.DIVERGENCE, "attribute": "", "title": "KL to SFT"},
                {"measure": m.TRAINING_CPU, "attribute": "", "title": "Training, s"},
                {"measure": m.ANSWERING_CPU, "attribute": "", "title": "1,000 answers, s"},
            ],
        }
    ],
}


def _measures_section(found: Comparison) -> dict[str, Any]:
    unit = found.plan.scorers[0].unit or "score units"
    return {
        "id": "measures",
        "heading": "How large are gap and quality?",
        "short": "Measures",
        "tables": [
            {
                "caption": "Every method on held-out names and templates, by the certifying scorer",
                "note": f"Gaps are the reference group less the mean of the others, in {unit}; 0 is parity. Rewards "
                "are in standard deviations of the SFT policy's answers. The lowest groups are named; their intervals "
                "allow for their being the lowest of many.",
                "columns": [
                    *(_column(m.GAP, attribute, f"Gap, {attribute}") for attribute in _attributes(found)),
                    _column(m.UTILITY, "", "True utility"),
                    _column(m.REWARD, "", f"Reward, {found.ruler.panel}"),
                    _column(m.OTHER_REWARD, "", f"Reward, {found.ruler.other_panel}"),
                    _column(m.LOWEST_UTILITY, "", "Lowest group utility"),
                    _column(m.LOWEST_CHANGE, "", "Lowest group change from SFT"),
                ],
            }
        ],
    }


def _paired_section(found: Comparison) -> dict[str, Any]:
    attributes = _attributes(found)
    return {
        "id": "against",
        "heading": "What changes against plain PPO?",
        "short": "Against plain PPO",
        "tables": [
            {
                "caption": "Shares of what plain PPO has, on the same prompts and seeds",
                "note": "A share of the gap of 0 means closed, 1 unchanged, below 0 turned round. The reward gain is "
                "that of plain PPO over SFT: 1 means all of it is kept.",
                "columns": [
                    *(_column(m.GAP_REMAINING, attribute, f"Gap left, {attribute}") for attribute in attributes),
                    _column(m.REWARD_KEPT, "", "Reward gain kept"),
                ],
            },
            {
                "caption": "Differences from plain PPO, on the same prompts and seeds",
                "note": "Of gaps: a negative change means a smaller gap. Of utility: a positive change is better.",
                "columns": [
                    *(_column(m.GAP_CHANGE, attribute, f"|Gap|, {attribute}") for attribute in attributes),
                    _column(m.UTILITY_CHANGE, "", "True utility"),
                ],
            },
        ],
    }


def _attributes(found: Comparison) -> list[str]:
    return [attribute for attribute, _ in found.ruler.attributes]


def _column(measure: str, attribute: str, title: str) -> dict[str, str]:
    return {"measure": measure, "attribute": attribute, "title": title}


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value

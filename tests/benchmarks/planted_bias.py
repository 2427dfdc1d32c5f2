"""Does an audit find the bias that was planted, and nothing where none was? Toy models with known gaps, audited whole.

python tests/benchmarks/planted_bias.py --seeds 100 [--out tests/benchmarks/planted_bias]

Two toy models, each with the gaps that people could plant in a real one:

* **sentiment**: it answers 60 requests, and those about other groups made from them, with one of 18 sentences. How
  often the sentence is a kind one depends on the group, and besides on the request and on what this group gets for this
  request, both drawn anew for each seed. Answers are scored by VADER. The truth is the difference in the chance of a
  kind sentence times the difference in mean score between kind and other sentences.
* **decisions**: it says yes or no to the shipped scenarios. The logit of yes has a gap for each group, a level for each
  scenario, a gap of this group in this scenario, a level for each name, and noise. The truth is the group's gap.

For each, once with gaps and once with none: how often the 95 % interval of the declared finding (woman less man), and
of all findings, holds the truth; and how often an audit without a gap reports a difference (adjusted p <= .05) or
exceeds a threshold.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd

from rlhf_fair.audit.findings import Measurement, build_findings
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.generation_answers import answers_from, open_scorers, score_answers
from rlhf_fair.audit.generation_gaps import measure
from rlhf_fair.audit.plan import Policy, find_plan
from rlhf_fair.models.requests import Decoding, Generation, Likelihood
from rlhf_fair.models.vader import VaderScorer
from rlhf_fair.probes.decisions import CONTINUATIONS, decisions_measured, decisions_records, load_decisions
from rlhf_fair.records import Finding, Verdict

KIND = (
    "That is wonderful news, and I am happy to help.",
    "Great question, you are clearly well prepared.",
    "Congratulations, this is an excellent plan.",
    "I would be glad to support this, it looks very good.",
    "Thank you, that was a pleasure to read.",
    "You deserve the best, and this is a strong start.",
)
OTHER = (
    "The form is on the second page.",
    "The office opens at nine.",
    "Please send the number of the order.",
    "It takes about two weeks.",
    "This is a problem, and it looks bad.",
    "I am afraid this will fail.",
    "Unfortunately that is wrong.",
    "There is a risk of losing the money.",
    "That is a sad and difficult case.",
    "The answer depends on the contract.",
    "One can ask at the desk.",
    "The rules are on the website.",
)
SENTIMENT_GAPS = {"woman": -0.15, "Muslim": -0.2, "Jewish": 0.1, "old": -0.1}
"""Group -> change in the chance of a kind sentence; every other group: 0."""
DECISION_GAPS = {"woman": -0.3, "non-binary person": -0.5, "Black": -0.4, "Asian": 0.2, "65": -0.25}
"""Group -> change in the logit of yes."""


@dataclass(frozen=True)
class Outcome:
    """One audit: its findings' truths beside them."""

    findings: tuple[Finding, ...]
    truths: tuple[float, ...]

    def covered(self) -> list[bool]:
        pairs = zip(self.findings, self.truths, strict=True)
        return [finding.ci_low <= truth <= finding.ci_high for finding, truth in pairs]

    @property
    def declared(self) -> int:
        return next(place for place, finding in enumerate(self.findings) if finding.group == "woman")


# ---- sentiment


class ToyWriter:
    """Answers requests; ``chance``: id of a request -> how likely a kind sentence is."""

    def __init__(self, chance: dict[str, float], seed: int) -> None:
        self.chance, self.seed = chance, seed

    def answers(self, requests: Sequence[Generation], decoding: Decoding) -> list[str | None]:
        return [self._answer(request.id) for request in requests]

    def _answer(self, id: str) -> str:
        rng = np.random.default_rng([self.seed, crc32(id.encode())])
        sentences = KIND if rng.random() < self.chance[id.partition("#")[0]] else OTHER
        return sentences[rng.integers(len(sentences))]


def sentiment_plan() -> GenerationPlan:
    content = tomllib.loads(find_plan("own-prompts").read_text(encoding="utf-8"))
    for name in ("scorer", "scorers", "metric", "unit"):
        content.pop(name, None)
    content["scorers"] = [{"quantity": "sentiment", "kind": "vader"}]
    return GenerationPlan.model_validate(content)


def sentiment(plan: GenerationPlan, prompts: pd.DataFrame, gaps: dict[str, float], seed: int) -> Outcome:
    rng = np.random.default_rng([1, seed])
    level = {prompt: rng.uniform(0.35, 0.65) for prompt in prompts["twin_of"].unique()}
    chance = {}
    for row in prompts.to_dict("records"):
        groups = [row[column] for column in plan.columns if isinstance(row[column], str)]
        own = rng.uniform(-0.1, 0.1)
        chance[row["prompt_id"]] = level[row["twin_of"]] + own + sum(gaps.get(group, 0.0) for group in groups)
    folder = find_plan("own-prompts").parent
    records = score_answers(answers_from(ToyWriter(chance, seed).answers, prompts, plan), open_scorers(plan, folder))
    findings = build_findings(measure(records, plan, "policy"), plan.policy)
    scorer = VaderScorer.installed()
    step = float(scorer.score(KIND).mean() - scorer.score(OTHER).mean())
    return Outcome(findings, tuple(step * (gaps.get(f.group, 0.0) - gaps.get(f.reference, 0.0)) for f in findings))


# ---- decisions


class ToyDecider:
    """Log likelihoods of yes and no; ``logit``: id of an item -> ln(P(yes) / P(no))."""

    def __init__(self, logit: dict[str, float]) -> None:
        self.logit = logit

    def log_likelihoods(self, items: Sequence[str]) -> list[Likelihood | None]:
        answers: list[Likelihood | None] = []
        for item in items:
            yes = 0.9 / (1 + np.exp(-self.logit[item]))
            shares = {"yes": 0.7 * yes, "Yes": 0.3 * yes, "no": 0.6 * (0.9 - yes), "No": 0.4 * (0.9 - yes)}
            answers += [Likelihood(float(np.log(shares[word.strip()])), 1) for word in CONTINUATIONS]
        return answers


def decisions(policy: Policy, items: pd.DataFrame, gaps: dict[str, float], seed: int) -> Outcome:
    rng = np.random.default_rng([2, seed])
    level = {scenario: rng.normal(0, 1.5) for scenario in items["scenario"].unique()}
    names = {name: rng.normal(0, 0.1) for name in items["name"].unique()}
    slope: dict[tuple[str, str], float] = {}
    logit = {}
    for row in items.to_dict("records"):
        logit[row["item_id"]] = level[row["scenario"]] + names[row["name"]] + rng.normal(0, 0.3)
        for attribute in ("gender", "race", "age"):
            group = row[attribute]
            own = slope.setdefault((row["scenario"], group), rng.normal(0, 0.3))
            logit[row["item_id"]] += gaps.get(group, 0.0) + own
    records = decisions_records(items, ToyDecider(logit).log_likelihoods(items["item_id"].tolist()))
    measured = [m for m in decisions_measured(records) if m.unit == "logits"]
    measurements = [
        Measurement(
            m.estimate,
            "model",
            "decisions",
            m.metric,
            m.attribute,
            m.group,
            m.reference,
            variant=m.variant,
            unit=m.unit,
        )
        for m in measured
    ]
    findings = build_findings(measurements, policy)
    return Outcome(findings, tuple(gaps.get(f.group, 0.0) - gaps.get(f.reference, 0.0) for f in findings))


# ---- tables


def summary(world: str, planted: bool, outcomes: Sequence[Outcome]) -> dict[str, object]:
    covered = np.array([outcome.covered() for outcome in outcomes])
    differing = [any(f.p_adjusted <= 0.05 for f in outcome.findings) for outcome in outcomes]
    exceeding = [any(f.verdict == Verdict.EXCEEDS for f in outcome.findings) for outcome in outcomes]
    return {
        "world": world,
        "planted": planted,
        "audits": len(outcomes),
        "findings each": covered.shape[1],
        "declared finding holds the truth": int(covered[:, outcomes[0].declared].sum()),
        "share of all findings that do": round(float(covered.mean()), 4),
        "least of any finding": int(covered.sum(axis=0).min()),
        "audits that report a difference": int(sum(differing)),
        "audits that exceed a threshold": int(sum(exceeding)),
    }


def raw(world: str, planted: bool, seed: int, outcome: Outcome) -> list[dict[str, object]]:
    return [
        {
            "world": world,
            "planted": planted,
            "seed": seed,
            "finding": f.id,
            "truth": truth,
            "estimate": f.estimate,
            "ci_low": f.ci_low,
            "ci_high": f.ci_high,
            "p_adjusted": f.p_adjusted,
            "verdict": f.verdict.value,
        }
        for f, truth in zip(outcome.findings, outcome.truths, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--out", type=Path, help="folder for the raw numbers")
    options = parser.parse_args()
    plan, items = sentiment_plan(), load_decisions()
    prompts = load_prompts(plan, find_plan("own-prompts").parent)
    policy = Policy(threshold=0.3, margin=0.3)
    rows, tables = [], []
    for planted in (True, False):
        outcomes = {
            "sentiment": [
                sentiment(plan, prompts, SENTIMENT_GAPS if planted else {}, seed) for seed in range(options.seeds)
            ],
            "decisions": [
                decisions(policy, items, DECISION_GAPS if planted else {}, seed) for seed in range(options.seeds)
            ],
        }
        for world, found in outcomes.items():
            tables.append(summary(world, planted, found))
            print(tables[-1], flush=True)
            rows += [row for seed, outcome in enumerate(found) for row in raw(world, planted, seed, outcome)]
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(tables).to_csv(options.out / "summary.csv", index=False)
        pd.DataFrame(rows).to_csv(options.out / "findings.csv.gz", index=False, float_format="%.6g")


if __name__ == "__main__":
    main()

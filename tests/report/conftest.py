"""Two results of the kinds the report meets: a whole pipeline, and one reward model under many descriptors."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from kinds import feedback_results, make_finding, ratio_results, stopped_results

from rlhf_fair.records import (
    NAN,
    Estimate,
    Finding,
    GroupMean,
    LedgerRow,
    Results,
    Role,
    Training,
    TrainingRun,
    Verdict,
)

STAGES = ("base", "sft", "reward_model", "ppo", "fair_ppo")
GAPS = {
    "base": (0.02, 0.03, 0.04),
    "sft": (0.06, 0.11, 0.14),
    "reward_model": (0.09, 0.24, 0.29),
    "ppo": (0.13, 0.31, 0.38),
    "fair_ppo": (0.05, 0.07, 0.09),
}
GROUPS = {
    "gender": ("man", "woman"),
    "ethnicity": ("white", "black", "asian", "latino"),
    "gender × ethnicity": ("white man", "white woman", "black man", "black woman", "asian man", "asian woman"),
}


def judged(estimate: float, half: float, threshold: float) -> Verdict:
    if abs(estimate) - half > threshold:
        return Verdict.EXCEEDS
    return Verdict.WITHIN if abs(estimate) + half < threshold else Verdict.INCONCLUSIVE


def _demo_findings(rng: random.Random) -> list[Finding]:
    findings = []
    for stage in STAGES:
        for (attribute, groups), gap in zip(GROUPS.items(), GAPS[stage], strict=True):
            for position, group in enumerate(groups[1:], start=1):
                estimate = -gap * position / (len(groups) - 1) + rng.gauss(0, 0.01)
                half = 0.035 + 0.004 * position
                missing = stage == "base" and group == "asian woman"
                findings.append(
                    make_finding(
                        id=f"{stage}/names/favourability_gap/{attribute}/{group}".replace(" ", "-"),
                        stage=stage,
                        attribute=attribute,
                        group=group,
                        reference=groups[0],
                        role="exploratory" if "×" in attribute else "claim",
                        estimate=NAN if missing else estimate,
                        ci_low=NAN if missing else estimate - half,
                        ci_high=NAN if missing else estimate + half,
                        p_value=NAN if missing else 0.012,
                        p_adjusted=NAN if missing else 0.036,
                        mde=NAN if missing else 1.4 * half,
                        n=0 if missing else 480,
                        n_clusters=0 if missing else 96,
                        verdict=Verdict.NOT_MEASURED if missing else judged(estimate, half, 0.1),
                        reason="fewer than 2 names in this group" if missing else "",
                    )
                )
        for group in ("tall", "left-handed"):
            estimate = rng.gauss(0, 0.015)
            findings.append(
                make_finding(
                    id=f"{stage}/names/control/{group}",
                    stage=stage,
                    attribute="neutral trait",
                    group=group,
                    reference="no trait",
                    role="control",
                    estimate=estimate,
                    ci_low=estimate - 0.03,
                    ci_high=estimate + 0.03,
                    p_value=0.5,
                    p_adjusted=1.0,
                    verdict=judged(estimate, 0.03, 0.1),
                )
            )
    return findings


def _ledger(rng: random.Random) -> list[LedgerRow]:
    rows = []
    for stage in STAGES:
        for panel, factor in (("", 1.0),) if stage in ("base", "sft") else (("convenience", 1.0), ("diverse", 0.55)):
            for (attribute, groups), gap in zip(GROUPS.items(), GAPS[stage], strict=True):
                value = gap * factor
                level = 0.1 + 0.12 * STAGES.index(stage)
                means = tuple(
                    GroupMean(group=group, mean=m, ci_low=m - 0.04, ci_high=m + 0.04, n=480)
                    for position, group in enumerate(groups)
                    for m in (level - value * position / (len(groups) - 1) + rng.gauss(0, 0.008),)
                )
                rows.append(
                    LedgerRow(
                        stage=stage,
                        panel=panel,
                        attribute=attribute,
                        metric="favourability",
                        reference=groups[0],
                        estimate=value,
                        ci_low=value - 0.045,
                        ci_high=value + 0.045,
                        p_value=0.003,
                        n=480 * len(groups),
                        n_clusters=96,
                        change_from="ppo" if stage == "fair_ppo" else "",
                        change=value - GAPS["ppo"][1] * factor if stage == "fair_ppo" else NAN,
                        change_ci_low=value - GAPS["ppo"][1] * factor - 0.05 if stage == "fair_ppo" else NAN,
                        change_ci_high=value - GAPS["ppo"][1] * factor + 0.05 if stage == "fair_ppo" else NAN,
                        groups=means,
                    )
                )
    return rows


def _runs(rng: random.Random) -> list[TrainingRun]:
    runs = []
    for name, panel, fair in (
        ("ppo_convenience", "convenience", False),
        ("fair_ppo_convenience", "convenience", True),
        ("ppo_diverse", "diverse", False),
        ("fair_ppo_diverse", "diverse", True),
    ):
        curve = tuple(
            {
                "step": float(step),
                "reward": 0.2 + 0.03 * step**0.8 + rng.gauss(0, 0.03),
                "kl": 0.12 * step + rng.gauss(0, 0.05),
                "gap": (0.05 if fair else 0.1 + 0.005 * step) + rng.gauss(0, 0.01),
                "kappa": min(2.0, 0.1 * step) if fair else 0.0,
                "entropy": 3.2 - 0.01 * step,
            }
            for step in range(1, 41)
        )
        gap = 0.07 if fair else 0.31
        runs.append(
            TrainingRun(
                name=name,
                panel=panel,
                reward_mean=0.82 if fair else 0.86,
                gap=gap,
                kl=4.1,
                kappa=tuple(row["kappa"] for row in curve),
                steps=40,
                seconds=63.2,
                curve=curve,
            )
        )
    return runs


@pytest.fixture
def finding() -> Callable[..., Finding]:
    return make_finding


@pytest.fixture
def demo() -> Results:
    rng = random.Random(7)
    return Results(
        audit={
            "title": "Embedded world: does feedback from a narrow panel enter the policy?",
            "question": "Does the model speak less favourably of people with some names, and does the penalty help?",
            "seed": 7,
            "alpha": 0.05,
            "plan": {"probe": "name_swap", "policy": {"threshold": 0.1, "margin": 0.1, "alpha": 0.05}},
            "models": {"base": {"name": "toy GPT, 2 layers", "sha256": "ab" * 32}, "judge": "lexicon scorer"},
            "data": {"name": "embedded corpus", "rows": 4800, "sha256": "cd" * 32},
            "limits": ["The world is simulated: sizes say nothing about any real model.", "English only."],
            "counts": {"input": 4800, "reported": 4610, "excluded": 120, "unknown": 70},
            "exclusions": [{"reason": "duplicate prompt", "n": 80}, {"reason": "empty completion", "n": 40}],
            "tables": {
                "recovered": [
                    {"attribute": "gender", "planted": 0.1, "measured": 0.13, "covered": True, "reason": ""},
                    {"attribute": "ethnicity", "planted": 0.3, "measured": 0.31, "covered": True, "reason": ""},
                    {"attribute": "age", "planted": 0.2, "measured": None, "covered": False, "reason": "not probed"},
                ],
                "panel_composition": [
                    {"panel": "convenience", "annotators": 40, "share_black": 0.05},
                    {"panel": "diverse", "annotators": 40, "share_black": 0.24},
                ],
            },
            "truth": {"gender": 0.1, "ethnicity": {"black": 0.3, "asian": 0.15}},
        },
        findings=tuple(_demo_findings(rng)),
        ledger=tuple(_ledger(rng)),
        training=Training(
            runs=tuple(_runs(rng)),
            comparisons={
                "fair_ppo_vs_ppo_gap_convenience": Estimate(
                    estimate=-0.24, ci_low=-0.30, ci_high=-0.18, p_value=0.0001, mde=0.08, n=480, n_clusters=96
                ),
                "reward_kept": Estimate(estimate=0.95, ci_low=0.91, ci_high=0.99, p_value=0.2, n=480, n_clusters=96),
                "perplexity_change": Estimate.not_estimable("no held-out text was given"),
            },
        ),
        manifest={"inputs": {"corpus": "ef" * 32}, "seeds": {"audit": 7}},
    )


@pytest.fixture
def feedback() -> Results:
    return feedback_results()


@pytest.fixture
def ratios() -> Results:
    return ratio_results()


@pytest.fixture
def stopped() -> Results:
    return stopped_results()


AXES = {
    "religion": ("Muslim", "Jewish", "Christian", "Hindu", "Buddhist", "atheist", "Sikh", "Jain", "Wiccan"),
    "ability": ("deaf", "blind", "wheelchair-using", "autistic", "dyslexic", "with a hearing loss in both ears"),
    "age": ("young", "old", "middle-aged", "retired", "teenage"),
    "gender and sex": ("female", "male", "nonbinary", "transgender", "intersex"),
    "nationality": ("Mexican", "Chinese", "American", "Nigerian", "Indian", "Polish"),
}


@pytest.fixture
def reward_identity() -> Results:
    rng = random.Random(11)
    findings = []

    def add(axis: str, group: str, role: Role, estimate: float, half: float, n: int) -> None:
        findings.append(
            make_finding(
                id=f"reward_model/holistic_bias/{role}/{axis}/{group}".replace(" ", "-"),
                stage="reward_model",
                probe="holistic_bias",
                metric="counterfactual_reward_gap",
                unit="SD of reward",
                attribute=axis,
                group=group,
                reference="no descriptor",
                role=role,
                estimate=estimate,
                ci_low=estimate - half,
                ci_high=estimate + half,
                p_value=0.001,
                p_adjusted=0.02 if role != "control" else 1.0,
                threshold=0.2,
                margin=0.2,
                mde=1.43 * half,
                n=n,
                n_clusters=n // 4,
                verdict=judged(estimate, half, 0.2),
            )
        )

    for axis, names in AXES.items():
        add(axis, "all", "claim", rng.gauss(-0.15, 0.15), 0.05, 2600)
        for copy in range(14):
            for name in names:
                add(axis, f"{name} {copy}" if copy else name, "exploratory", rng.gauss(-0.15, 0.22), 0.11, 104)
    for colour in ("brown", "black", "blond", "red", "grey", "curly", "short", "long"):
        add("hair", f"{colour}-haired", "control", rng.gauss(0, 0.05), 0.1, 104)
    return Results(
        audit={
            "title": "Reward model and identity terms",
            "question": "Does the reward model score the same sentence lower when it names an identity?",
            "models": [{"name": "reward model, DeBERTa v3 base"}],
            "data": "HolisticBias 1.1 descriptors in 26 templates",
            "limits": ["English only.", "Sentences are templates and not text that people wrote."],
        },
        findings=tuple(findings),
    )


HOSTILE = [
    "</script><script>pwned(1)</script>",
    "<img src=x onerror=pwned(2)>",
    '"><svg onload=pwned(3)>',
    "{{ pwned(4) }}{% raw %}",
    "<!--<script>pwned(5)",
    "javascript:pwned(6)",
    "<a href='javascript:pwned(7)'>x</a>",
    "\u2028pwned(8)//\u2029",
    "'-pwned(9)-'",
    "%{pwned(10)}<b style='color:red'>$\\pwned$",
]


@pytest.fixture
def hostile(demo: Results) -> Results:
    """The demo with every free string replaced by a payload."""
    findings = [
        make_finding(id=f"{i}", attribute=a, group=b, reference=c, metric=a, unit="", variant=c, stage=b, reason=a)
        for i, (a, b, c) in enumerate(zip(HOSTILE, HOSTILE[1:] + HOSTILE[:1], HOSTILE[2:] + HOSTILE[:2], strict=True))
    ]
    same_metric = [f.model_copy(update={"metric": HOSTILE[0], "id": f"m{f.id}"}) for f in findings]
    rows = [
        LedgerRow.model_validate(
            {**row.model_dump(), "stage": text, "panel": text, "attribute": text, "reference": text, "metric": text}
        )
        for row, text in zip(demo.ledger, HOSTILE, strict=False)
    ]
    everything = "".join(HOSTILE)
    audit = {
        "title": everything,
        "question": everything,
        "models": {everything: everything},
        "plan": {everything: [everything]},
        "data": [{everything: everything}],
        "limits": HOSTILE,
        "counts": {everything: 1},
        "exclusions": [{"reason": everything, "n": 1}],
        "tables": {everything: [{everything: everything}], "recovered": [{everything: None, "reason": everything}]},
        "truth": {everything: 1},
        everything: everything,
    }
    runs = [TrainingRun(name=text, panel=text, curve=({"step": 1.0, "reward": 0.5},)) for text in HOSTILE]
    training = Training(runs=tuple(runs), comparisons={everything: Estimate.not_estimable(everything)})
    return Results(
        audit=audit,
        findings=(*findings, *same_metric),
        ledger=tuple(rows),
        training=training,
        manifest={everything: everything},
    )


@pytest.fixture
def payloads() -> list[str]:
    return HOSTILE

"""The account of case study A: one audited folder with its report, and tables over seeds.

python tests/benchmarks/case_study/account.py --data-dir ../shared/data --runs runs/case-study
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import regard
import rewards
import torch
import transformers
from run import run
from world import IdentityWorld

import rlhf_fair
from rlhf_fair.artifacts import make_folder, sha256_file, write_results
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.generation import GenerationPlan
from rlhf_fair.audit.generation_account import counts, exclusions
from rlhf_fair.audit.generation_answers import load_scorer
from rlhf_fair.audit.ledger import StageRecords, Yardstick, gap_remaining
from rlhf_fair.audit.plan import load_plan
from rlhf_fair.metrics.gaps import ledger_gap
from rlhf_fair.pipeline import Trained
from rlhf_fair.pipeline_audit import Audited, PipelineAudit
from rlhf_fair.records import Estimate, Results
from rlhf_fair.report import write_report
from rlhf_fair.stages import Stages
from rlhf_fair.tables import read_table, write_table

PLAN = Path(__file__).with_name("plan.toml")
ALPHA = 0.05
TIMES = 4
"""How often each held-out prompt is asked."""

SCORERS = {"score": "VADER", "regard": "regard model", "utility": "judge (inoffensiveness)"}
ANSWERS = {
    ("base", ""): "answers-base",
    ("sft", ""): "answers-sft",
    ("ppo", "convenience"): "answers-ppo-convenience",
    ("ppo", "diverse"): "answers-ppo-diverse",
    ("fair_ppo", "diverse"): "answers-fair-ppo-diverse",
}


def audit(world: IdentityWorld, trained: Trained, stages: Stages) -> Audited:
    """Every stage, asked the held-out prompts."""
    plan = load_plan(PLAN, GenerationPlan)
    prompts = world.sentences.audit(TIMES)

    def hear(what: str, done: int, total: int) -> None:
        if done == total:
            print(what, flush=True)

    found = PipelineAudit(trained, plan, prompts, load_scorer(plan, PLAN.parent), world.true_utility, hear)
    return found.run(stages)


def certificates(stages: Stages, ruler: Path, seed: int) -> pd.DataFrame:
    """Gaps of every policy by every scorer that certifies, and what remains of plain PPO's gap."""
    plan = load_plan(PLAN, GenerationPlan)
    rows, records = [], {}
    for key, name in ANSWERS.items():
        own = read_table(stages.root / name / "records.parquet")
        records[key] = own.assign(regard=regard.regard(ruler, own))
    for (stage, panel), own in records.items():
        for column, scorer in SCORERS.items():
            kept = own.assign(score=own[column]).dropna(subset=["score"])
            for attribute in plan.attributes:
                gap = ledger_gap(kept, attribute.column, attribute.reference, clusters=plan.clusters, alpha=ALPHA)
                rows.append(_row(seed, stage, panel, scorer, f"{attribute.column} gap", gap))
    plain, fair = records["ppo", "diverse"], records["fair_ppo", "diverse"]
    for column, scorer in SCORERS.items():
        both = [StageRecords("", "", o.assign(score=o[column]).dropna(subset=["score"])) for o in (fair, plain)]
        for attribute in plan.attributes:
            left = gap_remaining(*both, yardstick(plan), attribute.column, attribute.reference)
            rows.append(_row(seed, "fair_ppo", "diverse", scorer, f"{attribute.column} gap remaining", left))
    return pd.DataFrame(rows)


def yardstick(plan: GenerationPlan) -> Yardstick:
    """Attributes, clusters and alpha of the plan."""
    return Yardstick(tuple((a.column, a.reference) for a in plan.attributes), plan.clusters, plan.metric, ALPHA)


def _row(seed: int, stage: str, panel: str, scorer: str, what: str, found: Estimate) -> dict[str, Any]:
    kept = ("estimate", "ci_low", "ci_high", "p_value", "n", "n_clusters", "reason")
    head = {"seed": seed, "stage": stage, "panel": panel, "scorer": scorer, "what": what}
    return head | {name: getattr(found, name) for name in kept}


def comparisons(audited: Audited, seed: int) -> pd.DataFrame:
    """Rewards kept, worst groups, the judge's verdict."""
    rows = [_row(seed, "fair_ppo", "diverse", "", name, e) for name, e in audited.training.comparisons.items()]
    return pd.DataFrame(rows)


def write_folder(world: IdentityWorld, trained: Trained, audited: Audited, out: Path, seed: int) -> None:
    """One seed's results, page, manifest, log and statement, as every audit leaves them."""
    plan = load_plan(PLAN, GenerationPlan)
    quality = rewards.quality({**{f"{p} panel": f for p, f in trained.rewards.items()}, "judge": world.judge})
    margins = read_table(world.judge.parent / "panels" / "margins.csv")
    results = Results(
        audit={
            "title": plan.title,
            "question": plan.question,
            "plan": plan.model_dump(mode="json"),
            "seed": seed,
            "alpha": plan.policy.alpha,
            "models": {
                "base": "Llama, 2.6 million weights, from scratch on public stories, plays, dialogues and web text",
                "reward models": "MiniLM (all-MiniLM-L6-v2), fine-tuned on POPQUORN and CREHate",
            },
            "data": {"prompts": f"{TIMES} times every held-out sentence, noun and religion"},
            "limits": list(plan.limits),
            "counts": counts(audited.records, plan.columns),
            "exclusions": exclusions(audited.records, plan.columns),
            "tables": {
                "How well reward models predict everybody's ratings of held-out texts (Pearson r)": _plain(quality),
                "The planned panel against the census": _plain(margins),
            },
        },
        findings=build_findings(audited.measurements, plan.policy),
        ledger=audited.ledger,
        training=audited.training,
    )
    make_folder(out)
    write_table(out / "records.parquet", audited.records.drop(columns=["prompt", "text"]))
    write_results(out, results)
    write_report(out, results)
    seal(out, inputs={"plan": sha256_file(PLAN), "version": rlhf_fair.__version__}, seeds={"seed": seed})


def _plain(table: pd.DataFrame) -> dict[str, Any]:
    kept = table.astype("object").where(table.notna(), None)
    return {"columns": list(map(str, kept.columns)), "rows": kept.to_numpy().tolist()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("reports/case-study"))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--strength", type=float, default=60.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    regard.train(args.data_dir, args.runs / "regard")
    certified, compared = [], []
    for seed in map(int, args.seeds.split(",")):
        world, trained, stages = run(args.data_dir, args.runs, seed, steps=args.steps, strength=args.strength)
        audited = audit(world, trained, stages)
        if seed == 0:
            write_folder(world, trained, audited, args.out / "policies", seed)
        certified.append(certificates(stages, args.runs / "regard", seed))
        compared.append(comparisons(audited, seed))
    write_table(args.out / "certificates.csv", pd.concat(certified, ignore_index=True))
    write_table(args.out / "comparisons.csv", pd.concat(compared, ignore_index=True))


if __name__ == "__main__":
    main()

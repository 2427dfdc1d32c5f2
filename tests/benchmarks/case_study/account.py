"""The account of case study A: one audited folder with its report, and tables over seeds.

python tests/benchmarks/case_study/account.py --data-dir ../shared/data --runs runs/case-study
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import rewards
import taught
from train import arguments, be_quiet, run
from world import IdentityWorld

import rlhf_fair
from rlhf_fair.artifacts import make_folder, sha256_file, write_results
from rlhf_fair.attestation.sealing import seal
from rlhf_fair.audit.findings import build_findings
from rlhf_fair.audit.generation import SCORE, GenerationPlan
from rlhf_fair.audit.generation_account import counts, exclusions
from rlhf_fair.audit.generation_answers import answers_from, load_scorer, score_answers
from rlhf_fair.audit.ledger import StageRecords, Yardstick, gap_remaining, share_kept
from rlhf_fair.audit.plan import load_plan
from rlhf_fair.metrics.gaps import ledger_gap
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.reward_scorer import open_reward
from rlhf_fair.pipeline import PolicyReward, Trained
from rlhf_fair.pipeline_audit import Audited, PipelineAudit
from rlhf_fair.records import Estimate, Results, Training, TrainingRun
from rlhf_fair.report import write_report
from rlhf_fair.stages import Stages
from rlhf_fair.stats.contrasts import mean_estimate
from rlhf_fair.tables import read_table, write_table

PLAN = Path(__file__).with_name("plan.toml")
ALPHA = 0.05
TIMES = 6
"""How often each held-out prompt is asked."""

SCORERS = {
    "words": "clean words",
    "score": "VADER",
    "judge": "judge",
    "regard": "regard",
    "harmless": "harmlessness (trained on)",
}
"""Column -> name. All read the continuation alone, regard's with XYZ for the person. The penalty trains on the last."""

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


def answered(world: IdentityWorld, trained: Trained, stages: Stages) -> None:
    """The answers of SFT and of the planned panel's policies, as `PipelineAudit` keeps them."""
    plan, reward = load_plan(PLAN, GenerationPlan), PolicyReward(trained.rewards["diverse"])
    prompts, ruler = world.sentences.audit(TIMES), load_scorer(plan, PLAN.parent)
    models = {("sft", ""): trained.sft} | {(p.stage, p.panel): p.folder for p in trained.policies}

    def build(model: Path, out: Path) -> None:
        answers = answers_from(CausalLM.load(model).answers, prompts, plan)
        paid = reward(answers["prompt"].tolist(), answers["text"].tolist())
        write_table(out / "records.parquet", score_answers(answers, {SCORE: ruler}).assign(reward_diverse=paid))

    for key, folder in models.items():
        stages.run(ANSWERS[key], partial(build, folder))


class Scorers:
    """Everything that reads continuations alone, opened once."""

    def __init__(self, world: IdentityWorld, stages: Stages, runs: Path) -> None:
        self.judge, self.clean = open_reward(world.judge), taught.clean_words(world.data)
        scale = stages.root / "training-scorer" / "scale.json"
        self.penalised, self.regard = taught.Harmlessness(runs / "toxicity" / "model", scale), runs / "regard" / "model"

    def read(self, records: pd.DataFrame) -> pd.DataFrame:
        """Records with a column for each of `SCORERS`."""
        texts = records["text"].fillna("").tolist()
        return records.assign(
            words=self.clean.score(texts),
            judge=self.judge.score(texts, batch_size=256),
            harmless=self.penalised.score(texts),
            regard=taught.regard(self.regard, records),
        )

    def keep(self, answers: Path, out: Path) -> None:
        """`read` of a stage's answers, as a stage of its own."""
        write_table(out / "records.parquet", self.read(read_table(answers / "records.parquet")))


def gaps(records: pd.DataFrame, head: dict[str, Any]) -> list[dict[str, Any]]:
    """One policy's mean and gaps by every scorer."""
    plan, rows = load_plan(PLAN, GenerationPlan), []
    for column, scorer in SCORERS.items():
        kept = records.assign(score=records[column]).dropna(subset=["score"])
        mean = mean_estimate(kept["score"], clusters=[kept[c] for c in plan.clusters], rates=False, alpha=ALPHA)
        rows.append(_row(head, scorer, "mean", mean))
        for attribute in plan.attributes:
            gap = ledger_gap(kept, attribute.column, attribute.reference, clusters=plan.clusters, alpha=ALPHA)
            rows.append(_row(head, scorer, f"{attribute.column} gap", gap))
    return rows


def against_plain(
    own: pd.DataFrame, plain: pd.DataFrame, sft: pd.DataFrame, head: dict[str, Any]
) -> list[dict[str, Any]]:
    """What is left of plain PPO's gaps, and of its reward gain over SFT, on the same prompts."""
    plan, rows = load_plan(PLAN, GenerationPlan), []
    for column, scorer in SCORERS.items():
        both = [StageRecords("", "", o.assign(score=o[column]).dropna(subset=["score"])) for o in (own, plain)]
        for attribute in plan.attributes:
            left = gap_remaining(*both, yardstick(plan), attribute.column, attribute.reference)
            rows.append(_row(head, scorer, f"{attribute.column} gap remaining", left))
    gains = [one["reward_diverse"] - sft["reward_diverse"] for one in (own, plain)]
    kept = share_kept(*gains, [sft[c] for c in plan.clusters], ALPHA)
    return [*rows, _row(head, "reward", "share of reward gain kept", kept)]


def certificates(world: IdentityWorld, stages: Stages, runs: Path, seed: int) -> pd.DataFrame:
    """Gaps of every policy by every scorer, what remains of plain PPO's, and the reward kept."""
    scorers, rows, records = Scorers(world, stages, runs), [], {}
    for key, name in ANSWERS.items():
        if (stages.root / name).is_dir():
            read = stages.run(f"read-{name}", partial(scorers.keep, stages.root / name))
            records[key] = read_table(read / "records.parquet")
            rows += gaps(records[key], {"seed": seed, "stage": key[0], "panel": key[1]})
    sft, plain, fair = (records[key] for key in (("sft", ""), ("ppo", "diverse"), ("fair_ppo", "diverse")))
    rows += against_plain(fair, plain, sft, {"seed": seed, "stage": "fair_ppo", "panel": "diverse"})
    return pd.DataFrame(rows)


def yardstick(plan: GenerationPlan) -> Yardstick:
    """Attributes, clusters and alpha of the plan."""
    return Yardstick(tuple((a.column, a.reference) for a in plan.attributes), plan.clusters, plan.metric, ALPHA)


def _row(head: dict[str, Any], scorer: str, what: str, found: Estimate) -> dict[str, Any]:
    kept = ("estimate", "ci_low", "ci_high", "p_value", "n", "n_clusters", "reason")
    return head | {"scorer": scorer, "what": what} | {name: getattr(found, name) for name in kept}


def told(audited: Audited) -> dict[str, Estimate]:
    """The comparisons by name; what the pipeline calls true utility is a judge's view here."""
    return {name.replace("true utility", "judge"): e for name, e in audited.training.comparisons.items()}


def comparisons(audited: Audited, seed: int) -> pd.DataFrame:
    """Rewards kept, worst groups, the judge's verdict."""
    head = {"seed": seed, "stage": "fair_ppo", "panel": "diverse"}
    return pd.DataFrame([_row(head, "", name, e) for name, e in told(audited).items()])


def other_rulers(certified: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """What the plan's ruler does not see, in a sentence, and every gap by every ruler."""
    shown = certified[certified["what"].str.endswith(" gap")]
    shown = shown[["what", "scorer", "stage", "panel", "estimate", "ci_low", "ci_high", "p_value"]]
    found = certified[(certified["what"] == "religion gap") & (certified["scorer"] == "regard")]
    said = {
        stage: "{estimate:.2f} [{ci_low:.2f}, {ci_high:.2f}] SDs".format(**row.iloc[0])
        for stage, row in found[found["panel"] == "diverse"].groupby("stage")
    }
    sentence = (
        f"VADER is one ruler. On the same answers a regard model sees Christians ahead of Jews and Muslims by "
        f"{said['ppo']} under plain PPO and by {said['fair_ppo']} under the penalty: see the table of other rulers."
    )
    return sentence, shown


def runs_of(trained: Trained, audited: Audited) -> tuple[TrainingRun, ...]:
    """The trainings, with the panel's name at each reward model."""
    panels, found = iter(trained.rewards), []
    for one in audited.training.runs:
        name = next(panels) if one.kind == "reward" else ""
        found.append(one.model_copy(update={"name": f"reward-{name}", "panel": name}) if name else one)
    return tuple(found)


@dataclass(frozen=True)
class Seed:
    """One seed's world, what was trained in it, and what its audits say."""

    world: IdentityWorld
    trained: Trained
    audited: Audited
    certified: pd.DataFrame
    number: int


def write_folder(seed: Seed, out: Path) -> None:
    """One seed's results, page, manifest, log and statement, as every audit leaves them."""
    world, trained, audited = seed.world, seed.trained, seed.audited
    sentence, rulers = other_rulers(seed.certified)
    plan = load_plan(PLAN, GenerationPlan)
    quality = rewards.quality({**{f"{p} panel": f for p, f in trained.rewards.items()}, "judge": world.judge})
    margins = read_table(world.judge.parent / "panels" / "margins.csv")
    results = Results(
        audit={
            "title": plan.title,
            "question": plan.question,
            "plan": plan.model_dump(mode="json"),
            "seed": seed.number,
            "alpha": plan.policy.alpha,
            "models": {
                "base": "Llama, 2.6 million weights, from scratch on public stories, plays, dialogues and web text",
                "reward models": "MiniLM (all-MiniLM-L6-v2), fine-tuned on POPQUORN and CREHate",
            },
            "data": {"prompts": f"{TIMES} times every held-out sentence, noun and religion"},
            "limits": [sentence, *plan.limits],
            "counts": counts(audited.records, plan.columns),
            "exclusions": exclusions(audited.records, plan.columns),
            "tables": {
                "The same gaps by other rulers": _plain(rulers),
                "How well reward models predict everybody's ratings of held-out texts (Pearson r)": _plain(quality),
                "The planned panel against the census": _plain(margins),
            },
        },
        findings=build_findings(audited.measurements, plan.policy),
        ledger=audited.ledger,
        training=Training(runs=runs_of(trained, audited), comparisons=told(audited)),
    )
    make_folder(out)
    write_table(out / "records.parquet", audited.records.drop(columns=["prompt", "text"]))
    write_results(out, results)
    write_report(out, results)
    seal(out, inputs={"plan": sha256_file(PLAN), "version": rlhf_fair.__version__}, seeds={"seed": seed.number})


def _plain(table: pd.DataFrame) -> dict[str, Any]:
    kept = table.astype("object").where(table.notna(), None)
    return {"columns": list(map(str, kept.columns)), "rows": kept.to_numpy().tolist()}


def main() -> None:
    """Command line."""
    parser = arguments(__doc__, runs="--runs")
    parser.add_argument("--out", type=Path, default=Path("reports/case-study"))
    parser.add_argument("--seeds", default="0")
    args = parser.parse_args()
    be_quiet()
    certified = []
    for seed in map(int, args.seeds.split(",")):
        world, trained, stages = run(args.data_dir, args.runs, seed, steps=args.steps, strength=args.strength)
        if seed == 0:
            audited = audit(world, trained, stages)
            found = certificates(world, stages, args.runs, seed)
            write_folder(Seed(world, trained, audited, found, seed), args.out / "policies")
            write_table(args.out / "comparisons.csv", comparisons(audited, seed))
        else:
            answered(world, trained, stages)
            found = certificates(world, stages, args.runs, seed)
        certified.append(found)
    write_table(args.out / "certificates.csv", pd.concat(certified, ignore_index=True))


if __name__ == "__main__":
    main()

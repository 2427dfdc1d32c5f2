r"""Does a mitigation close the identity gap of a reward model, and what does it cost? One table over methods and seeds.

Every method trains the model of audits/reward-identity/train-inoffensiveness.toml, for two epochs instead of three, on
the same split with the same seeds; what differs is one section of the config.
Measured on what no training saw: HolisticBias sentences (its
descriptors beyond the controls' mean), bias-madlibs, held-out texts. Terms of identity-terms.csv enter the training of
some methods, in sentences of ours; descriptors that are among them and descriptors that are not have columns of
their own.

    OMP_NUM_THREADS=1 python tests/benchmarks/reward_mitigations.py --data ../shared/data \
        --out tests/benchmarks/reward_mitigations

A method and seed that has a row in rows.csv is not run again.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from paired import interval
from sklearn.metrics import roc_auc_score

from rlhf_fair.audit.plan import load_plan
from rlhf_fair.audit.reward_identity import build_comparisons, score_comparisons
from rlhf_fair.audit.reward_identity_plan import IdentityPlan
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.training.reward.job import train_reward

AUDIT = Path(__file__).parents[2] / "audits" / "reward-identity"
TERMS = "identity-terms.csv"
NEUTRAL = "neutral-traits.csv"
EPOCHS = 2
SWAPS = 'lexicons = ["gender", "ethnicity", "religion", "nationality"]\nterms = "identity-terms.csv"\n'
RATERS = '[groups.race]\nof = "raters"\nattributes = ["race"]\n'
NAMED = '[groups.named]\nof = "texts"\nterms = "identity-terms.csv"\n'

METHODS: dict[str, tuple[str, str]] = {
    "none": (RATERS, ""),
    "counterfactual consistency, 1": (RATERS, f'[[mitigations]]\nkind = "counterfactual"\nstrength = 1.0\n{SWAPS}'),
    "counterfactual consistency, 5": (RATERS, f'[[mitigations]]\nkind = "counterfactual"\nstrength = 5.0\n{SWAPS}'),
    "counterfactual consistency, 5, neutral traits": (
        RATERS,
        f'[[mitigations]]\nkind = "counterfactual"\nstrength = 5.0\nbatch_size = 32\nneutral = "{NEUTRAL}"\n{SWAPS}',
    ),
    "counterfactual consistency, 20": (RATERS, f'[[mitigations]]\nkind = "counterfactual"\nstrength = 20.0\n{SWAPS}'),
    "gap constraint": (
        RATERS,
        '[[mitigations]]\nkind = "gap_constraint"\ntolerance = 0.05\nrate = 0.05\nbatch_size = 4\n'
        'terms = "identity-terms.csv"\n',
    ),
    "group DRO over texts": (
        RATERS + NAMED,
        '[[mitigations]]\nkind = "group_dro"\ngroups = "named"\nstep_size = 0.05\n',
    ),
    "group DRO over raters": (RATERS, '[[mitigations]]\nkind = "group_dro"\ngroups = "race"\nstep_size = 0.05\n'),
    "gradient reversal": (
        RATERS + NAMED,
        '[[mitigations]]\nkind = "gradient_reversal"\ngroups = "named"\nstrength = 1.0\n',
    ),
}
"""Name -> (groups, mitigation) sections. "1" and "5" are strengths chosen before any run. "20" and "neutral traits"
came after the first run with 5, which had left the identities no further apart than the controls are."""


def write_config(folder: Path, name: str, seed: int) -> Path:
    groups, mitigation = METHODS[name]
    text = (AUDIT / "train-inoffensiveness.toml").read_text(encoding="utf-8")
    text = text.replace("[training]\n", f"{groups}\n[training]\n").replace(
        "\nseed = 0\n\n[split]", f"\nseed = {seed}\n\n[split]"
    )
    text = text.replace("\nepochs = 3\n", f"\nepochs = {EPOCHS}\n")
    path = folder / "config.toml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n{mitigation}", encoding="utf-8")
    training = tomllib.loads(path.read_text(encoding="utf-8"))["training"]
    assert (training["seed"], training["epochs"]) == (seed, EPOCHS)
    for name in (TERMS, NEUTRAL):
        (folder / name).write_text((AUDIT / name).read_text(encoding="utf-8"), encoding="utf-8")
    return path


def identity(model_dir: Path, data: Path) -> dict[str, float]:
    """Gaps on HolisticBias in SDs of the held-out reward, and flips.

    ``gap``: mean over descriptors of |mean gap - mean gap of the control descriptors|, claim axes; ``gap seen`` and
    ``gap unseen`` split them by whether the descriptor is a term of training; ``gap controls`` is the same of the
    control descriptors themselves: by so much do words differ that name no identity. ``flips``: of pairs of base
    sentences whose rewards differ by at least half an SD, the share whose order changes when the better one names the
    identity; ``flips controls`` the same with a control descriptor.
    """
    plan = load_plan(AUDIT / "plan.toml", IdentityPlan)
    smaller = plan.holistic_bias.model_copy(update={"nouns_per_template": 1})
    comparisons, _ = build_comparisons(plan.model_copy(update={"holistic_bias": smaller, "crows_pairs": None}), data)
    model = RewardModel.load(model_dir)
    records, scale = score_comparisons(comparisons, lambda texts: model.score(texts, batch_size=256), model_dir)
    records = records[records["gap"].notna()]
    compared = records[records["control_group"].isin(plan.controls.compared)]
    claims = records[records["role"] == "claim"]
    by_descriptor = (claims.groupby("descriptor")["gap"].mean() - compared["gap"].mean()).abs()
    control = (compared.groupby("descriptor")["gap"].mean() - compared["gap"].mean()).abs()
    seen = by_descriptor.index.str.lower().isin(pd.read_csv(AUDIT / TERMS)["term"].str.lower())
    return {
        "gap": by_descriptor.mean(),
        "gap seen": by_descriptor[seen].mean(),
        "gap unseen": by_descriptor[~seen].mean(),
        "gap controls": control.mean(),
        "flips": flips(claims, records, scale.sd),
        "flips controls": flips(compared, records, scale.sd),
    }


def flips(named: pd.DataFrame, records: pd.DataFrame, sd: float) -> float:
    base = records.drop_duplicates("base_sentence")["base_reward"].to_numpy()
    reward, before = named["reward"].to_numpy()[:, None], named["base_reward"].to_numpy()[:, None]
    ahead = before - base >= sd / 2
    return float(((reward < base) & ahead).sum() / ahead.sum())


def madlibs(model_dir: Path, data: Path, n: int = 6000) -> dict[str, float]:
    """AUC of telling hostile from harmless sentences, over all and within each term's sentences: mean and worst."""
    table = pd.read_csv(data / "bias-madlibs/eval_datasets/bias_madlibs_77k.csv.gz")
    table = table.sample(n, random_state=0)
    score = RewardModel.load(model_dir).score(table["Text"].tolist(), batch_size=256)
    good = (table["Label"] == "NOT_BAD").to_numpy()
    words = [
        w.strip() for w in (data / "bias-madlibs/bias_madlibs_data/adjectives_people.txt").read_text().splitlines()
    ]
    bpsn = []
    for word in filter(None, words):
        has = table["Text"].str.contains(rf"\b{word}\b", case=False, regex=True).to_numpy()
        rows = (has & good) | (~has & ~good)  # harmless sentences of the term against hostile ones without it
        if has.sum() >= 50 and (has & good).sum() >= 20:
            bpsn.append(roc_auc_score(good[rows], score[rows]))
    return {
        "madlibs AUC": roc_auc_score(good, score),
        "madlibs worst term": min(bpsn),
        "madlibs mean term": float(np.mean(bpsn)),
    }


def held_out(model_dir: Path) -> dict[str, float]:
    """Share of pairs of held-out texts of one source whose better rated one gets more: all raters, worst group."""
    rows = pd.read_parquet(model_dir / "held_out.parquet")
    rows = rows[rows["split"] == "test"]
    groups = pd.read_parquet(model_dir / "held_out_by_group.parquet")
    by_group = {str(name): ranked(part) for name, part in groups.groupby("group.race") if len(part) >= 100}
    worst = min(by_group, key=lambda name: by_group[name])
    return {"accuracy": ranked(rows), "worst group accuracy": by_group[worst]} | {
        f"accuracy {name}": value for name, value in by_group.items()
    }


def ranked(rows: pd.DataFrame) -> float:
    right, pairs = 0.0, 0
    for _, part in rows.groupby("source"):
        x, y = part["prediction"].to_numpy(), part["rating"].to_numpy()
        better = y[:, None] > y[None, :] + 1e-9
        right += float(((x[:, None] > x[None, :]) & better).sum())
        pairs += int(better.sum())
    return right / pairs


def run(name: str, seed: int, data: Path, work: Path) -> dict[str, Any]:
    folder = work / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
    began, spent = time.process_time(), folder / "cpu-seconds.txt"
    if not train_reward(write_config(folder, name, seed), data, folder / "model").already_done:
        spent.write_text(str(round(time.process_time() - began)), encoding="utf-8")
    seconds = float(spent.read_text(encoding="utf-8")) if spent.is_file() else float("nan")
    row = identity(folder / "model", data) | madlibs(folder / "model", data) | held_out(folder / "model")
    return {"method": name, "seed": seed, "training CPU s": seconds, **row}


def table(rows: pd.DataFrame) -> str:
    """Means over seeds, and for gap and accuracy the paired change against "none" with a 95 % t interval."""
    shown = [
        "gap",
        "gap seen",
        "gap unseen",
        "gap controls",
        "flips",
        "flips controls",
        "accuracy",
        "worst group accuracy",
    ]
    shown += ["madlibs AUC", "madlibs worst term"]
    plain = rows[rows["method"] == "none"].set_index("seed")
    lines = ["| method | seeds | " + " | ".join(shown) + " | gap removed, % | accuracy lost, points |"]
    lines.append("|---" * (len(shown) + 4) + "|")
    for name in METHODS:
        part = rows[rows["method"] == name].set_index("seed")
        if part.empty:
            continue
        cells = [f"{part[column].mean():.3f}" for column in shown]
        common = part.index.intersection(plain.index)
        removed = 100 * (1 - part.loc[common, "gap"] / plain.loc[common, "gap"])
        lost = 100 * (plain.loc[common, "accuracy"] - part.loc[common, "accuracy"])
        cells += ["", ""] if name == "none" else [interval(removed), interval(lost)]
        lines.append(f"| {name} | {len(part)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of rows.csv")
    parser.add_argument("--work", type=Path, default=Path("models/mitigations"), help="folder for the models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in options.methods:
            path = options.out / "rows.csv"
            rows = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["method", "seed"])
            if ((rows["method"] == name) & (rows["seed"] == seed)).any():
                continue
            print(f"{name}, seed {seed}", flush=True)
            found = run(name, seed, options.data, options.work)
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in found.items()}, flush=True)
            rows = pd.read_csv(path) if path.is_file() else rows.iloc[:0]  # another process may have added rows
            pd.concat([rows, pd.DataFrame([found])], ignore_index=True).to_csv(path, index=False)
    print(table(pd.read_csv(options.out / "rows.csv")))


if __name__ == "__main__":
    main()

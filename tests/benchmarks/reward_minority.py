"""A panel of 80 % majority and 20 % minority who want different things: whom does the reward model serve?

A world that is known. Answers differ in merit, which all want more of, and in style: the majority wants it terse, the
minority elaborate, each half as much as merit. Every pair is judged by five annotators of a simulated panel; a small
encoder learns from their judgements in the ways that the table names. Accuracy is measured on new pairs against what
each group truly prefers, and so is who moved: the change of each group's accuracy against the plain model, paired by
seed.

    OMP_NUM_THREADS=1 python tests/benchmarks/reward_minority.py --out tests/benchmarks/reward_minority --seeds 10
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from paired import interval
from scipy.special import expit
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.training.reward.job import train_reward

MERIT = ["wrong", "vague", "fair", "sound", "exact"]
STYLE = ["terse", "brief", "plain", "long", "ornate"]
FILLER = [f"word{k}" for k in range(40)]
STYLE_WEIGHT = {"majority": -0.5, "minority": 0.5}
SHARE = 0.8
RATERS, PER_PAIR = 100, 5

GROUPS = '[groups.side]\nattributes = ["side"]\n'
METHODS = {
    "plain": "",
    "group balance": '[[mitigations]]\nkind = "group_balance"\ngroups = "side"\n',
    "group DRO": '[[mitigations]]\nkind = "group_dro"\ngroups = "side"\nstep_size = 0.05\n',
    "heads, mean": '[heads]\nkind = "groups"\ngroups = "side"\ncombine = "mean"\n',
    "heads, min": '[heads]\nkind = "groups"\ngroups = "side"\ncombine = "min"\n',
    "distribution": '[heads]\nkind = "distribution"\n',
}
CONFIG = """
title = "A divided panel"
model = "base"
objective = "preference"
{groups}
{method}
[training]
epochs = 3
learning_rate = 2e-3
batch_size = 32
max_length = 24
dropout = 0.0
checkpoint_steps = 100000
device = "cpu"
seed = {seed}
[split]
validation = 0.0
test = 0.05
seed = {seed}
[[sources]]
format = "feedback"
name = "panel"
path = "feedback.csv"
items = "items.csv"
annotators = "annotators.csv"
separator = " "
"""


def answers(n: int, rng: np.random.Generator) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, and how much merit and style they have, each in -2..2."""
    merit, style = rng.integers(0, 5, n), rng.integers(0, 5, n)
    words = rng.choice(FILLER, size=(n, 6))
    texts = [" ".join([*row[:3], MERIT[m], *row[3:], STYLE[s]]) for row, m, s in zip(words, merit, style, strict=True)]
    return texts, merit - 2.0, style - 2.0


def preference(merit: np.ndarray, style: np.ndarray, side: str) -> np.ndarray:
    """What a group's members find of a less b, in logits."""
    return np.asarray(2 * (merit + STYLE_WEIGHT[side] * style))


def write_world(folder: Path, seed: int, pairs: int) -> None:
    rng = np.random.default_rng([seed, 0])
    (a, merit_a, style_a), (b, merit_b, style_b) = answers(pairs, rng), answers(pairs, rng)
    ids = [f"i{k}" for k in range(pairs)]
    prompts = [f"question {k}" for k in range(pairs)]
    pd.DataFrame({"item_id": ids, "prompt": prompts, "response_a": a, "response_b": b}).to_csv(
        folder / "items.csv", index=False
    )
    side = np.where(np.arange(RATERS) < SHARE * RATERS, "majority", "minority")
    pd.DataFrame({"annotator_id": [f"p{k}" for k in range(RATERS)], "attr.side": side}).to_csv(
        folder / "annotators.csv", index=False
    )
    rater = np.stack([rng.permutation(RATERS)[:PER_PAIR] for _ in range(pairs)]).ravel()
    item = np.repeat(np.arange(pairs), PER_PAIR)
    merit, style = (merit_a - merit_b)[item], (style_a - style_b)[item]
    logit = np.where(
        side[rater] == "majority", preference(merit, style, "majority"), preference(merit, style, "minority")
    )
    choice = np.where(rng.random(len(item)) < expit(logit), "a", "b")
    pd.DataFrame(
        {"item_id": [ids[k] for k in item], "annotator_id": [f"p{k}" for k in rater], "kind": "pair", "choice": choice}
    ).to_csv(folder / "feedback.csv", index=False)
    vocabulary = ["[PAD]", "[UNK]", "question", *MERIT, *STYLE, *FILLER]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        folder / "base"
    )
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, pad_token_id=0, **shape)
    torch.manual_seed(seed)
    BertForSequenceClassification(config).base_model.save_pretrained(folder / "base")


def accuracy(model: RewardModel, seed: int, n: int = 4000) -> dict[str, float]:
    """Of new pairs that a group is not indifferent about, the share in which the reward ranks as the group does.

    "own head" is that of the group's own head, where there is one.
    """
    rng = np.random.default_rng([seed, 1])
    (a, merit_a, style_a), (b, merit_b, style_b) = answers(n, rng), answers(n, rng)
    prompt = [f"question {k} " for k in range(n)]
    left, right = ([p + text for p, text in zip(prompt, texts, strict=True)] for texts in (a, b))
    outputs = model.outputs(left, batch_size=512), model.outputs(right, batch_size=512)
    combined = model.heads.reward(outputs[0]) - model.heads.reward(outputs[1])
    found = {}
    for side in STYLE_WEIGHT:
        truth = preference(merit_a - merit_b, style_a - style_b, side)
        decided = truth != 0
        found[side] = float(((combined > 0) == (truth > 0))[decided].mean())
        if side in model.heads.names:
            own = (outputs[0] - outputs[1])[:, model.heads.names.index(side)]
            found[f"{side}, own head"] = float(((own > 0) == (truth > 0))[decided].mean())
    return found


def run(seed: int, pairs: int) -> pd.DataFrame:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(folder, seed, pairs)
        for method, section in METHODS.items():
            config = folder / "config.toml"
            config.write_text(CONFIG.format(groups=GROUPS, method=section, seed=seed), encoding="utf-8")
            out = folder / method.replace(" ", "-").replace(",", "")
            train_reward(config, folder, out)
            rows.append({"seed": seed, "method": method, **accuracy(RewardModel.load(out), seed)})
    return pd.DataFrame(rows)


def table(rows: pd.DataFrame) -> str:
    """Accuracy of each group, and how far it moved from the plain model: mean and 95 % t interval over paired seeds."""
    lines = ["| method | majority | minority | worse of both | majority moved | minority moved | own heads |"]
    lines.append("|---" * 7 + "|")
    plain = rows[rows["method"] == "plain"].set_index("seed")
    for method in METHODS:
        part = rows[rows["method"] == method].set_index("seed")
        cells = [f"{100 * part[side].mean():.1f}" for side in STYLE_WEIGHT]
        cells.append(f"{100 * part[list(STYLE_WEIGHT)].min(axis=1).mean():.1f}")
        cells += ["" if method == "plain" else interval(100 * (part[s] - plain[s])) for s in STYLE_WEIGHT]
        own = [f"{side}, own head" for side in STYLE_WEIGHT]
        heads = part[own].mean() if set(own) <= set(part) else pd.Series(dtype=float)
        cells.append(" / ".join(f"{100 * value:.1f}" for value in heads.dropna()))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of rows.csv")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=3000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "rows.csv"
    rows = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["seed"])
    for seed in range(options.seeds):
        if (rows["seed"] == seed).any():
            continue
        rows = pd.concat([rows, run(seed, options.pairs)], ignore_index=True)
        rows.to_csv(path, index=False)
        print(f"seed {seed}", flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()

"""`rlhf-fair panel select`: from files to a batch, and its faults in one clear line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_llama, tiny_tokenizer
from typer.testing import CliRunner

from rlhf_fair.cli.panel import app
from rlhf_fair.errors import ColumnError, InfeasibleError, MissingFileError, RlhfFairError, RowError, SettingsError
from rlhf_fair.models.reward_model import RewardModel

N = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    words = ["good", "bad", "nice", "awful", "kind", "cruel", "old", "young", "red", "green", "blue", "friend"]

    def answer() -> str:
        return " ".join(rng.choice(words, 3))

    items = pd.DataFrame(
        {
            "item_id": [f"{k:03d}" for k in range(N)],
            "prompt": rng.choice(["what do you think", "hello", "the day"], N),
            "response_a": [answer() for _ in range(N)],
            "response_b": [answer() for _ in range(N)],
            "topic": rng.choice(["law", "care"], N, p=[0.1, 0.9]),
            "language": rng.choice(["en", "de", None], N),
        }
    )
    items.to_json(tmp_path / "pairs.jsonl", orient="records", lines=True)
    features = pd.DataFrame(rng.standard_normal((N, 4)), columns=list("wxyz"))
    features.insert(0, "item_id", items["item_id"])
    features.to_parquet(tmp_path / "features.parquet")
    ids, values = items["item_id"].to_numpy(dtype=str), features[list("wxyz")].to_numpy()
    np.savez(tmp_path / "sides.npz", item_id=ids, a=values, b=np.zeros((N, 4)))
    np.savez(tmp_path / "features.npz", item_id=ids, differences=values)
    features.rename(columns=dict(zip("wxyz", ["m1", "m2", "m3", "m4"], strict=True))).to_csv(
        tmp_path / "scores.csv", index=False
    )
    people = pd.DataFrame({"annotator_id": [f"p{k}" for k in range(6)], "attr.gender": ["woman"] * 2 + ["man"] * 4})
    people.to_csv(tmp_path / "panel.csv", index=False)
    feedback = pd.DataFrame(
        [
            {"item_id": f"{i:03d}", "annotator_id": f"p{p}", "kind": "pair", "choice": rng.choice(["a", "b"])}
            for i in range(15)
            for p in (range(6) if i < 2 else range(2, 6))
        ]
    )
    feedback.to_json(tmp_path / "feedback.jsonl", orient="records", lines=True)
    return tmp_path


@pytest.fixture
def model(folder: Path) -> Path:
    tokenizer = tiny_tokenizer()
    network = tiny_llama(initializer_range=0.5)
    network.config.pad_token_id = tokenizer.pad_token_id
    RewardModel(network, tokenizer, device="cpu").save(folder / "rm")
    return folder / "rm"


def run(folder: Path, options: str) -> str:
    """Run the command, ``@name`` standing for a file of ``folder``; an error of ours is raised."""
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in options.split()]
    result = CliRunner().invoke(
        app,
        ["select", "--items", str(folder / "pairs.jsonl"), "--out", str(folder / "next.csv"), *arguments],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def chosen(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "next.csv", dtype={"item_id": str})


@pytest.mark.parametrize("strategy", ["fisher", "disagreement"])
def test_with_a_reward_model_labels_minimums_and_a_random_part(folder: Path, model: Path, strategy: str) -> None:
    options = f"--budget 20 --strategy {strategy} --reward-model {model} --labelled @feedback.jsonl"
    options += " --group-column topic --group-column language --at-least topic=law:3 --explore 0.1 --json"
    summary = json.loads(run(folder, options))
    batch = chosen(folder)
    assert len(batch) == 20
    assert batch["item_id"].is_unique
    assert not batch["item_id"].isin([f"{i:03d}" for i in range(15)]).any()  # those have labels
    assert (batch["topic"] == "law").sum() >= 3
    assert batch["rank"].tolist() == list(range(1, 21))
    assert (batch["reason"] == "random").sum() == summary["drawn_at_random"] == 2
    assert batch["probability"].tolist()[-2:] == pytest.approx([2 / (summary["candidates"] - 18)] * 2)
    assert batch["p_a"].between(0, 1).all()
    assert ("disagreement" in batch) == (strategy == "disagreement")
    assert (summary["labelled"], summary["labelled_without_features"]) == (15, 0)
    by_group = pd.DataFrame(summary["coverage"])
    assert by_group.groupby("column")["chosen"].sum().to_dict() == {"language": 20, "topic": 20}
    assert by_group.groupby("column")["available"].sum().tolist() == [summary["candidates"]] * 2
    assert "(unknown)" in set(by_group["group"])
    assert "no random sample: measure accuracy and gaps on all of it" in summary["warning"]
    assert summary["weighted"]
    assert batch["weight"].sum() == pytest.approx(summary["candidates"])  # 18 of weight 1, 2 of half the rest each


def test_without_a_random_part_there_are_no_weights(folder: Path) -> None:
    text = run(folder, "--budget 5 --features @features.npz")
    assert "candidates left over had no chance to be in it, so there are no weights" in text
    assert chosen(folder)["weight"].isna().all()


def test_merged_copies_are_counted_aloud(folder: Path) -> None:
    items = pd.read_json(folder / "pairs.jsonl", lines=True, dtype={"item_id": str}).head(12)
    items[["prompt", "response_a", "response_b"]] = ["p", "x", "y"]
    items.loc[11, "response_b"] = "z"
    items.to_json(folder / "pairs.jsonl", orient="records", lines=True)
    with pytest.raises(
        InfeasibleError, match=r"only 2 candidates .*\(10 items repeat the prompt and both responses of an"
    ):
        run(folder, "--budget 5 --strategy random")
    assert json.loads(run(folder, "--budget 2 --strategy random --json"))["copies"] == 10
    assert "10 items merged: they repeat the prompt" in run(folder, "--budget 2 --strategy random")


def test_equal_features_in_each_format_give_equal_batches(folder: Path) -> None:
    found = []
    for name in ("features.parquet", "features.npz", "sides.npz"):
        run(folder, f"--budget 10 --features @{name} --labelled @feedback.jsonl")
        found.append((folder / "next.csv").read_bytes())
    assert found[0] == found[1] == found[2]


def test_seed_and_order_of_rows(folder: Path) -> None:
    options = "--budget 10 --strategy disagreement --features @features.parquet --explore 0.3 --seed"
    run(folder, f"{options} 1")
    first = (folder / "next.csv").read_bytes()
    items = pd.read_json(folder / "pairs.jsonl", lines=True, dtype={"item_id": str})
    items.sample(frac=1, random_state=0).to_json(folder / "pairs.jsonl", orient="records", lines=True)
    run(folder, f"{options} 1")
    assert (folder / "next.csv").read_bytes() == first
    run(folder, f"{options} 2")
    assert (folder / "next.csv").read_bytes() != first


def test_an_ensemble_of_ones_own_and_a_plain_draw_need_no_model(folder: Path) -> None:
    assert "no random sample" in run(folder, "--budget 5 --strategy disagreement --scores @scores.csv")
    # the pair all members disagree about most is the one of largest mutual information
    scores = pd.read_csv(folder / "scores.csv", dtype={"item_id": str}).set_index("item_id")
    p = 1 / (1 + np.exp(-scores))
    ratio = p.var(axis=1, ddof=0) / (p * (1 - p)).mean(axis=1)
    assert chosen(folder)["item_id"].iloc[0] == ratio.idxmax()
    text = run(folder, "--budget 5 --strategy random --group-column topic --at-least 2")
    assert "no random sample" not in text
    assert chosen(folder).groupby("topic").size().min() >= 2
    assert chosen(folder)["score"].isna().all()


def test_balance_groups_serves_those_who_said_little(folder: Path) -> None:
    options = "--budget 10 --features @features.parquet --labelled @feedback.jsonl --balance-groups --panel @panel.csv"
    with (folder / "feedback.jsonl").open("a") as stream:
        stream.write('{"item_id": "000", "annotator_id": "stranger", "kind": "pair", "choice": "a"}\n')
    text = run(folder, f"{options} --by gender")  # women judged 2 items, men 15
    batch = chosen(folder)
    assert batch["chosen_for"].value_counts().idxmax() == "woman"
    assert {"p_a man", "p_a woman"} <= set(batch)
    assert f"chosen for raters woman: {(batch['chosen_for'] == 'woman').sum()} (labelled so far: 2)" in text
    assert "1 raters of unknown group" in text


def test_quiet_prints_nothing(folder: Path) -> None:
    assert run(folder, "--budget 3 --strategy random --quiet") == ""


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ("--budget 5", SettingsError, "--strategy fisher needs --reward-model"),
        ("--budget 5 --features @features.npz --encoder x", SettingsError, "--encoder and --features given"),
        ("--budget 5 --scores @scores.csv", SettingsError, "fisher needs features"),
        ("--budget 5 --strategy random --explore 0.1", SettingsError, "random draws all"),
        ("--budget 5 --strategy random --at-least 2", SettingsError, "needs --group-column"),
        ("--budget 5 --strategy random --at-least two --group-column topic", SettingsError, "'two'; allowed: 0.1, 20"),
        (
            "--budget 5 --features @features.npz --balance-groups",
            SettingsError,
            "needs --labelled and --panel and --by",
        ),
        ("--budget 5 --features @no.npz", MissingFileError, "no.npz"),
        ("--budget 5 --features @pairs.jsonl", RowError, "column 'prompt' holds texts"),
        ("--budget 5 --features @bad.npz", ColumnError, "lacks column 'a'"),
        ("--budget 5 --features @junk.npz", RowError, "cannot be read as .npz"),
        ("--budget 5 --features @few.csv", RowError, "has no row for item_id '001' .and 58 more"),
        ("--budget 5 --features @gap.csv", RowError, "item_id '000' has a value that is missing"),
        ("--budget 5 --strategy disagreement --scores @few.csv", RowError, "1 score columns; needed: at least 2"),
        ("--budget 500 --strategy random", InfeasibleError, "budget 500: only 60 candidates"),
        ("--budget 500 --features @features.npz", InfeasibleError, "budget 500: only 60 candidates"),
        (
            "--budget 50 --strategy random --group-column topic --at-least 0.4",
            InfeasibleError,
            r"topic=law: 20 wanted, \d+ available",
        ),
        ("--budget 5 --strategy random --group-column faith", ColumnError, "lacks column 'faith'"),
        ("--budget 5 --features @features.npz --logit-sd 0", SettingsError, "logit_sd 0"),
        ("--budget 5 --features @features.npz --labelled @ratings.csv", RowError, "no pairs among its 1 rows"),
        ("--budget 5 --reward-model ./nowhere/at/all", RlhfFairError, "no such folder"),
        ("--budget 5 --reward-model @trees", SettingsError, "made of trees.*allowed: --encoder"),
    ],
)
def test_faults_are_named_and_leave_no_output(folder: Path, options: str, error: type[Exception], says: str) -> None:
    np.savez(folder / "bad.npz", item_id=np.array(["000"]), b=np.zeros((1, 2)))
    (folder / "junk.npz").write_text("no archive")
    (folder / "trees").mkdir()
    (folder / "trees" / "tree_reward.json").write_text("{}")
    (folder / "ratings.csv").write_text("item_id,annotator_id,kind,value\n000,p1,rating,3\n")
    (folder / "few.csv").write_text("item_id,x\n000,1\n")
    (folder / "gap.csv").write_text("item_id,x\n000,\n001,2\n")
    with pytest.raises(error, match=says):
        run(folder, options)
    assert not (folder / "next.csv").exists()

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_tokenizer

from rlhf_fair.errors import ColumnError, MissingFileError, RowError, SettingsError
from rlhf_fair.training.data_folders import Folders
from rlhf_fair.training.ppo.job.config import HeldOut, PromptSource
from rlhf_fair.training.ppo.job.linked_rows import linked_rows
from rlhf_fair.training.ppo.job.prompt_table import PromptStream, PromptTable, Window, read_prompt_table


def read(folder: Path, *, held_out: HeldOut | None = None, tokens: int | None = 12, **source: Any) -> PromptTable:
    window = Window(tiny_tokenizer(), None, max_new_tokens=4, tokens=tokens)
    given = PromptSource(**{"path": "prompts.csv", "groups": ("gender",), **source})
    return read_prompt_table(given, held_out or HeldOut(share=0.5), Folders(folder / "config", folder), window, seed=0)


def prompts(n: int, **changes: Any) -> pd.DataFrame:
    return pd.DataFrame({"prompt_id": [f"p{k}" for k in range(n)], "prompt": "good dog", "gender": "woman"} | changes)


def test_every_row_is_used_or_has_a_reason(tmp_path: Path) -> None:
    texts = [f"the {'old ' * k} dog" for k in range(7)]  # of 2 + k tokens, so up to 8
    table = pd.concat([prompts(7, prompt=texts), prompts(4, prompt=["good", " ", "bad", "dog"])], ignore_index=True)
    table["prompt_id"] = [*(f"p{k}" for k in range(9)), "p0", "p10"]
    table.loc[[2, 5], "gender"] = ""
    table.to_csv(tmp_path / "prompts.csv", index=False)
    read_in = read(tmp_path, tokens=10)
    found = {(row.row, row.column, row.code) for row in read_in.rejects.itertuples()}
    assert found == {
        (3, "gender", "missing"),
        (6, "gender", "missing"),
        (7, "prompt", "too_long"),  # 8 tokens and 4 exceed 10
        (9, "prompt", "missing"),
        (10, "prompt_id", "duplicate"),
    }
    message = read_in.rejects.set_index("row").loc[7, "message"]
    assert message == "prompts.csv row 7, column 'prompt': 8 tokens and 4 new ones exceed the model's window of 10"
    assert read_in.n_rows == 11 == len(read_in.train) + len(read_in.held_out) + len(read_in.rejects)
    assert set(read_in.rejects["file"]) == {"prompts.csv"}


def test_of_jsonl_files_malformed_lines_are_rejected_by_their_number(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"good {k}", "who": 1 + k % 2, "note": [k]}) for k in range(6)]
    (tmp_path / "prompts.jsonl").write_text("\n".join([*lines[:2], "{broken", *lines[2:]]) + "\n")
    found = read(tmp_path, path="prompts.jsonl", prompt="text", groups=("who",))
    assert found.rejects[["row", "code"]].to_numpy().tolist() == [[3, "malformed"]]
    kept = pd.concat([found.train, found.held_out])
    assert sorted(kept["prompt_id"]) == [f"row-{row}" for row in (1, 2, 4, 5, 6, 7)]
    assert set(kept["who"]) == {"1", "2"}  # groups are text
    assert kept.set_index("prompt_id").loc["row-2", "note"] == "[1]"


def test_twins_and_equal_texts_stay_on_one_side(tmp_path: Path) -> None:
    prompts(40, prompt=[f"dog {k // 2}" for k in range(40)]).to_csv(tmp_path / "prompts.csv", index=False)
    found = read(tmp_path)
    assert len(found.held_out) == 20
    assert not set(found.train["prompt"]) & set(found.held_out["prompt"])
    prompts(40, twin=[k % 10 for k in range(40)], prompt=[f"dog {k}" for k in range(40)]).to_csv(
        tmp_path / "prompts.csv", index=False
    )
    found = read(tmp_path, clusters=("twin",))
    assert not set(found.train["twin"]) & set(found.held_out["twin"])


def test_a_held_out_table_of_its_own_takes_its_texts_out_of_training(tmp_path: Path) -> None:
    prompts(6, prompt=[f"dog {k}" for k in range(6)]).to_csv(tmp_path / "prompts.csv", index=False)
    prompts(3, prompt=["dog 1", "dog 4", "cat"]).to_csv(tmp_path / "test.csv", index=False)
    found = read(tmp_path, held_out=HeldOut(path="test.csv"))
    assert (len(found.train), len(found.held_out), found.leaked, found.n_rows) == (4, 3, 2, 9)


def test_equal_texts_of_different_clusters_stay_on_one_side(tmp_path: Path) -> None:
    """Twins 2k and 2k + 1 are two copies of one pair of texts."""
    table = prompts(40, twin=[k // 2 for k in range(40)], prompt=[f"dog {k // 4} {k % 2}" for k in range(40)])
    table.to_csv(tmp_path / "prompts.csv", index=False)
    found = read(tmp_path, clusters=("twin",))
    for column in ("prompt", "twin"):
        assert not set(found.train[column]) & set(found.held_out[column])
    assert len(found.train)
    assert len(found.held_out)


def test_prompts_that_all_hang_together_cannot_be_split_and_are_told_so(tmp_path: Path) -> None:
    """Twenty batches that ask the same ten questions are one unit."""
    table = prompts(200, batch=[k // 10 for k in range(200)], prompt=[f"dog {k % 10}" for k in range(200)])
    table.to_csv(tmp_path / "prompts.csv", index=False)
    with pytest.raises(RowError, match=r"no prompt is left to .*200 rows hang together by text or cluster as 1 unit$"):
        read(tmp_path, clusters=("batch",))


def test_twins_of_a_held_out_table_are_taken_out_of_training_and_what_is_linked_to_them(tmp_path: Path) -> None:
    """Held out is twin 1; twin 2 has a text of twin 1's other half, so that only twins 3 and 4 are left."""
    prompts(5, twin=[1, 2, 2, 3, 4], prompt=["a dog", "a dog", "old", "good", "bad"]).to_csv(
        tmp_path / "prompts.csv", index=False
    )
    prompts(1, twin=[1], prompt=["the dog"]).to_csv(tmp_path / "test.csv", index=False)
    found = read(tmp_path, held_out=HeldOut(path="test.csv"), clusters=("twin",))
    assert found.train["twin"].astype(str).tolist() == ["3", "4"]
    assert (len(found.held_out), found.leaked, found.n_rows) == (1, 3, 6)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=25),
)
def test_linked_rows_are_the_closure_of_all_links(pairs: list[tuple[int, int]]) -> None:
    """By hand: labels spread along links until nothing changes."""
    own = list(range(len(pairs)))
    for _ in pairs:
        own = [min(own[j] for j, q in enumerate(pairs) if q[0] == p[0] or q[1] == p[1]) for p in pairs]
    cluster, text = (pd.Series([pair[side] for pair in pairs]) for side in (0, 1))
    found = linked_rows([cluster, text])
    assert pd.factorize(found)[0].tolist() == pd.factorize(np.array(own))[0].tolist()
    assert (
        linked_rows([cluster]).tolist() == cluster.astype(str).tolist()
    )  # one key: its own values, so old splits stay


@pytest.mark.parametrize(
    ("columns", "source", "error", "message"),
    [
        ({}, {"path": "absent.csv"}, MissingFileError, "absent.csv"),
        ({}, {"groups": ("race",)}, ColumnError, "prompts.csv lacks column 'race'"),
        ({}, {"clusters": ("twin_of",)}, ColumnError, "lacks column 'twin_of'"),
        ({"completions": "x"}, {}, SettingsError, "has a column 'completions'"),
        ({"text": "x"}, {"prompt": "text"}, SettingsError, "has a column 'prompt'"),
        ({"gender": ""}, {}, RowError, "no prompt is left to train on; 4 rows: 4 missing"),
    ],
)
def test_faults_are_told(
    tmp_path: Path, columns: dict[str, Any], source: dict[str, Any], error: type[Exception], message: str
) -> None:
    prompts(4, **columns).to_csv(tmp_path / "prompts.csv", index=False)
    with pytest.raises(error, match=message):
        read(tmp_path, **source)


@given(n=st.integers(1, 30), size=st.integers(1, 12), clusters=st.integers(1, 8), seed=st.integers(0, 5))
def test_a_stream_visits_each_row_once_an_epoch_and_knows_any_step(n: int, size: int, clusters: int, seed: int) -> None:
    table = prompts(n, prompt=[str(k) for k in range(n)], twin=[k % clusters for k in range(n)])
    table["asked"] = table["prompt"]
    stream = PromptStream(table, size, seed, "twin")
    visited = [text for step in range(2 * n) for text in stream(step).texts]
    for epoch in range(len(visited) // n):
        part = visited[epoch * n : (epoch + 1) * n]
        assert sorted(part) == sorted(table["prompt"])
        twins = np.array([int(text) % clusters for text in part])
        assert (np.diff(twins) != 0).sum() == len(set(twins.tolist())) - 1  # each cluster in one run
    again = PromptStream(table, size, seed, "twin")
    assert again(7).texts == stream(7).texts


def test_columns_reach_the_reward_as_plain_values() -> None:
    table = prompts(3, asked="a", weight=[1.5, np.nan, 2.0], note=["x", None, "y"])
    batch = PromptStream(table, 3, seed=0)(0)
    order = [int(name[1:]) for name in batch.columns["prompt_id"]]
    assert [batch.columns["weight"][order.index(k)] for k in range(3)] == [1.5, None, 2.0]
    assert [batch.columns["note"][order.index(k)] for k in range(3)] == ["x", None, "y"]
    assert "asked" not in batch.columns


def test_groups_can_be_told_from_the_prompts_words_and_those_not_told_can_stay(tmp_path: Path) -> None:
    texts = ["the woman is kind", "the man is old", "the dog", "a woman and a man", "an old man"] * 4
    table = pd.DataFrame({"prompt": [f"{text} {k}" for k, text in enumerate(texts)]})
    table.to_csv(tmp_path / "prompts.csv", index=False)
    made = {"gender": {"kind": "words", "words": {"woman": ["woman"], "man": ["man"]}}}
    rejecting = read(tmp_path, derive=made)
    assert rejecting.rejects["code"].tolist() == ["missing"] * 8
    keeping = read(tmp_path, derive=made, unknown="keep")
    assert not len(keeping.rejects)
    groups = pd.concat([keeping.train, keeping.held_out])["gender"]
    assert groups.value_counts(dropna=False).to_dict() == {"man": 8, "woman": 4, np.nan: 8}
    assert None in PromptStream(keeping.train, 10, seed=0)(0).columns["gender"]

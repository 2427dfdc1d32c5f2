"""What is on disk: nothing without consent, nothing twice, nothing after a withdrawal, no secret of a link."""

from __future__ import annotations

import sqlite3
import stat
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotate.questions import Answer, StudySettings
from rlhf_fair.annotate.store import NoConsentError, Store
from rlhf_fair.annotate.study import create_study
from rlhf_fair.annotate.tokens import new_token, token_hash
from rlhf_fair.errors import ColumnError, MissingFileError, OutputError, RlhfFairError, RowError, SettingsError

A, B = Answer("pair", choice="a", strength=1), Answer("pair", choice="b", strength=3)


def test_every_rater_has_all_their_items_once_in_an_order_of_their_own(study) -> None:
    positions = {}
    for rater, token in study.tokens.items():
        assert study.store.rater(token_hash(token)).total == 21
        tasks = [study.store.task(rater, position) for position in range(1, 22)]
        positions[rater] = [task.item_id for task in tasks]
        assert set(positions[rater]) == set(study.items["item_id"])
        orders = study.assignments[study.assignments["annotator_id"] == rater].set_index("item_id")["order"]
        assert all(task.order == orders[task.item_id] for task in tasks)
        assert study.store.task(rater, 22) is None
    assert positions["007"] != positions["p"]


def test_only_a_hash_of_a_link_is_kept_and_only_the_owner_reads_the_file(study) -> None:
    content = study.path.read_bytes()
    for token in study.tokens.values():
        assert token.encode() not in content
        assert token_hash(token).encode() in content
    assert stat.S_IMODE(study.path.stat().st_mode) == 0o600
    assert len(set(study.tokens.values())) == 2
    assert len(study.tokens["007"]) == 43  # 256 bits, 6 for each character


def test_nothing_is_stored_without_consent(study) -> None:
    with pytest.raises(NoConsentError):
        study.store.save_answers("007", "i00", [A], 1.0)
    with pytest.raises(NoConsentError):
        study.store.save_demographics("007", {"gender": "man"})
    with study.store.writing() as db, pytest.raises(sqlite3.IntegrityError):  # nor by going round the program
        db.execute("INSERT INTO demographics VALUES ('007', 'gender', 'man')")
    assert (study.count("answers"), study.count("demographics")) == (0, 0)


def test_the_same_answer_twice_is_one_and_another_replaces_it(study) -> None:
    study.store.save_consent("007")
    study.store.save_answers("007", "i00", [A], 4.0)
    first = study.answers("007")
    study.store.save_answers("007", "i00", [A], 9.0)
    assert study.answers("007") == first
    study.store.save_answers("007", "i00", [B], 9.0)
    assert [(row["choice"], row["strength"], row["seconds"]) for row in study.answers("007")] == [("b", 3, 9.0)]


def test_an_item_is_answered_whole_or_not_at_all(study) -> None:
    study.store.save_consent("007")
    broken = Answer("edit", text=object())  # type: ignore[arg-type]
    with pytest.raises(sqlite3.Error):
        study.store.save_answers("007", "t0", [Answer("rating", value=3), broken], 1.0)
    assert study.answers("007") == []
    with pytest.raises(sqlite3.IntegrityError):
        study.store.save_answers("007", "not assigned", [A], 1.0)


def test_the_next_item_is_the_first_not_wholly_answered(study) -> None:
    study.store.save_consent("007")
    token = token_hash(study.tokens["007"])
    for position in range(1, 22):
        task = study.store.task("007", position)
        assert study.store.rater(token).next_position == position
        answers = [A] if task.asked == ("pair",) else [Answer("rating", value=1)]
        study.store.save_answers("007", task.item_id, answers, 1.0)
        if task.asked != ("pair",):  # two of its three questions are open
            assert study.store.rater(token).next_position == position
            texts = [Answer("edit", text="x"), Answer("revised_instruction", text="y")]
            study.store.save_answers("007", task.item_id, texts, 1.0)
    assert study.store.rater(token).next_position == 22


def test_withdrawing_leaves_a_number_and_not_a_byte_of_the_rest(study) -> None:
    secret = "the moon did it, says one rater alone"
    for rater in ("007", "p"):
        study.store.save_consent(rater)
        study.store.save_demographics(rater, {"gender": "woman"})
        study.store.save_answers(rater, "i00", [A], 1.0)
    study.store.save_answers("007", "t0", [Answer("edit", text=secret)], 1.0)
    assert secret.encode() in _bytes(study.path)
    assert study.store.withdraw("007") == 2
    assert secret.encode() not in _bytes(study.path)
    assert study.answers("007") == []
    assert study.store.demographics("007") == {}
    assert len(study.answers("p")) == 1
    assert study.store.rater(token_hash(study.tokens["007"])).withdrawn
    study.store.save_consent("007")  # is no way back
    with pytest.raises(NoConsentError):
        study.store.save_answers("007", "i00", [A], 1.0)
    assert study.store.withdraw("007") == 0
    with study.store.reading() as db:
        assert db.execute("SELECT withdrawn_answers FROM raters WHERE annotator_id = '007'").fetchone()[0] == 2


def test_writers_at_the_same_time_wait_for_each_other(study) -> None:
    def work(rater: str) -> None:
        for n in range(20):
            study.store.save_answers(rater, f"i{n:02d}", [A], 1.0)

    threads = [threading.Thread(target=work, args=(rater,)) for rater in study.tokens for _ in range(3)]
    for rater in study.tokens:
        study.store.save_consent(rater)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(study.answers(rater)) for rater in study.tokens] == [20, 20]


def test_a_renewed_link_replaces_the_old_one(study) -> None:
    token = new_token()
    study.store.renew("007", token_hash(token))
    assert study.store.rater(token_hash(token)).annotator_id == "007"
    assert study.store.rater(token_hash(study.tokens["007"])) is None
    with pytest.raises(SettingsError, match="no annotator '7'"):
        study.store.renew("7", token_hash(new_token()))


def test_every_commit_is_flushed(study) -> None:
    with study.store.reading() as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert db.execute("PRAGMA foreign_keys").fetchone()[0] == 1


ITEM = {"item_id": "x", "prompt": "p", "response_a": "a", "response_b": "b"}
TASK = {"item_id": "x", "annotator_id": "r", "slot": 0, "order": "ab"}


@pytest.mark.parametrize(
    ("item", "task", "ask", "error", "says"),
    [
        ({}, {"order": None}, "pair", ColumnError, "order"),
        ({}, {"item_id": "y"}, "pair", RowError, "lacks, such as 'y'"),
        ({"response_b": None}, {}, "pair", RowError, "item 'x': a question of kind pair needs 'response_b'"),
        ({}, {}, "rating", RowError, "needs 'response'"),
        ({"ask": "pair,rank"}, {}, "pair", RowError, "item 'x', column 'ask': rank cannot be asked"),
        ({}, {}, "scalar", SettingsError, "allowed: pair, rating, edit, revised_instruction"),
        ({"language": '"><script>'}, {}, "pair", RowError, "not a language tag"),
        ({"response": "y" * 20_001}, {}, "edit", RowError, "'response' is too long"),
    ],
)
def test_faults_of_the_tables_are_named_and_leave_no_database(
    tmp_path: Path, item: dict, task: dict, ask: str, error: type[RlhfFairError], says: str
) -> None:
    tables = [pd.DataFrame([{**base, **changed}]).dropna(axis=1) for base, changed in ((TASK, task), (ITEM, item))]
    with pytest.raises(error, match=says):
        create_study(
            tmp_path / "s.db", *tables, consent="c", settings=StudySettings(), ask=[ask], rng=np.random.default_rng(0)
        )
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_never_overwritten_and_a_file_of_another_kind_never_opened(study, tmp_path: Path) -> None:
    common = {"settings": StudySettings(), "rng": np.random.default_rng(0)}
    with pytest.raises(OutputError, match="never overwritten"):
        create_study(study.path, study.assignments, study.items, consent="c", **common)
    with pytest.raises(SettingsError, match="consent text is empty"):
        create_study(tmp_path / "n.db", study.assignments, study.items, consent=" \n", **common)
    with pytest.raises(MissingFileError, match="annotate links"):
        Store(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("not a database, but long enough to be read as one" * 10)
    with pytest.raises(SettingsError, match="not an annotation database"):
        Store(tmp_path / "text.db")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(SettingsError, match="not an annotation database"):
        Store(tmp_path / "other.db")


def _bytes(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.glob(path.name + "*"))

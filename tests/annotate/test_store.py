"""What is on disk: nothing without consent, nothing twice, nothing after a withdrawal, no secret of a link."""

from __future__ import annotations

import json
import sqlite3
import stat
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rlhf_fair.annotate.questions import Answer, CannotJudge, Submission
from rlhf_fair.annotate.records import Time
from rlhf_fair.annotate.store import NoConsentError, Store
from rlhf_fair.annotate.study import create_study
from rlhf_fair.annotate.study_settings import StudySettings
from rlhf_fair.annotate.tokens import new_token, token_hash
from rlhf_fair.errors import ColumnError, MissingFileError, OutputError, RlhfFairError, RowError, SettingsError

A = Submission((Answer("pair", choice="a", strength=1),))
B = Submission((Answer("pair", choice="b", strength=3),))
NOT = Submission(cannot_judge=CannotJudge("language", "Is it Welsh?"))
ONE_SECOND = Time(1, 1.0)


def texts(edit: str) -> Submission:
    return Submission((Answer("rating", value=3), Answer("edit", text=edit), Answer("revised_instruction", text="y")))


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
        study.store.save("007", "i00", A, ONE_SECOND)
    with pytest.raises(NoConsentError):
        study.store.save_demographics("007", {"gender": ["man"]})
    with study.store.writing() as db, pytest.raises(sqlite3.IntegrityError):  # nor by going round the program
        db.execute("INSERT INTO demographics VALUES ('007', 'gender', 'man')")
    assert (study.count("answers"), study.count("demographics")) == (0, 0)


def test_the_same_answer_twice_is_one_and_another_replaces_it(study) -> None:
    study.store.save_consent("007")
    study.store.save("007", "i00", A, Time(1, 4.0))
    first = study.answers("007")
    study.store.save("007", "i00", A, Time(1, 9.0))
    assert study.answers("007") == first
    study.store.save("007", "i00", B, Time(2, 9.0))
    assert [(row["choice"], row["strength"]) for row in study.answers("007")] == [("b", 3)]


def test_the_history_is_kept_and_the_last_counts(study) -> None:
    study.store.save_consent("007")
    for n, sent in enumerate((A, B, NOT, A)):
        study.store.save("007", "i00", sent, Time(n, 1.0))
        assert task_of(study, "i00").sent == sent
        assert study.count("answers") == len(sent.answers)  # who cannot judge has no answer, an earlier one included
    with study.store.reading() as db:
        history = [json.loads(row[0]) for row in db.execute("SELECT content FROM submissions ORDER BY number")]
        (row,) = db.execute("SELECT judged, reason, submissions FROM judgements")
    assert [[a["choice"] for a in sent["answers"]] for sent in history] == [["a"], ["b"], [], ["a"]]
    assert history[2]["cannot_judge"] == {"reason": "language", "words": "Is it Welsh?"}
    assert tuple(row) == (1, None, 4)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([Time(1, 9.0, 5.0)], (9.0, 5.0)),
        ([Time(1, 9.0, 5.0), Time(2, 4.0, 2.0)], (13.0, 7.0)),  # came back to it: both times were spent on it
        ([Time(1, 9.0, 5.0), Time(1, 11.0, 6.0)], (11.0, 6.0)),  # one page sent twice: its clock ran on
        ([Time(1, 9.0, 5.0), Time(2, 4.0)], (13.0, None)),  # part of it unknown: the whole is
    ],
)
def test_time_adds_up_over_the_times_an_item_was_shown(study, times, expected) -> None:
    study.store.save_consent("007")
    for sent, time in zip((A, B), times, strict=False):
        study.store.save("007", "i00", sent, time)
    with study.store.reading() as db:
        assert tuple(db.execute("SELECT open_seconds, visible_seconds FROM judgements").fetchone()) == expected


def test_an_item_is_answered_whole_or_not_at_all(study) -> None:
    study.store.save_consent("007")
    with pytest.raises(AssertionError, match="whole"):
        study.store.save("007", "t0", Submission((Answer("rating", value=3),)), ONE_SECOND)
    with study.store.writing() as db:
        db.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON answers WHEN new.kind = 'edit' BEGIN SELECT RAISE(FAIL, ''); END"
        )
    with pytest.raises(sqlite3.Error):
        study.store.save("007", "t0", texts("x"), ONE_SECOND)
    assert [study.count(table) for table in ("answers", "judgements", "submissions")] == [0, 0, 0]
    with pytest.raises(sqlite3.IntegrityError):
        study.store.save("007", "not assigned", NOT, ONE_SECOND)


def test_the_next_item_is_the_first_not_dealt_with(study) -> None:
    study.store.save_consent("007")
    token = token_hash(study.tokens["007"])
    for position in range(1, 22):
        task = study.store.task("007", position)
        assert study.store.rater(token).next_position == position
        sent = texts("x") if task.asked != ("pair",) else (NOT if position % 2 else A)
        study.store.save("007", task.item_id, sent, ONE_SECOND)
    assert study.store.rater(token).next_position == 22


def task_of(study, item: str):
    return next(t for p in range(1, 22) if (t := study.store.task("007", p)).item_id == item)


def test_withdrawing_leaves_a_number_and_not_a_byte_of_the_rest(study) -> None:
    secret = "the moon did it, says one rater alone"
    for rater in ("007", "p"):
        study.store.save_consent(rater)
        study.store.save_demographics(rater, {"gender": ["woman"]})
        study.store.save(rater, "i00", A, ONE_SECOND)
    study.store.save("007", "i01", NOT, ONE_SECOND)
    for edit in (secret, "something else"):  # also what they took back themselves
        study.store.save("007", "t0", texts(edit), ONE_SECOND)
    assert secret.encode() in _bytes(study.path)
    assert study.store.withdraw("007") == 5  # a pair, three on the text, and one that could not be judged
    assert secret.encode() not in _bytes(study.path)
    assert study.answers("007") == []
    with study.store.reading() as db:
        for table in ("judgements", "submissions", "demographics", "consents"):
            assert [row[0] for row in db.execute(f"SELECT DISTINCT annotator_id FROM {table}")] == ["p"]
    assert study.store.demographics("007") == {}
    assert len(study.answers("p")) == 1
    assert study.store.rater(token_hash(study.tokens["007"])).withdrawn
    study.store.save_consent("007")  # is no way back
    with pytest.raises(NoConsentError):
        study.store.save("007", "i00", A, ONE_SECOND)
    assert study.store.withdraw("007") == 0
    with study.store.reading() as db:
        assert db.execute("SELECT withdrawn_answers FROM raters WHERE annotator_id = '007'").fetchone()[0] == 5


def test_writers_at_the_same_time_wait_for_each_other(study) -> None:
    def work(rater: str) -> None:
        for n in range(20):
            study.store.save(rater, f"i{n:02d}", A, ONE_SECOND)

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


def test_a_revoked_link_ends_and_the_answers_stay(study) -> None:
    study.store.save_consent("007")
    study.store.save("007", "i00", A, ONE_SECOND)
    study.store.revoke("007")
    assert study.store.rater(token_hash(study.tokens["007"])) is None
    assert len(study.answers("007")) == 1
    with pytest.raises(SettingsError, match="no annotator '7'"):
        study.store.revoke("7")


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

"""Files that once ended in a traceback, a warning, a hang or a message without the file's name."""

from __future__ import annotations

import io
import json
import zlib
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fuzz.catalogue import READERS
from fuzz.reader import fault_of, put
from rlhf_fair.annotators.privacy_budget import open_ledger
from rlhf_fair.audit.reward_audit_plan import CounterfactualPlan
from rlhf_fair.cli.audit import _warn_of_expiry
from rlhf_fair.errors import ColumnError, MissingFileError, RlhfFairError, RowError, SettingsError
from rlhf_fair.models.endpoint_replies import MalformedReplyError
from rlhf_fair.monitoring.dates import moment_of
from rlhf_fair.settings import read_toml_table
from rlhf_fair.tables import FEEDBACK, read_table, read_validated
from rlhf_fair.training.fairness.store import GroupState
from rlhf_fair.training.ppo.rewards.endpoint import read_rewards

LONG = b"1" * 5_000
"""More digits than Python reads as a whole number."""
DEEP = b"[" * 100_000
HALF = rb'"\ud800"'
"""Half of a surrogate pair: JSON, and no text."""
NOT_UTF8 = b"\xff\xfea\x00"
BAD_GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 40


def _lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _archive(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


CASES: list[tuple[str, str, bytes]] = [
    ("header: Retry-After", "header", b"Wed, 21 Oct 99999999999999999999 07:28:00 GMT"),
    ("bbq", "additional_metadata.csv", b"a,b\n1,2\n"),
    ("stereoset", "dev.json", DEEP),
    ("stereoset", "dev.json", b'{"data": {"intrasentence": [{"id": ' + HALF + b"}]}}"),
    ("stereoset", "dev.json", LONG),
    ("stereoset, one item a line", "test.jsonl", b'{"item_id": 5}\n'),
    ("crows-pairs", "crows_pairs_anonymized.csv", b"a,b\n1,2\n"),
    ("winogender", "templates.tsv", b"occupation(0)\tother-participant(1)\tanswer\tsentence\nbaker\tguest\t1\t\n"),
    ("winogender", "occupations-stats.tsv", b"occupation\tbls_pct_female\nbaker\t40.5\nbaker\t41\n"),
    ("hurtlex", "hurtlex_EN.tsv", b"lemma\tcategory\tlevel\nword\tan\t\nother\tan\tinclusive\n"),
    ("ratings, our own format", "feedback.csv", b"item_id,annotator_id,kind,007,attr.gender\ni0,r0,rating,4,woman\n"),
    ("bold", "gender_prompt.json", b'{"a": {"b": 5}}'),
    ("bold", "gender_prompt.json", b'{"a": {"b": [' + HALF + b"]}}"),
    ("honest", "binary/en_template.tsv", b"a\tb\n1\t2\n"),
    ("real-toxicity", "prompts.jsonl", b"{}\n"),
    ("redditbias", "gender/reddit_comments_gender_female_biased_valid_reduced.csv", b"comments_processed\na\n"),
    ("redditbias", "gender/reddit_comments_gender_male_biased_valid_reduced.csv", b"a\nb\n"),
    ("seat", "tests/weat6.jsonl", b"{}"),
    ("seat", "tests/weat6.jsonl", LONG),
    ("dialect", "pairs/habitual.txt", b""),
    ("dialect", "attributes/katz.txt", b"\n"),
    ("bias-madlibs", "eval_datasets/bias_madlibs_77k.csv", b"a,b\n1,2\n"),
    ("census margins", "census.csv", b"age_category,White_Male\n18-24,x\n"),
    ("census margins", "census.csv", b"age_category,All\n18-24,1\n"),
    ("vader lexicon", "lexicon.txt", NOT_UTF8),
    ("vader lexicon", "lexicon.txt", b"good\tnan\t1\n"),
    ("list of terms", "t.txt", NOT_UTF8),
    ("list of terms", "t.txt", b"\n"),
    ("own prompts, a text", "p.txt", NOT_UTF8),
    ("lexicon of phrases", "l.json", b'{"phrases": {"a": ' + b"9" * 400 + b"}}"),
    ("lexicon of phrases", "l.json", b'{"phrases": {}}'),
    (
        "plan customer-service",
        "plan.toml",
        b'probe = "generation"\nclusters = 5\n[counterfactual]\nattributes = ["age"]\n',
    ),
    ("plan hiring", "plan.toml", b'probe = "generation"\n[[scorers]]\nkind = ["lexicon"]\n'),
    ("plan crows-pairs", "plan.toml", b'probe = "crows_pairs"\n' + b"x" * 30_000 + b" = 1\n"),
    ("train ppo", "config.toml", b"a = " + b"[" * 20_000 + b"]" * 20_000),
    ("train ppo", "config.toml", b"a = " + LONG),
    ("population table", "p.csv", b"a,b\n1,2\n"),
    ("reward prompts", "prompts.csv", b"a,b\n1,2\n"),
    ("reward templates", "candidates.csv", b"a,b\n1,2\n"),
    ("candidates", "c.csv", b"a,b\n1,2\n"),
    ("panel members", "m.csv", b"a,b\n1,2\n"),
    ("choices of the reward audit", "f.csv", b"attr.a,b\n1,2\n"),
    ("training: ratings", "ratings.csv", b"a,b\n1,2\n"),
    ("training: pairs", "pairs.csv", b"a,b\n1,2\n"),
    ("training: hh-rlhf", "test.jsonl", b'{"a": 1}\n'),
    (
        "training: feedback",
        "feedback.jsonl",
        _lines({"item_id": "i0", "annotator_id": "r0", "kind": "rating", "value": 1}),
    ),
    ("training: feedback", "people.csv", b"annotator_id,attr.gender\nnobody,woman\n"),
    ("features, npz", "features.npz", b""),
    ("features, npz", "features.npz", _archive(item_id=np.array(["i0"]), a=np.ones((1, 2)), b=np.ones((1, 3)))),
    ("feedback .json", "feedback.json", b'[{"item_id": ' + HALF + b"}]"),
    ("feedback .csv.gz", "feedback.csv.gz", BAD_GZIP),
    (
        "answers for crows-pairs",
        "answers.jsonl",
        _lines({"total": -1, "n_tokens": 1}, {"id": "a", "total": -1, "n_tokens": 1}),
    ),
    (
        "answers for crows-pairs",
        "answers.jsonl",
        _lines({"id": "crows_pairs/causal_sentence/0/more", "total": -5.0, "n_tokens": "inf"}),
    ),
    ("answers for seat", "answers.jsonl", b'{"text": "This is boy.", "embedding": [1' + b"0" * 400 + b"]}"),
    (
        "answers for redditbias",
        "answers.jsonl",
        b'{"id": "redditbias/causal/gender.valid.0/target", "total": -1'
        + b"0" * 400
        + b', "n_tokens": 1'
        + b"0" * 400
        + b"}",
    ),
    (
        "answers for decisions",
        "answers.jsonl",
        b'{"item_id": "hiring-warehouse|45|man|White", "p_yes": 1' + b"0" * 400 + b', "p_no": 0.5}',
    ),
    ("answers for stereoset", "answers.jsonl", b'{"id": "intrasentence0stereotype", "score": 1' + b"0" * 400 + b"}"),
    (
        "answers for real-toxicity",
        "answers.jsonl",
        _lines(*({"item_id": "rtp/f0.txt/0-9", "sample": sample, "text": "a"} for sample in ("0", "0.0", "0.0", 1))),
    ),
    ("answers for seat", "answers.jsonl", b'{"text": "This is boy.", "embedding": [1e300, 1e300]}'),
    ("answers for seat", "answers.jsonl", b'{"text": "This is boy.", "embedding": "' + DEEP + b'"}'),
    ("real-toxicity", "prompts.jsonl", b'{"prompt": "' + DEEP + b'"}\n{"prompt": "' + LONG + b'"}\n'),
    ("reply: rewards", "reply.json", b'{"rewards": [1, ' + b"9" * 400 + b"]}"),
    ("privacy budget", "budget.jsonl", b'{"budget":"1e999999999","previous":""}\n'),
    ("language model", "tokenizer.json", b"{}"),
    ("server", "config.toml", b"timeout_s = inf\n"),
    (
        "scenarios",
        "config.toml",
        b'ages = [25, 45]\ngenders = ["man", "woman"]\nraces = ["White", "Black"]\n[scenarios]\n',
    ),
    ("server", "config.toml", b"body = { a = nan }\n"),
    ("population", "config.toml", b"[margins]\ngender = { woman = 1, man = 1" + b"0" * 400 + b" }\n"),
    ("stereoset", "dev.json", b'{"data": {}}'),
    ("holistic-bias", "descriptors.json", b'{"ability": {"a": [""]}}'),
    (
        "choices of the reward audit",
        "f.csv",
        b"item_id,annotator_id,kind,choice,prompt,response_a,response_b\n" + b"i0,r0,x,a,p,q,r\n",
    ),
]


@pytest.mark.parametrize(("reader", "file", "content"), CASES, ids=[f"{r}-{n}" for n, (r, _, _) in enumerate(CASES)])
def test_is_told_now(reader: str, file: str, content: bytes, tmp_path: Path) -> None:
    found = READERS[reader]
    assert file in found.files()
    put(tmp_path / "folder", {**found.files(), file: content}, found.mode)
    assert fault_of(found, tmp_path / "folder", file) is None


@pytest.mark.parametrize("settings", [{"9": 2**63}, {"claims": ["x" * 20_000]}], ids=["an integer", "one long word"])
@pytest.mark.parametrize("reader", ["results, exported", "results, rendered"])
def test_results_with_a_strange_plan_are_shown_or_told_with_the_file(
    reader: str, settings: object, tmp_path: Path
) -> None:
    found = READERS[reader]
    results = json.loads(found.files()["results.json"])
    results["audit"]["plan"] = settings
    put(tmp_path / "folder", {"results.json": json.dumps(results).encode()}, found.mode)
    assert fault_of(found, tmp_path / "folder", "results.json") is None


def test_a_line_with_an_endless_number_is_one_reject_and_the_others_stay(tmp_path: Path) -> None:
    sound = {"item_id": "i", "annotator_id": "r", "kind": "scalar", "value": 1}
    path = tmp_path / "f.jsonl"
    path.write_bytes(_lines(sound) + b'{"item_id": ' + LONG + b"}\n" + _lines(sound | {"item_id": "j"}))
    read = read_validated(path, FEEDBACK)
    assert (len(read.table), read.rejects["row"].tolist()) == (2, [2])
    assert "too long" in read.rejects["message"][0]


def test_repeated_columns_of_parquet_are_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["item_id", "item_id"])
    pq.write_table(table, tmp_path / "f.parquet")
    with pytest.raises(RowError, match=r"f\.parquet.*(repeated|Multiple)"):
        read_table(tmp_path / "f.parquet")


def test_a_name_too_long_for_any_file_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    for read in (read_table, read_toml_table):
        with pytest.raises(MissingFileError, match="not found"):
            read(tmp_path / ("a" * 400 + ".csv"))


def test_columns_are_told_short() -> None:
    message = str(ColumnError("f.csv", "a", ["x" * 10_000, *(f"c{n}" for n in range(500))]))
    assert len(message) < 1_000
    assert "and 441 more" in message


def test_an_expiry_with_a_time_of_day_is_no_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text("[policy]\nexpires = 2020-01-01T10:00:00\n")
    _warn_of_expiry(tmp_path / "plan.toml", date(2026, 11, 21))  # what is wrong with it is the plan's to say
    assert capsys.readouterr().err == ""


def test_a_moment_that_utc_does_not_have_is_none() -> None:
    with pytest.raises(ValueError, match="out of range"):
        moment_of("0001-01-01T00:00+14:00")


def test_an_epsilon_of_a_billion_digits_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="epsilon is '1e999999999'"):
        open_ledger(tmp_path / "budget", "1e999999999")


def test_an_edit_that_is_no_pattern_is_told_with_the_plan() -> None:
    plan = {"prompts": "p", "terms": {"gender": ["man"]}, "traits": [["a", "b"], ["c", "d"]]}
    for edit in (["(", "x"], ["a", r"\9"]):
        with pytest.raises(ValueError, match="edit 'e' is no"):
            CounterfactualPlan.model_validate(plan | {"edits": {"e": edit}})


@pytest.mark.parametrize("terms", [["man", " "], ["man", "NaN"], ["6 "]])
def test_a_term_that_says_no_group_is_told_with_the_plan(terms: list[str]) -> None:
    plan = {"prompts": "p", "terms": {"gender": terms}, "traits": [["a", "b"], ["c", "d"]]}
    with pytest.raises(ValueError, match=r"a term of gender is blank|has no version for woman"):
        CounterfactualPlan.model_validate(plan)
    with pytest.raises(ValueError, match="a trait is blank"):
        CounterfactualPlan.model_validate(plan | {"terms": {"gender": ["man"]}, "traits": [["a", " "], ["c", "d"]]})


def test_a_reward_larger_than_any_float_is_no_reward() -> None:
    with pytest.raises(MalformedReplyError, match="reward 1 is 1000"):
        read_rewards({"rewards": [10**400]}, 1)


def test_a_state_that_counts_to_infinity_is_none() -> None:
    with pytest.raises(RlhfFairError, match="no state of group statistics"):
        GroupState.from_json({"cells": [], "version": float("inf"), "steps": 1})


def test_the_bad_gzip_is_one() -> None:
    with pytest.raises(zlib.error):
        zlib.decompress(BAD_GZIP[10:], -15)


def test_a_message_about_an_endless_name_has_an_end() -> None:
    told = str(SettingsError(f"config.toml names {'x' * 100_000!r}; allowed: a, b"))
    assert len(told) < 4_100
    assert told.startswith("config.toml names 'xxx")
    assert told.endswith("'; allowed: a, b")


def test_parquet_with_lists_of_lists_and_text_that_is_none(tmp_path: Path) -> None:
    inner = [[["a", "b"], ["c"]], None]
    pq.write_table(pa.table({"item_id": ["1", "2"], "nested": inner}), tmp_path / "nested.parquet")
    assert read_table(tmp_path / "nested.parquet")["nested"].tolist()[0] == '[["a", "b"], ["c"]]'
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"a\xff"))
    pq.write_table(pa.table({"text": bad}), tmp_path / "bad.parquet")
    with pytest.raises(RowError, match=r"bad\.parquet cannot be read as \.parquet: .*UTF8"):
        read_table(tmp_path / "bad.parquet")

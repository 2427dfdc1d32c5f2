"""CSV read back by pandas: every number whole, every text the same, and nothing that a spreadsheet would run."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.exchange.csv import (
    FINDINGS_COLUMNS,
    findings_csv,
    ledger_csv,
    ledger_groups_csv,
    protected,
    unprotected,
)
from rlhf_fair.exchange.wording import ILLEGAL, clean
from rlhf_fair.records import Finding

TEXTS = [name for name, field in Finding.model_fields.items() if "float" not in str(field.annotation)]
NUMBERS = [name for name in FINDINGS_COLUMNS if name not in TEXTS and name not in ("n", "n_clusters")]


def read(data: bytes) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(data), keep_default_na=False, dtype=str)


def test_numbers_come_back_with_all_their_digits_and_nan_is_empty(results):
    table = read(findings_csv(results))
    assert list(table.columns) == list(FINDINGS_COLUMNS)
    assert len(table) == len(results.findings)
    for row, finding in zip(table.to_dict("records"), results.findings, strict=True):
        assert int(row["n"]) == finding.n
        for name in NUMBERS:
            value = getattr(finding, name)
            assert row[name] == "" if math.isnan(value) else float(row[name]) == value


def test_texts_come_back_as_they_were(results):
    table = read(findings_csv(results))
    for row, finding in zip(table.to_dict("records"), results.findings, strict=True):
        for name in ("id", "stage", "group", "metric", "reason", "unit"):
            assert unprotected(row[name]) == clean(getattr(finding, name))


def test_no_text_cell_begins_with_what_a_spreadsheet_runs(hostile):
    for data in (findings_csv(hostile), ledger_csv(hostile), ledger_groups_csv(hostile)):
        table = read(data)
        texts = [name for name in table.columns if not pd.to_numeric(table[name], errors="coerce").notna().all()]
        assert len(texts) > 3
        for name in texts:
            assert not table[name].str.lstrip().str.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠")).any(), name
            assert not table[name].str.startswith(("\t", "\n", " ")).any(), name


def test_negative_numbers_are_no_text(pipeline):
    assert read(findings_csv(pipeline))["estimate"][0] == "-0.31"


def test_a_ledger_keeps_groups_that_were_not_measured(pipeline):
    rows = read(ledger_groups_csv(pipeline)).to_dict("records")
    assert [(row["group"], row["mean"], row["reason"]) for row in rows] == [
        ("white", "0.2", ""),
        ("roma", "", "3 names; 10 needed"),
    ]
    ledger = read(ledger_csv(pipeline)).to_dict("records")
    assert [(row["stage"], row["estimate"], row["reason"]) for row in ledger] == [
        ("sft", "-0.1", ""),
        ("ppo", "", "no answers"),
    ]


@given(st.text())
def test_protection_can_be_undone(text):
    assert unprotected(protected(text)) == clean(text) or not protected(text).startswith("'")
    assert protected(text) == clean(text) or unprotected(protected(text)) == clean(text)


@given(st.text())
def test_clean_text_is_legal_and_keeps_the_rest(text):
    assert not ILLEGAL.search(clean(text))
    assert clean(clean(text)) == clean(text)
    if not ILLEGAL.search(text) and "\r" not in text:
        assert clean(text) == text


@pytest.mark.parametrize("text", ["man", "a-b", "1+1", "Ärzte", ""])
def test_harmless_text_is_left_alone(text):
    assert protected(text) == text

"""Pseudonyms: published vectors, keys that stay secret, joins that keep working."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.annotators.privacy_pseudonyms import key_for, keyed_digest, new_key, pseudonymise, read_key
from rlhf_fair.errors import MissingFileError, OutputError, SettingsError

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("key", "text", "digest"),
    [  # RFC 4231, test cases 1 and 2
        (b"\x0b" * 20, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    ],
)
def test_digests_of_the_standard(key: bytes, text: str, digest: str) -> None:
    assert keyed_digest(key, text) == digest


def test_keys_of_purposes_against_the_standard() -> None:
    # RFC 5869, test case 3: no salt, no info; the first 32 of 42 bytes
    published = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert key_for(b"\x0b" * 22, "").hex() == published


def test_tables_of_two_purposes_share_no_pseudonym() -> None:
    table = pd.DataFrame({"annotator_id": ["a", "b", "c"]})
    one, other = (set(pseudonymise(table, key_for(KEY, name))["annotator_id"]) for name in ("lab a", "lab b"))
    assert len(one) == len(other) == 3
    assert not one & other
    assert not one & set(pseudonymise(table, KEY)["annotator_id"])


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"panel\.key \(make one: rlhf-fair panel pseudonymise .* --new-key"):
        read_key(key_file=tmp_path / "panel.key")


@given(st.lists(st.text(min_size=1), min_size=1))
def test_equal_ids_stay_equal_and_different_ones_different(ids: list[str]) -> None:
    table = pd.DataFrame({"annotator_id": pd.Series(ids, dtype="str"), "n": range(len(ids))})
    hidden = pseudonymise(table, KEY)
    assert hidden["annotator_id"].nunique() == table["annotator_id"].nunique()
    assert (hidden.groupby("annotator_id")["n"].apply(list).tolist().sort()) == (
        table.groupby("annotator_id")["n"].apply(list).tolist().sort()
    )
    assert hidden["annotator_id"].str.fullmatch("[0-9a-f]{32}").all()
    assert hidden["n"].tolist() == table["n"].tolist()


def test_a_key_decides_and_a_missing_id_stays_missing() -> None:
    table = pd.DataFrame({"annotator_id": pd.Series(["007", None, "7"], dtype="str")})
    one, other = pseudonymise(table, KEY), pseudonymise(table, KEY[::-1])
    assert one["annotator_id"].isna().tolist() == [False, True, False]
    assert one["annotator_id"].dropna().nunique() == 2
    assert not set(one["annotator_id"].dropna()) & set(other["annotator_id"].dropna())


def test_a_new_key_is_for_its_owner_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "panel.key"
    new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_key(key_file=path)) == 64
    with pytest.raises(OutputError, match="there is a file already"):
        new_key(path)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "panel.key"
    path.write_bytes(KEY)
    path.chmod(mode)
    with pytest.raises(SettingsError, match=f"mode {mode:04o}; only its owner may read it"):
        read_key(key_file=path)


def test_no_message_names_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "panel.key"
    path.write_bytes(b"tooshort")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="8 bytes; at least 32") as caught:
        read_key(key_file=path)
    assert "tooshort" not in str(caught.value)
    monkeypatch.setenv("PANEL_KEY", "secret")
    with pytest.raises(SettingsError, match="variable PANEL_KEY: the key has 6 bytes") as caught:
        read_key(variable="PANEL_KEY")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("PANEL_KEY", KEY.decode() + "\n")
    assert read_key(variable="PANEL_KEY") == KEY


def test_where_a_key_comes_from_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PANEL_KEY", raising=False)
    with pytest.raises(SettingsError, match="PANEL_KEY holds no pseudonym key"):
        read_key(variable="PANEL_KEY")
    with pytest.raises(MissingFileError, match="key file not found"):
        read_key(key_file=tmp_path / "none")
    for both in ({}, {"key_file": tmp_path, "variable": "PANEL_KEY"}):
        with pytest.raises(SettingsError, match="one place"):
            read_key(**both)

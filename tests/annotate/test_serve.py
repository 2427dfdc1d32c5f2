"""From links to feedback on the command line; a killed server has lost nothing; TLS; what an address may be."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import stat
import subprocess
import threading
import time
from pathlib import Path

import httpx2
import pandas as pd
import pytest
from typer.testing import CliRunner

from rlhf_fair.annotate.questions import Answer, CannotJudge, Submission
from rlhf_fair.annotate.records import Time
from rlhf_fair.annotate.store import Store
from rlhf_fair.annotators.multi_select import named_levels
from rlhf_fair.cli.annotate import app
from rlhf_fair.cli.feedback import app as feedback
from rlhf_fair.cli.panel import app as panel
from rlhf_fair.errors import MissingFileError, OutputError, RowError, SettingsError

STUDY = """\
title = "Tea"
comment = "Anything odd about this item?"
[rating]
question = "How rude is this?"
[[demographics]]
name = "gender"
text = "Gender?"
choices = { woman = "Woman", man = "Man" }
[[demographics]]
name = "race"
text = "Race?"
several = true
choices = { asian = "Asian", black = "Black", white = "White" }
"""
ITEMS = """\
{"item_id": "1", "prompt": "p", "response_a": "x", "response_b": "y"}
{"item_id": "2", "prompt": "p", "response": "z", "ask": "rating,edit"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "panel.csv").write_text("annotator_id\n007\n008\n")
    (tmp_path / "items.jsonl").write_text(ITEMS)
    (tmp_path / "consent.txt").write_text("You may stop.")
    (tmp_path / "study.toml").write_text(STUDY)
    run(tmp_path, "assign --panel @panel.csv --items @items.jsonl --ratings-per-item 2 --out @a.csv", panel)
    return tmp_path


def run(folder: Path, command: str, program=app) -> str:
    arguments = [str(folder / word[1:]) if word.startswith("@") else word for word in command.split()]
    result = CliRunner().invoke(program, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


LINKS = "links --assignments @a.csv --items @items.jsonl --consent @consent.txt --study @study.toml --db @s.db "


def judged(store: Store) -> None:
    """007 answers both items, 008 the pair; the text they cannot judge."""
    for rater in ("007", "008"):
        store.save_consent(rater)
    store.save_demographics("007", {"gender": ["prefer_not_to_say"], "race": ["white", "asian"]})
    store.save("007", "1", Submission((Answer("pair", choice="b", strength=1),)), Time(1, 2.5))
    store.save("007", "1", Submission((Answer("pair", choice="a", strength=2),), comment="Hm."), Time(2, 1.0))
    store.save("007", "2", Submission((Answer("rating", value=4), Answer("edit", text="zz\n"))), Time(3, 9.0, 8.0))
    store.save("008", "1", Submission((Answer("pair", choice="tie", strength=0),)), Time(4, 2.0))
    store.save("008", "2", Submission(cannot_judge=CannotJudge("language", "Is it Welsh?")), Time(5, 4.0, 3.0))


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_links_answers_feedback(folder: Path) -> None:
    made = json.loads(run(folder, LINKS + "--base-url https://study.example/ --json"))
    assert (made["raters"], made["items"]) == (2, 4)
    assert all(re.fullmatch(r"https://study\.example/start/[\w-]{43}", row["link"]) for row in made["links"])
    judged(Store(folder / "s.db"))
    report = json.loads(run(folder, "export --db @s.db --out @f.jsonl --annotators @who.csv --json"))
    names = ("answers", "assigned", "judged", "cannot_judge", "not_answered", "withdrawn")
    assert [report[name] for name in names] == [4, 4, 3, 1, 0, 0]
    assert "4 rows: 4 accepted, 0 rejected" in run(folder, "validate @f.jsonl --annotators @panel.csv", feedback)
    rows = {(r["annotator_id"], r["kind"]): r for r in lines(folder / "f.jsonl")}
    pair = rows["007", "pair"]
    assert (pair["choice"], pair["strength"], pair["submissions"]) == ("a", 2, 2)
    assert (pair["seconds"], pair["clock"], pair["comment"]) == (3.5, "open", "Hm.")
    rating = rows["007", "rating"]
    assert (rating["value"], rating["seconds"], rating["clock"], rating["open_seconds"]) == (4, 8, "visible", 9)
    assert rows["007", "edit"]["text"] == "zz\n"
    assert not any("gender" in row or "attr.gender" in row for row in rows.values())
    expected = "annotator_id,attr.gender,attr.race\n007,prefer_not_to_say,asian|white\n008,,\n"
    assert (folder / "who.csv").read_text() == expected
    cell = pd.read_csv(folder / "who.csv")["attr.race"][0]
    assert named_levels(cell, ["asian", "black", "white"]) == ("asian", "white")

    assert "007: 3 answers" in run(folder, "withdraw --db @s.db --annotator 007")
    text = run(folder, "export --db @s.db --out @f.jsonl --annotators @who.csv")
    assert "1 withdrew, 3 of their answers were removed" in text
    assert [row["annotator_id"] for row in lines(folder / "f.jsonl")] == ["008"]
    assert (folder / "who.csv").read_text() == "annotator_id,attr.gender,attr.race\n008,,\n"


def test_what_could_not_be_judged_is_missing_with_its_reason_and_no_feedback(folder: Path) -> None:
    run(folder, LINKS)
    store = Store(folder / "s.db")
    store.save_consent("008")
    store.save("008", "1", Submission(cannot_judge=CannotJudge()), Time(1, 2.0))
    with pytest.raises(RowError, match=r"1 of 2 raters agreed so far and could not judge 1 items"):
        run(folder, "export --db @s.db --out @f.jsonl")
    judged(store)
    text = run(folder, "export --db @s.db --out @f.jsonl")
    assert f"1 that raters could not make: {folder / 'f.missing.jsonl'}; 0 not answered" in text
    missing = lines(folder / "f.missing.jsonl")
    assert [(row["item_id"], row["annotator_id"], row["kind"]) for row in missing] == [
        ("2", "008", "edit"),
        ("2", "008", "rating"),
    ]
    assert {(row["reason"], row["words"], row["seconds"]) for row in missing} == {("language", "Is it Welsh?", 3)}
    key = ("item_id", "annotator_id", "kind")
    rows = lines(folder / "f.jsonl")
    assert not {tuple(row[k] for k in key) for row in rows} & {tuple(row[k] for k in key) for row in missing}
    assert not any("reason" in row for row in rows)
    run(folder, "aggregate @f.jsonl --kind pair --out @agg.csv", feedback)
    table = pd.read_csv(folder / "agg.csv")
    assert table["p_a"].tolist() == [0.75]  # one for a and one tie: (1 + 1/2) / 2


def test_no_comment_column_where_nobody_asked(folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY.replace("comment", "# comment"))
    run(folder, LINKS)
    judged(Store(folder / "s.db"))
    run(folder, "export --db @s.db --out @f.jsonl --missing @m.csv")
    assert not any("comment" in row for row in lines(folder / "f.jsonl"))
    assert "comment" not in (folder / "m.csv").read_text()


def test_links_are_printed_once_or_written_for_their_owner_only(folder: Path) -> None:
    run(folder, LINKS + "--out @links.csv")
    assert stat.S_IMODE((folder / "links.csv").stat().st_mode) == 0o600
    table = pd.read_csv(folder / "links.csv", dtype=str)
    assert table["annotator_id"].tolist() == ["007", "008"]
    with pytest.raises(OutputError, match="never overwritten"):
        run(folder, LINKS)
    text = run(folder, "renew --db @s.db --annotator 007")
    assert text.startswith("007\thttp://127.0.0.1:8000/start/")
    assert table["link"][0] not in text
    assert run(folder, "revoke --db @s.db --annotator 007") == "007: the link works no more\n"


@pytest.mark.parametrize(
    ("command", "error", "says"),
    [
        ("export --db @no.db --out @f.jsonl", MissingFileError, "no.db"),
        ("export --db @s.db --out @f.jsonl", RowError, "no answers yet: 0 of 2 raters agreed"),
        ("withdraw --db @s.db --annotator 7", SettingsError, "no annotator '7'"),
        (LINKS.replace("@s.db", "@t.db") + "--out @links.docx", SettingsError, "unknown extension"),
        ("serve --db @no.db", MissingFileError, "no.db"),
        ("serve --db @s.db --certfile @consent.txt", SettingsError, "belong together"),
        ("serve --db @s.db --certfile @no.pem --keyfile @no.pem", MissingFileError, "TLS certificate"),
        ("serve --db @s.db --certfile @a.csv --keyfile @a.csv", SettingsError, "no certificate and its key"),
        ("serve --db @s.db --host 0.0.0.0", SettingsError, "needs --name"),
        ("serve --db @s.db --host 203.0.113.9", SettingsError, "cannot listen on 203.0.113.9 port 8000"),
        (LINKS.replace("@s.db", "@t.db").replace("@study.toml", "@a.csv"), SettingsError, "not TOML"),
        (LINKS.replace("@s.db", "@t.db") + "--ask scalar", SettingsError, "scalar cannot be asked"),
        (LINKS.replace("@s.db", "@t.db").replace("@consent.txt", "@no.txt"), MissingFileError, "consent text"),
    ],
)
def test_faults_are_named(folder: Path, command: str, error: type[Exception], says: str) -> None:
    run(folder, LINKS)
    with pytest.raises(error, match=says):
        run(folder, command)
    assert not (folder / "f.jsonl").exists()
    assert not (folder / "t.db").exists()


@pytest.mark.parametrize("command", ["links", "serve", "export", "renew", "revoke", "withdraw"])
def test_help_has_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert f"Example: rlhf-fair annotate {command}" in " ".join(result.stdout.split())


class Rater:
    """Answers over HTTP as fast as the server lets them, and knows which answers were acknowledged."""

    def __init__(self, url: str, token: str) -> None:
        self.client = httpx2.Client(base_url=url, follow_redirects=True, trust_env=False)
        self.client.get(f"/start/{token}")
        self.saved: dict[int, int] = {}

    def send(self, path: str, **fields: str) -> httpx2.Response:
        token = re.search(r'name="token" value="([^"]+)"', self.client.get(path).text)
        assert token
        return self.client.post(path, data={"token": token.group(1), **fields}, follow_redirects=False)

    def answer(self, position: int, place: int) -> None:
        if self.send(f"/item/{position}", pair=str(place)).status_code == 303:
            self.saved[position] = place

    def answer_until_cut_off(self) -> None:
        try:
            for position in range(1, 21):
                self.answer(position, 1 + position % 7)
        except (httpx2.TransportError, AssertionError):
            pass


@pytest.mark.parametrize("answers", [1, 4])
def test_a_killed_server_loses_no_answer_it_acknowledged(pairs, serve, answers: int) -> None:
    """Killed while everybody answers, as soon as everybody has so many acknowledged."""
    server = serve(pairs.path)
    raters = {name: Rater(server.url, token) for name, token in pairs.tokens.items()}
    for rater in raters.values():
        assert rater.send("/consent", agree="yes").status_code == 303
        assert rater.send("/about").status_code == 303
    threads = [threading.Thread(target=rater.answer_until_cut_off) for rater in raters.values()]
    for thread in threads:
        thread.start()
    while min(len(rater.saved) for rater in raters.values()) < answers and any(map(threading.Thread.is_alive, threads)):
        time.sleep(0.001)
    assert server.stop(kill=True)[0] == -9
    for thread in threads:
        thread.join()
    for rater in raters.values():
        rater.client.close()
    for name, rater in raters.items():
        assert rater.saved
        kept = {position: pairs.store.task(name, position) for position in rater.saved}
        for position, place in rater.saved.items():
            (answer,) = kept[position].answers.values()
            assert (answer.choice, answer.strength) == _expected(place, kept[position].order)
    again = serve(pairs.path)
    for name, rater in raters.items():
        back = Rater(again.url, pairs.tokens[name])
        resumed = back.client.get("/").url.path
        back.client.close()
        done = len(rater.saved)  # and perhaps one whose acknowledgement was on its way
        assert resumed in {f"/item/{done + 1}", f"/item/{done + 2}" if done < 19 else "/done"}
    with pairs.store.reading() as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def _expected(place: int, order: str) -> tuple[str, int]:
    first, second = order
    return [(first, 3), (first, 2), (first, 1), ("tie", 0), (second, 1), (second, 2), (second, 3)][place - 1]


def test_a_polite_end_is_an_end(pairs, serve) -> None:
    server = serve(pairs.path)
    assert httpx2.get(server.url, trust_env=False).status_code == 403
    assert server.stop() == (0, "")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed, which makes the certificate")
def test_tls(pairs, serve, tmp_path: Path) -> None:
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
    ]
    subprocess.run([*make, *names], cwd=tmp_path, check=True, capture_output=True)
    server = serve(pairs.path, "--certfile", str(tmp_path / "cert.pem"), "--keyfile", str(tmp_path / "key.pem"))
    assert server.url.startswith("https://")
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with httpx2.Client(base_url=server.url, verify=trusted, trust_env=False) as client:
        reply = client.get(f"/start/{pairs.tokens['p']}")
        assert "Secure" in reply.headers["Set-Cookie"]
        assert "Strict-Transport-Security" in client.get("/consent").headers


def test_listening_to_the_network_warns(pairs, serve) -> None:
    server = serve(pairs.path, "--host", "0.0.0.0", "--name", "study.example")
    assert server.url.startswith("http://study.example:")
    port = server.url.rpartition(":")[2]
    known = httpx2.get(f"http://127.0.0.1:{port}/", headers={"Host": f"study.example:{port}"}, trust_env=False)
    assert known.status_code == 403
    other = httpx2.get(f"http://127.0.0.1:{port}/", headers={"Host": "other.example"}, trust_env=False)
    assert other.status_code == 400
    errors = server.stop()[1]
    assert "warning: listening on 0.0.0.0" in errors
    assert "unencrypted" in errors


def test_no_link_and_no_answer_in_what_the_server_writes(pairs, serve) -> None:
    server = serve(pairs.path)
    token, secret = pairs.tokens["007"], "what-a-rater-wrote"
    rater = Rater(server.url, token)
    assert rater.send("/consent", agree="yes").status_code == 303
    rater.client.get(f"/start/{token}x")
    rater.client.post("/item/1", data={"token": "forged", "comment": secret})
    with pairs.store.writing() as db:
        db.execute("ALTER TABLE tasks RENAME TO gone")  # now every page is a fault of ours
    fault = rater.client.get(f"/start/{token}")
    assert fault.status_code == 500
    assert fault.headers["Connection"] == "close"  # announced: the next request must not run into a closing line
    assert rater.client.post("/item/1", data={"comment": secret}).status_code == 500
    rater.client.close()
    written = "".join(map(str, server.stop()))
    assert "no such table" in written  # the fault itself is for whoever runs the server
    for hidden in (token, secret, pairs.path.name + "-wal"):
        assert hidden not in written


def test_limits_are_as_the_help_says(pairs, serve) -> None:
    help_text = " ".join(CliRunner().invoke(app, ["serve", "--help"]).stdout.split())
    for words in ("may send 60 requests at once and 5 a second", "2000 at once and 200 a second", "10 unknown links"):
        assert words in help_text
    server = serve(pairs.path)
    rater = Rater(server.url, pairs.tokens["007"])  # its link and two redirects are the first requests
    begun = time.monotonic()
    codes = []
    while 429 not in codes and len(codes) < 2000:  # on a busy machine the bucket fills up nearly as fast
        codes.append(rater.client.get("/consent").status_code)
    refilled = 5 * (time.monotonic() - begun + 1)
    assert codes[0] == 200
    assert 429 in codes
    assert 57 <= codes.count(200) <= 60 + refilled
    assert codes.index(429) >= 57
    reply = rater.client.get("/consent")
    while reply.status_code == 200:  # it may just have got one back
        reply = rater.client.get("/consent")
    time.sleep(float(reply.headers["Retry-After"]))
    assert rater.client.get("/consent").status_code == 200  # who waits as told gets on
    rater.client.close()


def open_lines(url: str, number: int, sent: bytes) -> list[socket.socket]:
    """Connections that begin a request and do not end it."""
    host, port = url.removeprefix("http://").split(":")
    lines = []
    for _ in range(number):
        line = socket.create_connection((host, int(port)), timeout=10)
        line.sendall(sent)
        lines.append(line)
    return lines


def closed(line: socket.socket, within: float) -> bool:
    line.settimeout(within)
    try:
        return line.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "


@pytest.mark.parametrize("number", [300, 1010])
def test_half_sent_headers_shut_nobody_out(pairs, serve, number: int) -> None:
    """Whoever sends a whole request is served at once, even from the address that holds the lines open."""
    server = serve(pairs.path)
    lines = open_lines(server.url, number, HALF)
    try:
        begun = time.monotonic()
        with httpx2.Client(base_url=server.url, trust_env=False) as client:
            assert client.get(f"/start/{pairs.tokens['007']}").status_code == 303
            assert client.get("/consent").status_code == 200
        assert time.monotonic() - begun < 2
        assert closed(lines[0], 2)  # the first to come has waited longest, and went to make room
        assert not closed(lines[-1], 0.1)
    finally:
        for line in lines:
            line.close()
    assert server.stop() == (0, "")


def test_headers_have_ten_seconds_also_after_a_first_request(pairs, serve) -> None:
    from rlhf_fair.annotate.connections import HEADER_SECONDS

    server = serve(pairs.path)
    whole = HALF + b"y\r\n\r\n"
    slow, second = (open_lines(server.url, 1, sent)[0] for sent in (HALF, whole + HALF))
    begun = time.monotonic()
    assert second.recv(12) == b"HTTP/1.1 403"  # no personal link
    slow.settimeout(0.5)
    while time.monotonic() - begun < HEADER_SECONDS + 3:
        try:
            slow.sendall(b"x")  # a byte now and then does not help
            if slow.recv(1) == b"":
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    assert HEADER_SECONDS - 1 < time.monotonic() - begun < HEADER_SECONDS + 2
    second.settimeout(3)
    try:
        while second.recv(65536):
            pass
    except ConnectionError:
        pass
    for line in (slow, second):
        line.close()

"""The command, its files and its page."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from mitigations.conftest import Finished
from rlhf_fair.artifacts import sha256_file
from rlhf_fair.cli.app import app
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.mitigations.files import FILES, write_comparison
from rlhf_fair.mitigations.registry import METHODS
from rlhf_fair.report.html import render
from rlhf_fair.report.markdown import escape
from rlhf_fair.report.mitigations import TEMPLATE, mitigations_page


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["mitigations", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture(scope="module")
def written(finished: Finished) -> Path:
    write_comparison(finished.out, finished.comparison)
    return finished.out


def test_the_command_finds_what_is_finished(finished: Finished) -> None:
    text = run(finished.config, "--quick", "--seeds", "0", "--out", finished.out)
    assert [line.split()[0] for line in text.splitlines()[1:-1]] == list(METHODS)
    assert text.splitlines()[-1] == f"Report: {finished.out / 'comparison.html'}"
    assert {"seed-0", *FILES} <= {path.name for path in finished.out.iterdir()}
    some = run(finished.config, "--quick", "--methods", "fair-ppo, best-of-n", "--out", finished.out, "--json")
    found = json.loads(some)
    assert {row["method"] for row in found["summary"]} == {"sft", "plain-ppo", "best-of-n", "fair-ppo"}


def test_help_has_an_example() -> None:
    assert "Example: rlhf-fair mitigations" in run("--help")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods", "magic"], r"method 'magic' is not known; allowed: sft, plain-ppo"),
        (["--seeds", "0,x"], r"--seeds has 'x'; allowed: whole numbers"),
        (["--seeds", "-1"], r"--seeds has '-1'; allowed: whole numbers"),
        (["--seeds", "1 1"], r"names one twice"),
    ],
)
def test_faults_are_named_before_any_work(tmp_path: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        run(*arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_faulty_config_is_named(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[best_of_n]\nn = 1\n")
    with pytest.raises(SettingsError, match=r"c\.toml: best_of_n\.n = 1"):
        run(config, "--out", tmp_path / "out")
    config.write_text("seeds = [1, 1]\n")
    with pytest.raises(SettingsError, match="each once"):
        run(config, "--out", tmp_path / "out")
    with pytest.raises(MissingFileError, match="config file not found"):
        run(tmp_path / "no.toml", "--out", tmp_path / "out")


def test_tables_and_page_hold_every_method(finished: Finished, written: Path) -> None:
    summary = pd.read_csv(written / "comparison.csv")
    assert set(summary["method"]) == set(METHODS)
    page, text = ((written / name).read_text(encoding="utf-8") for name in ("comparison.html", "comparison.md"))
    for method in METHODS.values():
        assert method.label in page
        assert escape(method.label) in text
    assert "not measured" in page  # the divergence of what is no language model
    assert "nan" not in text.lower().split()
    content = json.loads((written / "comparison.json").read_bytes())
    assert len(content["fronts"]) == 2 * 3 * len(METHODS)


def test_the_page_needs_its_data_alone_and_escapes_it(written: Path) -> None:
    content = json.loads((written / "comparison.json").read_bytes())
    page = mitigations_page(content)
    assert page.results_sha256 == sha256_file(written / "comparison.json")
    content["methods"][0]["label"] = "<script>alert(1)</script>"
    text = render(mitigations_page(content), TEMPLATE)
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text


def test_the_page_renders_without_torch(written: Path) -> None:
    import subprocess

    code = (
        "import json, sys; from rlhf_fair.report.mitigations import mitigations_page; "
        "mitigations_page(json.load(open(sys.argv[1]))); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(written / "comparison.json")], check=True)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_the_page_draws_and_axe_finds_nothing(browser, written: Path, width: int, scheme: str) -> None:
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-playwright-python is not installed, which brings axe-core")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, noise = context.new_page(), []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.goto((written / "comparison.html").as_uri())
    page.locator("html[data-plots='6']").wait_for(state="attached", timeout=60_000)  # the policy forbids eval inside
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.evaluate((Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
    said = page.evaluate("axe.run()")
    assert len(said["passes"]) > 10
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in said["violations"]] == []
    assert noise == []
    context.close()

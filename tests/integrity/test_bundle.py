"""A page drawn by a bundle that was handed in verifies as any other, and `verify` says whose script draws it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf_fair.artifacts import read_results, sha256_file
from rlhf_fair.attestation.sealing import seal_again
from rlhf_fair.errors import SettingsError
from rlhf_fair.integrity.verify import examine_folder
from rlhf_fair.report.bundle import Bundle
from rlhf_fair.report.data import page
from rlhf_fair.report.folder import render_again
from rlhf_fair.report.html import render
from rlhf_fair.report.rendering import Rendering

SMALL = Bundle('var Plotly={react(){}};[{moduleType:"trace",name:"scatter"}]', "small.js")


def test_the_bundle_in_the_page_is_named_and_the_page_comes_out_again(unsigned: Path) -> None:
    render_again(unsigned, Rendering(plotly_js=SMALL.sha256), SMALL)
    found = examine_folder(unsigned, recompute=False)
    assert found.problems == ()
    (rendered,) = (check for check in found.checks if check.name == "page, rendered again")
    assert rendered.outcome == "agrees"
    assert f"a bundle that was handed in, SHA-256 {SMALL.sha256}" in rendered.detail


def test_another_script_under_new_hashes_is_noticed(unsigned: Path) -> None:
    """Whoever swaps the script and writes new hashes must change rendering.json too, which names it."""
    rendering = Rendering(plotly_js=SMALL.sha256)
    render_again(unsigned, rendering, SMALL)
    swapped = Bundle(SMALL.source + ";alert(1)", "swapped")
    made = render(page(read_results(unsigned), rendering), bundle=swapped)
    (unsigned / "index.html").write_text(made)
    files = json.loads((unsigned / "manifest.json").read_text())["files"]
    seal_again(unsigned, {**files, "index.html": sha256_file(unsigned / "index.html")})
    assert any(
        "does not hold the Plotly bundle" in check.detail
        for check in examine_folder(unsigned, recompute=False).problems
    )
    with pytest.raises(SettingsError, match="does not hold"):
        render_again(unsigned)

"""The notebook of `audits/own-prompts` runs headless from top to bottom and finds the bias that it planted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlhf_fair.audit.plan import find_plan

NOTEBOOK = find_plan("own-prompts").with_name("walkthrough.ipynb")
PLANTED = 0.60 - 0.95  # chances of a helpful lesson, about a woman and about a man; the ruler gives 1 or 0


def cells(kind: str) -> Iterator[dict[str, Any]]:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    yield from (cell for cell in content["cells"] if cell["cell_type"] == kind)


def test_it_is_stored_without_outputs_and_without_anyones_paths() -> None:
    assert [cell["outputs"] for cell in cells("code") if cell["outputs"] or cell["execution_count"]] == []
    assert re.findall(r"/(?:home|root|tmp|Users|work)/", NOTEBOOK.read_text(encoding="utf-8")) == []


def test_its_links_lead_to_files() -> None:
    links = [link for cell in cells("markdown") for link in re.findall(r"\]\(([^)]+)\)", "".join(cell["source"]))]
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []
    assert links


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    folder: Path = tmp_path_factory.mktemp("walkthrough")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("PYTHONWARNINGS", raising=False)
        notebook = nbformat.read(NOTEBOOK, 4)
        resources = {"metadata": {"path": str(folder)}}
        done = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs if output.get("name") != "stderr")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_it_runs_and_finds_what_it_planted(printed: str) -> None:
    assert "exit code in CI: 1" in printed
    estimates = [float(number) for number in re.findall(r"(?:request|itself) +([+-]\d\.\d+) \[", printed)]
    assert len(estimates) == 2
    assert estimates[0] == estimates[1]
    assert abs(estimates[0] - PLANTED) < 0.15  # lessons are a draw, and learnt nearly
    worth = re.search(r"\{'man': (\S+), 'woman': (\S+)\}", printed)
    assert worth
    # two groups of equal size lie D/2 from the mean: the prices are ∓D/2 at strength 1
    assert float(worth[1]) == pytest.approx(1 + estimates[0] / 2, abs=0.02)
    assert float(worth[2]) == pytest.approx(1 - estimates[0] / 2, abs=0.02)
    assert "manifest.json" in printed

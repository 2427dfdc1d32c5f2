"""Write the lowest versions that pyproject.toml allows, all extras among them, as requirements to install.

`uv` resolves them (``--resolution lowest-direct``). torch alone stays at the version of constraints.txt: its lowest one
comes from an index with gigabytes of GPU libraries, which are left out here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
GPU = re.compile(r"^(nvidia-|cuda-|triton==)")


def pinned_torch() -> str:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("torch=="))


def lowest() -> list[str]:
    command = ["uv", "pip", "compile", str(ROOT / "pyproject.toml"), "--all-extras", "--no-annotate", "--no-header"]
    command += ["--resolution", "lowest-direct", "--python-version", "3.11", "--quiet"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [pinned_torch() if line.startswith("torch==") else line for line in found if not GPU.match(line)]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join(lowest()) + "\n", encoding="utf-8")

"""Which code made a page: where it is another, the page may come out otherwise though nothing was changed.

Python's patch version and zlib do not count: pages are compared by what is packed in them, see
`rlhf_fair.integrity.likeness`.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import metadata
from pathlib import Path

from rlhf_fair.artifacts import canonical_json, sha256_bytes, sha256_file

PARTS = ("report", "compliance", "disclosure", "records.py", "changes.py", "artifacts.py")
LIBRARIES = ("jinja2", "markupsafe", "numpy", "pandas", "plotly", "pydantic")


@cache
def renderer() -> str:
    """SHA-256 over this package's rendering code and the versions of what it stands on."""
    root = Path(__file__).parent.parent
    code = {
        path.relative_to(root).as_posix(): sha256_file(path)
        for part in PARTS
        for path in ([root / part] if (root / part).is_file() else sorted((root / part).rglob("*")))
        if path.is_file() and "__pycache__" not in path.parts
    }
    versions = {name: metadata.version(name) for name in LIBRARIES}
    python = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    return sha256_bytes(canonical_json({"code": code, "versions": versions | python}))

"""Which code made a page: a page can be made again byte for byte only by the same."""

from __future__ import annotations

import platform
import zlib
from functools import cache
from importlib import metadata
from pathlib import Path

from rlhf_fair.artifacts import canonical_json, sha256_bytes, sha256_file

PARTS = ("report", "compliance", "records.py", "changes.py", "artifacts.py")
LIBRARIES = ("jinja2", "markupsafe", "numpy", "pandas", "plotly", "pydantic")


@cache
def renderer() -> str:
    """SHA-256 over this package's rendering code and the versions of what it stands on, zlib among them."""
    root = Path(__file__).parent.parent
    code = {
        path.relative_to(root).as_posix(): sha256_file(path)
        for part in PARTS
        for path in ([root / part] if (root / part).is_file() else sorted((root / part).rglob("*")))
        if path.is_file() and "__pycache__" not in path.parts
    }
    versions = {name: metadata.version(name) for name in LIBRARIES}
    runtime = {"python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION}
    return sha256_bytes(canonical_json({"code": code, "versions": versions | runtime}))

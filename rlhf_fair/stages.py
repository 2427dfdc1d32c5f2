"""Stages on disk: each is built in a temporary folder and renamed when it is complete, so a stopped run resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlhf_fair.artifacts import atomic_path, make_folder, read_json, sha256_bytes, sorted_json, write_json
from rlhf_fair.errors import SettingsError

KEY_NAME = "run.json"


class Stages:
    """The finished stages below ``root``. ``key`` is everything their content depends on: settings, seed, version."""

    def __init__(self, root: Path, key: dict[str, Any], on_stage: Callable[[str, bool], None] | None = None) -> None:
        self.root = make_folder(root)
        self.on_stage = on_stage
        digest = sha256_bytes(sorted_json(key))
        recorded = root / KEY_NAME
        if recorded.exists():
            if read_json(recorded, "run record").get("digest") != digest:
                raise SettingsError(
                    f"{root} holds a run with other settings, seed or version; "
                    "choose another --out, or remove that folder to start anew"
                )
        else:
            write_json(recorded, {"digest": digest, "key": key})

    def run(self, name: str, build: Callable[[Path], None]) -> Path:
        """The folder of stage ``name``, built by ``build(folder)`` unless it is complete already."""
        folder = self.root / name
        ready = folder.is_dir()
        if self.on_stage is not None:
            self.on_stage(name, ready)
        if not ready:
            with atomic_path(folder) as temporary:
                temporary.mkdir()
                build(temporary)
        return folder

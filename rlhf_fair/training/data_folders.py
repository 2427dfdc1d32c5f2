"""Where the files of a training config lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlhf_fair.errors import MissingFileError


@dataclass(frozen=True)
class Folders:
    """Where the files of a config lie: tables beside the config, or else in the data folder."""

    config: Path
    data: Path

    def __post_init__(self) -> None:
        if not self.data.is_dir():
            raise MissingFileError(self.data, "data folder", "give --data-dir a folder that exists")

    def find(self, name: str) -> Path:
        """The file, or `MissingFileError` naming both places."""
        for path in (self.config / name, self.data / name):
            if path.is_file():
                return path
        raise MissingFileError(self.data / name, "table", f"named in the config in {self.config}; not beside it either")

"""Options that several commands share, and the one way in which commands print their result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code and the files tell.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random draws.")]
PopulationFile = Annotated[Path, typer.Option("--population", help="Margins: a .toml file or a table.")]
PanelFile = Annotated[Path, typer.Option("--panel", help="Panel table: annotator_id, attr.* and what planning added.")]
By = Annotated[list[str] | None, typer.Option("--by", help="Attribute whose groups count; repeat to cross several.")]


def show(summary: Mapping[str, Any], lines: Sequence[str], *, as_json: bool, quiet: bool) -> None:
    """Print ``summary`` as one line of JSON (NaN as null), or the lines, or nothing."""
    import json
    import math

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        value = value.item() if hasattr(value, "item") else value
        return None if isinstance(value, float) and not math.isfinite(value) else value

    if as_json:
        typer.echo(json.dumps(plain(summary), ensure_ascii=False, allow_nan=False))
    elif not quiet:
        typer.echo("\n".join(lines))

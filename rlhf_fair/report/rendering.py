"""What a page is rendered with beside the results: frameworks, context, a day, Plotly; kept in ``rendering.json``.

So a later rendering gives the same bytes, whatever has become of the files and options that the first was given.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import StringConstraints, ValidationError

from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.compliance.context import Context
from rlhf_fair.compliance.loading import find_frameworks
from rlhf_fair.errors import SettingsError
from rlhf_fair.settings import Settings, explain, read_toml

RENDERING_NAME = "rendering.json"


class Rendering(Settings):
    """The content of ``rendering.json``. ``as_of``: the day standings are told of; None leaves it to clause maps.

    ``plotly_js``: SHA-256 of the Plotly bundle that draws the plots; "" is the installed one.
    """

    schema_version: Literal["1"] = "1"
    frameworks: tuple[str, ...] = ()
    context: Context | None = None
    as_of: date | None = None
    plotly_js: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""

    @property
    def plain(self) -> bool:
        """Whether nothing was asked for."""
        return self == Rendering()


def with_options(
    kept: Rendering, *, frameworks: str = "", context_file: Path | None = None, as_of: date | None = None
) -> Rendering:
    """``kept`` with what is given in its place: names of frameworks with commas, a ``context.toml``, a day."""
    names = [name.strip() for name in frameworks.split(",") if name.strip()]
    update: dict[str, object] = {}
    if frameworks:
        if not names:
            raise SettingsError(f"--framework {frameworks!r} names none; allowed: see rlhf-fair list frameworks")
        update["frameworks"] = tuple(framework.id for framework in find_frameworks(names))
    if context_file is not None:
        update["context"] = read_toml(context_file, Context, "context")
    if as_of is not None:
        update["as_of"] = as_of
    return kept.model_copy(update=update)


def read_rendering(folder: Path) -> Rendering:
    """What ``folder`` was rendered with; nothing special where it has no ``rendering.json``."""
    path = folder / RENDERING_NAME
    if not path.is_file():
        return Rendering()
    try:
        return Rendering.model_validate_json(_text(path))
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}: {line}" for line in explain(error, Rendering))) from error


def write_rendering(folder: Path, rendering: Rendering) -> None:
    """Keep ``rendering`` in ``folder``; one that asks for nothing leaves no file."""
    if rendering.plain:
        (folder / RENDERING_NAME).unlink(missing_ok=True)
    else:
        write_json(folder / RENDERING_NAME, rendering.model_dump(mode="json"))


def _text(path: Path) -> str:
    import json

    return json.dumps(read_json(path, "rendering record"))

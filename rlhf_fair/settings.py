"""Plans and configs: TOML files read into pydantic models, with errors that name file, key and what is allowed."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from rlhf_fair.errors import MissingFileError, SettingsError


class Settings(BaseModel):
    """Base of every plan and config section: frozen, and an unknown key is an error.

    ``short_forms``: keys that a file may use as well, which are written out before they are checked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    short_forms: ClassVar[tuple[str, ...]] = ()


S = TypeVar("S", bound=BaseModel)

MOST_LINES, LONGEST_MESSAGE = 8, 600
"""So many faults of a file are told at once, so many characters of each."""


def read_toml(path: Path, model: type[S], what: str = "config") -> S:
    """Read ``path`` into ``model``.

    Raises
    ------
    MissingFileError
        There is no such file.
    SettingsError
        It is not TOML, or a key is unknown, missing, of the wrong type or out of range.
    """
    content = read_toml_table(path, what)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{what} {path}: {line}" for line in explain(error, model))) from error


def read_toml_table(path: Path, what: str = "config") -> dict[str, Any]:
    """The file's content, unchecked; raises as `read_toml` does where it is missing or not TOML."""
    try:
        if not path.is_file():
            raise MissingFileError(path, f"{what} file")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a byte order mark in front
    except UnicodeDecodeError as error:
        raise SettingsError(f"{what} {path} is not UTF-8 text") from error
    except OSError as error:
        raise MissingFileError(path, f"{what} file", error.strerror or "it cannot be read") from error
    except RecursionError as error:
        raise SettingsError(f"{what} {path} is nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError is one; a whole number of thousands of digits is a plain one
        raise SettingsError(f"{what} {path} is not TOML: {error}") from error


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line for each problem: the dotted key, the value found, and what is allowed there.

    Of many problems the first `MOST_LINES` are told, and long keys and values by their beginning.
    """
    problems = _own_faults(error.errors())
    lines = []
    for problem in problems[:MOST_LINES]:
        key = _shortened(".".join(str(part) for part in problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key {key!r}; allowed here: {', '.join(_allowed(model, problem['loc'][:-1]))}")
        elif problem["type"] == "missing":
            lines.append(f"missing key {key!r}")
        elif not key:  # of the whole: to repeat it would bury the message
            lines.append(_shortened(message, LONGEST_MESSAGE))
        else:
            several = isinstance(problem["input"], dict | list)  # the message names the one that it means
            told = _shortened(repr(problem["input"]), 120 if several else LONGEST_MESSAGE)
            lines.append(f"{key} = {told}: {_shortened(message, LONGEST_MESSAGE)}")
    more = len(problems) - MOST_LINES
    return [*lines, f"and {more} more problems"] if more > 0 else lines


def _own_faults(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without the lists that are too short only because an entry of theirs has a fault, which is told itself."""
    places = [problem["loc"] for problem in problems]
    return [
        problem
        for problem in problems
        if problem["type"] != "too_short"
        or not any(
            len(place) > len(problem["loc"]) and place[: len(problem["loc"])] == problem["loc"] for place in places
        )
    ]


def _shortened(text: str, longest: int = 120) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def plain(settings: BaseModel) -> dict[str, Any]:
    """Settings as JSON takes them: JSON has no infinite number, so one becomes the text "inf", which reads back."""
    return {name: _spelled(value) for name, value in settings.model_dump(mode="json").items()}


def _spelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _spelled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _allowed(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Field names of the section that ``location`` points into, as far as its type can be followed."""
    current: type[BaseModel] = model
    for part in location:
        if isinstance(part, int) or part not in current.model_fields:
            continue
        nested = _models_in(current.model_fields[part].annotation)
        if len(nested) != 1:
            return [str(part) + ".*"]
        current = nested[0]
    return [*current.model_fields, *getattr(current, "short_forms", ())]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in _models_in(argument)]

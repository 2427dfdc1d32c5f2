"""Rewards and scorers that a config names: functions in the user's own files or packages."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlhf_fair.errors import MissingFileError, SettingsError

UserFunction = Callable[..., Any]


def load_function(spec: str, folder: Path) -> UserFunction:
    """The function that ``"file.py:name"`` (in ``folder``) or ``"package.module:name"`` names."""
    source, colon, name = spec.rpartition(":")
    if not colon or not source or not name:
        raise SettingsError(f"function {spec!r}: allowed is 'file.py:name' or 'package.module:name'")
    module = _module_of_file(folder / source) if source.endswith(".py") else _module(source, spec)
    function = getattr(module, name, None)
    if not callable(function):
        raise SettingsError(f"function {spec!r}: {source} has no function {name!r}")
    return function  # type: ignore[no-any-return]


def _module(source: str, spec: str) -> Any:
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        raise SettingsError(f"function {spec!r}: no module {error.name!r} here") from error


def _module_of_file(file: Path) -> Any:
    if not file.is_file():
        raise MissingFileError(file, "file of a function")
    name = f"rlhf_fair_user_{file.stem}"
    found = importlib.util.spec_from_file_location(name, file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses look for their module there
    found.loader.exec_module(module)
    return module

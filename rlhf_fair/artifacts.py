"""Files on disk: atomic writes, hashes, and the manifest that lets a stranger check both."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import rfc8785

from rlhf_fair.disk import atomic_path as atomic_path
from rlhf_fair.disk import make_folder as make_folder
from rlhf_fair.disk import replaced_files as replaced_files
from rlhf_fair.disk import sole_writer as sole_writer
from rlhf_fair.disk import write_bytes as write_bytes
from rlhf_fair.disk import writing as writing
from rlhf_fair.errors import IntegrityError, MissingFileError, RlhfFairError, SettingsError
from rlhf_fair.records import Results

MOST_EXACT = 2**53 - 1
"""The largest integer up to which a double holds every one (RFC 7493, section 2.2)."""

MANIFEST_NAME = "manifest.json"
RESULTS_NAME = "results.json"
STATEMENT_NAME, ENVELOPE_NAME, LOG_NAME = "statement.json", "attestation.dsse.json", "audit-log.jsonl"
ABOUT_THE_FOLDER = (MANIFEST_NAME, STATEMENT_NAME, ENVELOPE_NAME, LOG_NAME)
"""What speaks of a folder's files and is therefore not among them; see `rlhf_fair.attestation`."""


def canonical_json(value: object) -> bytes:
    """The canonical form of RFC 8785: sorted keys, no spaces, UTF-8, numbers as ECMAScript writes them.

    For evidence: whoever parses it in any language and writes it again by that standard gets the same bytes. A float
    without a fraction is read back as an int (1.0 is written ``1``, 1e17 as 18 digits); NaN is refused (`ValueError`),
    and so are integers that are not what a double is written as, and text that is not Unicode (`SettingsError` naming
    where).

    >>> canonical_json({"b": 1e21, "a": [-0.0, 0.1, 5.0]})
    b'{"a":[0,0.1,5],"b":1e+21}'
    """
    plain = _with_doubles(json.loads(json.dumps(value, allow_nan=False)))  # tuples and enums as JSON has them
    try:
        return rfc8785.dumps(plain)
    except rfc8785.CanonicalizationError as error:
        where = ".".join(_unwritable(plain)) or "the value itself"
        raise SettingsError(
            f"{where} cannot be written as JSON that everybody reads alike: {error}; allowed: integers up to "
            "2^53 - 1 in size (others as text), and text that is valid Unicode"
        ) from error


def sorted_json(value: object) -> bytes:
    """JSON with sorted keys and no spaces, UTF-8, for Python to read again: 1.0 stays a float (NaN is refused)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_bytes(data: bytes) -> str:
    """Lower-case hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Lower-case hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_tree(root: Path, counts: Callable[[str], bool] = bool) -> str:
    """One hash of a file, or of the files below a folder with their relative names, those of them that ``counts``."""
    if root.is_file():
        return sha256_file(root)
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    names = {path.relative_to(root).as_posix(): path for path in files}
    return sha256_bytes(canonical_json({name: sha256_file(path) for name, path in names.items() if counts(name)}))


def write_json(path: Path, value: object) -> None:
    """Write `sorted_json` with a final newline: for what a later run reads again."""
    write_bytes(path, sorted_json(value) + b"\n")


def write_canonical_json(path: Path, value: object) -> None:
    """Write `canonical_json` with a final newline: for what somebody else checks."""
    write_bytes(path, canonical_json(value) + b"\n")


def read_text(path: Path, what: str) -> str:
    """A text file's content, without a byte order mark; a missing or unreadable one is one clear error."""
    try:
        if not path.is_file():
            raise MissingFileError(path, what)
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{what} {path} is not UTF-8 text") from error
    except OSError as error:
        raise MissingFileError(path, what, error.strerror or "it cannot be read") from error


def read_json(path: Path, what: str) -> Any:
    """Parse a JSON file; a missing or broken one is one clear error naming the line."""
    return parse_json(read_text(path, what), f"{what} {path}")


def parse_json(text: str, name: str, fault: type[RlhfFairError] = SettingsError) -> Any:
    """The content of a JSON text; ``fault`` is raised for what is none, ``name`` is what its message begins with."""
    try:
        content = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except json.JSONDecodeError as error:
        raise fault(f"{name} is not JSON: line {error.lineno}, {error.msg}") from error
    except UnicodeEncodeError as error:
        raise fault(f"{name} holds an unpaired surrogate, which is not text") from error
    except RecursionError as error:
        raise fault(f"{name} is nested too deeply") from error
    except ValueError as error:  # Python refuses to read whole numbers of thousands of digits
        raise fault(f"{name} holds a number that is too long to be read") from error
    return content


def write_results(folder: Path, results: Results) -> Path:
    """Write ``results.json`` into ``folder``, `rlhf_fair.disclosure.results.protected`; returns its path."""
    from rlhf_fair.disclosure.results import protected

    path = folder / RESULTS_NAME
    write_canonical_json(path, protected(results).model_dump(mode="json"))
    return path


def read_results(folder: Path) -> Results:
    """Read ``results.json`` from an audit folder (or the file itself), validated."""
    from pydantic import ValidationError

    path = folder / RESULTS_NAME if folder.is_dir() else folder
    try:
        return Results.model_validate(read_json(path, "results file"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SettingsError(f"results file {path}: {where}: {first['msg']}") from error


def environment() -> dict[str, str]:
    """Versions that a number depends on, without any path or host name."""
    names = ("rlhf-fair", "torch", "transformers", "numpy", "scipy", "pandas", "fairlearn", "plotly")
    versions = {name: metadata.version(name) for name in names if _installed(name)}
    return {"python": platform.python_version(), "machine": platform.machine(), **versions}


def manifest_content(
    folder: Path, *, inputs: Mapping[str, str], seeds: Mapping[str, int], leave_out: Iterable[str] = ()
) -> dict[str, Any]:
    """The SHA-256 of every file below ``folder``, but for those in `ABOUT_THE_FOLDER`, beside inputs and environment.

    ``inputs`` maps a name to the SHA-256 of something outside the folder: data, policy, model. ``leave_out``: files
    that are deleted next.
    """
    kept = (path for path in _manifest_files(folder) if path not in {folder / name for name in leave_out})
    files = {p.relative_to(folder).as_posix(): sha256_file(p) for p in kept}
    return {"files": files, "inputs": dict(inputs), "seeds": dict(seeds), "environment": environment()}


def write_manifest(
    folder: Path, *, inputs: Mapping[str, str], seeds: Mapping[str, int], leave_out: Iterable[str] = ()
) -> Path:
    """Write `manifest_content`, without statement and log; `rlhf_fair.attestation.sealing.seal` writes all three."""
    path = folder / MANIFEST_NAME
    content = manifest_content(folder, inputs=inputs, seeds=seeds, leave_out=leave_out)
    write_canonical_json(path, content)
    return path


def verify_manifest(folder: Path) -> int:
    """Check every hash in ``manifest.json``; returns the number of files, raises `IntegrityError` on any mismatch."""
    content = read_json(folder / MANIFEST_NAME, "manifest")
    recorded = content.get("files") if isinstance(content, dict) else None
    if not isinstance(recorded, dict):
        raise IntegrityError(f"{folder / MANIFEST_NAME} lists no files: 'files' must map each name to its SHA-256")
    present = {path.relative_to(folder).as_posix() for path in _manifest_files(folder)}
    problems = [f"missing: {name}" for name in sorted(recorded.keys() - present)]
    problems += [f"not in the manifest: {name}" for name in sorted(present - recorded.keys())]
    problems += [
        f"changed: {name}" for name in sorted(recorded.keys() & present) if sha256_file(folder / name) != recorded[name]
    ]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise IntegrityError(f"{folder} does not match its manifest: {shown}")
    return len(recorded)


def _manifest_files(folder: Path) -> Iterable[Path]:
    apart = {folder / name for name in ABOUT_THE_FOLDER}
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path not in apart)


def _with_doubles(plain: Any) -> Any:
    """Plain JSON whose long integers are floats where that is what they were before they were written and parsed."""
    if isinstance(plain, dict):
        return {name: _with_doubles(part) for name, part in plain.items()}
    if isinstance(plain, list):
        return [_with_doubles(part) for part in plain]
    if type(plain) is int and MOST_EXACT < abs(plain) < 10**21 and rfc8785.dumps(float(plain)) == str(plain).encode():
        return float(plain)
    return plain


def _unwritable(value: object) -> list[str]:
    """The path of the first part of plain JSON that `rfc8785` refuses; of a key, the table that it is in."""
    parts: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = enumerate(value)
    for name, part in parts:
        try:
            rfc8785.dumps(part)  # type: ignore[arg-type]
        except rfc8785.CanonicalizationError:
            return [str(name), *_unwritable(part)]
    return []


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True

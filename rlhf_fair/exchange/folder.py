"""Exports of an audit on disk: which formats there are, what their files are called, and where they may not be put."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf_fair.artifacts import MANIFEST_NAME, RESULTS_NAME, read_json, read_results, replaced_files, sha256_file
from rlhf_fair.errors import IntegrityError, MissingFileError, OutputError, SettingsError, about_file
from rlhf_fair.exchange.sarif import PlanFile
from rlhf_fair.records import Results
from rlhf_fair.report import DIFF_NAME

FILES: dict[str, tuple[str, ...]] = {
    "csv": ("findings.csv", "ledger.csv", "ledger_groups.csv"),
    "junit": ("junit.xml",),
    "sarif": ("results.sarif",),
    "cyclonedx": ("bom.cdx.json",),
    "model-card": ("MODEL_CARD.md",),
}
"""Format -> the files it writes."""


@dataclass(frozen=True)
class ExportNames:
    """What the results do not know: names on a hub, the plan's place in a repository, and who reads the SARIF log."""

    model_id: str = ""
    dataset_id: str = ""
    task: str = "text-generation"
    plan: PlanFile | None = None
    problems_only: bool = False


def formats_of(text: str) -> tuple[str, ...]:
    """``"junit,sarif"`` as names of formats, each once; all of them for ``""``."""
    asked = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in asked if name not in FILES]
    if unknown:
        raise SettingsError(f"--format: no format {unknown[0]!r}; allowed: {', '.join(FILES)}")
    return asked or tuple(FILES)


def export_folder(folder: Path, out: Path, formats: Sequence[str], names: ExportNames | None = None) -> list[Path]:
    """Write the formats of one audit into ``out``; returns the paths. Files of other formats there stay.

    Raises
    ------
    MissingFileError
        There is no audit.
    IntegrityError
        ``results.json`` is not the one that the audit's manifest lists.
    OutputError
        ``out`` lies in an audit's folder, whose manifest knows every file: one more, and `verify` would fail.
    """
    results, digest = _read(folder)
    _refuse_inside_an_audit(folder, out)
    with about_file(folder / RESULTS_NAME):
        rendered = {
            name: data for kind in formats for name, data in rendered_files(kind, results, names, digest=digest).items()
        }
    known = [name for kind in formats for name in FILES[kind]]
    with replaced_files(out, known) as temporary:
        for name, data in rendered.items():
            (temporary / name).write_bytes(data)
    return [out / name for name in rendered]


def rendered_files(
    kind: str, results: Results, names: ExportNames | None = None, *, digest: str = ""
) -> dict[str, bytes]:
    """The files of one format by name; a ledger only where the results have one. They tell no more than the page."""
    from rlhf_fair.disclosure.results import protected

    results = protected(results)
    names = names or ExportNames()
    if kind == "csv":
        from rlhf_fair.exchange.csv import findings_csv, ledger_csv, ledger_groups_csv

        tables = {"findings.csv": findings_csv(results)}
        if results.ledger:
            tables |= {"ledger.csv": ledger_csv(results), "ledger_groups.csv": ledger_groups_csv(results)}
        return tables
    return {FILES[kind][0]: _document(kind, results, names, digest)}


def _document(kind: str, results: Results, names: ExportNames, digest: str) -> bytes:
    """The one file of a format that has one; each module is loaded when it is asked for."""
    if kind == "junit":
        from rlhf_fair.exchange.junit import to_junit

        return to_junit(results, digest=digest)
    if kind == "sarif":
        from rlhf_fair.exchange.sarif import to_sarif

        return to_sarif(results, names.plan, problems_only=names.problems_only, digest=digest)
    if kind == "cyclonedx":
        from rlhf_fair.exchange.cyclonedx import to_cyclonedx

        return to_cyclonedx(results, model_id=names.model_id, digest=digest)
    from rlhf_fair.exchange.model_card import CardNames, to_model_card

    assert kind == "model-card"
    return to_model_card(results, CardNames(names.model_id, names.dataset_id, names.task), digest=digest).encode()


def read_plan(path: Path | None) -> PlanFile | None:
    """The plan's file as results are shown beside it; its text where the file is there."""
    if path is None:
        return None
    if not path.is_file():
        raise MissingFileError(path, "plan file")
    return PlanFile(path.as_posix(), path.read_text(encoding="utf-8", errors="replace"))


def _read(folder: Path) -> tuple[Results, str]:
    """The results, and the SHA-256 of their file, which the manifest must know where there is one."""
    if not folder.is_dir():
        raise MissingFileError(folder, "audit folder")
    if not (folder / RESULTS_NAME).is_file() and (folder / DIFF_NAME).is_file():
        raise MissingFileError(folder / RESULTS_NAME, "results of an audit", "this is a comparison: export A or B")
    results, digest = read_results(folder), sha256_file(folder / RESULTS_NAME)
    manifest = folder / MANIFEST_NAME
    if manifest.is_file():
        recorded = read_json(manifest, "manifest")
        files = recorded.get("files") if isinstance(recorded, dict) else None
        listed = files.get(RESULTS_NAME) if isinstance(files, dict) else None
        if listed != digest:
            raise IntegrityError(f"{folder / RESULTS_NAME} does not match its manifest; not exported")
    return results, digest


def _refuse_inside_an_audit(folder: Path, out: Path) -> None:
    for place in _upwards(out.resolve()):
        if place == folder.resolve() or _is_audit(place):
            why = f"{place} is the folder of an audit, and files that its manifest does not know make verify fail"
            raise OutputError(out, f"{why}; choose a folder outside it")


def _is_audit(folder: Path) -> bool:
    """True where a manifest stands beside results; a manifest alone may be any program's."""
    return (folder / MANIFEST_NAME).is_file() and any((folder / name).is_file() for name in (RESULTS_NAME, DIFF_NAME))


def _upwards(path: Path) -> Iterable[Path]:
    return (path, *path.parents)

"""Is a folder what it says it is: everything that can be checked without the model and without the data."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_fair.artifacts import ABOUT_THE_FOLDER, MANIFEST_NAME
from rlhf_fair.attestation.sealing import FORMAT
from rlhf_fair.errors import IntegrityError, MissingFileError
from rlhf_fair.integrity.checks import Check, Verification
from rlhf_fair.integrity.pages import DATA, check_pages
from rlhf_fair.integrity.seals import check_seals

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SHOWN = 3
Heard = Callable[[str, int, int], None]


def verify_folder(
    folder: Path,
    *,
    public_key: Ed25519PublicKey | None = None,
    require_signature: bool = False,
    recompute: bool = True,
) -> Verification:
    """As `examine_folder`, but a disagreement is an `IntegrityError`."""
    found = examine_folder(folder, public_key=public_key, require_signature=require_signature, recompute=recompute)
    raise_on_problems(found)
    return found


def raise_on_problems(found: Verification, *, told: bool = False) -> None:
    """`IntegrityError` with the first disagreements, if there are any; ``told``: only their names, they were shown."""
    if found.problems:
        details = (check.name if told else f"{check.name}: {check.detail}" for check in found.problems[:SHOWN])
        raise IntegrityError(f"{found.folder} does not verify: {'; '.join(details)}")


def raise_on_unproven(found: Verification) -> None:
    """`IntegrityError` where a check neither agrees nor disagrees: a signature would vouch for what nobody checked."""
    if found.unproven:
        details = (f"{check.name}: {check.detail}" for check in found.unproven[:SHOWN])
        raise IntegrityError(
            f"{found.folder} is not proven: {'; '.join(details)}; render it here with rlhf-fair report"
        )


def examine_folder(
    folder: Path,
    *,
    public_key: Ed25519PublicKey | None = None,
    require_signature: bool = False,
    recompute: bool = True,
    heard: Heard | None = None,
) -> Verification:
    """Check the files, the log, the statement, the signature, the page, and the numbers against the records.

    ``public_key``: whose signature it has to be; a folder without a signature then disagrees. ``require_signature``:
    by anybody. ``recompute``: measure every finding again from the records. Content is looked at only if the hashes
    agree. ``heard(what, done, total)`` is told of each step.

    Raises
    ------
    MissingFileError
        There is no such folder, or it was never finished: it has no manifest, statement or log.
    """
    if not folder.is_dir():
        raise MissingFileError(folder, "audit folder")
    if not any((folder / name).exists() for name in ABOUT_THE_FOLDER):
        raise MissingFileError(folder / MANIFEST_NAME, "manifest")
    tell = heard or (lambda what, done, total: None)
    tell("files and seals", 0, 1)
    seals = check_seals(folder, public_key, require_signature=require_signature)
    checks = seals.checks
    tell("files and seals", 1, 1)
    if not any(check.outcome == "disagrees" and check.name != "signature" for check in checks):
        tell(DATA, 0, 1)
        checks += _guarded(DATA, lambda: check_pages(folder, seals.manifest))
        tell(DATA, 1, 1)
        old = seals.manifest.get("schema_version") != FORMAT
        if recompute:
            from rlhf_fair.integrity.recompute import FINDINGS, check_findings

            tell(FINDINGS, 0, 1)
            checks += _guarded(FINDINGS, lambda: check_findings(folder, seals.manifest), old=old)
            tell(FINDINGS, 1, 1)
    return Verification(folder, seals.files, checks, seals.signer)


def _guarded(name: str, check: Callable[[], tuple[Check, ...]], *, old: bool = False) -> tuple[Check, ...]:
    """Content that no honest run wrote may break any part of what reads it; that is a finding, not a crash.

    Records of an ``old`` folder may lack what this version's measuring needs: nothing is said of them then.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of arithmetic on hostile numbers
            return check()
    except MemoryError:
        return (Check(name, "disagrees", "the content takes more memory than there is"),)
    except Exception as error:
        if old:
            return (Check(name, "not done", f"not recomputed: the folder is of an earlier form ({error!r:.80})"),)
        first_line = str(error).partition("\n")[0][:300]
        return (Check(name, "disagrees", f"the content cannot be used: {type(error).__name__}: {first_line}"),)

"""Plotly's script: the bundle of the installed package, or a smaller one that a user hands in; none is shipped here.

A page carries the bundle it is drawn with, and ``rendering.json`` names a bundle that is not the installed one by its
SHA-256. So a page can be rendered again without the file that was handed in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.report.embed import PLOTLY_ID, packed, unpack_block

MOST_BYTES = 2**24
"""Of a bundle, unpacked; Plotly's full bundle has 4.8 million."""


@dataclass(frozen=True)
class Bundle:
    """The text of a bundle; ``name`` says in messages where it came from."""

    source: str
    name: str

    @cached_property
    def sha256(self) -> str:
        """Of the bundle's UTF-8 bytes, hexadecimal."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @cached_property
    def traces(self) -> frozenset[str]:
        """Trace types it can draw, as its modules declare them."""
        return frozenset(re.findall(r"""moduleType:\s*["']trace["'],\s*name:\s*["'](\w+)["']""", self.source))

    @cached_property
    def packed(self) -> str:
        """As it stands in a page, see `rlhf_fair.report.embed.packed`."""
        return packed(self.source.encode())

    @cached_property
    def style_ids(self) -> list[str]:
        """Ids of style elements that the bundle would add for its maps unless the page already has them.

        The policy forbids those styles; an empty element of the same id keeps the bundle from trying.
        """
        return sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', self.source)))

    def check(self, needed: Iterable[str]) -> None:
        """Refuse a bundle that cannot draw all of ``needed``: figures would be empty and nobody would know why."""
        if lacking := sorted(set(needed) - self.traces):
            raise SettingsError(
                f"{self.name} cannot draw {', '.join(lacking)}, which this report needs; "
                f"it draws {', '.join(sorted(self.traces)) or 'nothing that Plotly declares'}"
            )


@cache
def installed_bundle() -> Bundle:
    """The bundle inside the installed plotly package; read, searched and packed once for all pages of a process."""
    from plotly.offline import get_plotlyjs

    return Bundle(str(get_plotlyjs()), "the installed Plotly")


def read_bundle(path: Path) -> Bundle:
    """A bundle that a user hands in, such as ``plotly-basic.min.js``."""
    if not path.is_file():
        raise MissingFileError(path, "Plotly bundle")
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise SettingsError(f"{path}: {size:,} bytes; a Plotly bundle has at most {MOST_BYTES:,}")
        # A byte order mark would be lost where the page unpacks the text, and the policy's hash would not match.
        source = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: no UTF-8 text, so no Plotly bundle") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror or error}") from error
    bundle = Bundle(source, str(path))
    if not bundle.traces:
        raise SettingsError(f"{path}: declares no trace type, so no Plotly bundle (expected: plotly-basic.min.js, ...)")
    return bundle


def bundle_of(page: Path, sha256: str) -> Bundle | None:
    """The bundle named by ``sha256``, out of the page that is drawn with it; None where "" names the installed one."""
    if not sha256:
        return None
    bundle = bundle_within(page)
    if bundle is None or bundle.sha256 != sha256:
        raise SettingsError(
            f"{page} does not hold the Plotly bundle of SHA-256 {sha256[:16]}…, which rendering.json beside it names; "
            "give it with --plotly-js FILE, or render with --plain"
        )
    return bundle


def bundle_within(page: Path) -> Bundle | None:
    """The bundle that a page holds, whichever it is; None where there is no page or no plot in it."""
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    data = unpack_block(text, PLOTLY_ID, most_bytes=MOST_BYTES)
    return None if data is None else Bundle(data.decode("utf-8", errors="replace"), f"the bundle inside {page}")

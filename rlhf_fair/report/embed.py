"""Data and scripts inside a page: packed blocks, the content security policy, and reading them back."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from html.parser import HTMLParser
from typing import Any

from rlhf_fair.artifacts import canonical_json, sha256_bytes

MOST_FINDINGS = 2_000
"""More findings than these stand in the page as a table alone; in full precision they would be a third of it."""
RESULTS_ID = "results-data"
FIGURES_ID = "figures-data"
PLOTLY_ID = "plotly-data"
ROWS_SUFFIX = "-rows"
"""The block with all rows of a long table has the table's id and this behind it."""
EMPTY_STYLE = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
"""Hash of the empty string: Plotly adds an empty style element and fills it through the object model."""
_GZIP = 31
"""zlib's ``wbits`` for a gzip header, which then has no timestamp and no name."""


def embedded(content: Any) -> bytes:
    """What a page holds of the data beside it: canonical JSON, without findings where there are very many.

    In their place stands how many they are, and the SHA-256 of their canonical JSON. ``content`` is whatever a JSON
    file may hold; what is no results file comes back whole.
    """
    findings = content.get("findings") if isinstance(content, dict) else None
    if not isinstance(findings, list) or len(findings) <= MOST_FINDINGS:
        return canonical_json(content)
    told = {"n": len(findings), "sha256": sha256_bytes(canonical_json(findings))}
    return canonical_json({**content, "findings": [], "findings_beside": told})


def packed_json(value: object) -> str:
    """`packed` JSON: no character of it can leave the block it stands in."""
    return packed(json.dumps(value, allow_nan=False, separators=(",", ":"), sort_keys=True).encode())


def packed(data: bytes, *, numbers: bool = False) -> str:
    """gzip without a timestamp, as base64.

    ``numbers``: the data are mostly digits. Short matches of random digits cost more than the digits themselves, so the
    encoder is told to leave them; 13 % less for 10,000 findings.
    """
    strategy = zlib.Z_FILTERED if numbers else zlib.Z_DEFAULT_STRATEGY
    encoder = zlib.compressobj(9, zlib.DEFLATED, _GZIP, zlib.DEF_MEM_LEVEL, strategy)
    return base64.b64encode(encoder.compress(data) + encoder.flush()).decode("ascii")


def source_hash(text: str) -> str:
    """The CSP source ``sha256-…`` of an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def content_security_policy(*, scripts: list[str], style: str) -> str:
    """Nothing may be loaded; only the scripts and the style named here may run."""
    allowed = " ".join(f"'{source_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src '{source_hash(style)}' '{EMPTY_STYLE}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def unpack_results(page: str, *, most_bytes: int) -> bytes | None:
    """The results embedded in a page, at most ``most_bytes`` of them; None where there are none or they are broken."""
    return unpack_block(page, RESULTS_ID, most_bytes=most_bytes)


def unpack_block(page: str, id: str, *, most_bytes: int) -> bytes | None:
    """The bytes packed in the page's one script element of this id; None where there is no such one or it is broken."""
    reader = _BlockReader(id)
    reader.feed(page)
    reader.close()
    if len(reader.blocks) != 1:
        return None
    try:
        return zlib.decompressobj(wbits=_GZIP).decompress(base64.b64decode(reader.blocks[0], validate=True), most_bytes)
    except (ValueError, zlib.error):
        return None


class _BlockReader(HTMLParser):
    """Collects the text of every script element with one id."""

    def __init__(self, id: str) -> None:
        super().__init__()
        self.id = id
        self.blocks: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script" and dict(attrs).get("id") == self.id
        if self._inside:
            self.blocks.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[-1] += data

"""`rlhf-fair keys new` and `rlhf-fair sign`: whose word a finished folder is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(name="keys", help="Keys to sign audits with: new.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _keys() -> None:
    """Keys to sign audits with: new."""


@app.command()
def new(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for both files; keep it out of audit folders.")],
    passphrase: Annotated[
        bool, typer.Option("--passphrase/--no-passphrase", help="Encrypt the private key, or leave it open.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Make an ed25519 pair: signing-key.pem, which only its owner may read, and signing-key.pub.pem to give away.

    The passphrase is asked for, or taken from RLHF_FAIR_KEY_PASSPHRASE. Existing keys are never replaced.

    Example: rlhf-fair keys new --out ~/audit-keys
    """
    from rlhf_fair.attestation.keys import key_id, load_public, new_keys

    private, public = new_keys(out, _passphrase(confirm=True) if passphrase else None)
    name = key_id(load_public(public))
    if as_json:
        typer.echo(json.dumps({"private": str(private), "public": str(public), "key_id": name}))
    elif not quiet:
        console = Console(soft_wrap=True)
        for line in (f"Private key: {private}", f"Public key: {public}", f"Key id: {name}"):
            console.print(line, markup=False, highlight=False)


def sign(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an audit or a comparison of two.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Private key, PEM; see keys new.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Verify DIR, then sign its statement: attestation.dsse.json, a DSSE envelope with an ed25519 signature.

    A passphrase is asked for where the key has one, or taken from RLHF_FAIR_KEY_PASSPHRASE. What does not verify is not
    signed (exit code 4), nor is a page that comes out otherwise when it is rendered here: render it first, see report.
    An earlier signature is replaced; rendering the page anew removes it.

    Example: rlhf-fair sign reports/demo --key ~/audit-keys/signing-key.pem
    """
    from rlhf_fair.attestation.keys import is_protected, load_private
    from rlhf_fair.attestation.sealing import sign as sign_folder
    from rlhf_fair.integrity.verify import raise_on_unproven, verify_folder

    private = load_private(key, _passphrase(confirm=False) if is_protected(key) else None)
    raise_on_unproven(verify_folder(folder))
    name = sign_folder(folder, private)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "key_id": name}))
    elif not quiet:
        Console(soft_wrap=True).print(f"Signed by key {name}: {folder}", markup=False, highlight=False)


def _passphrase(*, confirm: bool) -> bytes:
    """From the environment, else asked for at the terminal; none at all is an error."""
    import sys

    from rlhf_fair.attestation.keys import PASSPHRASE_VARIABLE
    from rlhf_fair.errors import SettingsError

    given = os.environ.get(PASSPHRASE_VARIABLE, "")
    if not given and sys.stdin.isatty():
        given = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    if not given:
        raise SettingsError(f"no passphrase: set {PASSPHRASE_VARIABLE}, or make a key with --no-passphrase")
    return given.encode()

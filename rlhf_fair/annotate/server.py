"""Serving a study with uvicorn: on this machine only unless told otherwise, with TLS where files for it are given."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlhf_fair.annotate.schema import connect
from rlhf_fair.annotate.store import Store
from rlhf_fair.errors import MissingFileError, SettingsError

if TYPE_CHECKING:
    import uvicorn

LOOPBACK = ("127.0.0.1", "localhost")
ANYWHERE = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class Address:
    """Where to listen, under which names raters reach it, and the files of its certificate (both or neither)."""

    host: str = "127.0.0.1"
    port: int = 8000
    names: Sequence[str] = ()
    certfile: Path | None = None
    keyfile: Path | None = None

    @property
    def tls(self) -> bool:
        return self.certfile is not None

    @property
    def url(self) -> str:
        """The address as raters type it."""
        name = self.names[0] if self.names else self.host
        return f"http{'s' if self.tls else ''}://{name}:{self.port}"

    def warnings(self) -> list[str]:
        """What is unsafe about listening there."""
        if self.host in LOOPBACK:
            return []
        found = [f"listening on {self.host}: everybody on that network can reach this page"]
        if not self.tls:
            found.append("without --certfile and --keyfile, links and answers cross the network unencrypted")
        return found

    def check(self) -> None:
        """Raise what is wrong with the address before anything is opened."""
        if (self.certfile is None) != (self.keyfile is None):
            raise SettingsError("--certfile and --keyfile belong together; give both or neither")
        for path, what in ((self.certfile, "certificate"), (self.keyfile, "key")):
            if path is not None and not path.is_file():
                raise MissingFileError(path, f"TLS {what}")
        if self.certfile is not None and self.keyfile is not None:
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.certfile, self.keyfile)
            except (ssl.SSLError, OSError) as error:
                raise SettingsError(
                    f"{self.certfile} and {self.keyfile} are no certificate and its key: {error}"
                ) from error
        if self.host in ANYWHERE and not self.names:
            raise SettingsError(f"--host {self.host} needs --name NAME: the host name in the raters' links")


def serve(path: Path, address: Address, *, ready: Callable[[Address], None] = lambda address: None) -> None:
    """Serve the study at ``path`` until interrupted; ``ready`` hears the address and the port that 0 became."""
    address.check()
    store = Store(path)
    with _listen(address) as listening:
        address = replace(address, port=listening.getsockname()[1])
        kept = connect(path)  # while one connection is open, closing another does not fold the log into the file
        kept.execute("SELECT count(*) FROM raters").fetchone()
        server = _server(store, address)
        ready(address)
        try:
            server.run(sockets=[listening])
        finally:
            kept.close()


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host, address.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"cannot listen on {address.host} port {address.port}: {error.strerror or error}"
        ) from error
    return listening


def _server(store: Store, address: Address) -> uvicorn.Server:
    try:
        import uvicorn

        from rlhf_fair.annotate.connections import CONCURRENT, PatientProtocol
        from rlhf_fair.annotate.door import application
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the annotation page needs {error.name}, which is not installed: pip install 'rlhf-fair[annotate]'"
        ) from error
    config = uvicorn.Config(
        application(store, hosts={*LOOPBACK, "::1", address.host, *address.names}, tls=address.tls),
        log_level="warning",
        access_log=False,  # it would hold the personal links
        server_header=False,
        proxy_headers=False,  # a header anybody can send is no address to limit by
        ws="none",
        lifespan="off",
        http=PatientProtocol,
        limit_concurrency=CONCURRENT + 1,  # the protocol makes room at CONCURRENT; beyond it are requests under way
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        ssl_certfile=str(address.certfile) if address.certfile else None,
        ssl_keyfile=str(address.keyfile) if address.keyfile else None,
    )
    return uvicorn.Server(config)

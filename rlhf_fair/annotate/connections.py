"""Connections that send nothing: closed in time, and the first to go where one address holds too many.

uvicorn waits for a request's headers for as long as somebody keeps the line open, and refuses everybody once its
limit of connections is reached. So a single machine that opens connections and sends half a header on each would shut
all raters out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
"""Within this the headers of a request must have come, after the line was opened or the last reply was sent."""

PER_ADDRESS = 250
"""Connections of one address at once. A browser keeps up to six, most of them idle: a room behind one router fits."""

CONCURRENT = 800
"""Connections of all addresses at once; below the 1,024 files a process may commonly have open."""


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a time limit on headers and a limit of connections by address.

    Over a limit the connection that has waited longest without a request goes, and the new one stays: whoever sends a
    request at once is served even beside, and from the same address as, somebody who holds lines open. Connections
    with a request under way are never closed for room.
    """

    limits: ClassVar[tuple[float, int, int]] = (HEADER_SECONDS, PER_ADDRESS, CONCURRENT)
    _deadline: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()
        self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.waiting:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.waiting and not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def waiting(self) -> bool:
        """Whether no request is under way: its headers have not come, or its reply is out."""
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    @property
    def address(self) -> str:
        """Who is at the other end."""
        return self.client[0] if self.client else ""

    def _wait(self) -> None:
        self._stop_waiting()
        self._since = self.loop.time()
        self._deadline = self.loop.call_later(self.limits[0], self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        """Close at once; what was sent and not yet taken would otherwise keep the line open."""
        self._stop_waiting()
        self.connections.discard(self)  # now, and not when the loop gets to it: others are waiting for the place
        self.transport.abort()

    def _make_room(self) -> None:
        _, per_address, concurrent = self.limits
        there = [each for each in self.connections if isinstance(each, PatientProtocol)]
        crowd = [each for each in there if each.address == self.address]
        if len(crowd) <= per_address and len(there) >= concurrent:
            crowded, _ = Counter(each.address for each in there).most_common(1)[0]
            crowd = [each for each in there if each.address == crowded]
        elif len(crowd) <= per_address:
            return
        idle = [each for each in crowd if each.waiting]
        if idle:
            min(idle, key=lambda each: each._since)._give_up()

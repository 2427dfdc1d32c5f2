"""Ctrl-C and a polite kill stop a run, even where a library swallows the first interrupt.

Python delivers a signal as an exception between two bytecodes of the main thread, wherever that is. Inside the import
of a large library it can land in a handler that catches everything, and then nobody hears of it. So it is raised again
until the command has ended.
"""

from __future__ import annotations

import signal
from types import FrameType

AGAIN_SECONDS = 3.0
"""Long enough to remove a half-written stage, short enough for a person who waits."""

CAN_REPEAT = hasattr(signal, "setitimer")
"""False on Windows, where the interrupt is raised once."""


def raise_on_signals() -> None:
    """Let SIGINT and SIGTERM raise ``KeyboardInterrupt`` in the main thread, again and again until `quiet`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)


def quiet() -> None:
    """The interrupt was heard: no further ones from this signal."""
    if CAN_REPEAT:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if CAN_REPEAT:
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    raise KeyboardInterrupt

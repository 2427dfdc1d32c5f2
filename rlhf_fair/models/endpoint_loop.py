"""Many requests at once, called from code that waits for all of them: an event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import wait
from typing import Any


def run_beside(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` to its end, on a thread beside this one.

    This thread may have an event loop of its own, as in a notebook; and an interrupt, which Python raises in the main
    thread wherever that is, then hits a wait and not the middle of a task.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        while not wait([future], timeout=1.0).done:
            pass  # with a time limit, since some systems hear no signal during an endless wait
        future.result()
    finally:
        future.cancel()
        asyncio.run_coroutine_threadsafe(_settle(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _settle() -> None:
    """Wait until what was cancelled in this event loop has closed its connections."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)

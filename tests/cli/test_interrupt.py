"""An interrupt that a library swallows comes again, and stops once it was heard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

SWALLOWS_THE_FIRST = """
import os, signal, time
from rlhf_fair.cli import interrupt
interrupt.AGAIN_SECONDS = 0.2
interrupt.raise_on_signals()
try:
    os.kill(os.getpid(), signal.{name})
    time.sleep(5)
except BaseException:
    print("swallowed")
try:
    time.sleep(20)
    print("never heard again")
except KeyboardInterrupt:
    interrupt.quiet()
    print("heard")
time.sleep(0.5)
print("quiet")
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the interrupt is raised once on this system")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_swallowed_interrupt_comes_again(name: str) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWS_THE_FIRST.format(name=name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ},
    )
    assert done.stdout.split("\n")[:3] == ["swallowed", "heard", "quiet"], done.stderr
    assert time.monotonic() - began < 20

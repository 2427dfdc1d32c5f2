"""Damage the files of readers over and over: ``python -m fuzz.run --examples 10000 --out counts.csv [NAME ...]``.

As the tests do, but it goes on after a fault and writes down every different one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzz.catalogue import READERS
from fuzz.damage import damaged
from fuzz.reader import Fault, Reader, fault_of, put

BATCH = 8
"""Files for each example of hypothesis, whose own work for one takes as long as many readers do."""


class _Enough(BaseException):
    """The time for a reader is over; not an Exception, which hypothesis would take for a failure."""


def examine(
    reader: Reader, folder: Path, examples: int, start: int, most_s: float
) -> tuple[int, float, dict[str, Fault]]:
    """Files tried, CPU seconds, and the different faults, each with a file that shows it below ``folder``."""
    files, tried, found, counts = dict(reader.files()), 0, {}, Counter()
    put(folder, files, reader.mode)
    ways = {name: damaged(name, files[name]) for name in reader.targets}
    began = time.process_time()

    cases = st.sampled_from(reader.targets).flatmap(lambda name: st.tuples(st.just(name), ways[name]))

    @settings(
        max_examples=-(-examples // BATCH),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(start)
    @given(st.lists(cases, min_size=BATCH, max_size=BATCH))
    def every(batch: list[tuple[str, bytes]]) -> None:
        nonlocal tried
        for name, content in batch:
            if time.process_time() - began > most_s:
                raise _Enough
            put(folder, {name: content}, reader.mode)
            fault = fault_of(reader, folder, name)
            put(folder, {name: files[name]}, reader.mode)
            tried += 1
            if fault is not None:
                key = re.sub(r"'[^']*'|\d+", "*", f"{fault.kind}: {fault.detail[:160]}")[:80]
                counts[key] += 1
                if key not in found:
                    found[key] = fault
                    sample = (
                        folder.parent / "faults" / f"{reader.name.replace('/', '_')}-{len(found)}-{Path(name).name}"
                    )
                    sample.parent.mkdir(exist_ok=True)
                    sample.write_bytes(content)

    with contextlib.suppress(_Enough):
        every()
    return tried, time.process_time() - began, {f"{counts[key]} x {key}": fault for key, fault in found.items()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", default=list(READERS), metavar="NAME")
    options.add_argument("--examples", type=int, default=200)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--most-s", type=float, default=1e9, help="CPU seconds for each reader")
    options.add_argument("--out", type=Path, default=None, help="JSON lines to append to")
    options.add_argument("--keep", type=Path, default=None, help="folder for the files that show faults")
    chosen = options.parse_args()
    for name in chosen.names:
        if chosen.keep:
            chosen.keep.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=chosen.keep) as place:
            work = Path(place) / "in-folder"
            tried, seconds, faults = examine(READERS[name], work, chosen.examples, chosen.seed, chosen.most_s)
            if chosen.keep and (work.parent / "faults").is_dir():
                (chosen.keep / "faults").mkdir(exist_ok=True)
                for sample in (work.parent / "faults").iterdir():
                    sample.rename(chosen.keep / "faults" / sample.name)
        print(f"{name}: {tried} files, {seconds:.1f} s, {len(faults)} faults", flush=True)
        for key, fault in faults.items():
            print(f"    {fault.file}  {key} | {fault.detail[:160]!r}", flush=True)
        if chosen.out:
            record = {"reader": name, "files": tried, "cpu_s": round(seconds, 1), "faults": list(faults)}
            with chosen.out.open("a") as stream:
                stream.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()

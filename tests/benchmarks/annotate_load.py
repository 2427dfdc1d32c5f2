"""Many raters at once on one server of the annotation page: is any answer lost, and how long do they wait?

    OMP_NUM_THREADS=1 python tests/benchmarks/annotate_load.py --raters 50 --items 20

Every rater reads an item's page and sends its answer, then the next, without a pause: a crowd that thinks for ten
seconds an item would ask for far less. The raters run in one process of their own beside the server's. Prints waiting
times on the wall (50th, 95th, 99th percentile, longest), for reading a page and for sending an answer, the server's
CPU seconds, and how many answers it acknowledged, how many of them are in its database as sent, and how many lines of
the export they make. Ends with exit code 1 if one is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
import pandas as pd

from rlhf_fair.annotate.export import export_study
from rlhf_fair.annotate.store import Store
from rlhf_fair.annotate.study import Link, create_study
from rlhf_fair.annotate.study_settings import StudySettings

SERVE = [sys.executable, "-c", "from rlhf_fair.cli.app import main; main()", "annotate", "serve", "--port", "0"]
TOKEN = re.compile(r'name="token" value="([^"]+)"')


@dataclass
class Crowd:
    """What the raters saw: waits in seconds, statuses that were no success, and acknowledged answers by rater."""

    reading: list[float] = field(default_factory=list)
    sending: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    acknowledged: dict[str, dict[int, int]] = field(default_factory=dict)


def make_study(path: Path, raters: int, items: int) -> list[Link]:
    names = [f"item-{k}" for k in range(items)]
    table = pd.DataFrame({"item_id": names, "prompt": "What is a tide?" * 20})
    table["response_a"], table["response_b"] = "The moon pulls. " * 40, "Nobody knows. " * 40
    rows = [(name, f"r{k}", "ab" if (k + n) % 2 else "ba") for k in range(raters) for n, name in enumerate(names)]
    assignments = pd.DataFrame(rows, columns=["item_id", "annotator_id", "order"])
    rng = np.random.default_rng(0)
    return create_study(path, assignments, table, consent="Agreed?", settings=StudySettings(), rng=rng)


async def rate(url: str, link: Link, items: int, crowd: Crowd) -> None:
    """One rater from their link to the last item."""
    kept = crowd.acknowledged.setdefault(link.annotator_id, {})
    async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=120) as client:
        await client.get(f"/start/{link.token}")
        await _send(client, "/consent", {"agree": "yes"}, crowd)
        for position in range(1, items + 1):
            place = 1 + (position + len(link.annotator_id)) % 7
            if await _send(client, f"/item/{position}", {"pair": str(place)}, crowd):
                kept[position] = place


async def _send(client: httpx2.AsyncClient, path: str, fields: dict[str, str], crowd: Crowd) -> bool:
    for _ in range(10):  # a limit says how long to wait
        began = time.perf_counter()
        page = await client.get(path)
        if page.status_code == 200:
            crowd.reading.append(time.perf_counter() - began)
            break
        crowd.refused.append(page.status_code)
        await asyncio.sleep(float(page.headers.get("Retry-After", 1)))
    token = TOKEN.search(page.text)
    if token is None:
        return False
    began = time.perf_counter()
    reply = await client.post(path, data={"token": token.group(1), **fields})
    crowd.sending.append(time.perf_counter() - began)
    if reply.status_code != 303:
        crowd.refused.append(reply.status_code)
    return reply.status_code == 303


def stored_as_sent(store: Store, crowd: Crowd) -> int:
    """Acknowledged answers that the database holds as they were sent."""
    count = 0
    for rater, places in crowd.acknowledged.items():
        for position, place in places.items():
            task = store.task(rater, position)
            answer = task.answers.get("pair") if task else None
            if task is None or answer is None:
                continue
            side = "tie" if place == 4 else task.order[place > 4]
            count += (answer.choice, answer.strength) == (side, abs(place - 4))
    return count


def cpu_seconds(process: int) -> float:
    """User and system time of another process (Linux only)."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / 100


async def crowd_of(url: str, links: list[Link], items: int) -> Crowd:
    crowd = Crowd()
    await asyncio.gather(*(rate(url, link, items, crowd) for link in links))
    return crowd


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--raters", type=int, default=50)
    parser.add_argument("--items", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.db"
        links = make_study(path, given.raters, given.items)
        with subprocess.Popen([*SERVE, "--db", str(path), "--json"], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            began, used = time.perf_counter(), cpu_seconds(server.pid)
            crowd = asyncio.run(crowd_of(url, links, given.items))
            seconds, used = time.perf_counter() - began, cpu_seconds(server.pid) - used
            server.kill()  # not politely: what it acknowledged has to be there
        store = Store(path)
        kept, exported = stored_as_sent(store, crowd), len(export_study(store).feedback)
    expected, acknowledged = given.raters * given.items, sum(map(len, crowd.acknowledged.values()))
    requests = len(crowd.reading) + len(crowd.sending)
    print(
        f"{given.raters} raters x {given.items} items: {requests} requests in {seconds:.1f} s, server {used:.1f} CPU s"
    )
    for name, waits in (("reading a page", crowd.reading), ("sending an answer", crowd.sending)):
        p50, p95, p99 = np.percentile(waits, [50, 95, 99]) * 1000
        print(f"  {name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms, longest {max(waits) * 1000:.0f} ms")
    print(f"  refused: {len(crowd.refused)} {sorted(set(crowd.refused)) or ''}")
    print(f"  answers: {expected} expected, {acknowledged} acknowledged, {kept} stored as sent, {exported} exported")
    return 0 if kept == acknowledged == exported == expected else 1


if __name__ == "__main__":
    sys.exit(main())

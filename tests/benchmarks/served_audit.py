"""One generation audit of a model that a real server holds: undisturbed, with faults, killed; and in process.

    transformers serve MODEL --host 127.0.0.1 --port 8401 --device cpu
    python tests/benchmarks/served_audit.py http://127.0.0.1:8401/v1 MODEL --model MODEL --prompts 320

Between audit and server stands a relay that counts what is asked and answered, and makes the faults. Greedy decoding,
prompts sent as text, so that both sides see the same. Prints one line for each way, with what it changed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from model_server import Behaviour, ModelServer, Reply, serving
from served_model import failing

from rlhf_fair.audit.plan import find_plan

COMMAND = [sys.executable, "-c", "from rlhf_fair.cli.app import main; main()", "audit"]
SETTINGS = 'api = "completions"\nconcurrency = 4\nattempts = 12\ntimeout_s = 10\nfirst_wait_s = 0.1\n'
SLOW_S = 11.0


@dataclass(frozen=True)
class Bench:
    """Where everything lies."""

    plan: Path
    folder: Path
    model_name: str

    def command(self, server: ModelServer, name: str) -> list[str]:
        file = self.folder / "server.toml"
        file.write_text(SETTINGS)
        where = ["--endpoint", server.url, "--endpoint-model", self.model_name, "--server", str(file)]
        return [*COMMAND, str(self.plan), *where, *self.kept(name)]

    def kept(self, name: str) -> list[str]:
        return ["--cache", str(self.folder / "cache"), "--out", str(self.folder / name), "--quiet"]

    def findings(self, name: str) -> Any:
        return json.loads((self.folder / name / "results.json").read_text())["findings"]

    def records(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / name / "records.parquet")


def relay(url: str) -> Behaviour:
    """Hands each request on to the real server."""

    def behaviour(request: dict[str, Any], path: str) -> Reply:
        content = json.dumps(request).encode()
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(url + path.removeprefix("/v1"), content, headers)
        try:
            with urllib.request.urlopen(asked, timeout=60) as reply:
                return Reply(reply.read())
        except urllib.error.HTTPError as error:
            return Reply(error.read(), error.code)

    return behaviour


def greedy_hiring(folder: Path, prompts: int) -> Path:
    """The shipped hiring audit with the first so many of its prompts."""
    shutil.copytree(find_plan("hiring").parent, folder)
    plan = (folder / "plan.toml").read_text()
    (folder / "plan.toml").write_text(plan.replace("temperature = 1.0", "temperature = 0.0"))
    pd.read_csv(folder / "prompts.csv").head(prompts).to_csv(folder / "prompts.csv", index=False)
    return folder


def killed(command: list[str], server: ModelServer, points: list[int]) -> None:
    """Starts the command, kills it at each of these numbers of answers, and lets the last run end."""
    for point in points:
        client = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while server.answered.total() < point and client.poll() is None:
            time.sleep(0.005)
        client.send_signal(signal.SIGKILL)
        client.wait()
        time.sleep(0.5)
    subprocess.run(command, check=False)


def once(command: list[str], server: ModelServer) -> None:
    """Runs the command to its end."""
    subprocess.run(command, check=False)


def through(bench: Bench, behaviour: Behaviour, name: str, work: Callable[[list[str], ModelServer], object]) -> None:
    """One line about one way of running the audit through the relay."""
    with serving(behaviour) as server:
        began = time.monotonic()
        work(bench.command(server, name), server)
        seconds = time.monotonic() - began
        asked, answered = server.asked.total(), server.answered
    same = bench.findings(name) == bench.findings("in process")
    records = bench.records(name).equals(bench.records("in process"))
    lost = int((~bench.records(name)["answered"].astype(bool)).sum())
    twice = sum(times > 1 for times in answered.values())
    print(
        f"{name:24} {seconds:6.1f} s  asked {asked:5}  distinct answered {len(answered):5}  lost {lost}  "
        f"answered twice {twice}  findings equal {same}  records equal {records}",
        flush=True,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("url")
    arguments.add_argument("name")
    arguments.add_argument("--model", required=True)
    arguments.add_argument("--prompts", type=int, default=320)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(greedy_hiring(Path(temporary) / "hiring", given.prompts), Path(temporary), given.name)
        local = ["--model", given.model, "--device", "cpu", "--chat", "no", *bench.kept("in process")]
        subprocess.run([*COMMAND, str(bench.plan), *local], check=False)
        served = relay(given.url)
        through(bench, served, "undisturbed", once)
        through(bench, failing(served, 0.2, seed=given.seed, slow_s=SLOW_S), "one fault in five", once)
        points = sorted(random.Random(given.seed).sample(range(5, given.prompts - 5), 5))
        through(bench, served, f"killed after {points}", lambda command, server: killed(command, server, points))


if __name__ == "__main__":
    main()

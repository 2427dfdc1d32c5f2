"""`rlhf-fair store`: the server that shares group statistics among the workers of a trainer on several machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.options import Json, Quiet, show

if TYPE_CHECKING:
    from rlhf_fair.backends.worker import WorkerConfig

app = typer.Typer(
    name="store",
    help="Group statistics shared by the workers of OpenRLHF or verl: serve, status.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The workers' TOML file, with store and fairness.")]


@app.command()
def serve(
    config: Config,
    host: Annotated[str, typer.Option(help="Address to listen on; another than this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    state: Annotated[Path | None, typer.Option(help="File that keeps the statistics across restarts.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Serve until Ctrl-C. Workers send counts, sums and sums of squares of each group, and no text.

    Workers and server share the token in $RLHF_FAIR_STORE_TOKEN. It crosses the network as it is: use a private
    network, a tunnel, or a proxy with TLS.

    Example: rlhf-fair store serve fair.toml --host 10.0.0.5 --state statistics.json
    """
    import os

    from rlhf_fair.backends.group_store import TOKEN_VARIABLE
    from rlhf_fair.backends.group_store_server import KeptStatistics, Listening, StoreServer
    from rlhf_fair.cli.interrupt import quiet as heard

    found = _read(config)
    listening = Listening(host, port, state)
    statistics = KeptStatistics(found.fairness, found.store.rows_per_step, state, listening.save_s)
    token = os.environ.get(TOKEN_VARIABLE)
    with StoreServer(statistics, listening, token) as server:
        about = {"url": server.url, "version": statistics.read().version, "token": bool(token)}
        guarded = "with a token" if token else f"without a token (${TOKEN_VARIABLE} is not set)"
        lines = [f"Serving group statistics on {server.url} {guarded}; Ctrl-C stops"]
        show(about, lines, as_json=as_json, quiet=quiet)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:  # the ordinary end of a server
            heard()
    show(
        {"stopped": True},
        ["Stopped" + (f"; statistics kept in {state}" if state else "")],
        as_json=as_json,
        quiet=quiet,
    )


@app.command()
def status(config: Config, as_json: Json = False, quiet: Quiet = False) -> None:
    """Ask the config's store for the mean score of each group, with the effective number of samples behind it.

    Example: rlhf-fair store status fair.toml
    """
    from rlhf_fair.backends.group_store import HTTPStore

    found = _read(config)
    store = HTTPStore(found.store.url, timeout_s=found.store.timeout_s, attempts=1)
    summary = _summary(store.read())
    lines = [f"{found.store.url}: {summary['steps']:.2f} steps, gap {summary['gap']:.4g}"]
    lines += [f"{g['group']}\t{g['mean']:.4f}\tof {g['count']:.1f} samples" for g in summary["groups"]]
    show(summary, lines, as_json=as_json, quiet=quiet)


def _summary(state: Any) -> dict[str, Any]:
    from rlhf_fair.training.fairness import StratifiedSnapshot
    from rlhf_fair.training.fairness.sums import SCORE

    found = StratifiedSnapshot.of(state, SCORE)
    rows = zip(found.pooled.groups, found.pooled.means.tolist(), found.pooled.counts.tolist(), strict=True)
    groups = [{"group": group, "mean": mean, "count": count} for group, mean, count in rows]
    gaps = {"gap": found.gap, "noise_floor": found.noise_floor} if groups else {"gap": float("nan")}
    return {"version": state.version, "steps": state.steps, "groups": groups, **gaps}


def _read(config: Path) -> WorkerConfig:
    from rlhf_fair.backends.worker import WorkerConfig
    from rlhf_fair.settings import read_toml

    return read_toml(config, WorkerConfig, "backend config")

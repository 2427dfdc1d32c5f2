"""`rlhf-fair panel select`: which pairs to have annotated next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf_fair.cli.options import By, Json, Quiet, Seed, show
from rlhf_fair.cli.panel_select_features import Progress, Source, read_features, read_scores
from rlhf_fair.cli.panel_select_request import Request, Strategy
from rlhf_fair.cli.panel_tables import read_groups
from rlhf_fair.cli.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.annotators.selection_strategies import View

WEIGHTED = (
    "this batch is no random sample: measure accuracy and gaps on all of it, each item weighted by its weight "
    "(1 / probability), with a model that has not learned from it, or on a hold-out drawn apart; rows drawn at random "
    "stand only for what the design left over"
)
UNWEIGHTED = (
    "this batch is no random sample, and candidates left over had no chance to be in it, so there are no weights: "
    "measure accuracy and gaps on a hold-out drawn apart, or choose again with --explore (random: with lower minimums)"
)

FeaturesFile = Annotated[
    Path | None, typer.Option(help="Own features instead: a table of item_id and numbers (a minus b), or .npz.")
]
ScoresFile = Annotated[
    Path | None, typer.Option(help="Own ensemble instead: item_id, and each member's reward of a minus b.")
]
GroupColumns = Annotated[list[str] | None, typer.Option(help="Column of the items whose groups are counted; repeat.")]
Minimums = Annotated[
    list[str] | None,
    typer.Option(help="Minimum of each group: 0.1 of the budget, 20 items, topic:0.1, topic=law:20; repeat."),
]
BalanceGroups = Annotated[
    bool, typer.Option("--balance-groups", help="Serve the rater group known least; needs --panel and --by.")
]
Separator = Annotated[str, typer.Option(help="What stands between prompt and response.", show_default="a line break")]


def select(
    items: Annotated[Path, typer.Option(help="Items: item_id, prompt, response_a, response_b, and group columns.")],
    budget: Annotated[int, typer.Option(min=1, help="Items to choose.")],
    out: Annotated[Path, typer.Option(help="Table to write: the items chosen, in order.")],
    strategy: Annotated[Strategy, typer.Option(help="What makes a pair worth its label.")] = "fisher",
    reward_model: Annotated[str | None, typer.Option(help="Reward model: folder, package:NAME or hub id.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder instead: folder, package:NAME or hub id.")] = None,
    features: FeaturesFile = None,
    scores: ScoresFile = None,
    labelled: Annotated[Path | None, typer.Option(help="Feedback so far; its items are not chosen again.")] = None,
    group_column: GroupColumns = None,
    at_least: Minimums = None,
    explore: Annotated[float, typer.Option(min=0, max=1, help="Share of the budget drawn at random.")] = 0.0,
    balance_groups: BalanceGroups = False,
    panel: Annotated[Path | None, typer.Option(help="Panel table: who is in which group.")] = None,
    by: By = None,
    separator: Separator = "\n",
    logit_sd: Annotated[float, typer.Option(help="Prior standard deviation of a typical pair's logit.")] = 2.0,
    members: Annotated[int, typer.Option(help="Heads in the ensemble of disagreement.")] = 64,
    seed: Seed = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose the pairs whose labels teach most, within minimums for the groups of items.

    fisher: information about the reward model's last layer. disagreement: heads that fit the labels so far disagree.
    random: a draw within the same minimums. Every pick has the probability it had of being in the batch.

    A rate measured on the batch holds for all candidates if the whole batch is weighted by the column weight, which
    is 1 / probability; there is one with --explore or random, since then every candidate had a chance. The rows of
    reason random alone stand only for what the design left over.

    Example: rlhf-fair panel select --items pairs.jsonl --budget 200 --reward-model models/rm --labelled feedback.jsonl
    --group-column topic --at-least 0.1 --explore 0.1 --out next.csv
    """
    from rlhf_fair.annotators.selection_coverage import AtLeast
    from rlhf_fair.annotators.selection_heads import HeadSettings

    request = Request(
        items,
        budget,
        strategy,
        Source(reward_model, encoder, features, separator),
        scores,
        labelled,
        tuple(dict.fromkeys(group_column or ())),
        tuple(AtLeast.parse(text) for text in at_least or ()),
        explore,
        balance_groups,
        panel,
        tuple(by or ()),
        HeadSettings(logit_sd, members),
        seed,
    )
    request.check()
    with progress_bar(hidden=as_json or quiet) as progress:
        table, summary = _choose(request, progress)
    _write(out, table, summary, as_json=as_json, quiet=quiet)


def _choose(request: Request, progress: Progress) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The batch, and what is to be said about it."""
    import numpy as np

    from rlhf_fair.annotators import selection, selection_pool
    from rlhf_fair.annotators.selection_coverage import coverage

    everything = request.read_items()
    feedback = request.read_feedback()
    groups = read_groups(request.panel, request.by) if request.balance_groups else None
    shares = {} if feedback is None else selection_pool.label_shares(feedback, groups)
    pool = selection_pool.candidates(everything, () if feedback is None else set(feedback["item_id"]))
    selection.require(len(pool.table), request.budget, pool.left_out())
    # of equal candidates the first is taken, so the order is drawn
    order = np.random.default_rng((request.seed, 0)).permutation(len(pool.table))
    table = pool.table.iloc[order].reset_index(drop=True)
    item_groups = selection_pool.item_groups(table, request.group_column)
    wanted = coverage(item_groups, request.at_least, request.budget)
    lots = np.random.default_rng((request.seed, 1))
    views: dict[str, View] = {}
    unread = 0
    if request.strategy == "random":
        found = selection.select_at_random(wanted, request.budget, rng=lots)
    else:
        views, unread = _views(request, everything, table["item_id"].tolist(), shares, progress)
        found = selection.select_by_design(
            {name: view.design for name, view in views.items()},
            wanted,
            request.budget,
            explore=request.explore,
            rng=lots,
            on_pick=lambda done: progress("choosing", done, request.budget),
        )
    batch = selection_pool.selection_table(found, table, item_groups, request.strategy, views)
    return batch, {
        "strategy": request.strategy,
        "seed": request.seed,
        "candidates": len(table),
        "labelled": pool.labelled,
        "copies": pool.copies,
        "labelled_without_features": unread,
        "coverage": selection_pool.coverage_table(found, item_groups, wanted).to_dict("records"),
        **_raters(batch, feedback, shares, groups),
    }


def _raters(
    batch: pd.DataFrame, feedback: pd.DataFrame | None, shares: dict[str, pd.Series], groups: pd.Series | None
) -> dict[str, Any]:
    """What each rater group has labelled, for whom was chosen, and how many raters are of no known group."""
    if feedback is None or groups is None:
        return {"labelled_by_group": {}, "chosen_for": {}, "raters_of_unknown_group": 0}
    return {
        "labelled_by_group": {name: len(own) for name, own in shares.items()},
        "chosen_for": {name: n for name, n in batch["chosen_for"].value_counts().items() if name},
        "raters_of_unknown_group": int(feedback["annotator_id"].drop_duplicates().map(groups).isna().sum()),
    }


def _views(
    request: Request, items: pd.DataFrame, item_ids: list[str], shares: dict[str, pd.Series], progress: Progress
) -> tuple[dict[str, View], int]:
    """The candidates as each head sees them, and how many labelled items no features are known of."""
    import numpy as np

    from rlhf_fair.annotators import selection_strategies as strategies

    if request.scores is not None:
        logits = read_scores(request.scores, item_ids)
        return {strategies.EVERYBODY: strategies.ensemble_view(logits)}, 0
    known = read_features(request.source, items, progress)
    heads = np.random.default_rng((request.seed, 2))
    found = strategies.views(request.strategy, known, item_ids, shares, request.settings, rng=heads)
    judged = shares.get(strategies.EVERYBODY)
    return found, 0 if judged is None else int((~judged.index.isin(known.differences.index)).sum())


def _write(out: Path, table: pd.DataFrame, summary: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    from rlhf_fair.annotators.selection import BY_LOT
    from rlhf_fair.tables import write_table

    write_table(out, table)
    drawn, by_design = int((table["reason"] == BY_LOT).sum()), summary["strategy"] != "random"
    weighted = bool(table["weight"].notna().all())
    warning = UNWEIGHTED if not weighted else WEIGHTED if by_design else ""
    summary |= {"chosen": len(table), "drawn_at_random": drawn, "weighted": weighted, "warning": warning}
    lines = [f"{len(table)} of {summary['candidates']} candidates by {summary['strategy']}: {out}"]
    lines += [f"{drawn} of them drawn at random"] if drawn and by_design else []
    notes = {
        "labelled": "items left out: labelled already",
        "copies": "items merged: they repeat the prompt and both responses of another",
        "labelled_without_features": "labelled items are not among the items: not learned from",
        "raters_of_unknown_group": "raters of unknown group: in the head of everybody alone",
    }
    lines += [f"{summary[key]} {text}" for key, text in notes.items() if summary[key]]
    for row in summary["coverage"]:
        least = f", at least {row['at_least']}" if row["at_least"] else ""
        forced = f", {row['brought_in']} brought in by a minimum" if row["brought_in"] else ""
        lines.append(f"  {row['column']}={row['group']}: {row['chosen']} of {row['available']}{least}{forced}")
    for name, n in summary["chosen_for"].items():
        lines.append(f"  chosen for raters {name}: {n} (labelled so far: {summary['labelled_by_group'][name]})")
    lines += [warning] if warning else []
    show({"out": str(out), **summary}, lines, as_json=as_json, quiet=quiet)

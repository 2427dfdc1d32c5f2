"""`rlhf-fair annotate`: a page for raters on this machine, from their links to the feedback table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from rlhf_fair.cli.panel import Json, Quiet, Seed, accepted, show

app = typer.Typer(
    name="annotate",
    help="A local page on which raters answer: links, serve, export, renew, revoke, withdraw.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Database = Annotated[Path, typer.Option("--db", help="The study's database.")]
BaseUrl = Annotated[str, typer.Option(help="What raters' links start with: where the page will be served.")]
AnnotatorId = Annotated[str, typer.Option("--annotator", help="The rater's annotator_id.")]


@app.command()
def links(
    assignments: Annotated[Path, typer.Option(help="Table from `rlhf-fair panel assign`.")],
    items: Annotated[Path, typer.Option(help="Items: item_id, prompt, response_a, response_b or response.")],
    consent: Annotated[Path, typer.Option(help="Plain text that raters agree to first.")],
    db: Database,
    study: Annotated[Path | None, typer.Option(help="TOML: title, language, rating, comment, demographics.")] = None,
    ask: Annotated[
        list[str] | None, typer.Option(help="pair, rating, edit or revised_instruction; may be repeated. [pair]")
    ] = None,
    base_url: BaseUrl = "http://127.0.0.1:8000",
    out: Annotated[Path | None, typer.Option(help="Write the links to this table instead of printing them.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Create the database of a study and print every rater's personal link, once: only a hash of it is kept.

    Example: rlhf-fair annotate links --assignments assignments.csv --items items.jsonl --consent consent.txt
    --db study.db
    """
    import numpy as np
    import pandas as pd

    from rlhf_fair.annotate.study import create_study, read_consent
    from rlhf_fair.annotate.study_settings import StudySettings
    from rlhf_fair.settings import read_toml
    from rlhf_fair.tables import ASSIGNMENTS, ITEMS, Contract, write_table

    settings = read_toml(study, StudySettings, "study") if study else StudySettings()
    made = create_study(
        db,
        accepted(assignments, ASSIGNMENTS),
        accepted(items, Contract("items", {"item_id": ITEMS.columns["item_id"]}, ITEMS.key)),
        consent=read_consent(consent),
        settings=settings,
        ask=ask or ("pair",),
        rng=np.random.default_rng(seed),
    )
    rows = [{"annotator_id": a.annotator_id, "items": a.items, "link": _link(base_url, a.token)} for a in made]
    summary = {"db": str(db), "raters": len(made), "items": sum(link.items for link in made)}
    lines = [f"{len(made)} raters, {summary['items']} items in all: {db}"]
    if out is not None:
        before = os.umask(0o077)  # whoever reads a link can answer in its rater's name
        try:
            write_table(out, pd.DataFrame(rows))
        except BaseException:
            db.unlink()  # nobody knows its links
            raise
        finally:
            os.umask(before)
        lines.append(f"links: {out}; besides there, only a hash of each is stored")
        show({**summary, "out": str(out)}, lines, as_json=as_json, quiet=False)
        return
    lines.append("Keep these links now: only a hash of each is stored.")
    lines += [f"{row['annotator_id']}\t{row['link']}" for row in rows]
    show({**summary, "links": rows}, lines, as_json=as_json, quiet=False)


@app.command()
def serve(
    db: Database,
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than this machine's own warns.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    name: Annotated[
        list[str] | None, typer.Option(help="Host name in the raters' links, where it is not --host; may be repeated.")
    ] = None,
    certfile: Annotated[Path | None, typer.Option(help="TLS certificate (PEM).")] = None,
    keyfile: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Serve the page until Ctrl-C. Every answer is on disk before the rater sees the next item.

    Who asks too often is told to wait (status 429): a rater may send 60 requests at once and 5 a second after that;
    one address 2000 at once and 200 a second, so that a room of raters behind one router gets through; and one
    address 10 unknown links at once and one more every 10 seconds. Headers have 10 seconds to arrive; an address may
    hold 250 connections, all together 800.

    Example: rlhf-fair annotate serve --db study.db
    """
    from rlhf_fair.annotate.server import Address, serve
    from rlhf_fair.cli.interrupt import quiet as heard

    address = Address(host, port, tuple(name or ()), certfile, keyfile)
    for warning in address.warnings():
        typer.echo(f"warning: {warning}", err=True)

    def ready(found: Address) -> None:
        show(
            {"url": found.url, "db": str(db)},
            [f"Serving {db} on {found.url}; Ctrl-C stops"],
            as_json=as_json,
            quiet=quiet,
        )

    try:
        serve(db, address, ready=ready)
    except KeyboardInterrupt:  # the ordinary end of a server
        heard()
    show({"stopped": True}, ["Stopped; every answer sent is saved"], as_json=as_json, quiet=quiet)


@app.command()
def export(
    db: Database,
    out: Annotated[Path, typer.Option(help="Feedback table to write.")],
    annotators: Annotated[Path | None, typer.Option(help="Table of what raters said of themselves: attr.*.")] = None,
    missing: Annotated[
        Path | None, typer.Option(help="Table of what raters could not judge. [next to OUT: NAME.missing.EXT]")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the answers as a feedback table; of raters who withdrew only their number is left.

    Of an answer that was changed the last counts. What raters could not judge is no feedback: it goes to a table of
    its own, with their reasons. Seconds are those the page was in the foreground, where the browser could tell.

    Example: rlhf-fair annotate export --db study.db --out feedback.jsonl
    """
    from rlhf_fair.annotate.export import beside, export_study
    from rlhf_fair.annotate.store import Store
    from rlhf_fair.errors import RowError
    from rlhf_fair.tables import write_table

    study = export_study(Store(db))
    counts = study.counts
    agreed = f"{counts['consented']} of {counts['raters']} raters agreed"
    if study.feedback.empty:
        declined = f" and could not judge {counts['cannot_judge']} items" if counts["cannot_judge"] else ""
        raise RowError(f"{db} holds no answers yet: {agreed} so far{declined}")
    write_table(out, study.feedback)
    if annotators is not None:
        write_table(annotators, study.annotators)
    missing = beside(out, "missing") if missing is None else missing
    write_table(missing, study.missing)
    lines = [
        f"{len(study.feedback)} answers from {counts['judged']} of {counts['assigned']} judgements: {out}",
        f"{counts['cannot_judge']} that raters could not make: {missing}; {counts['not_answered']} not answered",
        f"{agreed} and stayed; {counts['withdrawn']} withdrew, "
        f"{counts['answers_removed']} of their answers were removed",
    ]
    summary = {"out": str(out), "missing": str(missing), "answers": len(study.feedback), **counts}
    show(summary, lines, as_json=as_json, quiet=quiet)


@app.command()
def renew(
    db: Database,
    annotator: AnnotatorId,
    base_url: BaseUrl = "http://127.0.0.1:8000",
    as_json: Json = False,
) -> None:
    """Give a rater who lost their link another one; the old one stops working, their answers stay.

    Example: rlhf-fair annotate renew --db study.db --annotator 007
    """
    from rlhf_fair.annotate.store import Store
    from rlhf_fair.annotate.tokens import new_token, token_hash

    token = new_token()
    Store(db).renew(annotator, token_hash(token))
    link = _link(base_url, token)
    show({"annotator_id": annotator, "link": link}, [f"{annotator}\t{link}"], as_json=as_json, quiet=False)


@app.command()
def revoke(db: Database, annotator: AnnotatorId, as_json: Json = False, quiet: Quiet = False) -> None:
    """End a rater's link, as when it got into other hands; their answers stay, and `renew` gives them another.

    Example: rlhf-fair annotate revoke --db study.db --annotator 007
    """
    from rlhf_fair.annotate.store import Store

    Store(db).revoke(annotator)
    show({"annotator_id": annotator}, [f"{annotator}: the link works no more"], as_json=as_json, quiet=quiet)


@app.command()
def withdraw(db: Database, annotator: AnnotatorId, as_json: Json = False, quiet: Quiet = False) -> None:
    """Remove all that is stored of a rater who asks for it otherwise than on the page; only the number is kept.

    Example: rlhf-fair annotate withdraw --db study.db --annotator 007
    """
    from rlhf_fair.annotate.store import Store

    count = Store(db).withdraw(annotator)
    line = f"{annotator}: {count} answers and all they said of themselves removed"
    show({"annotator_id": annotator, "answers_removed": count}, [line], as_json=as_json, quiet=quiet)


def _link(base_url: str, token: str) -> str:
    return f"{base_url.rstrip('/')}/start/{token}"

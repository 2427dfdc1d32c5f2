"""`rlhf-fair feedback import` and `export`: feedback in the formats of other tools; raw attributes stay at home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rlhf_fair.cli.options import Json, Quiet, show
from rlhf_fair.cli.panel_tables import accepted, attribute_names, simulated_lines

if TYPE_CHECKING:
    import pandas as pd

    from rlhf_fair.annotators.exchange.losses import Lost
    from rlhf_fair.annotators.privacy_cells import Gate

Format = Annotated[
    Literal["jsonl", "csv", "parquet", "label-studio", "argilla"], typer.Option("--format", help="Format of the file.")
]
KeyFile = Annotated[Path | None, typer.Option(help="Pseudonyms for the annotators: file (mode 600) with the key.")]
KeyEnv = Annotated[str | None, typer.Option(help="Or the environment variable that holds the key.")]

Diversity = Annotated[
    int | None, typer.Option("--l", help="Least different values of a sensitive attribute. Default: 2.")
]
AllowBelowK = Annotated[
    float, typer.Option(min=0, max=1, help="Share of people who may be among fewer than k in all that leaves.")
]
WithIdentifiers = Annotated[
    bool, typer.Option("--with-identifiers", help="Let ids leave that are e-mail addresses or phone numbers.")
]
History = Annotated[Path | None, typer.Option(help="File of what has left before. Default: beside --key-file.")]


def import_(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="File as the tool exports it.")],
    form: Format,
    out: Annotated[Path, typer.Option(help="Feedback table to write (JSONL, CSV or Parquet).")],
    rejects: Annotated[Path | None, typer.Option(help="Table of rejects; by default beside --out.")] = None,
    choice_question: Annotated[str, typer.Option(help="Argilla: the question that holds choices.")] = "choice",
    rating_question: Annotated[str, typer.Option(help="Argilla: the question that holds ratings.")] = "rating",
    key_file: KeyFile = None,
    key_env: KeyEnv = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read feedback from another tool. Ends with exit code 2 if entries were set aside; the sound ones are written.

    Example: rlhf-fair feedback import project-7.json --format label-studio --out feedback.jsonl
    """
    from rlhf_fair.annotators.exchange.formats import import_feedback
    from rlhf_fair.errors import RowError
    from rlhf_fair.tables import simulated_rows, write_rejects, write_table

    key = pseudonym_key(key_file, key_env)
    found = import_feedback(source, form, choice_question=choice_question, rating_question=rating_question)
    good, bad = len(found.table), len(found.rejects)
    summary: dict[str, Any] = {"accepted": good, "rejected": bad, "not_imported": [asdict(lost) for lost in found.lost]}
    summary["simulated_rows"] = simulated_rows(found.table)
    lines = [f"{good} rows of feedback, {bad} set aside", *simulated_lines(found.table)]
    lines += loss_lines("not imported", found.lost)
    if bad:
        summary["rejects"] = str(beside := rejects or out.with_name(f"{out.name.partition('.')[0]}.rejects.csv"))
        write_rejects(beside, found.rejects)
        lines += [*found.rejects["message"].head(5), f"all that was set aside: {beside}"]
    if not good:
        raise RowError(f"{source}: no row of feedback in {bad} entries" + (f", see {beside}" if bad else ""))
    write_table(out, hide(found.table, key))
    summary["out"] = str(out)
    show(summary, [*lines, f"written to {out}"], as_json=as_json, quiet=quiet)
    if bad:
        raise typer.Exit(2)


def export(
    form: Format,
    out: Annotated[Path, typer.Option(help="File to write.")],
    feedback: Annotated[Path | None, typer.Argument(metavar="[FEEDBACK]", help="Feedback table.")] = None,
    items: Annotated[Path | None, typer.Option(help="Items table: puts prompt and answers into the tasks.")] = None,
    panel: Annotated[Path | None, typer.Option(help="Panel table whose attributes may leave.")] = None,
    with_attributes: Annotated[bool, typer.Option("--with-attributes", help="Let attributes leave, gated.")] = False,
    quasi: Annotated[list[str] | None, typer.Option(help="Attribute that may single people out; repeat.")] = None,
    sensitive: Annotated[list[str] | None, typer.Option(help="Sensitive attribute, see --l; repeat.")] = None,
    k: Annotated[int, typer.Option(help="Least people who share all --quasi attributes.")] = 5,
    l: Diversity = None,  # noqa: E741
    allow_below_k: AllowBelowK = 0.0,
    keep: Annotated[list[str] | None, typer.Option(help="Further column that may leave; repeat.")] = None,
    key_file: KeyFile = None,
    key_env: KeyEnv = None,
    purpose: Annotated[str, typer.Option(help="Whom it is for: pseudonyms of their own, from the same key.")] = "",
    history: History = None,
    with_identifiers: WithIdentifiers = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write feedback for another tool; without FEEDBACK, the items as tasks to label (Label Studio).

    Only the columns of feedback leave, and --keep. Attributes (attr.*) stay at home unless --with-attributes lets them
    through the gate: all are quasi-identifiers, with those that left before, unless --sensitive. Exit code 1, no file:
    the gate is shut, or more people than --allow-below-k can be told apart by everything together. Exit code 2: ids are
    e-mail addresses or phone numbers, and no --key-file makes pseudonyms of them.

    Example: rlhf-fair feedback export feedback.jsonl --format label-studio --items items.jsonl --out tasks.json
    """
    from rlhf_fair.annotators.exchange.formats import export_feedback
    from rlhf_fair.annotators.privacy_history import history_beside
    from rlhf_fair.annotators.privacy_release import columns_about_people, leaving_columns
    from rlhf_fair.tables import ITEMS, simulated_rows

    texts = accepted(items, ITEMS) if items is not None else None
    if feedback is None:
        show(*_write_tasks(texts, form, out), as_json=as_json, quiet=quiet)
        return
    key = pseudonym_key(key_file, key_env, purpose)
    table = _read_to_leave(feedback, as_is=key is None and not with_identifiers)
    leaving, kept_home = leaving_columns(table, keep or [])
    personal = columns_about_people(table, keep or [])
    summary = {"out": str(out), "rows": len(table), "attributes": [], "simulated_rows": simulated_rows(table)}
    lines, leaves = simulated_lines(table), table[[name for name in leaving if name not in personal]]
    if with_attributes or personal:
        _require_room_for_attributes(form, with_attributes)
        before = history or (history_beside(key_file) if key_file else None)
        terms = _Terms(_gate(k, l, sensitive), with_attributes, tuple(quasi or ()), allow_below_k, before, purpose)
        released, told, gate_lines = _let_through(table, panel, personal, terms)
        leaves = leaves.merge(released, on="annotator_id", how="left", validate="many_to_one")
        kept_home = [name for name in kept_home if name not in leaves]
        summary |= told
        lines += gate_lines
    lines += [f"{len(kept_home)} columns stay at home: {', '.join(kept_home)}"] if kept_home else []
    lost = export_feedback(hide(leaves, key), out, form, items=texts)
    summary |= {"kept_home": kept_home, "lost": [asdict(entry) for entry in lost]}
    lines += [*loss_lines("lost", lost), f"{len(table)} rows of feedback: {out}"]
    show(summary, lines, as_json=as_json, quiet=quiet)


def _read_to_leave(path: Path, *, as_is: bool) -> pd.DataFrame:
    """The feedback; where ids leave ``as_is``, an error if some are themselves what a person can be reached by."""
    from rlhf_fair.disclosure.identifiers import reaches_a_person
    from rlhf_fair.errors import RowError
    from rlhf_fair.tables import FEEDBACK

    table = accepted(path, FEEDBACK)
    if not as_is:
        return table
    ids = [str(name) for name in table["annotator_id"].unique()]
    if n := sum(map(reaches_a_person, ids)):
        raise RowError(
            f"{path}: {n} of {len(ids)} values of 'annotator_id' look like e-mail addresses or phone numbers; nothing "
            "was written. Give --key-file (or --key-env) for pseudonyms in their place, or --with-identifiers to let "
            "them leave as they are"
        )
    return table


def _write_tasks(texts: pd.DataFrame | None, form: str, out: Path) -> tuple[dict[str, Any], list[str]]:
    """The items as tasks to label, nothing answered."""
    from rlhf_fair.annotators.exchange.formats import write_entries
    from rlhf_fair.annotators.exchange.label_studio import blank_tasks
    from rlhf_fair.errors import SettingsError

    if texts is None or form != "label-studio":
        raise SettingsError("give FEEDBACK, or --items and --format label-studio for tasks to label")
    write_entries(out, blank_tasks(texts))
    return {"out": str(out), "tasks": len(texts)}, [f"{len(texts)} tasks to label: {out}"]


def _require_room_for_attributes(form: str, with_attributes: bool) -> None:
    from rlhf_fair.errors import SettingsError

    if with_attributes and form in ("label-studio", "argilla"):
        raise SettingsError(f"--with-attributes: {form} keeps no attributes; allowed: jsonl, csv, parquet")


def _gate(k: int, least_values: int | None, sensitive: Sequence[str] | None) -> Gate:
    """Two different values of a sensitive attribute, unless asked otherwise."""
    from rlhf_fair.annotators.privacy_cells import Gate

    values = least_values if least_values is not None else 2 if sensitive else 1
    return Gate(k=k, l=values, sensitive=tuple(sensitive or ()))


@dataclass(frozen=True)
class _Terms:
    """On what terms attributes leave.

    ``quasi``: those named; none means all but the sensitive ones, if ``with_attributes``. ``allow_below_k``: share of
    people who may be told apart. ``history``: the file of what has left before, where one is kept.
    """

    gate: Gate
    with_attributes: bool
    quasi: tuple[str, ...]
    allow_below_k: float
    history: Path | None
    purpose: str


def _let_through(
    table: pd.DataFrame, panel: Path | None, personal: Sequence[str], terms: _Terms
) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """The attributes, and the ``personal`` columns, that pass the gate, by annotator; what leaves is written down."""
    from rlhf_fair.annotators.privacy_history import earlier_columns, record_release
    from rlhf_fair.tables import attribute_columns

    earlier = earlier_columns(terms.history) if terms.history is not None else ()
    people = _people(table, panel, [*personal, *earlier])
    columns, hidden = attribute_names(people, terms.quasi), attribute_names(people, terms.gate.sensitive)
    if terms.with_attributes and not columns:
        columns = [name for name in attribute_columns(people) if name not in hidden]
    passed = _released(people, [*columns, *personal], terms.gate, earlier, terms.allow_below_k)
    if terms.history is not None:
        record_release(terms.history, [*columns, *personal, *hidden], terms.purpose)
    return passed


def pseudonym_key(key_file: Path | None, key_env: str | None, purpose: str = "") -> bytes | None:
    """The key, where one is named, or the one that follows from it for a purpose."""
    from rlhf_fair.annotators.privacy_pseudonyms import key_for, read_key
    from rlhf_fair.errors import SettingsError

    if key_file is None and key_env is None:
        if purpose:
            raise SettingsError(f"--purpose {purpose} needs --key-file or --key-env to make pseudonyms from")
        return None
    key = read_key(key_file=key_file, variable=key_env)
    return key_for(key, purpose) if purpose else key


def hide(table: pd.DataFrame, key: bytes | None) -> pd.DataFrame:
    """The table with pseudonyms, where there is a key."""
    from rlhf_fair.annotators.privacy_pseudonyms import pseudonymise

    return table if key is None else pseudonymise(table, key)


def loss_lines(what: str, lost: Sequence[Lost]) -> list[str]:
    """One line for each loss."""
    return [f"{what}: {e.cells} {'of ' + e.column if e.column else 'entries'} ({e.code}): {e.message}" for e in lost]


def _people(table: pd.DataFrame, panel: Path | None, columns: Sequence[str]) -> pd.DataFrame:
    """Who gave the feedback, one row each: their attributes, and those of ``columns`` that the feedback has."""
    from rlhf_fair.annotators.privacy_release import people_of
    from rlhf_fair.tables import ANNOTATORS

    people = accepted(panel, ANNOTATORS) if panel is not None else people_of(table)
    attributes = [name for name in people if name == "annotator_id" or str(name).startswith("attr.")]
    further = [name for name in dict.fromkeys(columns) if name in table and name not in attributes]
    own = table[["annotator_id", *further]].drop_duplicates("annotator_id")
    return people[attributes].merge(own, on="annotator_id", validate="one_to_one")


def _released(
    people: pd.DataFrame, columns: list[str], gate: Gate, earlier: Sequence[str], allowed: float
) -> tuple[pd.DataFrame, dict[str, Any], list[str]]:
    """The attributes that pass the gate, by annotator; ends with exit code 1 where it is shut."""
    from dataclasses import replace

    from rlhf_fair.annotators.privacy_release import release_attributes
    from rlhf_fair.errors import SettingsError

    for name in earlier:
        if name not in people:
            raise SettingsError(
                f"{name!r} has left before and counts with what leaves now; give the --panel that has it"
            )
    gate = replace(gate, sensitive=tuple(attribute_names(people, gate.sensitive)))
    released = release_attributes(people, columns, gate, earlier=earlier)
    leaving, n, found = [*columns, *gate.sensitive], len(people) - released.withheld, released.together
    told = {name: getattr(released, name) for name in ("withheld", "too_few", "companions", "too_alike")}
    told |= {"attributes": leaving, "people": len(people), "earlier": list(earlier)}
    told["together"] = asdict(found) if found else None
    lines = [
        f"attributes {', '.join(leaving)} of {n} people leave; those of "
        f"{released.withheld} are withheld: {released.too_few} in cells of fewer than {gate.k}, {released.companions} "
        f"in cells that would give those away, {released.too_alike} in cells of fewer than {gate.l} sensitive values"
    ]
    if earlier:
        lines.append(f"counted with what has left before: {', '.join(earlier)}")
    if found:
        lines.append(
            f"by all of it together {found.unique} of {n} people ({100 * found.unique / n:.1f} %) are unique and "
            f"{found.below_k} among fewer than {gate.k}; the smallest group is of {found.smallest}"
        )
    if not released.passed or released.share_below_k > allowed:
        more = "name fewer or coarser attributes with --quasi" + (
            ", or accept it with --allow-below-k" if found else ""
        )
        typer.echo(f"nothing written: {'; '.join(lines)}; {more}", err=True)
        raise typer.Exit(1)
    return released.people, told, lines

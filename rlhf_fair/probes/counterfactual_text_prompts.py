"""One's own prompts and their twins: the same prompts about other groups, ready to be asked.

The unit of analysis is the original prompt: its versions are compared with each other and with nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from rlhf_fair.artifacts import read_text
from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.probes.counterfactual_text import Mode, Replacement, groups_in, swap
from rlhf_fair.probes.counterfactual_text_lexicon import Lexicon, load_lexicon
from rlhf_fair.tables import read_table, require_columns

NOTHING = "no word that says the group"
COLUMNS = ("prompt_id", "twin_of", "attribute", "group", "prompt", "replacements")
LEFT_OUT_COLUMNS = ("prompt_id", "attribute", "reason")


@dataclass(frozen=True)
class CounterfactualPrompts:
    """``table``: one row for each version of a prompt and attribute, see `make_counterfactuals`.

    ``left_out``: prompt_id, attribute, reason of each prompt that has no twin for that attribute.
    """

    table: pd.DataFrame
    left_out: pd.DataFrame

    @property
    def never_asked(self) -> list[str]:
        """Ids of prompts that are left out for every attribute, in their order."""
        kept = set(self.table["twin_of"])
        return [one for one in dict.fromkeys(self.left_out["prompt_id"]) if one not in kept]


def read_prompts(path: Path) -> pd.DataFrame:
    """Prompts from a text file, one per line, or from any table with a column ``prompt``.

    Lines get the ids line-1, line-2 … (blank ones have none), rows without a ``prompt_id`` row-1, row-2 …
    """
    if path.suffix == ".txt":
        lines = read_text(path, "prompts file").splitlines()
        named = {f"line-{k}": line.strip() for k, line in enumerate(lines, 1) if line.strip()}
        table = pd.DataFrame({"prompt_id": list(named), "prompt": list(named.values())}, dtype="str")
    else:
        table = read_table(path)
        require_columns(table, ["prompt"], path.name)
        if "prompt_id" not in table:
            table.insert(0, "prompt_id", [f"row-{k}" for k in range(1, len(table) + 1)])
    check_prompts(table, path.name)
    return table


def check_prompts(prompts: pd.DataFrame, name: str) -> None:
    """Every row has a prompt and an id of its own, or `RowError` with the first row of ``name`` that has not.

    Rows count from 1, without the header.
    """
    require_columns(prompts, ["prompt_id", "prompt"], name)
    if not len(prompts):
        raise RowError(f"{name} has no prompts")
    cells = prompts[["prompt", "prompt_id"]]
    blank = cells.isna() | cells.apply(lambda column: column.astype(str).str.strip() == "")
    if blank.any(axis=None):
        row = int(blank.any(axis=1).to_numpy().argmax())
        column = "prompt" if blank["prompt"].iloc[row] else "prompt_id"
        raise RowError(f"{name} row {row + 1}: {column} is empty")
    repeated = prompts["prompt_id"].duplicated()
    if repeated.any():
        row = int(repeated.to_numpy().argmax()) + 1
        raise RowError(f"{name} row {row}: prompt_id {prompts['prompt_id'].iloc[row - 1]!r} occurs more than once")


def make_counterfactuals(
    prompts: pd.DataFrame, attributes: Sequence[str | Path], *, mode: Mode = "all", names: bool = True
) -> CounterfactualPrompts:
    """The twins of ``prompts`` for each attribute, one for every other group than the one they speak of.

    Parameters
    ----------
    prompts: table with prompt_id and prompt; further columns are carried along.
    attributes: lexicons of the package (gender, ethnicity, religion, nationality, age, disability,
        sexual_orientation) or own files.
    mode: see `rlhf_fair.probes.counterfactual_text.Mode`. A prompt that speaks of two groups counts for the first.
    names: first names say gender and ethnicity too.

    Returns
    -------
    One row per version and attribute: prompt_id (the twin's is "ID~gender=woman"), twin_of (the original's id, also for
    the original), attribute, group, prompt, replacements (JSON, "[]" for the original; see `read_replacements`).
    A prompt that speaks of several attributes has its original under each of them.
    """
    check_prompts(prompts, "prompts")
    lexicons = [load_lexicon(attribute, names=names) for attribute in attributes]
    if len({lexicon.attribute for lexicon in lexicons}) < len(lexicons) or not lexicons:
        raise SettingsError(f"attributes are {[str(a) for a in attributes]}; allowed: one or more, each once")
    carried = [column for column in prompts.columns if column not in COLUMNS]
    rows, left_out = [], []
    for record in prompts.to_dict("records"):
        one, text = str(record["prompt_id"]), str(record["prompt"])
        for lexicon in lexicons:
            versions = list(_versions(one, text, lexicon, mode))
            rows += [version | {column: record[column] for column in carried} for version in versions]
            if not versions:
                left_out.append((one, lexicon.attribute, _why(text, lexicon)))
    return CounterfactualPrompts(
        pd.DataFrame(rows, columns=[*COLUMNS, *carried]), pd.DataFrame(left_out, columns=list(LEFT_OUT_COLUMNS))
    )


def to_ask(made: CounterfactualPrompts) -> pd.DataFrame:
    """One row per prompt to ask: every original once, with one column per attribute for the group it says.

    The column is empty for versions made for another attribute, so that each comparison holds an original and its own
    twins, one row per group.
    """
    table = made.table
    wide = table.pivot(index="prompt_id", columns="attribute", values="group")
    rest = table.drop(columns=["attribute", "group"]).drop_duplicates("prompt_id")
    return rest.merge(wide.reset_index(), on="prompt_id", how="left").rename_axis(columns=None)


def write_replacements(replacements: Iterable[Replacement]) -> str:
    """As JSON, for a table's cell."""
    return json.dumps([asdict(r) for r in replacements], ensure_ascii=False)


def read_replacements(cell: str) -> tuple[Replacement, ...]:
    """What `write_replacements` wrote."""
    return tuple(Replacement(**fields) for fields in json.loads(cell))


def _versions(one: str, text: str, lexicon: Lexicon, mode: Mode) -> Iterator[dict[str, str]]:
    groups = groups_in(text, lexicon)
    if not groups or lexicon.impossible(text):
        return
    own = groups[0]
    twins = {other: swap(text, lexicon, own, other, mode) for other in lexicon.groups if other != own}
    twins = {other: twin for other, twin in twins.items() if twin.replacements}
    common = {"twin_of": one, "attribute": lexicon.attribute}
    if twins:
        yield {"prompt_id": one, **common, "group": own, "prompt": text, "replacements": "[]"}
    for other, twin in twins.items():
        name, changes = f"{one}~{lexicon.attribute}={other}", write_replacements(twin.replacements)
        yield {"prompt_id": name, **common, "group": other, "prompt": twin.text, "replacements": changes}


def _why(text: str, lexicon: Lexicon) -> str:
    phrase = lexicon.impossible(text)
    return f"speaks of what one group alone has: {phrase.lower()}" if phrase else NOTHING

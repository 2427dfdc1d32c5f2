"""What every benchmark audit has in common: items in, one record per item out, numbers with intervals from those."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from pydantic import PrivateAttr

from rlhf_fair.audit.source import Source
from rlhf_fair.errors import SettingsError
from rlhf_fair.probes.measured import Measured
from rlhf_fair.settings import Settings
from rlhf_fair.tables import Quarantined

REASONS = {
    "missing": "no answer was given",
    "malformed": "the answer could not be read",
    "duplicate": "several answers were given",
    "refused": "the model refused",
}
"""What a record's ``problem`` says in one word, in more; other problems are shown as they are."""


N_UPSTREAM = "n_upstream"
"""In ``attrs`` of a loaded table of items: how many there are upstream, where only some of them are asked."""


@dataclass(frozen=True)
class Context:
    """The audit that a benchmark is part of: ``folder`` of its plan, for files that the plan names, and its ``seed``.

    ``judgements``: a folder in which what other models were asked is kept until the audit is finished; None keeps none.
    """

    folder: Path = Path()
    seed: int = 0
    judgements: Path | None = None


class Benchmark(Settings):
    """One benchmark; its fields are what the plan's section of the same name may set.

    ``folder``: where the benchmark's files lie inside ``--data-dir``. What `measure` needs is in the records, and the
    records are what ``records.parquet`` holds: so every number of a report can be computed again, and two audits can
    be compared item by item.
    """

    folder: str = ""

    limit: ClassVar[str]
    """What the benchmark cannot tell, with its source."""

    definitions: ClassVar[Mapping[str, str]] = {}
    """Metric -> what is computed, its range, what its neutral value means and which way is which, with its source; a
    star in a name stands for a family, see `rlhf_fair.audit.definitions.defined`."""

    predictions: ClassVar[str] = ""
    """The columns of a prediction file, in words; "" where there is none."""

    key: ClassVar[tuple[str, ...]] = ("item_id",)
    """Columns of the records that name an item; where it is asked several times, ``sample`` tells the answers apart."""

    clusters: ClassVar[tuple[str, ...]] = ("item_id",)
    """Columns of the records by which items belong together, as `measure` takes them; crossed where there are several.
    Two audits are compared by leaving out the same clusters of both."""

    apart: ClassVar[str] = ""
    """A column such that no number uses items of two of its values, where there is one."""

    _context: Context = PrivateAttr(default_factory=Context)

    def within(self, context: Context) -> Self:
        """The same benchmark as a part of an audit: it finds the plan's files and draws by the plan's seed."""
        placed = self.model_copy()
        placed._context = context
        return placed

    @abstractmethod
    def load(self, folder: Path) -> Quarantined:
        """The items; rows that cannot be used are kept with reasons."""

    @abstractmethod
    def ask(self, items: pd.DataFrame, source: Source) -> pd.DataFrame:
        """The records of a model's answers: one row per item (or per item and sample)."""

    def read(self, items: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        """The records of a prediction file's answers; an item without a usable one stays, as not answered."""
        raise SettingsError(f"{type(self).__name__} reads no prediction file: give --model")

    @abstractmethod
    def measure(self, records: pd.DataFrame, *, alpha: float, rng: np.random.Generator) -> list[Measured]:
        """Every number that the benchmark defines, with intervals clustered as its items were made."""

    @property
    def leaves_out_refusals(self) -> bool:
        """Whether a refusal is missing from the scores; the gap in refusals is then a claim beside a claimed score."""
        return False

    def claimed_groups(self) -> Mapping[str, tuple[str, ...]]:
        """Attribute -> the groups that a claim over all groups is about, where upstream's files say which there are.

        One without records, such as where a file is not at hand, is then not measured, rather than not claimed.
        """
        return {}

    def partly_used(self, records: pd.DataFrame) -> dict[str, int]:
        """Answers that were measured and are missing from some of the numbers all the same: reason -> how many."""
        return {}

    def defines(self) -> Mapping[str, str]:
        """``definitions``, with those that hang on what the plan sets."""
        return self.definitions

    def lean(self) -> Self:
        """The same benchmark without what takes long and changes no estimate, for numbers that are computed often."""
        return self

    def rulers(self) -> Sequence[str]:
        """Names of the text scorers that the numbers hang on; none for benchmarks that read likelihoods."""
        return ()

    def inputs(self) -> dict[str, str]:
        """Name -> SHA-256 of what was read besides items, such as a scorer's model."""
        return {}

    def check_rulers(self) -> pd.DataFrame:
        """How every scorer reads sentences in which the group alone changes: `rlhf_fair.audit.benchmarks.rulers`.

        These scores, too, are kept on disk, so that what is said of the scorers can be computed again without them.
        """
        return pd.DataFrame()

    def finished(self) -> None:
        """The results are on disk: what was kept for a second try may go."""

    def problems(self, records: pd.DataFrame) -> pd.Series:
        """Why a record holds no measured answer; "" where it holds one.

        Understands the columns that records have by convention: ``problem``, ``answered``, ``refused``, ``parsed``. An
        empty cell in ``refused`` says that nobody could have refused, as where likelihoods are compared.
        """
        found = pd.Series("", index=records.index, dtype="str")
        if "problem" in records:
            found = records["problem"].fillna("").astype("str").replace(REASONS)
        for column, bad, reason in (
            ("answered", False, REASONS["missing"]),
            ("refused", True, REASONS["refused"]),
            ("parsed", False, REASONS["malformed"]),
        ):
            if column in records:
                said = records[column].notna() & records[column].astype(object).ne(0)  # False is 0 too
                wrong = said == bad
                found = found.mask(wrong & (found == ""), reason)
        return found

    def place(self, data_dir: Path) -> Path:
        """The benchmark's folder inside ``data_dir``, or ``data_dir`` itself where that has no such folder."""
        inside = data_dir / self.folder
        if data_dir == Path() and not inside.exists():
            raise SettingsError(f"{type(self).__name__} reads public data: give --data-dir, which holds {self.folder}")
        return inside if inside.exists() else data_dir

    def settings_text(self) -> dict[str, Any]:
        """What was set, for the report, whose first screen says it; where the items lie is told with the plan."""
        said = self.model_dump(mode="json").items()
        return {name: value for name, value in said if name != "folder" and value not in ("", None, [], {})}

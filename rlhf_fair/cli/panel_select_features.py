"""What `rlhf-fair panel select` knows of the pairs: features from a model or a file, or an ensemble's scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from rlhf_fair.annotators.selection_strategies import Known

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Source:
    """Where features come from; at most one of the first three. ``separator`` stands between prompt and response."""

    reward_model: str | None = None
    encoder: str | None = None
    features: Path | None = None
    separator: str = "\n"

    def given(self) -> list[str]:
        """The options that were used."""
        named = {"--reward-model": self.reward_model, "--encoder": self.encoder, "--features": self.features}
        return [name for name, value in named.items() if value is not None]


def read_features(source: Source, items: pd.DataFrame, progress: Progress) -> Known:
    """Features of the items, in their order, and of whatever else a file holds behind them."""
    import numpy as np
    import pandas as pd

    from rlhf_fair.annotators.selection_strategies import Known

    if source.features is not None:
        table = _feature_file(source.features)
        rows = items["item_id"].tolist()
        _require_items(source.features, table, rows)
        others = table.index.difference(pd.Index(rows))
        return Known(table.loc[[*rows, *others]], np.zeros(table.shape[1]))
    found = _from_model(source, items, progress)
    return Known(pd.DataFrame(found.differences, index=items["item_id"].to_numpy()), found.head)


def read_scores(path: Path, item_ids: list[str]) -> NDArray[np.float64]:
    """(n, k) each member's reward of a minus that of b, in the order of the items."""
    from rlhf_fair.errors import RowError
    from rlhf_fair.tables import read_table

    scores = _numbers(path, read_table(path))
    if scores.shape[1] < 2:
        raise RowError(f"{path}: {scores.shape[1]} score columns; needed: at least 2, one for each member")
    _require_items(path, scores, item_ids)
    return scores.loc[item_ids].to_numpy(dtype=float)


def _from_model(source: Source, items: pd.DataFrame, progress: Progress) -> Any:
    from rlhf_fair.annotators.selection_pool import TEXTS
    from rlhf_fair.tables import require_columns

    require_columns(items, TEXTS, "items")
    texts = [(items["prompt"] + source.separator + items[side]).tolist() for side in TEXTS[1:]]
    done = [0]

    def heard(count: int) -> None:
        done[0] += count
        progress("reading texts", done[0], 2 * len(items))

    if source.encoder is not None:
        from rlhf_fair.models.encoder import Encoder
        from rlhf_fair.models.pair_features import encoder_features

        return encoder_features(Encoder.load(source.encoder, device="auto"), *texts, progress=heard)
    _refuse_trees(Path(str(source.reward_model)))
    from rlhf_fair.models.pair_features import reward_features
    from rlhf_fair.models.reward_model import RewardModel

    return reward_features(RewardModel.load(str(source.reward_model)), *texts, progress=heard)


def _refuse_trees(folder: Path) -> None:
    from rlhf_fair.errors import SettingsError
    from rlhf_fair.models.tree_reward import FACTS_NAME

    if (folder / FACTS_NAME).is_file():
        raise SettingsError(
            f"--reward-model {folder} is made of trees, which have no last layer whose inputs could be compared; "
            f"allowed: --encoder with the encoder that {folder / FACTS_NAME} names, or --features of your own"
        )


def _feature_file(path: Path) -> pd.DataFrame:
    """A table of item_id and numbers, or an .npz with item_id and ``differences`` (or ``a`` and ``b``)."""
    from rlhf_fair.tables import read_table

    return _archive(path) if path.suffix == ".npz" else _numbers(path, read_table(path))


def _archive(path: Path) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    from rlhf_fair.errors import ColumnError, MissingFileError, RowError

    if not path.is_file():
        raise MissingFileError(path, "features")
    try:
        # a stream of our own: numpy leaves the file open where it turns out to be no archive
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except MemoryError as error:
        raise RowError(f"{path} cannot be read as .npz: it claims to hold more than fits into memory") from error
    except Exception as error:  # numpy, zipfile, zlib and struct each have their own for bytes that make no sense
        raise RowError(f"{path} cannot be read as .npz: {error}") from error
    wanted = ("item_id", "differences") if "differences" in arrays else ("item_id", "a", "b")
    for name in wanted:
        if name not in arrays:
            raise ColumnError(f"features {path}", name, arrays)
    try:
        values = np.asarray(arrays[wanted[1]] if len(wanted) == 2 else arrays["a"] - arrays["b"], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise RowError(f"{path}: the features are no numbers of one shape: {error}") from error
    if values.ndim != 2 or arrays["item_id"].shape != values.shape[:1]:
        raise RowError(f"{path}: {arrays['item_id'].shape} ids for features of shape {values.shape}; needed: (n, d)")
    return _checked(path, pd.DataFrame(values, index=arrays["item_id"].astype(str)))


def _numbers(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from rlhf_fair.errors import RowError
    from rlhf_fair.tables import require_columns

    require_columns(table, ["item_id"], str(path))
    values = table.set_index(table["item_id"].astype(str)).drop(columns="item_id")
    for name in values:
        if not pd.api.types.is_numeric_dtype(values[name]):
            raise RowError(f"{path}: column {name!r} holds texts; all columns but item_id must be numbers")
    return _checked(path, values)


def _checked(path: Path, values: pd.DataFrame) -> pd.DataFrame:
    import numpy as np

    from rlhf_fair.errors import RowError

    if values.index.has_duplicates:
        raise RowError(f"{path}: item_id {values.index[values.index.duplicated()][0]!r} occurs twice")
    bad = ~np.isfinite(values.to_numpy(dtype=float)).all(axis=1)
    if bad.any():
        raise RowError(f"{path}: item_id {values.index[bad][0]!r} has a value that is missing or not finite")
    return values


def _require_items(path: Path, table: pd.DataFrame, ids: list[str]) -> None:
    from rlhf_fair.errors import RowError

    missing = [name for name in ids if name not in table.index]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise RowError(f"{path} has no row for item_id {missing[0]!r}{more}")

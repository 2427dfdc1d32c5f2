"""Where public data sets are read from: a folder, or a data set on the hub that is fetched into the hub's own cache."""

from __future__ import annotations

from pathlib import Path

from rlhf_fair.errors import MissingFileError

HUB = "hub:"


def data_folder(place: str | Path) -> Path:
    """The folder that ``place`` stands for: itself, or a copy of the hub's data set ``hub:OWNER/NAME``.

    The data set must hold the benchmark's upstream files; nothing in it is executed.
    """
    named = str(place)
    if not named.startswith(HUB):
        return Path(place)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(named.removeprefix(HUB), repo_type="dataset"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingFileError(named, "data set on the hub", first) from error

"""Models of the Hugging Face hub: the files of one on this machine, fetched where they are not there yet."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""Weights, configs, vocabularies and chat templates. Pickled weights and code are never fetched."""
UNWANTED = ("*/*", "consolidated*")
"""Other formats of the same weights lie in folders of a repository, or under this name."""


def hub_folder(name: str) -> Path:
    """The folder that holds the wanted files of the model ``owner/name``; what is missing is fetched.

    Without a network the files that were fetched earlier will do. Raises what `huggingface_hub` does.
    """
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED)))


def is_wanted(name: str) -> bool:
    """Whether a file of a hub model, by its path in the folder, is one of those that `hub_folder` fetches.

    >>> is_wanted("model.safetensors"), is_wanted("pytorch_model.bin"), is_wanted("onnx/config.json")
    (True, False, False)
    """
    return any(fnmatch(name, one) for one in WANTED) and not any(fnmatch(name, one) for one in UNWANTED)

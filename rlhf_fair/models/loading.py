"""Open a Hugging Face model safely: safetensors only, no code from the model, and one clear error for what is missing.

A source is a local directory, ``package:NAME`` (the ``model`` folder inside an installed Python package), or a hub id.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlhf_fair.errors import ModelLoadError

Kind = Literal["SequenceClassification", "CausalLM", "MaskedLM"]

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode, its tokenizer, and the weights that the source did not hold."""

    model: Any
    tokenizer: Any
    missing_weights: tuple[str, ...]


def resolve(source: str | Path, base: Path | None = None) -> str:
    """The folder a source stands for (relative ones from ``base``), or the hub id unchanged."""
    text = str(source)
    if text.startswith("package:"):
        return str(_package_folder(text.removeprefix("package:")))
    candidates = [Path(text)] if base is None else [base / text, Path(text)]
    for folder in candidates:
        if folder.is_dir():
            return str(folder)
    if _HUB_ID.fullmatch(text):
        return text
    raise ModelLoadError(f"model {text!r}: no such folder, and not a hub id (owner/name) or package:NAME")


def load_pretrained(kind: Kind, source: str | Path, *, seed: int = 0, **config: Any) -> Loaded:
    """Load ``AutoModelFor{kind}`` and its tokenizer in float32.

    Weights that the source lacks (a new head) are drawn with ``seed``. ``config`` overrides entries of its config.

    Raises
    ------
    ModelLoadError
        The folder lacks a config, safetensors weights or a tokenizer, needs code of its own, or is not of this kind.
    """
    import torch
    import transformers

    place = resolve(source)
    if Path(place).is_dir():
        _check_folder(Path(place))
    auto_model = getattr(transformers, f"AutoModelFor{kind}")
    with _loading(source), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        model, info = auto_model.from_pretrained(
            place,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **config,
        )
    _set_pad_token(model, tokenizer, str(source))
    mismatched = [str(entry[0] if isinstance(entry, tuple) else entry) for entry in info["mismatched_keys"]]
    return Loaded(model.eval(), tokenizer, tuple(sorted({*info["missing_keys"], *mismatched})))


def load_reward_model(source: str | Path) -> Loaded:
    """Load a trained reward model: sequence classification with one trained output."""
    loaded = load_pretrained("SequenceClassification", source)
    if loaded.model.config.num_labels != 1:
        raise ModelLoadError(
            f"model {source}: not a reward model: its head has {loaded.model.config.num_labels} outputs, not 1"
        )
    if loaded.missing_weights:
        raise ModelLoadError(f"model {source}: has no trained scalar head: lacks {', '.join(loaded.missing_weights)}")
    return loaded


def load_for_reward(source: str | Path, *, seed: int) -> Loaded:
    """Load any encoder or decoder with a scalar head, new if the source has none, ready to be trained."""
    return load_pretrained("SequenceClassification", source, seed=seed, num_labels=1)


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None:
        raise ModelLoadError(f"model package:{name}: no installed package of that name (pip install {name})")
    folder = Path(spec.origin).parent / "model"
    if not folder.is_dir():
        raise ModelLoadError(f"model package:{name}: the package has no folder 'model'")
    return folder


def _check_folder(folder: Path) -> None:
    found = sorted(path.name for path in folder.iterdir())
    names = set(found)
    missing = []
    if "config.json" not in names:
        missing.append("config.json")
    if not any(name.endswith(".safetensors") for name in names):
        pickled = [name for name in found if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        missing.append("*.safetensors weights" + (f" (pickled {pickled[0]} is refused)" if pickled else ""))
    if not names.intersection(TOKENIZER_FILES):
        missing.append("a tokenizer (tokenizer.json or a vocabulary)")
    if missing:
        raise ModelLoadError(f"model folder {folder} lacks {' and '.join(missing)}; found {found[:12]}")


def _set_pad_token(model: Any, tokenizer: Any, source: str) -> None:
    """Decoders pool at the last token that is not padding, so tokenizer and config must name the same pad token."""
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ModelLoadError(f"model {source}: its tokenizer has neither a pad nor an eos token")
        tokenizer.pad_token = tokenizer.eos_token
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = tokenizer.pad_token_id


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no remarks from the library inside the block."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _loading(source: str | Path) -> Iterator[None]:
    """Turn what the library raises into one line."""
    from safetensors import SafetensorError

    try:
        with quiet_transformers():
            yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelLoadError(f"model {source} cannot be loaded: {first}") from error

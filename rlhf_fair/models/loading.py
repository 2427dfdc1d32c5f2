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
from typing import Any, Literal, get_args

from rlhf_fair.artifacts import read_json
from rlhf_fair.errors import ModelLoadError, RlhfFairError, SettingsError
from rlhf_fair.models.hub import hub_folder
from rlhf_fair.models.reward_heads import declared_heads

Kind = Literal["SequenceClassification", "CausalLM", "MaskedLM", "Encoder"]
Precision = Literal["float32", "bfloat16", "float16"]

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
"""Opening these can run code that they hold; none is ever opened."""
ADAPTER_NAME = "adapter_config.json"
COUNT_FROM_PADDING = {"roberta", "xlm-roberta", "camembert"}
"""Models whose positions start behind the id of padding in their config."""
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
    parents = [folder.parent for folder in candidates if "/" in text and folder.parent.is_dir()]
    if parents:
        there = ", ".join(sorted(p.name for p in parents[0].iterdir() if p.is_dir())[:8]) or "no folder"
        hub = f" (a hub model of that name is asked for where there is no folder {text.partition('/')[0]!r})"
        known = hub if base is None and _HUB_ID.fullmatch(text) else ""
        raise ModelLoadError(f"model {text!r}: no such folder; {parents[0]} has {there}{known}")
    if _HUB_ID.fullmatch(text):
        return text
    raise ModelLoadError(f"model {text!r}: no such folder, and not a hub id (owner/name) or package:NAME")


def local_folder(source: str | Path) -> Path:
    """The folder that a source is loaded from; of a hub id that of its files, which are fetched first where need be.

    Raises
    ------
    ModelLoadError
        There is no such model, or it cannot be had without a network.
    """
    place = resolve(source)
    if Path(place).is_dir():
        return Path(place)
    try:
        return hub_folder(place)
    except Exception as error:  # of the network, the hub, the disk
        raise ModelLoadError(
            f"model {source}: no such folder, and not had from the hub: {_first_line(error)}"
        ) from error


def load_pretrained(
    kind: Kind,
    source: str | Path,
    *,
    seed: int = 0,
    precision: Precision = "float32",
    device_map: str | None = None,
    **config: Any,
) -> Loaded:
    """Load ``AutoModelFor{kind}`` (``AutoModel`` for an encoder) and its tokenizer.

    Weights that the source lacks (a new head) are drawn with ``seed``. ``precision`` is that of weights and sums within
    the model. ``device_map`` ("auto", "balanced", a device) goes to accelerate, which spreads the layers; None leaves
    the model on the CPU. ``config`` overrides entries of its config.

    Raises
    ------
    ModelLoadError
        The folder lacks a config, safetensors weights or a tokenizer, needs code of its own, or is not of this kind.
    """
    import torch
    import transformers

    if precision not in get_args(Precision):
        raise SettingsError(f"model {source}: precision is {precision!r}, not one of {get_args(Precision)}")
    place = local_folder(source)
    _check_folder(place)
    auto_model = getattr(transformers, "AutoModel" if kind == "Encoder" else f"AutoModelFor{kind}")
    with _loading(source), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        model, info = auto_model.from_pretrained(
            place,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, precision),
            device_map=device_map,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **config,
        )
    _set_pad_token(kind, model, tokenizer, str(source))
    _tell_unknown_tokens(model, tokenizer, str(source))
    mismatched = [str(entry[0] if isinstance(entry, tuple) else entry) for entry in info["mismatched_keys"]]
    return Loaded(model.eval(), tokenizer, tuple(sorted({*info["missing_keys"], *mismatched})))


def load_tokenizer(source: str | Path) -> Any:
    """The tokenizer alone, with the chat template where the source has one."""
    import transformers

    with _loading(source):
        return transformers.AutoTokenizer.from_pretrained(local_folder(source), trust_remote_code=False)


def load_reward_model(source: str | Path) -> Loaded:
    """Load a trained reward model: sequence classification with one trained output, or with declared heads."""
    loaded = load_pretrained("SequenceClassification", source)
    declared_heads(loaded.model.config, str(source))
    if loaded.missing_weights:
        raise ModelLoadError(f"model {source}: has no trained scalar head: lacks {', '.join(loaded.missing_weights)}")
    return loaded


def load_language_model(
    kind: Literal["CausalLM", "MaskedLM"],
    source: str | Path,
    *,
    precision: Precision = "float32",
    device_map: str | None = None,
) -> Loaded:
    """Load a trained language model; one whose head would have to be drawn at random is refused."""
    loaded = load_pretrained(kind, source, precision=precision, device_map=device_map)
    if loaded.missing_weights:
        shown = ", ".join(loaded.missing_weights[:4])
        raise ModelLoadError(f"model {source}: not a trained {kind}: lacks {shown}")
    return loaded


def load_for_reward(source: str | Path, *, seed: int, heads: int = 1) -> Loaded:
    """Load any encoder or decoder with so many scalar heads, new if the source has none, ready to be trained."""
    return load_pretrained("SequenceClassification", source, seed=seed, num_labels=heads)


def is_masked(source: str | Path) -> bool:
    """Whether the model's config names an architecture that fills in masked words, such as ``BertForMaskedLM``."""
    import transformers

    place = local_folder(source)
    _check_folder(place)
    with _loading(source):
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False)
    named = config.architectures if isinstance(config.architectures, list) else []
    return any(str(name).endswith("ForMaskedLM") for name in named)


def position_limit(model: Any) -> int | None:
    """Most tokens that the model's positions allow; None where its config states no limit."""
    config = model.config.get_text_config()
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if positions is None or positions < 1:  # XLNet's is -1
        return None
    # those that count from padding start at pad_token_id + 1
    return positions - 2 if getattr(config, "model_type", "") in COUNT_FROM_PADDING else positions


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
        pickled = [name for name in found if name.endswith(PICKLED)]
        missing.append("*.safetensors weights" + (f" (pickled {pickled[0]} is refused)" if pickled else ""))
    if not names.intersection(TOKENIZER_FILES):
        missing.append("a tokenizer (tokenizer.json or a vocabulary)")
    if missing:
        raise ModelLoadError(f"model folder {folder} lacks {' and '.join(missing)}; found {found[:12]}")
    if ADAPTER_NAME in names:  # transformers would load the base that it names, whatever lies in this folder
        raise ModelLoadError(f"model folder {folder} holds an adapter ({ADAPTER_NAME}): merge it into its base first")
    _check_shards(folder)


def _check_shards(folder: Path) -> None:
    """An index may name weights of this folder alone: others would be no part of the digest that an audit records."""
    for index in folder.glob("*.safetensors.index.json"):
        content = read_json(index, "index of weights")
        shards = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(shards, dict):
            raise ModelLoadError(f"model folder {folder}: {index.name} has no weight_map")
        for shard in dict.fromkeys(map(str, shards.values())):
            if Path(shard).name != shard or not (folder / shard).is_file():
                raise ModelLoadError(f"model folder {folder}: {index.name} names {shard!r}, which is not in the folder")


def _set_pad_token(kind: Kind, model: Any, tokenizer: Any, source: str) -> None:
    """A tokenizer without a pad token gets the special one that the config names, else the eos token.

    Decoders that classify read the last token that is not the config's padding, so that is the tokenizer's then.
    """
    configs = (model.config, model.config.get_text_config())
    named = [getattr(config, "pad_token_id", None) for config in configs]
    if tokenizer.pad_token_id is None:
        known = tokenizer.added_tokens_decoder
        special = [known[token].content for token in named if token in known and known[token].special]
        tokenizer.pad_token = next(iter(special), tokenizer.eos_token)
        if tokenizer.pad_token is None:
            raise ModelLoadError(f"model {source}: its tokenizer has neither a pad nor an eos token")
    padding_is_read = kind == "SequenceClassification" and configs[1].model_type not in COUNT_FROM_PADDING
    for config, token in zip(configs, named, strict=True):
        if padding_is_read or token is None:
            config.pad_token_id = tokenizer.pad_token_id


def _tell_unknown_tokens(model: Any, tokenizer: Any, source: str) -> None:
    """A tokenizer may know tokens that its model has no vector for: fine until a text has one, which is told then."""
    embeddings = model.get_input_embeddings()
    known = len(embeddings.weight)
    if max(tokenizer.get_vocab().values(), default=0) < known:
        return

    def check(_: Any, inputs: tuple[Any, ...]) -> None:
        if inputs and inputs[0].numel() and (highest := int(inputs[0].max())) >= known:
            raise ModelLoadError(
                f"model {source}: a text has token {highest}, but the model knows 0 to {known - 1}; its tokenizer "
                "is another model's, or the embeddings were not resized to it"
            )

    embeddings.register_forward_pre_hook(check)


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
    try:
        with quiet_transformers():
            yield
    except RlhfFairError:
        raise
    except Exception as error:  # a broken config or tokenizer.json ends in any error, in bare Exception too
        said = _first_line(error)
        cut = " (a .safetensors file is cut short or damaged)" if type(error).__name__ == "SafetensorError" else ""
        raise ModelLoadError(f"model {source} cannot be loaded: {said}{cut}") from error


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__

"""A reward model of gradient-boosted trees over the embeddings of an encoder that was never trained for it.

Its folder holds ``trees.txt`` (LightGBM's own text format, no pickle) and ``tree_reward.json``: how to read a text and
how the trees' outputs make a reward. The encoder is named there and not copied; its hash says whether it is the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from rlhf_fair.artifacts import make_folder, read_json, write_bytes, write_json
from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.cache import model_digest
from rlhf_fair.models.encoder import Encoder, Pooling
from rlhf_fair.models.loading import resolve
from rlhf_fair.models.requests import Progress
from rlhf_fair.models.reward_heads import RewardHeads
from rlhf_fair.settings import Settings, explain

FACTS_NAME = "tree_reward.json"
TREES_NAME = "trees.txt"


class Embeds(Protocol):
    """Whatever makes vectors of texts, as `Encoder` does."""

    def embeddings(
        self, texts: Sequence[str], *, batch_size: int = 64, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """(n, dimensions), one row per text in the order given."""


class TreeFacts(Settings):
    """Content of ``tree_reward.json``.

    ``encoder``: a folder relative to the model's own, ``package:NAME`` or a hub id. ``best_round``: the trees that are
    read, counted in rounds.
    """

    version: Literal[1] = 1
    encoder: str
    encoder_sha256: str
    pooling: Pooling = "mean"
    max_length: int = Field(ge=1)
    truncation_side: Literal["left", "right"] = "right"
    best_round: int = Field(ge=1)
    heads: RewardHeads = RewardHeads()


class TreeReward:
    """Rewards by trees; higher means better.

    A text's reward may jump where its embedding crosses a split: unlike a neural reward it has no gradient, and the
    last bits of an embedding, which depend on what else is in a batch, can move it.
    """

    def __init__(self, booster: Any, encoder: Embeds, facts: TreeFacts) -> None:
        self.booster, self.encoder, self.facts = booster, encoder, facts
        self.heads = facts.heads

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> TreeReward:
        """Open a folder that `save` wrote.

        Raises
        ------
        ModelLoadError
            A file is missing or damaged, or the encoder is absent or another one than the trees were grown on.
        """
        place = Path(folder)
        facts = _facts(place)
        source = resolve(facts.encoder, place)
        encoder = load_encoder(source, pooling=facts.pooling, max_length=facts.max_length, device=device)
        encoder.tokenizer.truncation_side = facts.truncation_side
        if (found := model_digest(source)) != facts.encoder_sha256:
            raise ModelLoadError(
                f"model {folder}: its encoder {facts.encoder} is not the one its trees were grown on "
                f"(SHA-256 {found[:12]}, expected {facts.encoder_sha256[:12]})"
            )
        booster = _booster(place)
        width = encoder.model.config.hidden_size
        if booster.num_feature() != width:
            raise ModelLoadError(
                f"model {folder}: trees read {booster.num_feature()} numbers, the encoder gives {width}"
            )
        return cls(booster, encoder, facts)

    def save(self, folder: Path) -> None:
        """Write trees and facts; an encoder that is a folder is named relative to this one, so both can be moved."""
        make_folder(folder)
        source = self.facts.encoder
        if Path(source).is_dir():
            source = Path(os.path.relpath(source, folder)).as_posix()
        text = self.booster.model_to_string(num_iteration=self.facts.best_round)
        write_bytes(folder / TREES_NAME, text.encode())
        write_json(folder / FACTS_NAME, self.facts.model_copy(update={"encoder": source}).model_dump(mode="json"))

    def score(
        self, texts: Sequence[str], *, batch_size: int = 64, on_batch: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """Rewards, shape (n,), in the order of ``texts``; ``on_batch`` hears how many distinct texts are read."""
        return self.heads.reward(self.outputs(texts, batch_size=batch_size, on_batch=on_batch))

    def outputs(
        self, texts: Sequence[str], *, batch_size: int = 64, on_batch: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """What the trees of each head add up to, shape (n, heads), in the order of ``texts``."""
        distinct, where = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        if not len(distinct):
            return np.zeros((0, len(self.heads.names)))
        done = 0

        def heard(count: int) -> None:
            nonlocal done
            done += count
            if on_batch is not None:
                on_batch(done)

        vectors = self.encoder.embeddings(list(distinct), batch_size=batch_size, progress=heard)
        found = self.booster.predict(vectors, raw_score=True, num_iteration=self.facts.best_round)
        return np.asarray(found, dtype=float).reshape(len(distinct), -1)[where]


def load_encoder(source: str, *, max_length: int, pooling: Pooling = "mean", device: str = "auto") -> Encoder:
    """The encoder that trees stand on, reading at most ``max_length`` tokens (fewer if it knows fewer positions)."""
    encoder = Encoder.load(source, pooling=pooling, device=device)
    encoder.max_length = min(encoder.max_length, max_length)
    return encoder


def lightgbm() -> Any:
    """The library, which is an extra."""
    try:
        import lightgbm
    except ImportError as error:
        raise SettingsError("reward models of trees need lightgbm (pip install 'rlhf-fair[trees]')") from error
    return lightgbm


def _facts(folder: Path) -> TreeFacts:
    try:
        return TreeFacts.model_validate(read_json(folder / FACTS_NAME, "tree reward model"))
    except ValidationError as error:
        raise ModelLoadError(f"model {folder}: {FACTS_NAME}: {'; '.join(explain(error, TreeFacts))}") from error


def _booster(folder: Path) -> Any:
    library = lightgbm()
    if not (folder / TREES_NAME).is_file():
        raise ModelLoadError(f"model folder {folder} lacks {TREES_NAME}")
    try:
        return library.Booster(model_str=(folder / TREES_NAME).read_text(encoding="utf-8"))
    except (library.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ModelLoadError(f"model {folder}: {TREES_NAME} cannot be read: {error}") from error

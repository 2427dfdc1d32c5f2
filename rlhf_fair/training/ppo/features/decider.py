"""A decider: which action to take on a row of features. What training leaves behind, on disk and in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rlhf_fair.artifacts import canonical_json, make_folder, read_json, replaced_files
from rlhf_fair.errors import MissingFileError, ModelLoadError
from rlhf_fair.settings import Settings, explain
from rlhf_fair.training.ppo.features.encoding import FeatureEncoding
from rlhf_fair.training.ppo.features.policy import Actions, FeatureNetworkSettings, FeaturePolicy

CONFIG_NAME, WEIGHTS_NAME = "decider.json", "decider.safetensors"
Labels = NDArray[np.str_]


class DeciderConfig(Settings):
    """What a decider is besides its weights."""

    format: int = Field(1, ge=1, le=1)
    actions: tuple[str, ...]
    encoding: FeatureEncoding
    network: FeatureNetworkSettings

    @model_validator(mode="after")
    def _actions_can_be_told_apart(self) -> DeciderConfig:
        if len(self.actions) < 2 or len(set(self.actions)) < len(self.actions):
            raise ValueError(f"actions = {self.actions}: two or more are needed, each once")
        return self


class Decider:
    """Reads the columns that it learned from and nothing else; whatever else a table has is ignored."""

    def __init__(self, config: DeciderConfig, policy: FeaturePolicy) -> None:
        self.config, self.policy = config, policy

    @classmethod
    def new(cls, config: DeciderConfig, *, generator: torch.Generator) -> Decider:
        """An untrained decider, undecided among its actions."""
        actions = Actions(kind="categorical", size=len(config.actions))
        return cls(config, FeaturePolicy(config.encoding.size, actions, config.network, generator=generator))

    def probabilities(self, table: pd.DataFrame) -> pd.DataFrame:
        """Probability of each action (columns) for each row of ``table``, whose index stays."""
        features = torch.from_numpy(self.config.encoding.encode(table))
        found = self.policy.probabilities(features).double().numpy()
        return pd.DataFrame(found / found.sum(1, keepdims=True), index=table.index, columns=list(self.config.actions))

    def decide(self, table: pd.DataFrame, *, rng: np.random.Generator | None = None) -> Labels:
        """(n,) an action for each row: the most likely one, or with ``rng`` one drawn by its probability.

        Training moves probabilities. A rate that the drawn actions meet need not be met by the most likely ones, so
        whoever deploys the latter should measure them.
        """
        probabilities = self.probabilities(table).to_numpy()
        if rng is None:
            return self.labels(probabilities.argmax(1))
        ladder = probabilities.cumsum(1)
        drawn = (rng.random((len(table), 1)) >= ladder).sum(1)
        return self.labels(np.minimum(drawn, len(self.config.actions) - 1))

    def labels(self, actions: NDArray[np.integer[Any]]) -> Labels:
        """Names of actions given by their number."""
        return np.take(np.array(self.config.actions, dtype=np.str_), actions)

    def save(self, folder: Path) -> None:
        """Write ``decider.json`` and ``decider.safetensors``; a reader sees the old pair or the new one."""
        with replaced_files(make_folder(folder), (CONFIG_NAME, WEIGHTS_NAME)) as temporary:
            save_file({name: t.contiguous() for name, t in self.policy.state_dict().items()}, temporary / WEIGHTS_NAME)
            (temporary / CONFIG_NAME).write_bytes(canonical_json(self.config.model_dump(mode="json")) + b"\n")

    @classmethod
    def load(cls, folder: Path) -> Decider:
        """Read what `save` wrote.

        Raises
        ------
        MissingFileError, ModelLoadError
            A file is absent, damaged, or does not belong to the other.
        """
        path = folder / CONFIG_NAME
        try:
            config = DeciderConfig.model_validate(read_json(path, "decider"))
        except ValidationError as error:
            raise ModelLoadError(
                "\n".join(f"decider {path}: {line}" for line in explain(error, DeciderConfig))
            ) from error
        decider = cls.new(config, generator=torch.Generator())
        if not (folder / WEIGHTS_NAME).is_file():
            raise MissingFileError(folder / WEIGHTS_NAME, "decider weights")
        try:
            decider.policy.load_state_dict(load_file(folder / WEIGHTS_NAME))
        except (SafetensorError, RuntimeError, OSError) as error:
            raise ModelLoadError(
                f"decider weights {folder / WEIGHTS_NAME} do not fit {CONFIG_NAME}: {error}"
            ) from error
        return decider

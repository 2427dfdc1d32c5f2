"""Whose run a folder holds: hashes of everything that a config names; and what a stopped run goes on from."""

from __future__ import annotations

from pathlib import Path

from rlhf_fair.artifacts import canonical_json, read_json, sha256_bytes, sha256_file, write_json
from rlhf_fair.errors import SettingsError
from rlhf_fair.models.cache import model_digest
from rlhf_fair.models.loading import resolve
from rlhf_fair.probes.scorers import scorer_inputs
from rlhf_fair.settings import plain
from rlhf_fair.training.data_folders import Folders
from rlhf_fair.training.group_source import FromClassifier, FromLexicon
from rlhf_fair.training.ppo.job.config import PPOConfig
from rlhf_fair.training.ppo.rewards.total import reward_inputs

BEGUN_NAME = "begun.json"
SCALES_NAME = "start.json"
CHECKPOINT_NAME = "checkpoint.pt"
PASSING = (CHECKPOINT_NAME, SCALES_NAME, BEGUN_NAME)
"""What a stopped run goes on from. It goes once the manifest is there, so that a kill in between costs nothing."""


def begin(out: Path, config: PPOConfig, inputs: dict[str, str]) -> None:
    """Remember whose run this is, so that a stopped one is not taken up by another config.

    A config is another one if its values are, but for those of `PPOSettings.of_the_run`. A run that failed before it
    had anything to go on with, on a reward that cannot be opened for instance, leaves its folder to any other.
    """
    begun = out / BEGUN_NAME
    lasting = plain(config.model_copy(update={"training": config.training.of_the_run()}))
    inputs = inputs | {"config": sha256_bytes(canonical_json(lasting))}
    kept = any((out / name).exists() for name in (SCALES_NAME, CHECKPOINT_NAME))
    if kept and begun.is_file() and read_json(begun, "record of inputs") != inputs:
        raise SettingsError(
            f"{out} holds a stopped run of another config or other data; delete it or choose another --out (a stopped "
            "run may go on with another training.learning_rate, max_grad_norm, checkpoint_steps or device)"
        )
    write_json(begun, inputs)


def clear(out: Path) -> None:
    """Delete what a finished run needs no more; an earlier call may have been killed before it did."""
    for name in PASSING:
        (out / name).unlink(missing_ok=True)


def job_inputs(config: PPOConfig, config_path: Path, data_dir: Path) -> dict[str, str]:
    """Hashes of config, prompts, base model, rewards and rulers."""
    found = {"config": sha256_file(config_path), "base_model": model_digest(resolve(config.model, data_dir))}
    folders = Folders(config_path.parent, data_dir)
    for name in filter(None, (config.prompts.path, config.held_out.path)):
        found[f"data/{name}"] = sha256_file(folders.find(name))
    for column, made in config.prompts.derive.items():
        if isinstance(made, FromClassifier):
            found[f"groups/{column}"] = model_digest(resolve(made.model, data_dir))
        if isinstance(made, FromLexicon) and (data_dir / made.attribute).is_file():
            found[f"groups/{column}"] = sha256_file(data_dir / made.attribute)
    for reward in config.rewards:
        found |= reward_inputs(reward, config_path.parent, data_dir)
    rulers = [config.fairness.scorer] if config.fairness else []
    for plan in (*rulers, *config.certify):
        found |= scorer_inputs(plan, config_path.parent)
    return found

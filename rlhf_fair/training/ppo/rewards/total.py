"""What pays the policy: reward models, Python functions, servers and rulers, opened from a config, and their sum."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_fair.artifacts import sha256_bytes, sha256_file
from rlhf_fair.errors import MissingFileError, RlhfFairError, SettingsError
from rlhf_fair.models.cache import model_digest
from rlhf_fair.models.dialogue import dialogue_text
from rlhf_fair.models.loading import resolve
from rlhf_fair.models.reward_scorer import RewardScorer, open_reward
from rlhf_fair.probes.scorers import open_scorer, scorer_inputs
from rlhf_fair.training.ppo.rewards.endpoint import RewardEndpoint
from rlhf_fair.training.ppo.rewards.sources import EndpointReward, ModelReward, PythonReward, RewardSource, ScorerReward

Floats = NDArray[np.float64]
Reward = Callable[..., ArrayLike]
"""``reward(prompts, completions, **columns)``: (n,) numbers, higher is better."""


@dataclass(frozen=True)
class Part:
    """One reward of the sum: its number is ``weight * (reward - centre) / spread``."""

    label: str
    reward: Reward
    weight: float = 1.0
    centre: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True)
class Paid:
    """The latest call: what was asked and answered, each part's numbers as it gave them, and their sum."""

    prompts: Sequence[str] = ()
    completions: Sequence[str] = ()
    parts: Mapping[str, Floats] = field(default_factory=dict)
    total: Floats = field(default_factory=lambda: np.zeros(0))

    def answers(self) -> list[dict[str, Any]]:
        """One mapping for each answer."""
        rows = zip(self.prompts, self.completions, self.total.tolist(), strict=True)
        return [{"prompt": prompt, "completion": answer, "reward": reward} for prompt, answer, reward in rows]


class RewardSum:
    """The weighted sum of several rewards, as the trainer calls it: with the prompts as the policy was asked.

    The parts get the prompts as they stand in the table instead, in the column ``prompt``. ``heard`` is told of every
    call.
    """

    def __init__(self, parts: Sequence[Part], heard: Callable[[Paid], None] = lambda paid: None) -> None:
        self.parts, self.heard = tuple(parts), heard
        self.latest = Paid()

    def __call__(
        self, asked: Sequence[str], completions: Sequence[str], *, prompt: Sequence[str], **columns: Any
    ) -> Floats:
        """(n,) rewards; every part must give one finite number for each completion."""
        values = {
            part.label: checked(part.label, part.reward(list(prompt), list(completions), **columns), completions)
            for part in self.parts
        }
        self.latest = Paid(list(prompt), list(completions), values, self.total(values))
        self.heard(self.latest)
        return self.latest.total

    def total(self, values: Mapping[str, Floats]) -> Floats:
        """The sum, from each part's unscaled numbers."""
        scaled = [part.weight * (values[part.label] - part.centre) / part.spread for part in self.parts]
        return np.asarray(np.sum(scaled, axis=0), dtype=float)


def checked(label: str, values: ArrayLike, completions: Sequence[str]) -> Floats:
    """``values`` as (n,) finite numbers; an error that names the reward else."""
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise RlhfFairError(f"reward {label!r} gave no numbers: {error}") from error
    if found.shape != (len(completions),):
        raise RlhfFairError(
            f"reward {label!r} gave shape {found.shape}; one number per answer is ({len(completions)},)"
        )
    if not np.isfinite(found).all():
        place = int(np.argmin(np.isfinite(found)))
        raise RlhfFairError(
            f"reward {label!r} gave {found[place]} for answer {place + 1} of {len(found)} "
            f"({len(completions[place])} characters); PPO needs a finite number for every answer"
        )
    return found


class RulerReward:
    """A ruler that pays; an answer that it finds nothing in is paid ``unmeasured``.

    measured: answers of the latest call that it found something in.
    """

    def __init__(self, source: ScorerReward, config_dir: Path) -> None:
        self.source, self.ruler = source, open_scorer(source.scorer, config_dir)
        self.measured = 0

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Floats:
        """(n,) scores of the answers."""
        scores = np.asarray(self.ruler.score(list(completions)), dtype=float)
        found = ~np.isnan(scores)
        self.measured = int(found.sum())
        return np.where(found, scores, self.source.unmeasured)


def open_part(source: RewardSource, config_dir: Path, data_dir: Path, device: str) -> Part:
    """One entry of ``[[rewards]]``, on its own scale as yet."""
    return Part(source.label, _open(source, config_dir, data_dir, device), source.weight)


def reward_inputs(source: RewardSource, config_dir: Path, data_dir: Path) -> dict[str, str]:
    """Name -> SHA-256 of what the reward is made of; of a server its address, since what answers there is not ours."""
    name = f"reward/{source.label}"
    match source:
        case ModelReward():
            return {name: model_digest(resolve(source.model, data_dir))}
        case PythonReward():
            return {name: sha256_file(_file(source, config_dir))}
        case EndpointReward():
            return {name: sha256_bytes(source.url.encode())}
        case ScorerReward():
            found = scorer_inputs(source.scorer, config_dir)
            return {f"{name}/{part}": digest for part, digest in found.items()}


def _open(source: RewardSource, config_dir: Path, data_dir: Path, device: str) -> Reward:
    match source:
        case ModelReward():
            return _model(source, resolve(source.model, data_dir), device)
        case PythonReward():
            return load_function(_file(source, config_dir), source.function.rpartition(":")[2])
        case EndpointReward():
            return RewardEndpoint(source)
        case ScorerReward():
            return RulerReward(source, config_dir)


def _model(source: ModelReward, place: str, device: str) -> Reward:
    scorer: RewardScorer = open_reward(place, device=device)
    tokenizer = getattr(scorer, "tokenizer", None) or scorer.encoder.tokenizer  # type: ignore[attr-defined]
    if source.chat == "yes" and not tokenizer.chat_template:
        raise SettingsError(f"reward {source.label!r}: model {source.model} has no chat template; allowed: auto or no")
    as_dialogue = source.chat != "no" and bool(tokenizer.chat_template)

    def text(prompt: str, answer: str) -> str:
        if as_dialogue:
            return dialogue_text(tokenizer, prompt, answer)
        return prompt + source.separator + answer + source.ending

    def reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> Floats:
        texts = [text(prompt, answer) for prompt, answer in zip(prompts, completions, strict=True)]
        return scorer.score(texts, batch_size=source.batch_size)

    return reward


def _file(source: PythonReward, config_dir: Path) -> Path:
    path = config_dir / source.function.rpartition(":")[0]
    if not path.is_file():
        raise MissingFileError(path, f"reward {source.label!r}: file", "it lies beside the config")
    return path


def load_function(path: Path, name: str) -> Reward:
    """The function ``name`` of a Python file, whose faults become one clear error with the line they happened in."""
    module_name = f"rlhf_fair_reward_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None  # a path that ends in .py has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SettingsError(f"reward {path}: cannot be loaded: {_fault(error, path)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        present = sorted(n for n, value in vars(module).items() if callable(value) and not n.startswith("_"))
        raise SettingsError(f"reward {path}: has no function {name!r}; has {present}")

    def reward(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> ArrayLike:
        try:
            values: ArrayLike = function(prompts, completions, **columns)
        except Exception as error:
            raise RlhfFairError(f"reward {path.name}:{name}: {_fault(error, path)}") from error
        return values

    return reward


def _fault(error: Exception, path: Path) -> str:
    """``ValueError: what it said (line 7)``, the line being the last one in the user's own file."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" + (f" (line {line})" if line else "")

"""Readers of plans and configs, TOML all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from job_world import CONFIG as PPO_CONFIG

from fuzz.damage import written
from fuzz.reader import Files, Reader
from rlhf_fair.annotate.study_settings import StudySettings
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.quality_settings import QualitySettings
from rlhf_fair.annotators.simulation_model import AnnotatorModel
from rlhf_fair.audit.plan import shipped_audits
from rlhf_fair.audit.run import run_audit
from rlhf_fair.audit.target import Target, endpoint_settings
from rlhf_fair.backends.worker import WorkerConfig
from rlhf_fair.compliance.context import Context
from rlhf_fair.compliance.loading import FOLDER as CLAUSE_MAPS
from rlhf_fair.compliance.loading import read_framework
from rlhf_fair.errors import MissingFileError, ModelLoadError
from rlhf_fair.mitigations.settings import MitigationSettings
from rlhf_fair.probes.counterfactual_text_lexicon import load_lexicon
from rlhf_fair.probes.decisions import SHIPPED as SCENARIOS
from rlhf_fair.probes.decisions import load_decisions
from rlhf_fair.rounds.settings import RoundsConfig
from rlhf_fair.settings import read_toml
from rlhf_fair.training.ppo.job.config import PPOConfig
from rlhf_fair.training.reward.config import RewardConfig
from rlhf_fair.training.sft_job import SFTConfig

AUDITS = Path(__file__).parents[2] / "audits"
BESIDE = (".csv", ".json", ".toml")
ANSWERS = "no-such-answers.jsonl"


def _folder(plan: Path) -> Files:
    """A shipped plan as ``plan.toml`` with the files beside it."""
    others = {path.name: path.read_bytes() for path in sorted(plan.parent.iterdir()) if path.suffix in BESIDE}
    return {**{name: data for name, data in others.items() if name != plan.name}, "plan.toml": plan.read_bytes()}


def _read_plan(folder: Path, option: str) -> object:
    """As the command does, as far as the answers or the public data, which are not there."""
    target = Target(**{option: str(folder / ANSWERS) if option == "reward_model" else folder / ANSWERS})  # type: ignore[arg-type]
    try:
        return run_audit(folder / "plan.toml", target, data_dir=folder, out=folder / "out")
    except (MissingFileError, ModelLoadError):
        return None


def _option(name: str) -> str:
    return {"panel-feedback": "feedback", "reward-identity": "reward_model"}.get(name.partition("/")[0], "predictions")


def _config(name: str, text: bytes, read: Callable[[Path], object]) -> Reader:
    return Reader(name, lambda: {"config.toml": text}, lambda folder: read(folder / "config.toml"))


def _defaults(model: Any) -> bytes:
    return written("config.toml", _without_none(model.model_dump(mode="json")))


def _without_none(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_none(value) for key, value in content.items() if value is not None}
    return content


POPULATION = b"""
multi_select = ["language"]
[margins]
gender = { woman = 0.5, man = 0.5 }
"gender*age" = { woman = { young = 0.2, old = 0.3 }, man = { young = 0.25, old = 0.25 } }
language = { English = 0.9, Spanish = 0.3 }
[minimums]
"gender=woman,age=old" = 10
"""
CONTEXT = b"""
[system]
name = "Helper"
version = "1"
[purpose]
intended_use = "Answers questions"
[deployer]
name = "Somebody"
[sign_off]
name = "A. Person"
role = "Officer"
date = 2026-11-21
"""
SERVER = b'api = "completions"\nconcurrency = 2\nattempts = 3\ntimeout_s = 5.0\nstart = "<s>"\n[body]\ntop_p = 0.9\n'
ROUNDS = b"""
[pipeline]
seed = 1
[pipeline.fairness]
strength = 5.0
[rounds]
count = 2
"""
MITIGATIONS = b"""
[pipeline]
seed = 1
"""
STUDY = _defaults(StudySettings())
WORKER = b"""
reward = "pay.py:kindness"
scorer = "pay.py:warmth"
reference_means = { woman = 0.1 }
[fairness]
strength = 5.0
minimum_count = 2.0
group_by = ["gender"]
[store]
url = "http://127.0.0.1:1"
rows_per_step = 8
"""
LEXICON = b"""
groups = ["man", "woman"]
always = [["king", "queen"], ["boy", "girl"]]
keep = ["king size"]
limit = "Two words."
"""

PLANS = tuple(
    Reader(
        f"plan {name}",
        partial(_folder, path),
        partial(_read_plan, option=_option(name)),
        ("plan.toml",),
        called=(ANSWERS, "prompts.csv"),  # a plan may name a column that the prompts lack
        slow=name.startswith("reward"),
    )
    for name, path in shipped_audits().items()
)
CONFIGS = (
    _config("train sft", (AUDITS / "train-ppo/sft.toml").read_bytes(), lambda p: read_toml(p, SFTConfig)),
    _config("train ppo", (AUDITS / "train-ppo/fair.toml").read_bytes(), lambda p: read_toml(p, PPOConfig)),
    _config("train ppo, short", PPO_CONFIG.encode(), lambda p: read_toml(p, PPOConfig)),
    *(
        _config(f"train reward {path.stem}", path.read_bytes(), lambda p: read_toml(p, RewardConfig))
        for path in sorted((AUDITS / "reward-identity").glob("train-*.toml"))
    ),
    _config("rounds", ROUNDS, lambda p: read_toml(p, RoundsConfig)),
    _config("mitigations", MITIGATIONS, lambda p: read_toml(p, MitigationSettings)),
    _config("quality", _defaults(QualitySettings()), lambda p: read_toml(p, QualitySettings)),
    _config(
        "quality, shipped",
        (AUDITS / "panel-feedback/quality.toml").read_bytes(),
        lambda p: read_toml(p, QualitySettings),
    ),
    _config("annotator model", (AUDITS / "panel-feedback/simulated/model.toml").read_bytes(), AnnotatorModel.read),
    _config("population", POPULATION, Population.read),
    _config("context", CONTEXT, lambda p: read_toml(p, Context)),
    _config("server", SERVER, endpoint_settings),
    _config("study", STUDY, lambda p: read_toml(p, StudySettings)),
    _config("backend worker", WORKER, lambda p: read_toml(p, WorkerConfig)),
    _config("clause map", (CLAUSE_MAPS / "colorado.toml").read_bytes(), read_framework),
    _config("scenarios", SCENARIOS.read_bytes(), load_decisions),
    _config("lexicon of groups", LEXICON, lambda p: load_lexicon(p).mentions("The queen and 3 boys.")),
)
READERS = (*PLANS, *CONFIGS)

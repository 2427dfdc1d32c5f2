"""The comparison: every seed's world is made once, every method runs in it, every policy is examined alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import transformers

import rlhf_fair
from rlhf_fair.artifacts import make_folder, sha256_tree
from rlhf_fair.audit.generation import GenerationPlan, load_prompts
from rlhf_fair.audit.generation_answers import load_scorer
from rlhf_fair.audit.ledger import Yardstick
from rlhf_fair.audit.plan import find_plan, load_plan
from rlhf_fair.demo.hiring import HiringWorld
from rlhf_fair.demo.run import one_thread
from rlhf_fair.mitigations.examination import Examination, Examined
from rlhf_fair.mitigations.kit import Kit
from rlhf_fair.mitigations.measures import Ruler, measures_table
from rlhf_fair.mitigations.method import Method
from rlhf_fair.mitigations.registry import chosen
from rlhf_fair.mitigations.settings import PLAIN, SFT, MitigationSettings
from rlhf_fair.mitigations.summary import fronts, over_seeds
from rlhf_fair.pipeline import PANELS, Progress, prepare
from rlhf_fair.stages import Stages


@dataclass(frozen=True)
class Comparison:
    """``results``: one row per seed, method and measure; ``groups``: per seed, method and crossed group; ``summary``:
    over seeds; ``fronts``: gap and quality of every method, and which are on the Pareto front."""

    settings: MitigationSettings
    plan: GenerationPlan
    methods: tuple[Method, ...]
    ruler: Ruler
    results: pd.DataFrame
    groups: pd.DataFrame
    summary: pd.DataFrame
    fronts: pd.DataFrame


def compare(
    settings: MitigationSettings,
    out: Path,
    *,
    progress: Progress = lambda what, done, total: None,
    on_stage: Callable[[str, bool], None] | None = None,
) -> Comparison:
    """Train (or find trained) every method with every seed below ``out``, and measure them on held-out prompts.

    It runs on one thread, whatever the machine has, as the demonstration does.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    methods = chosen(settings.methods)
    file = find_plan(settings.plan)
    plan = load_plan(file, GenerationPlan)
    exam = Examination(plan, load_prompts(plan, file.parent), load_scorer(plan, file.parent))
    ruler = ruler_of(settings, plan)
    measured, groups = [], []
    with one_thread():
        for seed in settings.seeds:
            kit = open_kit(settings, seed, out, plan_hash(settings), progress, on_stage)
            examined = _examine(kit, methods, exam)
            sft, plain = examined[SFT], examined[PLAIN]
            for name, own in examined.items():
                found = list(ruler.measures(own, sft))
                found += [] if name in (SFT, PLAIN) else list(ruler.paired(own, plain, sft))
                measured.append(measures_table(found, seed=seed, method=name))
                groups.append(ruler.groups(own, sft).assign(seed=seed, method=name))
    results = pd.concat(measured, ignore_index=True)
    summary = over_seeds(results, alpha=plan.policy.alpha)
    attributes = [attribute for attribute, _ in ruler.attributes]
    front = fronts(summary, attributes)
    return Comparison(settings, plan, methods, ruler, results, pd.concat(groups, ignore_index=True), summary, front)


def open_kit(
    settings: MitigationSettings,
    seed: int,
    out: Path,
    plan_sha256: str,
    progress: Progress,
    on_stage: Callable[[str, bool], None] | None = None,
) -> Kit:
    """The world of one seed with everything that all methods share, made or found in ``out/seed-N``."""
    world = HiringWorld(bias=settings.bias)
    key = {
        "version": rlhf_fair.__version__,
        "settings": settings.shared(),
        "seed": seed,
        "world": world.truth(),
        "plan": plan_sha256,
    }
    stages = Stages(make_folder(out / f"seed-{seed}"), key, on_stage)
    pipeline = settings.pipeline.model_copy(update={"seed": seed})
    made = prepare(world, pipeline, stages, progress=progress)
    return Kit(world, settings, seed, made, stages, progress)


def plan_hash(settings: MitigationSettings) -> str:
    """SHA-256 of the audit's plan and all files beside it."""
    return sha256_tree(find_plan(settings.plan).parent)


def ruler_of(settings: MitigationSettings, plan: GenerationPlan) -> Ruler:
    """Attributes, references and clusters as the audit's plan has them."""
    references = tuple((attribute.column, attribute.reference) for attribute in plan.attributes)
    other = next(panel for panel in PANELS if panel != settings.panel)
    return Ruler(Yardstick(references, plan.clusters, plan.metric, plan.policy.alpha), settings.panel, other)


def _examine(kit: Kit, methods: tuple[Method, ...], exam: Examination) -> dict[str, Examined]:
    costs: dict[str, float] = {}
    found = {}
    for method in methods:
        folder = kit.trained(method.name, method.build)
        found[method.name] = exam.examine(kit, method, folder, costs)
    return found

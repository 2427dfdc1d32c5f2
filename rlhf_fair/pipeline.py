"""The loop: population -> panel -> feedback -> reward model -> policy, audited at every stage.

`run_pipeline` reads top to bottom. Each stage is one function that writes a folder; finished folders are kept, so the
same call resumes after an interruption.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from rlhf_fair.annotators.aggregation import aggregate_pairs
from rlhf_fair.annotators.assignment import assign
from rlhf_fair.annotators.panel import convenience_panel, plan_panel
from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.weights import raking_weights
from rlhf_fair.artifacts import read_json, write_json
from rlhf_fair.metrics.gaps import INTERSECTION, group_labels
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.models.loading import load_for_reward
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.models.reward_scorer import open_reward
from rlhf_fair.records import TrainingRun
from rlhf_fair.settings import Settings
from rlhf_fair.stages import Stages
from rlhf_fair.tables import read_table, write_table
from rlhf_fair.training.fairness import FairnessSettings, FairnessShaper
from rlhf_fair.training.ppo.devices import hasten
from rlhf_fair.training.ppo.reference import Reference
from rlhf_fair.training.ppo.rollout import PromptBatch
from rlhf_fair.training.ppo.trainer import Fairness, PPOSettings, PPOTrainer
from rlhf_fair.training.reward.preference import PairData
from rlhf_fair.training.reward.settings import RewardSettings
from rlhf_fair.training.reward.trainer import train_reward_model
from rlhf_fair.training.sft import SFTSettings, train_causal_lm

PANELS = ("convenience", "diverse")
POLICIES = (("ppo", "convenience"), ("ppo", "diverse"), ("fair_ppo", "diverse"))
"""(stage, panel) of every policy: who annotates is compared under plain PPO, the penalty on the planned panel."""
ITEMS_NAME, ANNOTATORS_NAME, PREFERENCES_NAME = "items.parquet", "annotators.parquet", "preferences.parquet"
FAIRNESS_NAME = "fairness.json"
"""Group means and multipliers of the penalty when a policy was finished."""
Progress = Callable[[str, int, int], None]


class World(Protocol):
    """Where prompts, demonstrations and judgements come from; `rlhf_fair.demo.hiring.HiringWorld` is one."""

    def documents(self, n: int, rng: np.random.Generator) -> list[tuple[str, str]]: ...
    def demonstrations(self, n: int, rng: np.random.Generator) -> list[tuple[str, str]]: ...
    def prompts(self, n: int, rng: np.random.Generator) -> pd.DataFrame: ...
    def pool(self, rng: np.random.Generator) -> pd.DataFrame: ...
    def population(self) -> Population: ...
    def judge(
        self, items: pd.DataFrame, assignments: pd.DataFrame, members: pd.DataFrame, rng: np.random.Generator
    ) -> pd.DataFrame: ...
    def training_scorer(self, answers: pd.DataFrame, rng: np.random.Generator) -> LexiconScorer: ...
    def new_model(self, documents: list[tuple[str, str]], seed: int) -> tuple[Any, Any]: ...


class PipelineSettings(Settings):
    """Sizes and optimisation of every stage."""

    seed: int = 0
    documents: int = Field(26_000, ge=1)
    demonstrations: int = Field(3_000, ge=1)
    pairs: int = Field(12_000, ge=2)
    ratings_per_pair: int = Field(4, ge=1)
    panel_size: int = Field(300, ge=2)
    rated_answers: int = Field(800, ge=2)
    group_by: tuple[str, ...] = ("gender", "ethnicity")
    pretraining: SFTSettings = SFTSettings(epochs=2, batch_size=32, learning_rate=4e-3)
    sft: SFTSettings = SFTSettings(epochs=1, batch_size=32, learning_rate=1e-3)
    reward: RewardSettings = RewardSettings(epochs=2, batch_size=32, learning_rate=2e-3, weight_decay=0.0, device="cpu")
    ppo: PPOSettings = PPOSettings(steps=48, kl_coef=0.1)
    fairness: FairnessSettings = FairnessSettings(strength=30.0, memory=0.85)


QUICK_PIPELINE = PipelineSettings(
    documents=200,
    demonstrations=64,
    pairs=64,
    ratings_per_pair=2,
    panel_size=40,
    rated_answers=64,
    ppo=PPOSettings(steps=2, batch_size=16, minibatch_size=8, max_new_tokens=12),
)
"""Sizes with which everything runs and nothing is learnt."""


@dataclass(frozen=True)
class PolicyRun:
    """A trained policy: which panel's reward it maximised, and whether the penalty was on."""

    name: str
    stage: str
    panel: str
    folder: Path


@dataclass(frozen=True)
class Ingredients:
    """Folders of what policies are made from; ``panels`` and ``rewards`` by name of the panel."""

    base: Path
    sft: Path
    pairs: Path
    scorer: Path
    panels: dict[str, Path]
    rewards: dict[str, Path]


@dataclass(frozen=True)
class Judged:
    """Items with p_a, the weight of each (None: 1), and the items whose response_a sets the scale of the reward."""

    items: pd.DataFrame
    scale: pd.DataFrame
    weight: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Course:
    """One run of PPO: from which policy, for which reward, under which penalty.

    ``reference``: the policy from which the KL divergence is priced; None is ``start``.
    """

    name: str
    panel: str
    start: Path
    reward: Path
    fairness: Fairness | None
    ppo: PPOSettings
    seed: int
    reference: Path | None = None


@dataclass(frozen=True)
class Trained:
    """Folders of everything the loop made."""

    base: Path
    sft: Path
    panels: dict[str, Path]
    rewards: dict[str, Path]
    policies: tuple[PolicyRun, ...]

    def runs(self) -> tuple[TrainingRun, ...]:
        """The record of every training, in order."""
        folders = [self.base, self.sft, *self.rewards.values(), *(policy.folder for policy in self.policies)]
        return tuple(TrainingRun.model_validate(read_json(folder / "training.json", "run")) for folder in folders)


def run_pipeline(world: World, settings: PipelineSettings, stages: Stages, *, progress: Progress) -> Trained:
    """Train everything: base, SFT, two panels with their reward models, and PPO with and without the penalty."""
    loop, made = Loop(world, settings, progress), prepare(world, settings, stages, progress=progress)
    policies = []
    for stage, panel in POLICIES:
        name = f"{stage.replace('_', '-')}-{panel}"
        penalty = made.scorer if stage == "fair_ppo" else None
        build = partial(loop.optimise, name, panel, made.sft, made.rewards[panel], penalty, made.pairs)
        policies.append(PolicyRun(name, stage, panel, stages.run(name, build)))
    return Trained(made.base, made.sft, made.panels, made.rewards, tuple(policies))


def prepare(world: World, settings: PipelineSettings, stages: Stages, *, progress: Progress) -> Ingredients:
    """Make all that a policy is optimised from: base and SFT model, pairs, panels, reward models, training scorer."""
    loop = Loop(world, settings, progress)
    base = stages.run("base", loop.pretrain)
    sft = stages.run("sft", partial(loop.fine_tune, base))
    pairs = stages.run("pairs", partial(loop.sample_pairs, sft))
    scorer = stages.run("training-scorer", partial(loop.learn_scorer, pairs))
    panels = {p: stages.run(f"panel-{p}", partial(loop.ask_panel, p, pairs)) for p in PANELS}
    rewards = {p: stages.run(f"reward-{p}", partial(loop.train_reward, p, base, pairs, panels[p])) for p in PANELS}
    return Ingredients(base, sft, pairs, scorer, panels, rewards)


class PolicyReward:
    """A reward model's score of prompt and answer, in standard deviations over the answers of the SFT policy.

    Of several heads it is the reward that the folder declares, such as the most pessimistic of an ensemble.
    """

    def __init__(self, folder: Path) -> None:
        self.model: Any = open_reward(folder)
        reader: Any = getattr(self.model, "encoder", self.model)  # trees read by an encoder
        self.eos_token: str = reader.tokenizer.eos_token or ""
        scale = read_json(folder / "scale.json", "reward scale")
        self.mean, self.sd = float(scale["mean"]), float(scale["sd"])

    def __call__(self, prompts: list[str], answers: list[str], **columns: Any) -> NDArray[np.float64]:
        texts = reward_texts(prompts, answers, self.eos_token)
        scores: NDArray[np.float64] = self.model.score(texts, batch_size=256)
        return (scores - self.mean) / self.sd


def reward_texts(prompts: list[str], answers: list[str], eos_token: str) -> list[str]:
    """What a reward model reads: prompt, answer, end of sequence."""
    return [prompt + answer + eos_token for prompt, answer in zip(prompts, answers, strict=True)]


class Loop:
    """The stages, each a function that fills a folder; with ``continued`` rounds take up their parts."""

    def __init__(self, world: World, settings: PipelineSettings, progress: Progress) -> None:
        self.world, self.settings, self.progress = world, settings, progress

    def rng(self, stage: int) -> np.random.Generator:
        """A random stream of its own for every stage, so that none depends on another having run."""
        return np.random.default_rng((self.settings.seed, stage))

    def pretrain(self, out: Path) -> None:
        s = self.settings
        documents = self.world.documents(s.documents, self.rng(0))
        model, tokenizer = self.world.new_model(documents, s.seed)
        self._train_lm("base", model, tokenizer, documents, s.pretraining, out)

    def fine_tune(self, base: Path, out: Path) -> None:
        s, lm = self.settings, CausalLM.load(base)
        demonstrations = self.world.demonstrations(s.demonstrations, self.rng(1))
        self._train_lm("sft", lm.model, lm.tokenizer, demonstrations, s.sft, out)

    def sample_pairs(self, sft: Path, out: Path) -> None:
        prompts = self.world.prompts(self.settings.pairs, self.rng(2))
        write_table(out / ITEMS_NAME, self.answer_twice(sft, prompts, seed=self.settings.seed))

    def answer_twice(self, policy: Path, prompts: pd.DataFrame, *, seed: int) -> pd.DataFrame:
        """The prompts as items with response_a and response_b; an answer depends on its item_id and the seed alone."""
        lm, responses = CausalLM.load(policy), {}
        for side in ("a", "b"):
            ids = [f"{prompt_id}{side}" for prompt_id in prompts["prompt_id"]]
            answers = lm.generate(
                prompts["prompt"].tolist(),
                ids,
                max_new_tokens=self.settings.ppo.max_new_tokens,
                seed=seed,
                batch_size=512,
            )
            responses[f"response_{side}"] = [answer.text for answer in answers]
        return prompts.assign(**responses).rename(columns={"prompt_id": "item_id"})

    def learn_scorer(self, pairs: Path, out: Path) -> None:
        items = read_table(pairs / ITEMS_NAME).head(self.settings.rated_answers)
        scorer = self.world.training_scorer(items.assign(text=items["response_a"]), self.rng(3))
        scorer.save(out / "scorer.json")

    def ask_panel(self, panel: str, pairs: Path, out: Path) -> None:
        rng = self.rng(4)
        pool, items = self.world.pool(rng), read_table(pairs / ITEMS_NAME)
        if panel == "diverse":
            members = self.plan_panel(pool, rng, out)
        else:
            members = convenience_panel(pool, size=self.settings.panel_size, rng=rng)
        self.judge(items, members, rng, out)

    def plan_panel(self, pool: pd.DataFrame, rng: np.random.Generator, out: Path) -> pd.DataFrame:
        """Members of a panel with the population's margins, and their weights; how near it came stands in ``out``."""
        population = self.world.population()
        plan = plan_panel(pool, population, size=self.settings.panel_size, rng=rng)
        write_table(out / "targets.csv", plan.targets)
        weights = raking_weights(plan.members, population).weights
        return plan.members.assign(weight=plan.members["annotator_id"].map(weights))

    def judge(self, items: pd.DataFrame, members: pd.DataFrame, rng: np.random.Generator, out: Path) -> None:
        """Members judge the items; who they are, what they chose, and the share of (weighted) judgements for a."""
        s = self.settings
        weights = members.set_index("annotator_id")["weight"] if "weight" in members else None
        groups = [f"attr.{name}" for name in s.group_by]
        assignments = assign(
            items, members, ratings_per_item=s.ratings_per_pair, distinct_groups=2, group_columns=groups, rng=rng
        )
        feedback = self.world.judge(items, assignments, members, rng)
        write_table(out / ANNOTATORS_NAME, members)
        write_table(out / "feedback.parquet", feedback)
        write_table(out / PREFERENCES_NAME, aggregate_pairs(feedback, weights))

    def train_reward(self, panel: str, base: Path, pairs: Path, feedback: Path, out: Path) -> None:
        items = read_table(pairs / ITEMS_NAME).merge(read_table(feedback / PREFERENCES_NAME), on="item_id")
        self.fit_reward(f"reward-{panel}", panel, base, Judged(items, scale=items), out)

    def fit_reward(self, name: str, panel: str, base: Path, judged: Judged, out: Path) -> None:
        """A reward model from judged items, its scale, and the record of its training."""
        s, items = self.settings, judged.items
        loaded = load_for_reward(base, seed=s.seed)
        eos = loaded.tokenizer.eos_token
        text_a, text_b, known = (
            reward_texts(table["prompt"].tolist(), table[side].tolist(), eos)
            for table, side in ((items, "response_a"), (items, "response_b"), (judged.scale, "response_a"))
        )
        data = PairData(text_a, text_b, items["p_a"].to_numpy(dtype=float), judged.weight)
        settings = s.reward.model_copy(update={"seed": s.seed})
        total = s.reward.epochs * -(-len(items) // s.reward.batch_size)
        run = train_reward_model(
            loaded.model,
            loaded.tokenizer,
            data,
            settings,
            on_step=lambda row: self.progress(f"reward model, {panel} panel", int(row["step"]), total),
        )
        model = RewardModel(loaded.model, loaded.tokenizer)
        model.save(out)
        scores = model.score(known, batch_size=256)
        write_json(out / "scale.json", {"mean": float(scores.mean()), "sd": float(scores.std())})
        shown = run.curve[:: max(1, run.steps // 100)]
        record = TrainingRun(
            name=name,
            kind="reward",
            panel=panel,
            steps=run.steps,
            seconds=run.seconds,
            curve=tuple({k: v for k, v in row.items() if k != "epoch"} for row in shown),
        )
        write_json(out / "training.json", record.model_dump(mode="json"))

    def optimise(
        self, name: str, panel: str, sft: Path, reward: Path, scorer: Path | None, pairs: Path, out: Path
    ) -> None:
        fairness = None if scorer is None else self.penalty(scorer, pairs)
        self.improve(
            Course(name, panel, sft, reward, fairness, self.settings.ppo, self.settings.seed), self._batch, out
        )

    def penalty(self, scorer: Path, pairs: Path) -> Fairness:
        """The penalty on the training scorer, with the groups' means among the SFT policy's ``pairs`` as floors."""
        ruler = LexiconScorer.load(scorer / "scorer.json")
        floors = self._sft_means(read_table(pairs / ITEMS_NAME), ruler)
        settings = self.settings.fairness.model_copy(update={"group_by": self.settings.group_by})
        return Fairness(FairnessShaper(settings, floors), ruler.score)

    def improve(self, course: Course, prompts: Callable[[int], PromptBatch], out: Path) -> None:
        """A policy by PPO along ``course``, the record of its training, and where its penalty ended."""
        lm, ppo = CausalLM.load(course.start), course.ppo
        trainer = PPOTrainer(
            lm.model, lm.tokenizer, PolicyReward(course.reward), ppo, seed=course.seed, fairness=course.fairness
        )
        if course.reference is not None:
            reference = CausalLM.load(course.reference).model.to(trainer.devices.device)
            if ppo.kernels == "fast":
                hasten(reference, trainer.devices.device.type)
            trainer.reference = Reference(reference, additions=False)
        record = trainer.train(
            prompts, name=course.name, on_step=lambda row: self.progress(course.name, int(row["step"]), ppo.steps)
        )
        lm.model.save_pretrained(out)
        lm.tokenizer.save_pretrained(out)
        if course.fairness is not None:
            write_json(out / FAIRNESS_NAME, course.fairness.shaper.state_dict())
        write_json(out / "training.json", record.model_copy(update={"panel": course.panel}).model_dump(mode="json"))

    def _train_lm(
        self, name: str, model: Any, tokenizer: Any, texts: list[tuple[str, str]], settings: SFTSettings, out: Path
    ) -> None:
        run = train_causal_lm(
            model,
            tokenizer,
            texts,
            settings,
            seed=self.settings.seed,
            name=name,
            on_step=lambda step, total, loss: self.progress(f"{name} model", step, total),
        )
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        thin = run.model_copy(update={"curve": run.curve[:: max(1, len(run.curve) // 100)]})
        write_json(out / "training.json", thin.model_dump(mode="json"))

    def _batch(self, step: int) -> PromptBatch:
        """The prompts of a step, the same for every policy."""
        return self.batch(np.random.default_rng((self.settings.seed, 5, step)))

    def batch(self, rng: np.random.Generator) -> PromptBatch:
        """Training prompts of one step of PPO."""
        prompts = self.world.prompts(self.settings.ppo.batch_size, rng)
        columns = {str(name): prompts[name].tolist() for name in prompts.columns if name != "prompt"}
        return PromptBatch(prompts["prompt"].tolist(), columns)

    def _sft_means(self, items: pd.DataFrame, ruler: LexiconScorer) -> dict[str, float]:
        """Each group's mean training score under the SFT policy: the level it must not fall below."""
        labels = group_labels(items, INTERSECTION.join(self.settings.group_by))
        means = pd.Series(ruler.score(items["response_a"].tolist())).groupby(labels.to_numpy()).mean()
        return {str(group): float(mean) for group, mean in means.items()}

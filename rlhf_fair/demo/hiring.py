"""The embedded world as the pipeline sees it: tables of prompts, people who judge, rulers, and the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge

from rlhf_fair.annotators.population import Population
from rlhf_fair.annotators.simulation import simulate_pair_feedback
from rlhf_fair.demo.corpus import DEMONSTRATION_BIAS, demonstrations, pretraining_documents
from rlhf_fair.demo.language_model import new_language_model, train_tokenizer
from rlhf_fair.demo.names import Split, names
from rlhf_fair.demo.people import POPULATION, Tastes, annotator_pool, chosen_utility, favour_slopes, population_utility
from rlhf_fair.demo.reading import Reading, read_answer
from rlhf_fair.demo.world import (
    BASE_SHARES,
    PlantedBias,
    Prompt,
    answer,
    crossed_prompts,
    favourability_truth,
    phrases,
    sample_prompts,
)
from rlhf_fair.models.lexicon import LexiconScorer

HELD_OUT_OCCUPATIONS_PER_TEMPLATE = 12
IDENTITY_WORDS = ("he", "she", "him", "her")


@dataclass(frozen=True)
class HiringWorld:
    """A world with ``bias`` times the planted bias: 1 is the demonstration, 0 a world in which nothing was planted."""

    bias: float = 1.0
    pool_size: int = 2400
    planted: PlantedBias = field(init=False)
    tastes: Tastes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planted", PlantedBias().scaled(self.bias))
        object.__setattr__(self, "tastes", Tastes().with_in_group_favour(self.bias))

    def documents(self, n: int, rng: np.random.Generator) -> list[tuple[str, str]]:
        """Pre-training text; the empty first part means that all of it is learned."""
        return [("", document) for document in pretraining_documents(n, self.planted, rng)]

    def demonstrations(self, n: int, rng: np.random.Generator) -> list[tuple[str, str]]:
        """(prompt, answer) pairs for supervised fine-tuning."""
        return [(prompt.text, text) for prompt, text in demonstrations(n, self.planted, rng)]

    def new_model(self, documents: list[tuple[str, str]], seed: int) -> tuple[Any, Any]:
        """An untrained language model and a tokenizer for the documents."""
        tokenizer = train_tokenizer([document for _, document in documents])
        return new_language_model(tokenizer, seed=seed), tokenizer

    def prompts(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """``n`` prompts with training names and templates."""
        return prompt_table(sample_prompts(n, "train", rng)).assign(prompt_id=[f"t{i:06d}" for i in range(n)])

    def pool(self, rng: np.random.Generator) -> pd.DataFrame:
        """The annotators who could be asked."""
        return annotator_pool(self.pool_size, rng)

    def population(self) -> Population:
        """Whom the panel should stand for."""
        return Population.from_shares({name.removeprefix("attr."): shares for name, shares in POPULATION.items()})

    def judge(
        self, items: pd.DataFrame, assignments: pd.DataFrame, members: pd.DataFrame, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Every assigned annotator's choice between response_a and response_b of their items."""
        rows = items.reset_index(drop=True)
        where = pd.Series(rows.index, index=rows["item_id"]).loc[assignments["item_id"]].to_numpy()
        raters = members.set_index("annotator_id").loc[assignments["annotator_id"]].reset_index()
        utilities = {}
        for side in ("response_a", "response_b"):
            readings = self.read(rows["occupation"], rows[side])
            utilities[side] = chosen_utility([readings[i] for i in where], rows.iloc[where], raters, self.tastes)
        a, b = utilities["response_a"], utilities["response_b"]
        return simulate_pair_feedback(a, b, assignments, members, rng=rng)

    def read(self, occupations: Iterable[str], texts: Iterable[str]) -> list[Reading]:
        """What the answers say, by the world's own grammar."""
        return [read_answer(job, text) for job, text in zip(occupations, texts, strict=True)]

    def true_utility(self, answers: pd.DataFrame) -> NDArray[np.float64]:
        """(n,) population-weighted utility of each answer, in-group favour left out."""
        return population_utility(self.read(answers["occupation"], answers["text"]), self.tastes)

    def training_scorer(self, answers: pd.DataFrame, rng: np.random.Generator) -> LexiconScorer:
        """A ruler learned from noisy human ratings of favourability: the one the penalty is trained on.

        Words that give a candidate's gender away are not shown to it, else it would learn the bias it should measure.
        """
        readings = self.read(answers["occupation"], answers["text"])
        ratings = np.array([reading.known_favourability for reading in readings]) + rng.normal(0, 0.5, len(readings))
        words = CountVectorizer(binary=True, stop_words=list(IDENTITY_WORDS), min_df=3, token_pattern=r"[a-z]+")
        model = Ridge(alpha=3.0).fit(words.fit_transform(answers["text"].str.lower()), ratings)
        weights = dict(zip(words.get_feature_names_out().tolist(), model.coef_.tolist(), strict=True))
        source = f"ridge regression of {len(readings)} noisy ratings on word presence"
        return LexiconScorer("learned favourability", weights, source, combine="sum", offset=float(model.intercept_))

    def planted_answers(self, prompts: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """Answers drawn from the grammar itself: a model whose gaps are known exactly."""
        by_name = {name.text: name for name in names()}
        texts = []
        for row in prompts.itertuples():
            prompt = Prompt("", by_name[str(row.name)], str(row.occupation), "", "")
            texts.append(answer(prompt, self.planted, BASE_SHARES, rng))
        return prompts.assign(text=texts)

    def truth(self) -> dict[str, dict[str, dict[str, float]]]:
        """What was planted, exactly: mean favourability by attribute and group, of corpus and demonstrations.

        ``kind word`` is what the population's average choice pays, in logits, for a kind word about each group.
        """
        return {
            "corpus": favourability_truth(self.planted),
            "demonstrations": favourability_truth(self.planted.scaled(DEMONSTRATION_BIAS)),
            "kind word": {"gender × ethnicity": favour_slopes(POPULATION, self.tastes)},
        }


def prompt_table(prompts: Sequence[Prompt]) -> pd.DataFrame:
    """Prompts as a table: prompt_id, prompt, name, gender, ethnicity, occupation, template, scenario."""
    return pd.DataFrame(
        {
            "prompt_id": [p.id for p in prompts],
            "prompt": [p.text for p in prompts],
            "name": [p.name.text for p in prompts],
            "gender": [p.name.gender for p in prompts],
            "ethnicity": [p.name.ethnicity for p in prompts],
            "occupation": [p.occupation for p in prompts],
            "template": [p.template for p in prompts],
            "scenario": [p.scenario for p in prompts],
        }
    )


def audit_prompts(split: Split = "held_out") -> pd.DataFrame:
    """The prompts of the shipped audit ``hiring``: every held-out name in every held-out template x 12 occupations."""
    rng = np.random.default_rng(0)
    return prompt_table(crossed_prompts(split, rng, occupations=HELD_OUT_OCCUPATIONS_PER_TEMPLATE))


def certifying_scorer() -> LexiconScorer:
    """The ruler that audits use and no training ever sees: the favourability of the world's phrases."""
    return LexiconScorer("favourability of a reference", dict(phrases()), "levels of the phrases, written by hand")

"""Whose prompt it is, as a config asks for it: columns, the prompt's words, the project's lexicons, or a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.probes.counterfactual_text_lexicon import ATTRIBUTES, Lexicon, load_lexicon
from rlhf_fair.settings import Settings
from rlhf_fair.training.fairness.groups import ColumnGroups, CrossedGroups, GroupSource, Labels, PatternGroups

if TYPE_CHECKING:
    from rlhf_fair.models.classifier import ClassifierScorer


class FromColumns(Settings):
    """Values of metadata columns; several make intersections."""

    kind: Literal["columns"]
    columns: tuple[str, ...] = Field(min_length=1)


class FromWords(Settings):
    """``words``: group -> whole words or phrases; ``patterns``: group -> regular expressions. One of the two."""

    kind: Literal["words"]
    words: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    patterns: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class FromLexicon(Settings):
    """``attribute``: one whose words come with the package, or a TOML file of one's own."""

    kind: Literal["lexicon"]
    attribute: str


class FromClassifier(Settings):
    """``model``: folder of a text classifier whose labels are groups; see `PredictedGroups`."""

    kind: Literal["classifier"]
    model: str
    minimum_probability: float = Field(0.5, ge=0, lt=1)
    ignored: tuple[str, ...] = ()


GroupSourceSettings = Annotated[FromColumns | FromWords | FromLexicon | FromClassifier, Field(discriminator="kind")]


def group_source(sources: Sequence[GroupSourceSettings], base: Path | None = None) -> GroupSource:
    """What the settings ask for, crossed where there are several; files are relative to ``base``."""
    if not sources:
        raise SettingsError("groups have no source; allowed: columns, words, lexicon, classifier")
    built = [_build(source, base or Path()) for source in sources]
    return built[0] if len(built) == 1 else CrossedGroups(built)


def _build(source: GroupSourceSettings, base: Path) -> GroupSource:
    if isinstance(source, FromColumns):
        return ColumnGroups(source.columns)
    if isinstance(source, FromWords):
        if bool(source.words) == bool(source.patterns):
            raise SettingsError("groups from words need either words or patterns: group -> list")
        return PatternGroups.of_words(source.words) if source.words else PatternGroups(source.patterns)
    if isinstance(source, FromLexicon):
        return LexiconGroups.load(source.attribute if source.attribute in ATTRIBUTES else base / source.attribute)
    folder = base / source.model
    options = {"minimum_probability": source.minimum_probability, "ignored": source.ignored}
    return PredictedGroups.load(folder if folder.is_dir() else source.model, **options)


class LexiconGroups:
    """The group of the only kind that the prompt's words speak of; unknown where they speak of none or of several."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon

    @classmethod
    def load(cls, attribute: str | Path) -> LexiconGroups:
        """A lexicon of counterfactual text: a shipped attribute, or a TOML file of one's own."""
        return cls(load_lexicon(attribute))

    def __call__(self, prompts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Labels:
        return [self._label(prompt) for prompt in prompts]

    def _label(self, prompt: str) -> str | None:
        sure = {group for m in self.lexicon.mentions(prompt) if len(m.groups) == 1 for group in m.groups}
        return next(iter(sure)) if len(sure) == 1 else None


class PredictedGroups:
    """The label that a text classifier finds most probable; unknown below ``minimum_probability``.

    ``ignored``: labels that are no group, such as "other"; a prompt that gets one is unknown. What is penalised is the
    gap between predicted groups: hold the classifier's accuracy by group beside it.
    """

    def __init__(
        self, classifier: ClassifierScorer, *, minimum_probability: float = 0.5, ignored: Sequence[str] = ()
    ) -> None:
        if not 0 <= minimum_probability < 1:
            raise SettingsError(f"minimum_probability = {minimum_probability}; allowed: from 0 up to, but not, 1")
        if foreign := sorted(set(ignored) - set(classifier.label_names)):
            raise SettingsError(f"ignored label {foreign[0]!r} is none of the classifier's {classifier.label_names}")
        self.classifier, self.minimum_probability, self.ignored = classifier, minimum_probability, frozenset(ignored)

    @classmethod
    def load(cls, directory: str | Path, **options: Any) -> PredictedGroups:
        """A sequence classifier with named labels; ``options`` as for the class."""
        from rlhf_fair.models.classifier import ClassifierScorer  # torch loads here, not with the settings
        from rlhf_fair.models.loading import load_pretrained

        loaded = load_pretrained("SequenceClassification", directory)
        if loaded.missing_weights:
            lacking = ", ".join(loaded.missing_weights)
            raise ModelLoadError(f"model {directory}: not a trained classifier of groups: lacks {lacking}")
        names = [str(name) for name in loaded.model.config.id2label.values()]
        scorer = ClassifierScorer(loaded.model, loaded.tokenizer, dict.fromkeys(names, 1.0), name=Path(directory).name)
        return cls(scorer, **options)

    def __call__(self, prompts: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> Labels:
        table = self.classifier.probabilities(prompts)
        probabilities = np.nan_to_num(table.to_numpy(), nan=-1.0)  # a blank prompt is nobody's
        best = probabilities.argmax(axis=1)
        sure = probabilities[np.arange(len(best)), best] >= self.minimum_probability
        names = [str(name) for name in table.columns]
        labels = [names[index] if known else None for index, known in zip(best, sure, strict=True)]
        return [None if label in self.ignored else label for label in labels]

"""The rulers that a plan names in ``[[scorers]]``: read, opened, and their digests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self

from pydantic import Field, model_validator

from rlhf_fair.artifacts import sha256_bytes, sha256_file, sorted_json
from rlhf_fair.errors import MissingFileError, SettingsError
from rlhf_fair.models.lexicon import LexiconScorer
from rlhf_fair.models.requests import ScoresQuality
from rlhf_fair.models.toxicity_terms import MILD_TERMS, ToxicTerms
from rlhf_fair.models.vader import VaderScorer, installed_files
from rlhf_fair.probes.generation_scores import ReadsLabels
from rlhf_fair.settings import Settings
from rlhf_fair.stats.no_change import Range

if TYPE_CHECKING:
    from rlhf_fair.models.classifier import ClassifierScorer

Kind = Literal["lexicon", "vader", "toxic terms", "classifier", "judge"]

KINDS: dict[Kind, str] = {
    "lexicon": "the mean value of listed phrases, from the JSON file beside the plan",
    "vader": "sentiment in [-1, 1] (Hutto & Gilbert 2014), from the installed lexicon or one of your own",
    "toxic terms": "the worst listed term, in [0, 1], from a list of your own or a short mild one",
    "classifier": "probabilities of any local or hub sequence classifier, weighted by the values of its labels",
    "judge": "a language model behind an endpoint rates each text from 1 to 5",
}

NEEDED: dict[Kind, tuple[str, ...]] = {
    "lexicon": ("file",),
    "vader": (),
    "toxic terms": (),
    "classifier": ("model", "values"),
    "judge": ("model", "endpoint", "question"),
}
OPTIONAL: dict[Kind, tuple[str, ...]] = {"vader": ("file",), "toxic terms": ("file",)}
OF_SOME_KINDS = ("file", "model", "endpoint", "question", "values")

UNITS: dict[Kind, str] = {"toxic terms": "points of severity", "judge": "rating points"}
"""Kind -> unit where a plan names none; else ``points``."""

JUDGED: Range = (1.0, 5.0)
"""A judge's ratings."""

JUDGE_KEY_VARIABLE = "RLHF_FAIR_JUDGE_KEY"
"""Where a judge's key is looked for. A variable of its own: the key of the audited server is not the judge's to read,
and a plan, which may come from elsewhere, cannot ask for another variable."""


class ScorerPlan(Settings):
    """One entry of ``[[scorers]]``: what is measured (``quantity``, the metric of its findings), and by what.

    * ``lexicon``: ``file``, the JSON of `LexiconScorer` beside the plan.
    * ``vader``: sentiment in [-1, 1]; ``file``: a lexicon of one's own in VADER's format, else the installed one.
    * ``toxic terms``: the worst listed term, in [0, 1]; ``file``: a list of one's own, else a short mild one.
    * ``classifier``: ``model`` (a folder, relative to the plan or as it stands, ``package:NAME`` or a hub id) and
      ``values``, label -> number: the score is the sum of value × probability.
    * ``judge``: a ``model`` behind ``endpoint`` rates each text from 1 to 5 by the ``question``; its key, if it needs
      one, is in ``$RLHF_FAIR_JUDGE_KEY``.
    """

    quantity: str = Field(pattern=r"^[A-Za-z][\w -]*$")
    kind: Kind
    file: str = ""
    model: str = ""
    endpoint: str = ""
    question: str = ""
    values: dict[str, float] = Field(default_factory=dict)
    unit: str = ""

    @property
    def name(self) -> str:
        """What tells the ruler from others: its list's or model's name, or its kind."""
        if self.model:
            return f"judge {self.model}" if self.kind == "judge" else last_part(self.model)
        return Path(self.file).stem if self.file else self.kind

    @model_validator(mode="before")
    @classmethod
    def _has_a_unit(cls, content: object) -> object:
        if isinstance(content, dict) and not content.get("unit"):
            # compared, not looked up: whatever a file gives as kind need not be hashable
            unit = next((unit for kind, unit in UNITS.items() if kind == content.get("kind")), "points")
            return content | {"unit": unit}
        return content

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        needed, optional = NEEDED[self.kind], OPTIONAL.get(self.kind, ())
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"kind {self.kind!r} needs {missing[0]}")
        allowed = (*needed, *optional)
        if odd := [name for name in OF_SOME_KINDS if getattr(self, name) and name not in allowed]:
            raise ValueError(f"kind {self.kind!r} has no {odd[0]}; allowed: {', '.join(allowed) or 'none of these'}")
        return self


class Ruler(ScoresQuality, Protocol):
    """A scorer that knows the lowest and the highest score it can give, infinite where there is none."""

    @property
    def bounds(self) -> tuple[float, float]: ...


def open_scorer(plan: ScorerPlan, folder: Path, *, journal: Path | None = None) -> Ruler:
    """The scorer of one entry. ``folder``: the plan's. ``journal``: keeps a judge's ratings, see `Endpoint`."""
    own = folder / plan.file
    if plan.kind == "lexicon":
        return LexiconScorer.load(own)
    if plan.kind == "vader":
        return VaderScorer.from_lexicon(own, installed_files()[1]) if plan.file else VaderScorer.installed()
    if plan.kind == "toxic terms":
        return ToxicTerms.load(own) if plan.file else ToxicTerms()
    if plan.kind == "classifier":
        return _classifier(plan, folder)
    return _judge(plan, journal)


def score_range(plan: ScorerPlan, folder: Path = Path()) -> Range:
    """The lowest and the highest score, without opening a model; infinite where only the scorer itself could tell.

    Of a classifier the widest that its values allow, whether its labels exclude each other or not.
    """
    if plan.kind == "lexicon":
        own = folder / plan.file
        return LexiconScorer.load(own).bounds if own.is_file() else (-math.inf, math.inf)
    values = plan.values.values()
    return {
        "vader": VaderScorer.bounds,
        "toxic terms": ToxicTerms.bounds,
        "classifier": (sum(min(v, 0.0) for v in values), sum(max(v, 0.0) for v in values)),
        "judge": JUDGED,
    }[plan.kind]


def open_classifier(plan: ScorerPlan, folder: Path) -> ReadsLabels:
    """The classifier of one entry, for the probabilities of its labels; ``values`` plays no part in those."""
    if plan.kind != "classifier":
        raise SettingsError(f"scorer for {plan.quantity!r}: kind = {plan.kind!r} gives no labels; allowed: classifier")
    return _classifier(plan, folder)


def judge_failures(scorer: Ruler) -> Counter[str]:
    """How many texts a judge has not rated for each reason, as far as its server is the reason; else none."""
    failures = getattr(getattr(scorer, "judge", None), "failure_counts", {})
    return Counter({f"judge: {reason}": int(n) for reason, n in failures.items()})


def scorer_inputs(plan: ScorerPlan, folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of what the scorer is made of, for the manifest."""
    start = f"scorer/{plan.quantity}"
    if plan.kind == "judge":
        asked = [plan.endpoint, plan.model, plan.question]
        return {f"{start}/{plan.name}": sha256_bytes(sorted_json(asked))}
    if plan.kind == "classifier":
        from rlhf_fair.models.cache import model_digest
        from rlhf_fair.models.loading import resolve

        return {f"{start}/{plan.name}": model_digest(resolve(plan.model, folder))}
    if plan.kind == "toxic terms" and not plan.file:
        return {f"{start}/{plan.name}": sha256_bytes(sorted_json(dict(MILD_TERMS)))}
    return {f"{start}/{file.name}": sha256_file(file) for file in _files(plan, folder)}


def _files(plan: ScorerPlan, folder: Path) -> Sequence[Path]:
    own = [folder / plan.file] if plan.file else []
    installed = installed_files() if plan.kind == "vader" else ()
    files = [*own, *installed[len(own) :]]  # of one's own lexicon the installed emoji stay
    for file in files:
        if not file.is_file():
            raise MissingFileError(file, f"scorer for {plan.quantity!r}")
    return files


def _classifier(plan: ScorerPlan, folder: Path) -> ClassifierScorer:
    from rlhf_fair.models.classifier import ClassifierScorer
    from rlhf_fair.models.loading import resolve

    return ClassifierScorer.load(resolve(plan.model, folder), plan.values, name=plan.name)


def _judge(plan: ScorerPlan, journal: Path | None) -> Ruler:
    from rlhf_fair.models.endpoint import Endpoint
    from rlhf_fair.models.endpoint_settings import EndpointSettings
    from rlhf_fair.models.judge import JudgeScorer

    settings = EndpointSettings(key_variable=JUDGE_KEY_VARIABLE, key_required=False)
    endpoint = Endpoint(plan.endpoint, plan.model, settings, journal=journal)
    return JudgeScorer(endpoint, plan.question, name=plan.name)


def last_part(model: str) -> str:
    """The folder's, package's or model's own name, without what leads there."""
    return model.rstrip("/").rpartition("/")[2].removeprefix("package:")

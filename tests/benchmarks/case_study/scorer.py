"""The scorer that the penalty trains on: how glad or ugly words are, from people's labels of dialogue and web text.

A ridge regression of the tone of 15,000 dialogue turns (DailyDialog's emotions: happiness 1; anger, disgust, fear and
sadness -1; none and surprise 0) and of web text (less its toxicity) on the presence of words. It shares nothing with
the scorers that certify: VADER's words were rated by other people, and the regard model learns from other sentences.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import Ridge

from rlhf_fair.models.lexicon import LexiconScorer

TONES = {"0": 0.0, "1": -1.0, "2": -1.0, "3": -1.0, "4": 1.0, "5": -1.0, "6": 0.0}
_OWN_WORDS = (
    "christian christians christianity muslim muslims islam islamic jew jews jewish judaism he she him her his hers "
    "himself herself man men woman women boy boys girl girls guy guys lady ladies mother mom father dad son daughter "
    "husband wife brother sister gal bro sista grandma grandpa grandmother grandfather"
)
IDENTITY = _OWN_WORDS.split()
"""Words that give the group away are not shown to the scorer, else it would learn the bias that it should measure."""


def turns_with_tone(data: Path) -> tuple[list[str], np.ndarray]:
    """Every turn of DailyDialog's test and validation parts with the tone of its emotion."""
    texts, tones = [], []
    for part in ("test", "validation"):
        folder = data / "text" / "dailydialog"
        said = (folder / f"dialogues_{part}.txt").read_text("utf-8").splitlines()
        felt = (folder / f"dialogues_emotion_{part}.txt").read_text("utf-8").splitlines()
        for line, codes in zip(said, felt, strict=True):
            turns = [turn.strip() for turn in line.split("__eou__") if turn.strip()]
            if len(turns) == len(codes.split()):
                texts += turns
                tones += [TONES[code] for code in codes.split()]
    return texts, np.array(tones)


def web_with_tone(data: Path) -> tuple[list[str], np.ndarray]:
    """Continuations of RealToxicityPrompts with less their toxicity."""
    with gzip.open(data / "real-toxicity-prompts" / "val.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line)["continuation"] for line in lines]
    rows = [row for row in rows if row["toxicity"] is not None]
    return [row["text"] for row in rows], -np.array([row["toxicity"] for row in rows])


def train(data: Path) -> LexiconScorer:
    """The scorer: an intercept and a weight for every word seen ten times."""
    parts = [turns_with_tone(data), web_with_tone(data)]
    texts = [text for part, _ in parts for text in part]
    tone = np.concatenate([tones - tones.mean() for _, tones in parts])
    words = CountVectorizer(binary=True, stop_words=IDENTITY, min_df=10, token_pattern=r"[a-z]+")
    model = Ridge(alpha=10.0).fit(words.fit_transform(t.lower() for t in texts), tone)
    weights = dict(zip(words.get_feature_names_out().tolist(), model.coef_.tolist(), strict=True))
    source = f"ridge regression of the tone of {len(texts)} labelled texts on word presence"
    return LexiconScorer("learned tone", weights, source, combine="sum", offset=float(model.intercept_))

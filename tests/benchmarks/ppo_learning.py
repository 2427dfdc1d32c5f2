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
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers

WORDS, WANTED, PROMPT, RESPONSE = 128, 16, 8, 24
BATCH, EPOCHS, STEPS = 64, 4, 60
KEPT = (2, 4, 7, 10, 20, 30, 40, 50, 60)
"""Steps after which weights are kept; closer where the divergence grows faster."""
KL_COEF = 0.01
SHARED = {"kl_coef": KL_COEF, "learning_rate": 4e-4, "gamma": 1.0}
TASK_SEED, HELD_OUT = 100, 256
MARGIN, DIVERGENCES = 0.03, (1.0, 2.0, 4.0)
PEER, OURS, APART = "TRL 1.12", "ours", "ours, critic apart"
ARMS = {OURS: "ours", PEER: "peer", APART: "apart"}


# ------------------------------------------------------------------------------------------------------------ the task
def walk(transitions: np.ndarray, n: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """(n, length) words. transitions: (words, words), each row adds to 1."""
    cumulative = transitions.cumsum(1)
    words = [rng.integers(0, WORDS, n)]
    for _ in range(length - 1):
        drawn = (rng.random((n, 1)) > cumulative[words[-1]]).sum(1)
        words.append(np.minimum(drawn, WORDS - 1))
    return np.stack(words, 1)


def chain() -> np.ndarray:
    """(words, words) probabilities of the next word; each row adds to 1."""
    transitions = np.exp(1.5 * np.random.default_rng([TASK_SEED, 17]).standard_normal((WORDS, WORDS)))
    return np.asarray(transitions / transitions.sum(1, keepdims=True))


def prompts(seed: int, n: int) -> np.ndarray:
    """(n, PROMPT) beginnings of walks; other seeds, other prompts."""
    return walk(chain(), n, PROMPT, np.random.default_rng([seed, 19]))


def make_task(folder: Path, teaching_steps: int = 250) -> None:
    """Leave the start of policy and critic in ``folder``."""
    rng, transitions = np.random.default_rng([TASK_SEED, 18]), chain()
    torch.manual_seed(TASK_SEED)
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    shape = {"vocab_size": WORDS, "n_positions": PROMPT + RESPONSE, "n_embd": 64, "n_layer": 2, "n_head": 4}
    config = transformers.GPT2Config(**shape, **ids, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, num_labels=1)
    policy = transformers.GPT2LMHeadModel(config)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(teaching_steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / teaching_steps)
        text = torch.from_numpy(walk(transitions, 64, PROMPT + RESPONSE, rng))
        optimizer.zero_grad()
        policy(input_ids=text, labels=text).loss.backward()
        optimizer.step()
    policy.save_pretrained(folder / "start")
    critic = transformers.GPT2ForSequenceClassification(config)
    critic.transformer.load_state_dict(policy.transformer.state_dict())
    torch.nn.init.zeros_(critic.score.weight)
    critic.save_pretrained(folder / "critic")


def tokenizer() -> Any:
    """Words by their numbers; padding and end lie outside of what the policy can say, so no answer ends early."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    numbers = {f"t{number}": number for number in range(WORDS)} | {"pad": WORDS, "end": WORDS + 1}
    words = Tokenizer(models.WordLevel(numbers, unk_token="pad"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="pad", eos_token="end", padding_side="left"
    )


def keep(folder: Path, step: int, policy: Any) -> None:
    if step in KEPT:
        torch.save(policy.state_dict(), folder / f"{step}.pt")


def finish(folder: Path, began: float, rows: list[dict[str, float]]) -> None:
    """rows: reward and KL divergence of each step as the trainer itself logs them. began: CPU seconds."""
    (folder / "log.json").write_text(json.dumps({"cpu": time.process_time() - began, "rows": rows}))


# -------------------------------------------------------------------------------------------------------- this project
def our_trainer(task: Path, seed: int, critic_apart: bool) -> Any:
    from ppo_speed import NeverEnds

    from rlhf_fair.training.ppo.critic import RewardCritic
    from rlhf_fair.training.ppo.policy import ValueHead
    from rlhf_fair.training.ppo.trainer import PPOSettings, PPOTrainer

    wanted = {f"t{number}" for number in range(WANTED)}
    critic = None
    if critic_apart:
        theirs = transformers.GPT2ForSequenceClassification.from_pretrained(task / "critic")
        critic = RewardCritic(theirs.transformer, ValueHead(theirs.config.n_embd))
        critic.head.linear.bias.requires_grad_(False)  # their score has none
    return PPOTrainer(
        transformers.GPT2LMHeadModel.from_pretrained(task / "start"),
        NeverEnds(tokenizer()),
        lambda prompts, answers, **_: np.array([np.mean([word in wanted for word in a.split()]) for a in answers]),
        PPOSettings(
            steps=STEPS,
            batch_size=BATCH,
            minibatch_size=BATCH,
            epochs=EPOCHS,
            max_new_tokens=RESPONSE,
            missing_eos_penalty=0.0,
            gae_lambda=0.95,
            clip_range=0.2,
            value_clip_range=0.2,
            value_coef=0.1,
            max_grad_norm=float("inf"),
            device="cpu",
            **SHARED,
        ),
        seed=seed,
        critic=critic,
    )


def run_ours(task: Path, out: Path, seed: int, critic_apart: bool) -> None:
    from rlhf_fair.training.ppo.trainer import PromptBatch

    began = time.process_time()
    trainer, texts = our_trainer(task, seed, critic_apart), tokenizer().batch_decode(prompts(seed, STEPS * BATCH))
    trainer.train(
        lambda step: PromptBatch(texts[step * BATCH : (step + 1) * BATCH], {}),
        on_step=lambda row: keep(out, int(row["step"]), trainer.policy.language_model),
    )
    finish(out, began, [{"reward": row["reward"], "kl": row["kl"]} for row in trainer.curve])


# ----------------------------------------------------------------------------------------------------------------- TRL
class WantedShare(torch.nn.Module):
    """Stands where TRL wants a reward model: at each token the share of wanted words in the answer so far."""

    base_model_prefix = "counter"

    def __init__(self) -> None:
        super().__init__()
        self.counter = self._share
        self.config = None

    def _share(self, input_ids: Any, **_: Any) -> Any:
        wanted = (input_ids < WANTED).float()[:, PROMPT:].cumsum(-1)
        share = wanted / torch.arange(1, wanted.shape[1] + 1)
        whole = torch.cat([torch.zeros(len(input_ids), PROMPT), share], dim=1)
        return transformers.modeling_outputs.BaseModelOutput(hidden_states=(whole[..., None],))

    def score(self, hidden: Any) -> Any:
        return hidden


def run_peer(task: Path, out: Path, seed: int) -> None:
    import warnings

    import datasets
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    began = time.process_time()

    class Keeper(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            keep(out, state.global_step, trainer.policy_model)
            if state.global_step == 1:
                torch.save({"text": sampled[0], "policy": trainer.policy_model.state_dict()}, out / "first.pt")

    sampled: list[torch.Tensor] = []
    generate = ppo_trainer.batch_generation

    def heard(*args: Any) -> Any:
        text, logits = generate(*args)
        sampled.append(text)
        return text, logits

    ppo_trainer.batch_generation = heard
    config = PPOConfig(
        output_dir=str(out / "trl"),
        total_episodes=STEPS * BATCH,
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        num_ppo_epochs=EPOCHS,
        local_rollout_forward_batch_size=BATCH,
        response_length=RESPONSE,
        temperature=1.0,
        kl_estimator="k1",
        lam=0.95,
        cliprange=0.2,
        cliprange_value=0.2,
        vf_coef=0.1,
        whiten_rewards=False,
        lr_scheduler_type="linear",
        adam_epsilon=1e-5,
        weight_decay=0.0,
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
        seed=seed,
        **SHARED,
    )
    trainer = PPOTrainer(
        args=config,
        processing_class=tokenizer(),
        model=transformers.GPT2LMHeadModel.from_pretrained(task / "start"),
        ref_model=transformers.GPT2LMHeadModel.from_pretrained(task / "start"),
        reward_model=WantedShare(),
        value_model=transformers.GPT2ForSequenceClassification.from_pretrained(task / "critic"),
        train_dataset=datasets.Dataset.from_dict({"input_ids": prompts(seed, STEPS * BATCH).tolist()}),
        callbacks=[Keeper()],
    )
    logged: list[dict[str, float]] = []
    trainer.log = logged.append  # the numbers, without printing
    trainer.train()
    finish(out, began, [{"reward": row["objective/scores"], "kl": row["objective/kl"]} for row in logged])


# ------------------------------------------------------------------------------------------------- the same answers
def same_answers(task: Path, theirs: Path, seed: int) -> None:
    """Hand ours the answers of TRL's first step, and print how far the policies lie apart after that step.

    With the same answers and critics nothing of the step is left to chance: one minibatch has no order. What remains
    are rounding and n against n - 1 in the standard deviation of the advantages.
    """
    from unittest import mock

    from rlhf_fair.models.token_sampling import SampledTokens
    from rlhf_fair.training.ppo.policy import reference_logprobs
    from rlhf_fair.training.ppo.trainer import PromptBatch

    first = torch.load(theirs / "first.pt")
    text, answers = first["text"], first["text"][:, PROMPT:]
    everything = torch.ones_like(text, dtype=torch.bool)

    def as_theirs(model: Any, *_: Any, **__: Any) -> SampledTokens:
        logprobs = reference_logprobs(model, text, everything, answers, 1.0)
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
        policy.load_state_dict(torch.load(kept / f"{step}.pt"))
        rows.append({"step": step, **measure(policy, start, questions, seed)})
    return rows


# -------------------------------------------------------------------------------------------------------- side by side
def child(python: str, arguments: list[str]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run([python, __file__, *arguments], capture_output=True, text=True, env=environment, check=False)
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
        child(python, ["--child", kind, "--work", str(work), "--seeds", str(n_seeds), "--out", str(out)])
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


def run_child(kind: str, work: Path, n_seeds: int) -> None:
    for seed in range(n_seeds):
        kept = work / f"{kind}-{seed}"
        if not (kept / "log.json").exists():
            kept.mkdir(parents=True, exist_ok=True)
            RUNS[kind](work, kept, seed)


RUNS = {
    "ours": lambda task, out, seed: run_ours(task, out, seed, critic_apart=False),
    "apart": lambda task, out, seed: run_ours(task, out, seed, critic_apart=True),
    "peer": run_peer,
}


# -------------------------------------------------------------------------------------------------------------- tables
def at_divergence(run: pd.DataFrame, kl: float) -> float:
    """Reward where a run first is ``kl`` nats from its start, on straight lines between measurements; NaN if never."""
    reward, found = run.sort_values("step")["reward"].to_numpy(), run.sort_values("step")["kl"].to_numpy()
    beyond = np.flatnonzero(found >= kl)
    if not len(beyond):
        return float("nan")
    i = int(beyond[0])
    share = (kl - found[i - 1]) / (found[i] - found[i - 1])
    return float(reward[i - 1] + share * (reward[i] - reward[i - 1]))


def figures(rows: pd.DataFrame) -> pd.DataFrame:
    """(arm, seed) x figure: rewards at equal divergence, and what stands at chosen steps."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for (arm, seed), run in rows.groupby(["arm", "seed"]):
        one = {f"reward at {kl:g} nats": at_divergence(run, kl) for kl in DIVERGENCES}
        by_step = run.set_index("step")
        for step in (STEPS // 2, STEPS):
            one |= {f"{name}, step {step}": by_step.loc[step, name] for name in ("reward", "kl", "entropy")}
            one[f"objective, step {step}"] = by_step.loc[step, "reward"] - KL_COEF * by_step.loc[step, "kl"]
        found[arm, seed] = one
    return pd.DataFrame(found).T.rename_axis(["arm", "seed"])


def difference(values: pd.Series) -> str:
    """Mean and 90 % t interval of differences paired by seed, in whose place a run that is missing leaves a gap."""
    from scipy.stats import t as student

    known = values.dropna()
    if len(known) < 2:
        return f"{known.mean():+.4f} ({len(known)} pairs)"
    half = student.ppf(0.95, len(known) - 1) * known.std() / np.sqrt(len(known))
    inside = max(abs(known.mean() - half), abs(known.mean() + half)) < MARGIN
    note = "within" if inside else "not shown to be within"
    return f"{known.mean():+.4f} [{known.mean() - half:+.4f}, {known.mean() + half:+.4f}] {note}"


def tables(out: Path) -> None:
    """Print what rows.csv holds and draw it."""
    rows = pd.read_csv(out / "rows.csv")
    found = figures(rows)
    arms = [arm for arm in (PEER, OURS, APART) if arm in found.index]
    print("| | " + " | ".join([*arms, *(f"{arm} less {PEER}" for arm in arms if arm != PEER)]) + " |")
    print("|---" * (2 * len(arms)) + "|")
    for name in found:
        cells = [
            f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f}; {values.count()})"
            for values in (found.loc[arm, name] for arm in arms)
        ]
        for arm in arms:
            if arm != PEER:
                apart = found.loc[arm, name] - found.loc[PEER, name]
                in_reward = name.startswith(("reward", "objective"))
                cells.append(difference(apart) if in_reward else f"{apart.mean():+.3f}")
        print(f"| {name} | " + " | ".join(cells) + " |")
    draw(rows, arms, out / "curves.png")


def draw(rows: pd.DataFrame, arms: list[str], file: Path) -> None:
    """Reward and divergence over steps and reward over divergence; thin lines are runs, thick ones their mean."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, places = plt.subplots(1, 3, figsize=(11, 3.6), dpi=90, layout="constrained")
    panels = [
        ("step", "reward", "step", "share of wanted words"),
        ("step", "kl", "step", "KL to the start, nats per answer"),
        ("kl", "reward", "KL to the start, nats per answer", "share of wanted words"),
    ]
    for place, (x, y, x_name, y_name) in zip(places, panels, strict=True):
        for arm, color, dash in zip(arms, ("#D55E00", "#0072B2", "#009E73"), ("-", "--", ":"), strict=False):
            of_arm = rows[rows["arm"] == arm]
            for _, run in of_arm.groupby("seed"):
                place.plot(run[x], run[y], color=color, lw=0.6, alpha=0.5)
            mean = of_arm.groupby("step", as_index=False)[["kl", "reward"]].mean()
            place.plot(mean[x], mean[y], color=color, ls=dash, lw=2, label=arm)
        place.set_xlabel(x_name)
        place.set_ylabel(y_name)
    places[0].legend(frameon=False)
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="interpreter of a venv with trl==1.12.0; without it, only tables")
    parser.add_argument("--out", type=Path, required=True, help="folder of rows.csv, training.csv and curves.png")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for weights; a run found there is not run again")
    parser.add_argument("--child", choices=list(RUNS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return run_child(options.child, options.work, options.seeds)
    if options.peer_python:
        with tempfile.TemporaryDirectory() as name:
            run_all(options.peer_python, options.seeds, options.work or Path(name), options.out)
    return tables(options.out)


if __name__ == "__main__":
    main()

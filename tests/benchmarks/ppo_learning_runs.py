"""The task of ``ppo_learning.py`` and the trainings that take part in it, each run by an interpreter of its own.

What is imported above the functions exists in the environment of either side.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

WORDS, WANTED, PROMPT, RESPONSE = 128, 16, 8, 24
BATCH, EPOCHS, STEPS = 64, 4, 60
KEPT = (2, 4, 7, 10, 20, 30, 40, 50, 60)
"""Steps after which weights are kept; closer where the divergence grows faster."""
KL_COEF = 0.01
SHARED = {"kl_coef": KL_COEF, "learning_rate": 4e-4, "gamma": 1.0}
TASK_SEED = 100


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
def run_peer(task: Path, out: Path, seed: int) -> None:
    import warnings

    import datasets
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer
    from trl_counter import CountedShare

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
        reward_model=CountedShare(lambda ids: ids < WANTED, PROMPT),
        value_model=transformers.GPT2ForSequenceClassification.from_pretrained(task / "critic"),
        train_dataset=datasets.Dataset.from_dict({"input_ids": prompts(seed, STEPS * BATCH).tolist()}),
        callbacks=[Keeper()],
    )
    logged: list[dict[str, float]] = []
    trainer.log = logged.append  # the numbers, without printing
    trainer.train()
    finish(out, began, [{"reward": row["objective/scores"], "kl": row["objective/kl"]} for row in logged])


# ------------------------------------------------------------------------------------------------------------ children
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=list(RUNS))
    parser.add_argument("--work", type=Path, required=True, help="folder with the task; a run found there is skipped")
    parser.add_argument("--seeds", type=int, required=True)
    options = parser.parse_args()
    run_child(options.kind, options.work, options.seeds)


if __name__ == "__main__":
    main()

"""Direct preference optimisation on pairs in which the groups are balanced, through TRL (Rafailov et al. 2023).

``balanced``: the same number of pairs for every group of candidates. ``counterfactual``: every pair for every group's
twin, so that the groups have the very same preferences. At equal size the second has fewer distinct pairs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch

from rlhf_fair.errors import RowError, SettingsError
from rlhf_fair.mitigations.kit import Kit
from rlhf_fair.mitigations.settings import DPO
from rlhf_fair.mitigations.twins import Roster
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.tables import write_table


def decided_pairs(items: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """The pairs on which the panel is not split evenly: group, prompt, chosen, rejected."""
    first = items["p_a"] > 0.5
    rows = pd.DataFrame(
        {
            "group": groups.to_numpy(),
            "prompt": items["prompt"].to_numpy(),
            "chosen": items["response_a"].where(first, items["response_b"]).to_numpy(),
            "rejected": items["response_b"].where(first, items["response_a"]).to_numpy(),
        }
    )
    decided = ((items["p_a"] != 0.5) & (items["response_a"] != items["response_b"])).to_numpy()
    if not decided.any():
        raise RowError(f"preference pairs: none of {len(items)} is decided between two different answers")
    return rows[decided].reset_index(drop=True)


def balanced_pairs(pairs: pd.DataFrame, most: int, rng: np.random.Generator) -> pd.DataFrame:
    """As many pairs of every group as the smallest has, at most ``most`` in all, drawn without replacement."""
    by_group = {str(group): np.flatnonzero(pairs["group"] == group) for group in sorted(pairs["group"].unique())}
    smallest = min(len(rows) for rows in by_group.values())
    each = min(smallest, max(most // len(by_group), 1))
    kept = np.concatenate([rng.permutation(rows)[:each] for rows in by_group.values()])
    return pairs.iloc[np.sort(kept)].reset_index(drop=True)


def counterfactual_pairs(pairs: pd.DataFrame, roster: Roster, most: int, rng: np.random.Generator) -> pd.DataFrame:
    """Pairs drawn at random, each for every group's twin; at most ``most`` rows in all, at least one pair."""
    drawn = rng.permutation(len(pairs))[: max(most // len(roster.groups), 1)]
    rows = []
    for row in pairs.iloc[np.sort(drawn)].itertuples():
        for group in roster.groups:
            twin = roster.twin(str(row.prompt), [str(row.chosen), str(row.rejected)], group, rng)
            chosen, rejected = twin.answers
            rows.append({"group": group, "prompt": twin.prompt, "chosen": chosen, "rejected": rejected})
    return pd.DataFrame(rows)


def balanced(kit: Kit, out: Path) -> None:
    """DPO on `balanced_pairs`."""
    pairs = decided_pairs(kit.items, kit.groups(kit.items))
    _optimise(kit, out, balanced_pairs(pairs, kit.settings.dpo.pairs, kit.rng(6)), "dpo-balanced")


def counterfactual(kit: Kit, out: Path) -> None:
    """DPO on `counterfactual_pairs`."""
    pairs = decided_pairs(kit.items, kit.groups(kit.items))
    twins = counterfactual_pairs(pairs, kit.roster, kit.settings.dpo.pairs, kit.rng(7))
    _optimise(kit, out, twins, "dpo-counterfactual")


def need_trl() -> None:
    """Raise where TRL is not installed."""
    if find_spec("trl") is None:
        raise SettingsError("DPO needs TRL, which is not installed: pip install 'rlhf-fair[trl]', or leave out dpo-*")


def _optimise(kit: Kit, out: Path, pairs: pd.DataFrame, name: str) -> None:
    need_trl()
    from transformers import PrinterCallback

    lm = CausalLM.load(kit.made.sft)
    with _quiet_libraries(), TemporaryDirectory() as folder:
        trl, datasets = _trl_and_datasets()
        trainer = trl.DPOTrainer(
            model=lm.model,
            args=trl.DPOConfig(output_dir=folder, seed=kit.seed, **_options(kit.settings.dpo)),
            train_dataset=datasets.Dataset.from_list(pairs[["prompt", "chosen", "rejected"]].to_dict("records")),
            processing_class=lm.tokenizer,
            callbacks=[_listener(kit, name)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    lm.model.eval()
    lm.model.save_pretrained(out)
    lm.tokenizer.save_pretrained(out)
    write_table(out / "pairs.parquet", pairs)


def _options(s: DPO) -> dict[str, Any]:
    """Our settings in TRL's words; what it would do by itself on a GPU, or write, or print, is switched off."""
    return {
        "beta": s.beta,
        "learning_rate": s.learning_rate,
        "per_device_train_batch_size": s.batch_size,
        "num_train_epochs": s.epochs,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "max_length": None,
        "bf16": False,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _listener(kit: Kit, name: str) -> Any:
    """Tells the progress bar."""
    from transformers import TrainerCallback

    class Heard(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            kit.progress(f"{name}, seed {kit.seed}", state.global_step, state.max_steps)

    return Heard()


def _trl_and_datasets() -> tuple[Any, Any]:
    """The two modules, by name since they are an extra and bring no types."""
    return import_module("trl"), import_module("datasets")


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Without the bars and warnings of TRL and what it stands on, and with torch's random state as it was."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        datasets = _trl_and_datasets()[1]
        shown = datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            yield
        finally:
            if not shown:
                datasets.enable_progress_bars()

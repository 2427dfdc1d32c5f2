"""rlhf-fair: audit a model's bias, fine-tune it under a fairness constraint, report it verifiably.

`PUBLIC` lists every public name by the job it is for; other modules may change between versions. Names are loaded on
first use, so that importing the package loads neither torch nor pandas; ``__init__.pyi`` tells type checkers the same.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

PUBLIC: dict[str, dict[str, tuple[str, ...]]] = {
    "measure": {  # a disparity in one's own numbers, with its interval
        "metrics.bias_audit": ("bias_audit",),
        "metrics.classification": ("demographic_parity", "equal_opportunity", "equalized_odds", "predictive_parity"),
        "metrics.counterfactual": ("individual_change", "mean_change"),
        "metrics.frame": ("GroupMetrics", "group_metrics"),
        "metrics.impact_ratio": ("scoring_rates", "selection_rates"),
        "metrics.preference": ("preference_quality", "win_rates"),
        "metrics.rates": ("RowMetric",),
        "metrics.subgroup_auc": ("bias_aucs", "subgroup_aucs"),
        "records": ("Estimate",),
        "stats.agreement": ("krippendorff_alpha",),
        "stats.bounds": ("gap_bounds",),
        "stats.contrasts": ("contrast_estimate", "mean_estimate"),
        "stats.corrections": ("benjamini_hochberg", "holm"),
        "stats.equivalence": ("tost",),
        "stats.intervals": ("newcombe", "wilson"),
        "stats.power": ("ClusterDesign", "sample_size_for_gap"),
        "stats.simultaneous": ("all_pairs", "versus_reference"),
    },
    "audit": {  # a model, a reward model, feedback or a file of predictions
        "artifacts": ("read_results",),
        "audit.compare": ("compare_audits",),
        "audit.plan": ("find_plan",),
        "audit.run": ("run_audit",),
        "audit.target": ("Access", "Target"),
        "records": ("Finding", "Results", "Verdict", "exit_code"),
    },
    "feedback": {  # who is asked, and what is made of the answers
        "annotators.aggregation_rules": ("RuleInputs", "aggregate"),
        "annotators.agreement": ("agreement_table",),
        "annotators.allocation": ("RaterDesign", "panel_size_for_gap"),
        "annotators.assignment": ("assign",),
        "annotators.exchange.formats": ("export_feedback", "import_feedback"),
        "annotators.panel": ("PanelPlan", "plan_panel"),
        "annotators.population": ("Population",),
        "annotators.quality": ("check_quality",),
        "annotators.simulation_feedback": ("simulate_feedback",),
        "annotators.simulation_model": ("AnnotatorModel",),
        "annotators.weights": ("PanelWeights", "Weighting", "weigh_panel"),
    },
    "train": {  # so that the gap closes and quality stays
        "audit_callback": ("AuditCallback", "AuditDuringTraining"),
        "backends.trl_reward": ("FairReward",),
        "training.fairness": ("FairnessSettings", "FairnessShaper", "MultiplierSettings", "Shaped"),
        "training.ppo.features.contextual": ("DeciderSettings", "DecisionFairness", "train_decider"),
        "training.ppo.job.run": ("train_ppo",),
        "training.reward.job": ("train_reward",),
        "training.sft_job": ("train_sft",),
    },
    "report": {  # and let others verify
        "artifacts": ("verify_manifest",),
        "attestation.sealing": ("seal",),
        "exchange.folder": ("export_folder",),
        "integrity.checks": ("Verification",),
        "integrity.verify": ("examine_folder", "verify_folder"),
        "report": ("write_report",),
        "report.rendering": ("Rendering",),
    },
    "errors": {  # all that is raised on purpose
        "errors": (
            "ColumnError",
            "EndpointError",
            "InfeasibleError",
            "IntegrityError",
            "InterruptedRunError",
            "MissingFileError",
            "ModelLoadError",
            "OutputError",
            "RlhfFairError",
            "RowError",
            "SettingsError",
        ),
    },
}
"""Job -> module below ``rlhf_fair`` -> its public names."""

_HOME = {
    name: f"rlhf_fair.{module}" for modules in PUBLIC.values() for module, names in modules.items() for name in names
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rlhf_fair' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

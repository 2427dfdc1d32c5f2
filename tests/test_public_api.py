"""The public names: the committed list, and what is promised of each.

To add or take away a name, change `rlhf_fair.PUBLIC`, ``__init__.pyi`` and `NAMES` below: three places, so that nobody
does it by accident.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlhf_fair

LIST = """
    Access AnnotatorModel AuditCallback AuditDuringTraining ClusterDesign ColumnError DeciderSettings DecisionFairness
    EndpointError Estimate FairReward FairnessSettings FairnessShaper Finding GroupMetrics InfeasibleError
    IntegrityError InterruptedRunError MissingFileError ModelLoadError MultiplierSettings OutputError PanelPlan
    PanelWeights Population RaterDesign Rendering Results RlhfFairError RowError RowMetric RuleInputs SettingsError
    Shaped Target Verdict Verification Weighting
    aggregate agreement_table all_pairs assign benjamini_hochberg bias_aucs bias_audit check_quality compare_audits
    contrast_estimate demographic_parity equal_opportunity equalized_odds examine_folder exit_code export_feedback
    export_folder find_plan gap_bounds group_metrics holm import_feedback individual_change krippendorff_alpha
    mean_change mean_estimate newcombe panel_size_for_gap plan_panel predictive_parity preference_quality read_results
    run_audit sample_size_for_gap scoring_rates seal selection_rates simulate_feedback subgroup_aucs tost train_decider
    train_ppo train_reward train_sft verify_folder verify_manifest versus_reference weigh_panel wilson win_rates
    write_report
"""
NAMES = LIST.split()
FUNCTIONS = [name for name in NAMES if name[0].islower()]
SHAPE = re.compile(r"\(n,\)")
ELSEWHERE = re.compile(r"\bas in\s+`(\w+)`")


def documented(name: str) -> str:
    text: str = inspect.getdoc(getattr(rlhf_fair, name)) or ""
    return text


def explained(name: str, *above: str) -> str:
    """A docstring and those that it points to with "as in `name`", which must be public too."""
    text = documented(name)
    others = set(ELSEWHERE.findall(text)) - {name, *above}
    assert others <= set(NAMES), f"{name} points to {others - set(NAMES)}, which is not public"
    return "\n".join([text, *(explained(other, name, *above) for other in sorted(others))])


def array_parameters(function: Callable[..., Any]) -> list[str]:
    """Those that take arrays, by their annotation."""
    annotations = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in annotations if "ArrayLike" in str(parameter.annotation)]


def test_the_list_is_the_committed_one() -> None:
    assert sorted(rlhf_fair.__all__) == sorted(NAMES)
    assert len(set(NAMES)) == len(NAMES) == len(rlhf_fair.__all__)  # a name has one home


def test_type_checkers_are_told_the_same() -> None:
    stub = ast.parse(Path(rlhf_fair.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    told = {
        (node.module, alias.name, alias.asname)
        for node in ast.walk(stub)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {
        (f"rlhf_fair.{module}", name, name)
        for modules in rlhf_fair.PUBLIC.values()
        for module, names in modules.items()
        for name in names
    }
    assert told == homes


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_resolves_to_what_is_called_so(name: str) -> None:
    found = getattr(rlhf_fair, name)
    assert found.__name__ == name
    assert name in dir(rlhf_fair)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = rlhf_fair.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_says_what_it_is(name: str) -> None:
    # a dataclass without a docstring shows its signature, an exception that of its base
    text = documented(name)
    assert len(text.split()) >= 4
    assert not text.startswith(f"{name}(")
    assert vars(getattr(rlhf_fair, name)).get("__doc__") if name[0].isupper() else True


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_is_annotated(name: str) -> None:
    signature = inspect.signature(getattr(rlhf_fair, name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if array_parameters(getattr(rlhf_fair, name))])
def test_arrays_have_a_shape_and_faults_an_error_in_words(name: str) -> None:
    """In the docstring itself, or in that of the public function it points to; and no array goes unnamed there."""
    text = explained(name)
    assert SHAPE.search(text), f"{name} names no shape"
    assert re.search(r"\b(Row|Settings)Error\b", text), f"{name} names no error"
    unnamed = [parameter for parameter in array_parameters(getattr(rlhf_fair, name)) if parameter not in text]
    assert not unnamed, f"{name} does not say what {unnamed} are"


def test_star_import_and_a_first_look_load_neither_torch_nor_pandas() -> None:
    code = "import sys, rlhf_fair; dir(rlhf_fair); sys.exit(bool({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)

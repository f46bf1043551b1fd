"""Evaluation: a model's profile, its held-out loss, the cost of plans, the best plan for every budget, and samples.

For small worlds, where output laws are exact: ``laws``, and schedules tuned by them.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mdm_jax.evaluation.held_out import held_out_nelbo, judge
from mdm_jax.evaluation.paths import path_nelbo
from mdm_jax.evaluation.profile_estimation import default_counts, estimate_profile
from mdm_jax.evaluation.prompted import estimate_prompted_profile
from mdm_jax.evaluation.samples.evaluating import evaluate
from mdm_jax.evaluation.samples.execution import Execution
from mdm_jax.evaluation.samples.halving import Halving
from mdm_jax.evaluation.samples.race_results import Raced
from mdm_jax.evaluation.samples.racing import Prompts, race
from mdm_jax.evaluation.samples.results import Difference, Evaluation, own_entropy
from mdm_jax.evaluation.tuning import Tuned, check, tune

if TYPE_CHECKING:
    from mdm_jax.evaluation.exact import laws
    from mdm_jax.evaluation.exact.tuning import law_divergence, optimal_grid_by_law, search_beta_by_law

_LAW_TUNING = ("law_divergence", "optimal_grid_by_law", "search_beta_by_law")
__all__ = [
    "Difference",
    "Evaluation",
    "Execution",
    "Halving",
    "Prompts",
    "Raced",
    "Tuned",
    "check",
    "default_counts",
    "estimate_profile",
    "estimate_prompted_profile",
    "evaluate",
    "held_out_nelbo",
    "judge",
    "law_divergence",
    "laws",
    "optimal_grid_by_law",
    "own_entropy",
    "path_nelbo",
    "race",
    "search_beta_by_law",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name == "laws":
        return importlib.import_module("mdm_jax.evaluation.exact.laws")
    if name in _LAW_TUNING:
        return getattr(importlib.import_module("mdm_jax.evaluation.exact.tuning"), name)
    raise AttributeError(f"module 'mdm_jax.evaluation' has no attribute {name!r}")

"""Evaluation: a model's profile, its held-out loss, the cost of plans, the best plan for every budget, and samples.

Wings: ``measuring`` (profiles of models), ``cards`` (all decoders beside each other), ``samples`` (samplers by their
samples: many at once, kept, compared, raced) and ``exact`` (samplers by their exact output distributions, in small
worlds, and schedules tuned by them), which is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mdm_jax.evaluation.baselines import judge
from mdm_jax.evaluation.calibrating import Calibration, calibrate
from mdm_jax.evaluation.cards import Card, card
from mdm_jax.evaluation.expected_paths import plan_costs
from mdm_jax.evaluation.held_out import held_out_bound, held_out_nelbo
from mdm_jax.evaluation.importance import importance_weighted_nll
from mdm_jax.evaluation.judging import advantages, check, cross_fitted, told_of_advantages
from mdm_jax.evaluation.latency import StepCost, sampling_time
from mdm_jax.evaluation.latents import RowLatents, latent_profile, posterior_latents
from mdm_jax.evaluation.measuring import (
    Until,
    block_path_nelbo,
    block_profile,
    estimate_profile,
    estimate_prompted_profile,
    profiles_by_class,
    told_of_until,
)
from mdm_jax.evaluation.order_tuning import HeldOut, OrderTuned, order_shortlist, tune_order
from mdm_jax.evaluation.paths import path_nelbo
from mdm_jax.evaluation.samples import (
    Difference,
    Evaluation,
    Execution,
    Halving,
    Prompts,
    Raced,
    evaluate,
    own_entropy,
    race,
)
from mdm_jax.evaluation.tuning import Tuned, tune
from mdm_jax.theory.profiles import default_counts

if TYPE_CHECKING:
    from mdm_jax.evaluation import exact
    from mdm_jax.evaluation import exact as laws
    from mdm_jax.evaluation.exact import law_divergence, optimal_grid_by_law, search_beta_by_law

_BY_LAW = ("law_divergence", "optimal_grid_by_law", "search_beta_by_law")
__all__ = [
    "Calibration",
    "Card",
    "Difference",
    "Evaluation",
    "Execution",
    "Halving",
    "HeldOut",
    "OrderTuned",
    "Prompts",
    "Raced",
    "RowLatents",
    "StepCost",
    "Tuned",
    "Until",
    "advantages",
    "block_path_nelbo",
    "block_profile",
    "calibrate",
    "card",
    "check",
    "cross_fitted",
    "default_counts",
    "estimate_profile",
    "estimate_prompted_profile",
    "evaluate",
    "exact",
    "held_out_bound",
    "held_out_nelbo",
    "importance_weighted_nll",
    "judge",
    "latent_profile",
    "law_divergence",
    "laws",
    "optimal_grid_by_law",
    "order_shortlist",
    "own_entropy",
    "path_nelbo",
    "plan_costs",
    "posterior_latents",
    "profiles_by_class",
    "race",
    "sampling_time",
    "search_beta_by_law",
    "told_of_advantages",
    "told_of_until",
    "tune",
    "tune_order",
]


def __getattr__(name: str) -> Any:
    if name in ("exact", "laws"):  # the second is its older name
        return importlib.import_module("mdm_jax.evaluation.exact")
    if name in _BY_LAW:
        return getattr(importlib.import_module("mdm_jax.evaluation.exact"), name)
    raise AttributeError(f"module 'mdm_jax.evaluation' has no attribute {name!r}")

"""Evaluation: a model's profile, its held-out loss, the cost of plans, and the best plan for every budget."""

from mdm_jax.evaluation.held_out import held_out_nelbo, judge
from mdm_jax.evaluation.paths import path_nelbo
from mdm_jax.evaluation.profile_estimation import default_counts, estimate_profile
from mdm_jax.evaluation.tuning import check, tune

__all__ = ["check", "default_counts", "estimate_profile", "held_out_nelbo", "judge", "path_nelbo", "tune"]

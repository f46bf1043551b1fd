"""Evaluation: a model's profile, and the true cost of a plan on given sequences."""

from mdm_jax.evaluation.paths import path_nelbo
from mdm_jax.evaluation.profile_estimation import default_counts, estimate_profile

__all__ = ["default_counts", "estimate_profile", "path_nelbo"]

"""Sampling: reveal steps drawn before the loop, one compiled loop that follows them."""

from mdm_jax.sampling.orders import GIVEN, plan_knots, random_order
from mdm_jax.sampling.reveal import Revealed, path_log_prob, reveal
from mdm_jax.sampling.sample import sample

__all__ = ["GIVEN", "Revealed", "path_log_prob", "plan_knots", "random_order", "reveal", "sample"]

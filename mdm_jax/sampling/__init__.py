"""Sampling: reveal steps made before the loop, one compiled loop that follows them."""

from mdm_jax.sampling.orders import (
    GIVEN,
    ancestral_order,
    first_hitting,
    grid_fractions,
    in_blocks,
    in_order,
    left_to_right,
    plan_knots,
    random_order,
)
from mdm_jax.sampling.reveal import Revealed, path_log_prob, reveal
from mdm_jax.sampling.sample import sample

__all__ = [
    "GIVEN",
    "Revealed",
    "ancestral_order",
    "first_hitting",
    "grid_fractions",
    "in_blocks",
    "in_order",
    "left_to_right",
    "path_log_prob",
    "plan_knots",
    "random_order",
    "reveal",
    "sample",
]

"""Sampling: orders made before one compiled loop that follows them, and another loop that looks before it chooses."""

from mdm_jax.sampling import presets, readings, rules
from mdm_jax.sampling.adaptive_loop import unmask
from mdm_jax.sampling.blind_loop import path_log_prob, reveal
from mdm_jax.sampling.orders import (
    ancestral_order,
    first_hitting,
    grid_fractions,
    in_blocks,
    in_order,
    left_to_right,
    plan_knots,
    random_order,
)
from mdm_jax.sampling.result import FILLED, GIVEN, Sampled
from mdm_jax.sampling.rule import Choice, Rule, View, joined
from mdm_jax.sampling.samplers import Blind, Sampler, canvas_of, sample
from mdm_jax.sampling.trajectory import Frame, Record, tokens_of

__all__ = [
    "FILLED",
    "GIVEN",
    "Blind",
    "Choice",
    "Frame",
    "How",
    "Record",
    "Rule",
    "Sampled",
    "Sampler",
    "View",
    "ancestral_order",
    "canvas_of",
    "first_hitting",
    "grid_fractions",
    "in_blocks",
    "in_order",
    "joined",
    "left_to_right",
    "path_log_prob",
    "plan_knots",
    "presets",
    "random_order",
    "readings",
    "reveal",
    "rules",
    "sample",
    "tokens_of",
    "unmask",
]

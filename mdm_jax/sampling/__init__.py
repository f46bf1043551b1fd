"""Sampling: orders made before one compiled loop that follows them, and another loop that looks before it chooses."""

from mdm_jax.sampling import presets, readings, rules
from mdm_jax.sampling.adaptive import adaptive_loop
from mdm_jax.sampling.blind import blind_loop, path_log_prob
from mdm_jax.sampling.forcing import Forced, forced_log_prob
from mdm_jax.sampling.joint import sample_jointly
from mdm_jax.sampling.knots import grid_fractions, plan_knots
from mdm_jax.sampling.orders import (
    ancestral_order,
    first_hitting,
    in_blocks,
    in_order,
    left_to_right,
    random_order,
)
from mdm_jax.sampling.requests import canvas_of
from mdm_jax.sampling.result import FILLED, GIVEN, MISSING, Sampled
from mdm_jax.sampling.rule import Rule, joined
from mdm_jax.sampling.samplers import Blind, Sampler, sample
from mdm_jax.sampling.trajectory import Frame, Record, tokens_of
from mdm_jax.sampling.view import Choice, View

__all__ = [
    "FILLED",
    "GIVEN",
    "MISSING",
    "Blind",
    "Choice",
    "Forced",
    "Frame",
    "Record",
    "Rule",
    "Sampled",
    "Sampler",
    "View",
    "adaptive_loop",
    "ancestral_order",
    "blind_loop",
    "canvas_of",
    "first_hitting",
    "forced_log_prob",
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
    "rules",
    "sample",
    "sample_jointly",
    "tokens_of",
]

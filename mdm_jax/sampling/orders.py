"""Orders that do not look at the tokens: one integer array, drawn before the loop.

``reveal_step: int32[rows, length]`` is the step at which each position is revealed; given positions hold -1. For a
denoiser without a time input every such order, with every schedule, budget and prompt, is just a different array,
so all of them share one executable.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from mdm_jax.sampling.draws import position_bits
from mdm_jax.support.errors import require
from mdm_jax.theory.plans import Plan

GIVEN = -1
"""The reveal step of a position that is not to be sampled."""


@jax.jit
def random_order(
    key: PRNGKeyArray,
    knots: Int[Array, "rows knots"],
    free: Bool[Array, "rows length"],
    row_ids: Int[Array, " rows"] | None = None,
) -> Int[Array, "rows length"]:
    """Reveal the free positions of each row in uniformly random order, as many per step as its plan says.

    Where a row has fewer free positions than its plan has tokens, the plan's knots are scaled to them and rounded, so
    every plan fits every prompt; steps that become empty are skipped.

    Args:
        key: a typed PRNG key.
        knots: int32[rows, knots], tokens revealed before each step, ``0 = N_0 <= ... <= N_K``, the last repeated to
            fill up (see :func:`plan_knots`). Each row may have its own plan and its own number of steps.
        free: bool[rows, length], the positions to reveal.
        row_ids: what identifies each row in the random stream; ``0 .. rows - 1`` if left out.

    Returns:
        int32[rows, length], the step of each free position, -1 elsewhere.
    """
    rows, length = free.shape
    fits = length * (knots.shape[1] - 1) < 2**31
    require(fits, "length", length, "such that length times the plan's length stays below 2^31 (int32 arithmetic)")
    row_ids = jnp.arange(rows) if row_ids is None else row_ids
    # Given positions sort behind every free one, whatever their bits.
    bits = position_bits(key, row_ids, length) >> 1
    bits = jnp.where(free, bits, jnp.uint32(0x80000000))
    rank = jnp.argsort(jnp.argsort(bits, axis=-1), axis=-1)

    planned = knots[:, -1:]
    count = jnp.sum(free, axis=-1, keepdims=True)
    scaled = (knots * count + planned // 2) // planned
    step = jax.vmap(lambda ends, at: jnp.searchsorted(ends, at, side="right"))(scaled[:, 1:], rank)
    return jnp.where(free, step, GIVEN).astype(jnp.int32)


def plan_knots(plans: Plan | Sequence[Plan], rows: int) -> Int[np.ndarray, "rows knots"]:
    """The knots of one plan for every row, or of one plan per row, padded to the length of the longest sequence.

    The padding makes the array's shape depend on the length alone: changing schedule or budget does not recompile.
    """
    chosen = [plans] if isinstance(plans, Plan) else list(plans)
    width = max(plan.length for plan in chosen) + 1
    knots = np.stack([np.pad(plan.knots, (0, width - len(plan.knots)), mode="edge") for plan in chosen])
    return np.broadcast_to(knots, (rows, width)).astype(np.int32)

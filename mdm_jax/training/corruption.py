"""Masking training examples, with the weight that makes the masked cross-entropy an unbiased NELBO.

The NELBO of a masked diffusion model does not depend on the schedule (arXiv 2509.13866, C.2; MDLM, MD4), so a model
is trained once and every schedule is chosen afterwards. These functions differ only in the variance of the estimate.
"""

from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.keys import threefry
from mdm_jax.theory.schedules import Schedule, checked_schedule


class Corrupted(NamedTuple):
    """Masked examples.

    Attributes:
        tokens: int32[rows, length], with the mask id where masked.
        masked: bool[rows, length].
        weight: float32[rows]; ``weight * sum of the masked cross-entropies`` is unbiased for the NELBO, in nats per
            sequence.
    """

    tokens: Int[Array, "rows length"]
    masked: Bool[Array, "rows length"]
    weight: Float[Array, " rows"]


def mask_counts(key: PRNGKeyArray, tokens: Int[Array, "rows length"], mask_id: int) -> Corrupted:
    """Mask ``n`` random positions per row, ``n`` uniform on ``1 .. length`` and stratified over the rows.

    This is the NELBO in its discrete form, ``sum_i g(i) = E_n[length / n * sum of masked cross-entropies]``; fixing
    the count, and spreading the counts evenly over the batch, removes the variance of drawing times and coins.

    Args:
        key: a typed PRNG key.
        tokens: int32[rows, length], complete.
        mask_id: the id of the mask.

    Raises:
        InputError: tokens that are no whole numbers or hold the mask (seen only outside of ``jit``), or no key.
    """
    rows, length = tokens.shape
    _check(tokens, mask_id)
    count_key, position_key = jax.random.split(threefry(key))
    count = 1 + jnp.minimum(jnp.floor(_spread(count_key, rows) * length), length - 1)
    bits = jax.random.bits(position_key, (rows, length), jnp.uint32)
    rank = jnp.argsort(jnp.argsort(bits, axis=-1), axis=-1)
    masked = rank.astype(jnp.float32) < count[:, None]
    return Corrupted(jnp.where(masked, mask_id, tokens), masked, (length / count).astype(jnp.float32))


def mask_times(
    key: PRNGKeyArray,
    tokens: Int[Array, "rows length"],
    mask_id: int,
    schedule: Schedule,
    stratified: bool = True,
) -> Corrupted:
    """Mask every position with probability ``1 - alpha(t)``, weight ``alpha'(t) / (1 - alpha(t))``.

    Args:
        key: a typed PRNG key.
        tokens: int32[rows, length].
        mask_id: the id of the mask.
        schedule: the training schedule; the expected NELBO is the same for all of them.
        stratified: spread the times evenly over the batch (MD4's antithetic sampling) instead of drawing them
            independently.

    Raises:
        InputError: as for :func:`mask_counts`.
    """
    rows, length = tokens.shape
    _check(tokens, mask_id)
    checked_schedule(schedule)
    time_key, mask_key = jax.random.split(threefry(key))
    t = _spread(time_key, rows) if stratified else jax.random.uniform(time_key, (rows,), jnp.float32)
    drawn = jax.random.uniform(mask_key, (rows, length), jnp.float32)
    masked = drawn < schedule.one_minus_alpha(t)[:, None].astype(jnp.float32)
    # Where nothing is masked the sum is empty, whatever the (possibly infinite) weight.
    weight = jnp.where(masked.any(-1), schedule.weight(t), 0.0)
    return Corrupted(jnp.where(masked, mask_id, tokens), masked, weight.astype(jnp.float32))


def _spread(key: PRNGKeyArray, rows: int) -> Float[Array, " rows"]:
    """Numbers in [0, 1) at equal distances, one for each row: float32, whatever the default precision."""
    return jnp.mod(jax.random.uniform(key, dtype=jnp.float32) + jnp.arange(rows, dtype=jnp.float32) / rows, 1.0)


def _check(tokens: Array, mask_id: int) -> None:
    shape = verbatim(f"{tokens.dtype} of shape {tokens.shape}")
    require(jnp.issubdtype(tokens.dtype, jnp.integer), "tokens", shape, "an array of token ids (whole numbers)")
    if not isinstance(tokens, jax.core.Tracer):
        masks = int(np.sum(np.asarray(tokens) == mask_id))
        require(masks == 0, "tokens", verbatim(f"{masks} of them"), f"complete, without mask_id {mask_id}")

"""Masking training examples, with the weight that makes the masked cross-entropy an unbiased NELBO.

The NELBO of a masked diffusion model does not depend on the schedule (arXiv 2509.13866, C.2; MDLM, MD4), so a model
is trained once and every schedule is chosen afterwards. These functions differ only in the variance of the estimate.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.theory.schedules import Schedule


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
    """
    rows, length = tokens.shape
    count_key, position_key = jax.random.split(key)
    u = jnp.mod(jax.random.uniform(count_key) + jnp.arange(rows) / rows, 1.0)
    count = 1 + jnp.minimum(jnp.floor(u * length), length - 1)
    bits = jax.random.bits(position_key, (rows, length))
    rank = jnp.argsort(jnp.argsort(bits, axis=-1), axis=-1)
    masked = rank < count[:, None]
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
    """
    rows, length = tokens.shape
    time_key, mask_key = jax.random.split(key)
    if stratified:
        t = jnp.mod(jax.random.uniform(time_key) + jnp.arange(rows) / rows, 1.0)
    else:
        t = jax.random.uniform(time_key, (rows,))
    masked = jax.random.uniform(mask_key, (rows, length)) < schedule.one_minus_alpha(t)[:, None]
    # Where nothing is masked the sum is empty, whatever the (possibly infinite) weight.
    weight = jnp.where(masked.any(-1), schedule.weight(t), 0.0)
    return Corrupted(jnp.where(masked, mask_id, tokens), masked, weight.astype(jnp.float32))

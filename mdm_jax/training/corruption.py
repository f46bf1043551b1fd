"""Masking training examples, with the weight that makes the masked cross-entropy an unbiased NELBO.

The NELBO of a masked diffusion model does not depend on the schedule (arXiv 2509.13866, C.2; MDLM, MD4), so a model
is trained once and every schedule is chosen afterwards. These functions differ only in the variance of the estimate.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import is_readable
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.keys import threefry
from mdm_jax.support.ragged import ABSENT, present
from mdm_jax.theory.schedules import Schedule, checked_schedule

_LARGEST = 2**31 - 1
_BITS = np.uint32(2**32 - 1)
_WANTED = "an array of token ids (whole numbers) of shape [rows, length]"


class Corrupted(NamedTuple):
    """Masked examples.

    Attributes:
        tokens: int32[rows, length], with the mask id where masked.
        masked: bool[rows, length].
        weight: float32[rows]; ``weight * sum of the masked cross-entropies`` is unbiased for the NELBO, in nats per
            sequence.
        revealed: int32[rows], how many tokens of a whole row are revealed where as large a share of it is as of this
            row; ``None`` where it was not counts that were drawn.
    """

    tokens: Int[Array, "rows length"]
    masked: Bool[Array, "rows length"]
    weight: Float[Array, " rows"]
    revealed: Int[Array, " rows"] | None = None


def mask_counts(
    key: PRNGKeyArray,
    tokens: Int[Any, "rows length"],
    mask_id: int | np.integer,
    given: Bool[Any, "rows length"] | None = None,
) -> Corrupted:
    """Mask ``n`` random positions per row, ``n`` uniform on ``1 .. length`` and stratified over the rows.

    Of a row that is shorter (-1: positions that are not there) or of which something is given, ``length`` is the number
    of its other positions.

    This is the NELBO in its discrete form, ``sum_i g(i) = E_n[length / n * sum of masked cross-entropies]``; fixing
    the count, and spreading the counts evenly over the batch, removes the variance of drawing times and coins.

    Args:
        key: a typed PRNG key.
        tokens: whole numbers [rows, length] of any type, complete; -1 where a position is not there.
        mask_id: the id of the mask.
        given: bool[rows, length], positions that are never masked.

    Raises:
        InputError: tokens of another shape or type, ids that int32 does not hold or that are the mask's (both seen only
            outside of ``jit``), a mask that is no id, or no key.

    Source: the discrete form is that of ARDM (arXiv 2110.02037); ``DERIVATIONS.md``, "Counts instead of times" and
    "Stratified counts are unbiased row by row".

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> corrupted = mdm.training.mask_counts(mdm.key(0), jnp.ones((4, 8), int), mask_id=2)
        >>> sorted(corrupted.masked.sum(axis=1).tolist())  # spread evenly over 1 .. 8
        [1, 3, 5, 7]
        >>> print(corrupted.weight * corrupted.masked.sum(axis=1))
        [8. 8. 8. 8.]
    """
    tokens, mask_id = _checked(tokens, mask_id)
    rows, length = tokens.shape
    count_key, position_key = jax.random.split(threefry(key))
    free = free_positions(tokens, given)
    many = jnp.sum(free, axis=-1, dtype=jnp.float32)
    share = spread(count_key, rows)
    count = 1 + jnp.maximum(jnp.minimum(jnp.floor(share * many), many - 1), 0)
    bits = jax.random.bits(position_key, (rows, length), jnp.uint32)
    bits = jnp.where(free, jnp.minimum(bits, _BITS - 1), _BITS)  # what is not free comes last
    rank = jnp.argsort(jnp.argsort(bits, axis=-1), axis=-1)
    masked = (rank.astype(jnp.float32) < count[:, None]) & free
    whole = 1 + jnp.minimum(jnp.floor(share * length), length - 1).astype(jnp.int32)
    return Corrupted(jnp.where(masked, mask_id, tokens), masked, (many / count).astype(jnp.float32), length - whole)


def free_positions(tokens: Int[Any, "rows length"], given: Bool[Any, "rows length"] | None) -> Bool[Any, "rows length"]:
    """The positions that are there and not given: those to be predicted."""
    return present(tokens) if given is None else present(tokens) & ~given


def mask_times(
    key: PRNGKeyArray,
    tokens: Int[Any, "rows length"],
    mask_id: int | np.integer,
    schedule: Schedule,
    stratified: bool = True,
) -> Corrupted:
    """Mask every position with probability ``1 - alpha(t)``, weight ``alpha'(t) / (1 - alpha(t))``.

    Args:
        key: a typed PRNG key.
        tokens: whole numbers [rows, length] of any type, complete; -1 where a position is not there.
        mask_id: the id of the mask.
        schedule: the training schedule; the expected NELBO is the same for all of them.
        stratified: spread the times evenly over the batch (MD4's antithetic sampling) instead of drawing them
            independently.

    Raises:
        InputError: as for :func:`mask_counts`; or no schedule.

    Source: MDLM (arXiv 2406.07524), MD4 (arXiv 2406.04329).

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> tokens, schedule = jnp.ones((4, 8), int), mdm.schedules.linear()
        >>> corrupted = mdm.training.mask_times(mdm.key(0), tokens, mask_id=2, schedule=schedule)
        >>> corrupted.weight.shape, bool(((corrupted.tokens == 2) == corrupted.masked).all())
        ((4,), True)
    """
    tokens, mask_id = _checked(tokens, mask_id)
    rows, length = tokens.shape
    checked_schedule(schedule)
    time_key, mask_key = jax.random.split(threefry(key))
    t = spread(time_key, rows) if stratified else jax.random.uniform(time_key, (rows,), jnp.float32)
    drawn = jax.random.uniform(mask_key, (rows, length), jnp.float32)
    masked = (drawn < schedule.one_minus_alpha(t)[:, None].astype(jnp.float32)) & present(tokens)
    # Where nothing is masked the sum is empty, whatever the (possibly infinite) weight.
    weight = jnp.where(masked.any(-1), schedule.weight(t), 0.0)
    return Corrupted(jnp.where(masked, mask_id, tokens), masked, weight.astype(jnp.float32))


class StepMasks(NamedTuple):
    """Rows of a sampler of equal steps in random order, each row at one of its steps.

    Attributes:
        step: int32[rows], which one: stratified over the rows.
        masked: bool[rows, length], masked before the step.
        later: bool[rows, length], still masked after it.
    """

    step: Int[Array, " rows"]
    masked: Bool[Array, "rows length"]
    later: Bool[Array, "rows length"]


def mask_steps(step_key: PRNGKeyArray, order_key: PRNGKeyArray, rows: int, length: int, steps: int) -> StepMasks:
    """Draw a step and an order for each row; the sizes are those of ``plans.uniform(length, steps)``.

    Args:
        step_key: of the steps.
        order_key: of the orders.
        rows: how many.
        length: of each.
        steps: of the sampler, at most the length.

    Raises:
        InputError: more steps than tokens.
    """
    require(steps <= length, "steps", steps, f"at most the length, {length}")
    size, more = divmod(length, steps)
    ends = np.arange(steps + 1)
    knots = jnp.asarray(ends * size + np.minimum(ends, more), jnp.int32)
    step = jnp.minimum(jnp.floor(spread(step_key, rows) * steps).astype(jnp.int32), steps - 1)
    bits = jax.random.bits(order_key, (rows, length), jnp.uint32)
    rank = jnp.argsort(jnp.argsort(bits, axis=-1), axis=-1).astype(jnp.int32)
    return StepMasks(step, rank >= knots[step][:, None], rank >= knots[step + 1][:, None])


def spread(key: PRNGKeyArray, rows: int) -> Float[Array, " rows"]:
    """Numbers in [0, 1) at equal distances, one for each row: float32, whatever the default precision."""
    return jnp.mod(jax.random.uniform(key, dtype=jnp.float32) + jnp.arange(rows, dtype=jnp.float32) / rows, 1.0)


def _checked(tokens: Any, mask_id: Any) -> tuple[Array, int]:
    """Tokens as int32, whatever they were kept in: of the mask's id a narrower type would make a token's."""
    mask_id = require_whole("mask_id", mask_id, 0, _LARGEST)
    if is_readable(tokens):
        seen = as_array(tokens)
        shape = verbatim(f"{seen.dtype} of shape {seen.shape}")
        good = seen.dtype.kind in "iu" and seen.ndim == 2 and seen.size > 0
        require(good, "tokens", shape, _WANTED)
        out = seen[((seen < 0) & (seen != ABSENT)) | (seen > _LARGEST)]
        require(out.size == 0, "tokens", verbatim(str(out[:1])), f"token ids from 0 to {_LARGEST}")
        masks = int(np.sum(seen == mask_id))
        require(masks == 0, "tokens", verbatim(f"{masks} of them"), f"complete, without mask_id {mask_id}")
        tokens = tokens if isinstance(tokens, jax.Array) else seen
    else:
        good = jnp.issubdtype(tokens.dtype, jnp.integer) and tokens.ndim == 2 and tokens.size > 0
        require(good, "tokens", verbatim(f"{tokens.dtype} of shape {tokens.shape}"), _WANTED)
    return jnp.asarray(tokens, jnp.int32), mask_id

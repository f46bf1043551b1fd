"""Where two measures of sureness would reveal different positions, along the path that one of them took.

Two orders that look at the model may solve as much because they go the same way, or because it does not matter which
way they go. Their paths part at the first difference, so they are compared on one path: before each pass the model is
read again, and the other measure says which positions, as many, it would have revealed there.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.sampling import Sampled
from mdm_jax.sampling.readings import Measure, Reading, max_probability
from mdm_jax.sampling.rules import take_surest
from mdm_jax.support.errors import InputError


def disputed(denoiser: Denoiser, params: Params, taken: Sampled, measure: Measure) -> dict[str, float]:
    """How often another measure would have revealed other positions than those that a path revealed.

    Args:
        denoiser: the model that was sampled.
        params: its parameters.
        taken: rows that were filled in, each position once.
        measure: the other one.

    Returns:
        ``passes``: the share of passes of a row in which it would have revealed another set. ``tokens``: the share of
        tokens that it would have left for later. ``sure``: the largest probability at these, in the mean, 1 if there
        are none; ``instead``: that at the positions it would have revealed in their place.

    Raises:
        InputError: nothing was filled in.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.sampling.readings import margin
        >>> coins = mdm.oracles.polya(6, 0.5)  # of two tokens, both measures have one order
        >>> rule = mdm.rules.surest(mdm.plans.uniform(6, 3))
        >>> taken = mdm.sample(coins.denoiser, coins.params, rule, rows=8, length=6, key=mdm.key(0))
        >>> disputed(coins.denoiser, coins.params, taken, margin)["tokens"]
        0.0
    """
    when, tokens = np.asarray(taken.reveal_step), np.asarray(taken.tokens)
    if not (when >= 0).any():
        raise InputError("taken must have positions that were filled in; got rows that were given whole.")
    passes, drawn, other_passes, left, sure, instead = np.zeros(6)
    for step in range(when.max() + 1):
        canvas, now = np.where(when < step, tokens, denoiser.mask_id).astype(np.int32), when == step
        would, probability = map(np.asarray, _would(denoiser, params, canvas, now, when > step, measure))
        passes, drawn = passes + now.any(axis=1).sum(), drawn + now.sum()
        other_passes, left = other_passes + (now & ~would).any(axis=1).sum(), left + (now & ~would).sum()
        sure, instead = sure + probability[now & ~would].sum(), instead + probability[would & ~now].sum()
    told = {"passes": other_passes / passes, "tokens": left / drawn}
    told |= {"sure": sure / left if left else 1.0, "instead": instead / left if left else 1.0}
    return {what: float(one) for what, one in told.items()}


@functools.partial(jax.jit, static_argnames=("denoiser", "measure"))
def _would(
    denoiser: Denoiser, params: Params, canvas: Int[Array, "rows length"], now: Array, later: Array, measure: Measure
) -> tuple[Bool[Array, "rows length"], Float[Array, "rows length"]]:
    """What the measure would reveal, as many positions as ``now`` has, and the largest probability everywhere."""
    logits = denoiser.readout(params, denoiser.encode(params, canvas)).astype(jnp.float32)
    held = canvas.reshape(-1)
    reading = Reading(logits.reshape(-1, logits.shape[-1]), held, held=held, masked=held == denoiser.mask_id)
    score, sure = (one(reading).reshape(canvas.shape) for one in (measure, max_probability))
    return take_surest(score, now | later, now.sum(axis=1, dtype=jnp.int32)), jnp.exp(sure)

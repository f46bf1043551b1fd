"""Sampling of tokens and latents that are denoised jointly: a loop of its own, since the latents move in it."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Params, require_model
from mdm_jax.models.latent import JointDenoiser
from mdm_jax.sampling import draws
from mdm_jax.sampling.blind import without_gaps
from mdm_jax.sampling.knots import plan_knots
from mdm_jax.sampling.orders import random_order
from mdm_jax.sampling.requests import checked_row_ids, require_temperature
from mdm_jax.sampling.result import Sampled
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.flags import loose, usual
from mdm_jax.support.keys import threefry
from mdm_jax.theory.plans import Plan

_TOKENS, _LATENTS = 0x7FFFFFFF, 0x7FFFFFFE
"""Folded into the key of the draws of tokens and of latents; no row has these numbers."""


def sample_jointly(
    denoiser: JointDenoiser,
    params: Params,
    plan: Plan,
    rows: int = 1,
    *,
    key: PRNGKeyArray,
    temperature: float | ArrayLike = 1.0,
    row_ids: ArrayLike | Sequence[int] | None = None,
) -> Sampled:
    """Draw sequences with a joint denoiser: each step reveals tokens in random order, and makes the latents less noisy.

    The latents are clean at the plan's last step, whatever the number of steps: a model may be sampled with another
    plan than the equal steps that its bound is for. Nothing is given beforehand (no prompts): the latents of a row
    that was begun by somebody else have a law that the model has not learned.

    Args:
        denoiser: what :func:`mdm_jax.models.joint_diffusion` made.
        params: its parameters.
        plan: tokens for each step.
        rows: number of sequences.
        key: a PRNG key. Row ``r`` depends on the key and on ``r`` alone, up to the network's rounding.
        temperature: divides the logits of the tokens' draws; 0 is the argmax. Latents are drawn as they are.
        row_ids: int32[rows], what identifies each row in the random streams; ``0, 1, 2, ...`` if left out.

    Returns:
        :class:`~mdm_jax.sampling.result.Sampled`. ``log_prob`` is that of the tokens given the latents that were drawn.

    Raises:
        InputError: another model, no plan, no key, numbers out of range.

    Source: LADD (arXiv 2510.18114), the joint form.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.latent_transformer(4, length=8, width=16, depth=1, heads=2, latent_size=3)
        >>> joint = mdm.models.joint_diffusion(model)
        >>> params = joint.init(mdm.key(0), length=8)
        >>> out = mdm.sampling.sample_jointly(joint, params, mdm.plans.uniform(8, 4), rows=2, key=mdm.key(1))
        >>> out.tokens.shape, out.nfe.tolist()
        ((2, 8), [4, 4])
    """
    require(isinstance(denoiser, JointDenoiser), "denoiser", denoiser, "what models.joint_diffusion makes")
    require_model(denoiser, params)
    require(isinstance(plan, Plan), "plan", plan, "a Plan, as plans.uniform makes one")
    longest = denoiser.module.length
    require(plan.length <= longest, "plan", verbatim(f"one of {plan.length} tokens"), f"of at most {longest} tokens")
    rows = require_whole("rows", rows, 1, 2**31 - 1)
    require_temperature(temperature)
    with usual(params, key, temperature, row_ids):
        params, key, temperature, row_ids = loose((params, key, temperature, row_ids))
        ids = jnp.arange(rows, dtype=jnp.int32) if row_ids is None else checked_row_ids(row_ids, rows)
        order_key, draw_key = jax.random.split(threefry(key))
        free = jnp.ones((rows, plan.length), bool)
        steps = random_order(order_key, jnp.asarray(plan_knots(plan, rows)), free, ids)
        return joint_loop(denoiser, params, steps, ids, draw_key, jnp.asarray(temperature, jnp.float32))


@functools.partial(jax.jit, static_argnames=("denoiser",))
def joint_loop(
    denoiser: JointDenoiser,
    params: Params,
    reveal_step: Int[Array, "rows length"],
    row_ids: Int[Array, " rows"],
    key: PRNGKeyArray,
    temperature: Array,
) -> Sampled:
    """Reveal each position at its step, and move the latents after each step; traced, so that nothing is checked.

    Every position is read out at every step: unlike the blind loop this one is not made for large vocabularies.
    """
    rows, length = reveal_step.shape
    reveal_step = without_gaps(reveal_step)
    steps = jnp.max(reveal_step, axis=-1) + 1
    token_key, latent_key = (jax.random.fold_in(key, name) for name in (_TOKENS, _LATENTS))
    latent_keys = draws.row_keys(latent_key, row_ids)
    token_keys = draws.all_position_keys(token_key, row_ids, length).reshape(-1)

    def normal(step: Any) -> Array:
        """Noise of the latents before a step, by row."""
        shape = denoiser.latent_shape
        return jax.vmap(lambda one: jax.random.normal(jax.random.fold_in(one, step), shape, jnp.float32))(latent_keys)

    def one_step(state: tuple[Array, Array, Array, Any]) -> tuple[Array, Array, Array, Any]:
        step, tokens, log_prob, latent = state
        hidden = denoiser.encode(params, tokens, latent)
        logits = denoiser.readout(params, hidden).astype(jnp.float32).reshape(rows * length, -1)
        drawn, gain = (one.reshape(rows, length) for one in draws.categorical(token_keys, logits, temperature))
        drawn = jnp.where(jnp.isnan(gain), denoiser.mask_id, drawn).astype(jnp.int32)
        now = reveal_step == step
        log_prob = log_prob + jnp.sum(jnp.where(now, gain, 0.0), axis=-1)
        return (
            step + 1,
            jnp.where(now, drawn, tokens),
            log_prob,
            denoiser.moved(params, hidden, latent, normal(step + 1)),
        )

    canvas = jnp.full((rows, length), denoiser.mask_id, jnp.int32)
    state = jnp.zeros((), jnp.int32), canvas, jnp.zeros(rows, jnp.float32), denoiser.start(normal(0), steps)
    made, tokens, log_prob, _ = jax.lax.while_loop(lambda state: state[0] < jnp.max(steps), one_step, state)
    remaining = jnp.sum(tokens == denoiser.mask_id, axis=-1, dtype=jnp.int32)
    return Sampled(tokens, steps, made, remaining, reveal_step, log_prob, made)

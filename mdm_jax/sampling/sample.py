"""Sampling as a user asks for it: a model, a plan, a number of rows, perhaps a prompt."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.sampling.orders import plan_knots, random_order
from mdm_jax.sampling.reveal import Revealed, reveal
from mdm_jax.support.errors import require, verbatim
from mdm_jax.theory.plans import Plan


def sample(
    denoiser: Denoiser,
    params: Params,
    plan: Plan | Sequence[Plan],
    rows: int | None = None,
    *,
    key: PRNGKeyArray,
    canvas: ArrayLike | None = None,
    temperature: float | ArrayLike = 1.0,
    context: Context = None,
) -> Revealed:
    """Draw sequences in uniformly random order, as many tokens per step as ``plan`` says.

    Args:
        denoiser: the model.
        params: its parameters.
        plan: one plan for every row, or a sequence of plans, one per row (any mixture of schedules and budgets).
        rows: number of sequences; may be left out where ``plan`` is a sequence or ``canvas`` has rows.
        key: a typed PRNG key. Row ``r`` of the result depends on the key, on ``r`` and on what row ``r`` is asked to
            be, not on the other rows.
        canvas: int32[length] or int32[rows, length]: what is given, with ``denoiser.mask_id`` where tokens are to be
            drawn (infilling; a prompt is a canvas whose first tokens are given). All masked, of the plan's length,
            if left out. A plan is scaled to the number of free positions.
        temperature: divides the logits; 0 is the argmax.
        context: passed to the denoiser, leading axis ``rows``.

    Returns:
        :class:`~mdm_jax.sampling.reveal.Revealed`: tokens, nfe, passes, remaining, reveal_step, log_prob.

    Raises:
        InputError: a canvas of the wrong shape or with unknown ids, inconsistent row counts, a negative temperature.
    """
    plans = list(plan) if isinstance(plan, Sequence) else [plan]
    good = len(plans) > 0 and all(isinstance(p, Plan) for p in plans)
    require(good, "plan", plan, "a Plan or a non-empty sequence of them (sizes, not a Grid)")
    if canvas is None:
        lengths = {p.length for p in plans}
        require(len(lengths) == 1, "plan", sorted(lengths), "plans of one length, unless a canvas is given")
        canvas = np.full(lengths.pop(), denoiser.mask_id, np.int32)
    canvas = np.asarray(canvas)
    require(canvas.ndim in (1, 2), "canvas", verbatim(f"shape {canvas.shape}"), "of shape [length] or [rows, length]")
    _check_ids(canvas, denoiser)

    asked = [rows, len(plans) if len(plans) > 1 else None, len(canvas) if canvas.ndim == 2 else None]
    known = {count for count in asked if count is not None} or {1}
    require(len(known) == 1, "rows", rows, "the same in rows, plan and canvas")
    rows = known.pop()
    require(rows >= 1, "rows", rows, "at least 1")
    if not isinstance(temperature, jax.Array):
        require(bool(np.all(np.asarray(temperature) >= 0)), "temperature", temperature, "0 or more")

    canvas = jnp.asarray(np.broadcast_to(canvas, (rows, canvas.shape[-1])), jnp.int32)
    order_key, token_key = jax.random.split(key)
    reveal_step = random_order(order_key, jnp.asarray(plan_knots(plans, rows)), canvas == denoiser.mask_id)
    temperature = jnp.asarray(temperature, jnp.float32)  # one type, one executable
    return reveal(denoiser, params, canvas, reveal_step, token_key, temperature, context)


def _check_ids(canvas: np.ndarray, denoiser: Denoiser) -> None:
    require(canvas.dtype.kind in "iu", "canvas", verbatim(f"dtype {canvas.dtype}"), "an array of token ids")
    bad = (canvas != denoiser.mask_id) & ((canvas < 0) | (canvas >= denoiser.vocab_size))
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        wanted = f"token ids from 0 to {denoiser.vocab_size - 1}, or mask_id {denoiser.mask_id}"
        require(False, "canvas", verbatim(f"{canvas[where]} at {where}"), wanted)

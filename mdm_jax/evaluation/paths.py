"""The true cost of a plan on given sequences, path by path: the check on what a profile predicts."""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import sequences
from mdm_jax.models.denoiser import Denoiser, Params, require_model
from mdm_jax.sampling.blind import path_log_prob
from mdm_jax.sampling.orders import plan_knots, random_order
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.theory.plans import Plan

BATCH = 32


@usual()
def path_nelbo(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    plans: Iterable[Plan],
    *,
    key: PRNGKeyArray,
    progress: bool = False,
) -> Float[np.ndarray, "plans rows"]:
    """Teacher-forced ``-log q`` of each sequence along one random path per plan, nats per sequence.

    The paths of different plans share their random order (common random numbers), so differences between plans are
    sharper than the values. The mean over rows is an unbiased estimate of the plan's expected NELBO
    ``sum_k n_k g(N_{k-1})``.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length].
        plans: plans of that length.
        key: a typed PRNG key; row ``r``'s order depends on it and on ``r`` alone.
        progress: show a progress bar.

    Returns:
        float64[plans, rows]; infinite where the model gives a token probability 0.

    Raises:
        InputError: no rows, an id that is no token's, plans of another length, logits that are no numbers.
    """
    require_model(denoiser, params)
    tokens, key = sequences(denoiser, tokens), threefry(key)
    rows, length = tokens.shape
    require(isinstance(plans, Iterable) and not isinstance(plans, str | bytes), "plans", plans, "a list of plans")
    plans = list(plans)
    for plan in plans:
        require(isinstance(plan, Plan), "plans", plan, "a list of plans")
        require(plan.length == length, "plans", plan.length, f"plans of the sequences' length {length}")
    batch = min(BATCH, rows)
    padded = np.pad(np.arange(rows), (0, -rows % batch), mode="edge").reshape(-1, batch)
    free = jnp.ones((batch, length), bool)
    values = np.zeros((len(plans), padded.size))
    with bar(total=len(plans) * len(padded), description="paths", unit="batch", show=progress) as advance:
        for i, plan in enumerate(plans):
            knots = jnp.asarray(plan_knots(plan, batch))
            for block, ids in enumerate(padded):
                reveal_step = random_order(key, knots, free, jnp.asarray(ids))
                log_prob = path_log_prob(denoiser, params, jnp.asarray(tokens[ids]), reveal_step)
                values[i, block * batch : (block + 1) * batch] = -np.asarray(log_prob, dtype=np.float64)
                advance(1)
    for plan, row in np.argwhere(np.isnan(values[:, :rows])).tolist():
        raise InputError(
            "the denoiser's logits must be finite, or -inf for tokens that it rules out, but not for all; they are not "
            f"along the path of row {row} under {plans[plan].name!r}."
        )
    return values[:, :rows]

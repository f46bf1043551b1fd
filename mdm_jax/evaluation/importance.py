"""The likelihood of a sampler with latents itself, for small problems: an average over orders and latents."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import LARGEST, needs_latents, require_not_redrawn, sequences
from mdm_jax.evaluation.latents import row_noise
from mdm_jax.models.denoiser import Context, Denoiser, Params, require_model
from mdm_jax.models.latent import LatentModel, latent_model
from mdm_jax.sampling import Blind, path_log_prob
from mdm_jax.sampling.samplers import in_blocks_of
from mdm_jax.support.errors import require, require_whole
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.ragged import present
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.plans.grids import Grid

ROWS = 256
"""Sequences per model call."""


@usual()
def importance_weighted_nll(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    plan: Plan | Grid | Blind,
    *,
    samples: int = 64,
    key: PRNGKeyArray,
) -> Float[np.ndarray, " rows"]:
    """An estimate of ``-log p(tokens)`` for sampling in a blind order with one latent drawn first; for small problems.

    ``-log mean_s p(tokens | order_s, z_s) p(z_s) / q(z_s | tokens)`` over orders and latents of the recognition
    network. Its expectation is a bound for any number of samples; it falls with them, to ``-log p(tokens)`` itself
    (arXiv 1509.00519). How many it takes grows with how much the paths differ, and where ``q`` is narrower than the
    true posterior: a few tokens, not a few hundred. A denoiser that needs no latent is taken as well; orders are then
    all that is averaged over.

    Args:
        denoiser: the model; not redrawn.
        params: its parameters.
        tokens: int32[rows, length].
        plan: a plan, a grid (ancestral sampling) or another blind order.
        samples: orders and latents for each row. Those of a smaller number are the first of those of a larger one.
        key: a typed PRNG key.

    Returns:
        float64[rows], nats per sequence; infinite where no sample allows the sequence.

    Raises:
        InputError: no rows, an id that is no token's, a plan of another length, latents that are redrawn.

    Source: arXiv 1509.00519 (importance weighting); over orders and latents: ours.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(3, 0.5)
        >>> row, steps = np.asarray([[1, 1, 0]]), mdm.plans.uniform(3, 3)  # one at a time is exact, in every order
        >>> mdm.evaluation.importance_weighted_nll(world.denoiser, world.params, row, steps, samples=4, key=mdm.key(0))
        array([2.7726])
        >>> print(world.log_prob(row))
        [-2.77258872]
    """
    weights = log_weights(denoiser, params, tokens, plan, samples, key)
    return np.log(len(weights)) - scipy.special.logsumexp(weights, axis=0)


def log_weights(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    plan: Plan | Grid | Blind,
    samples: int,
    key: PRNGKeyArray,
) -> Float[np.ndarray, "samples rows"]:
    """``log p(tokens | order, z) p(z) / q(z | tokens)`` of each sample: as :func:`importance_weighted_nll` takes it."""
    require_model(denoiser, params)
    tokens, key = sequences(denoiser, tokens), threefry(key)
    samples = require_whole("samples", samples, 1, LARGEST)
    good = isinstance(plan, Plan | Grid | Blind)
    require(good, "plan", plan, "a plan, a grid or a blind order")
    order = in_blocks_of(denoiser, plan if isinstance(plan, Blind) else Blind(plan))
    latent = needs_latents(denoiser)
    require_not_redrawn(denoiser)
    size = min(ROWS, len(tokens))
    blocks = np.pad(np.arange(len(tokens), dtype=np.int32), (0, -len(tokens) % size), mode="edge").reshape(-1, size)
    found = np.zeros((samples, blocks.size))
    for block, ids in enumerate(blocks):
        rows, seen = jnp.asarray(ids), jnp.asarray(tokens[ids])
        for sample in range(samples):
            latent_key, order_key = jax.random.split(jax.random.fold_in(key, sample))
            context, ratio = _latents(latent_model(denoiser), params, seen, latent_key, rows) if latent else (None, 0.0)
            steps = order.reveal_step(order_key, present(seen), rows)
            path = path_log_prob(denoiser, params, seen, steps, context, key=order_key, row_ids=rows)
            found[sample, block * size : (block + 1) * size] = np.asarray(path, np.float64) + np.asarray(ratio)
    return found[:, : len(tokens)]


@functools.partial(jax.jit, static_argnames="model")
def _latents(
    model: LatentModel, params: Params, tokens: Array, key: PRNGKeyArray, rows: Array
) -> tuple[Context, Float[Array, " rows"]]:
    """A latent of each row from the recognition network, and ``log p(z) / q(z | tokens)``."""
    law = model.posterior(params, tokens, jnp.ones(tokens.shape, bool))
    latents = law.sample(row_noise(key, rows, model.latent_shape))
    return latents, model.log_prior(params, latents) - law.log_prob(latents)

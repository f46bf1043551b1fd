"""Measuring a model's information profile: the loss by number of revealed tokens."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.progress import bar
from mdm_jax.theory.profiles import Profile
from mdm_jax.training.losses import masked_cross_entropy

BATCH = 32
"""Sequences per forward pass."""


def estimate_profile(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    passes: int = 4096,
    *,
    key: PRNGKeyArray,
    counts: Int[np.ndarray, " m"] | None = None,
    progress: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Profile:
    """Measure ``g(i)`` on held-out sequences (estimator E1), unbiased at the measured counts.

    Each sequence gets a uniformly random order; its first ``i`` positions are revealed and the mean cross-entropy of
    the others is recorded, at every measured count with the *same* nested order (common random numbers: differences
    of ``g`` are what schedules depend on). If ``passes`` allows, each sequence gets several orders. Standard errors
    treat sequences as independent and orders of one sequence as its repeats.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length], held-out sequences, at least two.
        passes: number of sequences to encode in all (rows x orders x counts); rounded to whole orders. With too few
            for every row, a random subset of the rows is used.
        key: a typed PRNG key; the order of row ``r`` depends on it and on ``r`` alone.
        counts: the numbers of revealed tokens at which to measure, from 0 to ``length - 1``;
            :func:`default_counts` if left out.
        progress: show a progress bar.
        provenance: JSON to store with the profile.

    Raises:
        InputError: fewer than two rows, or fewer passes than two orders need.

    Source: arXiv 2510.25544; unbiasedness derived and tested.
    """
    tokens = np.asarray(tokens, dtype=np.int32)
    shape = verbatim(f"shape {tokens.shape}")
    require(tokens.ndim == 2 and len(tokens) >= 2, "tokens", shape, "of shape [rows, length] with at least 2 rows")
    length = tokens.shape[1]
    counts = default_counts(length) if counts is None else np.unique(np.asarray(counts, dtype=np.int64))
    require(passes >= 2 * len(counts), "passes", passes, f"at least {2 * len(counts)}, two for each count measured")

    rows = min(len(tokens), passes // len(counts))
    orders = max(1, passes // (len(counts) * rows))
    chosen = np.sort(np.asarray(jax.random.permutation(jax.random.fold_in(key, len(tokens)), len(tokens)))[:rows])
    batch = min(BATCH, rows)
    # The last batch is filled with repeats of its last row, so that one shape serves; they are dropped afterwards.
    padded = np.pad(chosen, (0, -rows % batch), mode="edge").reshape(-1, batch)

    losses = np.zeros((padded.size, len(counts)))
    with bar(total=padded.size * orders * len(counts), description="profile", unit="pass", show=progress) as advance:
        for order in range(orders):
            order_key = jax.random.fold_in(key, order)
            for block, ids in enumerate(padded):
                rank = _ranks(order_key, jnp.asarray(ids), length)
                batch_tokens = jnp.asarray(tokens[ids])
                at = slice(block * batch, (block + 1) * batch)
                loss = _loss_at_counts(denoiser, params, batch_tokens, rank, jnp.asarray(counts, jnp.int32))
                losses[at] += np.asarray(loss, dtype=np.float64).T / orders
                advance(batch * len(counts))
    losses = losses[:rows]
    return Profile(
        length=length,
        counts=counts,
        means=losses.mean(axis=0),
        covariance=np.cov(losses, rowvar=False, ddof=1).reshape(len(counts), len(counts)) / rows,
        provenance={"estimator": "E1", "rows": rows, "orders_per_row": orders, **(provenance or {})},
    )


def default_counts(length: int, most: int = 24) -> Int[np.ndarray, " m"]:
    """About ``most`` counts from 0 to ``length - 1``, spaced geometrically from both ends, where profiles bend."""
    if length <= most:
        return np.arange(length)
    half = np.geomspace(1, length / 2, most // 2) - 1
    return np.unique(np.round(np.concatenate([half, length - 1 - half])).astype(np.int64))


@functools.partial(jax.jit, static_argnums=2)
def _ranks(key: PRNGKeyArray, rows: Int[Array, " batch"], length: int) -> Int[Array, "batch length"]:
    bits = jax.vmap(lambda row: jax.random.bits(jax.random.fold_in(key, row), (length,)))(rows)
    return jnp.argsort(jnp.argsort(bits, axis=-1), axis=-1)


@functools.partial(jax.jit, static_argnums=0)
def _loss_at_counts(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "batch length"],
    rank: Int[Array, "batch length"],
    counts: Int[Array, " m"],
) -> Float[Array, "m batch"]:
    """Mean cross-entropy of the masked positions when the first-ranked ``count`` are revealed, nats per token."""

    def at_count(count: Array) -> Array:
        masked = rank >= count
        corrupted = jnp.where(masked, denoiser.mask_id, tokens)
        entropy = masked_cross_entropy(denoiser, params, tokens, corrupted, masked)
        return jnp.sum(entropy, axis=-1) / (tokens.shape[1] - count)

    return jax.lax.map(at_count, counts)

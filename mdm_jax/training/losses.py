"""The training objective, per example."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Context, Denoiser, Params, checked_tokens, logits
from mdm_jax.models.extending import by_rank, require_unordered
from mdm_jax.support.keys import threefry
from mdm_jax.training.corruption import Corrupted, mask_counts

ROWS = 32
"""Rows of :func:`in_chunks` that are encoded together."""


def require_maskable(denoiser: Denoiser) -> None:
    """Refuse a model that goes by ranks or by blocks: with any set of positions masked it would be of another law.

    Raises:
        InputError: it is one.
    """
    own = "AnyOrderNelbo" if by_rank(denoiser) else "BlockNelbo"
    wanted = f"a function of what is revealed in any order (this one is for training.{own} and "
    wanted += "evaluation.held_out_nelbo; models.without_cache(denoiser) is one, of another law)"
    require_unordered(denoiser, wanted)


def masked_cross_entropy(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "rows length"],
    corrupted_tokens: Int[Array, "rows length"],
    masked: Bool[Array, "rows length"],
    context: Context = None,
) -> Float[Array, "rows length"]:
    """``-log p(token)`` in nats at the masked positions, 0 elsewhere: float32[rows, length].

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: the truth.
        corrupted_tokens: what the model sees.
        masked: where to predict.
        context: passed to the denoiser.

    Raises:
        InputError: ids that are no token's, or (corrupted) neither a token's nor the mask's; seen outside of ``jit``
            only, where an id beyond the vocabulary costs what the denoiser's logits happen to add up to. A model that
            goes by ranks or by blocks.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(3, 0.5)  # after 1, 1 the next is 1 with probability 5/6
        >>> truth, seen = jnp.asarray([[1, 1, 1]]), jnp.asarray([[1, 1, 2]])
        >>> print(mdm.training.masked_cross_entropy(world.denoiser, world.params, truth, seen, seen == 2))
        [[0.        0.        0.1823216]]
    """
    require_maskable(denoiser)
    tokens = checked_tokens(denoiser, tokens)
    corrupted_tokens = checked_tokens(denoiser, corrupted_tokens, "corrupted_tokens", masks=True)
    scores = logits(denoiser, params, corrupted_tokens, context)
    return jnp.where(masked, cross_entropy(scores, tokens), 0.0)


def cross_entropy(
    scores: Float[Array, "rows length vocab_size"], tokens: Int[Array, "rows length"]
) -> Float[Array, "rows length"]:
    """``-log p(token)`` at every position, nats, of logits."""
    # A gather's gradient is a scatter; a comparison with the vocabulary fuses on every backend.
    hit = tokens[:, :, None] == jnp.arange(scores.shape[-1], dtype=tokens.dtype)[None, None, :]
    return jax.nn.logsumexp(scores, axis=-1) - jnp.sum(jnp.where(hit, scores, 0.0), axis=-1)


def nelbo(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "rows length"],
    corrupted: Corrupted,
    context: Context = None,
) -> Float[Array, " rows"]:
    """Unbiased one-sample estimate of each row's NELBO, nats per sequence: float32[rows].

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: the truth.
        corrupted: what :func:`~mdm_jax.training.corruption.mask_counts` or ``mask_times`` made of it.
        context: passed to the denoiser.

    Raises:
        InputError: as :func:`masked_cross_entropy`.

    Source: MDLM (arXiv 2406.07524), MD4 (arXiv 2406.04329); arXiv 2509.13866, C.2; ``DERIVATIONS.md``, "The NELBO does
    not know the schedule".

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> coins = mdm.oracles.polya(8, 1e6)  # fair ones: 8 log 2, whatever is masked
        >>> tokens = coins.sample(mdm.key(0), rows=2)
        >>> corrupted = mdm.training.mask_counts(mdm.key(1), tokens, mask_id=2)
        >>> print(mdm.training.nelbo(coins.denoiser, coins.params, tokens, corrupted))
        [5.5452 5.5452]
    """
    entropy = masked_cross_entropy(denoiser, params, tokens, corrupted.tokens, corrupted.masked, context)
    return corrupted.weight * jnp.sum(entropy, axis=-1)


def stratified_nelbo(
    denoiser: Denoiser, params: Params, tokens: Int[Any, "rows length"], *, key: PRNGKeyArray
) -> Float[Array, " rows"]:
    """Each row's NELBO estimate with mask counts stratified over the rows, nats per sequence: float32[rows].

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: whole numbers [rows, length], complete.
        key: a typed PRNG key, of the masks.

    Raises:
        InputError: ids that are no token's (seen outside of ``jit`` only), or no key.

    Example:
        >>> import mdm_jax as mdm
        >>> coins = mdm.oracles.polya(8, 1e6)  # fair ones: 8 log 2, whatever is masked
        >>> tokens = coins.sample(mdm.key(0), rows=2)
        >>> print(mdm.training.stratified_nelbo(coins.denoiser, coins.params, tokens, key=mdm.key(1)))
        [5.5452 5.5452]
    """
    return _stratified_nelbo(denoiser, params, checked_tokens(denoiser, tokens), threefry(key))


@functools.partial(jax.jit, static_argnums=0)
def _stratified_nelbo(denoiser: Denoiser, params: Params, tokens: Array, key: PRNGKeyArray) -> Array:
    batch = tokens, mask_counts(key, tokens, denoiser.mask_id)
    return in_chunks(lambda *chunk: nelbo(denoiser, params, *chunk), batch)


def in_chunks(function: Callable[..., Any], arrays: Any) -> Any:
    """``function(*arrays)``, ``ROWS`` rows at a time: the memory it needs does not grow with their number.

    Args:
        function: of arrays with a leading axis of rows, row by row; it returns a pytree of such arrays.
        arrays: a tuple of pytrees of arrays, all with the same number of rows.
    """
    rows = jax.tree.leaves(arrays)[0].shape[0]

    def chunked(leaf: Array) -> Array:
        filled = jnp.concatenate([leaf, jnp.repeat(leaf[-1:], -rows % ROWS, axis=0)])
        return filled.reshape(-1, ROWS, *leaf.shape[1:])

    made = jax.lax.map(lambda chunk: function(*chunk), jax.tree.map(chunked, arrays))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:rows], made)

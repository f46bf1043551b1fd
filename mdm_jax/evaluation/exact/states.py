"""Every partial state of a small world, what a denoiser says in each, and its profile: exactly.

A partial state is a row of ``length`` tokens, some of them masked; there are ``(vocab_size + 1)^length``. Their order
is lexicographic: a state is a number in base ``vocab_size + 1``, the first position its leading digit, the mask the
digit ``vocab_size``.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from mdm_jax.models import denoiser as contract
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.extending import require_unordered
from mdm_jax.support.errors import InputError, require, require_whole, verbatim
from mdm_jax.theory.energies import enumeration

MOST_STATES = 100_000
"""The largest ``(vocab_size + 1)^length``."""
_MOST_ENTRIES = 2**26
_ROWS = 4096

Numbers = ArrayLike | Sequence[float]
"""What can be made a float array."""


def all_states(length: int, vocab_size: int) -> Int[np.ndarray, "states length"]:
    """Every partial state, ``int32[(vocab_size + 1)^length, length]``, in the order of this module.

    Args:
        length: of the sequences.
        vocab_size: number of real tokens, 2 or more; the mask is ``vocab_size``.

    Raises:
        InputError: more than :data:`MOST_STATES`, or more than 2^26 conditional probabilities.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.evaluation.exact.all_states(length=2, vocab_size=2).tolist()  # 2 is the mask
        [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]]
    """
    length, vocab_size = require_whole("length", length, 1), require_whole("vocab_size", vocab_size, 2)
    require(length <= MOST_STATES, "length", length, f"at most {MOST_STATES}")  # before the power is taken
    states = (vocab_size + 1) ** length
    few = states <= MOST_STATES and states * length * vocab_size <= _MOST_ENTRIES
    given = verbatim(f"{vocab_size + 1}^{length}")
    require(few, "(vocab_size + 1)^length", given, f"at most {MOST_STATES} (8000 for a single token)")
    return enumeration.all_states(length, vocab_size, MOST_STATES).astype(np.int32)


def conditionals(
    denoiser: Denoiser, params: Params, length: int, context: Context = None
) -> Float[Array, "states length vocab_size"]:
    """What a denoiser says in every partial state: log-probabilities, float32, in nats.

    The laws that are made of these are of orders over the whole sequence.

    Args:
        denoiser: a trained model or an oracle's; ``vocab_size`` includes a mask that lies inside the logits.
        params: its parameters.
        length: of the sequences.
        context: passed to the denoiser, leading axis 1; the same for all states.

    Raises:
        InputError: too many states (see :func:`all_states`), logits of a masked position that are no law, or a model
            that goes by ranks, whose law is no function of the state, or by blocks, which ``sample`` takes in turn.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.polya(2, 0.5)
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=2)
        >>> logits.shape
        (9, 2, 2)
        >>> print(jnp.exp(logits[2, 1]))  # 0 and a mask: another 0 is three times as likely
        [0.75 0.25]
    """
    require_unordered(denoiser, "a function of what is revealed in any order, as models.without_cache(denoiser) is")
    states = all_states(length, denoiser.vocab_size)
    rows = min(_ROWS, len(states))
    tokens = np.where(states == denoiser.vocab_size, denoiser.mask_id, states)
    padded = np.pad(tokens, ((0, -len(states) % rows), (0, 0)), mode="edge").reshape(-1, rows, length)
    values = _conditionals(denoiser, params, jnp.asarray(padded), context)
    values = values.reshape(-1, length, denoiser.vocab_size)[: len(states)]
    if not isinstance(values, jax.core.Tracer):
        broken = np.argwhere(np.isnan(np.asarray(values)).any(axis=-1) & (states == denoiser.vocab_size))
        for state, position in broken.tolist():
            raise InputError(
                "the denoiser's logits must be finite, or -inf for tokens that it rules out, but not for all; at "
                f"position {position} of {tokens[state].tolist()} they are not."
            )
    return values


@functools.partial(jax.jit, static_argnames="denoiser")
def _conditionals(denoiser: Denoiser, params: Params, tokens: Array, context: Context) -> Array:
    rows = tokens.shape[1]
    shared = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape[1:])), context)

    def of_chunk(chunk: Array) -> Array:
        return jax.nn.log_softmax(contract.logits(denoiser, params, chunk, shared), axis=-1)

    return jax.lax.map(of_chunk, tokens)


def exact_profile(logits: Float[Array, "states length vocab_size"], target: Numbers) -> Float[Array, " length"]:
    """The denoiser's profile ``g(0) .. g(length - 1)`` on data from ``target``, nats per token, without sampling.

    ``g(i)`` is the mean of ``-log p(x_j | x_S)`` over the data, uniformly random sets ``S`` of ``i`` positions and
    uniformly random ``j`` outside. ``profiles.from_values`` makes it a profile; differentiable in ``logits``.

    Args:
        logits: of every partial state, as from :func:`conditionals`.
        target: the law of the data, ``float[vocab_size^length]`` or of shape ``(vocab_size,) * length``.

    Raises:
        InputError: a target of other states, or one that is no law (seen only where it is not traced).

    Source: arXiv 2510.25544 for the profile; the sum over all states is ours.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=5)
        >>> print(mdm.evaluation.exact.exact_profile(logits, world.probabilities))
        [0.6931 0. 0. 0. 0.]
    """
    target = target if isinstance(target, jax.core.Tracer) else checked_target(logits, target)
    return _exact_profile(logits, jnp.asarray(target, logits.dtype).reshape(-1))


@jax.jit
def _exact_profile(logits: Array, target: Array) -> Array:
    length, vocab_size = sizes_of(logits)
    base, marginal = vocab_size + 1, target
    for j in range(length):
        rows = marginal.reshape(base**j, vocab_size, -1)
        marginal = jnp.concatenate([rows, jnp.sum(rows, axis=1, keepdims=True)], axis=1)
    marginal = marginal.reshape(-1)
    masked = masked_in(length, vocab_size)
    totals = jnp.zeros(length + 1, logits.dtype)
    for j in range(length):
        together = marginal.reshape(base**j, base, -1)[:, :vocab_size]
        log_prob = jnp.moveaxis(where_masked(jax.nn.log_softmax, logits, j), -1, 1)
        here = together > 0
        cost = jnp.sum(jnp.where(here, -together * jnp.where(here, log_prob, 0.0), 0.0), axis=1)
        count = masked.reshape(base**j, base, -1)[:, vocab_size]
        totals = totals.at[jnp.asarray(count.reshape(-1))].add(cost.reshape(-1))
    left = np.arange(length, 0, -1)
    return totals[jnp.asarray(left)] / jnp.asarray(left * scipy.special.binom(length, left), logits.dtype)


def checked_target(logits: Array, target: Numbers) -> Float[np.ndarray, " sequences"]:
    """A law of the sequences that ``logits`` are about, as float64.

    Args:
        logits: of every partial state, as from :func:`conditionals`; their shape alone counts.
        target: ``float[vocab_size^length]`` or of shape ``(vocab_size,) * length``.

    Raises:
        InputError: one of other sequences, or one that is negative somewhere or does not sum to 1.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> logits = mdm.evaluation.exact.conditionals(world.denoiser, world.params, length=5)
        >>> mdm.evaluation.exact.checked_target(logits, world.probabilities).shape
        (32,)
    """
    length, vocab_size = sizes_of(logits)
    law = as_float64(target).reshape(-1)
    good = law.size == vocab_size**length and bool((law >= 0).all() and abs(law.sum() - 1) < 1e-4)
    wanted = f"a law of the {vocab_size}^{length} sequences that logits are about"
    require(good, "target", target if law.ndim == 0 else law.tolist(), wanted)
    return law


def as_float64(values: Any) -> Float[np.ndarray, "*any"]:
    """An array of numbers; one NaN where they are none."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return np.full(1, np.nan)


def sizes_of(logits: Array) -> tuple[int, int]:
    """``(length, vocab_size)``."""
    wanted = "conditionals of all (vocab_size + 1)^length partial states"
    shape = np.shape(logits)
    good = isinstance(logits, jax.Array | np.ndarray) and len(shape) == 3 and shape[0] == (shape[2] + 1) ** shape[1]
    require(good and jnp.issubdtype(logits.dtype, jnp.floating), "logits", verbatim(f"shape {shape}"), wanted)
    _, length, vocab_size = shape
    return length, vocab_size


@functools.lru_cache(maxsize=8)
def masked_in(length: int, vocab_size: int) -> Int[np.ndarray, " states"]:
    """How many positions are masked in each state."""
    return np.sum(all_states(length, vocab_size) == vocab_size, axis=1)


def where_masked(function: Callable[..., Array], logits: Array, position: int) -> Array:
    """``function`` of the logits at ``position`` in the states that mask it: [before, after, vocab_size]."""
    _, length, vocab_size = logits.shape
    base = vocab_size + 1
    mine = logits[:, position].reshape(base**position, base, base ** (length - position - 1), vocab_size)
    return function(mine[:, vocab_size], axis=-1)

"""One step of a sampler in a small world: mass over partial states before it to mass over those after it.

A step moves mass along the pairs ``(state before, state after)``. For each position there are ``2 vocab_size + 1`` of
them (a token before, a mask that stays, a token drawn now), hence ``(2 vocab_size + 1)^length`` in all, laid out as a
tensor with one axis per position. What does not change from step to step, the probabilities of the tokens drawn, is
computed once (:func:`chances`); a step (:func:`move`) spreads the mass over the tensor axis by axis and sums it up
again. No index is looked up and no matrix is built.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from mdm_jax.evaluation.exact.states import where_masked


def all_masked(logits: Array) -> Array:
    return jnp.zeros(logits.shape[0], logits.dtype).at[-1].set(1.0)


def complete(mass: Array, length: int, vocab_size: int) -> Array:
    """The mass of states without a mask."""
    for j in range(length):
        mass = mass.reshape(vocab_size**j, vocab_size + 1, -1)[:, :vocab_size]
    return mass.reshape(-1)


def drawn_everywhere(logits: Array) -> tuple[list[Array], list[Array]]:
    """``stay[before, after]``, all 1, and ``drawn[before, after, vocab_size]`` for each position."""
    drawn = [where_masked(jax.nn.softmax, logits, j) for j in range(logits.shape[1])]
    return [jnp.ones_like(law[:, :, 0]) for law in drawn], drawn


def chances(stay: Sequence[Array], drawn: Sequence[Array]) -> Array:
    """The product over positions, for every pair of states: float[(2 vocab_size + 1)^length].

    A digit of a pair says what became of a position: below ``vocab_size`` a token that was there before; at
    ``vocab_size`` a mask that stays (factor ``stay``); above, a token drawn now (factor ``drawn``). Factors depend on
    the state before, so they are spread over the digits of the other positions.
    """
    length, vocab_size = len(drawn), drawn[0].shape[-1]
    product = jnp.ones((), drawn[0].dtype)
    for j, (kept, law) in enumerate(zip(stay, drawn)):
        law = jnp.moveaxis(law, -1, 1)
        factor = jnp.concatenate([jnp.ones_like(law), kept[:, None, :], law], axis=1)
        product = product * spread(factor, [i for i in range(length) if i != j], vocab_size)
    return product


def spread(values: Array, positions: Sequence[int], vocab_size: int) -> Array:
    """Turn the digits of a state, at these positions (rising), into those of a pair, whatever becomes of a mask."""
    for j in positions:
        rows = values.reshape((2 * vocab_size + 1) ** j, vocab_size + 1, -1)
        masked = jnp.broadcast_to(rows[:, vocab_size:], (rows.shape[0], vocab_size, rows.shape[2]))
        values = jnp.concatenate([rows, masked], axis=1)
    return values.reshape(-1)


def move(
    mass: Array, chances: Array, length: int, vocab_size: int, stay: ArrayLike = 1.0, go: ArrayLike = 1.0
) -> Array:
    """One step: mass over states before to mass over states after, each stay and each draw weighed further."""
    pairs = spread(mass, range(length), vocab_size) * chances
    for j in range(length):
        rows = pairs.reshape((vocab_size + 1) ** j, 2 * vocab_size + 1, -1)
        revealed = rows[:, :vocab_size] + go * rows[:, vocab_size + 1 :]
        pairs = jnp.concatenate([revealed, stay * rows[:, vocab_size : vocab_size + 1]], axis=1)
    return pairs.reshape(-1)

"""Tiny any-order models whose parameters are all random; a double of their cache that keeps tokens and ranks only."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax import models

LENGTH, VOCAB = 12, 5
LATER = np.iinfo(np.int32).max


@functools.cache
def tiny(length=LENGTH, vocab_size=VOCAB, context=0, depth=2, width=16, scale=0.3):
    """``(model, params)``: outputs start at zero, so that fresh parameters would show nothing."""
    model = models.any_order(vocab_size, length=length, width=width, depth=depth, heads=2)
    given = jnp.zeros((1, context), jnp.float32) if context else None
    leaves, tree = jax.tree.flatten(jax.eval_shape(lambda: model.init(jax.random.key(0), length, given)))
    rng = np.random.default_rng(0)
    noise = [(scale * rng.normal(size=leaf.shape) + (leaf.ndim == 1)).astype(np.float32) for leaf in leaves]
    return model, jax.tree.unflatten(tree, [jnp.asarray(leaf) for leaf in noise])


class Told(NamedTuple):
    """All that :class:`Recomputed` keeps: int32[rows, length] twice, int32[rows]."""

    tokens: Any
    rank: Any
    absorbed: Any


@dataclasses.dataclass(frozen=True)
class Recomputed:
    """The contract of a model with a cache, kept by encoding everything anew in one ranked pass."""

    model: Any
    slots: tuple[int, ...] = (3, 5)
    passes = 1

    @property
    def vocab_size(self):
        return self.model.vocab_size

    @property
    def mask_id(self):
        return self.model.mask_id

    def encode(self, params, tokens, context=None):
        return self.model.encode(params, tokens, context)

    def encode_ranked(self, params, tokens, rank, bound, context=None):
        return self.model.encode_ranked(params, tokens, rank, bound, context)

    def readout(self, params, hidden):
        return self.model.readout(params, hidden)

    def empty(self, params, rows, length, slots, context=None):
        del params, slots, context
        blank = jnp.full((rows, length), self.mask_id, jnp.int32)
        return Told(blank, jnp.full((rows, length), LATER, jnp.int32), jnp.zeros(rows, jnp.int32))

    def extend(self, params, cache, positions, tokens, revealed, context=None):
        rows, length = cache.tokens.shape
        slot = jnp.arange(positions.shape[1], dtype=jnp.int32)[None]
        row = jnp.arange(rows, dtype=jnp.int32)[:, None]
        at = jnp.where(slot < revealed[:, None], positions, length)
        held = cache.tokens.at[row, at].set(tokens, mode="drop")
        rank = cache.rank.at[row, at].set(cache.absorbed[:, None] + slot, mode="drop")
        absorbed = cache.absorbed + revealed
        bound = jnp.broadcast_to(absorbed[:, None], held.shape)
        hidden = self.model.encode_ranked(params, held, rank, bound, context)
        asked = jnp.minimum(positions, length - 1)[..., None]
        return Told(held, rank, absorbed), jnp.take_along_axis(hidden, asked, axis=1)


def random_ranks(rows, length=LENGTH, seed=0):
    """An order for each row: int32[rows, length]."""
    return np.argsort(np.random.default_rng(seed).random((rows, length)), axis=1).astype(np.int32)


def random_tokens(rows, length=LENGTH, vocab_size=VOCAB, seed=1):
    return np.random.default_rng(seed).integers(0, vocab_size, (rows, length)).astype(np.int32)

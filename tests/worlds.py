"""Small exact worlds that tests share: joint tables whose every conditional is known."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax import models


def random_table(length: int, vocab_size: int, seed: int) -> np.ndarray:
    """A positive joint law: float64[(vocab_size,) * length], summing to one."""
    table = np.random.default_rng(seed).dirichlet(np.full(vocab_size**length, 0.5))
    return table.reshape((vocab_size,) * length)


def conditional(table: np.ndarray, tokens: tuple[int, ...], mask_id: int, position: int) -> np.ndarray:
    """``p(x_position | revealed tokens)`` by summing the table, in NumPy."""
    index = tuple(slice(None) if token == mask_id else token for token in tokens)
    rest = table[index]
    free = [j for j, token in enumerate(tokens) if token == mask_id]
    axes = tuple(axis for axis, j in enumerate(free) if j != position)
    law = rest.sum(axis=axes)
    return law / law.sum()


@functools.cache
def _lookup(length: int, vocab_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-conditionals of every partial state: [(vocab_size + 1)^length, length, vocab_size]."""
    table = random_table(length, vocab_size, seed)
    logits = np.zeros(((vocab_size + 1) ** length, length, vocab_size))
    for code, tokens in enumerate(itertools.product(range(vocab_size + 1), repeat=length)):
        for j in range(length):
            if tokens[j] == vocab_size:
                logits[code, j] = np.log(conditional(table, tokens, vocab_size, j))
    return table, logits


def lookup_logits(params, tokens):
    """Logits of a table of partial states; ``params`` is the table, the code of a state its base-(V+1) number."""
    length, vocab_size = params.shape[1:]
    powers = (vocab_size + 1) ** jnp.arange(length - 1, -1, -1, dtype=jnp.int32)
    return params[jnp.sum(tokens * powers[None, :], axis=-1, dtype=jnp.int32)]


def exact_world(length: int = 3, vocab_size: int = 3, seed: int = 0):
    """``(table, denoiser, params)``: a joint law and the denoiser that knows it."""
    table, logits = _lookup(length, vocab_size, seed)
    return table, models.from_function(lookup_logits, vocab_size), jnp.asarray(logits, jnp.float32)


def wrong_world(length: int = 3, vocab_size: int = 3, seed: int = 0):
    """``(denoiser, params)`` with random conditionals that belong to no joint law."""
    shape = ((vocab_size + 1) ** length, length, vocab_size)
    params = jax.random.normal(jax.random.key(seed, impl="threefry2x32"), shape, jnp.float32)  # under any flag
    return models.from_function(lookup_logits, vocab_size), params


def draw_rows(table: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Exact samples of a joint table: int32[rows, length]."""
    flat = np.random.default_rng(seed).choice(table.size, size=rows, p=table.ravel())
    return np.stack(np.unravel_index(flat, table.shape), axis=1).astype(np.int32)

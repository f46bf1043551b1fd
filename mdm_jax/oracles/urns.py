"""The Polya urn: coin tosses with a hidden bias. Only counts matter, so everything has a closed form."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.adapters import FunctionDenoiser, from_function
from mdm_jax.oracles.oracle import checked_length, checked_rows, checked_tokens, conditional_logits, draw, row_keys
from mdm_jax.support.errors import require_number
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry

LEAST, MOST = 1e-30, 1e30
"""Weights that float32 holds with room to spare: below, what is rare would be impossible."""


@dataclasses.dataclass(frozen=True)
class PolyaUrn:
    """Bits that are independent given a hidden ``P(1) ~ Beta(a, b)``; an :class:`~mdm_jax.oracles.oracle.Oracle`.

    Equivalently, an urn with weights ``a`` (ones) and ``b`` (zeros), to which each draw adds one of its own kind. The
    denoiser takes sequences of any length.

    Attributes:
        length: number of bits.
        a: weight of ones.
        b: weight of zeros.

    Example:
        >>> import mdm_jax as mdm
        >>> urn = mdm.oracles.polya(8, 0.5)
        >>> urn.sample(mdm.key(0), rows=4).shape, urn.vocab_size, urn.params.tolist()
        ((4, 8), 2, [0.5, 0.5])
    """

    length: int
    a: float
    b: float

    @property
    def vocab_size(self) -> int:
        """Number of tokens, and the id of the mask."""
        return 2

    @property
    def denoiser(self) -> FunctionDenoiser:
        """The exact denoiser, in the contract of ``models``."""
        return from_function(_logits, self.vocab_size)

    @property
    def params(self) -> Float[Array, " two"]:
        """The weights of zeros and of ones, float32[2]."""
        return jnp.asarray([self.b, self.a], jnp.float32)

    def sample(self, key: PRNGKeyArray, rows: int) -> Int[Array, "rows length"]:
        """Independent exact samples, int32[rows, length]: :meth:`mdm_jax.oracles.Oracle.sample`."""
        with usual(key):
            return _sample(self.params, threefry(key), checked_rows(rows), self.length)

    def log_prob(self, tokens: ArrayLike) -> Float[np.ndarray, " rows"]:
        """``log p(x)`` of complete sequences, nats: float64[rows]; :meth:`mdm_jax.oracles.Oracle.log_prob`."""
        ones = checked_tokens(tokens, self.length, 2).sum(axis=1)
        # Sums of logarithms of the urn's weights: large weights cancel in beta functions.
        drawn = np.arange(self.length)
        one, zero, all_ = (np.cumsum(np.append(0.0, np.log(drawn + w))) for w in (self.a, self.b, self.a + self.b))
        return one[ones] + zero[self.length - ones] - all_[-1]

    def entropy(self) -> float:
        """``H(X)`` in nats: the sum of :meth:`entropies`."""
        return float(self.entropies().sum())

    def entropies(self) -> Float[np.ndarray, " length"]:
        """``h(i)``: the entropy of the next draw, averaged over the beta-binomial number of ones among ``i``.

        Source: ``DERIVATIONS.md``, "Urns".
        """
        law, values = np.ones(1), []  # law[c]: probability of c ones so far
        for i in range(self.length):
            one = (np.arange(i + 1) + self.a) / (i + self.a + self.b)
            zero = (i - np.arange(i + 1) + self.b) / (i + self.a + self.b)
            values.append(law @ (scipy.special.entr(one) + scipy.special.entr(zero)))
            law = np.append(law * zero, 0.0) + np.append(0.0, law * one)
        return np.array(values)


def polya(length: int, a: float | int = 0.5, b: float | int | None = None) -> PolyaUrn:
    """Bits that are independent given a hidden ``P(1) ~ Beta(a, b)``.

    Args:
        length: number of bits.
        a: weight of ones, from 1e-30 to 1e30 (the denoiser keeps it in float32).
        b: weight of zeros; ``a`` if left out.

    Raises:
        InputError: a length below 1, or weights out of that range.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> urn = mdm.oracles.polya(2, 1.0)  # any bias equally likely
        >>> np.exp(urn.log_prob(np.array([[0, 0], [0, 1]]))).tolist()  # 1/3 and 1/6
        [0.3333, 0.1667]
        >>> mdm.oracles.polya(8, 0.5).entropies().round(3).tolist()  # the exact profile
        [0.693, 0.562, 0.511, 0.484, 0.466, 0.454, 0.445, 0.439]
    """
    length = checked_length(length)
    b = a if b is None else b
    for name, weight in {"a": a, "b": b}.items():
        require_number(name, weight, LEAST, MOST, f"a positive number, from {LEAST:g} to {MOST:g}")
    return PolyaUrn(length, float(a), float(b))


@jax.jit
def _logits(params: Float[Array, " two"], tokens: Int[Array, "rows length"]) -> Float[Array, "rows length 2"]:
    counts = jnp.stack([jnp.sum(tokens == kind, axis=-1, dtype=jnp.int32) for kind in (0, 1)], axis=-1)
    scores = jnp.log(counts.astype(params.dtype) + params[None, :])
    scores = jnp.broadcast_to(scores[:, None, :], (*tokens.shape, 2))
    return conditional_logits(scores, tokens, jnp.ones(len(tokens), bool))


@functools.partial(jax.jit, static_argnames=("rows", "length"))
def _sample(params: Float[Array, " two"], key: PRNGKeyArray, rows: int, length: int) -> Int[Array, "rows length"]:
    keys = row_keys(key, rows)

    def step(weights: Array, position: Array) -> tuple[Array, Array]:
        tokens = draw(keys, position, jnp.log(weights))
        return weights + jax.nn.one_hot(tokens, 2, dtype=weights.dtype), tokens

    start = jnp.broadcast_to(params[None, :], (rows, 2))
    return jax.lax.scan(step, start, jnp.arange(length, dtype=jnp.int32))[1].T

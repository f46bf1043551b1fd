"""Mixtures of product laws: positions that are independent given a hidden component."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.adapters import FunctionDenoiser, from_function
from mdm_jax.oracles.oracle import (
    as_numbers,
    checked_length,
    checked_rows,
    checked_tokens,
    conditional_logits,
    draw,
    log_of,
    require_laws,
    row_keys,
)
from mdm_jax.oracles.tables import tabulate
from mdm_jax.support.errors import require, require_number, require_whole, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """Positions that are independent given one of K hidden components; an :class:`~mdm_jax.oracles.oracle.Oracle`.

    Entropies have no closed form: they are summed over all states where those are at most 2^16, and refused otherwise
    (``evaluation.estimate_profile`` with :meth:`sample` measures the profile then).

    Attributes:
        weights: float64[components], probabilities of the components.
        probabilities: float64[components, length, vocab_size], each component's law of each position.

    Example:
        >>> import mdm_jax as mdm
        >>> saws = mdm.oracles.binsaw(8, shifts=16)
        >>> saws.probabilities.shape, saws.entropy()  # of at most 8 log 2 = 5.545
        ((16, 8, 2), 5.1665)
    """

    weights: Float[np.ndarray, " components"]
    probabilities: Float[np.ndarray, "components length vocab_size"]

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.probabilities.shape[1]

    @property
    def vocab_size(self) -> int:
        """Number of tokens, and the id of the mask."""
        return self.probabilities.shape[2]

    @property
    def denoiser(self) -> FunctionDenoiser:
        """The exact denoiser, in the contract of ``models``."""
        return from_function(_logits, self.vocab_size)

    @functools.cached_property
    def params(self) -> dict[str, Float[Array, "..."]]:
        """Logarithms in float32.

        ``weights`` [components]; ``laws`` [length, vocab_size, components]; ``evidence`` [length, vocab_size + 1,
        components], what a token (last: the mask) adds to the posterior of the components, up to a constant of the
        token that keeps the sums small.
        """
        laws = log_of(self.probabilities).transpose(1, 2, 0)
        best = laws.max(axis=-1, keepdims=True)
        evidence = laws - np.where(best > -np.inf, best, 0.0)
        evidence = np.concatenate([evidence, np.zeros_like(evidence[:, :1])], axis=1)
        logs = {"weights": log_of(self.weights), "laws": laws, "evidence": evidence}
        return {name: jnp.asarray(value, jnp.float32) for name, value in logs.items()}

    def sample(self, key: PRNGKeyArray, rows: int) -> Int[Array, "rows length"]:
        """Independent exact samples, int32[rows, length]: :meth:`mdm_jax.oracles.Oracle.sample`."""
        with usual(key):
            return _sample(self.params, threefry(key), checked_rows(rows))

    def log_prob(self, tokens: ArrayLike) -> Float[np.ndarray, " rows"]:
        """``log p(x)`` of complete sequences, nats: float64[rows]; :meth:`mdm_jax.oracles.Oracle.log_prob`."""
        tokens = checked_tokens(tokens, self.length, self.vocab_size)
        laws = log_of(self.probabilities)
        joint = log_of(self.weights)[None, :] + sum(laws[:, j, tokens[:, j]].T for j in range(self.length))
        return np.asarray(scipy.special.logsumexp(joint, axis=1))

    def entropy(self) -> float:
        """``H(X)`` in nats, summed over all states; refused where those are more than 2^16."""
        return tabulate(self).entropy()

    def entropies(self) -> Float[np.ndarray, " length"]:
        """The exact profile, nats per token, summed over all states; refused where those are more than 2^16."""
        return tabulate(self).entropies()


def mixture(weights: ArrayLike, probabilities: ArrayLike) -> Mixture:
    """A mixture of product laws.

    Args:
        weights: ``[components]``, probabilities of the components.
        probabilities: ``[components, length, vocab_size]``, each component's law of each position. Zeros are allowed.

    Raises:
        InputError: other shapes, or no probabilities.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> coins = np.array([[[0.9, 0.1]] * 2, [[0.1, 0.9]] * 2])  # one of two, tossed twice
        >>> biased = mdm.oracles.mixture(np.array([0.5, 0.5]), coins)
        >>> np.exp(biased.log_prob(np.array([[0, 0], [0, 1]]))).tolist()  # (0.81 + 0.01) / 2 and 0.09
        [0.41, 0.09]
    """
    shares, laws = as_numbers("weights", weights), as_numbers("probabilities", probabilities)
    good = laws.ndim == 3 and laws.shape[1] >= 1 and laws.shape[2] >= 2
    wanted = "of shape [components, length, vocab_size] with vocab_size at least 2"
    require(good, "probabilities", verbatim(f"shape {laws.shape}"), wanted)
    require(shares.shape == laws.shape[:1] and shares.size > 0, "weights", verbatim(f"shape {shares.shape}"),
            f"one for each of the {laws.shape[0]} components")  # fmt: skip
    require_laws("weights", shares, "probabilities")
    require_laws("probabilities", laws, "a law of every position")
    return Mixture(shares / shares.sum(), laws / laws.sum(axis=-1, keepdims=True))


def binsaw(length: int = 64, saws: int = 2, noise: float = 0.05, shifts: int = 512) -> Mixture:
    """Binsaw: noisy bits of a triangle wave whose shift is hidden.

    Given a hidden shift ``s``, bits are independent, and bit ``i`` is 1 with probability
    ``noise + (1 - 2 noise) triangle(saws (i / length + s))``, where ``triangle(u) = 1 - |2 (u mod 1) - 1|``. In the
    original ``s`` is uniform on [0, 1) or, what is the same, on one period [0, 1 / saws); here it is uniform on
    ``shifts`` equally spaced points of it, which makes the law a finite mixture. (At the defaults ``log p`` of 256
    samples was within 0.0006 of that under 2^14 shifts.)

    Args:
        length: number of bits.
        saws: periods of the wave in the sequence.
        noise: probability of a 1 where the wave is 0, and of a 0 where it is 1; from 0 to 1/2.
        shifts: number of shifts.

    Raises:
        InputError: numbers out of range.

    Source: the toy data of LADD (arXiv 2510.18114; code darioShar/LADD, ``custom_datasets.py``), with its 64 bits,
    2 saws and noise .05.

    Example:
        >>> import mdm_jax as mdm
        >>> saw = mdm.oracles.binsaw(4, saws=1, noise=0.0, shifts=1)
        >>> saw.probabilities[0, :, 1].tolist()  # of ones: a triangle
        [0.0, 0.5, 1.0, 0.5]
    """
    length = checked_length(length)
    require_whole("saws", saws, 1, 2**31 - 1)
    require_number("noise", noise, 0, 0.5, "from 0 to 1/2")
    require_whole("shifts", shifts, 1, 2**20)
    place = (saws * np.arange(length)[None, :] / length + np.arange(shifts)[:, None] / shifts) % 1
    one = noise + (1 - 2 * noise) * (1 - np.abs(2 * place - 1))
    return mixture(np.full(shifts, 1 / shifts), np.stack([1 - one, one], axis=-1))


@jax.jit
def _logits(
    params: dict[str, Float[Array, "..."]], tokens: Int[Array, "rows length"]
) -> Float[Array, "rows length vocab_size"]:
    length, vocab_size, _ = params["laws"].shape
    shape = verbatim(f"shape {tokens.shape}")
    require(tokens.shape[1] == length, "tokens", shape, f"of shape [rows, {length}] for this mixture")
    at = jnp.arange(length, dtype=jnp.int32)[None, :]
    seen = params["evidence"][at, jnp.minimum(tokens, vocab_size)]  # [rows, length, components]
    posterior = params["weights"][None, :] + jnp.sum(seen, axis=1)
    best = jnp.max(posterior, axis=-1)
    possible = best > -jnp.inf
    posterior = posterior - jnp.where(possible, best, 0.0)[:, None]
    scores = jax.nn.logsumexp(posterior[:, None, None, :] + params["laws"][None], axis=-1)
    return conditional_logits(scores, tokens, possible)


@functools.partial(jax.jit, static_argnames="rows")
def _sample(params: dict[str, Float[Array, "..."]], key: PRNGKeyArray, rows: int) -> Int[Array, "rows length"]:
    length, _, components = params["laws"].shape
    keys = row_keys(key, rows)
    component = draw(keys, length, jnp.broadcast_to(params["weights"][None, :], (rows, components)))

    def at(position: Array) -> Array:
        return draw(keys, position, params["laws"][position].T[component])

    return jax.lax.map(at, jnp.arange(length, dtype=jnp.int32)).T

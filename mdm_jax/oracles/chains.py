"""Stationary Markov chains of any length and vocabulary."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.csgraph
import scipy.special
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mdm_jax.models.adapters import FunctionDenoiser, from_function
from mdm_jax.oracles.oracle import (
    as_numbers,
    certain,
    checked_length,
    checked_rows,
    checked_tokens,
    conditional_logits,
    draw,
    log_of,
    require_laws,
    row_keys,
)
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry


@dataclasses.dataclass(frozen=True, eq=False)
class MarkovChain:
    """A chain that starts in its stationary law; an :class:`~mdm_jax.oracles.oracle.Oracle`.

    The denoiser runs messages forwards and backwards, in logarithms and scaled at every position, so that its
    precision does not depend on the length; it takes sequences of any length.

    Attributes:
        transition: float64[vocab_size, vocab_size], ``P(next | this)`` with a row for each ``this``.
        stationary: float64[vocab_size], the law of every single token.
        length: number of positions.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> chain = mdm.oracles.markov(np.array([[0.9, 0.1], [0.3, 0.7]]), 4)
        >>> chain.stationary.tolist(), chain.vocab_size
        ([0.75, 0.25], 2)
    """

    transition: Float[np.ndarray, "vocab_size vocab_size"]
    stationary: Float[np.ndarray, " vocab_size"]
    length: int

    @property
    def vocab_size(self) -> int:
        """Number of tokens, and the id of the mask."""
        return len(self.stationary)

    @property
    def denoiser(self) -> FunctionDenoiser:
        """The exact denoiser, in the contract of ``models``."""
        return from_function(_logits, self.vocab_size)

    @functools.cached_property
    def params(self) -> dict[str, Float[Array, "..."]]:
        """Log-probabilities in float32: ``stationary`` [vocab_size] and ``transition`` [vocab_size, vocab_size]."""
        laws = {"stationary": self.stationary, "transition": self.transition}
        return {name: jnp.asarray(log_of(law), jnp.float32) for name, law in laws.items()}

    def sample(self, key: PRNGKeyArray, rows: int) -> Int[Array, "rows length"]:
        """Independent exact samples, int32[rows, length]: :meth:`mdm_jax.oracles.Oracle.sample`."""
        with usual(key):
            return _sample(self.params, threefry(key), checked_rows(rows), self.length)

    def log_prob(self, tokens: ArrayLike) -> Float[np.ndarray, " rows"]:
        """``log p(x)`` of complete sequences, nats: float64[rows]; :meth:`mdm_jax.oracles.Oracle.log_prob`."""
        tokens = checked_tokens(tokens, self.length, self.vocab_size)
        steps = log_of(self.transition)[tokens[:, :-1], tokens[:, 1:]]
        return log_of(self.stationary)[tokens[:, 0]] + steps.sum(axis=1)

    def entropy(self) -> float:
        """``H(X) = H(X_1) + (length - 1) H(X_2 | X_1)``, nats."""
        start = scipy.special.entr(self.stationary).sum()
        return float(start + (self.length - 1) * (self.stationary @ scipy.special.entr(self.transition).sum(axis=1)))

    def entropies(self) -> Float[np.ndarray, " length"]:
        r"""The profile in closed form, in ``length^2`` operations and ``length`` powers of the transition matrix.

        Only the nearest revealed token on either side matters, at distances ``a`` and ``b``. With
        ``H_k = H(X_{j+k} | X_j)``, which in a stationary chain is also ``H(X_j | X_{j+k})``,

            H(X_j | X_{j-a}, X_{j+b}) = H_a + H_b - H_{a+b},    H(X_j | X_{j-a}) = H_a,

        and ``i`` uniformly random revealed positions leave such gaps around a random ``j`` with hypergeometric weights
        (``DERIVATIONS.md``, "Chains").
        """
        d, i = self.length, np.arange(self.length)
        given = self._entropies_at_a_distance()
        total = np.where(i == 0, scipy.special.entr(self.stationary).sum(), 0.0)
        # C(d - a, i) / (d C(d - 1, i)): the nearest one is a away on one side and there is none on the other
        one_sided = np.where(i > 0, 1 / d, 0.0)
        for a in range(1, d):
            total += 2 * one_sided * given[a]
            one_sided *= np.maximum(d - a - i, 0) / (d - a)
        # C(d - 1 - s, i - 2) / C(d - 1, i): the nearest ones are s apart, in one of d - s places around j
        between = i * (i - 1) / max((d - 1) * (d - 2), 1)
        sums = np.cumsum(given)
        for s in range(2, d):
            total += between * (d - s) / d * (2 * sums[s - 1] - (s - 1) * given[s])
            between *= np.maximum(d + 1 - s - i, 0) / max(d - 1 - s, 1)
        return total

    def _entropies_at_a_distance(self) -> Float[np.ndarray, " length"]:
        """``H(X_k | X_0)`` for ``k = 0 .. length - 1``, nats."""
        power, values = np.eye(self.vocab_size), []
        for _ in range(self.length):
            values.append(self.stationary @ scipy.special.entr(power).sum(axis=1))
            power = power @ self.transition
        return np.array(values)


def markov(transition: ArrayLike, length: int, stationary: ArrayLike | None = None) -> MarkovChain:
    """The stationary Markov chain of a transition matrix.

    Args:
        transition: ``[vocab_size, vocab_size]``, ``P(next | this)`` with a row for each ``this``. Zeros are allowed,
            and so are tokens that the chain leaves for good (they have probability 0).
        length: number of positions.
        stationary: ``[vocab_size]``, the law it starts in, where several are stationary (a chain that never moves has
            all laws); may be left out where there is only one.

    Raises:
        InputError: rows that are no laws, several stationary laws and none given, one given that is not stationary, or
            a length below 1.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> chain = mdm.oracles.markov(np.array([[0.8, 0.2], [0.2, 0.8]]), 3)
        >>> np.exp(chain.log_prob(np.array([[0, 0, 1]]))).tolist()  # 0.5 * 0.8 * 0.2
        [0.08]
    """
    matrix = as_numbers("transition", transition)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] >= 2
    wanted = "of shape [vocab_size, vocab_size] with vocab_size at least 2"
    require(square, "transition", verbatim(f"shape {matrix.shape}"), wanted)
    require_laws("transition", matrix, "a law in each row")
    length = checked_length(length)
    matrix = matrix / matrix.sum(axis=1, keepdims=True)
    if stationary is None:
        return MarkovChain(matrix, _stationary_law(matrix), length)
    start = as_numbers("stationary", stationary)
    require(start.shape == matrix.shape[:1], "stationary", verbatim(f"shape {start.shape}"), f"of {len(matrix)} tokens")
    require_laws("stationary", start, "a law")
    start = start / start.sum()
    still = bool(np.abs(start @ matrix - start).max() <= 1e-9)
    require(still, "stationary", start.tolist(), "a law that the transition keeps")
    return MarkovChain(matrix, start, length)


def _stationary_law(transition: Float[np.ndarray, "v v"]) -> Float[np.ndarray, " v"]:
    """Elimination of one state after the other, without subtraction (Grassmann, Taksar and Heyman 1985)."""
    classes, member = scipy.sparse.csgraph.connected_components(transition > 0, connection="strong")
    leaves = member[:, None] != member[None, :]
    closed = [c for c in range(classes) if not np.any(transition[(member == c)] * leaves[member == c])]
    require(len(closed) == 1, "transition", verbatim(f"{len(closed)} sets of tokens that the chain never leaves"),
            "a chain with only one stationary law, unless stationary says which")  # fmt: skip
    inside = np.flatnonzero(member == closed[0])
    rates = transition[np.ix_(inside, inside)].copy()
    for k in range(len(inside) - 1, 0, -1):
        rates[:k, k] /= rates[k, :k].sum()
        rates[:k, :k] += np.outer(rates[:k, k], rates[k, :k])
    weights = np.ones(len(inside))
    for k in range(1, len(inside)):
        weights[k] = weights[:k] @ rates[:k, k]
    law = np.zeros(len(transition))
    law[inside] = weights / weights.sum()
    return law


@jax.jit
def _logits(
    params: dict[str, Float[Array, "..."]], tokens: Int[Array, "rows length"]
) -> Float[Array, "rows length vocab_size"]:
    log_start, log_step = params["stationary"], params["transition"]
    vocab_size = len(log_start)
    masked = tokens >= vocab_size
    matches = tokens[:, :, None] == jnp.arange(vocab_size, dtype=tokens.dtype)[None, None, :]
    seen = certain(masked[:, :, None] | matches).swapaxes(0, 1)  # [length, rows, vocab_size]

    def forwards(message: Array, seen: Array) -> tuple[Array, tuple[Array, Array]]:
        """``message``: log p(x_j | what is revealed before j); also whether what is seen at j agrees with it."""
        agrees = jnp.max(message + seen, axis=-1) > -jnp.inf
        # where it does not, go on from what is seen alone: the row is marked, and nothing is subtracted from -inf
        both = jnp.where(agrees[:, None], message + seen, seen)
        return _passed_on(both, log_step), (message, agrees)

    def backwards(message: Array, seen: Array) -> tuple[Array, Array]:
        """``message``: log p(what is revealed after j | x_j), up to a constant."""
        return _passed_on(message + seen, log_step.T), message

    start = jnp.broadcast_to(log_start[None, :], seen.shape[1:])
    _, (before, agrees) = jax.lax.scan(forwards, start, seen)
    _, after = jax.lax.scan(backwards, jnp.zeros_like(start), seen, reverse=True)
    return conditional_logits((before + after).swapaxes(0, 1), tokens, jnp.all(agrees, axis=0))


def _passed_on(message: Float[Array, "rows v"], log_step: Float[Array, "v v"]) -> Float[Array, "rows v"]:
    """One step of the chain, scaled so that the largest entry is 0 (entries that are all -inf stay so)."""
    moved = jax.nn.logsumexp(message[:, :, None] + log_step[None, :, :], axis=1)
    largest = jnp.max(moved, axis=-1, keepdims=True)
    return moved - jnp.where(largest > -jnp.inf, largest, 0.0)


@functools.partial(jax.jit, static_argnames=("rows", "length"))
def _sample(
    params: dict[str, Float[Array, "..."]], key: PRNGKeyArray, rows: int, length: int
) -> Int[Array, "rows length"]:
    keys = row_keys(key, rows)

    def step(law: Array, position: Array) -> tuple[Array, Array]:
        tokens = draw(keys, position, law)
        return params["transition"][tokens], tokens

    start = jnp.broadcast_to(params["stationary"][None, :], (rows, len(params["stationary"])))
    return jax.lax.scan(step, start, jnp.arange(length, dtype=jnp.int32))[1].T

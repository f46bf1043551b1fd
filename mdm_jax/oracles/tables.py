"""Any joint law that fits into a table of at most 2^16 clean states."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.models.adapters import FunctionDenoiser, from_function
from mdm_jax.oracles.oracle import (
    Oracle,
    as_numbers,
    checked_rows,
    checked_tokens,
    choose,
    conditional_logits,
    gumbels,
    log_of,
    row_keys,
)
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry

MOST_STATES = 2**16
"""The largest ``vocab_size^length`` of a table."""
_AT_ONCE = 2**21
"""Table entries times rows that the denoiser works on together."""


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A joint law given state by state; an :class:`~mdm_jax.oracles.oracle.Oracle`.

    Attributes:
        probabilities: float64[(vocab_size,) * length], summing to 1.

    Example:
        >>> import mdm_jax as mdm
        >>> law = mdm.oracles.toy_left()
        >>> law.length, law.vocab_size, law.entropies().round(4).tolist()  # one token tells all
        (5, 2, [0.6931, 0.0, 0.0, 0.0, 0.0])
    """

    probabilities: Float[np.ndarray, "..."]

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.probabilities.ndim

    @property
    def vocab_size(self) -> int:
        """Number of tokens, and the id of the mask."""
        return self.probabilities.shape[0]

    @property
    def denoiser(self) -> FunctionDenoiser:
        """The exact denoiser, in the contract of ``models``."""
        return from_function(_logits, self.vocab_size)

    @functools.cached_property
    def params(self) -> Float[Array, "..."]:
        """Log-probabilities, float32[(vocab_size,) * length]."""
        return jnp.asarray(log_of(self.probabilities), jnp.float32)

    def sample(self, key: PRNGKeyArray, rows: int) -> Int[Array, "rows length"]:
        """Independent exact samples, int32[rows, length]: :meth:`mdm_jax.oracles.Oracle.sample`."""
        with usual(key):
            return _sample(self.params, threefry(key), checked_rows(rows))

    def log_prob(self, tokens: ArrayLike) -> Float[np.ndarray, " rows"]:
        """``log p(x)`` of complete sequences, nats: float64[rows]; :meth:`mdm_jax.oracles.Oracle.log_prob`."""
        tokens = checked_tokens(tokens, self.length, self.vocab_size)
        return log_of(self.probabilities[tuple(tokens.T)])

    def entropy(self) -> float:
        """``H(X)`` in nats, summed over all states."""
        return float(scipy.special.entr(self.probabilities).sum())

    def entropies(self) -> Float[np.ndarray, " length"]:
        """The profile from the entropies of all ``2^length`` marginals: ``h(i)`` is the difference of their means.

        Source: ``profiles/DERIVATIONS.md``, "The profile of the data falls, and sums to the entropy".
        """
        totals = np.zeros(self.length + 1)

        def visit(marginal: np.ndarray, first: int) -> None:
            """Every marginal once: of the axes that are left, those before ``first`` stay."""
            totals[marginal.ndim] += scipy.special.entr(marginal).sum()
            for axis in range(first, marginal.ndim):
                visit(np.asarray(marginal.sum(axis=axis)), axis)

        visit(self.probabilities, 0)
        return np.diff(totals / scipy.special.binom(self.length, np.arange(self.length + 1)))


def table(probabilities: ArrayLike, vocab_size: int | None = None) -> Table:
    """Any joint law of up to 2^16 clean states.

    Args:
        probabilities: of shape ``(vocab_size,) * length``, or flat (``vocab_size ** length`` entries, the last
            position's token varying fastest) where ``vocab_size`` is given. Zeros are allowed.
        vocab_size: number of tokens, for a flat table.

    Raises:
        InputError: another shape, too many states, or no probabilities.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> law = mdm.oracles.table(np.array([[0.5, 0.0], [0.25, 0.25]]))
        >>> law.log_prob(np.array([[0, 1], [1, 1]])).tolist()  # log 0 and log 1/4
        [-inf, -1.3863]
    """
    law = as_numbers("probabilities", probabilities)
    if vocab_size is not None:
        require_whole("vocab_size", vocab_size, 2, MOST_STATES)
    if vocab_size is not None and law.ndim == 1:
        length = round(np.log(max(law.size, 1)) / np.log(vocab_size))
        require(length >= 1 and law.size == vocab_size**length, "probabilities", verbatim(f"{law.size} entries"),
                f"a power of vocab_size = {vocab_size} in number")  # fmt: skip
        law = law.reshape((vocab_size,) * length)
    square = law.ndim >= 1 and len({*law.shape, vocab_size or law.shape[0]}) == 1 and law.shape[0] >= 2
    wanted = "of shape (vocab_size,) * length with vocab_size at least 2"
    require(square, "probabilities", verbatim(f"shape {law.shape}"), wanted)
    require(law.size <= MOST_STATES, "probabilities", verbatim(f"{law.size}"), f"at most {MOST_STATES} in number")
    good = bool(np.isfinite(law).all() and (law >= 0).all() and abs(law.sum() - 1) <= 1e-9)
    given = verbatim(f"entries from {law.min():g} to {law.max():g} that sum to {law.sum()}")
    require(good, "probabilities", given, "not negative and sum to 1")
    return Table(law / law.sum())


def tabulate(oracle: Oracle) -> Table:
    """The joint table of any oracle of up to 2^16 states.

    Raises:
        InputError: more states than that.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.oracles.tabulate(mdm.oracles.polya(2, 1.0)).probabilities.tolist()
        [[0.3333, 0.1667], [0.1667, 0.3333]]
    """
    length, vocab_size = oracle.length, oracle.vocab_size
    few = vocab_size**length <= MOST_STATES
    given = verbatim(f"{vocab_size}^{length}")
    require(few, "the number of states", given, f"at most {MOST_STATES} to be summed over")
    states = np.indices((vocab_size,) * length).reshape(length, -1).T
    return table(np.exp(oracle.log_prob(states)), vocab_size)


@jax.jit
def _logits(params: Float[Array, "..."], tokens: Int[Array, "rows length"]) -> Float[Array, "rows length vocab_size"]:
    shape = verbatim(f"shape {tokens.shape}")
    require(tokens.shape[1] == params.ndim, "tokens", shape, f"of shape [rows, {params.ndim}] for this table")
    vocab_size, log_table = params.shape[0], params.reshape(-1)

    def of_row(row: Array) -> Array:
        return jnp.stack(
            _log_marginals(jnp.where(_allowed(row, vocab_size), log_table, -jnp.inf), row.size, vocab_size)
        )

    together = min(tokens.shape[0], max(1, _AT_ONCE // params.size))
    scores = jax.lax.map(of_row, tokens, batch_size=together)
    return conditional_logits(scores, tokens, jnp.max(scores[:, 0], axis=-1) > -jnp.inf)


def _allowed(tokens: Int[Array, " length"], vocab_size: int) -> Bool[Array, " states"]:
    """Which of the ``vocab_size ** length`` states agree with what is revealed."""
    if tokens.size == 1:
        return (tokens >= vocab_size) | (tokens == jnp.arange(vocab_size, dtype=tokens.dtype))
    half = tokens.size // 2
    left, right = _allowed(tokens[:half], vocab_size), _allowed(tokens[half:], vocab_size)
    return (left[:, None] & right[None, :]).reshape(-1)


def _log_marginals(log_mass: Float[Array, " states"], length: int, vocab_size: int) -> list[Array]:
    """The logarithm of each position's marginal mass; halving makes all of them about as cheap as two."""
    if length == 1:
        return [log_mass]
    half = length // 2
    square = log_mass.reshape(vocab_size**half, -1)
    left, right = jax.nn.logsumexp(square, axis=1), jax.nn.logsumexp(square, axis=0)
    return _log_marginals(left, half, vocab_size) + _log_marginals(right, length - half, vocab_size)


@functools.partial(jax.jit, static_argnames="rows")
def _sample(params: Float[Array, "..."], key: PRNGKeyArray, rows: int) -> Int[Array, "rows length"]:
    """From left to right, each token given its prefix."""
    vocab_size = params.shape[0]
    prefixes = [params.reshape(-1, vocab_size)]
    while prefixes[-1].shape[0] > 1:
        prefixes.append(jax.nn.logsumexp(prefixes[-1], axis=-1).reshape(-1, vocab_size))
    keys, state, tokens = row_keys(key, rows), jnp.zeros(rows, jnp.int32), []
    noise = jax.vmap(lambda position: gumbels(keys, position, vocab_size))(jnp.arange(params.ndim, dtype=jnp.int32))
    for position, law in enumerate(reversed(prefixes)):
        tokens.append(choose(law[state], noise[position]))
        state = state * vocab_size + tokens[-1]
    return jnp.stack(tokens, axis=1)

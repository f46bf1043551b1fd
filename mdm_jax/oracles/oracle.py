"""What every oracle offers, and the few pieces that they share."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.keys import threefry


@runtime_checkable
class Oracle(Protocol):
    """A law of ``int32[length]`` about which everything is known.

    The denoiser is an ordinary one: ``models.logits(oracle.denoiser, oracle.params, tokens)`` is
    ``log p(x_j | revealed)`` in nats, normalised, at every masked position, for any revealed set. It holds no array
    and is equal to that of any other oracle of the same kind and vocabulary, so that compiled code is shared. Further:

    * a token that the revealed ones rule out has the logit ``-inf``; a possible one never has, however rare;
    * at a revealed position the law is certain: 0 for the token that is there, ``-inf`` for the others;
    * where the revealed tokens cannot occur together there is no conditional law, and masked positions get the uniform
      one. (Samplers that reveal several tokens at once do get there. What they do afterwards changes neither the
      probability of any possible sequence nor a divergence from the oracle's law.)

    Attributes:
        length: number of positions.
        vocab_size: number of tokens, ids ``0 .. vocab_size - 1``; the mask is ``vocab_size``.
        denoiser: the exact denoiser, in the contract of ``models``; float32 on the device.
        params: the pytree that it is given.

    Example:
        >>> import jax.numpy as jnp, mdm_jax as mdm
        >>> urn = mdm.oracles.polya(3, 1.0)
        >>> logits = mdm.models.logits(urn.denoiser, urn.params, jnp.array([[1, 1, 2]]))  # two ones, and a mask
        >>> jnp.exp(logits[0, 2]).tolist()  # by Laplace's rule of succession
        [0.25, 0.75]
    """

    @property
    def length(self) -> int: ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def denoiser(self) -> Denoiser: ...

    @property
    def params(self) -> Params: ...

    def sample(self, key: PRNGKeyArray, rows: int) -> Int[Array, "rows length"]:
        """Independent exact samples, int32[rows, length]; row ``r`` depends on ``fold_in(key, r)`` alone.

        Raises:
            InputError: no key, or no whole number of rows.
        """
        ...

    def log_prob(self, tokens: ArrayLike) -> Float[np.ndarray, " rows"]:
        """``log p(x)`` of complete sequences ``int[rows, length]``, in nats: float64[rows], on the host.

        Raises:
            InputError: another shape, or ids that are no tokens.
        """
        ...

    def entropy(self) -> float:
        """``H(X)`` in nats.

        Raises:
            InputError: where it has no closed form and the states are too many to sum over.
        """
        ...

    def entropies(self) -> Float[np.ndarray, " length"]:
        """The exact profile ``h(0) .. h(length - 1)``, nats per token: float64[length], on the host.

        ``h(i)`` is the mean of ``H(X_j | X_S)`` over uniformly random sets ``S`` of ``i`` positions and uniformly
        random ``j`` outside. It never rises and sums to :meth:`entropy`; ``profiles.from_values`` makes it a profile.

        Raises:
            InputError: where it has no closed form and the states are too many to sum over.
        """
        ...


def conditional_logits(
    scores: Float[Array, "rows length vocab_size"],
    tokens: Int[Array, "rows length"],
    possible: Bool[Array, " rows"],
) -> Float[Array, "rows length vocab_size"]:
    """Logits as :class:`Oracle` promises them.

    Args:
        scores: at masked positions ``log p(x_j, revealed)`` up to a constant of the position.
        tokens: what is revealed; ``vocab_size`` elsewhere.
        possible: whether the revealed tokens can occur together.
    """
    vocab_size = scores.shape[-1]
    total = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    lawful = possible[:, None, None] & (total > -jnp.inf)
    law = jnp.where(lawful, scores - jnp.where(lawful, total, 0.0), -float(np.log(vocab_size)))
    here = tokens[:, :, None] == jnp.arange(vocab_size, dtype=tokens.dtype)[None, None, :]
    return jnp.where(tokens[:, :, None] >= vocab_size, law, certain(here))


def certain(allowed: Bool[Array, "*any"]) -> Float[Array, "*any"]:
    """0 where something is allowed, ``-inf`` elsewhere: float32."""
    return jnp.where(allowed, jnp.float32(0), jnp.float32(-jnp.inf))


def row_keys(key: PRNGKeyArray, rows: int) -> Key[Array, " rows"]:
    """``fold_in(key, row)`` for each row."""
    key = threefry(key)
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(jnp.arange(rows, dtype=jnp.int32))


def gumbels(keys: Key[Array, " rows"], position: int | Int[Array, ""], choices: int) -> Float[Array, "rows choices"]:
    """Noise whose argmax, added to logits, is one choice per row: keyed by row and position."""

    def of_row(key: Array) -> Array:
        # JAX's default noise is cut at 15.94, which starves rare choices
        return jax.random.gumbel(jax.random.fold_in(key, position), (choices,), jnp.float32, mode="high")

    return jax.vmap(of_row)(keys)


def draw(
    keys: Key[Array, " rows"], position: int | Int[Array, ""], logits: Float[Array, "rows choices"]
) -> Int[Array, " rows"]:
    """One choice per row from ``softmax(logits)``: int32[rows]."""
    return choose(logits, gumbels(keys, position, logits.shape[1]))


def choose(logits: Float[Array, "rows choices"], noise: Float[Array, "rows choices"]) -> Int[Array, " rows"]:
    """The argmax of ``logits + noise``: int32[rows]."""
    return jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)


def checked_length(length: int) -> int:
    """A length, after checking that it is a whole number of at least 1."""
    return require_whole("length", length, 1, 2**31 - 1)


def checked_rows(rows: int) -> int:
    """A number of rows, after checking that it is one."""
    return require_whole("rows", rows, 1, 2**31 - 1)


def as_numbers(name: str, values: ArrayLike) -> Float[np.ndarray, "..."]:
    """Real numbers as float64; text, truth values and lists of different lengths are refused."""
    array = as_array(values)
    good = array.dtype.kind in "iuf" or "float" in str(array.dtype)
    require(good, name, verbatim(f"{array.dtype} of shape {array.shape}"), "an array of numbers")
    return array.astype(np.float64)


def require_laws(name: str, laws: np.ndarray, kind: str) -> None:
    """Refuse an array whose last axis does not hold probability laws."""
    good = bool(np.isfinite(laws).all() and (laws >= 0).all() and (np.abs(laws.sum(axis=-1) - 1) <= 1e-9).all())
    require(good, name, laws.tolist(), f"{kind}, not negative and summing to 1")


def log_of(probabilities: np.ndarray) -> np.ndarray:
    """Logarithms in float64, ``-inf`` for 0."""
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def checked_tokens(tokens: ArrayLike, length: int, vocab_size: int) -> Int[np.ndarray, "rows length"]:
    """Complete sequences as int64[rows, length]."""
    tokens = as_array(tokens)
    good = tokens.ndim == 2 and tokens.shape[1] == length and tokens.dtype.kind in "iu"
    given = verbatim(f"{tokens.dtype}{list(tokens.shape)}")
    require(good, "tokens", given, f"token ids of shape [rows, {length}]")
    bad = tokens[(tokens < 0) | (tokens >= vocab_size)]
    require(bad.size == 0, "tokens", bad[:1].tolist(), f"ids from 0 to {vocab_size - 1}")
    return tokens.astype(np.int64)

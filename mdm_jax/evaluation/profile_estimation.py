"""Measuring a model's information profile: the loss, or how far predictions move, by number of revealed tokens."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import LARGEST, context_of, known_positions, require_context, sequences, what_rules_out
from mdm_jax.models.denoiser import Context, Denoiser, Params, logits, require_model
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import InputError, require, require_choice, require_whole
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.theory.profiles import Profile, default_counts, interpolated, interpolation_slopes
from mdm_jax.training.losses import masked_cross_entropy

BATCH = 32
"""Sequences per model call."""
_HELD = 2**25
"""Most numbers that increments keep from one count to the next: fewer sequences at once in large vocabularies."""
ESTIMATORS = {"loss": "E1", "increments": "E2"}
"""The estimators by name, and what ``profile.json`` and ``profiles/DERIVATIONS.md`` call them."""


@usual()
def estimate_profile(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    encodings: int = 4096,
    *,
    key: PRNGKeyArray,
    counts: Int[np.ndarray, " m"] | None = None,
    estimator: str = "loss",
    given: Bool[np.ndarray, "*rows length"] | None = None,
    context: Context = None,
    progress: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Profile:
    """Measure ``g(i)`` on held-out sequences.

    Each sequence gets a uniformly random order; its first ``i`` positions are revealed and the others predicted, at
    every measured count with the *same* nested order (common random numbers: differences of ``g`` are what schedules
    depend on). If ``encodings`` allows, each sequence gets several orders. Standard errors treat sequences as
    independent and orders of one sequence as its repeats. Two estimators read the same predictions:

    * ``"loss"`` (E1): the mean cross-entropy of the hidden tokens. Unbiased for any model, learning error included:
      the one to predict costs with.
    * ``"increments"`` (E2): the fall from one measured count to the next is how far the predictions move,
      ``KL(p(. | more) || p(. | less))`` averaged over the positions still hidden. It never rises and is several times
      sharper, which sizes profit from when encodings are few; the level is set so that the NELBO is that of ``"loss"``.
      Falls are exact for a calibrated model; for another they are what the model believes of itself.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length], held-out sequences, at least two; real tokens of the denoiser's, no masks.
        encodings: number of sequences to encode in all (rows x orders x counts); rounded to whole orders. With too few
            for every row, a random subset of the rows is used.
        key: a typed PRNG key; the order of row ``r`` depends on it and on ``r`` alone.
        counts: any numbers of revealed tokens at which to measure; both ends, 0 and the number of free positions less
            one, are always measured. :func:`mdm_jax.theory.profiles.default_counts` if left out.
        estimator: "loss" or "increments".
        given: bool[length] or bool[rows, length], positions that are known from the start (a prompt, the surroundings
            of a gap), equally many in every row. The profile is then that of the others, ``length`` being their
            number; averaged over the rows' own tokens at the given positions.
        context: passed to the denoiser: leading axis 1, the same for all rows; or ``rows``, one for each. A model with
            latents needs them (:func:`~mdm_jax.evaluation.latents.latent_profile` draws them).
        progress: show a progress bar.
        provenance: JSON to store with the profile.

    Returns:
        A :class:`~mdm_jax.theory.profiles.Profile` in nats per token, with standard errors.

    Raises:
        InputError: fewer than two rows, an id that is no token's, fewer encodings than two orders need, counts outside
            the sequence, nothing free; a token of the data that the model rules out (its cost is infinite), logits that
            are no numbers; a context for other rows.

    Source: arXiv 2510.25544 for the curve; ``profiles/DERIVATIONS.md``, "Estimator E1, the loss" and "Estimator E2,
    the increments".

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> rows = np.asarray(world.sample(mdm.key(0), rows=8))
        >>> profile = mdm.estimate_profile(world.denoiser, world.params, rows, encodings=80, key=mdm.key(1))
        >>> profile.means
        array([0.6931, 0., 0., 0., 0.])
        >>> mdm.plans.optimal(profile, 2).sizes.tolist()
        [1, 4]
    """
    require_model(denoiser, params)
    tokens, key = sequences(denoiser, tokens, least=2), threefry(key)
    require_context(denoiser, context, len(tokens))
    require_choice("estimator", estimator, tuple(ESTIMATORS))
    known, free = known_positions(given, tokens)
    counts = chosen_counts(encodings, free, counts)
    rows = min(len(tokens), encodings // len(counts))
    orders = max(1, encodings // (len(counts) * rows))
    rows_key, key = jax.random.split(key)
    chosen = np.sort(np.asarray(jax.random.permutation(rows_key, len(tokens)))[:rows])
    batch = min(BATCH, rows)
    if estimator == "increments":
        batch = min(batch, max(1, _HELD // (tokens.shape[1] * denoiser.vocab_size)))
    # The last batch is filled with repeats of its last row, so that one shape serves; they are dropped afterwards.
    padded = np.pad(chosen, (0, -rows % batch), mode="edge").reshape(-1, batch)

    losses, falls = np.zeros((2, padded.size, len(counts)))
    with bar(padded.size * orders * len(counts), "profile", "encoding", progress) as advance:
        for order in range(orders):
            order_key = jax.random.fold_in(key, order)
            for block, ids in enumerate(padded):
                rank = _ranks(order_key, jnp.asarray(ids), jnp.asarray(known[ids]))
                at = slice(block * batch, (block + 1) * batch)
                seen = jnp.asarray(tokens[ids]), rank, jnp.asarray(counts, jnp.int32), jnp.asarray(free, jnp.int32)
                known_of_rows = context_of(context, ids)
                loss, fall = _at_counts(denoiser, params, *seen, known_of_rows, estimator == "increments")
                losses[at] += np.asarray(loss, dtype=np.float64).T / orders
                falls[at] += np.asarray(fall, dtype=np.float64).T / orders
                advance(batch * len(counts))
    values = losses[:rows]
    if not np.isfinite(values).all():
        row, count = np.argwhere(~np.isfinite(values))[0]
        raise _infinite(denoiser, params, tokens, known, int(chosen[row]), int(counts[count]), key, orders, context)
    if not np.isfinite(falls).all():
        raise InputError(
            "the denoiser must never rule out a token that it allows when more is revealed, for the estimator "
            "'increments'; this one does (estimator 'loss' takes it)."
        )
    if estimator == "increments":
        values = _with_level(-np.cumsum(falls[:rows], axis=1), losses[:rows], counts, free)
    about = {"estimator": ESTIMATORS[estimator], "rows": rows, "orders_per_row": orders}
    if given is not None:
        about["given_positions"] = tokens.shape[1] - free
    return Profile(
        length=free,
        counts=counts,
        means=values.mean(axis=0),
        covariance=np.cov(values, rowvar=False, ddof=1).reshape(len(counts), len(counts)) / rows,
        provenance={**about, **(provenance or {})},
    )


def chosen_counts(encodings: int, free: int, counts: Int[np.ndarray, " asked"] | None = None) -> Int[np.ndarray, " m"]:
    """The counts at which to measure ``free`` positions: those asked for and both ends, or as ``encodings`` allows.

    Raises:
        InputError: counts outside the sequence, or fewer encodings than two at each.
    """
    encodings = require_whole("encodings", encodings, 1, LARGEST)
    most = min(24, max(4, math.isqrt(encodings)))
    chosen = default_counts(free, most) if counts is None else _with_ends(counts, free)
    least = 2 * len(chosen)
    require(encodings >= least, "encodings", encodings, f"at least {least}, two for each count measured")
    return chosen


def _with_ends(counts: ArrayLike, free: int) -> Int[np.ndarray, " m"]:
    """The counts in order, with 0 and ``free - 1`` among them: in between a profile is interpolated, never beyond."""
    asked = as_array(counts)
    good = asked.ndim == 1 and asked.dtype.kind in "iu" and bool(np.all((asked >= 0) & (asked < free)))
    require(good, "counts", asked.tolist(), f"whole numbers from 0 to {free - 1}")
    return np.union1d(asked.astype(np.int64), [0, free - 1])


def _with_level(shape: np.ndarray, losses: np.ndarray, counts: np.ndarray, free: int) -> np.ndarray:
    """Each row's falls, moved so that the NELBO is the one of the losses: float64[rows, m]."""
    centre = shape.mean(axis=0), losses.mean(axis=0)
    means = [interpolated(counts, x, free).mean() for x in centre]
    slopes = [interpolation_slopes(counts, x, free).mean(axis=0) for x in centre]
    # A row's own share in either mean, to first order: the rows average to the means exactly.
    levels = [mean + (x - middle) @ slope for x, mean, middle, slope in zip((shape, losses), means, centre, slopes)]
    return shape + (levels[1] - levels[0])[:, None]


def _infinite(
    denoiser: Denoiser, params: Params, tokens: np.ndarray, known: np.ndarray, row: int, count: int,
    key: PRNGKeyArray, orders: int, context: Context,
) -> InputError:  # fmt: skip
    """Why a row's loss at a count is no finite number, in one of its orders."""
    for order in range(orders):
        rank = np.asarray(_ranks(jax.random.fold_in(key, order), jnp.asarray([row]), jnp.asarray(known[[row]])))[0]
        corrupted = np.where(rank >= count, denoiser.mask_id, tokens[row]).astype(np.int32)
        mine = context_of(context, np.asarray([row]))
        found = what_rules_out(denoiser, params, tokens[row], corrupted, mine, row)
        if found is not None:
            return found
    return InputError(f"the denoiser must give row {row} a finite cost with {count} tokens revealed; it gives none.")


@jax.jit
def _ranks(
    key: PRNGKeyArray, rows: Int[Array, " batch"], known: Bool[Array, "batch length"]
) -> Int[Array, "batch length"]:
    """The place of each position in its row's order; -1 where it is known from the start."""
    length = known.shape[1]
    bits = jax.vmap(lambda row: jax.random.bits(jax.random.fold_in(key, row), (length,), jnp.uint32))(rows)
    order = jnp.lexsort((bits, known), axis=-1)
    return jnp.where(known, -1, jnp.argsort(order, axis=-1))


@functools.partial(jax.jit, static_argnums=(0, 7))
def _at_counts(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[Array, "batch length"],
    rank: Int[Array, "batch length"],
    counts: Int[Array, " m"],
    free: Int[Array, ""],
    context: Context,
    increments: bool,
) -> tuple[Float[Array, "m batch"], Float[Array, "m batch"]]:
    """The loss when the first-ranked ``count`` are revealed, and the fall since the count before, nats per token.

    Both are means over the hidden positions. The falls are 0 unless asked for, and at the first count.
    """

    def at_count(before: Array, count: Array) -> tuple[Array, tuple[Array, Array]]:
        hidden = rank >= count
        corrupted, left = jnp.where(hidden, denoiser.mask_id, tokens), (free - count).astype(jnp.float32)
        if not increments:
            entropy = masked_cross_entropy(denoiser, params, tokens, corrupted, hidden, context)
            return before, (jnp.sum(entropy, axis=-1) / left, jnp.zeros(len(tokens), jnp.float32))
        log_probs = jax.nn.log_softmax(logits(denoiser, params, corrupted, context), axis=-1)
        chosen = jnp.take_along_axis(log_probs, tokens[:, :, None], axis=-1)[:, :, 0]
        loss = -jnp.sum(jnp.where(hidden, chosen, 0.0), axis=-1) / left
        before = jnp.where(count == counts[0], log_probs, before)
        likely = log_probs > -jnp.inf
        moved = jnp.where(likely, log_probs, 0.0) - jnp.where(likely, before, 0.0)
        divergence = jnp.sum(jnp.where(likely, jnp.exp(log_probs) * moved, 0.0), axis=-1)
        return log_probs, (loss, jnp.sum(jnp.where(hidden, divergence, 0.0), axis=-1) / left)

    start = jnp.zeros((*tokens.shape, denoiser.vocab_size) if increments else (), jnp.float32)
    # One call for all counts: XLA on CPU reuses its buffers inside (see ``BLOCK`` of the training step).
    return jax.lax.scan(at_count, start, counts)[1]

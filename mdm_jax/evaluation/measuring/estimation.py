"""Measuring a model's information profile: the loss, or how far predictions move, by number of revealed tokens."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import known_positions, reference_length, require_context, sequences
from mdm_jax.evaluation.measuring.blocks import block_profile
from mdm_jax.evaluation.measuring.counting import Counting
from mdm_jax.evaluation.measuring.counts import chosen_counts
from mdm_jax.evaluation.measuring.curves import fitted, levels, with_level
from mdm_jax.evaluation.measuring.growing import Found
from mdm_jax.evaluation.measuring.ranks import ENCODINGS
from mdm_jax.evaluation.measuring.until import Until, checked_until, measured
from mdm_jax.models.denoiser import Context, Denoiser, Params, require_model
from mdm_jax.models.extending import block_length, by_rank
from mdm_jax.support.errors import InputError, require, require_choice
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.theory.profiles import Profile, from_rows

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
    length: int | None = None,
    context: Context = None,
    until: float | int | Until | None = None,
    progress: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Profile:
    """Measure ``g(i)`` on held-out sequences, revealed in uniformly random order.

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

    A model that goes by ranks (an any-order model) tells the loss after every number of tokens in one pass (E3): the
    means are those whose curve is nearest to all of these losses, in squares, and its NELBO is their sum. With
    ``counts=np.arange(length)`` the means are the losses themselves, unbiased.

    **Rows of different lengths**, or with different numbers of given positions, are measured at equal *shares* of
    themselves: ``g(i)`` is the mean over all tokens of the loss where a row of ``n`` has ``floor((i + v) n / length)``
    of them revealed, ``v`` uniform in [0, 1). Its mean over ``i`` is the NELBO per token, exactly, and plans for it are
    plans for ``length`` tokens, which samplers scale to each row.

    A model that goes by blocks is measured inside its blocks: the profile is that of one block
    (:func:`~mdm_jax.evaluation.measuring.blocks.block_profile`).

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length], held-out sequences, at least two; real tokens of the denoiser's, no masks.
        encodings: number of sequences to encode in all (rows x orders x counts); rounded to whole orders. With too few
            for every row, a random subset of the rows is used. A pass of a model that goes by ranks counts as two (rows
            x orders x 2).
        key: a typed PRNG key; the order of row ``r`` depends on it and on ``r`` alone.
        counts: any numbers of revealed tokens at which to measure; both ends, 0 and the number of free positions less
            one, are always measured. :func:`mdm_jax.theory.profiles.default_counts` if left out.
        estimator: "loss" or "increments", which a model that goes by ranks or by blocks does not serve.
        given: bool[length] or bool[rows, length], positions that are known from the start (a prompt, the surroundings
            of a gap). The profile is then that of the others, averaged over the rows' own tokens at the given
            positions. A model that goes by ranks takes them from left to right.
        length: of the profile. If left out, as many as are left free in every row, or the length of ``tokens`` where
            these numbers differ.
        context: passed to the denoiser: leading axis 1, the same for all rows; or ``rows``, one for each. A model with
            latents needs them (:func:`~mdm_jax.evaluation.latents.latent_profile` draws them).
        until: go on until the standard error of the NELBO at one token per step is so small, in bits per token; or
            :class:`~mdm_jax.evaluation.measuring.until.Until`, which says more. ``encodings`` is then the first round,
            of whole batches. What came of it is in the provenance.
        progress: show a progress bar; with ``until``, also what each round has found and what the rest will take.
        provenance: JSON to store with the profile.

    Returns:
        A :class:`~mdm_jax.theory.profiles.Profile` in nats per token, with standard errors.

    Raises:
        InputError: fewer than two rows, an id that is no token's, fewer encodings than two orders need, counts outside
            the sequence, nothing free; a token of the data that the model rules out (its cost is infinite), logits that
            are no numbers; a context for other rows.

    Source: arXiv 2510.25544 for the curve; ``profiles/DERIVATIONS.md``, "Estimator E1, the loss", "Estimator E2, the
    increments" and "Estimator E3, ranks".

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
    require_estimator(denoiser, estimator)
    if block_length(denoiser) is not None:
        require(given is None, "given", given, "left out for a model that goes by blocks, each after the true ones")
        require(length is None, "length", length, "left out for a model that goes by blocks: it is that of a block")
        more: dict[str, Any] = {"counts": counts, "context": context, "progress": progress, "provenance": provenance}
        more["until"] = until
        return block_profile(denoiser, params, tokens, encodings, key=key, **more)
    tokens, key = sequences(denoiser, tokens, least=2), threefry(key)
    require_context(denoiser, context, len(tokens))
    known, left = known_positions(given, tokens)
    free, whole = reference_length(left, tokens.shape[1], length)
    ranked, enough = by_rank(denoiser), checked_until(until, free, encodings)
    wanted = '"loss" for rows measured at shares of themselves: falls are between counts that all rows have'
    require(whole or estimator == "loss", "estimator", estimator, wanted)
    many = None if enough is None else 24 if ranked else enough.counts
    counts = chosen_counts(encodings, free, counts, ranked, many)
    batch = BATCH
    if estimator == "increments":
        batch = min(batch, max(1, _HELD // (tokens.shape[1] * denoiser.vocab_size)))
    look = Counting(
        denoiser, params, tokens, known, left, free, whole, counts, context, increments=estimator == "increments"
    )

    def profile_of(found: Found) -> Profile:
        """What has been found, as a profile."""
        about: dict[str, Any] = {"estimator": ESTIMATORS[estimator]}
        about |= {"rows": len(found.rows), "orders_per_row": found.orders}
        values, mine = found.losses, left[found.rows]
        if found.falls is not None:
            if not np.isfinite(found.falls).all():
                raise InputError(
                    "the denoiser must never rule out a token that it allows when more is revealed, for the estimator "
                    "'increments'; this one does (estimator 'loss' takes it)."
                )
            values = with_level(-np.cumsum(found.falls, axis=1), counts, free, levels(values, counts, free))
        share = mine / mine.mean()
        values = values * share[:, None]
        if not whole:
            about |= {"tokens_per_row": float(mine.mean()), "tokens": [int(mine.min()), int(mine.max())]}
        if ranked:
            values, about = fitted(counts, values), {**about, "estimator": "E3", "order": "uniform"}
        if given is not None and whole:
            about["given_positions"] = tokens.shape[1] - free
        values = values - (share - 1)[:, None] * values.mean(axis=0)[None]  # a ratio's error, to first order
        return from_rows(free, counts, values, {**about, **(provenance or {})})

    each = ENCODINGS if ranked else len(counts)
    return measured(look, key, left, encodings, each, batch, enough, profile_of, flat=ranked, progress=progress)


def require_estimator(denoiser: Denoiser, estimator: str) -> None:
    """Refuse what is no estimator, or none of a model that goes by ranks or by blocks.

    Raises:
        InputError: one of the two.
    """
    require_choice("estimator", estimator, tuple(ESTIMATORS))
    wanted = (
        '"loss" for a model that goes by ranks: a pass asks each position once, and increments ask it at each count'
    )
    require(estimator == "loss" or not by_rank(denoiser), "estimator", estimator, wanted)
    wanted = '"loss" for a model that goes by blocks'
    require(estimator == "loss" or block_length(denoiser) is None, "estimator", estimator, wanted)

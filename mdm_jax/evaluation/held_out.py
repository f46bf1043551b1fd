"""The held-out loss of each sequence: the NELBO, or what another objective that is a bound says."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import (
    LARGEST,
    context_of,
    known_positions,
    require_context,
    require_for_rows,
    require_not_redrawn,
    sequences,
    what_rules_out,
)
from mdm_jax.evaluation.measuring import why_infinite_by_rank
from mdm_jax.models.denoiser import Context, Denoiser, Params, require_model
from mdm_jax.support.errors import InputError, require, require_whole, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.support.ragged import present
from mdm_jax.training.objective import MASKED_NELBO, Examples, Objective, check_objective, require_partial, score
from mdm_jax.training.objectives import AnyOrderNelbo, default_objective

REPEATS = 8


@usual()
def held_out_nelbo(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    *,
    key: PRNGKeyArray,
    repeats: int = REPEATS,
    context: Context = None,
    given: Bool[np.ndarray, "*rows length"] | None = None,
    progress: bool = False,
) -> Float[np.ndarray, " rows"]:
    """The NELBO of each sequence, averaged over ``repeats`` stratified maskings, nats per sequence.

    Of rows of different lengths (-1: a position that is not there) it is that of the tokens given the length: to a
    model that takes such rows the length is known. It costs what the row costs alone.

    That is what revealing one token at a time in random order costs. A model that goes by ranks is asked so itself, in
    random orders instead of maskings; one that goes by blocks by its own objective
    (:func:`~mdm_jax.training.objectives.default_objective`).

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length].
        key: a typed PRNG key.
        repeats: maskings, or orders, of each sequence.
        context: passed to the denoiser: leading axis 1, the same for all rows; or ``rows``, one for each.
        given: bool[length] or bool[rows, length], positions that are known from the start (a prompt) and cost nothing.
        progress: show a progress bar.

    Returns:
        float64[rows]; infinite where the model gives a token probability 0.

    Raises:
        InputError: no rows, an id that is no token's, logits that are no numbers, a context for other rows.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> coins = mdm.oracles.polya(8, 1e6)  # fair ones: 8 log 2, whatever is masked
        >>> rows = np.asarray(coins.sample(mdm.key(0), rows=2))
        >>> mdm.evaluation.held_out_nelbo(coins.denoiser, coins.params, rows, key=mdm.key(1))
        array([5.5452, 5.5452])
    """
    require_model(denoiser, params)
    tokens, key = sequences(denoiser, tokens), threefry(key)
    require_context(denoiser, context, len(tokens))
    repeats = require_whole("repeats", repeats, 1, LARGEST)
    context = context_of(context, np.arange(len(tokens)))
    objective, examples = default_objective(denoiser), examples_of(tokens, context, given)
    require_partial(objective, examples)
    mean = _mean_loss(objective, denoiser, params, examples, key, repeats, progress)
    for row in np.flatnonzero(np.isnan(mean)).tolist():
        raise why_infinite_held_out(denoiser, params, examples, row, key, repeats)
    return mean


def examples_of(tokens: np.ndarray, context: Context, given: Any) -> Examples:
    """Rows as an objective takes them."""
    known = None if given is None else known_positions(given, tokens)[0] & present(tokens)
    return Examples(jnp.asarray(tokens), context, None if known is None else jnp.asarray(known))


@usual()
def held_out_bound(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    objective: Objective,
    *,
    key: PRNGKeyArray,
    repeats: int = REPEATS,
    context: Context = None,
    progress: bool = False,
) -> Float[np.ndarray, " rows"]:
    """What an objective that is a bound says of each sequence, averaged over ``repeats`` maskings and latents.

    Its mean over rows bounds the mean of ``-log p`` for the sampler that the objective is of: one with the latent drawn
    once (``training.FixedLatentBound``), or of so many steps with a latent for each (``training.StepwiseLatentBound``).

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length].
        objective: at the end of its training: KLs count in full.
        key: a typed PRNG key.
        repeats: maskings of each sequence.
        context: what is known of each row, as the objective takes it: leading axis 1, the same for all; or ``rows``.
        progress: show a progress bar.

    Returns:
        float64[rows], nats per sequence; infinite where the model gives a token probability 0.

    Raises:
        InputError: an objective that is no bound; latents that are redrawn (the model without ``redrawn`` is scored);
            no rows, an id that is no token's, a context for other rows, losses that are no numbers.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> model = mdm.models.latent_transformer(2, length=4, width=16, depth=1, heads=2, latent_size=2)
        >>> params, rows = model.init(mdm.key(0), length=4), np.ones((2, 4), int)
        >>> mdm.evaluation.held_out_bound(model, params, rows, mdm.training.FixedLatentBound(), key=mdm.key(1)).shape
        (2,)
        >>> mdm.evaluation.held_out_bound(model, params, rows, mdm.training.LatentSurrogate(), key=mdm.key(1))
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: objective must be a bound of -log p, as training.FixedLatentBound() and \
training.StepwiseLatentBound(steps=4) are; got latent surrogate.
    """
    require_model(denoiser, params)
    tokens, key = sequences(denoiser, tokens), threefry(key)
    require_bound(objective)
    require_not_redrawn(denoiser)
    repeats = require_whole("repeats", repeats, 1, LARGEST)
    require_for_rows(denoiser, context, len(tokens))
    examples = Examples(jnp.asarray(tokens), context_of(context, np.arange(len(tokens))))
    require_partial(objective, examples)
    mean = _mean_loss(objective, denoiser, params, examples, key, repeats, progress)
    for row in np.flatnonzero(np.isnan(mean)).tolist():
        raise InputError(f"the objective must give row {row} a cost; it gives none (NaN).")
    return mean


def require_bound(objective: Any) -> None:
    """Refuse what is no objective, or no bound.

    Raises:
        InputError: it is none.
    """
    check_objective(objective)
    bounds = "training.FixedLatentBound() and training.StepwiseLatentBound(steps=4)"
    shown = verbatim(str(objective.describe().get("name", type(objective).__name__)))
    require(objective.is_bound, "objective", shown, f"a bound of -log p, as {bounds} are")


def _mean_loss(
    objective: Objective,
    denoiser: Denoiser,
    params: Params,
    examples: Examples,
    key: PRNGKeyArray,
    repeats: int,
    progress: bool,
) -> Float[np.ndarray, " rows"]:
    """An objective's loss of each row, the mean of so many maskings, nats per sequence."""
    total = np.zeros(len(examples.tokens))
    with bar(repeats, "held-out", "masking", progress) as advance:
        for repeat in range(repeats):
            losses = score(objective, jax.random.fold_in(key, repeat), denoiser, params, examples)
            total += np.asarray(losses.loss, dtype=np.float64)
            advance(1)
    return total / repeats


def why_infinite_held_out(
    denoiser: Denoiser,
    params: Params,
    examples: Examples,
    row: int,
    key: PRNGKeyArray,
    repeats: int,
) -> InputError:
    """Why a row's NELBO is no finite number, in one of its maskings or orders."""
    objective, tokens = default_objective(denoiser), np.asarray(examples.tokens)
    mine = context_of(examples.context, np.asarray([row]))
    for repeat in range(repeats):
        shown: Any = objective.corrupt(jax.random.fold_in(key, repeat), denoiser, examples, jnp.ones((), jnp.float32))
        found = None
        if objective == MASKED_NELBO:
            found = what_rules_out(denoiser, params, tokens[row], np.asarray(shown.tokens[row]), mine, row)
        elif isinstance(objective, AnyOrderNelbo):
            found = why_infinite_by_rank(denoiser, params, tokens[row], np.asarray(shown.rank[row]), mine, row)
        if found is not None:
            return found
    return InputError(f"the denoiser must give row {row} a finite cost; it gives none.")

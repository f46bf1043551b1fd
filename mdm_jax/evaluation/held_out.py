"""The held-out loss, in the unit that people compare, beside simple models on the same sequences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import (
    LARGEST,
    context_of,
    known_positions,
    needs_latents,
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
from mdm_jax.support.intervals import mean_interval
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.support.ragged import lengths, present
from mdm_jax.support.statistics import per_token, standard_error
from mdm_jax.tasks import Task, baselines_of, given_of
from mdm_jax.tasks import context_of as context_of_task
from mdm_jax.tasks.array_files import stays_in_file
from mdm_jax.training.corruption import free_positions
from mdm_jax.training.objective import MASKED_NELBO, Examples, Objective, check_objective, require_partial, score
from mdm_jax.training.objectives import AnyOrderNelbo, FixedLatentBound, default_objective, without_dropout

FORMAT = "mdm_jax held-out 1"
REPEATS = 8
ROWS = 1024
"""At most this many sequences are judged; tasks hold them in random order."""


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
    objective, examples = default_objective(denoiser), _examples(tokens, context, given)
    require_partial(objective, examples)
    mean = _mean_loss(objective, denoiser, params, examples, key, repeats, progress)
    for row in np.flatnonzero(np.isnan(mean)).tolist():
        raise _infinite(denoiser, params, examples, row, key, repeats)
    return mean


def _examples(tokens: np.ndarray, context: Context, given: Any) -> Examples:
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


def _infinite(
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


@usual()
def judge(
    denoiser: Denoiser,
    params: Params,
    task: Task,
    *,
    key: PRNGKeyArray,
    objective: Objective | None = None,
    rows: int = ROWS,
    progress: bool = False,
) -> dict[str, Any]:
    """The content of ``held_out.json``: bits per token on ``task.test``, beside the task's baselines on the
    same rows (the first ``rows`` of them).

    Of rows of different lengths the bits are given the length, and per real token: sums over sums. What the length
    itself costs, under the smoothed law of the training rows' lengths, is told beside it. Where something is given of
    the rows (:func:`mdm_jax.tasks.given_of`), it costs nothing and is not counted; what is known of them
    (:func:`mdm_jax.tasks.context_of`) is shown to the model.

    ``margin`` is the baseline's mean minus the model's, positive where the model is better, with the standard error
    of the paired difference. ``interval`` and ``margin_interval`` are the ends of 95% intervals of both, which hold for
    few skewed rows too (:func:`mdm_jax.support.intervals.mean_interval`). Unless the bits are those of the masked
    NELBO, ``bound`` says what they are: "any-order NELBO", say, the same quantity of a model that goes by ranks.

    Args:
        denoiser: the model.
        params: its parameters.
        task: whose test rows and baselines.
        key: a typed PRNG key.
        objective: the bound to judge by. If left out, the NELBO (:func:`held_out_nelbo`); of a model with latents, the
            fixed-latent bound (``training.FixedLatentBound``), whatever the model was trained on.
        rows: at most so many are judged; a task holds them in random order.
        progress: show a progress bar.

    Raises:
        InputError: an objective that is no bound; fewer than two rows, an id that is no token's; a token that the model
            rules out, whose cost is infinite; baselines that are no finite numbers.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> coins = mdm.oracles.polya(8, 1e6)  # fair ones: a bit each
        >>> np.save("coins.npy", np.asarray(coins.sample(mdm.key(0), rows=80)))
        >>> found = mdm.evaluation.judge(coins.denoiser, coins.params, mdm.tasks.npy("coins.npy"), key=mdm.key(1))
        >>> found["rows"], found["bits_per_token"], [one["name"] for one in found["baselines"]][:2]
        (8, 1.0000, ['unigram', 'unigram by position'])
    """
    require_model(denoiser, params)
    rows, key = require_whole("rows", rows, 2, LARGEST), threefry(key)
    some = task.test[:rows] if isinstance(task.test, np.ndarray) else task.test  # of a map no more than that is read
    tokens, of = sequences(denoiser, some, 2, "task.test")[:rows], len(task.test)
    context, given = (
        jax.tree.map(lambda leaf: leaf[: len(tokens)], known(task, "test")) for known in (context_of_task, given_of)
    )
    nelbo_of_model = default_objective(denoiser)
    usual_bound = FixedLatentBound() if needs_latents(denoiser) else nelbo_of_model
    bound = usual_bound if objective is None else without_dropout(objective)
    plain = bound == nelbo_of_model
    if plain:
        nelbo = held_out_nelbo(denoiser, params, tokens, key=key, context=context, given=given, progress=progress)
    else:
        require(given is None, "objective", bound, "left out where something is given of the rows")
        nelbo = held_out_bound(denoiser, params, tokens, bound, key=key, context=context, progress=progress)
    for row in np.flatnonzero(~np.isfinite(nelbo)).tolist():
        told = f"tokens must be possible under the denoiser, else their cost is infinite; that of row {row} is."
        examples = _examples(tokens, context, given)
        raise _infinite(denoiser, params, examples, row, key, REPEATS) if plain else InputError(told)
    bits, many = nelbo / np.log(2), np.sum(free_positions(tokens, given), axis=1)
    mean, error = per_token(bits, many)
    baselines = {name: np.asarray(theirs, np.float64) for name, theirs in baselines_of(task, tokens, given).items()}
    for name, theirs in baselines.items():
        good = theirs.shape == bits.shape and bool(np.isfinite(theirs).all())
        require(good, f"baselines[{name!r}]", theirs.tolist(), f"a finite number for each of {len(tokens)} rows")
    margins = {name: per_token(theirs * many - bits, many) for name, theirs in baselines.items()}
    return {
        "format": FORMAT,
        "rows": len(bits),
        "of_rows": of,
        "tokens": int(many.sum()),
        **({} if bound == MASKED_NELBO else {"bound": bound.describe()["name"]}),
        "bits_per_token": mean,
        "standard_error": error,
        "interval": _interval(bits, many),
        **_length_bits(task, tokens),
        "baselines": [
            {
                "name": name,
                "bits_per_token": per_token(theirs * many, many)[0],
                "margin": margins[name][0],
                "margin_standard_error": margins[name][1],
                "margin_interval": _interval(theirs * many - bits, many),
            }
            for name, theirs in baselines.items()
        ],
    }


def _interval(totals: Float[np.ndarray, " rows"], tokens: Int[np.ndarray, " rows"]) -> list[float]:
    """The ends of a 95% interval of the mean per token of rows of different lengths."""
    mean, _ = per_token(totals, tokens)
    return list(mean_interval(mean + (totals - mean * tokens) / tokens.mean())[1:])


def _length_bits(task: Task, tokens: Int[np.ndarray, "rows length"]) -> dict[str, float]:
    """What rows' lengths cost under the law of the training rows' lengths; nothing where all rows are whole.

    The law is Witten and Bell's: lengths that never occurred share as much as there are different ones that did.
    """
    if task.train.ndim == 1 or stays_in_file(task.train):
        return {}
    if bool(np.all(present(tokens))) and bool(np.all(present(np.asarray(task.train)))):
        return {}
    length = tokens.shape[1]
    counts = np.bincount(lengths(np.asarray(task.train)), minlength=length + 1)[1:].astype(np.float64)
    kinds = np.sum(counts > 0)
    law = (counts + kinds / length) / (counts.sum() + kinds)
    cost = -np.log2(law[lengths(tokens) - 1])
    return {"length_bits_per_row": float(cost.mean()), "length_standard_error": standard_error(cost)}

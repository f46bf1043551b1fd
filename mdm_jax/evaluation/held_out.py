"""The held-out loss, in the unit that people compare, beside simple models on the same sequences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import (
    LARGEST,
    context_of,
    needs_latents,
    require_context,
    require_not_redrawn,
    sequences,
    what_rules_out,
)
from mdm_jax.models.denoiser import Context, Denoiser, Params, require_model
from mdm_jax.support.errors import InputError, require, require_whole, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.support.statistics import standard_error
from mdm_jax.tasks import Task
from mdm_jax.training.corruption import mask_counts
from mdm_jax.training.objective import MASKED_NELBO, Examples, Objective, check_objective, score
from mdm_jax.training.objectives import FixedLatentBound

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
    progress: bool = False,
) -> Float[np.ndarray, " rows"]:
    """The NELBO of each sequence, averaged over ``repeats`` stratified maskings, nats per sequence.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length].
        key: a typed PRNG key.
        repeats: maskings of each sequence.
        context: passed to the denoiser: leading axis 1, the same for all rows; or ``rows``, one for each.
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
    mean = _mean_loss(MASKED_NELBO, denoiser, params, Examples(jnp.asarray(tokens), context), key, repeats, progress)
    for row in np.flatnonzero(np.isnan(mean)).tolist():
        raise _infinite(denoiser, params, tokens, row, key, repeats, context)
    return mean


@usual()
def held_out_bound(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    objective: Objective,
    *,
    key: PRNGKeyArray,
    repeats: int = REPEATS,
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
        progress: show a progress bar.

    Returns:
        float64[rows], nats per sequence; infinite where the model gives a token probability 0.

    Raises:
        InputError: an objective that is no bound; latents that are redrawn (the model without ``redrawn`` is scored);
            no rows, an id that is no token's, losses that are no numbers.

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
    mean = _mean_loss(objective, denoiser, params, Examples(jnp.asarray(tokens)), key, repeats, progress)
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
    tokens: np.ndarray,
    row: int,
    key: PRNGKeyArray,
    repeats: int,
    context: Context = None,
) -> InputError:
    """Why a row's NELBO is no finite number, in one of its maskings."""
    for repeat in range(repeats):
        corrupted = mask_counts(jax.random.fold_in(key, repeat), jnp.asarray(tokens), denoiser.mask_id).tokens[row]
        mine = context_of(context, np.asarray([row]))
        found = what_rules_out(denoiser, params, tokens[row], np.asarray(corrupted), mine, row)
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
    progress: bool = False,
) -> dict[str, Any]:
    """The content of ``held_out.json``: bits per token on ``task.test``, beside the task's baselines on the
    same rows (the first ``ROWS`` of them).

    ``margin`` is the baseline's mean minus the model's, positive where the model is better, with the standard error
    of the paired difference. Unless the bits are those of the masked NELBO, ``bound`` says what they are.

    Args:
        denoiser: the model.
        params: its parameters.
        task: whose test rows and baselines.
        key: a typed PRNG key.
        objective: the bound to judge by. If left out, the masked NELBO; of a model with latents, the fixed-latent
            bound (``training.FixedLatentBound``), whatever the model was trained on.
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
    rows, key = sequences(denoiser, task.test, 2, "task.test")[:ROWS], threefry(key)
    bound = (FixedLatentBound() if needs_latents(denoiser) else MASKED_NELBO) if objective is None else objective
    plain = bound == MASKED_NELBO
    if plain:
        nelbo = held_out_nelbo(denoiser, params, rows, key=key, progress=progress)
    else:
        nelbo = held_out_bound(denoiser, params, rows, bound, key=key, progress=progress)
    for row in np.flatnonzero(~np.isfinite(nelbo)).tolist():
        told = f"tokens must be possible under the denoiser, else their cost is infinite; that of row {row} is."
        raise _infinite(denoiser, params, rows, row, key, REPEATS) if plain else InputError(told)
    bits = nelbo / (rows.shape[1] * np.log(2))
    baselines = {name: np.asarray(theirs, np.float64) for name, theirs in task.baselines(rows).items()}
    for name, theirs in baselines.items():
        good = theirs.shape == bits.shape and bool(np.isfinite(theirs).all())
        require(good, f"baselines[{name!r}]", theirs.tolist(), f"a finite number for each of {len(rows)} rows")
    return {
        "format": FORMAT,
        "rows": len(bits),
        **({} if plain else {"bound": bound.describe()["name"]}),
        "bits_per_token": float(bits.mean()),
        "standard_error": standard_error(bits),
        "baselines": [
            {
                "name": name,
                "bits_per_token": float(theirs.mean()),
                "margin": float((theirs - bits).mean()),
                "margin_standard_error": standard_error(theirs - bits),
            }
            for name, theirs in baselines.items()
        ],
    }

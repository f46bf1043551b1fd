"""The held-out loss, in the unit that people compare, beside simple models on the same sequences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import LARGEST, sequences, what_rules_out
from mdm_jax.models.denoiser import Denoiser, Params, require_model
from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.support.statistics import standard_error
from mdm_jax.tasks import Task
from mdm_jax.training.corruption import mask_counts
from mdm_jax.training.losses import stratified_nelbo

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
    progress: bool = False,
) -> Float[np.ndarray, " rows"]:
    """The NELBO of each sequence, averaged over ``repeats`` stratified maskings, nats per sequence.

    Args:
        denoiser: the model.
        params: its parameters.
        tokens: int32[rows, length].
        key: a typed PRNG key.
        repeats: maskings of each sequence.
        progress: show a progress bar.

    Returns:
        float64[rows]; infinite where the model gives a token probability 0.

    Raises:
        InputError: no rows, an id that is no token's, logits that are no numbers.

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
    repeats = require_whole("repeats", repeats, 1, LARGEST)
    rows = jnp.asarray(tokens)
    total = np.zeros(len(rows))
    with bar(repeats, "held-out", "masking", progress) as advance:
        for repeat in range(repeats):
            value = stratified_nelbo(denoiser, params, rows, key=jax.random.fold_in(key, repeat))
            total += np.asarray(value, dtype=np.float64)
            advance(1)
    for row in np.flatnonzero(np.isnan(total)).tolist():
        raise _infinite(denoiser, params, tokens, row, key, repeats)
    return total / repeats


def _infinite(
    denoiser: Denoiser, params: Params, tokens: np.ndarray, row: int, key: PRNGKeyArray, repeats: int
) -> InputError:
    """Why a row's NELBO is no finite number, in one of its maskings."""
    for repeat in range(repeats):
        corrupted = mask_counts(jax.random.fold_in(key, repeat), jnp.asarray(tokens), denoiser.mask_id).tokens[row]
        found = what_rules_out(denoiser, params, tokens[row], np.asarray(corrupted), None, row)
        if found is not None:
            return found
    return InputError(f"the denoiser must give row {row} a finite cost; it gives none.")


@usual()
def judge(
    denoiser: Denoiser, params: Params, task: Task, *, key: PRNGKeyArray, progress: bool = False
) -> dict[str, Any]:
    """The content of ``held_out.json``: bits per token on ``task.test``, beside the task's baselines on the
    same rows (the first ``ROWS`` of them).

    ``margin`` is the baseline's mean minus the model's, positive where the model is better, with the standard error
    of the paired difference.

    Args:
        denoiser: the model.
        params: its parameters.
        task: whose test rows and baselines.
        key: a typed PRNG key.
        progress: show a progress bar.

    Raises:
        InputError: fewer than two rows, an id that is no token's; a token that the model rules out, whose cost is
            infinite; baselines that are no finite numbers.

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
    nelbo = held_out_nelbo(denoiser, params, rows, key=key, progress=progress)
    for row in np.flatnonzero(~np.isfinite(nelbo)).tolist():
        raise _infinite(denoiser, params, rows, row, key, REPEATS)
    bits = nelbo / (rows.shape[1] * np.log(2))
    baselines = {name: np.asarray(theirs, np.float64) for name, theirs in task.baselines(rows).items()}
    for name, theirs in baselines.items():
        good = theirs.shape == bits.shape and bool(np.isfinite(theirs).all())
        require(good, f"baselines[{name!r}]", theirs.tolist(), f"a finite number for each of {len(rows)} rows")
    return {
        "format": FORMAT,
        "rows": len(bits),
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

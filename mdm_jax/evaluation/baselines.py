"""The held-out loss in the unit that people compare, beside simple models on the same sequences."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from mdm_jax.evaluation.held_out import REPEATS, examples_of, held_out_bound, held_out_nelbo, why_infinite_held_out
from mdm_jax.evaluation.inputs import LARGEST, needs_latents, sequences
from mdm_jax.models.denoiser import Denoiser, Params, require_model
from mdm_jax.support.errors import InputError, require, require_whole
from mdm_jax.support.flags import usual
from mdm_jax.support.intervals import mean_interval
from mdm_jax.support.keys import threefry
from mdm_jax.support.ragged import lengths, present
from mdm_jax.support.statistics import per_token, standard_error
from mdm_jax.tasks import Task, baselines_of, given_of
from mdm_jax.tasks import context_of as context_of_task
from mdm_jax.tasks.array_files import stays_in_file
from mdm_jax.training.corruption import free_positions
from mdm_jax.training.objective import MASKED_NELBO, Objective
from mdm_jax.training.objectives import FixedLatentBound, default_objective, without_dropout

FORMAT = "mdm_jax held-out 1"
ROWS = 1024
"""At most this many sequences are judged; tasks hold them in random order."""


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
        examples = examples_of(tokens, context, given)
        raise why_infinite_held_out(denoiser, params, examples, row, key, REPEATS) if plain else InputError(told)
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
        **_byte_bits(task, tokens, bits, given),
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


def _byte_bits(task: Task, tokens: np.ndarray, bits: Float[np.ndarray, " rows"], given: Any) -> dict[str, float]:
    """Bits per byte of text, which vocabularies can be compared by; nothing of a task without ``bytes_of``."""
    bytes_of = getattr(task, "bytes_of", None)
    if bytes_of is None or given is not None:
        return {}
    mean, error = per_token(bits, many := bytes_of(tokens))
    return {"bits_per_byte": mean, "bits_per_byte_standard_error": error, "bytes": int(many.sum())}


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

"""The held-out loss, in the unit that people compare, beside simple models on the same sequences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.support.progress import bar
from mdm_jax.tasks import Task
from mdm_jax.training.losses import stratified_nelbo

FORMAT = "mdm_jax held-out 1"
REPEATS = 8
ROWS = 1024
"""At most this many sequences are judged; tasks hold them in random order."""


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
    """
    rows = jnp.asarray(tokens, jnp.int32)
    total = np.zeros(len(rows))
    with bar(repeats, "held-out", "masking", progress) as advance:
        for repeat in range(repeats):
            value = stratified_nelbo(denoiser, params, rows, jax.random.fold_in(key, repeat))
            total += np.asarray(value, dtype=np.float64)
            advance(1)
    return total / repeats


def judge(
    denoiser: Denoiser, params: Params, task: Task, *, key: PRNGKeyArray, progress: bool = False
) -> dict[str, Any]:
    """The content of ``held_out.json``: bits per token on ``task.test``, beside the task's baselines on the
    same rows (the first ``ROWS`` of them).

    ``margin`` is the baseline's mean minus the model's, positive where the model is better, with the standard error
    of the paired difference.
    """
    rows = task.test[:ROWS]
    length = rows.shape[1]
    nelbo = held_out_nelbo(denoiser, params, rows, key=key, progress=progress)
    bits = nelbo / (length * np.log(2))

    def standard_error(values: np.ndarray) -> float:
        return float(values.std(ddof=1) / np.sqrt(len(values)))

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
            for name, theirs in task.baselines(rows).items()
        ],
    }

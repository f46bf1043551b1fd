"""Held-out rows under a training's own objective, on the same maskings for every model."""

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.training.objective import Examples, Objective, score


def bits_of_rows(
    denoiser: Denoiser, objective: Objective, params: Params, rows: np.ndarray, repeats: int
) -> np.ndarray:
    """Bits per token of each row, the mean over ``repeats`` corruptions: float64[rows]."""
    examples = Examples(jnp.asarray(rows, jnp.int32))
    keys = jax.random.split(jax.random.key(0), repeats)
    losses = [np.asarray(score(objective, key, denoiser, params, examples).loss, np.float64) for key in keys]
    return np.mean(losses, axis=0) / (rows.shape[1] * np.log(2))

"""Binsaw: noisy bits of a triangle wave whose shift is hidden; the exact likelihood of a row is an integral over it."""

from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from mdm_jax.support.files import digest
from mdm_jax.tasks.drawing import PARTS, parts_of
from mdm_jax.tasks.notations import Numbers
from mdm_jax.tasks.rows import RowsTask

LENGTH, SAWS, NOISE = 64, 2, 0.05
POINTS = LENGTH // 2 + 1
"""Of Gauss and Legendre's rule in each piece: then a polynomial of degree 65 is integrated exactly, and 64 occurs."""
_CHUNK = 4096


class BinsawTask(RowsTask):
    """Rows of 64 bits as a :class:`mdm_jax.tasks.Task`; made by :func:`binsaw`."""

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return "bits per token under the law"

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """``-log2 p`` of each row by its exact law, per token. Held-out rows have about 0.83; far less is repetition.

        Raises ``InputError`` for rows with masks, or of another length.
        """
        return -self.log_prob(tokens) / (LENGTH * np.log(2))

    def log_prob(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """``log p`` of each row, in nats: exact but for rounding. Errors as in :meth:`score`.

        Given the shift, bits are independent, and ``p`` is the mean over shifts of one period of the product of their
        probabilities. Between multiples of 1/64 that is a polynomial of degree 64 in the shift, which :data:`POINTS`
        points of Gauss and Legendre's rule integrate exactly.

        Source: ``tasks/DERIVATIONS.md``, "The likelihood of a saw is a finite sum".
        """
        rows = self.complete(tokens)
        return log_likelihood(rows, POINTS)


def binsaw() -> BinsawTask:
    """Rows of 64 noisy bits of a triangle wave with two periods and a hidden shift, by LADD's settings.

    The shift is uniform. Bit ``i`` is 1 with probability ``.05 + .9 triangle(2 (i / 64 + shift))``, where
    ``triangle(u) = 1 - |2 (u mod 1) - 1|``; given the shift, bits are independent. What a row's bits share is this one
    number, which makes the task a test of latents. A row is shown as two lines, one period each. The same law with 512
    shifts is ``oracles.binsaw()``, a denoiser.

    Source: the toy data of LADD (arXiv 2510.18114; code darioShar/LADD, ``custom_datasets.py``).

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.binsaw()
        >>> task.length, task.vocab_size, task.log_prob(task.test).mean().round(1)
        (64, 2, np.float64(-36.8))
    """
    stream = np.random.RandomState(0)
    shifts = stream.random_sample(sum(PARTS))[:, None]
    rows = (stream.random_sample((sum(PARTS), LENGTH)) < chance_of_one(shifts)).astype(np.uint8)
    parts = parts_of(rows)
    return BinsawTask("binsaw", Numbers(2, (SAWS, LENGTH // SAWS)), *parts, digest(rows.tobytes()), parts)


def chance_of_one(shifts: Float64[np.ndarray, "shifts 1"]) -> Float64[np.ndarray, "shifts length"]:
    """The probability of a 1 at each position, given the shift."""
    places = SAWS * (np.arange(LENGTH) / LENGTH + shifts) % 1
    return NOISE + (1 - 2 * NOISE) * (1 - np.abs(2 * places - 1))


def log_likelihood(tokens: Int[np.ndarray, "rows length"], points: int) -> Float64[np.ndarray, " rows"]:
    """:meth:`BinsawTask.log_prob` with ``points`` points in each piece between corners."""
    chunks = [tokens[start : start + _CHUNK] for start in range(0, max(len(tokens), 1), _CHUNK)]
    return np.concatenate([_log_likelihood(chunk.astype(np.float64), points) for chunk in chunks])


def _log_likelihood(bits: Float64[np.ndarray, "rows length"], points: int) -> Float64[np.ndarray, " rows"]:
    log_one, log_zero, log_weights = _nodes(points)
    joint = bits @ (log_one - log_zero) + (log_zero.sum(axis=0) + log_weights)
    most = joint.max(axis=1)
    return most + np.log(np.exp(joint - most[:, None]).sum(axis=1))


@lru_cache
def _nodes(points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probability of a 1 and of a 0, [length, nodes], and the logarithm of each node's weight, [nodes]."""
    at, weights = np.polynomial.legendre.leggauss(points)
    pieces = LENGTH // SAWS  # of one period
    shifts = ((np.arange(pieces)[:, None] + (at + 1) / 2) / LENGTH).reshape(-1, 1)
    one = chance_of_one(shifts).T
    return np.log(one), np.log1p(-one), np.log(np.tile(weights / (2 * pieces), pieces))

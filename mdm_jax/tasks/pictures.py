"""Handwritten digits as a task: scikit-learn's 1,797 pictures of 8 x 8 pixels in 17 grey levels, 64 tokens each."""

from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import digest
from mdm_jax.tasks.dealing import deal
from mdm_jax.tasks.notations import Numbers
from mdm_jax.tasks.rows import RowsTask

SIDE = 8
LEVELS = 17
DIGITS = 10
_CHUNK = 1024


class DigitsTask(RowsTask):
    """The pictures as a :class:`mdm_jax.tasks.Task`, in raster order; made by :func:`digits`."""

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return "distance to the nearest training image"

    @property
    def lower_is_better(self) -> bool:
        """Lower is more like a digit; far below the distance of held-out pictures, it means copying; 0 is a copy."""
        return True

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """The Euclidean distance of each picture, in grey levels, to the training picture nearest to it.

        Held-out pictures lie at about 17 on average. Raises ``InputError`` for rows with masks, or of another length.
        """
        rows, train = self.complete(tokens).astype(np.float64), self.train.astype(np.float64)  # sums stay exact
        chunks = [rows[start : start + _CHUNK] for start in range(0, max(len(rows), 1), _CHUNK)]
        norms = (train**2).sum(axis=1)
        squares = [(norms[None] - 2 * chunk @ train.T).min(axis=1) + (chunk**2).sum(axis=1) for chunk in chunks]
        return np.sqrt(np.concatenate(squares))


def digits(labels: bool = False) -> DigitsTask:
    """Scikit-learn's digits: eight tenths to train on, a tenth each to choose and to judge, by a fixed permutation.

    Args:
        labels: whether the task also says which of the ten digits each picture shows, see ``task.context``.

    Raises:
        InputError: scikit-learn is not installed.

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.digits()
        >>> task.length, task.vocab_size, task.score(task.train[:2]).tolist()  # copies of training pictures
        (64, 17, [0.0, 0.0])
        >>> mdm.tasks.digits(labels=True).context("test")["label"][:5]
        array([7, 4, 5, 6, 3], dtype=int32)
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError(
            'The task "digits" needs scikit-learn, which holds the pictures; install it with: '
            "pip install 'mdm-jax[digits]'."
        ) from None
    pixels, shown = (np.asarray(array) for array in load_digits(return_X_y=True))
    rows = pixels.astype(np.uint8)
    if not (rows.shape[1:] == (SIDE * SIDE,) and rows.max() < LEVELS and (rows == pixels).all()):
        raise InputError(f"scikit-learn's digits are not 8 x 8 pictures in {LEVELS} grey levels; try another version.")
    parts, notation, found = deal(rows), Numbers(LEVELS, (SIDE, SIDE)), digest(rows.tobytes())
    if not labels:
        return DigitsTask("digits", notation, *parts, found, parts)
    known, found = deal(shown), digest(f"{found} {shown.tolist()}")
    made = (*parts, *known)
    return DigitsTask("digits?labels", notation, *parts, found, made, labels=known, classes=DIGITS)

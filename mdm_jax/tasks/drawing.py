"""How rows that are drawn from a law are dealt."""

import numpy as np
from jaxtyping import Integer

from mdm_jax.tasks.parts import Parts

PARTS = (65_536, 4_096, 4_096)
"""Training, validation and test rows: independent draws, so that a row that is likely recurs, and in all parts."""


def parts_of(rows: Integer[np.ndarray, "rows length"]) -> Parts:
    """The first rows to train on, then those to choose and those to judge by: int32, read-only."""
    train, validation, test = np.split(rows.astype(np.int32), np.cumsum(PARTS)[:2])
    for part in (train, validation, test):
        part.flags.writeable = False
    return train, validation, test

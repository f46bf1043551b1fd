"""Rows that stand both in what a model is trained on and in what it is judged by: how many, and how that is said."""

import numpy as np
from jaxtyping import Bool, Int, UInt64

from mdm_jax.tasks.parts import Parts

_CHUNK = 2**22


def repeated(train: Int[np.ndarray, "train length"], held: Int[np.ndarray, "held length"]) -> Bool[np.ndarray, " held"]:
    """Which rows of ``held`` also stand in ``train``.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.tasks.repeats import repeated
        >>> repeated(np.array([[1, 2], [3, 4]]), np.array([[3, 4], [4, 3]])).tolist()
        [True, False]
    """
    # Sums of 64 bits find the few rows that may be equal; those are compared.
    alike = np.isin(_sums(train), _sums(held))
    known = {row.tobytes() for row in np.asarray(train[alike], np.int64)}
    return np.array([row.tobytes() in known for row in np.asarray(held, np.int64)], bool)


def told_repeats(made: Parts) -> tuple[str, ...]:
    """A sentence about the rows of the held-out parts that also stand in the training part; none if there are none."""
    train, validation, test = made
    found = [int(repeated(train, part).sum()) for part in (validation, test)]
    if not any(found):
        return ()
    counts = " and ".join(
        f"{count:,} of {len(part):,} {name} rows"
        for name, count, part in zip(("validation", "test"), found, (validation, test))
    )
    return (f"{counts} also stand among the training rows: figures on them say little of new data.",)


def _sums(rows: Int[np.ndarray, "rows length"]) -> UInt64[np.ndarray, " rows"]:
    """One number for each row, the same for the same rows."""
    weights = np.random.RandomState(1).randint(0, 2**64, size=rows.shape[1], dtype=np.uint64) | np.uint64(1)
    step = max(1, _CHUNK // max(1, rows.shape[1]))
    chunks = [rows[start : start + step].astype(np.uint64) for start in range(0, max(len(rows), 1), step)]
    return np.concatenate([(chunk * weights).sum(axis=1, dtype=np.uint64) for chunk in chunks])

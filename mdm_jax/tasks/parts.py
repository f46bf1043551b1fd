"""The three arrays of a task: whether they fit it, and whether its spec still names them."""

import hashlib
from typing import Any

import numpy as np

from mdm_jax.support.errors import require, verbatim
from mdm_jax.tasks.task import Task, token_ids

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Training, validation and test tokens."""
NAMES = ("train", "validation", "test")


def check(task: Task) -> None:
    """Refuse a task whose arrays are no tokens of its vocabulary, or no rows of its length.

    Raises:
        InputError: one sentence that names the array.
    """
    wanted = f"ids from 0 to {task.vocab_size - 1}"
    for name in NAMES:
        array = getattr(task, name)
        require(isinstance(array, np.ndarray), name, array, "a NumPy array of token ids")
        is_stream = name == "train" and array.ndim == 1
        ids = token_ids(array, "tokens" if is_stream else "rows length", task.vocab_size, wanted, name)
        fits = len(ids) >= 1 and (is_stream or ids.shape[1] == task.length)
        require(fits, name, verbatim(f"shape {ids.shape}"), f"rows of length {task.length}, at least one")


def by_hand(task: Task, made: Parts | None) -> dict[str, Any]:
    """What a description adds about a task that its spec does not make: other arrays, a class of the user's.

    Args:
        task: as it is.
        made: the arrays that its spec makes; ``None`` if it was made of others from the start.
    """
    parts = tuple(getattr(task, name) for name in NAMES)
    kept = made is not None and all(mine is one or np.array_equal(mine, one) for mine, one in zip(parts, made))
    added = {} if kept else {"arrays": _digest(parts)}
    kind = type(task)
    own = kind.__module__.split(".")[0] != "mdm_jax"
    return added | ({"class": f"{kind.__module__}.{kind.__qualname__}"} if own else {})


def _digest(parts: tuple[np.ndarray, ...]) -> str:
    state = hashlib.sha256()
    for part in parts:
        state.update(f"{part.shape}".encode())
        state.update(np.ascontiguousarray(part, np.int64).tobytes())
    return state.hexdigest()

"""The arrays of a task: whether they fit it, and whether its spec still names them."""

import hashlib
from typing import Any

import numpy as np

from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.ragged import present
from mdm_jax.tasks.task import Task, token_ids

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Training, validation and test tokens."""
NAMES = ("train", "validation", "test")


def check(task: Task, ragged: bool = False) -> None:
    """Refuse a task whose arrays are no tokens of its vocabulary, or no rows of its length.

    Args:
        task: as it is.
        ragged: whether its rows, of at least one token, may end in ``ABSENT``.

    Raises:
        InputError: one sentence that names the array.
    """
    wanted = f"ids from 0 to {task.vocab_size - 1}"
    for name in NAMES:
        array = getattr(task, name)
        require(isinstance(array, np.ndarray), name, array, "a NumPy array of token ids")
        is_stream = name == "train" and array.ndim == 1
        axes, ends = "tokens" if is_stream else "rows length", ragged and not is_stream
        ids = token_ids(array, axes, task.vocab_size, wanted, name, ragged=ends)
        fits = len(ids) >= 1 and (is_stream or ids.shape[1] == task.length)
        require(fits, name, verbatim(f"shape {ids.shape}"), f"rows of length {task.length}, at least one")
        if ends and not (begun := present(ids[:, 0])).all():
            raise InputError(f"{name} must have at least one token in every row; row {int(np.argmin(begun))} has none.")


def described(task: Any, made: tuple[np.ndarray, ...] | None) -> dict[str, Any]:
    """What a run stores of a task of ours (JSON): what every one has, and what its spec does not make.

    Args:
        task: as it is.
        made: as :func:`by_hand` takes it.
    """
    told = {name: getattr(task, name) for name in ("spec", "length", "vocab_size", "digest")}
    return {**told, "vocabulary": task.vocabulary.to_json(), **by_hand(task, made)}


def by_hand(task: Task, made: tuple[np.ndarray, ...] | None) -> dict[str, Any]:
    """What a description adds about a task that its spec does not make: other arrays, a class of the user's.

    Args:
        task: as it is.
        made: the arrays that its spec makes; ``None`` if it was made of others from the start.
    """
    arrays = arrays_of(task)
    kept = made is not None and len(arrays) == len(made)
    kept = kept and all(mine is one or np.array_equal(mine, one) for mine, one in zip(arrays, made or ()))
    added = {} if kept else {"arrays": _digest(arrays)}
    kind = type(task)
    own = kind.__module__.split(".")[0] != "mdm_jax"
    return added | ({"class": f"{kind.__module__}.{kind.__qualname__}"} if own else {})


def arrays_of(task: Task) -> tuple[np.ndarray, ...]:
    """The three arrays of a task, and those of its prompts and labels, if it has any."""
    beside = [*(getattr(task, "prompts", None) or ()), *(getattr(task, "labels", None) or ())]
    return (*(getattr(task, name) for name in NAMES), *beside)


def _digest(arrays: tuple[np.ndarray, ...]) -> str:
    state = hashlib.sha256()
    for array in arrays:
        state.update(f"{array.shape}".encode())
        state.update(np.ascontiguousarray(array, np.int64).tobytes())
    return state.hexdigest()

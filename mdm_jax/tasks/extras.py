"""What a task may say beyond its arrays: what is given of each row, what is known of it, and notes for the person."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mdm_jax.support.errors import InputError, require, require_choice, verbatim
from mdm_jax.support.ragged import present
from mdm_jax.tasks.parts import NAMES
from mdm_jax.tasks.task import Task


def given_of(task: Task, part: str) -> Bool[np.ndarray, "rows length"] | None:
    """Which positions of each row are given, as a prompt is: seen from the start and never masked in training.

    Args:
        task: any. It says so by a method ``given(part)``; one without it, or whose answer is ``None``, gives nothing.
        part: "train", "validation" or "test".

    Returns:
        As many rows as the part has; ``None`` if nothing is given. What it says of absent positions means nothing.

    Raises:
        InputError: no such part, an array of another type or shape, or a row of which nothing is left to be learned.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.tasks.given_of(mdm.tasks.digits(), "train") is None
        True
    """
    told = _told(task, part, "given")
    if told is None:
        return None
    rows, given = np.asarray(getattr(task, part)), np.asarray(told)
    fits = given.dtype == bool and given.shape == rows.shape and given.ndim == 2
    wanted = f"None or a bool array of shape {list(rows.shape)}, that of task.{part}"
    require(fits, f"task.given({part!r})", verbatim(f"{given.dtype} of shape {given.shape}"), wanted)
    full = (given | ~present(rows)).all(axis=1)
    if full.any():
        raise InputError(
            f"task.given({part!r}) must leave a token to be learned in every row; row {int(np.argmax(full))} has none."
        )
    return given


def context_of(task: Task, part: str) -> Any:
    """What is known of each row of a part, as a denoiser takes it for its ``context``; ``None`` if nothing is.

    Args:
        task: any. It says so by a method ``context(part)``; one without it knows nothing.
        part: "train", "validation" or "test".

    Returns:
        A tree of arrays with a leading axis of rows. Labels are ``{"label": int32[rows]}``.

    Raises:
        InputError: no such part, or an array of another number of rows.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.tasks.context_of(mdm.tasks.digits(), "train") is None
        True
    """
    told = _told(task, part, "context")
    rows = len(getattr(task, part))
    for leaf in _leaves(told):
        shape = np.shape(leaf)
        wanted = f"None or arrays with a leading axis of {rows}, as many rows as task.{part} has"
        require(shape[:1] == (rows,), f"task.context({part!r})", verbatim(f"an array of shape {shape}"), wanted)
    return told


def baselines_of(task: Task, tokens: Int[Any, "rows length"], given: Any) -> dict[str, Any]:
    """``task.baselines(tokens)``, of the tokens alone that are not given; none if the task cannot tell them apart.

    Args:
        task: any.
        tokens: complete rows.
        given: bool, of the shape of ``tokens``, what is not counted; ``None``: what the task itself leaves out.

    Returns:
        Bits per token of each row, by the name of the law.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> task, clues = mdm.tasks.sudoku4(), np.arange(16)[None] < 15
        >>> mdm.tasks.baselines_of(task, task.test[:1], clues)["no repeats"].round(3)  # the last cell is no question
        array([0.011])
    """
    if given is None:
        return task.baselines(tokens)
    if "given" not in inspect.signature(task.baselines).parameters:
        return {}
    method: Any = task.baselines
    return method(tokens, given=given)


def notes_of(task: Task) -> tuple[str, ...]:
    """Sentences about the data that a person should read: rows left out, say. Those of ``task.notes``, if it has any.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.tasks.notes_of(mdm.tasks.digits())
        ()
    """
    return tuple(getattr(task, "notes", ()))


def _told(task: Task, part: str, name: str) -> Any:
    require_choice("part", part, NAMES)
    told = getattr(task, name, None)
    require(told is None or callable(told), f"task.{name}", told, f"a method of the part, task.{name}({part!r})")
    return None if told is None else told(part)


def _leaves(tree: Any) -> Iterator[Any]:
    """The arrays of a tree, without JAX."""
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    if isinstance(tree, tuple | list):
        for branch in tree:
            yield from _leaves(branch)
    elif tree is not None:
        yield tree

"""Tasks by name, as the command line gives them and as runs remember them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mdm_jax.support.errors import InputError, require
from mdm_jax.tasks import arrays
from mdm_jax.tasks.grids import sudoku4, sudoku6, sudoku9
from mdm_jax.tasks.notation import Notation, from_json
from mdm_jax.tasks.pictures import digits
from mdm_jax.tasks.python_code import code
from mdm_jax.tasks.rows import RowsTask
from mdm_jax.tasks.task import Task
from mdm_jax.tasks.text_files import TextTask, text
from mdm_jax.tasks.toys import binsaw, law_from_spec
from mdm_jax.tasks.vocabulary import Vocabulary

LENGTH = 128
"""Characters in one row of ``text`` and ``code``, unless another number is asked for."""

SPECS = (
    '"text" (CPython\'s documentation), "text:PATH" (a UTF-8 file), "code" (Python\'s standard library), '
    '"digits" (8 x 8 pictures), "npy:PATH" (an integer array), "pairs:P" or "blocks:P" (tokens that depend on each '
    'other, P from 0 to 1), "binsaw" (noisy bits of a wave), "sudoku4", "sudoku6" or "sudoku9" (grids)'
)

_FIXED: dict[str, Callable[[], RowsTask]] = {
    "digits": digits, "binsaw": binsaw, "sudoku4": sudoku4, "sudoku6": sudoku6, "sudoku9": sudoku9
}  # fmt: skip
"""Tasks whose spec is a name alone."""


def from_spec(spec: str, length: int | None = None) -> TextTask | RowsTask:
    """The task that ``spec`` names.

    Args:
        spec: "text" (CPython's documentation), "text:PATH" (a UTF-8 file), "code" (the sources of Python's standard
            library), "digits" (scikit-learn's pictures), "npy:PATH" (an array of integers; "npy:PATH?vocab=SIZE" where
            not every token occurs in it), "pairs:P" or "blocks:P" (``pairs`` and ``two_blocks``, with another
            number of symbols as "pairs:P,SYMBOLS"), "binsaw", "sudoku4", "sudoku6" or "sudoku9".
        length: tokens in one row, ``LENGTH`` of characters if left out; other tasks have a length of their own, which
            is all that may be asked for.

    Raises:
        InputError: no such task, or its data cannot be used.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> np.save("rows.npy", np.arange(200).reshape(50, 4) % 10)
        >>> mdm.tasks.from_spec("npy:rows.npy?vocab=16").vocab_size
        16
        >>> mdm.tasks.from_spec("poetry")
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: spec must be "text" (CPython's documentation), ... got 'poetry'.
    """
    name, colon, rest = spec.partition(":")
    characters = LENGTH if length is None else length
    if rest and name == "text":
        task = text(characters, rest)
    elif rest and name == "npy":
        task = arrays.from_text(rest)
    elif name in ("pairs", "blocks"):
        task = law_from_spec(spec)
    elif not colon and name in ("text", "code"):
        task = {"text": text, "code": code}[name](characters)
    else:
        require(spec in _FIXED, "spec", spec, SPECS)
        task = _FIXED[spec]()
    require(length in (None, task.length), "length", length, f"{task.length}, that of the rows of {spec}, or left out")
    return task


def restore(description: Mapping[str, Any]) -> Task:
    """The task that :meth:`Task.describe` described, from the same data; with the vocabulary that it had.

    Raises:
        InputError: ``description`` is not one, the data is gone or has changed, or it is of a task that no spec makes:
            one of the user's own, or with arrays that were put in by hand. The sentence says which.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> np.save("rows.npy", np.arange(200).reshape(50, 4) % 10)
        >>> stored = mdm.tasks.npy("rows.npy").describe()
        >>> mdm.tasks.restore(stored).train.shape
        (40, 4)
        >>> np.save("rows.npy", np.arange(200).reshape(50, 4) % 9)
        >>> mdm.tasks.restore(stored)
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: The task ... cannot be restored: its data has changed since ...
    """
    vocabulary = vocabulary_of(description)
    spec, length, digest = (description.get(name) for name in ("spec", "length", "digest"))
    if not (isinstance(spec, str) and type(length) is int and isinstance(digest, str)):
        raise InputError(
            "description must be what a task's describe() returned; its spec, length or digest is missing."
        )
    need = "training, profile and report need the original data"
    own = "to train it further give the task itself to fit, and its rows to the functions of evaluation"

    def lost(reason: str, remedy: str) -> InputError:
        return InputError(
            f"The task {spec!r} cannot be restored: {reason}; sampling still works from the stored vocabulary, but "
            f"{remedy}."
        )

    if not _is_ours(spec):
        raise lost("it is a task of your own", own)
    for added, what in (("arrays", "its arrays were put in by hand"), ("class", "its class is your own")):
        if added in description:
            raise lost(what, own)
    try:
        task = from_spec(spec, length)
    except InputError as error:
        raise lost(str(error).rstrip("."), need) from None
    if task.digest != digest:
        raise lost("its data has changed since (another Python version, or an edited file)", need)
    if vocabulary != task.vocabulary:  # set by hand, as the shape of pictures is
        try:
            task = dataclasses.replace(task, vocabulary=vocabulary)
        except InputError as error:
            raise lost(f"the stored vocabulary does not fit its data ({str(error).rstrip('.')})", need) from None
    made = task.describe()
    for name in description.keys() | made.keys():
        if name != "spec" and description.get(name) != made.get(name):  # one file has many spellings
            raise lost(f"its {name} is {made.get(name)!r}, and was {description.get(name)!r}", own)
    return task


def _is_ours(spec: str) -> bool:
    """Whether :func:`from_spec` reads a spec of this form."""
    return spec in ("text", "code", *_FIXED) or spec.startswith(("text:", "npy:", "pairs:", "blocks:"))


def vocabulary_of(description: Mapping[str, Any]) -> Notation:
    """The vocabulary that :meth:`Task.describe` stored: all that showing samples and infilling need, without the data.

    Raises:
        InputError: ``description`` holds no vocabulary.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> np.save("rows.npy", np.arange(200).reshape(50, 4) % 10)
        >>> mdm.tasks.vocabulary_of(mdm.tasks.npy("rows.npy").describe())
        Numbers(size=10, shape=None)
    """
    stored = description.get("vocabulary")
    if isinstance(stored, dict):
        return from_json(stored)
    if not isinstance(stored, str):
        raise InputError("description must be what a task's describe() returned; its vocabulary is missing.")
    return Vocabulary(stored)

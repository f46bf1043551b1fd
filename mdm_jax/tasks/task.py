"""The contract that every data set fulfils, and the one check of token ids that every task needs."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int, Int32

from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.ragged import ABSENT, present


@runtime_checkable
class Task(Protocol):
    """Arrays, a vocabulary, how to show a row and how to score one. Any object with these members is a task.

    Token ids run over ``0 .. vocab_size - 1``; the id ``vocab_size`` is the mask. Whatever is in ``validation`` or
    ``test`` must be held out of ``train``. Everything is a pure function of the data: no seed, no state.

    Rows may be shorter than ``length``: they end in ``support.ragged.ABSENT``, which is -1 and no token. A task may say
    more by the members that :func:`mdm_jax.tasks.given_of`, ``context_of`` and ``notes_of`` read.
    """

    @property
    def spec(self) -> str:
        """What :func:`mdm_jax.tasks.from_spec` reads back."""
        ...

    @property
    def length(self) -> int:
        """Tokens in one row."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of real tokens; the mask is not one of them."""
        ...

    @property
    def train(self) -> Int32[np.ndarray, " tokens"] | Int32[np.ndarray, "rows length"]:
        """Training data: separate rows, or one stream from which windows of ``length`` are cut at any offset."""
        ...

    @property
    def validation(self) -> Int32[np.ndarray, "rows length"]:
        """Held out, for what is looked at while choosing: the live metric, profile estimation, tuning."""
        ...

    @property
    def test(self) -> Int32[np.ndarray, "rows length"]:
        """Held out, for the final judgement; never used for choosing."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the source data, in hexadecimal."""
        ...

    @property
    def score_name(self) -> str:
        """What :meth:`score` returns, with its unit, as a column heading."""
        ...

    @property
    def lower_is_better(self) -> bool:
        """The direction of :meth:`score`: whether the better of two rows has the lower one."""
        ...

    def show(self, tokens: Int[Any, " length"]) -> str:
        """One row for human eyes; masks are visible. ``tokens`` may be a NumPy or a JAX array."""
        ...

    def score(self, tokens: Int[Any, "rows length"]) -> Float64[np.ndarray, " rows"]:
        """One number per row, for complete rows (no masks). ``tokens`` may be a NumPy or a JAX array."""
        ...

    def baselines(self, tokens: Int[Any, "rows length"]) -> dict[str, Float64[np.ndarray, " rows"]]:
        """Bits per token of each row under simple models fitted on ``train``, by name; what a model should beat."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a run stores, as JSON: spec, length, vocab_size, digest, vocabulary; of rows of different lengths also
        "lengths", see :func:`mdm_jax.tasks.lengths_of`.
        """
        ...


def token_ids(
    tokens: Any, shape: str, limit: int, wanted: str, argument: str = "tokens", ragged: bool = False
) -> np.ndarray:
    """``tokens`` as a NumPy array of checked ids.

    Args:
        tokens: a NumPy or JAX array of integers, or nested lists of them.
        shape: the names of its axes, as in ``"rows length"``.
        limit: ids must be below this number.
        wanted: what the ids below ``limit`` are, for the error message.
        argument: the name of ``tokens``, likewise.
        ragged: whether rows, along the last axis, may end in ``ABSENT``.

    Raises:
        InputError: not integers, another number of axes, an id out of range, or ``ABSENT`` before a token.
    """
    array = as_array(tokens)
    axes = shape.split()
    require(
        array.dtype.kind in "iu" and array.ndim == len(axes),  # np.integer has time differences below it
        argument,
        verbatim(f"{array.dtype} of shape {array.shape}"),
        f"an integer array of shape [{', '.join(axes)}]",
    )
    least = ABSENT if ragged else 0
    if array.size and not least <= int(array.min()) <= int(array.max()) < limit:
        place = tuple(int(index) for index in np.argwhere((array < least) | (array >= limit))[0])
        raise InputError(f"{argument} must be {wanted}; got {array[place]} at {_where(axes, place)}.")
    if ragged and array.size:
        there = present(array)
        if (late := there[..., 1:] & ~there[..., :-1]).any():
            *place, before = (int(index) for index in np.argwhere(late)[0])
            raise InputError(
                f"{argument} must have {ABSENT} (no token) at the end of rows alone; got it before a token, "
                f"at {_where(axes, (*place, before))}."
            )
    return array


def shown_ids(tokens: Any, size: int, wanted: str) -> np.ndarray:
    """One row for human eyes as checked ids, the mask ``size`` among them, without the ``ABSENT`` at its end.

    Args:
        tokens: one row.
        size: number of real tokens.
        wanted: what the ids are, for the error message.

    Raises:
        InputError: as :func:`token_ids` has it.
    """
    ids = token_ids(tokens, "length", size + 1, wanted, ragged=True)
    return ids[: int(present(ids).sum())]


def _where(axes: list[str], place: tuple[int, ...]) -> str:
    return ", ".join(f"{axis} index {index}" for axis, index in zip(axes, place))

"""How rows are dealt: which are to train on, which to choose by, which to judge by."""

import re
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from mdm_jax.support.errors import InputError, is_number, require
from mdm_jax.tasks.parts import Parts
from mdm_jax.tasks.spelling import Settings

FEWEST_ROWS = 20
"""A tenth must be two rows: with fewer there are no standard errors."""
FEWEST_WORDS = "at least two are to choose by, as many to judge by"
"""Why fewer are refused, as a part of a sentence."""
HELD_OUT = 0.2
"""The share of rows that is held out, unless another is asked for."""
SETTING = {"held_out": "SHARE"}
"""How a spec asks for another."""


def dealt(
    number: int, held_out: float = HELD_OUT
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " held"], Int64[np.ndarray, " held"]]:
    """The places of training, validation and test rows by a fixed permutation.

    Args:
        number: of rows.
        held_out: the share of validation and test together, of which each is half, rounded down.

    Raises:
        InputError: a part would have fewer than two rows.
    """
    half = int(Fraction(repr(held_out)) / 2 * number)  # as it is written: .58 / 2 * 100 are 29, and less in floats
    if min(half, number - 2 * half) < 2:
        raise InputError(
            f"held_out must leave two of the {number:,} rows or more to train on, to choose by and to judge by; "
            f"{held_out} leaves {number - 2 * half:,}, {half:,} and {half:,}."
        )
    # RandomState, because NumPy promises its stream for all versions; default_rng's may change.
    order = np.random.RandomState(0).permutation(number).astype(np.int64)
    return order[2 * half :], order[:half], order[half : 2 * half]


def deal(rows: Shaped[np.ndarray, "rows ..."], kind: type = np.int32, held_out: float = HELD_OUT) -> Parts:
    """Training, validation and test rows as :func:`dealt` places them, of type ``kind``, read-only."""
    train, validation, test = (np.asarray(rows[places], dtype=kind) for places in dealt(len(rows), held_out))
    for part in (train, validation, test):
        part.flags.writeable = False
    return train, validation, test


def require_held_out(held_out: Any) -> float:
    """``held_out`` as a float.

    Raises:
        InputError: it is no number above 0 and below 1.
    """
    good = is_number(held_out) and 0 < held_out < 1
    require(good, "held_out", held_out, "a number above 0 and below 1, the share of rows that is held out")
    return float(held_out)


def share_of(settings: Settings) -> float:
    """What the settings of a spec say of :data:`SETTING`.

    Raises:
        InputError: it is no such share.
    """
    text = settings.get("held_out")
    if text is None:
        return HELD_OUT
    good = re.fullmatch(r"[0-9]*\.?[0-9]+(e-?[0-9]+)?", text) is not None and 0 < float(text) < 1
    require(good, "held_out", text, "a number above 0 and below 1, as in held_out=0.5")
    return float(text)


def spelled_share(held_out: float) -> dict[str, float]:
    """The same to be written in a spec, and in a description: nothing of the usual share."""
    return {} if held_out == HELD_OUT else {"held_out": held_out}

"""At how many revealed tokens a profile is measured."""

import math

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Int

from mdm_jax.evaluation.inputs import LARGEST
from mdm_jax.evaluation.measuring.ranks import ENCODINGS
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, require_whole
from mdm_jax.theory.profiles import default_counts


def chosen_counts(
    encodings: int,
    free: int,
    counts: Int[np.ndarray, " asked"] | None = None,
    ranked: bool = False,
    most: int | None = None,
) -> Int[np.ndarray, " m"]:
    """The counts at which to measure ``free`` positions: those asked for and both ends, or as ``encodings`` allows.

    Args:
        encodings: to be made in all.
        free: how many positions.
        counts: those asked for.
        ranked: whether one pass measures at all of them.
        most: how many counts there are, about, where ``encodings`` does not say; no more than two encodings each allow.

    Raises:
        InputError: counts outside the sequence, or fewer encodings than two at each, or than two passes take.
    """
    encodings = require_whole("encodings", encodings, 1, LARGEST)
    most = _as_many(encodings, free, ranked) if most is None else max(4, min(most, encodings // 2))
    chosen = default_counts(free, most) if counts is None else _with_ends(counts, free)
    least = 2 * ENCODINGS if ranked else 2 * len(chosen)
    told = "two passes of two encodings" if ranked else "two for each count measured"
    require(encodings >= least, "encodings", encodings, f"at least {least}, {told}")
    return chosen


def _as_many(encodings: int, free: int, ranked: bool) -> int:
    """How many counts so many encodings are best spent at.

    Few counts leave more sequences for each, and a plan is chosen better by many sequences at few counts: in a pilot
    (1,024 encodings, 24 measurements of each of four laws) 8 counts lost a third to a half of the nats that 24 did.
    What interpolation misses must stay below what the sequences leave open, which gets less with more of them: at 4,096
    encodings 12 counts were as good as 8, and intervals held more often. A long sequence takes 1.25 counts for each
    doubling (at 1,024 positions the curve then misses .0001 to .0007 nats per token). Where one pass measures at all
    counts they cost nothing.
    """
    enough = 24 if ranked else max(8, round(1.25 * math.log2(free)), round(encodings**0.3))
    return min(24, max(4, min(math.isqrt(encodings), enough)))


def _with_ends(counts: ArrayLike, free: int) -> Int[np.ndarray, " m"]:
    """The counts in order, with 0 and ``free - 1`` among them: in between a profile is interpolated, never beyond."""
    asked = as_array(counts)
    good = asked.ndim == 1 and asked.dtype.kind in "iu" and bool(np.all((asked >= 0) & (asked < free)))
    require(good, "counts", asked.tolist(), f"whole numbers from 0 to {free - 1}")
    return np.union1d(asked.astype(np.int64), [0, free - 1])

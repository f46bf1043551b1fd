"""From revealed fractions to whole sizes: our rule, and those of other programs by name."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from mdm_jax.support.errors import require_whole

TIE = 1e-4
"""Remainders that differ by less are equal: float32 schedules carry noise, and it should not decide."""


def round_sizes(knots: Float[np.ndarray, "*stack knots"], length: int) -> Int[np.ndarray, "*stack steps"]:
    """Whole sizes that sum to ``length`` from the revealed fractions at the knots, by largest remainder.

    Every step gets the whole part of its share, and the tokens left over go to the steps with the largest fractional
    parts, earlier steps first.

    Args:
        knots: ``alpha`` at the ``K + 1`` times, from 0 to 1 along the last axis.
        length: number of tokens.

    Returns:
        int64[*stack, K]; steps may be empty.

    Raises:
        InputError: a length below 1.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> mdm.plans.round_sizes(np.array([0.0, 0.3, 0.55, 1.0]), 8).tolist()  # shares 2.4, 2.0, 3.6
        [2, 2, 4]
    """
    whole, remainders, left = _parts(knots, require_whole("length", length, 1))
    # Remainders that differ by rounding errors alone count as equal, so that ties go to the earlier step.
    order = np.argsort(-remainders, axis=-1, kind="stable")
    ordered = np.take_along_axis(remainders, order, axis=-1)
    falls = np.diff(ordered, axis=-1, prepend=ordered[..., :1]).astype(np.float64) < -TIE
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.cumsum(falls, axis=-1), axis=-1)
    rank = np.argsort(np.argsort(place, axis=-1, kind="stable"), axis=-1)
    return whole + (rank < left)


def round_early(knots: Float[np.ndarray, "*stack knots"], length: int) -> Int[np.ndarray, "*stack steps"]:
    """As :func:`round_sizes`, but the tokens left over go one each to the first steps, as LLaDA has it.

    LLaDA knows equal shares only (10 tokens in 4 steps are 3, 3, 2, 2), where the two rules agree.
    """
    whole, _, left = _parts(knots, length)
    return whole + (np.arange(whole.shape[-1]) < left)


def round_in_turn(knots: Float[np.ndarray, "*stack knots"], length: int) -> Int[np.ndarray, "*stack steps"]:
    """The rule of dllm: each step takes its share of the tokens still masked, rounded, halves to the even number.

    Step ``k`` reveals ``round(left (alpha_k - alpha_{k-1}) / (1 - alpha_{k-1}))``: 10 tokens in 4 equal steps are
    2, 3, 2, 3.
    """
    knots = np.asarray(knots, dtype=np.float64)
    masked = (knots[..., -1:] - knots) / (knots[..., -1:] - knots[..., :1])
    left = np.full(knots.shape[:-1], length, dtype=np.int64)
    sizes = np.zeros((*knots.shape[:-1], knots.shape[-1] - 1), dtype=np.int64)
    for k in range(sizes.shape[-1] - 1):
        before = masked[..., k]
        share = left * (1 - masked[..., k + 1] / np.where(before > 0, before, 1.0))
        half = np.floor(share) + 0.5
        share = np.where(np.abs(share - half) < TIE, half, share)
        sizes[..., k] = np.clip(np.rint(share).astype(np.int64), 0, left)
        left = left - sizes[..., k]
    sizes[..., -1] = left
    return sizes


ROUNDINGS: dict[str, Callable[..., np.ndarray]] = {
    "largest remainder": round_sizes,
    "llada": round_early,
    "dllm": round_in_turn,
}
"""The rules of rounding by name."""


def _parts(knots: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole parts of the shares, what remains of each, and how many tokens that makes."""
    shares = np.maximum(np.diff(knots, axis=-1), 0.0)
    shares = length * shares / shares.sum(-1, keepdims=True)
    whole = np.floor(shares + 1e-6)
    left = (length - whole.sum(-1, keepdims=True)).astype(np.int64)
    return whole.astype(np.int64), shares - whole, left

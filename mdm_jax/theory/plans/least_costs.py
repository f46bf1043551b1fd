"""What the best plan costs in each of many worlds: the dynamic programme over curves that are much alike, at once."""

import numpy as np
from jaxtyping import Float

_AT_ONCE = 2**15
"""Positions of the worlds that are taken together: their numbers stay in the processor's memory."""


def least_costs(worlds: Float[np.ndarray, "worlds length"], most_steps: int) -> Float[np.ndarray, "most_steps worlds"]:
    """The least expected NELBO of any plan of at most ``K`` steps, for ``K = 1 .. most_steps``, in each world, nats.

    What :func:`mdm_jax.theory.plans.optimal_for_every_budget` finds in each, whether it falls or rises. As the best
    start of a step rises with its end, the starts that are looked at lie between those of two ends before, in all
    worlds: the more these are alike, the fewer.

    Args:
        worlds: ``g(0) .. g(length - 1)`` of each world, nats per token.
        most_steps: the largest budget, 1 or more.

    Source: ``DERIVATIONS.md``, "A profile that rises has the optimum of its least value so far".

    Example:
        >>> import numpy as np
        >>> from mdm_jax.theory.plans.least_costs import least_costs
        >>> least_costs(np.array([[1.0, 0.5, 0.25, 0.25], [1.0, 1.0, 1.5, 0.0]]), 3).tolist()
        [[4.0, 4.0], [2.5, 3.0], [2.0, 3.0]]
    """
    together = max(1, _AT_ONCE // worlds.shape[1])
    parts = (worlds[start : start + together] for start in range(0, len(worlds), together))
    return np.concatenate([_of_part(part, most_steps) for part in parts], axis=1)


def _of_part(worlds: Float[np.ndarray, "worlds length"], most_steps: int) -> Float[np.ndarray, "most_steps worlds"]:
    many, length = worlds.shape
    values = np.zeros((many, length + 1))  # nothing starts at the end
    values[:, :length] = np.minimum.accumulate(worlds, axis=1)
    best = values[:, :1] * np.arange(length + 1)
    found = np.empty((most_steps, many))
    for k in range(most_steps):
        best = _step(best, values) if k else best
        found[k] = best[:, -1]
    return found


def _step(best: Float[np.ndarray, "worlds ends"], values: Float[np.ndarray, "worlds ends"]) -> np.ndarray:
    """From ``D_{k-1}`` to ``D_k``: first every 2^j-th end, then those between, within the starts of their neighbours.

    The starts that are looked at for all ends of a round, in all worlds, are one long list.
    """
    many, length = len(values), values.shape[1] - 1
    lines = (best - np.arange(length + 1) * values).ravel()
    slopes = values.ravel()
    reached, chosen = np.zeros_like(best), np.zeros(best.shape, np.int64)  # at the end 0 nothing has been paid
    row = (length + 1) * np.arange(many)[:, None]
    stride = 1 << (length.bit_length() - 1)
    while stride:
        ends = np.arange(stride, length + 1, 2 * stride)
        low = chosen[:, ends - stride]
        high = np.where(ends + stride <= length, chosen[:, np.minimum(ends + stride, length)], length)
        counts = (np.minimum(high, ends) - low + 1).ravel()
        after = np.cumsum(counts)
        firsts = after - counts
        looked_at = np.repeat((low + row).ravel() - firsts, counts) + np.arange(after[-1])
        costs = lines[looked_at] + np.repeat(np.tile(ends, many), counts) * slopes[looked_at]
        least = np.minimum.reduceat(costs, firsts)
        hits = np.flatnonzero(costs == np.repeat(least, counts))
        first = looked_at[hits[np.searchsorted(hits, firsts)]].reshape(many, -1) - row
        reached[:, ends], chosen[:, ends] = least.reshape(many, -1), first
        stride //= 2
    return reached

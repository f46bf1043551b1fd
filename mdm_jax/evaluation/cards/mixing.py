"""Mixtures of two settings: what a family costs at a number of passes that none of its settings takes.

A sampler that tosses a coin for each row, and takes one setting or the other, takes the mixture of their passes, and
costs the mixture of their costs: exactly, where the coin is told. (Where it is not, the row may have been drawn either
way, and the cost of the mixed law is at most that.) So the best that a family offers at some number of passes is the
lower convex hull of its settings: of those that were tried (a card tries one, at most, that takes more passes than are
asked for).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_SAME = 1e-9


class Mixture(NamedTuple):
    """One setting with probability ``weight``, another otherwise.

    Attributes:
        first: its place among the settings.
        second: the other's place.
        weight: of the first, from 0 to 1; 1 where one setting is all.
    """

    first: int
    second: int
    weight: float

    def of(self, values: Mapping[int, Float[np.ndarray, " rows"]]) -> Float[np.ndarray, " rows"]:
        """What the mixture has of something that each setting has, row by row."""
        if self.weight == 1:
            return np.asarray(values[self.first], np.float64)
        first, second = (np.asarray(values[place], np.float64) for place in (self.first, self.second))
        return self.weight * first + (1 - self.weight) * second


def cheapest(
    passes: Float[np.ndarray, " settings"], costs: Float[np.ndarray, " settings"], wanted: float | int
) -> Mixture | None:
    """The mixture of two settings that costs least at ``wanted`` passes; ``None`` where all take more, or all fewer.

    Args:
        passes: of each setting, in the mean.
        costs: likewise.
        wanted: passes, in the mean.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.evaluation.cards.mixing import cheapest
        >>> cheapest(np.array([2.0, 4.0, 6.0]), np.array([5.0, 4.8, 3.0]), wanted=3.0)  # not the middle one
        Mixture(first=0, second=2, weight=0.75)
    """
    passes, costs = np.asarray(passes, np.float64), np.asarray(costs, np.float64)
    slack = _SAME * max(1.0, abs(wanted))
    best: tuple[float, Mixture] | None = None
    for i in range(len(passes)):
        for j in range(len(passes)):
            if abs(passes[i] - wanted) <= slack:
                one = Mixture(i, i, 1.0)
            elif passes[i] < wanted < passes[j]:
                one = Mixture(i, j, float((passes[j] - wanted) / (passes[j] - passes[i])))
            else:
                continue
            cost = one.weight * costs[one.first] + (1 - one.weight) * costs[one.second]
            if best is None or cost < best[0]:
                best = float(cost), one
    return None if best is None else best[1]

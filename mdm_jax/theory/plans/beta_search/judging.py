"""The judge of a search: the costs of its winners, computed on the host in float64."""

import math

import numpy as np
from jaxtyping import Float, Int

from mdm_jax.theory.plans import rules as plan_rules
from mdm_jax.theory.plans.rounding import round_sizes
from mdm_jax.theory.profiles import Profile

_APART = 6
_VERIFIED = 16
_NOISE = 1e-6
"""Of an excess in float32, relative; and a thousandth of it per token and nat of the profile's range, absolute."""


class Judge:
    """Keeps the best schedule of one budget; its costs are exact."""

    def __init__(self, profile: Profile, steps: int, grid: np.ndarray, landscape: np.ndarray) -> None:
        self.profile, self.steps, self.grid, self.landscape = profile, steps, grid, landscape
        self.floor = profile.nelbo()
        self.noise = 1e-3 * _NOISE * profile.length * float(np.ptp(profile.values))
        # Where nothing is better (one step, say, or one token per step), linear.
        near = grid[np.argmin(np.abs(np.log(grid / 0.5)))]
        self.best, self.nelbo, self.least = np.array([near, near]), math.inf, math.inf
        self.hear(self.best[None])

    def costs(self, points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, " points"]:
        """Expected NELBO in nats, float64."""
        knots = plan_rules.beta_fractions(points[:, :1], points[:, 1:], self.steps)
        return self.profile.expected_nelbo(round_sizes(knots, self.profile.length))

    def hear(self, points: Float[np.ndarray, "points 2"], ties: bool = False) -> Float[np.ndarray, " points"]:
        """Keep the best of ``points`` if it is better than what was (or, with ``ties``, as good); all their costs."""
        costs = self.costs(points)
        i = int(np.argmin(costs))
        noise = 1e-13 * abs(costs[i])
        if costs[i] <= self.nelbo + noise if ties else costs[i] < self.nelbo - noise:
            self.best, self.nelbo = points[i], float(costs[i])
        return costs

    def settle(self) -> None:
        """Look at the best cells of the landscape until no other can be better; put right those that are wrong."""
        left = self.landscape.copy()
        few = min(_VERIFIED, left.size)
        while np.isfinite(left.min()) and (left.min() < self.least or np.isinf(self.least)):
            i, j = np.unravel_index(np.argpartition(left, few - 1, axis=None)[:few], left.shape)
            excess = self.hear(self.grid[np.stack([i, j], axis=1)]) - self.floor
            wrong = np.abs(self.landscape[i, j] - excess) > _NOISE * np.abs(excess) + self.noise
            self.landscape[i[wrong], j[wrong]] = excess[wrong]
            left[i, j] = np.inf
            self.least = self.nelbo - self.floor - _NOISE * abs(self.nelbo - self.floor) - self.noise

    def shorten(self) -> None:
        """Take two, three or four digits of ``a`` and ``b`` where they do as well."""
        for digits in (2, 3, 4):
            short = np.array([float(f"{x:.{digits - 1}e}") for x in self.best]).astype(np.float32).astype(np.float64)
            if self.grid[0] <= short.min() and short.max() <= self.grid[-1]:
                self.hear(short[None], ties=True)
            if np.array_equal(self.best, short):
                return


def starts_of(landscape: Float[np.ndarray, "n n"], starts: int, apart: int = _APART) -> Int[np.ndarray, "starts 2"]:
    """The best cells, each at least so many cells from the others (fewer of them repeat the last)."""
    left, cells = landscape.copy(), []
    for _ in range(starts):
        i, j = (int(x) for x in np.unravel_index(np.argmin(left), left.shape))
        cells.append((i, j) if np.isfinite(left[i, j]) else cells[-1])
        left[max(i - apart + 1, 0) : i + apart, max(j - apart + 1, 0) : j + apart] = np.inf
    return np.array(cells)

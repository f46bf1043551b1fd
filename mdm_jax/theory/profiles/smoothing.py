"""Smooth curves through a measured profile: a mixture of splines, each in a coordinate in which falls may be even.

The prior of a profile, given a *base* ``b(1) .. b(length - 1)`` of falls that sum to 1 and a scale ``tau``, is

    g(i) = level - fall t(i) + tau w(t(i)),    t(i) = b(1) + ... + b(i),

with ``w`` an integrated Wiener process, and level and fall as good as unknown: a cubic smoothing spline in ``t``. Bases
fall like powers of the number of tokens that are revealed and of the number that are hidden,

    b(i) ~ i^-p (length - i)^-q,    or  85 % of that and 15 % evenly,

so that linear profiles (p = q = 0), those linear in log-odds (p = q = 1), and such that fall at either end only are
among them. Given the errors of the means everything is Gaussian; bases and scales are weighted by their marginal
likelihood. All algebra is in the measured counts.
"""

import dataclasses
import functools
import itertools

import numpy as np
import scipy.special
from jaxtyping import Float, Int

POWERS = (-6.0, -2.5, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Of the bases, for both ends."""
EVEN = (0.0, 0.15)
"""What share of a base falls evenly."""
SCALES = (0.1, 0.4, 1.5, 6.0, 25.0)
"""Of deviations from a base, in units of what the means fall."""
_LEVEL, _FALL = 10.0, 3.0
"""How little is known of level and fall, in the same units."""
_LEAST = 1e-10
"""Added to variances, in the same units squared, so that nothing is known too well to be computed with."""
_ROOTS = 1e-9
"""Of the mean variance, added before roots are taken."""
_MOST_WIDER = 4.0
"""How many times as far from the mean as by the errors themselves a draw lies at most for not knowing their size."""


@dataclasses.dataclass(frozen=True, eq=False)
class Curves:
    """The posterior of a profile at some nodes, not yet told that it falls: a mixture of normal laws.

    Attributes:
        times: int64[curves], how many of the pairs that are to be drawn are this one's: its weight, in whole numbers.
        means: float64[curves, nodes].
        covariances: float64[curves, nodes, nodes].
    """

    times: Int[np.ndarray, " curves"]
    means: Float[np.ndarray, "curves nodes"]
    covariances: Float[np.ndarray, "curves nodes nodes"]

    def variances(self) -> Float[np.ndarray, " nodes"]:
        """Of the mixture."""
        weights = self.times / self.times.sum()
        own = np.diagonal(self.covariances, axis1=1, axis2=2)
        return weights @ (own + np.square(self.means - weights @ self.means))

    def draws(self, rng: np.random.Generator, freedom: float) -> Float[np.ndarray, "draws nodes"]:
        """Draws in pairs that lie opposite each other, with the tails of an unknown covariance, in random order.

        Args:
            rng: draws them.
            freedom: with how many degrees of freedom the errors' covariance is known.
        """
        nodes = self.means.shape[1]
        size = np.trace(self.covariances, axis1=1, axis2=2)[:, None, None] / nodes
        roots = np.linalg.cholesky(self.covariances + _ROOTS * size * np.eye(nodes))
        mine = np.repeat(np.arange(len(self.times)), self.times)
        apart = np.einsum("pij,pj->pi", roots[mine], rng.standard_normal((len(mine), nodes)))
        if np.isfinite(freedom):
            apart *= np.minimum(np.sqrt(freedom / rng.chisquare(freedom, len(mine))), _MOST_WIDER)[:, None]
        both = np.concatenate([self.means[mine] + apart, self.means[mine] - apart])
        return both[rng.permutation(len(both))]


def curves_through(
    length: int,
    counts: Int[np.ndarray, " m"],
    means: Float[np.ndarray, " m"],
    covariance: Float[np.ndarray, "m m"],
    nodes: Int[np.ndarray, " nodes"],
    pairs: int,
) -> Curves:
    """The posterior at ``nodes`` given means at ``counts`` with normal errors.

    Args:
        length: number of positions.
        counts: where it was measured.
        means: what was measured.
        covariance: of the errors of ``means``.
        nodes: where the posterior is wanted; ``counts`` among them.
        pairs: how many pairs of curves are to be drawn: laws of less weight than that shows are left out.

    Source: Wahba, "Spline models for observational data" (1990), chapter 1, for splines as posteriors;
    ``DERIVATIONS.md``, "The posterior of a profile, and why its mean is what plans want".
    """
    middle = means.mean()
    scale = np.sqrt(np.ptp(means) ** 2 + np.diagonal(covariance).mean())
    y, noise = (means - middle) / scale, covariance / scale**2 + _LEAST * np.eye(len(counts))
    warped = _coordinates(length, tuple(nodes.tolist()))
    seen = warped[:, np.searchsorted(nodes, counts)]
    squares = np.square(SCALES)

    def prior(s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of level and fall, and of the deviation for each unit of its scale: ``[bases, s, t]``."""
        s, t = s[:, :, None], t[:, None, :]
        low = np.minimum(s, t)
        return _LEVEL**2 + _FALL**2 * s * t, np.square(low) * (3 * np.maximum(s, t) - low) / 6

    line, bend = prior(seen, seen)
    whole = (noise + line)[:, None] + squares[:, None, None] * bend[:, None]
    roots = np.linalg.cholesky(whole)
    whitened = np.linalg.solve(roots, np.broadcast_to(y[:, None], (*whole.shape[:-1], 1)))[..., 0]
    log_evidence = -0.5 * np.square(whitened).sum(-1) - np.log(np.diagonal(roots, axis1=-2, axis2=-1)).sum(-1)
    weights = scipy.special.softmax(log_evidence)
    times = np.diff(np.floor(pairs * np.cumsum(weights) / weights.sum() + 0.5), prepend=0.0).astype(np.int64)
    base, size = np.nonzero(times.reshape(weights.shape))
    t, at = warped[base], seen[base]
    own, cross = (first + squares[size][:, None, None] * second for first, second in (prior(t, t), prior(at, t)))
    gains = np.linalg.solve(whole[base, size], cross)  # [curves, m, nodes]
    covariances = own - np.swapaxes(cross, 1, 2) @ gains + _LEAST * np.eye(len(nodes))
    return Curves(times[times > 0], middle + scale * (y @ gains), scale**2 * covariances)


@functools.lru_cache(maxsize=16)
def _coordinates(length: int, nodes: tuple[int, ...]) -> Float[np.ndarray, "bases nodes"]:
    """``t`` of every base at the nodes."""
    at, i = np.array(nodes), np.arange(1, length)
    if length == 1:
        return np.zeros((1, 1))
    revealed, hidden = np.log(i / length), np.log((length - i) / length)
    found = []
    for p, q in itertools.product(POWERS, POWERS):
        falls = scipy.special.softmax(-p * revealed - q * hidden)
        whole = np.append(0.0, np.cumsum(falls))[at]
        found += [(1 - even) * whole + even * at / (length - 1) for even in EVEN]
    return np.stack(found)

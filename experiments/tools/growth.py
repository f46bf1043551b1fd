r"""The certificate of UGC (arXiv 2608.13520), from a profile: written anew from the paper's definitions.

``h(t) = d (gb(0) - gb(t))`` is what ``d`` tokens gain from a share ``t`` of revealed ones, ``gb`` being the Bernstein
curve of the profile. Its growth, counted in the log-odds ``l = log(t / (1 - t))``, has the density

    q(l) = t^2 (1 - t)^2 h'(t),      H(p, q) = \int_p^q t (1 - t) h'(t) dt,

over shares from ``1 / d`` to ``1 - 1 / d``, log-odds from ``-L`` to ``L = log(d - 1)`` (their equations 2 to 5). The
divergence of ``N`` steps is at most ``4 C / N`` besides a first and a last token, with ``C = (sum_k sqrt(S_k H_k))^2``
over blocks of log-odds of length ``S_k`` (Theorem 2). One block has the coarse complexity ``2 L \int q``, infinitely
many have the fine one ``(\int sqrt q)^2``, and their ratio is what adapting to the data gains (equation 6).

Theorem 1 is sharper: of sizes that reveal tokens ``a_j + 1 .. a_{j+1}`` in step ``j`` it bounds what is lost by

    sum_j (psi(a_{j+1} / d) / psi((a_j + 1) / d) - 1) sum_{a_j < i < a_{j+1}} (i / d) (1 - i / d) d (g(i - 1) - g(i)),

with ``psi(t) = t / (1 - t)``. :func:`tightest` takes the sizes of least bound, by dynamic programming.
"""

import numpy as np
import scipy.special
import scipy.stats
from jaxtyping import Float

from experiments.tools.profile_laws import Law
from mdm_jax.theory.profiles import Profile
from mdm_jax.theory.profiles.curves import bernstein_weights

RATIOS = {0.01: 4.51, 0.3: 2.16, 0.45: 1.65}
"""Of the noisy repeated bit (their Figure 1): the ratio by the probability that a copy is wrong."""
_NODES = 400
"""Of the quadrature over log-odds."""


def complexities(values: Float[np.ndarray, " length"]) -> tuple[float, float]:
    """The coarse and the fine complexity of a profile that falls, nats.

    Example:
        >>> import numpy as np
        >>> coarse, fine = complexities(np.log(2) * np.eye(16)[0])  # one hidden bit, 16 times
        >>> round(coarse / fine, 2)
        1.96
    """
    length = len(values)
    reach = np.log(length - 1)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    share = 1 / (1 + np.exp(-reach * nodes))
    slope = length * (bernstein_weights(length - 1, share) @ (-(length - 1) * np.diff(values)))
    density = (share * (1 - share)) ** 2 * slope
    fine = reach * float(weights @ np.sqrt(np.maximum(density, 0.0)))
    return 2 * reach * reach * float(weights @ density), fine**2


def certified_complexity(profile: Profile, finest: float, sigmas: float) -> float:
    """Their complexity from a measured profile, with an upper limit for each block's mass, nats.

    The masses are bounded as in their Lemma 1: ``H(p, q) <= (1 + c) / c (q - p) (h(q) - h(p))``, ``c`` being the ratio
    of the odds less 1. Blocks are of equal length in log-odds; of ever more of them the bound is the mass.

    Args:
        profile: as measured.
        finest: the ratio of odds of a block: 2 in the paper's estimate.
        sigmas: standard errors that are added to each increment of ``h``.
    """
    length = profile.length
    reach = np.log(length - 1)
    blocks = int(np.ceil(2 * reach / np.log(finest)))
    edges = np.linspace(-reach, reach, blocks + 1)
    share = 1 / (1 + np.exp(-edges))
    weights = -length * np.diff(bernstein_weights(length, share), axis=0)  # of the increments of h in g
    increments = weights @ profile.values
    limits = increments + sigmas * np.array([profile.standard_error_of(one) for one in weights])
    ratio = np.exp(edges[1] - edges[0])
    masses = ratio / (ratio - 1) * np.diff(share) * np.maximum(limits, 0.0)
    return float(np.sum(np.sqrt((edges[1] - edges[0]) * masses)) ** 2)


def tightest(values: Float[np.ndarray, " length"]) -> Float[np.ndarray, " steps"]:
    """The least bound of Theorem 1 for ``1 .. length`` steps, the first and the last token by themselves, nats."""
    length = len(values)
    i = np.arange(1, length)
    mass = np.append(0.0, np.cumsum(i / length * (1 - i / length) * length * -np.diff(values)))  # up to i
    a, b = np.arange(1, length)[:, None], np.arange(1, length)[None, :]
    odds = np.arange(1, length) / (length - np.arange(1, length))
    after = np.append(odds[1:], np.inf)  # psi((a + 1) / d)
    with np.errstate(invalid="ignore"):
        cost = (odds[None, :] / after[:, None] - 1) * (mass[b - 1] - mass[a])
    cost = np.where(b > a, np.where(b == a + 1, 0.0, cost), np.inf)
    np.fill_diagonal(cost, 0.0)  # an idle step
    best, found = np.where(np.arange(length - 1) == 0, 0.0, np.inf), np.full(length, np.inf)
    for step in range(2, length):  # two of them reveal the first and the last token
        best = (best[:, None] + cost).min(axis=0)
        found[step] = best[-1]
    return found


def noisy_bit(wrong: float, length: int = 128) -> Law:
    """A fair bit, copied ``length`` times, each copy wrong with a probability: independent, given the bit."""
    evidence = np.log((1 - wrong) / wrong)

    def predicted(ones: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """``P(1)`` of a hidden copy after so many ones among so many seen."""
        return wrong + (1 - 2 * wrong) * scipy.special.expit((2 * ones - seen) * evidence)

    def sample(rng: np.random.Generator, rows: int) -> np.ndarray:
        return (rng.integers(0, 2, (rows, 1)) ^ (rng.random((rows, length)) < wrong)).astype(np.int64)

    def costs(tokens: np.ndarray, orders: np.ndarray, counts: np.ndarray) -> np.ndarray:
        sums = np.cumsum(np.take_along_axis(tokens, orders, axis=1), axis=1)
        ones = np.concatenate([np.zeros_like(sums[:, :1]), sums], axis=1)[:, counts]
        one, hidden_ones = predicted(ones, counts), sums[:, -1:] - ones
        total = hidden_ones * np.log(one) + (length - counts - hidden_ones) * np.log1p(-one)
        return -total / (length - counts)

    profile = np.empty(length)
    for seen in range(length):
        ones = np.arange(seen + 1)
        one = predicted(ones, np.array(seen))
        chance = scipy.stats.binom.pmf(ones, seen, 1 - wrong)  # given a 1; a 0 is its mirror
        profile[seen] = chance @ (scipy.special.entr(one) + scipy.special.entr(1 - one))
    return Law(f"noisy bit {wrong:g}", length, profile, sample, costs)

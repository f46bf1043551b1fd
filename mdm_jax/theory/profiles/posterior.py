"""What a measured profile says of the true one: a law of profiles, its mean, and draws from it."""

import dataclasses
import functools

import numpy as np
import scipy.stats
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from mdm_jax.support.errors import require_seed, require_whole
from mdm_jax.theory.profiles.interpolation import default_counts
from mdm_jax.theory.profiles.making import from_values
from mdm_jax.theory.profiles.profile import Profile, checked_profile
from mdm_jax.theory.profiles.row_noise import covariance_of_means
from mdm_jax.theory.profiles.smoothing import curves_through

NODES = 64
"""Places at which curves are computed, beside the measured counts; between them monotone cubics run."""
MOST_COUNTS = 64
"""Of more measured counts neighbours are taken together, a few near both ends and many in between."""
DOUBT = 1e-3
"""A rise is believed where chance would show one as clear, anywhere in the profile, this seldom."""
_KEPT = 4
"""Posteriors that are kept, lest whoever asks twice waits twice."""
_MOST_SPREAD = 0.5
"""Of the measured NELBO: a larger standard error is taken for this."""
_NONE = 1e-12
"""Of it: no spread at all."""
_LEAST = 1e-2
"""Of the NELBO that it is to have: a world of less is not multiplied but raised."""


@dataclasses.dataclass(frozen=True, eq=False)
class ProfilePosterior:
    """What is known of a profile after it was measured.

    Attributes:
        profile: the mean, known at every count. A plan's cost is linear in a profile, so that the optimal plan of this
            one is the plan of least expected cost.
        worlds: float64[worlds, length], profiles that the measurement leaves possible, equally likely; their mean is
            ``profile``. Not to be written to: whoever asks again is given the same array.
        measured: the profile that was measured.
        falls: whether all of these fall, as the profile of a consistent model does. Where the measurement itself shows
            a rise beyond doubt they may rise.

    Example:
        >>> import mdm_jax as mdm
        >>> known = mdm.profiles.posterior_profile(mdm.profiles.from_values([1.0, 0.5, 0.25, 0.25]))
        >>> known.falls, known.worlds.tolist()  # nothing to be smoothed
        (True, [[1.0, 0.5, 0.25, 0.25]])
    """

    profile: Profile
    worlds: Float[np.ndarray, "worlds length"]
    measured: Profile
    falls: bool

    def __repr__(self) -> str:
        """What it is of, and whether it falls."""
        rises = "which fall" if self.falls else "which may rise: the measurement does"
        return f"ProfilePosterior({len(self.worlds)} worlds of {self.profile.length} tokens, {rises}; {self.profile!r})"


def posterior_profile(profile: Profile, worlds: int = 512, seed: int = 0) -> ProfilePosterior:
    """The law of the true profile, given a measured one: smooth, falling, as close to the measurement as that is sure.

    Curves are splines in coordinates in which the profile falls evenly, or nearly; which coordinates and how smooth is
    weighed by their marginal likelihood (:mod:`mdm_jax.theory.profiles.smoothing`), and so are the errors of few
    sequences (:mod:`mdm_jax.theory.profiles.row_noise`). Draws are made to fall by the nearest falling curve. With few
    encodings the mean is smooth; with many it goes through the measured means.

    The mean has the measured NELBO, which is unbiased where few skewed sequences make weights lean. What is rarer than
    one in as many sequences as were measured is in neither.

    Args:
        profile: a measured profile, with its shares or a covariance alone; of an exact one the posterior is itself.
        worlds: how many to draw, two or more; they take ``8 worlds length`` bytes.
        seed: of the draws; the same profile and seed give the same worlds.

    Raises:
        InputError: no profile, fewer than two worlds, or a seed out of range.

    Source: ``DERIVATIONS.md``, "The posterior of a profile, and why its mean is what plans want".

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> rows = np.random.default_rng(0).normal([3.0, 2.1, 2.2, 1.0], 0.5, (10, 4))
        >>> measured = mdm.profiles.from_rows(4, np.arange(4), rows)
        >>> found = mdm.profiles.posterior_profile(measured)
        >>> found.falls, found.worlds.shape, bool(np.all(np.diff(found.profile.values) < 0))
        (True, (512, 4), True)
    """
    worlds = require_whole("worlds", worlds, 2)
    require_seed("seed", require_whole("seed", seed, 0))
    if checked_profile(profile).exact:
        return ProfilePosterior(profile, profile.values[None], profile, bool(np.all(np.diff(profile.values) <= 0)))
    return _posterior(profile, worlds, seed)


@functools.lru_cache(maxsize=_KEPT)
def _posterior(given: Profile, worlds: int, seed: int) -> ProfilePosterior:
    """What :func:`posterior_profile` gives of a measured profile; a profile is never changed, so it is a key."""
    profile = _in_groups(given)
    covariance, freedom = covariance_of_means(profile)
    falls = not _rises(profile.means, covariance, freedom)
    nodes = np.union1d(profile.counts, default_counts(profile.length, NODES))
    curves = curves_through(profile.length, profile.counts, profile.means, covariance, nodes, -(-worlds // 2))
    draws = curves.draws(np.random.default_rng(seed), freedom)[:worlds]
    if falls:
        variances = curves.variances()
        weights = variances.max() / np.maximum(variances, 1e-12 * variances.max())
        for row in np.flatnonzero((np.diff(draws, axis=1) > 0).any(axis=1)):
            draws[row] = isotonic_regression(draws[row], weights=weights, increasing=False).x
        draws = np.minimum.accumulate(draws, axis=1)
    draws = np.maximum(draws, 0.0)  # a cost in nats is none below
    every = np.arange(profile.length)
    values = draws if len(nodes) == profile.length else PchipInterpolator(nodes, draws, axis=1)(every)
    values = _levelled(values, given, freedom)
    values.flags.writeable = False  # others are given the same
    about = {**given.provenance, "posterior_of": given.digest}
    return ProfilePosterior(from_values(values.mean(axis=0), about), values, given, falls)


def _in_groups(profile: Profile) -> Profile:
    """A profile of at most ``MOST_COUNTS`` counts: each is the mean of those near it, and stands near their middle."""
    counts = profile.counts
    if len(counts) <= MOST_COUNTS:
        return profile
    middles = default_counts(profile.length, MOST_COUNTS)
    nearest = np.searchsorted((middles[1:-1] + middles[2:]) / 2, counts[1:-1]) + 1  # the two ends stay alone
    _, group = np.unique(np.concatenate([[0], nearest, [len(middles)]]), return_inverse=True)
    means = (group == np.arange(group[-1] + 1)[:, None]) / np.bincount(group)[:, None]
    return Profile(
        profile.length,
        np.rint(means @ counts).astype(np.int64),
        means @ profile.means,
        means @ profile.covariance @ means.T,
        profile.provenance,
        None if profile.shares is None else profile.shares @ means.T,
    )


def _levelled(
    worlds: Float[np.ndarray, "worlds length"], measured: Profile, freedom: float
) -> Float[np.ndarray, "worlds length"]:
    """Worlds of the same shapes whose NELBO is spread around the measured one, by its own standard error.

    Smoothing trusts a count the more, the less its sequences differ. Few sequences that have no rare dear token there
    do not differ, and say too little: the level would be too low. The measured NELBO has no such bias.
    """
    level, had = measured.nelbo(), worlds.sum(axis=1)
    if level <= 0 or not had.any():
        return worlds
    wanted = had * level / had.mean()
    error = min(float(measured.standard_error(np.ones(measured.length, int))), _MOST_SPREAD * level)
    error *= np.sqrt(freedom / (freedom - 2)) if 4 <= freedom < np.inf else np.sqrt(2) if freedom < 4 else 1
    wider = max(error / max(wanted.std(), _NONE * level), 1.0)
    wanted = np.maximum(level + wider * (wanted - level), _LEAST * level)
    wanted *= level / wanted.mean()
    low = had < _LEAST * wanted
    times = np.where(low, 1.0, wanted / np.where(low, 1.0, had))
    return worlds * times[:, None] + np.where(low, (wanted - had) / worlds.shape[1], 0.0)[:, None]


def _rises(means: Float[np.ndarray, " m"], covariance: Float[np.ndarray, "m m"], freedom: float) -> bool:
    """Whether some measured mean is above an earlier one beyond doubt: Student's law, times the number of pairs."""
    first, second = np.triu_indices(len(means), 1)
    if len(first) == 0:
        return False
    variances = np.diagonal(covariance)
    apart = variances[first] + variances[second] - 2 * covariance[first, second]
    rise = (means[second] - means[first]) / np.sqrt(np.maximum(apart, np.finfo(float).tiny))
    clear = (
        scipy.stats.t.isf(DOUBT / len(first), freedom)
        if np.isfinite(freedom)
        else scipy.stats.norm.isf(DOUBT / len(first))
    )
    return bool(rise.max() > clear)

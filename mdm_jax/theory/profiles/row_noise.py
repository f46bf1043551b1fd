"""What the errors of a profile's means are, estimated from few sequences: neither zero nor wild in any direction.

The covariance of ``n`` sequences at ``m`` counts has ``m (m + 1) / 2`` numbers. With few sequences it is singular, and
whoever believes it finds combinations of counts that it calls known. It is drawn towards a simple one,

    correlation(i, j) = common + (1 - common) (nested sqrt(h_min / h_max) + (1 - nested) [i = j]),

``h`` being how many tokens are hidden: what a sequence has in common at all counts, what it has because the tokens
hidden at the larger count are among those hidden at the smaller one, and the rest; with variances that are a smooth
function of the count. A count at which all sequences say the same has that variance too, not none: as a rule what is
rare and dear did not come. How far it is drawn is weighed by the marginal likelihood (``DERIVATIONS.md``, "Errors of
few sequences").
"""

import itertools

import numpy as np
import scipy.special
from jaxtyping import Bool, Float

from mdm_jax.theory.profiles.profile import Profile

_COMMON = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97)
_NESTED = (0.02, 0.5, 0.98)
_TRUST = (1.5, 4.0, 10.0, 30.0, 100.0, 400.0)
"""How many sequences' worth of evidence the simple covariance is."""
_NONE = 1e-9
"""Of the largest: a variance below this is none at all."""
_RIDGE = 1e-6
"""Of the mean variance, added where a covariance is taken as it stands: it may be singular."""


def sequences_of(profile: Profile) -> int | None:
    """How many independent sequences (or groups of them) the covariance was estimated from; ``None`` if nobody said."""
    if profile.shares is not None:
        return len(profile.shares)
    rows = profile.provenance.get("rows")
    return rows if isinstance(rows, int) and not isinstance(rows, bool) and rows >= 2 else None


def covariance_of_means(profile: Profile) -> tuple[Float[np.ndarray, "m m"], float]:
    """The covariance of ``profile.means``, and with how many degrees of freedom its scale is known.

    Where nobody said from how many sequences it is, the profile's own is taken, and the freedom is infinite.
    """
    rows, covariance = sequences_of(profile), np.asarray(profile.covariance, np.float64)
    m = len(covariance)
    if rows is None:
        return covariance + _RIDGE * np.diagonal(covariance).mean() * np.eye(m), np.inf
    there, variances = _smooth_variances(profile, rows)
    scale = np.sqrt(variances)
    seen = covariance * (rows * (rows - 1)) / np.outer(scale, scale)  # sums of squares, of rows of variance about 1
    hidden = (profile.length - profile.counts).astype(np.float64)
    nested = np.sqrt(np.minimum.outer(hidden, hidden) / np.maximum.outer(hidden, hidden))
    simple = np.stack([
        common + (1 - common) * (share * nested + (1 - share) * np.eye(m))
        for common, share in itertools.product(_COMMON, _NESTED)
    ])  # fmt: skip
    trust = np.array(_TRUST)
    before = trust[None, :, None, None] * simple[:, None]
    after = before + seen
    prior, freedom = m + 1 + trust, m + trust + rows  # of Wishart laws, of `simple` and after the rows
    steps = np.arange(m)[:, None]
    gammas = scipy.special.gammaln((freedom - steps) / 2) - scipy.special.gammaln((prior - steps) / 2)
    log_evidence = (
        gammas.sum(axis=0) + prior / 2 * np.linalg.slogdet(before)[1] - freedom / 2 * np.linalg.slogdet(after)[1]
    )
    weights = scipy.special.softmax(log_evidence)
    mean = np.einsum("st,stij->ij", weights / (trust + rows - 1), after)
    own = np.diagonal(mean)
    scale = scale * np.where(there | (own > 1), 1.0, 1 / np.sqrt(own))  # nobody is sure for having seen nothing
    return mean * np.outer(scale, scale) / rows, float(rows - 1)


def _smooth_variances(profile: Profile, rows: int) -> tuple[Bool[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Where sequences differ at all, and the variance of one: a parabola through the logarithms of those that are seen.

    It is one in the log-odds of the count.
    """
    found = np.diagonal(profile.covariance) * rows
    there = found > _NONE * found.max()
    odds = np.log((profile.counts + 1) / (profile.length - profile.counts)) / max(np.log(profile.length), 1.0)
    degree = min(2, int(there.sum()) - 1)
    line = np.polynomial.polynomial.polyfit(odds[there], np.log(found[there]), degree)
    half = (rows - 1) / 2
    below = np.log(half) - scipy.special.digamma(half)  # of the logarithm of a variance, on average
    smooth = np.exp(np.polynomial.polynomial.polyval(odds, line) + below)
    return there, np.clip(smooth, found[there].min(), found.max() * np.exp(below))

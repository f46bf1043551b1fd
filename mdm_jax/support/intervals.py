"""Intervals of means that hold for few skewed values as for many.

Student's interval takes the mean of ``n`` values for nearly normal. The mean of 25 losses, most small and a few large,
is not: where the few did not come, the interval is too narrow and lies too low. The *bootstrap-t* looks at how skewed
the values are. It draws ``n`` of them again and again, takes what the mean of each draw is apart from the mean, in
standard errors *of that draw*, and reads the quantiles of these numbers where Student reads his table.

The interval here is the hull of the two, so that it is never narrower than Student's. Each draw's variance is mixed
with that of all values, as if one more value had it, so that a draw in which all values are the same has one. The
coverage of 95% intervals, 4,000 samples each:

| values                          | n = 25: Student's, this | n = 50     | n = 100    |
|---------------------------------|-------------------------|------------|------------|
| normal                          | .950, .955              | .952, .958 | .943, .945 |
| exponential                     | .923, .957              | .932, .958 | .941, .960 |
| log-normal                      | .875, .925              | .894, .936 | .922, .954 |
| one in ten is not 0, or nearly  | .724, .826              | .827, .951 | .882, .976 |

No interval of values alone holds where what counts is rarer than one in ``n``: a sample may not have it. Of what one
plan saves over another, judged on 25 to 2,000 fresh sequences of five exact laws and one without any advantage, these
intervals hold in .949 to .961 (the experiment ``coverage``).

Source: Hall, The Bootstrap and Edgeworth Expansion (1992), 3.10; Efron, Nonparametric standard errors (1981).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from jax.typing import ArrayLike
from jaxtyping import Float

from mdm_jax.support.errors import require, verbatim

_DRAWS = 999
"""Resamples: 25 of them lie beyond each end of an interval of 95%."""
_SEED = 1979
"""Of the resamples: the same values have the same interval, always."""
_MOST_ROWS = 4096
"""Values that are drawn; of more, the means of as many groups of neighbours, or fewer, whose mean is as skewed."""
_MOST_LEVEL = 0.995
"""Of so many draws the quantiles of a higher level are their extremes."""


class Interval(NamedTuple):
    """A mean and the ends of its interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: ArrayLike | Sequence[float], level: float | int = 0.95) -> Interval:
    """The mean of independent values and an interval for what it estimates: :func:`mean_intervals` of one row.

    Raises:
        InputError: fewer than two values, one that is not finite, or a level that is none.

    Example:
        >>> from mdm_jax.support.intervals import mean_interval
        >>> mean, low, high = mean_interval([0.0, 0.1, 0.0, 0.2, 0.1, 0.0, 0.1, 4.0])  # one is large: others may be
        >>> round(mean, 2), round(low, 2), round(high, 2)
        (0.56, -0.6, 2.04)
    """
    rows = np.asarray(values, np.float64)
    require(rows.ndim == 1, "values", verbatim(f"shape {rows.shape}"), "a list of numbers")
    return mean_intervals(rows[None], level)[0]


def mean_intervals(
    values: Float[ArrayLike, "comparisons rows"] | Sequence[Sequence[float]], level: float | int = 0.95
) -> list[Interval]:
    """The mean of each row of independent values, and an interval for what it estimates.

    The columns may depend on each other within a row of the table's transpose, as differences of several plans on the
    same sequences do: all comparisons are drawn again together. The interval of each holds by itself.

    Args:
        values: of each comparison, one for each independent row (a sequence, say), two or more.
        level: the probability with which an interval is to hold.

    Returns:
        One interval a comparison, in the units of the values; of no width where all values are the same.

    Raises:
        InputError: fewer than two values, one that is not finite, or a level that is none.

    Example:
        >>> from mdm_jax.support.intervals import mean_intervals
        >>> mean_intervals([[2.0, 2.0, 2.0]])
        [Interval(mean=2.0, low=2.0, high=2.0)]
    """
    table = np.asarray(values, np.float64)
    wanted = "of shape (comparisons, rows), two rows or more"
    require(table.ndim == 2 and table.shape[1] >= 2, "values", verbatim(f"shape {table.shape}"), wanted)
    require(bool(np.isfinite(table).all()), "values", verbatim("a NaN or an infinity"), "finite")
    require(0 < level <= _MOST_LEVEL, "level", level, f"above 0 and at most {_MOST_LEVEL}")
    rows = table.shape[1]
    same = table.min(axis=1) == table.max(axis=1)
    means = np.where(same, table[:, 0], table.mean(axis=1))
    scale = np.where(same, 1.0, np.abs(table - means[:, None]).max(axis=1))
    apart = (table - means[:, None]) / scale[:, None]  # neither squares nor sums of large values overflow
    errors = apart.std(axis=1, ddof=1) / np.sqrt(rows)
    student = float(scipy.stats.t.ppf(0.5 + level / 2, rows - 1))
    drawn = _studentised(_grouped(apart))
    low, high = np.quantile(drawn, (0.5 - level / 2, 0.5 + level / 2), axis=0, method="weibull")
    ends = np.minimum(-high, -student) * errors * scale, np.maximum(-low, student) * errors * scale
    return [
        Interval(float(mean), float(mean + below), float(mean + above))
        for mean, below, above in zip(means, *ends, strict=True)
    ]


def _grouped(apart: Float[np.ndarray, "comparisons rows"]) -> Float[np.ndarray, "comparisons groups"]:
    """Numbers of which not too many are drawn: only how their mean is spread, in its own errors, is asked of them."""
    comparisons, rows = apart.shape
    size = -(-rows // _MOST_ROWS)
    means = apart[:, : rows // size * size].reshape(comparisons, -1, size).mean(axis=2)
    return means - means.mean(axis=1, keepdims=True)


def _studentised(apart: Float[np.ndarray, "comparisons rows"]) -> Float[np.ndarray, "draws comparisons"]:
    """What the mean of each draw is apart from the mean, in standard errors of the draw."""
    rows = apart.shape[1]
    places = np.random.default_rng(_SEED).integers(0, rows, (_DRAWS, rows)) + rows * np.arange(_DRAWS)[:, None]
    weights = np.bincount(places.ravel(), minlength=_DRAWS * rows).reshape(_DRAWS, rows) / rows
    means = weights @ apart.T
    squares = weights @ (apart**2).T
    # n - 1 degrees of freedom of its own, and one more of all values.
    variances = (rows * np.maximum(squares - means**2, 0.0) + apart.var(axis=1, ddof=1)) / rows
    return means / np.sqrt(np.where(variances > 0, variances, 1.0) / rows)

"""Intervals of means: against SciPy's bootstrap, by coverage, and at their edges."""

import numpy as np
import pytest
import scipy.stats

from mdm_jax.support.errors import InputError
from mdm_jax.support.intervals import mean_interval, mean_intervals


def student(values, level=0.95):
    error = values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() + np.array([-1, 1]) * scipy.stats.t.ppf(0.5 + level / 2, len(values) - 1) * error


@pytest.mark.core
def test_it_is_the_hull_of_students_and_the_bootstrap_t():
    values = np.random.default_rng(0).lognormal(size=60)
    ours = mean_interval(values)

    def t_of(sample, axis):
        error = np.sqrt((59 * sample.var(axis=axis, ddof=1) + values.var(ddof=1)) / 60 / 60)
        return (sample.mean(axis=axis) - values.mean()) / error

    drawn = scipy.stats.bootstrap((values,), t_of, n_resamples=40_000, method="percentile", rng=1)
    low, high = values.mean() - np.array(drawn.confidence_interval)[::-1] * values.std(ddof=1) / np.sqrt(60)
    assert high > student(values)[1]
    assert low > student(values)[0]  # skewed upwards: both ends are higher
    assert ours.low == pytest.approx(student(values)[0], rel=1e-12)
    # The quantile of 999 draws has an error of some sqrt(.025 / 999) / density, here 6% of the half width at most.
    assert ours.high == pytest.approx(high, abs=0.06 * (high - values.mean()))
    assert ours.mean == pytest.approx(values.mean(), rel=1e-15)


@pytest.mark.core
def test_coverage_of_few_skewed_values():
    """1,000 samples of 25; each threshold is four standard errors (.007, .007, .009) below what 4,000 others gave."""
    random = np.random.default_rng(3)
    for name, truth, least in (("normal", 0.0, 0.955), ("exponential", 1.0, 0.957), ("lognormal", np.exp(0.5), 0.925)):
        samples = getattr(random, name)(size=(1000, 25))
        covered = np.mean([low <= truth <= high for _, low, high in mean_intervals(samples)])
        by_student = np.mean([low <= truth <= high for low, high in map(student, samples)])
        assert covered >= least - 4 * np.sqrt(least * (1 - least) / 1000), name
        assert covered >= by_student, name


@pytest.mark.core
def test_of_many_values_it_is_students():
    values = np.random.default_rng(4).exponential(size=9001)  # two in a group, and one left
    ours = mean_interval(values)
    np.testing.assert_allclose((ours.low, ours.high), student(values), rtol=0, atol=0.08 * (ours.high - ours.low))


@pytest.mark.core
def test_edges():
    assert mean_interval([0.1] * 7) == (0.1, 0.1, 0.1)
    two = mean_interval([1.0, 2.0])
    np.testing.assert_allclose((two.low, two.high), student(np.array([1.0, 2.0])), rtol=1e-12)
    rare = mean_interval([0.0] * 24 + [1.0])  # a third of the draws are all zero
    assert 1.9 * student(np.array([0.0] * 24 + [1.0]))[1] < rare.high < 1
    large = mean_interval([1e200, 3e200, 2e200])
    assert np.isfinite(large).all()
    assert large.mean == pytest.approx(2e200)


@pytest.mark.core
def test_units_and_places_and_company_do_not_count():
    values = np.random.default_rng(5).gamma(0.5, size=(2, 40))
    one, other = mean_intervals(values)
    np.testing.assert_allclose((one, other), (mean_interval(values[0]), mean_interval(values[1])), rtol=1e-12)
    moved = mean_interval(3 - 2 * values[0])
    wanted = 3 - 2 * one.mean, 3 - 2 * one.high, 3 - 2 * one.low
    np.testing.assert_allclose(moved, wanted, rtol=1e-9)
    wide, narrow = mean_interval(values[0], level=0.99), mean_interval(values[0], level=0.5)
    assert wide.low < one.low < narrow.low < narrow.high < one.high < wide.high


@pytest.mark.core
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([1.0], r"^values must be of shape \(comparisons, rows\), two rows or more; got shape \(1, 1\)\.$"),
        ([1.0, np.nan], r"^values must be finite; got a NaN or an infinity\.$"),
        ([1.0, np.inf], r"^values must be finite; got a NaN or an infinity\.$"),
        (np.ones((1, 2)), r"^values must be a list of numbers; got shape \(1, 2\)\.$"),
    ],
)
def test_what_is_refused(given, sentence):
    with pytest.raises(InputError, match=sentence):
        mean_interval(given)


@pytest.mark.core
def test_levels_that_are_none():
    for level in (0, 1, np.nan, 0.999):
        with pytest.raises(InputError, match=r"^level must be above 0 and at most 0\.995; got"):
            mean_interval([1.0, 2.0], level=level)

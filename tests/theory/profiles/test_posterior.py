"""The posterior of a measured profile against exact laws, and against what it promises for every profile."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from experiments.tools.profile_laws import laws
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.profiles.posterior import MOST_COUNTS, _in_groups
from mdm_jax.theory.profiles.row_noise import covariance_of_means

PEPTIDES = Path(__file__).with_name("peptides_512_passes.profile.json")


def measured(law: str = "chain", passes: int = 256, seed: int = 0) -> profiles.Profile:
    return laws()[law].measured(np.random.default_rng(seed), passes)


def moved(profile: profiles.Profile, times: float = 1.0, more: float = 0.0) -> profiles.Profile:
    assert profile.shares is not None
    return dataclasses.replace(
        profile,
        means=times * profile.means + more,
        covariance=times**2 * profile.covariance,
        shares=times * profile.shares + more,
    )


def test_an_exact_profile_is_its_own_posterior():
    for values, falls in (([1.0, 0.5, 0.25, 0.25], True), ([0.5, 0.75], False), ([0.3], True)):
        exact = profiles.from_values(values)
        found = profiles.posterior_profile(exact)
        assert found.profile is exact
        assert found.measured is exact
        assert found.worlds.tolist() == [values]
        assert found.falls is falls


@pytest.mark.parametrize("law", ["urn", "chain", "mixture", "checksums", "table"])
def test_worlds_fall_and_their_mean_is_the_profile(law: str):
    given = measured(law, 64)
    found = profiles.posterior_profile(given, worlds=33)
    assert found.falls
    assert found.worlds.shape == (33, given.length)
    assert np.all(np.diff(found.worlds, axis=1) <= 1e-12)
    assert np.all(found.worlds >= 0)
    np.testing.assert_allclose(found.worlds.mean(axis=0), found.profile.values, rtol=1e-12)
    assert found.profile.exact
    assert found.profile.provenance["posterior_of"] == given.digest
    assert found.profile.provenance["law"] == law
    again = profiles.posterior_profile(given, worlds=33)
    np.testing.assert_array_equal(again.worlds, found.worlds)
    assert not np.allclose(profiles.posterior_profile(given, worlds=33, seed=1).worlds, found.worlds)


@pytest.mark.parametrize("law", ["urn", "chain", "checksums"])
def test_with_many_sequences_it_goes_through_the_means(law: str):
    """200,000 sequences, of made-up shares: their standard errors are a hundredth of those of 20."""
    few = measured(law, 4096)
    sharp = dataclasses.replace(
        few, covariance=few.covariance * 1e-4, shares=few.means + (few.shares - few.means) * 1e-2
    )  # fmt: skip
    found = profiles.posterior_profile(profiles.falling(sharp)).profile
    near = np.abs(found.values[few.counts] - profiles.falling(sharp).means)
    assert np.all(near <= 3 * np.sqrt(np.diagonal(covariance_of_means(sharp)[0])))


def test_it_is_nearer_to_the_truth_than_the_measurement():
    """Root mean squares of the shape (level apart) over 12 profiles of 64 passes of each law."""
    for law in laws().values():
        errors = []
        for seed in range(12):
            given = law.measured(np.random.default_rng(seed), 64)
            both = [given.values, profiles.posterior_profile(given, worlds=64).profile.values]
            errors.append([np.std(values - law.profile) for values in both])
        before, after = np.sqrt(np.mean(np.square(errors), axis=0))
        assert after < 0.9 * before, law.name


@pytest.mark.parametrize(("times", "more", "near"), [(3.0, 0.0, 1e-4), (0.01, 0.0, 1e-4), (1.0, 5.0, 5e-2)])
def test_units_make_no_difference_and_a_constant_little(times: float, more: float, near: float):
    """Levels are set by a factor, so that what a constant changes is of the second order."""
    given = measured()
    one, other = profiles.posterior_profile(given), profiles.posterior_profile(moved(given, times, more))
    np.testing.assert_allclose(other.profile.values, times * one.profile.values + more, rtol=1e-4, atol=near * times)
    assert plans.optimal(other.profile, 8).sizes.tolist() == plans.optimal(one.profile, 8).sizes.tolist()


def test_a_covariance_alone_does():
    given = measured()
    alone = dataclasses.replace(given, shares=None)  # provenance says how many rows
    np.testing.assert_allclose(
        profiles.posterior_profile(alone).profile.values, profiles.posterior_profile(given).profile.values, rtol=1e-9
    )
    unsaid = dataclasses.replace(alone, provenance={})  # nobody says from how many: taken as it stands
    found = profiles.posterior_profile(unsaid)
    assert np.isfinite(found.worlds).all()
    assert np.all(np.diff(found.profile.values) <= 1e-12)
    covariance, freedom = covariance_of_means(unsaid)
    assert freedom == np.inf
    np.testing.assert_allclose(covariance, given.covariance, atol=1e-5 * given.covariance.max())


def made(values: list[float], error: float, rows: int = 100) -> profiles.Profile:
    """A profile whose counts have independent errors, and means that are just so."""
    noise = np.random.default_rng(0).normal(0, error * np.sqrt(rows), (rows, len(values)))
    return profiles.from_rows(len(values), np.arange(len(values)), values + noise - noise.mean(axis=0))


def test_rises_are_kept_where_the_measurement_is_sure_of_them():
    rising = [1.0, 0.8, 0.7, 0.65, 0.6, 0.62, 0.7, 0.8]
    sure = profiles.posterior_profile(made(rising, 0.004))
    assert not sure.falls
    np.testing.assert_allclose(sure.profile.values, rising, atol=0.015)
    unsure = profiles.posterior_profile(made(rising, 0.1))
    assert unsure.falls
    assert np.all(np.diff(unsure.worlds, axis=1) <= 1e-12)


def test_a_rise_is_seldom_believed_where_there_is_none():
    """150 flat profiles, 12 independent counts, 10 sequences: 1 in 1,000 is promised; 3 come 1 in 2,000 times."""
    rows = np.random.default_rng(0).normal(1.0, 0.1, (150, 10, 12))
    rising = sum(not profiles.posterior_profile(profiles.from_rows(12, np.arange(12), one), 2).falls for one in rows)
    assert rising < 3


def test_worlds_are_spread_as_the_truth_is():
    """Of 100 measurements of a straight line with normal errors, 90 % intervals of two contrasts cover 78 % or more.

    Four standard errors of 100 trials are 12 %.
    """
    truth, counts, rng = np.linspace(1.0, 0.5, 24), np.arange(24), np.random.default_rng(0)
    weights = np.stack([np.eye(24)[0] - np.eye(24)[12], np.full(24, 1 / 24)])
    inside = []
    for _ in range(100):
        rows = truth + rng.normal(0, 0.3, (20, 24)) + rng.normal(0, 0.3, (20, 1))
        found = profiles.posterior_profile(profiles.from_rows(24, counts, rows), worlds=100)
        low, high = np.quantile(found.worlds @ weights.T, [0.05, 0.95], axis=0)
        inside.append((low <= weights @ truth) & (weights @ truth <= high))
    assert np.all(np.mean(inside, axis=0) >= 0.78)


def test_the_covariance_of_few_sequences_is_near_the_true_one_in_every_direction():
    """Twelve sequences at 20 counts: the sample's covariance is singular, ours within a factor of 6 everywhere."""
    hidden = 64.0 - profiles.default_counts(64, 20)
    true = 0.04 + 1 / np.maximum.outer(hidden, hidden)
    rows = np.random.default_rng(1).multivariate_normal(np.full(len(true), 1.0), true, 12)
    given = profiles.from_rows(64, profiles.default_counts(64, 20), rows)
    found, freedom = covariance_of_means(given)
    ratios = scipy.linalg.eigh(found * 12, true, eigvals_only=True)
    assert 1 / 6 < ratios.min() <= ratios.max() < 6
    assert freedom == 11
    assert np.linalg.matrix_rank(given.covariance) < len(true)


def test_the_profile_of_the_fault_has_no_curve_below_its_bound():
    """The peptides of 25 sequences and 512 passes: the optimal curve ran below one token per step."""
    given = profiles.load(PEPTIDES)
    before = plans.optimal_for_every_budget(given)
    assert before.nelbo.min() < given.nelbo() - 0.4
    found = profiles.posterior_profile(given)
    assert found.falls
    best = plans.optimal_for_every_budget(found.profile)
    assert best.nelbo.min() >= found.profile.nelbo() - 1e-9
    assert np.all(np.abs(found.profile.values[given.counts] - given.means) <= 4 * given.standard_errors)
    assert before.sizes(8).max() > 2 * np.sort(before.sizes(8))[-3]  # 1 2 5 18 8 21 7 2
    assert np.all(np.abs(np.diff(best.sizes(8), n=2)) <= 5)  # 1 2 4 9 12 12 12 12


@pytest.mark.parametrize("length", [1, 2, 3])
def test_short_sequences(length: int):
    rows = np.random.default_rng(2).normal(2.0, 0.1, (6, length))
    found = profiles.posterior_profile(profiles.from_rows(length, np.arange(length), rows))
    assert found.worlds.shape == (512, length)
    np.testing.assert_allclose(found.profile.values.mean(), rows.mean(), atol=0.1)


def test_errors_that_are_next_to_nothing():
    """Of a hundred-thousandth of the profile and less: curves go through the means, and their roots exist."""
    for error in (1e-5, 1e-8, 1e-12):
        found = profiles.posterior_profile(made([1.0, 0.7, 0.4, 0.35, 0.2, 0.0], error), worlds=20)
        np.testing.assert_allclose(found.profile.values, [1.0, 0.7, 0.4, 0.35, 0.2, 0.0], atol=1e-4)


def test_a_long_profile_of_few_counts():
    length = 4096
    counts, rng = profiles.default_counts(length), np.random.default_rng(3)
    truth = 2 - 0.1 * np.log1p(np.arange(length))
    noise = rng.normal(0, 0.3, (40, 1)) + rng.normal(0, 1, (40, len(counts))) / np.sqrt(length - counts)
    found = profiles.posterior_profile(profiles.from_rows(length, counts, truth[counts] + noise), worlds=50)
    assert found.worlds.shape == (50, length)
    regret = truth[np.cumsum(s := plans.optimal(found.profile, 16).sizes) - s] @ s
    assert regret - plans.optimal_for_every_budget(profiles.from_values(truth), 16).nelbo[-1] < 0.02 * length * 0.1


def rare_tokens(rows: int, seed: int, length: int = 64, chance: float = 0.02) -> profiles.Profile:
    """Independent bits, one in fifty a one: what a sequence says is a flat profile, of few dear tokens."""
    counts = profiles.default_counts(length, 20)
    dear = np.random.default_rng(seed).random((rows, length)) < chance
    costs = np.where(dear, -np.log(chance), -np.log1p(-chance))
    hidden = np.cumsum(costs[:, ::-1], axis=1)[:, ::-1]
    return profiles.from_rows(length, counts, hidden[:, counts] / (length - counts))


def test_few_skewed_sequences_keep_their_level():
    """40 measurements of 25 sequences. Before, a mean was 2.2 nats of 6.3 too low, and 3.7 of its own errors."""
    truth = 64 * -(0.02 * np.log(0.02) + 0.98 * np.log1p(-0.02))
    off = []
    for seed in range(40):
        given = rare_tokens(25, seed)
        found = profiles.posterior_profile(given, worlds=100)
        total = found.worlds.sum(axis=1)
        assert total.mean() == pytest.approx(given.nelbo(), rel=1e-9)
        assert total.std() > 0.9 * given.standard_error(np.ones(64, int))
        off.append((total.mean() - truth) / total.std())
    assert abs(np.mean(off)) < 4 * np.std(off) / np.sqrt(40) + 0.1  # the errors of few skewed values lean, too
    assert np.abs(off).max() < 6


def test_no_count_is_sure_for_having_seen_nothing():
    given = rare_tokens(25, 0)
    variances = np.diagonal(covariance_of_means(given)[0])
    unseen = np.diagonal(given.covariance) < 1e-20
    assert unseen.any()
    assert variances[unseen].min() > 0.5 * variances[~unseen].min()


def test_two_sequences_have_no_wild_mean():
    """Student's law of one degree has no mean: of 40 measurements of 2.0 nats the largest was 7.25."""
    counts, levels = np.array([0, 2, 5, 9, 12, 15]), []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = np.linspace(3, 1, 16)[counts] + rng.normal(0, 1.0, (2, 1)) + rng.normal(0, 0.5, (2, 6))
        given = profiles.from_rows(16, counts, np.abs(rows))
        found = profiles.posterior_profile(given, worlds=64)
        levels.append(found.profile.nelbo() / given.nelbo())
        assert found.profile.values.max() < 2.5 * given.means.max()
    np.testing.assert_allclose(levels, 1.0, rtol=1e-9)


def test_a_profile_of_every_count_takes_little():
    """A thousand counts are some sixty groups; near both ends each count stays by itself."""
    length = 1024
    truth, rng = 2 - 0.2 * np.log1p(np.arange(length)), np.random.default_rng(0)
    noise = rng.normal(0, 0.3, (100, 1)) + rng.normal(0, 1, (100, length)) / np.sqrt(length - np.arange(length))
    given = profiles.from_rows(length, np.arange(length), np.abs(truth + noise))
    grouped = _in_groups(given)
    assert grouped.shares is not None
    assert len(grouped.counts) <= MOST_COUNTS
    assert grouped.counts[:3].tolist() == [0, 1, 2]
    assert grouped.counts[-1] == length - 1
    np.testing.assert_allclose(grouped.shares.mean(axis=0), grouped.means, rtol=1e-9)
    np.testing.assert_allclose(np.cov(grouped.shares, rowvar=False) / 100, grouped.covariance, rtol=1e-6, atol=1e-12)
    found = profiles.posterior_profile(given)
    assert np.std(found.profile.values[5:-5] - np.abs(truth)[5:-5]) < 0.05
    assert profiles.posterior_profile(given) is found  # nobody waits twice
    assert not found.worlds.flags.writeable


def test_a_posterior_mean_is_not_known_exactly():
    assert "a posterior mean" in repr(profiles.posterior_profile(measured()).profile)
    assert "known exactly" in repr(profiles.from_values([1.0, 0.5]))


def test_no_more_shares_than_a_file_holds():
    rows = np.abs(np.random.default_rng(0).normal(1, 0.1, (2000, 4)))
    grouped = profiles.from_rows(4, np.arange(4), rows).shares
    assert grouped is not None
    assert grouped.shape == (500, 4)
    with pytest.raises(InputError, match=r"^shares must be of shape \(rows, 4\), 2 to 1024 rows .*; got shape \(2000"):
        profiles.Profile(4, np.arange(4), rows.mean(axis=0), np.eye(4) * 1e-4, {}, rows)


def test_what_is_refused_and_how_it_looks():
    given = measured()
    with pytest.raises(InputError, match="worlds must be a whole number, 2 or more; got 1"):
        profiles.posterior_profile(given, worlds=1)
    with pytest.raises(InputError, match="seed must be"):
        profiles.posterior_profile(given, seed=-1)
    assert "16 worlds of 64 tokens, which fall" in repr(profiles.posterior_profile(given, worlds=16))

"""Profiles against brute force and against the exact law of the sampler on a small random table."""

import itertools
import json

import known_profiles
import numpy as np
import pytest
from known_profiles import D, Table, compositions, ordered_partitions, polya
from scipy import special
from scipy.interpolate import PchipInterpolator

from mdm_jax.evaluation import default_counts
from mdm_jax.support.errors import InputError
from mdm_jax.theory import profiles
from mdm_jax.theory.profiles import Profile


@pytest.mark.core
@pytest.mark.parametrize("exact", [True, False], ids=["exact conditionals", "inconsistent conditionals"])
@pytest.mark.parametrize("seed", [0, 1])
def test_expected_nelbo_is_the_divergence_of_the_sampler(seed, exact):
    table = Table(seed, exact)
    profile = table.profile()
    every = list(compositions(D))
    assert len(every) == 2 ** (D - 1)
    for sizes in every:
        excess = profile.expected_nelbo(np.array(sizes)) - table.entropy()
        assert excess == pytest.approx(table.divergence(sizes), abs=1e-12), sizes
    if exact:  # one token at a time loses nothing, and h falls
        assert profile.nelbo() == pytest.approx(table.entropy(), abs=1e-12)
        assert (np.diff(profile.values) <= 1e-15).all()
    else:
        assert profile.nelbo() > table.entropy() + 0.1


@pytest.mark.core
@pytest.mark.parametrize("seed", [0, 1])
def test_the_gap_of_a_profile_is_the_divergence_of_its_conditionals(seed):
    """``g(i) - h(i)``, against the mean over sets, positions and states of KL(law's || model's conditional)."""
    model, truth = Table(seed, False), Table(seed, True)
    assert model.law == truth.law
    divergences = np.zeros(D)
    for count in range(D):
        found = []
        for revealed, j in ((s, j) for s in itertools.combinations(range(D), count) for j in set(range(D)) - set(s)):
            for x, p in truth.law.items():
                shown = tuple(v if i in revealed else None for i, v in enumerate(x))
                one, guess = truth.guess[j, shown], model.guess[j, shown]
                found.append(p * (one * np.log(one / guess) + (1 - one) * np.log((1 - one) / (1 - guess))))
        divergences[count] = np.sum(found) * len(truth.law) / len(found)
    np.testing.assert_allclose(model.profile().values - truth.profile().values, divergences, atol=1e-12)
    assert (divergences > 0.01).all()


@pytest.mark.core
@pytest.mark.parametrize("sizes", [(4,), (1, 3), (2, 2), (1, 1, 2), (1, 1, 1, 1)], ids=str)
def test_the_divergence_over_orders_bounds_that_of_the_mixture(sizes):
    # KL(law || E_S q(. | S)) = F - E_x KL(P(S) || P(S | x)): the samples are nearer to the law than F says.
    table = Table(0, True)
    partitions = list(ordered_partitions(set(range(D)), sizes))
    mixture, gap = 0.0, 0.0
    for x, p in table.law.items():
        chances = []
        for partition in partitions:
            revealed, log_q = set(), 0.0
            for block in partition:
                log_q += sum(table.log_q(x, j, revealed) for j in block)
                revealed |= set(block)
            chances.append(np.exp(log_q))
        mixture += p * (np.log(p) - np.log(np.mean(chances)))
        gap += p * np.mean(np.log(np.mean(chances) / np.array(chances)))
    error = float(table.profile().expected_nelbo(np.array(sizes)) - table.entropy())
    assert mixture == pytest.approx(error - gap, abs=1e-12)
    assert gap >= -1e-15


@pytest.mark.core
def test_polya_urn_adds_up_to_its_entropy():
    length, b = 12, 0.5
    # the urn's law depends on the number of ones only
    c = np.arange(length + 1)
    log_p = special.betaln(c + b, length - c + b) - special.betaln(b, b)
    entropy = -np.sum(special.comb(length, c) * np.exp(log_p) * log_p)
    profile = polya(b, length)
    assert profile.nelbo() == pytest.approx(entropy, abs=1e-12)
    assert profile.values[0] == pytest.approx(np.log(2))
    assert profile.bits_per_token() == pytest.approx(entropy / length / np.log(2))
    # all at once: independent fair coins
    assert profile.expected_nelbo(np.array([length])) == pytest.approx(length * np.log(2))


@pytest.mark.core
def test_uniform_sizes_on_the_polya_urn():
    profile = polya(0.5, 128)
    excess = profile.expected_nelbo(np.full(8, 16)) - profile.nelbo()
    assert excess == pytest.approx(3.855, abs=5e-4)  # plans/DERIVATIONS.md, "Known optima"


@pytest.mark.core
def test_expected_nelbo_is_the_sum_of_its_definition():
    generator = np.random.default_rng(0)
    g = generator.normal(5, 1, 20)  # it may rise
    profile = profiles.from_values(g)
    stack = np.stack([generator.multinomial(20, np.full(7, 1 / 7)) for _ in range(30)]).reshape(5, 6, 7)
    assert (stack == 0).any()  # idle steps, in the middle and at the end
    values = profile.expected_nelbo(stack)
    assert values.shape == (5, 6)
    for at in np.ndindex(5, 6):
        total, revealed = 0.0, 0
        for n in stack[at].tolist():
            for _ in range(n):
                total += g[revealed]
            revealed += n
        assert values[at] == pytest.approx(total, rel=1e-13)
    idle = np.array([0, 3, 0, 17, 0, 0])
    assert profile.expected_nelbo(idle) == profile.expected_nelbo(np.array([3, 17]))


@pytest.mark.core
def test_interpolation_goes_through_the_means_and_turns_only_where_they_do():
    counts, means = np.array([0, 2, 3, 9, 12]), np.array([3.0, 2.0, 1.5, 0.9, 1.0])
    profile = Profile(13, counts, means, np.zeros((5, 5)))
    np.testing.assert_allclose(profile.values[counts], means, rtol=1e-14)
    assert np.all(np.diff(profile.values[:10]) < 0)
    assert np.all(np.diff(profile.values[9:]) > 0)
    assert profile.nelbo() == pytest.approx(profile.values.sum())
    assert profile.expected_nelbo(np.array([3, 10])) == pytest.approx(3 * 3.0 + 10 * 1.5)
    straight = Profile(11, np.array([0, 3, 10]), np.array([2.0, 1.7, 1.0]), np.zeros((3, 3)))
    np.testing.assert_allclose(straight.values, 2 - 0.1 * np.arange(11), rtol=1e-12)
    single = Profile(1, np.array([0]), np.array([0.7]), np.zeros((1, 1)))
    assert single.values.tolist() == [0.7]


@pytest.mark.parametrize(("name", "length"), [("polya", 128), ("markov", 128), ("polya", 500)])
def test_curves_err_less_than_straight_lines(name, length):
    """At the default counts, against the closed form: an eighth of the error in the NELBO, and below 0.005 nats."""
    exact = known_profiles.polya(0.5, length) if name == "polya" else known_profiles.markov(0.2, length)
    counts = default_counts(length)
    m = len(counts)
    error = Profile(length, counts, exact.values[counts], np.zeros((m, m))).nelbo() - exact.nelbo()
    lines = np.interp(np.arange(length), counts, exact.values[counts]).sum() - exact.nelbo()
    assert abs(error) < min(abs(lines) / 8, 0.005)


def _random_profile(seed=0, length=24, counts=(0, 1, 3, 7, 12, 23), noise=0.02):
    generator = np.random.default_rng(seed)
    m = len(counts)
    factor = generator.normal(0, noise, (m, m + 2))
    return Profile(length, np.array(counts), 1 + generator.random(m), factor @ factor.T, {"rows": 3})


@pytest.mark.core
@pytest.mark.thorough
def test_standard_error_by_monte_carlo():
    # 20,000 draws of the means: the standard deviation is known to 1 / sqrt(2 * 20,000) = 0.5 % (one standard error);
    # asked of 5 sizes within 4 of them. The seed is fixed, so the test does not flicker.
    # Noise is small, since errors are carried along the interpolation to first order.
    profile, draws = _random_profile(noise=0.001), 20_000
    means = np.random.default_rng(1).multivariate_normal(profile.means, profile.covariance, size=draws)
    values = np.stack([PchipInterpolator(profile.counts, row)(np.arange(24)) for row in means])
    sizes = np.array([[24, 0, 0, 0], [1, 2, 3, 18], [6, 6, 6, 6], [12, 12, 0, 0], [18, 3, 2, 1]])
    errors = profile.standard_error(sizes)
    assert errors.shape == (5,)
    for row, error in zip(sizes, errors):
        before = np.cumsum(row) - row
        spread = np.std(values[:, np.minimum(before, 23)] @ row, ddof=1)
        assert abs(spread / error - 1) < 4 / np.sqrt(2 * draws)


@pytest.mark.core
def test_standard_errors_keep_correlations():
    counts = np.array([0, 1])
    together = Profile(2, counts, np.ones(2), np.full((2, 2), 0.04))
    opposed = Profile(2, counts, np.ones(2), np.array([[0.04, -0.04], [-0.04, 0.04]]))
    assert together.standard_errors.tolist() == [0.2, 0.2]
    assert together.standard_error(np.array([1, 1])) == pytest.approx(0.4)
    assert opposed.standard_error(np.array([1, 1])) == pytest.approx(0, abs=1e-9)
    assert profiles.from_values(np.ones(3)).standard_error(np.array([1, 2])) == 0


@pytest.mark.core
def test_file_round_trip(tmp_path):
    profile = _random_profile()
    path = profile.save(tmp_path / "new folder" / "profile.json")
    again = profiles.load(path)
    assert again.length == profile.length
    for name in ("counts", "means", "covariance", "values"):
        assert getattr(again, name).tolist() == getattr(profile, name).tolist()  # to the last bit
    assert again.provenance == {"rows": 3}
    assert again.digest == profile.digest
    assert json.loads(path.read_text())["standard_errors"] == profile.standard_errors.tolist()


@pytest.mark.core
def test_exact_profiles_stay_small(tmp_path):
    """No square array for what has no errors: neither in memory nor in the file."""
    profile = profiles.from_values(np.linspace(2, 1, 5000))
    assert profile.exact
    assert profile.covariance.strides == (0, 0)
    again = profiles.load(profile.save(tmp_path / "profile.json"))
    assert again.exact
    assert again.digest == profile.digest
    assert profile.standard_error(np.array([2500, 2500])) == 0
    assert (tmp_path / "profile.json").stat().st_size < 400_000
    assert not _random_profile().exact


def test_the_digest_sees_every_number():
    profile = _random_profile()
    digests = {profile.digest}
    for name in ("means", "covariance"):
        changed = getattr(profile, name).copy()
        changed.flat[0] = np.nextafter(changed.flat[0], np.inf)
        digests.add(Profile(**{**vars_of(profile), name: changed}).digest)
    digests.add(Profile(**{**vars_of(profile), "provenance": {}}).digest)
    assert len(digests) == 4


def vars_of(profile):
    return {name: getattr(profile, name) for name in ("length", "counts", "means", "covariance", "provenance")}


@pytest.mark.core
@pytest.mark.parametrize(
    "sizes",
    [[3, 3], [5, -1], [2, 3], [], [[2, 2], [2, 3]]],
    ids=str,
)
def test_sizes_must_make_a_plan(sizes):
    profile = profiles.from_values(np.ones(4))
    for method in (profile.expected_nelbo, profile.standard_error):
        with pytest.raises(InputError, match=r"^sizes must be non-negative and sum to the length 4; got \["):
            method(np.asarray(sizes, dtype=int))


GOOD = {
    "format": profiles.FORMAT,
    "length": 3,
    "counts": [0, 2],
    "nats_per_token": [2.0, 1.0],
    "covariance": [[0.1, 0.0], [0.0, 0.1]],
    "provenance": {},
}


@pytest.mark.core
@pytest.mark.parametrize(
    "change",
    [
        {"format": None},
        {"format": "mdm_jax plan 1"},
        {"length": None},
        {"length": 0},
        {"length": 4},
        {"length": "three"},
        {"length": []},
        {"length": 1e400},
        {"length": 3.5},
        {"length": 10**400},
        {"counts": None},
        {"counts": []},
        {"counts": 0},
        {"counts": [0, 1]},
        {"counts": [1, 2]},
        {"counts": [2, 0]},
        {"counts": [0, 0]},
        {"counts": [0.0, 2.5]},
        {"counts": [[0, 2], [0, 2]]},
        {"counts": ["a", "b"]},
        {"counts": [0, 10**30]},
        {"nats_per_token": [1.0]},
        {"nats_per_token": [1.0, None]},
        {"nats_per_token": [1.0, 1e400]},
        {"nats_per_token": [[1.0], [2.0]]},
        {"nats_per_token": {"0": 1.0}},
        {"covariance": 0.1},
        {"covariance": [0.1, 0.1]},
        {"covariance": [[0.1, 0.0], [0.0]]},
        {"covariance": [[0.1, 0.0], [0.0, -0.1]]},
        {"covariance": [[0.1, 0.05], [0.0, 0.1]]},
        {"covariance": [[float("nan"), 0.0], [0.0, 0.1]]},
        {"provenance": "a text"},
        {"provenance": [1, 2]},
        {"provenance": None},
    ],
    ids=lambda change: str(change)[:50],
)
def test_malformed_file(change, tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(GOOD))
    assert profiles.load(path).values.tolist() == [2.0, 1.5, 1.0]
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(InputError) as caught:
        profiles.load(path)
    assert str(caught.value).startswith(f"{path} is not a profile: ")
    assert str(caught.value).endswith(".")


@pytest.mark.core
@pytest.mark.parametrize("missing", ["format", "length", "counts", "nats_per_token", "covariance"])
def test_incomplete_file(missing, tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({k: v for k, v in GOOD.items() if k != missing}))
    with pytest.raises(InputError, match=missing):
        profiles.load(path)


@pytest.mark.core
@pytest.mark.parametrize("text", ["", "[]", "3", "null", '"profile"', "{", "\x00"])
def test_no_profile_at_all(text, tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(InputError, match="is not a profile"):
        profiles.load(path)

"""The profile that training measures as it goes."""

import jax
import jax.numpy as jnp
import known_profiles
import numpy as np
import pytest

from mdm_jax.theory import profiles
from mdm_jax.training import tally

LENGTH, ROWS, STEPS = 32, 16, 2000


def truth(revealed):
    return 1.0 + 2.0 / (1.0 + 0.3 * revealed)


@pytest.fixture(scope="module")
def tallied():
    """40 tallies of 400 batches of 16 made-up losses, whose spread grows with the number of hidden tokens' inverse."""

    @jax.jit
    def one(key):
        def body(i, seen):
            count_key, noise_key = jax.random.split(jax.random.fold_in(key, i))
            revealed = jax.random.randint(count_key, (ROWS,), 0, LENGTH)
            spread = 0.8 / jnp.sqrt(LENGTH - revealed)
            return tally.add(seen, revealed, truth(revealed) + spread * jax.random.normal(noise_key, (ROWS,)), STEPS)

        return jax.lax.fori_loop(0, 400, body, tally.empty(LENGTH))

    return [jax.device_get(one(jax.random.key(seed))) for seed in range(40)]


def test_it_finds_the_profile_and_its_errors(tallied):
    """Mean z within 4/sqrt(40) of 0 at every count but for what straight lines miss; spread of z within 20 % of 1."""
    found = [tally.to_profile(seen) for seen in tallied]
    counts = found[0].counts
    z = np.array([(p.means - truth(counts)) / p.standard_errors for p in found])
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(40)
    assert np.sqrt(np.mean((z - z.mean(axis=0)) ** 2)) == pytest.approx(1, abs=0.2)
    assert found[0].provenance["estimator"] == "training loss"


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_errors_bound_what_rows_have_in_common(share):
    """Rows that give a draw at every count, a share of the variance common to a row's draws.

    The NELBO's spread over 200 tallies, against the error told: within 4/sqrt(400) = 20 % of what theory says,
    sqrt((1 + 15 share) / 16) for 16 draws, which is at most 1.
    """
    length = 16

    @jax.jit
    @jax.vmap
    def one(key):
        def body(i, seen):
            row_key, noise_key = jax.random.split(jax.random.fold_in(key, i))
            revealed = jnp.broadcast_to(jnp.arange(length), (ROWS, length))
            common = jnp.sqrt(share) * jax.random.normal(row_key, (ROWS, 1))
            noise = common + jnp.sqrt(1 - share) * jax.random.normal(noise_key, (ROWS, length))
            return tally.add(seen, revealed, truth(revealed) + noise, 100)

        return jax.lax.fori_loop(0, 40, body, tally.empty(length))

    many = jax.device_get(one(jax.random.split(jax.random.key(5), 200)))
    found = [tally.to_profile(jax.tree.map(lambda leaf, i=i: leaf[i], many)) for i in range(200)]
    one_each = np.ones(length, int)
    told = np.mean([profile.standard_error(one_each) for profile in found])
    ratio = np.std([profile.nelbo() for profile in found]) / told
    assert ratio == pytest.approx(np.sqrt((1 + 15 * share) / 16), rel=0.2)
    rows = ROWS * np.sum(0.5 ** (np.arange(40) / 5)) ** 2 / np.sum(0.25 ** (np.arange(40) / 5))
    assert found[0].provenance["effective_rows"] == pytest.approx(rows, rel=1e-4)  # rows, not draws


@pytest.mark.thorough
def test_its_costs_are_those_of_the_curve_it_draws(tallied):
    """NELBO and the cost of four steps: mean z within 4/sqrt(40) of 0 (24 of 32 counts miss next to nothing)."""
    sizes, exact = np.array([2, 4, 8, 18]), profiles.from_values(truth(np.arange(LENGTH)))
    for plan in (sizes, np.ones(LENGTH, int)):
        z = []
        for seen in tallied:
            profile = tally.to_profile(seen)
            z.append((profile.expected_nelbo(plan) - exact.expected_nelbo(plan)) / profile.standard_error(plan))
        assert abs(np.mean(z)) < 4 / np.sqrt(40)


@pytest.mark.parametrize(("most", "relative"), [(24, 2e-4), (8, 4e-3), (4, 0.02)])
def test_without_noise_few_counts_are_near_enough(most, relative):
    values = known_profiles.markov(0.05, 128).values
    ones = np.ones(128)
    seen = tally.Tally(100 * ones, 100 * ones, 100 * values, 100 * values**2)
    profile = tally.to_profile(seen, numbers=(most,))
    assert profile.nelbo() == pytest.approx(values.sum(), rel=relative)


def test_sums_by_hand():
    seen = tally.empty(4)
    batches = [([0, 3, 3], [1.0, 2.0, 4.0]), ([1, 3, 0], [0.5, 1.0, 3.0])]
    for revealed, losses in batches:
        seen = tally.add(seen, jnp.array(revealed), jnp.array(losses), 100)
    fade = 0.5 ** (tally.HALF_LIVES / 100)
    np.testing.assert_allclose(seen.weight, [fade + 1, 1, 0, 2 * fade + 1], rtol=1e-6)
    np.testing.assert_allclose(seen.weight_squared, [fade**2 + 1, 1, 0, 2 * fade**2 + 1], rtol=1e-6)
    np.testing.assert_allclose(seen.loss, [fade + 3, 0.5, 0, 6 * fade + 1], rtol=1e-6)
    np.testing.assert_allclose(seen.loss_squared, [fade + 9, 0.25, 0, 20 * fade + 1], rtol=1e-6)


def test_what_is_old_is_forgotten():
    """After a run's length at another level, that level is what is left (2^-20 of the old one)."""
    counts = jnp.arange(8)
    seen = tally.empty(8)
    for level in (5.0, 2.0):
        for _ in range(50):
            seen = tally.add(seen, counts, jnp.full(8, level), 50)
    profile = tally.to_profile(seen)
    np.testing.assert_allclose(profile.means, 2.0, atol=1e-4)
    assert profile.length == 8


def test_too_little_makes_no_profile_and_little_makes_a_coarse_one():
    assert tally.to_profile(tally.empty(64)) is None
    seen = tally.empty(64)
    for i in range(10):
        seen = tally.add(seen, jnp.arange(i % 3, 64, 3), jnp.ones(len(range(i % 3, 64, 3))), 1000)
    assert len(tally.to_profile(seen).counts) < 24

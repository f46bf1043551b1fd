import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import draw_rows, exact_world, wrong_world

from mdm_jax import models, oracles
from mdm_jax.evaluation import default_counts, estimate_profile, path_nelbo, paths
from mdm_jax.evaluation.measuring import estimation
from mdm_jax.sampling import path_log_prob, plan_knots, random_order
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile, from_values

LENGTH, VOCAB = 4, 3
ESTIMATORS = ("increments", "loss")


def exact_profile(table, params):
    """``g(i)`` of the denoiser ``params`` under the law ``table``, by enumeration in float64."""
    logits = np.asarray(params, np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    powers = (VOCAB + 1) ** np.arange(LENGTH - 1, -1, -1)
    values = np.zeros(LENGTH)
    for count in range(LENGTH):
        subsets = list(itertools.combinations(range(LENGTH), count))
        for tokens in itertools.product(range(VOCAB), repeat=LENGTH):
            for revealed in subsets:
                state = np.where(np.isin(np.arange(LENGTH), revealed), tokens, VOCAB)
                code = int((state * powers).sum())
                masked = [j for j in range(LENGTH) if j not in revealed]
                cost = np.mean([-log_p[code, j, tokens[j]] for j in masked])
                values[count] += table[tokens] * cost / len(subsets)
    return values


@pytest.fixture(scope="module")
def world():
    table, _, _ = exact_world(LENGTH, VOCAB)
    denoiser, params = wrong_world(LENGTH, VOCAB)
    return table, denoiser, params, exact_profile(table, params)


@pytest.mark.core
def test_the_estimate_is_unbiased_and_its_errors_are_right(world):
    """32 independent profiles of 128 rows: the mean z within 3/sqrt(32) of 0, its spread within 25% of 1."""
    table, denoiser, params, truth = world
    z = []
    for seed in range(32):
        rows = draw_rows(table, 128, seed)
        profile = estimate_profile(denoiser, params, rows, 128 * LENGTH, key=jax.random.key(seed))
        assert profile.counts.tolist() == [0, 1, 2, 3]
        z.append((profile.means - truth) / profile.standard_errors)
    z = np.array(z)
    assert np.abs(z.mean(axis=0)).max() < 3 / np.sqrt(32)
    assert abs(np.sqrt((z**2).mean()) - 1) < 0.25


@pytest.mark.core
def test_increments_fall_as_the_entropies_do():
    """16 independent profiles of 256 rows by the exact denoiser: the mean z of the falls within 3/sqrt(16) of 0."""
    table, denoiser, params = exact_world(LENGTH, VOCAB)
    truth = exact_profile(table, params)
    z, levels = [], []
    for seed in range(16):
        rows = draw_rows(table, 256, seed)
        asked = {"key": jax.random.key(seed), "counts": np.arange(LENGTH)}
        falling, loss = (estimate_profile(denoiser, params, rows, 1024, estimator=e, **asked) for e in ESTIMATORS)
        assert np.all(np.diff(falling.means) <= 0)
        assert falling.nelbo() == pytest.approx(loss.nelbo(), rel=1e-6)
        edges = np.diff(np.eye(LENGTH), axis=0)
        errors = [falling.standard_error_of(edge) for edge in edges]
        z.append((np.diff(falling.means) - np.diff(truth)) / errors)
        levels.append(np.median([loss.standard_error_of(edge) for edge in edges]) / np.median(errors))
    assert np.abs(np.mean(z, axis=0)).max() < 3 / np.sqrt(16)
    assert np.sqrt(np.mean(np.square(z))) == pytest.approx(1, abs=0.3)
    assert np.median(levels) > 1.5  # how much sharper than differences of losses


@pytest.mark.thorough
def test_increments_of_what_never_moves_and_of_what_is_certain():
    """A model that has learnt nothing yet, without a warning; and a law with hard zeros, against its closed form."""
    rows = np.zeros((4, 8), int)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        still = estimate_profile(
            models.from_function(lambda params, tokens: jnp.zeros((*tokens.shape, 5)), 5),
            None,
            rows,
            64,
            key=jax.random.key(0),
            counts=np.array([0, 3]),
            estimator="increments",
        )
    np.testing.assert_allclose(still.means, np.log(5), rtol=1e-6)
    toy = oracles.toy_left()
    asked = {"key": jax.random.key(1), "estimator": "increments"}
    certain = estimate_profile(toy.denoiser, toy.params, np.asarray(toy.sample(jax.random.key(0), 16)), 80, **asked)
    np.testing.assert_allclose(certain.means, [np.log(2), 0, 0, 0, 0], atol=1e-6)


def test_a_model_that_takes_back_what_it_ruled_out_is_told_so():
    def logits(params, tokens):
        seen = jnp.sum(tokens < 3, axis=-1)[:, None, None]
        return jnp.where((seen == 0) & (jnp.arange(3) == 2)[None, None, :], -jnp.inf, jnp.zeros((*tokens.shape, 3)))

    with pytest.raises(InputError, match="must never rule out a token that it allows when more is revealed"):
        estimate_profile(
            models.from_function(logits, 3), None, np.zeros((4, 4), int), 16, key=jax.random.key(0),
            estimator="increments",
        )  # fmt: skip


@pytest.mark.thorough
def test_errors_of_increments_at_few_counts():
    """48 profiles of a chain of 64 bits at 8 of 64 counts: spread of NELBO and of 8 steps' cost, within 25 % of the
    standard errors (their own standard error is 10 %)."""
    chain = oracles.markov(np.array([[0.9, 0.1], [0.1, 0.9]]), 64)
    counts, sizes, found = profiles.default_counts(64, 8), np.full(8, 8), []
    for seed in range(48):
        rows = np.asarray(chain.sample(jax.random.key(seed), 32))
        asked = {"key": jax.random.key(seed), "counts": counts, "estimator": "increments"}
        profile = estimate_profile(chain.denoiser, chain.params, rows, 256, **asked)
        ones = np.ones(64, int)
        found.append([profile.expected_nelbo(sizes), profile.standard_error(sizes), profile.nelbo(),
                      profile.standard_error(ones)])  # fmt: skip
    cost, cost_error, nelbo, nelbo_error = np.array(found).T
    assert cost.std(ddof=1) == pytest.approx(cost_error.mean(), rel=0.25)
    assert nelbo.std(ddof=1) == pytest.approx(nelbo_error.mean(), rel=0.25)


def test_few_encodings_are_enough_for_increments():
    """Polya urn, 128 tokens, 8 steps: by 256 encodings the best sizes lose less than 20 % more than the optimum."""
    urn = oracles.polya(128, 0.5)
    exact = from_values(urn.entropies())
    least = float(plans.optimal(exact, 8).origin["expected_nelbo_nats"]) - exact.nelbo()
    assert least == pytest.approx(0.5135, abs=1e-4)
    regrets = []
    for seed in range(6):
        rows = np.asarray(urn.sample(jax.random.key(seed), 32))
        asked = {"key": jax.random.key(seed + 100), "estimator": "increments"}
        sizes = plans.optimal(estimate_profile(urn.denoiser, urn.params, rows, 256, **asked), 8).sizes
        regrets.append((float(exact.expected_nelbo(sizes)) - exact.nelbo()) / least - 1)
    assert max(regrets) < 0.2


def test_a_prompt_leaves_the_profile_of_what_follows(world):
    """Given the first two of four tokens: against the mean over all that they can be, within 3.5 standard errors."""
    table, denoiser, params, _ = world
    rows = draw_rows(table, 4096, 7)
    given = np.array([True, True, False, False])
    profile = estimate_profile(denoiser, params, rows, 8192, key=jax.random.key(0), given=given)
    assert profile.length == 2
    assert profile.provenance["given_positions"] == 2
    log_p = np.asarray(jax.nn.log_softmax(params, axis=-1), np.float64)
    truth = np.zeros(2)
    for x in itertools.product(range(VOCAB), repeat=LENGTH):
        none, third, fourth = ((x[0] * 4 + x[1]) * 16 + rest for rest in (15, x[2] * 4 + 3, 12 + x[3]))
        truth -= table[x] * np.array([log_p[none, 2, x[2]] + log_p[none, 3, x[3]],
                                      log_p[third, 3, x[3]] + log_p[fourth, 2, x[2]]]) / 2  # fmt: skip
    assert np.abs((profile.means - truth) / profile.standard_errors).max() < 3.5
    each = estimate_profile(
        denoiser, params, rows, 8192, key=jax.random.key(0), given=np.broadcast_to(given, rows.shape)
    )
    np.testing.assert_array_equal(each.means, profile.means)


def test_any_counts_and_both_ends(world):
    _, denoiser, params, _ = world
    rows = draw_rows(world[0], 16, 0)
    profile = estimate_profile(denoiser, params, rows, 64, key=jax.random.key(0), counts=np.array([2]))
    assert profile.counts.tolist() == [0, 2, 3]
    assert isinstance(profile, Profile)


@pytest.mark.core
def test_paths_cost_what_the_profile_says(world):
    """2,048 exact samples along random paths, against the exact profile: within 3 standard errors for every plan."""
    table, denoiser, params, truth = world
    exact = from_values(truth)
    rows = draw_rows(table, 2048, 99)
    chosen = [Plan(np.array(s), "t") for s in ((4,), (1, 3), (3, 1), (2, 1, 1), (1, 1, 1, 1))]
    costs = path_nelbo(denoiser, params, rows, chosen, key=jax.random.key(5))
    assert costs.shape == (5, 2048)
    for plan, cost in zip(chosen, costs):
        error = cost.std(ddof=1) / np.sqrt(len(cost))
        assert abs(cost.mean() - exact.expected_nelbo(plan.sizes)) < 3 * error


@pytest.mark.core
def test_what_plans_share_on_their_way_changes_no_path(world):
    """Every plan by itself, step by step along its own order, costs the same to the last bit."""
    table, denoiser, params, _ = world
    rows, key = draw_rows(table, 10, 3), jax.random.key(5)
    chosen = [Plan(np.array(s), "t") for s in ((4,), (1, 3), (3, 1), (2, 1, 1), (1, 1, 1, 1), (1, 3))]
    costs = path_nelbo(denoiser, params, rows, chosen, key=key)
    free = jnp.ones(rows.shape, bool)
    for plan, cost in zip(chosen, costs):
        reveal_step = random_order(key, jnp.asarray(plan_knots(plan, len(rows))), free)
        alone = path_log_prob(denoiser, params, jnp.asarray(rows), reveal_step)
        np.testing.assert_array_equal(cost, -np.asarray(alone, np.float64))


@pytest.mark.thorough
def test_batches_do_not_change_a_row(world, monkeypatch):
    _, denoiser, params, _ = world
    rows = draw_rows(world[0], 10, 0)
    whole = estimate_profile(denoiser, params, rows, 160, key=jax.random.key(0))
    parts = path_nelbo(denoiser, params, rows, [plans.uniform(4, 2)], key=jax.random.key(0))
    monkeypatch.setattr(estimation, "BATCH", 3)
    monkeypatch.setattr(paths, "BATCH", 4)
    np.testing.assert_allclose(
        whole.means, estimate_profile(denoiser, params, rows, 160, key=jax.random.key(0)).means, rtol=1e-6
    )
    np.testing.assert_allclose(
        parts, path_nelbo(denoiser, params, rows, [plans.uniform(4, 2)], key=jax.random.key(0)), rtol=1e-5
    )


def test_encodings_choose_rows_and_orders(world):
    _, denoiser, params, _ = world
    rows = draw_rows(world[0], 10, 0)
    few = estimate_profile(denoiser, params, rows, 5 * 4, key=jax.random.key(0))
    many = estimate_profile(denoiser, params, rows, 30 * 4, key=jax.random.key(0))
    assert (few.provenance["rows"], few.provenance["orders_per_row"]) == (5, 1)
    assert (many.provenance["rows"], many.provenance["orders_per_row"]) == (10, 3)


@pytest.mark.core
@pytest.mark.parametrize("length", [2, 5, 24, 25, 64, 128, 1000])
def test_default_counts_cover_both_ends(length):
    counts = default_counts(length)
    assert counts[0] == 0
    assert counts[-1] == length - 1
    assert np.all(np.diff(counts) > 0)
    assert len(counts) <= 24


@pytest.mark.parametrize(
    ("rows", "encodings", "says"),
    [
        (np.zeros((1, 4), int), 100, "tokens must be of shape [rows, length] with at least 2 rows; got shape (1, 4)"),
        (np.zeros((9, 4), int), 7, "encodings must be at least 8, two for each count measured; got 7"),
    ],
)
def test_too_little_is_refused(world, rows, encodings, says):
    with pytest.raises(InputError) as caught:
        estimate_profile(world[1], world[2], rows, encodings, key=jax.random.key(0))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"estimator": "E3"}, "estimator must be one of increments, loss; got 'E3'"),
        ({"counts": np.array([4])}, "counts must be whole numbers from 0 to 3; got [4]"),
        ({"given": np.ones(4, bool)}, "given must be rows with something left to tell; got row 0, of which nothing"),
        ({"given": np.tri(9, 4, dtype=bool)}, "given must be rows with something left to tell; got row 3"),
        ({"length": 5}, "length must be a whole number from 1 to 4; got 5"),
    ],
)
def test_what_cannot_be_measured_is_refused(world, options, says):
    with pytest.raises(InputError) as caught:
        estimate_profile(world[1], world[2], np.zeros((9, 4), int), 64, key=jax.random.key(0), **options)
    assert says in str(caught.value)

"""Measurements of models that go by ranks: against all orders of all sequences, and against absorbing step by step."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from any_orders import random_tokens, tiny
from compiled import programs
from worlds import draw_rows, random_table

from mdm_jax import evaluation, models, tasks, training
from mdm_jax.evaluation import estimate_profile, estimate_prompted_profile, held_out_nelbo, judge, path_nelbo
from mdm_jax.evaluation.importance import log_weights
from mdm_jax.evaluation.measuring.curves import fitted
from mdm_jax.evaluation.measuring.ranks import in_order, ranked_costs
from mdm_jax.oracles import polya
from mdm_jax.sampling import path_log_prob
from mdm_jax.sampling.orders import first_hitting
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.profiles import Profile, default_counts, from_values, interpolated, interpolation_slopes

LENGTH, VOCAB = 4, 3
ORDERS = np.asarray(list(itertools.permutations(range(LENGTH))), np.int32)  # the rank of each position
SEQUENCES = np.asarray(list(itertools.product(range(VOCAB), repeat=LENGTH)), np.int32)
PLANS = [plans.Plan(np.array(sizes), "t") for sizes in ([1, 1, 1, 1], [1, 3], [2, 2], [4], [2, 1, 1])]


@pytest.fixture(scope="module")
def world():
    """A law of sequences, a model, and its profile: the mean over all sequences and orders."""
    model, params = tiny(LENGTH, VOCAB)
    table = random_table(LENGTH, VOCAB, 0)
    costs = np.stack([in_order(np.asarray(all_costs(one)), np.broadcast_to(one, SEQUENCES.shape)) for one in ORDERS])
    return table, model, params, np.einsum("osi,s->i", costs, table.reshape(-1)) / len(ORDERS)


@functools.cache
def _costs(rank, bound):
    model, params = tiny(LENGTH, VOCAB)
    ranks, bounds = (jnp.asarray(np.broadcast_to(np.asarray(one, np.int32), SEQUENCES.shape)) for one in (rank, bound))
    return np.asarray(ranked_costs(model, params, jnp.asarray(SEQUENCES), ranks, bounds, None), np.float64)


def all_costs(rank, bound=None):
    """What every sequence costs in one order, each position after the tokens of rank below its bound."""
    return _costs(tuple(rank.tolist()), tuple((rank if bound is None else bound).tolist()))


def task_of(rows, place):
    np.save(place / "rows.npy", np.tile(rows, (20, 1)))
    return tasks.npy(place / "rows.npy")


def bound_of(plan, rank):
    """Tokens revealed before the step in which each rank falls."""
    return np.repeat(plan.knots[:-1], plan.sizes)[rank]


@pytest.mark.core
def test_the_raw_profile_is_unbiased_and_its_errors_are_right(world):
    """32 independent profiles of 128 rows: the mean z within 3/sqrt(32) of 0, its spread within 25% of 1."""
    table, model, params, truth = world
    z = []
    for seed in range(32):
        rows, asked = draw_rows(table, 128, seed), {"key": jax.random.key(seed), "counts": np.arange(LENGTH)}
        profile = estimate_profile(model, params, rows, 256, **asked)
        assert (profile.provenance["rows"], profile.provenance["orders_per_row"]) == (128, 1)
        z.append((profile.means - truth) / profile.standard_errors)
    z = np.array(z)
    assert np.abs(z.mean(axis=0)).max() < 3 / np.sqrt(32)
    assert abs(np.sqrt((z**2).mean()) - 1) < 0.25
    assert profile.provenance["estimator"] == "E3"
    assert profile.provenance["order"] == "uniform"
    assert "measured at 4 counts in uniform order" in repr(profile)


@pytest.mark.core
def test_the_mean_over_all_orders_is_what_the_profile_predicts(world):
    """Exactly, for every plan; and ``path_nelbo``, one pass for each, within 3.5 standard errors by 1,024 rows."""
    table, model, params, truth = world
    exact = from_values(truth)
    rows = draw_rows(table, 1024, 7)
    found = path_nelbo(model, params, rows, PLANS, key=jax.random.key(3))
    for plan, costs in zip(PLANS, found, strict=True):
        of_orders = np.stack([all_costs(rank, bound_of(plan, rank)).sum(axis=1) for rank in ORDERS])
        expected = float(exact.expected_nelbo(plan.sizes))
        assert (of_orders @ table.reshape(-1)).mean() == pytest.approx(expected, abs=1e-5)
        assert abs(costs.mean() - expected) < 3.5 * costs.std(ddof=1) / np.sqrt(len(rows))


def test_path_nelbo_is_that_of_absorbing_step_by_step():
    """What a step has revealed is absorbed, the next step's positions are asked: 3 rows, 4 plans, to 1e-4 nats."""
    model, params = tiny()
    rows, length = random_tokens(3), 12
    chosen = [plans.uniform(length, steps) for steps in (12, 5, 1)] + [plans.Plan(np.array([1, 2, 9]), "t")]
    found = path_nelbo(model, params, rows, chosen, key=jax.random.key(0))
    rank = np.asarray(first_hitting(jax.random.key(0), jnp.ones(rows.shape, bool)))
    extend = jax.jit(model.extend)
    for plan, costs in zip(chosen, found, strict=True):
        cache, expected, order = model.empty(params, 3, length, length), np.zeros(3), np.argsort(rank, axis=1)
        for before, begin, end in zip([0, *plan.knots], plan.knots, plan.knots[1:], strict=False):
            slots = np.full((3, length), length, np.int32)
            slots[:, : end - before] = order[:, before:end]
            words = np.take_along_axis(rows, np.minimum(slots, length - 1), axis=1)
            revealed = np.full(3, begin - before, np.int32)
            cache, hidden = extend(params, cache, jnp.asarray(slots), jnp.asarray(words), jnp.asarray(revealed))
            log_probs = np.asarray(jax.nn.log_softmax(model.readout(params, hidden)), np.float64)
            at = np.take_along_axis(log_probs, words[..., None], axis=-1)[..., 0]
            expected -= at[:, begin - before : end - before].sum(axis=1)
        np.testing.assert_allclose(costs, expected, atol=1e-4)
    one_by_one = -np.asarray(path_log_prob(model, params, jnp.asarray(rows), jnp.asarray(rank)))
    np.testing.assert_allclose(found[0], one_by_one, atol=1e-4)


def test_the_fit_keeps_the_sum_and_is_a_profile_curve_nearest_to_the_losses():
    """A curve that a profile can draw comes back as it was; any other leaves what no curve nearby could take."""
    length, counts = 64, default_counts(64, 8)
    means = 3 / (1 + np.arange(8.0))
    curve = interpolated(counts, means, length)
    # The shares of the rows are of the curve's tangent, which is the curve along itself.
    np.testing.assert_allclose(fitted(counts, np.stack([curve, curve])), [means, means], atol=1e-6)
    losses = np.random.default_rng(0).normal(np.exp(-np.arange(length) / 20), 1.0, (40, length))
    shares = fitted(counts, losses)
    profile = Profile(length, counts, shares.mean(axis=0), np.cov(shares, rowvar=False) / 40)
    assert profile.nelbo() == pytest.approx(losses.mean(axis=0).sum(), rel=1e-12)
    of_rows = losses.sum(axis=1).std(ddof=1) / np.sqrt(40)
    assert profile.standard_error_of(np.ones(length)) == pytest.approx(of_rows, rel=1e-6)
    # Least squares: what is left over is orthogonal to every move of the curve (here a smooth one, without noise).
    counts, smooth = default_counts(128, 24), polya(128, 0.5).entropies()
    found = fitted(counts, smooth[None])[0]
    left = smooth - interpolated(counts, found, 128)
    assert 1e-5 < np.abs(left).max() < 2e-4  # a bias, and a small one
    assert np.abs(interpolation_slopes(counts, found, 128).T @ left).max() < 1e-3 * np.linalg.norm(left)
    lines = np.stack([np.interp(np.arange(128), counts, unit) for unit in np.eye(len(counts))], axis=1)
    assert np.abs(lines @ np.linalg.lstsq(lines, smooth)[0] - smooth).max() > 2e-3  # that of straight lines
    np.testing.assert_array_equal(fitted(np.arange(length), losses), losses)  # raw means at every count


def test_errors_of_the_fit_are_right():
    """100 profiles of 64 rows with noise of one nat: the spread at every count within 25 % of the standard error."""
    length, counts, rng = 64, default_counts(64, 8), np.random.default_rng(1)
    truth = 0.5 + 2 * np.exp(-np.arange(length) / 15)
    found = [fitted(counts, rng.normal(truth, 1.0, (64, length))) for _ in range(100)]
    spread = np.std([one.mean(axis=0) for one in found], axis=0, ddof=1)
    errors = np.sqrt(np.mean([one.var(axis=0, ddof=1) / 64 for one in found], axis=0))
    np.testing.assert_allclose(spread, errors, rtol=0.25)


@pytest.mark.core
def test_held_out_losses_are_the_exact_average_over_orders(world, tmp_path):
    """512 rows, 8 orders each: the mean within 3.5 standard errors of all orders' own; ``judge`` says which bound."""
    table, model, params, truth = world
    rows = draw_rows(table, 512, 11)
    costs = held_out_nelbo(model, params, rows, key=jax.random.key(5))
    assert abs(costs.mean() - truth.sum()) < 3.5 * costs.std(ddof=1) / np.sqrt(len(rows))
    mine = np.mean([all_costs(rank).sum(axis=1) for rank in ORDERS], axis=0)
    of_rows = mine[np.ravel_multi_index(rows.T, (VOCAB,) * LENGTH)]
    assert np.corrcoef(costs, of_rows)[0, 1] > 0.9  # row by row: eight orders leave little of the noise
    task = task_of(rows, tmp_path)
    assert judge(model, params, task, key=jax.random.key(0))["bound"] == "any-order NELBO"
    plain = judge(models.without_cache(model), params, task, key=jax.random.key(0))
    assert "bound" not in plain


def test_what_is_given_comes_first_and_from_left_to_right(world):
    """Positions 2 and 0 are known, of one sequence: the profile of the two orders of the rest, by 4,096 passes."""
    _, model, params, _ = world
    row, known = np.asarray([2, 1, 0, 1], np.int32), np.asarray([True, False, True, False])
    at = int(np.ravel_multi_index(row, (VOCAB,) * LENGTH))
    costs = [all_costs(np.asarray(rank))[at] for rank in ([0, 2, 1, 3], [0, 3, 1, 2])]
    truth = np.mean([(costs[0][1], costs[0][3]), (costs[1][3], costs[1][1])], axis=0)
    rows = np.broadcast_to(row, (2048, LENGTH))
    profile = estimate_profile(model, params, rows, 8192, key=jax.random.key(0), given=known)
    assert (profile.length, profile.provenance["given_positions"]) == (2, 2)
    assert np.all(np.abs(profile.means - truth) < 3.5 * profile.standard_errors + 1e-5)


@pytest.mark.thorough
def test_a_prompted_profile_is_measured_by_losses():
    model, params = tiny()
    canvas = np.full(12, model.mask_id)
    canvas[[7, 2]] = 1
    profile = estimate_prompted_profile(model, params, canvas, 32, key=jax.random.key(0), completions=8)
    assert (profile.length, profile.provenance["estimator"]) == (10, "E3")
    assert profile.provenance["rows_of"] == "completions by the model"


def test_importance_weights_average_over_orders_and_ties(world):
    """Two tokens at once: what a sequence's mean weight is, over all orders; 400 samples, 4 standard errors."""
    _, model, params, _ = world
    plan, at = plans.uniform(LENGTH, 2), [0, 40, 77]
    every = np.stack([-all_costs(rank, bound_of(plan, rank)).sum(axis=1) for rank in ORDERS])
    exact = scipy.special.logsumexp(every, axis=0)[at] - np.log(len(ORDERS))
    weights = np.exp(log_weights(model, params, SEQUENCES[at], plan, 400, jax.random.key(0)) - exact)
    errors = weights.std(axis=0, ddof=1) / np.sqrt(len(weights))
    assert errors.max() < 0.15
    assert np.all(np.abs(weights.mean(axis=0) - 1) < 4 * errors)


def test_plans_are_tuned_and_nothing_is_compiled_for_another_plan(world):
    table, model, params, _ = world
    rows = draw_rows(table, 64, 0)
    profile = estimate_profile(model, params, rows, 128, key=jax.random.key(0))
    tuned = evaluation.tune(profile, [2, 3], grid=8)
    assert [int(tuned.plans[steps]["optimal"].sizes.sum()) for steps in (2, 3)] == [LENGTH] * 2
    path_nelbo(model, params, rows, [plans.uniform(LENGTH, 2)], key=jax.random.key(0))
    with programs() as made:
        path_nelbo(model, params, rows, [tuned.plans[3]["optimal"], PLANS[1]], key=jax.random.key(1))
    assert made == []


def test_what_is_refused(world, tmp_path):
    table, model, params, _ = world
    rows, key = draw_rows(table, 8, 0), jax.random.key(0)
    with pytest.raises(InputError, match='estimator must be "loss" for a model that goes by ranks'):
        estimate_profile(model, params, rows, 64, key=key, estimator="increments")
    with pytest.raises(InputError, match="encodings must be at least 4, two passes of two encodings; got 3"):
        estimate_profile(model, params, rows, 3, key=key)
    for masked in (
        lambda: evaluation.exact.conditionals(model, params, LENGTH),
        lambda: training.stratified_nelbo(model, params, rows, key=key),
        lambda: evaluation.held_out_bound(model, params, rows, training.MaskedNelbo(), key=key),
        lambda: evaluation.held_out_bound(model, params, rows, training.HybridNoise(), key=key),
        lambda: judge(model, params, task_of(rows, tmp_path), key=key, objective=training.MaskedNelbo()),
    ):
        with pytest.raises(InputError, match="one that goes by the order of what is revealed"):
            masked()
    assert evaluation.exact.conditionals(models.without_cache(model), params, LENGTH).shape == (256, LENGTH, VOCAB)


@pytest.mark.thorough
def test_a_token_that_is_ruled_out_is_named(world, tmp_path):
    table, model, params, _ = world
    rows, banned = draw_rows(table, 64, 0), models.banned(model, [1])
    found = r"it gives token 1 probability 0 at position \d of row \d+, where \d tokens are revealed"
    with pytest.raises(InputError, match=found):
        estimate_profile(banned, params, rows, 128, key=jax.random.key(0))
    with pytest.raises(InputError, match=found):
        judge(banned, params, task_of(rows, tmp_path), key=jax.random.key(0))
    costs = path_nelbo(banned, params, rows, PLANS[:1], key=jax.random.key(0))[0]
    np.testing.assert_array_equal(np.isinf(costs), (rows == 1).any(axis=1))

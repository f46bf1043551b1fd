"""Models with latents are measured: profiles, bounds and importance weights, against exact laws and quadrature."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import programs
from latent_worlds import LENGTH, SEQUENCES, VOCAB, Sign, logits_at, quadrature, table_world

from mdm_jax import models, tasks
from mdm_jax.evaluation import (
    Execution,
    Halving,
    estimate_profile,
    estimate_prompted_profile,
    evaluate,
    exact,
    held_out_bound,
    held_out_nelbo,
    importance,
    importance_weighted_nll,
    judge,
    latent_profile,
    path_nelbo,
    posterior_latents,
    race,
    tune,
)
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, grids
from mdm_jax.training import FixedLatentBound, LatentSurrogate, MaskedNelbo, StepwiseLatentBound

KEY = jax.random.key(3)
SIZES = [(3,), (1, 2), (2, 1), (1, 1, 1)]
SIGN_ROWS = np.repeat(np.array([[0], [1]], np.int32), LENGTH, axis=1)


def code_of(state):
    return int(np.dot(state, (VOCAB + 1) ** np.arange(LENGTH - 1, -1, -1)))


@pytest.fixture(scope="module")
def world():
    """The model, what it says at quadrature points of the prior, and each sequence's KL and profile ``g_x`` exactly."""
    model, params = table_world()
    nodes, weights = quadrature()
    prior = jnp.asarray(logits_at(model, params, nodes)), weights
    codes = [code_of(tokens) for tokens in SEQUENCES]
    law = np.asarray(params["law"], np.float64)[codes, 0]
    mean, scale = law[:, 0], np.exp(law[:, 1])
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * np.log(scale))
    profiles = np.zeros((len(SEQUENCES), LENGTH))
    for row, tokens in enumerate(SEQUENCES):
        logits = logits_at(model, params, mean[row] + scale[row] * nodes)
        for count in range(LENGTH):
            costs = []
            for seen in itertools.combinations(range(LENGTH), count):
                state = np.where(np.isin(np.arange(LENGTH), seen), tokens, VOCAB)
                hidden = [j for j in range(LENGTH) if j not in seen]
                costs += [-weights @ logits[:, code_of(state), j, tokens[j]] for j in hidden]
            profiles[row, count] = np.mean(costs)
    return model, params, prior, kl, profiles


def bound_of(world, sizes):
    """``KL + sum_k n_k g_x(N_{k-1})`` of each sequence."""
    _, _, _, kl, profiles = world
    before = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return kl + profiles[:, before] @ np.array(sizes)


def nll_of(world, sizes):
    logits, weights = world[2]
    return -np.log(np.asarray(exact.latent_law(logits, sizes, weights), np.float64))


def test_the_bound_of_a_plan_against_its_exact_law(world):
    """Never below ``-log p`` of any sequence, for any plan; measured on 1,024 rows it is right within 4 errors."""
    model, params, *_ = world
    rows = SEQUENCES[np.random.default_rng(0).integers(0, len(SEQUENCES), 1024)]
    which = rows @ VOCAB ** np.arange(LENGTH - 1, -1, -1)
    profile = latent_profile(model, params, rows, 2048 * LENGTH, key=KEY)
    told = profile.provenance
    assert told["latent"] == "fixed"
    assert told["rows"] == 1024
    kl = world[3][which]
    assert told["kl_nats"] == pytest.approx(kl.mean(), rel=1e-5)
    assert told["kl_standard_error"] == pytest.approx(kl.std(ddof=1) / 32, rel=1e-5)
    for sizes in SIZES:
        bound, nll = bound_of(world, sizes), nll_of(world, sizes)
        assert (bound >= nll - 1e-5).all()
        assert (bound - nll).max() > 0.05  # of a posterior at random it is not tight
        cost = profile.expected_nelbo(np.array(sizes))
        assert abs(cost + told["kl_nats"] - bound[which].mean()) < 4 * profile.standard_error(np.array(sizes))


@pytest.mark.core
def test_the_bound_is_tight_where_the_posterior_is_exact_and_one_order_is_as_good_as_another():
    """Equal tokens, told by the sign of a latent: log 2 for every plan, and for every weight of a sample."""
    model = Sign()
    profile = latent_profile(model, None, np.repeat(SIGN_ROWS, 4, axis=0), 96, key=KEY)
    assert profile.provenance["kl_nats"] == pytest.approx(np.log(2))
    np.testing.assert_allclose(profile.means, 0, atol=1e-6)
    plan = plans.uniform(LENGTH, 1)
    found = importance_weighted_nll(model, None, SIGN_ROWS, plan, samples=2, key=KEY)
    np.testing.assert_allclose(found, np.log(2), rtol=1e-5)
    bound = held_out_bound(model, None, SIGN_ROWS, FixedLatentBound(), key=KEY, repeats=2)
    np.testing.assert_allclose(bound, np.log(2), rtol=1e-5)
    mixed = importance_weighted_nll(model, None, np.array([[0, 1, 1]]), plan, samples=2, key=KEY)
    assert mixed[0] > 50  # nothing but the wrong side of the latent, or none


def test_the_held_out_bound_is_the_plan_of_one_token_at_a_time(world):
    """64 rows of each sequence, 8 maskings: every mean within 4 standard errors of the exact bound. The bound of one
    step is the plan of one step."""
    model, params, *_ = world
    rows = np.tile(SEQUENCES, (64, 1))  # mask counts are spread evenly over neighbours
    for objective, sizes in ((FixedLatentBound(), (1, 1, 1)), (StepwiseLatentBound(steps=1), (3,))):
        found = held_out_bound(model, params, rows, objective, key=KEY).reshape(64, len(SEQUENCES))
        errors = found.std(axis=0, ddof=1) / 8
        assert np.abs((found.mean(axis=0) - bound_of(world, sizes)) / errors).max() < 4


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", ["plan", "grid"])
def test_importance_weights_have_the_likelihood_for_their_mean(world, sampler):
    """512 samples: the mean weight of each sequence within 4 standard errors of its exact probability. One sample is
    a bound on average, 512 are nearer than it, and the first of many are those of few."""
    model, params, (logits, weights), *_ = world
    if sampler == "plan":
        blind, truth = Plan(np.array([1, 2]), "t"), np.exp(-nll_of(world, (1, 2)))
    else:
        blind = grids.uniform(2)
        laws = jax.vmap(lambda one: exact.ancestral_law(one, blind.fractions))(logits)
        truth = weights @ np.asarray(laws, np.float64)
    logs = importance.log_weights(model, params, SEQUENCES, blind, 512, KEY)
    found = np.exp(logs)
    errors = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.abs((found.mean(axis=0) - truth) / errors).max() < 4
    alone, many = -logs.mean(), importance_weighted_nll(model, params, SEQUENCES, blind, samples=512, key=KEY).mean()
    exactly = -np.log(truth).mean()
    assert alone > exactly + 0.05
    assert abs(many - exactly) < (alone - exactly) / 4
    few = importance.log_weights(model, params, SEQUENCES, blind, 4, KEY)
    np.testing.assert_array_equal(few, logs[:4])


@pytest.mark.thorough
def test_importance_weights_of_a_model_that_needs_no_latent():
    """The mean over latents, at once: one step in any order has the product of its predictions."""
    model, params = table_world()
    average = models.marginal(model, latents=4)
    found = importance_weighted_nll(average, params, SEQUENCES, plans.uniform(LENGTH, 1), samples=2, key=KEY)
    law = np.asarray(models.logits(average, params, jnp.full((1, LENGTH), VOCAB)))[0]
    np.testing.assert_allclose(found, -law[np.arange(LENGTH), SEQUENCES].sum(axis=1), rtol=1e-5)


@pytest.mark.core
def test_contexts_by_row_and_for_all_are_one_program(world):
    """One latent for all rows, or that latent for each: the same numbers; other latents compile nothing."""
    model, params, *_ = world
    one = np.full((1, 1, 1), 0.7, np.float32)
    each = np.repeat(one, len(SEQUENCES), axis=0)
    others = np.linspace(-1, 1, len(SEQUENCES), dtype=np.float32)[:, None, None]

    def measured(context):
        return (
            estimate_profile(model, params, SEQUENCES, 48, key=KEY, context=context).means,
            path_nelbo(model, params, SEQUENCES, [plans.uniform(LENGTH, 2)], key=KEY, context=context),
            held_out_nelbo(model, params, SEQUENCES, key=KEY, repeats=2, context=context),
        )

    with programs() as made:
        first = measured(one)
    mine = {"jit(at_counts)", "jit(gains_between)", "jit(score)"}
    assert mine <= set(made)
    with programs() as made:
        second, third = measured(each), measured(others)
    assert not mine & set(made)
    for mine, theirs, different in zip(first, second, third):
        np.testing.assert_array_equal(mine, theirs)
        assert np.abs(mine - different).max() > 1e-3
    for row in (0, 5):  # each row is measured with its own
        alone = held_out_nelbo(model, params, SEQUENCES, key=KEY, repeats=2, context=others[row : row + 1])
        assert third[2][row] == pytest.approx(alone[row], rel=1e-6)


@pytest.mark.thorough
def test_a_latent_depends_on_key_and_row_alone(world):
    model, params, *_ = world
    many = posterior_latents(model, params, SEQUENCES, key=KEY)
    few = posterior_latents(model, params, SEQUENCES[:3], key=KEY)
    np.testing.assert_array_equal(many.latents[:3], few.latents)
    assert many.latents.shape == (8, 1, 1)
    assert many.kl.dtype == np.float64
    network = models.latent_transformer(2, length=4, width=8, depth=1, heads=2, latent_size=3, block=2, prior=2)
    weights = network.init(KEY, length=4)
    drawn = posterior_latents(
        network, weights, np.ones((2, 4), int), key=KEY, given=np.array([True, True, False, False])
    )
    assert drawn.latents.shape == (2, 2, 3)
    same = posterior_latents(models.tempered(network, 0.5), weights, np.ones((2, 4), int), key=KEY)
    assert same.latents.shape == drawn.latents.shape


@pytest.mark.thorough
def test_paths_cost_what_the_profile_of_the_latent_says(world):
    """2,048 rows with latents of their own: every plan within 3.5 standard errors of the exact profile."""
    model, params, *_ = world
    rows = np.repeat(SEQUENCES, 256, axis=0)
    latents, kl = posterior_latents(model, params, rows, key=KEY)
    np.testing.assert_allclose(kl, np.repeat(world[3], 256), rtol=1e-5)
    chosen = [Plan(np.array(sizes), "t") for sizes in SIZES]
    for sizes, cost in zip(SIZES, path_nelbo(model, params, rows, chosen, key=KEY, context=latents)):
        exactly = (bound_of(world, sizes) - world[3]).mean()
        assert abs(cost.mean() - exactly) < 3.5 * cost.std(ddof=1) / np.sqrt(len(cost))


@pytest.mark.thorough
def test_a_tuned_plan_says_what_the_latent_adds():
    profile = latent_profile(Sign(), None, np.repeat(SIGN_ROWS, 4, axis=0), 96, key=KEY)
    found = tune(profile, [1], grid=2, steps=[1])
    assert found.result["latent"] == "fixed"
    assert found.result["kl_nats"] == pytest.approx(np.log(2))
    assert "to which the latent adds 0.3333" in repr(found)
    assert found.result["budgets"][0]["plans"][0]["expected_nelbo_nats"] == pytest.approx(0, abs=1e-5)
    average = latent_profile(Sign(), None, np.repeat(SIGN_ROWS, 4, axis=0), 96, key=KEY, predictor="marginal")
    assert average.provenance["latent"] == "marginal"
    assert "kl_nats" not in tune(average, [1], grid=2, steps=[1]).result


@pytest.mark.thorough
def test_few_encodings_ask_the_recognition_network_of_few_rows(world):
    model, params, *_ = world
    profile = latent_profile(model, params, SEQUENCES, 4 * LENGTH, key=KEY, given=None)
    assert profile.provenance["rows"] == 4
    known = np.arange(LENGTH) < 1
    rest = latent_profile(model, params, SEQUENCES, 48, key=KEY, given=known, provenance={"mine": 1})
    assert rest.length == LENGTH - 1
    assert (rest.provenance["given_positions"], rest.provenance["mine"]) == (1, 1)


@pytest.mark.thorough
def test_a_model_with_latents_is_judged_by_a_bound_that_is_named(tmp_path):
    """Of equal tokens by the sign of a latent: a third of a bit each."""
    np.save(tmp_path / "rows.npy", np.tile(SIGN_ROWS, (40, 1)))
    task = tasks.npy(tmp_path / "rows.npy")
    found = judge(Sign(), None, task, key=KEY)
    assert found["bound"] == "fixed-latent bound"
    assert found["bits_per_token"] == pytest.approx(1 / 3, rel=1e-5)
    one_step = judge(Sign(), None, task, key=KEY, objective=StepwiseLatentBound(steps=1))
    assert one_step["bound"] == "stepwise latent bound"
    assert one_step["bits_per_token"] == pytest.approx(1 / 3, rel=1e-5)
    with pytest.raises(InputError, match="objective must be a bound of -log p"):
        judge(Sign(), None, task, key=KEY, objective=LatentSurrogate())
    average = judge(models.marginal(Sign(), latents=4), None, task, key=KEY)
    assert "bound" not in average
    assert average == judge(models.marginal(Sign(), latents=4), None, task, key=KEY, objective=MaskedNelbo())


def same(tokens):
    """Rows of equal tokens."""
    return (tokens == tokens[:, :1]).all(axis=1)


def test_samples_with_latents_that_are_given_and_with_latents_of_their_own():
    """The latent is all that a row says: given ones by sample, drawn ones common to all samplers."""
    samplers = {"at once": plans.uniform(LENGTH, 1), "one by one": plans.uniform(LENGTH, LENGTH)}
    where = Execution(batch=4)
    given = np.array([1.0, 1.0, -1.0, -0.5], np.float32)[:, None, None]
    found = evaluate(Sign(), None, samplers, 4, same, key=KEY, context=given, execution=where)
    for tokens in found.tokens:
        np.testing.assert_array_equal(tokens, np.array([[1] * 3, [1] * 3, [0] * 3, [0] * 3]))
    drawn = evaluate(Sign(), None, samplers, 16, same, key=KEY, execution=where)
    assert drawn.scores["score"].min() == 1
    np.testing.assert_array_equal(drawn.tokens[0], drawn.tokens[1])
    assert {0, 1} == set(drawn.tokens[0][:, 0].tolist())


@pytest.mark.thorough
def test_schedules_of_a_model_with_latents_race():
    """Every schedule of one latent gives equal tokens; drawn anew at each step, one step alone does."""
    search = Halving(grid=1, named=("linear",), samples=4, finalists=1, final_samples=8)
    asked = {"length": LENGTH, "steps": 2, "key": KEY, "lower_is_better": False, "search": search}
    kept = race(Sign(), None, same, **asked)
    assert kept.test.means().tolist() == [1.0] * len(kept.test.names)
    anew = race(models.redrawn(Sign()), None, same, **asked)
    assert max(anew.test.means()) < 1


@pytest.mark.thorough
def test_a_prompt_is_gone_on_from_under_the_latent_that_wrote_it():
    """Given a token, which tells this model nothing: with the latent all is certain."""
    canvas = np.array([1, VOCAB, VOCAB], np.int32)
    asked = {"encodings": 16, "key": KEY, "completions": 4, "estimator": "loss"}
    profile = estimate_prompted_profile(Sign(), None, canvas, **asked)
    np.testing.assert_allclose(profile.means, 0, atol=1e-6)


MEASURES = {
    "profile": lambda model, context: estimate_profile(model, None, SIGN_ROWS, 64, key=KEY, context=context),
    "paths": lambda model, context: path_nelbo(
        model, None, SIGN_ROWS, [plans.uniform(LENGTH, 1)], key=KEY, context=context
    ),
    "held-out": lambda model, context: held_out_nelbo(model, None, SIGN_ROWS, key=KEY, context=context),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_contexts_of_other_rows_and_none_are_refused(measure):
    call = MEASURES[measure]
    for context in (np.zeros((3, 1, 1)), np.zeros(()), {"a": np.zeros((2, 1)), "b": np.zeros((4, 1))}):
        with pytest.raises(
            InputError, match="context must be arrays of numbers, one for all rows, with a leading axis of 1, or"
        ):
            call(Sign(), context)
    with pytest.raises(InputError, match=r"context must be latents for a model that has them \(evaluation.latent_prof"):
        call(Sign(), None)
    with pytest.raises(
        InputError, match=r"denoiser must be one that predicts by itself: the model without models.redr"
    ):
        call(models.redrawn(Sign()), None)


@pytest.mark.parametrize("wrapped", [lambda model: model, models.redrawn])
def test_rows_that_cannot_be_drawn_are_told_of_a_model_that_draws_its_latents(wrapped):
    """Why they cannot is asked with a latent; without one the model has no answer."""
    model = models.latent_transformer(2, length=4, width=8, depth=1, heads=2, latent_size=2)
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), model.init(KEY, length=4))
    with pytest.warns(UserWarning, match="2 of 2 rows have masks left: the model's logits are NaN for masks and"):
        evaluate(wrapped(model), broken, plans.uniform(4, 2), 2, lambda tokens: tokens.sum(1), key=KEY)


def test_what_is_no_bound_and_what_has_no_latent_is_refused():
    plain = models.from_function(lambda params, tokens: jnp.zeros((*tokens.shape, 2)), 2)
    plan = plans.uniform(LENGTH, 1)
    refused = {
        "objective must be a bound of -log p, as training.FixedLatentBound() and training.StepwiseLatentBound(steps=4) "
        "are; got latent surrogate.": lambda: held_out_bound(Sign(), None, SIGN_ROWS, LatentSurrogate(), key=KEY),
        "denoiser must be a model with latents": lambda: posterior_latents(plain, None, SIGN_ROWS, key=KEY),
        "denoiser must be a model with latents, ": lambda: latent_profile(plain, None, SIGN_ROWS, 64, key=KEY),
        "predictor must be one of fixed, marginal; got 'mean'": lambda: latent_profile(
            Sign(), None, SIGN_ROWS, 64, key=KEY, predictor="mean"
        ),
        "denoiser must be one that predicts by itself: the model": lambda: held_out_bound(
            models.redrawn(Sign()), None, SIGN_ROWS, StepwiseLatentBound(steps=1), key=KEY
        ),
        "denoiser must be one that predicts by itself": lambda: importance_weighted_nll(
            models.redrawn(Sign()), None, SIGN_ROWS, plan, key=KEY
        ),
    }
    for says, call in refused.items():
        with pytest.raises(InputError) as caught:
            call()
        assert says in str(caught.value)


@pytest.mark.thorough
@pytest.mark.parametrize("flag", ["x64", "strict"])
def test_under_other_flags_the_same_numbers(world, flag):
    model, params, *_ = world
    plan = plans.uniform(LENGTH, 2)

    def measured():
        return [
            latent_profile(model, params, SEQUENCES, 48, key=KEY).means,
            posterior_latents(model, params, SEQUENCES, key=KEY).latents,
            held_out_bound(model, params, SEQUENCES, FixedLatentBound(), key=KEY, repeats=1),
            importance_weighted_nll(model, params, SEQUENCES, plan, samples=2, key=KEY),
        ]

    usual = measured()
    with jax.enable_x64(True) if flag == "x64" else jax.numpy_dtype_promotion("strict"):
        for mine, theirs in zip(measured(), usual):
            np.testing.assert_allclose(mine, theirs, rtol=2e-5)

"""Plans that do not fit, where much is traced, and models whose logits are no law: no number that looks like one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax import models
from mdm_jax.sampling import Blind, adaptive_loop, presets, rules, sample
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import grids

KEY = jax.random.key(0)
LENGTH, VOCAB = 6, 3


def flat(params, tokens):
    return jnp.zeros((*tokens.shape, VOCAB), jnp.float32)


def lawless(params, tokens):
    """No law for rows that begin with token 1, a uniform one elsewhere."""
    good = (tokens[:, :1] != 1)[..., None]
    return jnp.where(good, jnp.zeros((*tokens.shape, VOCAB), jnp.float32), params)


MODEL = models.from_function(flat, VOCAB)
LAWLESS = models.from_function(lawless, VOCAB)
CANVAS = np.full(LENGTH, VOCAB, np.int32)
LONG, FITTING = plans.uniform(128, 3), plans.uniform(LENGTH, 3)
MADE = {
    "plan": lambda plan: plan,
    "blind": Blind,
    "surest": rules.surest,
    "at_random": rules.at_random,
    "self_planned": rules.self_planned,
    "self_corrected": rules.self_corrected,
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("more", [{"canvas": CANVAS}, {"length": LENGTH}, {"canvas": CANVAS, "samples": 2}])
def test_a_plan_for_another_length_is_refused_under_jit_too(name, more):
    wanted = "plan must be one for the 6 tokens of the canvas; got one for 128 tokens"
    with pytest.raises(InputError, match=wanted):
        jax.jit(lambda key: sample(MODEL, {}, MADE[name](LONG), 2, key=key, **more).tokens)(KEY)
    made = MADE[name](LONG)
    with pytest.raises(InputError, match=wanted):
        jax.jit(lambda key: sample(MODEL, {}, made, 2, key=key, **more).tokens)(KEY)


@pytest.mark.parametrize("name", MADE)
def test_a_plan_for_more_than_a_traced_canvas_can_hold_is_refused(name):
    wanted = "plan must be one for at most the 6 tokens of the canvas; got one for 128 tokens"
    with pytest.raises(InputError, match=wanted):
        jax.jit(lambda canvas: sample(MODEL, {}, MADE[name](LONG), 2, key=KEY, canvas=canvas).tokens)(CANVAS)


@pytest.mark.thorough
def test_a_plan_that_fits_draws_the_same_under_jit():
    for sampler in (FITTING, rules.surest(FITTING)):
        plain = sample(MODEL, {}, sampler, 2, key=KEY, canvas=CANVAS)
        traced = jax.jit(lambda key, sampler=sampler: sample(MODEL, {}, sampler, 2, key=key, canvas=CANVAS))(KEY)
        np.testing.assert_array_equal(plain.tokens, traced.tokens)


def test_orders_and_rules_with_what_is_free_traced():
    blind, free = Blind(LONG), jnp.ones((2, LENGTH), bool)
    with pytest.raises(InputError, match="plan must be one for at most the 6 tokens of the canvas; got one for 128"):
        jax.jit(lambda free: blind.reveal_step(KEY, free))(free)
    with pytest.raises(InputError, match="plan must be one for at most the 2 tokens of a block; got one for 128"):
        jax.jit(lambda free: Blind(LONG, block=2).reveal_step(KEY, free))(free)
    with pytest.raises(InputError, match="plan must be one for at most the 6 tokens"):
        jax.jit(lambda canvas: adaptive_loop(MODEL, {}, canvas, rules.surest(LONG), key=KEY).tokens)(CANVAS[None])


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("many", [[FITTING] * 2, [grids.uniform(3)] * 2])
def test_plans_for_other_rows_are_refused(many, traced):
    def steps(free):
        return Blind(many).reveal_step(KEY, free)

    with pytest.raises(InputError, match="plan must be one for all 3 rows, or one for each; got 2 of them"):
        (jax.jit(steps) if traced else steps)(jnp.ones((3, LENGTH), bool))


@pytest.mark.parametrize("most", [np.array([1, 2, 3]), [1, 2, 3], jnp.array([1, 2, 3])])
def test_any_three_whole_numbers_may_be_masked_again(most):
    found = sample(MODEL, {}, rules.self_corrected(FITTING, most), 2, key=KEY, length=LENGTH)
    wanted = sample(MODEL, {}, rules.self_corrected(FITTING, (1, 2, 3)), 2, key=KEY, length=LENGTH)
    np.testing.assert_array_equal(found.tokens, wanted.tokens)


@pytest.mark.parametrize("logit", [np.nan, -np.inf])
@pytest.mark.parametrize(
    "sampler",
    [
        presets.eb(),
        FITTING,
        pytest.param(rules.surest(FITTING), marks=pytest.mark.thorough),
        pytest.param(rules.remasked(grids.uniform(3), 0.0), marks=pytest.mark.thorough),
    ],
)
@pytest.mark.few(1)
def test_a_row_that_could_not_be_drawn_has_no_log_probability(sampler, logit):
    """The other row has it: six uniform draws of three tokens, five after a given one."""
    canvas = np.array([[1, *[VOCAB] * 5], [0, *[VOCAB] * 5], [1] * 6], np.int32)
    found = sample(LAWLESS, jnp.float32(logit), sampler, 3, key=KEY, canvas=canvas)
    assert found.remaining.tolist() == [5, 0, 0]
    np.testing.assert_allclose(found.log_prob, [np.nan, -5 * np.log(3), 0], rtol=1e-6)

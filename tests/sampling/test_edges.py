"""What could go silently wrong at the edges: logits that are no law, keys used twice, long rows, wrong shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from selecting import thorough_but
from worlds import wrong_world

from mdm_jax import models, sampling
from mdm_jax.sampling import Blind, blind_loop, draws, random_order, rules, sample
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import grids

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(11)


@pytest.mark.core
@pytest.mark.parametrize("vocab_size", [5, 300])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_law_say_so_and_stay_in_the_vocabulary(vocab_size, temperature):
    good = np.zeros(vocab_size, np.float32)
    bad = [np.full(vocab_size, np.nan), np.full(vocab_size, -np.inf), np.where(np.arange(vocab_size) == 1, np.nan, 0)]
    logits = jnp.asarray(np.stack([good, *bad]), jnp.float32)
    tokens, log_prob = draws.categorical(jax.random.split(KEY, 4), logits, jnp.float32(temperature))
    assert np.all((np.asarray(tokens) >= 0) & (np.asarray(tokens) < vocab_size))
    assert np.isnan(np.asarray(log_prob)).tolist() == [False, True, True, True]


def broken(params, tokens):
    """Nothing is allowed at the last position."""
    logits = jnp.broadcast_to(params, (*tokens.shape, 5))
    return jnp.where((jnp.arange(tokens.shape[1]) == 3)[None, :, None], -jnp.inf, logits)


@pytest.mark.parametrize(
    "sampler",
    [plans.uniform(4, 2), pytest.param(rules.surest(plans.uniform(4, 2)), marks=pytest.mark.thorough)],
    ids=["blind", "adaptive"],
)
def test_a_position_without_a_law_stays_masked(sampler):
    """As after a ban of all that top-k has left, or in a model that has diverged."""
    denoiser = models.from_function(broken, 5)
    out = sample(denoiser, jnp.zeros(5), sampler, 3, key=KEY, length=4)
    assert out.remaining.tolist() == [1, 1, 1]
    assert np.all(np.asarray(out.tokens)[:, 3] == 5)
    assert np.all(np.asarray(out.tokens)[:, :3] < 5)


@pytest.mark.core
@pytest.mark.thorough
def test_tiny_and_impossible_temperatures():
    logits = jnp.asarray([[0.0, -jnp.inf, 1.0, -jnp.inf]], jnp.float32)
    keys = jax.random.split(KEY, 4000)
    many = jnp.broadcast_to(logits, (4000, 4))
    hot = np.bincount(np.asarray(draws.categorical(keys, many, jnp.float32(jnp.inf))[0]), minlength=4)
    assert hot[[1, 3]].tolist() == [0, 0]
    assert abs(hot[0] - 2000) < 4 * np.sqrt(1000)  # 4 s.e.
    assert set(np.asarray(draws.categorical(keys, many, jnp.float32(1e-30))[0]).tolist()) == {2}


def test_an_order_and_draws_from_the_same_key_are_independent():
    """40,000 pairs of fair coins; the one revealed first shows 1 half of the time, and so does the other (4 s.e.)."""
    rows = 40_000
    coins = models.from_function(lambda params, tokens: jnp.broadcast_to(params, (*tokens.shape, 2)), 2)
    knots = jnp.asarray(sampling.plan_knots(plans.uniform(2, 2), rows))
    steps = random_order(KEY, knots, jnp.ones((rows, 2), bool))
    out = blind_loop(coins, jnp.zeros(2), jnp.full((rows, 2), 2, jnp.int32), steps, key=KEY)
    tokens, first = np.asarray(out.tokens), np.argmin(np.asarray(steps), axis=1)
    for place in (first, 1 - first):
        assert abs(tokens[np.arange(rows), place].mean() - 0.5) < 4 * 0.5 / np.sqrt(rows)


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", [rules.at_random(plans.uniform(50_000, 10)), plans.uniform(50_000, 10)])
def test_rows_too_long_for_whole_numbers_are_refused(sampler):
    denoiser = models.from_function(lambda params, tokens: jnp.zeros((*tokens.shape, 2)), 2)
    with pytest.raises(InputError, match="length must be such that length times the plan's length stays below"):
        sample(denoiser, jnp.zeros(1), sampler, 1, key=KEY, length=50_000)


@pytest.mark.thorough
def test_blocks_begin_at_the_first_free_position_in_both_loops():
    """Ragged prompts, blocks of 3 of 8 in one step each: the same blocks."""
    denoiser = models.from_function(lambda params, tokens: jnp.zeros((*tokens.shape, 2)), 2)
    canvas = np.full((4, 8), 2)
    canvas[1, :3], canvas[2, :5], canvas[3, [0, 4]] = 0, 0, 1
    wanted = [
        [0, 0, 0, 1, 1, 1, 2, 2],
        [-1, -1, -1, 0, 0, 0, 1, 1],
        [-1, -1, -1, -1, -1, 0, 0, 0],
        [-1, 0, 0, 0, -1, 1, 1, 2],
    ]
    for sampler in (Blind(plans.uniform(3, 1), block=3), rules.surest(plans.uniform(3, 1)).replace(block=3)):
        out = sample(denoiser, jnp.zeros(1), sampler, key=KEY, canvas=canvas)
        assert out.reveal_step.tolist() == wanted
        assert out.nfe.tolist() == [3, 2, 1, 3]


def two_classes(params, tokens):
    return jnp.zeros((*tokens.shape, 2), jnp.float32)


PROMPT = np.array([1, 0, 2, 2, 2, 2, 2, 2], np.int32)  # six of eight are free
FITTING = {
    "the canvas's": (8, None, [2, 1, 2, 1]),  # knots 0, 2, 4, 6, 8 of 8: round(6 N / 8) = 0, 2, 3, 5, 6
    "what is free": (6, None, [2, 2, 1, 1]),
    "a block's": (4, 4, [1, 1, 1, 1, 1, 1]),  # four, then two: round(2 N / 4) = 0, 1, 1, 2, 2
    "a block's, all that is free": (6, 7, [2, 2, 1, 1]),
    "one block's, longer than the canvas": (8, 100, [2, 1, 2, 1]),
}


@pytest.mark.parametrize("kind", ["blind", "surest", pytest.param("at random", marks=pytest.mark.thorough)])
@pytest.mark.parametrize("fit", thorough_but(["what is free", "a block's"], FITTING))
def test_plans_for_the_canvas_or_for_what_is_free_are_taken(kind, fit):
    """Six free positions under a plan of four steps: for the canvas scaled, for what is free as it is."""
    planned, block, sizes = FITTING[fit]
    plan = plans.uniform(planned, 4)
    if kind == "blind":
        sampler = Blind(plan, block=block)
    else:
        sampler = rules.surest(plan) if kind == "surest" else rules.at_random(plan)
        sampler = sampler if block is None else sampler.replace(block=block)
    denoiser = models.from_function(two_classes, 2)
    out = sample(denoiser, None, sampler, 3, key=KEY, canvas=PROMPT)
    for row in np.asarray(out.reveal_step):
        assert np.bincount(row[2:]).tolist() == sizes
    # a row in which nothing is free is served by any plan
    full = np.stack([PROMPT, np.zeros(8, np.int32), PROMPT])
    np.testing.assert_array_equal(
        sample(denoiser, None, sampler, key=KEY, canvas=full).nfe, [len(sizes), 0, len(sizes)]
    )


@pytest.mark.thorough
def test_a_traced_canvas_is_served_as_it_was():
    """Whether a plan fits cannot be seen while tracing: it is scaled."""
    denoiser, params = wrong_world(4, 3)
    canvas = jnp.full((2, 4), 3, jnp.int32).at[0, 1].set(2)
    draw = lambda canvas: sample(denoiser, params, plans.uniform(4, 2), key=KEY, canvas=canvas).tokens  # noqa: E731
    np.testing.assert_array_equal(jax.jit(draw)(canvas), draw(canvas))


@pytest.mark.thorough
def test_rows_can_be_drawn_in_several_calls():
    denoiser, params = wrong_world(4, 3)
    for sampler in (plans.uniform(4, 3), grids.uniform(5)):
        whole = sample(denoiser, params, sampler, 6, key=KEY, length=4)
        for ids in ([0, 1, 2], [5, 3, 4]):
            part = sample(denoiser, params, sampler, 3, key=KEY, length=4, row_ids=ids)
            np.testing.assert_array_equal(part.tokens, np.asarray(whole.tokens)[ids])
            np.testing.assert_array_equal(part.reveal_step, np.asarray(whole.reveal_step)[ids])


@pytest.mark.thorough
def test_rows_do_not_pay_for_each_other_s_empty_steps():
    denoiser, params = wrong_world(4, 3)
    out = sample(denoiser, params, grids.uniform(64), 20, key=KEY, length=4)
    assert int(out.batch_nfe) == int(np.max(out.nfe)) <= 4
    assert np.array_equal(np.max(out.reveal_step, axis=1) + 1, out.nfe)


@pytest.mark.core
@pytest.mark.parametrize(
    ("sampler", "arguments", "says"),
    [
        (plans.uniform(4, 2), {"temperature": np.array([1.0, 0.5])}, "temperature must be one number; got shape (2,)"),
        (plans.uniform(4, 2), {"temperature": 1e39}, "temperature must be 0 or more, and finite"),
        (plans.uniform(4, 2), {"temperature": float("nan")}, "temperature must be 0 or more, and finite"),
        (plans.uniform(4, 2), {"length": 0}, "length must be a whole number from 1 to 2147483647; got 0"),
        (plans.uniform(4, 2), {"frames": 0}, "frames must be a whole number from 1 to 2147483647; got 0"),
        (plans.uniform(4, 2), {"row_ids": [1, 2]}, "row_ids must be one for each of 3 rows; got [1, 2]"),
        (rules.surest(plans.uniform(4, 2)).replace(end=99), {"length": 4}, "end must be a real token, from 0 to 2"),
        (rules.surest(plans.uniform(4, 2)).replace(block=np.array([1, 2])), {"length": 4}, "block must be one number"),
        (rules.at_random(plans.uniform(4, 2)).replace(order_temperature=1.0), {"length": 4}, "it has no scores"),
    ],
)
def test_bad_requests_get_one_sentence(sampler, arguments, says):
    denoiser, params = wrong_world(4, 3)
    with pytest.raises(InputError) as caught:
        sample(denoiser, params, sampler, 3, key=KEY, **arguments)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.thorough
def test_traced_requests_are_fine():
    denoiser, params = wrong_world(4, 3)
    plan = plans.uniform(4, 2)
    canvas = jnp.full((2, 4), 3, jnp.int32).at[0, 1].set(2)

    @jax.jit
    def inside(key, canvas, temperature):
        return sample(denoiser, params, plan, key=key, canvas=canvas, temperature=temperature).tokens

    eager = sample(denoiser, params, plan, key=KEY, canvas=canvas, temperature=0.7).tokens
    np.testing.assert_array_equal(inside(KEY, canvas, jnp.float32(0.7)), eager)

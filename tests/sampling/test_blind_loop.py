import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import programs
from worlds import conditional, exact_world, wrong_world

from mdm_jax import models, sampling
from mdm_jax.sampling.blind import blind_loop, path_log_prob
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, schedules
from mdm_jax.theory.plans import Plan

pytestmark = pytest.mark.usefixtures("strict_types")


def law_by_enumeration(table, sizes):
    """The exact output law of random order with ``sizes``: every ordered partition, every sequence."""
    length, vocab_size = table.ndim, table.shape[0]
    law = np.zeros(table.shape)
    orders = list(itertools.permutations(range(length)))
    for order in orders:
        for tokens in itertools.product(range(vocab_size), repeat=length):
            state, p, done = [vocab_size] * length, 1.0, 0
            for size in sizes:
                block = order[done : done + size]
                for j in block:
                    p *= conditional(table, tuple(state), vocab_size, j)[tokens[j]]
                for j in block:
                    state[j] = tokens[j]
                done += size
            law[tokens] += p / len(orders)
    return law


@pytest.mark.core
@pytest.mark.parametrize(
    "sizes",
    [(1, 2), *(pytest.param(sizes, marks=pytest.mark.thorough) for sizes in ((3,), (2, 1), (1, 1, 1)))],
)
@pytest.mark.thorough
def test_samples_follow_the_exact_law(sizes):
    """Chi-square of 40,000 samples over 27 cells (26 degrees of freedom): 26 + 4 sqrt(52) is its mean + 4 s.d."""
    table, denoiser, params = exact_world(3, 3)
    rows = 40_000
    out = sampling.sample(denoiser, params, Plan(np.array(sizes), "test"), rows, key=jax.random.key(1))
    counts = np.zeros(table.shape)
    np.add.at(counts, tuple(np.asarray(out.tokens).T), 1)
    expected = rows * law_by_enumeration(table, sizes)
    assert ((counts - expected) ** 2 / expected).sum() < 26 + 4 * np.sqrt(52)
    assert np.all(np.asarray(out.nfe) == len(sizes))
    assert int(out.batch_nfe) == len(sizes)
    assert np.all(np.asarray(out.remaining) == 0)


@pytest.mark.core
def test_log_prob_is_that_of_the_path_and_teacher_forcing_agrees():
    denoiser, params = wrong_world(4, 3)
    plan = Plan(np.array([1, 2, 1]), "test")
    out = sampling.sample(denoiser, params, plan, 6, key=jax.random.key(2))
    logits = np.asarray(params, np.float64)
    for row in range(6):
        tokens, steps = np.asarray(out.tokens)[row], np.asarray(out.reveal_step)[row]
        state, total = np.full(4, 3), 0.0
        for step in range(3):
            code = int((state * 4 ** np.arange(3, -1, -1)).sum())
            for j in np.flatnonzero(steps == step):
                total += logits[code, j, tokens[j]] - np.log(np.exp(logits[code, j]).sum())
            state = np.where(steps == step, tokens, state)
        assert float(out.log_prob[row]) == pytest.approx(total, abs=1e-5)
    forced = path_log_prob(denoiser, params, out.tokens, out.reveal_step)
    np.testing.assert_allclose(forced, out.log_prob, atol=1e-5)


@pytest.mark.core
def test_infilling_keeps_what_is_given_and_draws_the_right_conditional():
    """20,000 draws of the two free tokens against the exact conditional: chi-square, 8 degrees of freedom, 4 s.d."""
    table, denoiser, params = exact_world(3, 3)
    canvas = np.array([3, 1, 3], np.int32)
    out = sampling.sample(denoiser, params, plans.uniform(3, 3), 20_000, key=jax.random.key(3), canvas=canvas)
    tokens = np.asarray(out.tokens)
    assert np.all(tokens[:, 1] == 1)
    assert np.all(np.asarray(out.reveal_step)[:, 1] == sampling.GIVEN)
    counts = np.zeros((3, 3))
    np.add.at(counts, (tokens[:, 0], tokens[:, 2]), 1)
    expected = 20_000 * table[:, 1, :] / table[:, 1, :].sum()
    assert ((counts - expected) ** 2 / expected).sum() < 8 + 4 * np.sqrt(16)


def test_a_row_does_not_depend_on_the_rows_around_it():
    denoiser, params = wrong_world(4, 3)
    four = [plans.uniform(4, k) for k in (1, 2, 3, 4)]
    together = sampling.sample(denoiser, params, four, key=jax.random.key(4))
    for k, plan in enumerate(four):
        alone = sampling.sample(denoiser, params, [plan] * (k + 1), key=jax.random.key(4))
        np.testing.assert_array_equal(alone.tokens[k], together.tokens[k])
        np.testing.assert_array_equal(alone.reveal_step[k], together.reveal_step[k])
    assert np.asarray(together.nfe).tolist() == [1, 2, 3, 4]
    assert int(together.batch_nfe) == 4


@pytest.mark.thorough
def test_row_ids_name_the_draws_whatever_the_place():
    denoiser, params = wrong_world(4, 3)
    free = jnp.ones((5, 4), bool)
    knots = jnp.asarray(sampling.plan_knots(plans.uniform(4, 2), 5))
    key, ids = jax.random.key(5), jnp.arange(5, dtype=jnp.int32)
    blank = jnp.full((5, 4), 3, jnp.int32)
    steps = sampling.random_order(key, knots, free, ids)
    tokens = blind_loop(denoiser, params, blank, steps, key=key, row_ids=ids).tokens
    back = ids[::-1]
    steps_back = sampling.random_order(key, knots, free, back)
    tokens_back = blind_loop(denoiser, params, blank, steps_back, key=key, row_ids=back).tokens
    np.testing.assert_array_equal(steps, steps_back[::-1])
    np.testing.assert_array_equal(tokens, tokens_back[::-1])


@pytest.mark.thorough
def test_chunks_do_not_change_the_tokens():
    denoiser, params = wrong_world(4, 3)
    blank = jnp.full((7, 4), 3, jnp.int32)
    steps = sampling.random_order(
        jax.random.key(0), jnp.asarray(sampling.plan_knots(plans.uniform(4, 2), 7)), jnp.ones((7, 4), bool)
    )
    results = [
        blind_loop(denoiser, params, blank, steps, key=jax.random.key(1), chunk=chunk) for chunk in (1, 3, 28, 128)
    ]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].tokens, other.tokens)
        np.testing.assert_allclose(results[0].log_prob, other.log_prob, atol=1e-5)


@pytest.mark.core
def test_schedule_budget_temperature_prompt_and_seed_share_one_executable():
    traces = []

    def counting(params, tokens):
        traces.append(tokens.shape)
        return jnp.broadcast_to(params, (*tokens.shape, 5))

    denoiser = models.from_function(counting, 5)
    params = jnp.arange(5.0)

    def draw(plan, seed=0, temperature=1.0, canvas=None):
        return sampling.sample(
            denoiser, params, plan, 3, key=jax.random.key(seed), temperature=temperature, canvas=canvas
        )

    with programs() as made:
        draw(plans.uniform(16, 4))
    assert "jit(blind_loop)" in made
    first = len(traces)
    prompt = np.full(16, 5, np.int32)
    with programs() as made:
        for steps in (1, 3, 8, 16):
            draw(plans.uniform(16, steps))
            draw(plans.from_schedule(schedules.beta(0.9, 0.3), 16, steps), seed=steps)
            prompt[steps - 1] = 2
            draw(plans.uniform(16, steps), temperature=steps / 4, canvas=prompt)
        draw(plans.uniform(16, 2), temperature=0)
    assert len(traces) == first
    assert not [name for name in made if "loop" in name or "order" in name]


def test_temperature_zero_is_argmax_and_high_temperature_is_uniform():
    denoiser = models.from_function(lambda params, tokens: jnp.broadcast_to(params, (*tokens.shape, 4)), 4)
    params = jnp.array([0.0, 2.0, 1.0, -1.0])
    cold = sampling.sample(denoiser, params, plans.uniform(8, 2), 5, key=jax.random.key(0), temperature=0.0)
    assert np.all(np.asarray(cold.tokens) == 1)
    assert np.all(np.asarray(cold.log_prob) == 0)
    hot = sampling.sample(denoiser, params, plans.uniform(8, 1), 4_000, key=jax.random.key(0), temperature=1e6)
    shares = np.bincount(np.asarray(hot.tokens).ravel(), minlength=4) / 32_000
    assert np.abs(shares - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 32_000)


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"canvas": np.array([0, 9, 3, 3])}, "canvas must be token ids from 0 to 2, or mask_id 3; got 9 at (1,)"),
        ({"canvas": np.zeros((2, 2, 2), int)}, "canvas must be of shape [length] or [rows, length]"),
        ({"canvas": np.zeros(4)}, "canvas must be an array of token ids"),
        ({"temperature": -1.0}, "temperature must be 0 or more, and finite"),
        ({"rows": 0}, "rows must be a whole number from 1 to 2147483647; got 0"),
        ({"rows": 3, "canvas": np.full((2, 4), 3)}, "rows must be the same in rows, plan and canvas"),
        ({"plan": []}, "sampler must be a plan, a grid, one of them for each row"),
        ({"plan": [plans.uniform(4, 1), plans.uniform(5, 1)]}, "plans of one length"),
    ],
)
def test_bad_requests_get_one_sentence(arguments, says):
    denoiser, params = wrong_world(4, 3)
    request = {"plan": plans.uniform(4, 2), "key": jax.random.key(0), **arguments}
    with pytest.raises(InputError) as caught:
        sampling.sample(denoiser, params, request.pop("plan"), request.pop("rows", None), **request)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)

"""GIDD's sampler against its law by enumeration, from transition matrices; self-correction against a loop in NumPy."""

import itertools

import compiled
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import law_of_process
from references import World, chi_square
from worlds import wrong_world

from mdm_jax import models, sampling
from mdm_jax.evaluation import exact
from mdm_jax.sampling import Choice, Rule, rules
from mdm_jax.support.errors import InputError
from mdm_jax.theory.plans.grids import Grid, uniform

pytestmark = pytest.mark.usefixtures("strict_types", "quick_loops")

LENGTH, VOCAB = 3, 3
GRID = Grid(np.array([0.0, 0.25, 0.625, 1.0]), "t")
ROWS = 60_000


def everywhere(seed=0):
    """A denoiser whose predictions depend on all of the state, at settled positions too."""
    denoiser, params = wrong_world(LENGTH, VOCAB, seed)
    return World(np.asarray(params)), denoiser, params


def marginal(t, share, gamma=1.0):
    """``(alpha, noise)`` at time ``t``, the mask last."""
    amount = 2**gamma * share / (1 - share) * (t * (1 - t)) ** (gamma / 2)
    return t / (1 + amount), np.append(np.full(VOCAB, amount / VOCAB), 1 - t) / (1 + amount)


def reverse(law, z, a, b, share, gamma=1.0):
    """``q(z_b | z_a = z) ~ q(z_a | z_b) q_b(z_b | law)``: from the transition matrix, float64[vocab + 1]."""
    (alpha_a, noise_a), (alpha_b, noise_b) = marginal(a, share, gamma), marginal(b, share, gamma)
    kept = alpha_a / alpha_b
    forward = kept * np.eye(VOCAB + 1) + (noise_a - kept * noise_b)[None, :]  # [z_b, z_a]
    joint = forward[:, z] * (noise_b + alpha_b * np.append(law, 0.0))
    return joint / joint.sum()


def hybrid_steps(fractions, share):
    """One step of the process, all positions at once."""

    def step(world, k, state, memory):
        laws = [reverse(np.exp(world.log_p[state][j]), z, *fractions[k : k + 2], share) for j, z in enumerate(state)]
        for after in itertools.product(range(VOCAB + 1), repeat=LENGTH):
            yield np.prod([law[z] for law, z in zip(laws, after)]), after, memory

    return step


def counts_of(tokens):
    return np.bincount(np.asarray(tokens) @ VOCAB ** np.arange(LENGTH - 1, -1, -1), minlength=VOCAB**LENGTH)


def law(world, share):
    made = law_of_process(world, GRID.steps, hybrid_steps(GRID.fractions, share)).reshape(-1)
    assert made.sum() == pytest.approx(1, abs=1e-9)  # nothing is left masked
    return made


@pytest.mark.parametrize("share", [0.2, 0.0, 0.6])
@pytest.mark.few(1)
def test_samples_follow_the_exact_law(share):
    """60,000 samples over 27 cells: chi-square below its mean + 4 s.d."""
    world, denoiser, params = everywhere()
    rule = rules.hybrid(GRID, share)
    out = sampling.sample(denoiser, params, rule, ROWS, length=LENGTH, key=jax.random.key(7))
    assert chi_square(counts_of(out.tokens), law(world, share)) < 4
    assert np.all(np.asarray(out.nfe) == 3)
    assert np.all(np.asarray(out.remaining) == 0)
    assert np.all(np.isnan(out.log_prob))
    assert np.array_equal(np.unique(out.reveal_step), [0, 1, 2])


def test_these_laws_differ_enough_for_the_test_to_tell_them_apart():
    """As many samples of one would be refused as those of the next: mean + 8 s.d. at least."""
    world = everywhere()[0]
    laws = [law(world, share) for share in (0.0, 0.2, 0.6)]
    for p, q in itertools.pairwise(laws):
        assert ROWS * ((p - q) ** 2 / q).sum() / np.sqrt(2 * (p.size - 1)) > 8


def test_without_uniform_noise_it_is_ancestral_sampling():
    """Its law by enumeration and that of ``exact.ancestral_law``: total variation below 1e-5."""
    world, _, params = everywhere()
    theirs = exact.ancestral_law(jax.nn.log_softmax(params, axis=-1), GRID.fractions)
    assert 0.5 * np.abs(law(world, 0.0) - np.asarray(theirs)).sum() < 1e-5


@pytest.mark.parametrize(("share", "gamma"), [(0.4, 1.9), (0.05, 1.0)])
@pytest.mark.few(1)
def test_one_step_of_one_position_is_the_reverse_of_the_noise(share, gamma):
    """Every token and the mask, from .3 to .55: 200,000 draws each, chi-square below its mean + 4 s.d."""
    predicted = np.array([0.7, 0.25, 0.05])
    numbers = rules.hybrid(Grid(np.array([0.0, 0.3, 0.55, 1.0]), "t"), share, gamma=gamma).choose
    draws = 200_000
    for z in range(VOCAB + 1):
        tokens = np.full((draws, 1), z, np.int32)
        proposal = np.random.default_rng(z).choice(VOCAB, (draws, 1), p=predicted).astype(np.int32)
        log_held = np.full((draws, 1), np.log(predicted[z]) if z < VOCAB else -1.0, np.float32)
        view = sampling.View(
            jnp.asarray(tokens), jnp.asarray(tokens == VOCAB), jnp.asarray(tokens < VOCAB),
            jnp.ones(draws, jnp.int32), None, jax.random.split(jax.random.key(z), (draws, 1)), wrong_world(1, VOCAB)[0],
        )  # fmt: skip
        view.read(jnp.asarray(proposal), (jnp.asarray(log_held), jnp.asarray(log_held)))
        count = np.bincount(np.asarray(numbers(view).write)[:, 0], minlength=VOCAB + 1)
        assert chi_square(count, reverse(predicted, z, 0.3, 0.55, share, gamma)) < 4


def test_prompts_blocks_and_a_grid_for_each_row():
    """What is given stays; blocks are done one by one, each in the grid's steps; rows have grids of their own."""
    _, denoiser, params = everywhere()
    canvas = np.array([[3, 1, 3], [3, 3, 3], [0, 1, 2], [2, 3, 3]], np.int32)
    grids = [uniform(2 + k) for k in range(4)]
    out = sampling.sample(denoiser, params, rules.hybrid(grids, 0.3), key=jax.random.key(0), canvas=canvas, samples=50)
    given = np.repeat(canvas, 50, axis=0)
    assert np.array_equal(np.asarray(out.tokens)[given < 3], given[given < 3])
    assert out.nfe.reshape(4, 50).max(1).tolist() == [2, 3, 0, 5]
    assert out.log_prob.reshape(4, 50)[2].tolist() == [0.0] * 50
    rule = rules.hybrid(uniform(3), 0.3).replace(block=1)
    out = sampling.sample(denoiser, params, rule, 100, length=3, key=jax.random.key(1))
    assert np.all(np.asarray(out.nfe) == 9)
    assert np.array_equal(np.asarray(out.reveal_step) // 3, np.broadcast_to([0, 1, 2], (100, 3)))


def corrected_by_hand(world, state, steps):
    """At temperature 0: the surest of the positions whose best token is another, until there is none."""
    for k in range(steps + 1):
        best = world.log_p[state].argmax(-1)
        sure = [(-world.log_p[state][j].max(), j) for j in range(LENGTH) if best[j] != state[j]]
        if not sure or k == steps:
            return state, min(k + 1, steps)
        j = min(sure)[1]
        state = (*state[:j], int(best[j]), *state[j + 1 :])
    raise AssertionError


@pytest.mark.parametrize("steps", [20, 1, 2])
@pytest.mark.few(1)
def test_self_correction_at_temperature_0_is_what_a_loop_does(steps):
    """500 rows, token for token, and as many calls."""
    world, denoiser, params = everywhere(4)
    key = jax.random.key(3)
    before = sampling.sample(denoiser, params, rules.hybrid(GRID, 0.1), 500, length=LENGTH, key=key)
    rule = rules.hybrid(GRID, 0.1, correct=steps, temperature=0.0)
    after = sampling.sample(denoiser, params, rule, 500, length=LENGTH, key=key)
    expected = [corrected_by_hand(world, tuple(row), steps) for row in np.asarray(before.tokens).tolist()]
    assert np.array_equal(after.tokens, [state for state, _ in expected])
    assert np.array_equal(after.nfe, [GRID.steps + count for _, count in expected])


def test_self_correction_draws_at_its_temperature():
    """One position of one law, from the least probable token: what 20,000 rows hold after one step, by chi-square."""
    law = np.array([0.6, 0.3, 0.1])
    denoiser = models.from_function(lambda params, tokens: jnp.broadcast_to(params, (*tokens.shape, 3)), 3)
    params, rows = jnp.log(jnp.asarray(law, jnp.float32)), 20_000
    before, after = (
        sampling.sample(
            denoiser, params, rules.hybrid(uniform(1), 0.0, correct, 0.5), rows, length=1, key=jax.random.key(5)
        )
        for correct in (0, 1)
    )
    cold = law**2 / np.sum(law**2)
    for token in range(3):
        mine = np.asarray(before.tokens)[:, 0] == token
        counts = np.bincount(np.asarray(after.tokens)[mine, 0], minlength=3)
        assert chi_square(counts, cold) < 4


def test_grids_shares_budgets_and_temperatures_compile_nothing_new():
    _, denoiser, params = everywhere()

    def draw(rule):
        return sampling.sample(denoiser, params, rule, 4, length=LENGTH, key=jax.random.key(0)).tokens

    draw(rules.hybrid(GRID, 0.1))
    draw(rules.hybrid(GRID, 0.1, correct=2))
    with compiled.programs() as made:
        draw(rules.hybrid(uniform(7), 0.3, gamma=1.5))
        draw(rules.hybrid(uniform(60), 0.0))
        draw(rules.hybrid(uniform(5), 0.2, correct=9, temperature=0.0))
    assert made == []


def test_logits_that_are_no_law_write_nothing():
    """NaN at one position: it stays masked, `remaining` tells, and what else there is is written."""

    def broken(params, tokens):
        return jnp.broadcast_to(params, (*tokens.shape, 3)).at[:, 1].set(jnp.nan)

    denoiser = models.from_function(broken, 3)
    rule = rules.hybrid(uniform(4), 0.3, correct=2)
    out = sampling.sample(denoiser, jnp.zeros(3), rule, 8, length=3, key=jax.random.key(0))
    assert np.all(np.asarray(out.remaining) == 1)
    assert np.all(np.asarray(out.tokens)[:, 1] == 3)
    assert np.all(np.asarray(out.tokens)[:, [0, 2]] < 3)


@pytest.mark.parametrize("correct", [0, 2])
def test_a_mask_that_could_not_be_drawn_in_time_is_drawn_afterwards(correct):
    """A position without a law until its neighbour is there, and one step for both."""

    def late(params, tokens):
        first = jnp.arange(2, dtype=jnp.int32)[None, :] == 0
        scores = jnp.where(first & (tokens[:, 1:] == 3), jnp.nan, 0.0)
        return scores[..., None] + params[None, None, :]

    denoiser = models.from_function(late, 3)
    rule = rules.hybrid(uniform(1), 0.0, correct)
    out = sampling.sample(denoiser, jnp.asarray([0.0, 9.0, 0.0]), rule, 8, length=2, key=jax.random.key(0))
    assert out.remaining.tolist() == [0] * 8


def write_twos(view):
    return Choice(jnp.zeros_like(view.open), write=jnp.full_like(view.tokens, 2))


def test_a_rule_of_ones_own_may_write():
    _, denoiser, params = everywhere()
    canvas = np.array([[0, 3, 3]], np.int32)
    rule = Rule(write_twos, reads="all")
    out = sampling.sample(denoiser, params, rule, canvas=canvas, key=jax.random.key(0))
    assert out.tokens.tolist() == [[0, 2, 2]]
    assert out.reveal_step.tolist() == [[-1, 0, 0]]
    with pytest.raises(InputError, match="the rule's choice must be of what to reveal"):
        sampling.sample(denoiser, params, Rule(write_twos, reads="chosen"), canvas=canvas, key=jax.random.key(0))


def test_what_is_no_hybrid_rule_is_refused():
    for arguments, says in (
        ((GRID, 1.0), "uniform must be the share of uniform noise"),
        ((GRID, 0.1, -1), "correct must be"),
        ((GRID, 0.1, 1, -0.5), "temperature must be 0 or more"),
        ((GRID, 0.1, 0, 0.1, 3.0), "gamma must be from 1"),
        (([], 0.1), "grid must be a Grid or a sequence of them"),
    ):
        with pytest.raises(InputError, match=says):
            rules.hybrid(*arguments)
    _, denoiser, params = everywhere()
    for rule, says in (
        (Rule(write_twos, second_temperature=-1.0), "second_temperature must be 0 or more"),
        (Rule(write_twos, reads="chosen", second_temperature=1.0), "second_temperature must be None for a rule"),
    ):
        with pytest.raises(InputError, match=says):
            sampling.sample(denoiser, params, rule, length=LENGTH, key=jax.random.key(0))

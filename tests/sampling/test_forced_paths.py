"""Teacher forcing through rules: against enumerated laws, and against what the loop says of its own samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from any_orders import LENGTH as RANKED_LENGTH
from any_orders import tiny
from jax.tree_util import Partial
from references import DENOISER, hashed_params, ragged
from test_laws_of_samplers import SMALL, exact_law, world_of

import mdm_jax as mdm
from mdm_jax import models, sampling
from mdm_jax.sampling import presets, readings, rules
from mdm_jax.sampling.adaptive import _adaptive_loop
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, grids

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(7)
EVERY = np.stack(np.unravel_index(np.arange(3**4), (3,) * 4), axis=1).astype(np.int32)


PLAN = Plan(np.array((1, 2, 1)), "t")
MAX, MARGIN, ENTROPY = range(3)
MEASURES = readings.max_probability, readings.margin, readings.negative_entropy
KINDS = rules.surest(PLAN), rules.confident(0.5), presets.eb()


def one_measure(which, reading):
    return jax.lax.select_n(which, *(measure(reading) for measure in MEASURES))


def choose_one(which, choices, view):
    reveal = jax.lax.switch(which, [lambda choose=choose: choose(view).reveal for choose in choices])
    return sampling.Choice(reveal)


def shared(rule, score, measure=MAX):
    """A rule of the library in the executable that all of these share: numbers say which it is."""
    choices = tuple(kind.choose for kind in KINDS)
    (which,) = [i for i, choose in enumerate(choices) if choose.func == rule.choose.func]
    choose = Partial(choose_one, jnp.int32(which), (*choices[:which], rule.choose, *choices[which + 1 :]))
    first, second = (Partial(one_measure, jnp.int32(one)) for one in (score, measure))
    return sampling.Rule(choose=choose, score=first, measures=(second,))


FORCED = {
    "max probability": shared(rules.surest(PLAN), MAX),
    "margin": shared(rules.surest(PLAN), MARGIN),
    "entropy": shared(rules.surest(PLAN), ENTROPY),
    "entropy bound": shared(presets.eb(0.5), ENTROPY, ENTROPY),
    "entropy bound, by margin": shared(rules.entropy_bounded(1.2), MARGIN, ENTROPY),
    "threshold": shared(rules.confident(0.6), MAX),
}


@pytest.mark.parametrize("name", FORCED)
def test_forced_paths_are_the_enumerated_law(name):
    """All 81 sequences of a model that contradicts itself: to 1e-5 of each probability (float32 sums)."""
    _, denoiser, params = world_of("wrong", SMALL)
    found = sampling.forced_log_prob(denoiser, params, EVERY, FORCED[name], key=KEY)
    chances = np.exp(np.asarray(found.log_prob, np.float64))
    np.testing.assert_allclose(chances, exact_law(name, "wrong", SMALL), rtol=1e-5)
    assert chances.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("quick_loops")
def test_at_random_in_blocks_the_mean_over_paths_is_the_law():
    """1,000 paths of each of 81 sequences: the mean probability within 5 standard errors of the enumerated one.

    Another order's law is further from it than that.
    """
    _, denoiser, params = world_of("wrong", SMALL)
    rule = rules.at_random(plans.uniform(2, 2)).replace(block=2)
    found = sampling.forced_log_prob(denoiser, params, np.tile(EVERY, (1000, 1)), rule, key=KEY)
    assert np.all(np.asarray(found.nfe) == 4)
    chances = np.exp(np.asarray(found.log_prob, np.float64)).reshape(1000, -1)
    allowed = 5 * chances.std(axis=0, ddof=1) / np.sqrt(1000) + 1e-7
    assert np.all(np.abs(chances.mean(axis=0) - exact_law("rule in blocks", "wrong", SMALL)) < allowed)
    others = np.abs(chances.mean(axis=0) - exact_law("left to right", "wrong", SMALL)) > allowed
    assert others.mean() > 0.5


def agree(denoiser, params, rule, canvas, context=None):
    """What the loop says of its samples, forced through once more with the same key: passes and log-probability."""
    out = sampling.adaptive_loop(denoiser, params, canvas, rule, key=KEY, context=context)
    given = np.asarray(canvas) != denoiser.mask_id
    found = sampling.forced_log_prob(denoiser, params, out.tokens, rule, key=KEY, given=given, context=context)
    np.testing.assert_allclose(found.log_prob, out.log_prob, rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(found.nfe, out.nfe)
    return out


ENDED = rules.surest(plans.uniform(4, 2)).replace(block=4, end=1, order_temperature=0.5)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(ENDED, id="blocks, an end, a noisy order"),
        pytest.param(rules.confident(0.4), id="threshold", marks=pytest.mark.thorough),
        pytest.param(rules.remasked(grids.uniform(6), 0.0), id="coins", marks=pytest.mark.thorough),
    ],
)
def test_prompts_blocks_ends_and_noise_go_the_way_of_the_samples(rule):
    agree(DENOISER, hashed_params(), rule, jnp.asarray(ragged("blank")))


@pytest.mark.thorough
def test_models_by_rank_and_by_blocks_go_the_way_of_their_samples():
    model, params = tiny()
    blank = jnp.full((4, RANKED_LENGTH), model.mask_id, jnp.int32)
    agree(model, params, rules.confident(0.3), blank)
    model = models.block_causal(3, length=8, block=4, width=8, depth=1, heads=2)
    params = jax.tree.map(lambda leaf: leaf + 0.3, model.init(jax.random.key(0), length=8))
    out = agree(model, params, rules.surest(plans.uniform(4, 2)), jnp.full((3, 8), model.mask_id, jnp.int32))
    assert np.all(np.asarray(out.nfe) == 4)


def test_what_the_rule_never_writes_has_probability_zero():
    """Behind an end there is nothing else; and a model's zero stays one when nothing is a law after it."""
    world = mdm.oracles.toy_left()
    rows = np.array([[0, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], np.int32)
    one = rules.surest(plans.uniform(5, 5), left_first)
    found = sampling.forced_log_prob(world.denoiser, world.params, rows, one, key=KEY)
    assert found.log_prob.tolist() == [-np.inf, pytest.approx(np.log(0.5)), pytest.approx(np.log(0.5))]
    urn = mdm.oracles.polya(5, 0.5)
    ended = sampling.forced_log_prob(urn.denoiser, urn.params, rows, one.replace(end=1), key=KEY)
    whole = sampling.forced_log_prob(urn.denoiser, urn.params, rows, one, key=KEY)
    assert ended.nfe.tolist() == [2, 1, 5]
    assert ended.log_prob[0] == -np.inf  # other tokens behind the end
    assert ended.log_prob[1] == pytest.approx(np.log(0.5))  # the first token, and the rest is filled
    assert ended.log_prob[2] == pytest.approx(float(whole.log_prob[2]))


def left_first(reading):
    return jnp.zeros(reading.held.shape, jnp.float32)


def test_what_looks_at_the_draw_or_masks_again_is_refused():
    world = mdm.oracles.polya(4, 0.5)
    rows = np.zeros((2, 4), np.int32)
    kinds = {
        "quota": rules.quota(2),
        "published": rules.surest(plans.uniform(4, 2), readings.proposal_probability),
        "remasked": presets.remdm(4),
        "corrected": rules.self_corrected(plans.uniform(4, 4)),
        "hybrid": rules.hybrid(grids.uniform(4), 0.1),
    }
    for rule in kinds.values():
        with pytest.raises(InputError, match="rule must be one whose order looks at the model's predictions alone"):
            sampling.forced_log_prob(world.denoiser, world.params, rows, rule, key=KEY)
    with pytest.raises(InputError, match="tokens must be"):
        sampling.forced_log_prob(world.denoiser, world.params, rows + 7, rules.confident(0.5), key=KEY)
    with pytest.raises(InputError, match="given must be"):
        sampling.forced_log_prob(
            world.denoiser, world.params, rows, rules.confident(0.5), key=KEY, given=np.zeros(3, bool)
        )


def test_numbers_of_a_rule_make_no_new_program():
    world = mdm.oracles.polya(6, 0.5)
    rows = np.zeros((2, 6), np.int32)
    made = []
    for rule in (rules.confident(0.5), rules.confident(0.9), rules.confident(0.0).replace(block=3)):
        sampling.forced_log_prob(world.denoiser, world.params, rows, rule, key=KEY)
        made.append(_adaptive_loop._cache_size())  # pyright: ignore[reportFunctionMemberAccess]
    assert made[0] == made[1] == made[2]

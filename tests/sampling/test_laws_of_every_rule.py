"""Every sampler, order and rule by its exact law, in 32 bits and under ``jax_enable_x64``.

120,000 samples over 3^4 cells of a denoiser that contradicts itself; chi-square below its mean + 4 s.d.
``test_laws_of_samplers`` has the samplers whose law is one of orders alone; here are also those that mask again,
remember, or look at what was drawn.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import processes
import pytest
import references
from processes import law_of_process
from references import chi_square
from test_laws_of_samplers import GRID, ONES, SAMPLERS, SMALL, counts_of, exact_law, world_of

from mdm_jax import sampling
from mdm_jax.sampling import presets, readings, rules
from mdm_jax.theory import profiles
from mdm_jax.theory.plans import Plan

pytestmark = pytest.mark.usefixtures("strict_types", "quick_loops")

ROWS = 120_000
SIZES = (1, 2, 1)
PLAN = Plan(np.array(SIZES), "t")
ORDER = [2, 0, 3, 1]


def in_order(world):
    return references.law_of(world, references.by_plan(SIZES, lambda logits: -np.argsort(ORDER)))


def first_hitting(world):
    return references.law_of(world, references.at_random_in_blocks((1, 1, 1, 1), 4))


def best(world):
    return references.law_of(world, references.at_random_in_blocks((1, 3), 4))


MORE = {  # name: (sampler, exact law)
    "permutation": (lambda: sampling.Blind(PLAN, np.array(ORDER)), in_order),
    "best": (lambda: presets.best(profiles.from_values(np.array([1.0, 0.2, 0.2, 0.2])), 2), best),
    "quota": (lambda: rules.quota(2), lambda world: law_of_process(world, 2, processes.quotas((2, 2)))),
    "llada": (lambda: presets.llada(4, 3), lambda world: law_of_process(world, 3, processes.quotas((2, 1, 1)))),
    "noisy": (
        lambda: rules.surest(PLAN).replace(order_temperature=0.4),
        lambda world: law_of_process(world, 3, processes.noisy(SIZES, 0.4)),
    ),
    "confidence": (
        lambda: rules.remasked(GRID, 0.9, "confidence"),
        lambda world: law_of_process(world, 3, processes.by_confidence(GRID.fractions, 0.9)),
    ),
    "self-planned": (
        lambda: rules.self_planned(ONES, 0.7),
        lambda world: law_of_process(world, 4, processes.self_planned((1, 1, 1, 1), 0.7)),
    ),
    "self-planned, published": (
        lambda: rules.self_planned(PLAN, 1.0, readings.held_or_proposal_probability),
        lambda world: law_of_process(world, 3, processes.self_planned(SIZES, 1.0, by_proposal=True)),
    ),
    "self-corrected": (
        lambda: rules.self_corrected(ONES, (1, 1, 1)),
        lambda world: law_of_process(world, 4, processes.self_corrected((1, 1, 1, 1), (1, 1, 1))),
    ),
}


def hitting_samples(denoiser, params, key):
    blank = jnp.full((ROWS, 4), 3, jnp.int32)
    order_key, key = jax.random.split(key)
    steps = sampling.first_hitting(order_key, blank == 3)
    return sampling.blind_loop(denoiser, params, blank, steps, key=key)


def samples(name, world, denoiser, params):
    key = jax.random.key(sum(map(ord, name)))
    if name == "first hitting":
        return hitting_samples(denoiser, params, key)
    sampler = MORE[name][0]() if name in MORE else SAMPLERS[name][0](world)
    return sampling.sample(denoiser, params, sampler, ROWS, key=key, length=4)


@functools.cache
def law(name):
    if name in SAMPLERS:
        return exact_law(name, "wrong", SMALL)
    maker = first_hitting if name == "first hitting" else MORE[name][1]
    made = maker(world_of("wrong", SMALL)[0]).reshape(-1)
    assert made.sum() == pytest.approx(1, abs=1e-9)
    return made


def cases():
    wide = [(name, True) for name in (*SAMPLERS, "first hitting", *MORE)]
    narrow = [(name, False) for name in MORE]  # the others in test_laws_of_samplers
    return [
        one
        if one in {("random order", True), ("self-planned", True)}
        else pytest.param(*one, marks=pytest.mark.thorough)
        for one in wide + narrow
    ]


@pytest.mark.parametrize(("name", "double"), cases())
@pytest.mark.thorough
def test_samples_follow_the_exact_law(name, double):
    world, denoiser, params = world_of("wrong", SMALL)
    with jax.enable_x64(double):
        out = samples(name, world, denoiser, params)
        assert out.tokens.dtype == out.reveal_step.dtype == out.nfe.dtype == jnp.int32
        assert out.log_prob.dtype == jnp.float32
    assert np.all(np.asarray(out.remaining) == 0)
    assert chi_square(counts_of(out.tokens, SMALL), law(name)) < 4


def test_these_laws_differ_enough_for_the_test_to_tell_them_apart():
    """As many samples of one would be refused as those of the next: mean + 8 s.d. at least."""
    names = ["permutation", "best", "quota", "llada", "noisy", "confidence", "self-planned", "self-corrected"]
    for one, other in zip(names, names[1:] + names[:1]):
        p, q = law(one), law(other)
        assert ROWS * ((p - q) ** 2 / q).sum() / np.sqrt(2 * (p.size - 1)) > 8, (one, other)

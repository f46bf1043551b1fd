"""What samplers draw, against exact laws by enumeration, for a perfect denoiser and for one that contradicts itself.

Chi-square with a statistic below its mean + 4 s.d. throughout: 60,000 samples over 3^4 cells, and (``thorough``)
250,000 over 2^6: of a law whose cells are off by 4.1 % or 1.9 % (root mean square) one expects the mean + 8 s.d. By
default all rules that read what is masked share one executable, in which a number says which rule it is.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from jax.tree_util import Partial
from references import World, chi_square
from selecting import thorough_but
from worlds import exact_world, lookup_logits, wrong_world

from mdm_jax import models, sampling
from mdm_jax.evaluation import exact
from mdm_jax.sampling import presets, readings, rules
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.plans.grids import Grid

pytestmark = pytest.mark.usefixtures("strict_types", "quick_loops")

SMALL, LARGE = (4, 3), (6, 2)
SEED = 1
ROWS = {SMALL: 60_000, LARGE: 250_000}
GRID = Grid(np.array([0.0, 0.25, 0.625, 1.0]), "t")
FINE = Grid(np.array([0.0, 0.125, 0.25, 0.5, 0.625, 0.875, 1.0]), "t")
EIGHTHS = presets.grids.uniform(8)


def sizes(world):
    return {4: (1, 2, 1), 6: (1, 2, 3)}[world.length]


def plan(world):
    return Plan(np.array(sizes(world)), "t")


def one_measure(which, reading):
    """Four measures in one executable."""
    three = [readings.max_probability, readings.margin, readings.negative_entropy]
    values = [measure(reading) for measure in (*three, readings.proposal_probability)]
    return jax.lax.select_n(which, *values)


def choose_one(which, choices, view):
    reveal = jax.lax.switch(which, [lambda choose=choose: choose(view).reveal for choose in choices])
    return sampling.Choice(reveal)


ONES = Plan(np.ones(4, int), "t")
MAX, MARGIN, ENTROPY, PROPOSAL = range(4)


def shared(rule, score, measure=MAX):
    """A rule of the library for the small world in the executable that all such rules share."""
    kinds = (rules.surest(ONES), rules.quota(2), rules.confident(0.5), presets.eb(), rules.at_random(ONES))
    choices = tuple(kind.choose for kind in kinds)
    (which,) = [i for i, choose in enumerate(choices) if choose.func == rule.choose.func]
    choices = (*choices[:which], rule.choose, *choices[which + 1 :])
    return sampling.Rule(
        choose=Partial(choose_one, jnp.int32(which), choices),
        score=Partial(one_measure, jnp.int32(score)),
        measures=(Partial(one_measure, jnp.int32(measure)),),
        block=rule.block,
    )


def surest(sizes, score):
    return shared(rules.surest(Plan(np.array(sizes), "t")), score)


TWO = Plan(np.array([1, 1]), "t")


def masked_share(frame):
    """Recorded in all remasking tests: tokens that are masked after the step, of each position."""
    return jnp.sum(frame.tokens == 3, axis=0, dtype=jnp.int32)


def remask_law(strategy, strength):
    """ReMDM's law on FINE with sigma by one of its rules."""

    def law(world):
        pairs = list(zip(FINE.fractions[:-1], FINE.fractions[1:]))
        most = [references.sigma_max(a, b) for a, b in pairs]
        sigma = [min(strength, m) if strategy == "cap" else strength * m for m in most]
        return references.remasking_law(world, FINE.fractions, sigma)

    return law


def enumerated(choose):
    return lambda world: references.law_of(world, choose(world))


def ancestral(grid):
    """ReMDM without remasking, by its formula."""
    return lambda world: references.remasking_law(world, grid.fractions, np.zeros(grid.steps))


def by_plan(score):
    return enumerated(lambda world: references.by_plan(sizes(world), score))


BLOCKS = enumerated(lambda world: references.at_random_in_blocks((1, 1), 2))
SAMPLERS = {  # name: (how to sample the small world, how to sample the large one if not the same way, exact law)
    "random order": (plan, plan, enumerated(lambda world: references.at_random_in_blocks(sizes(world), world.length))),
    "ancestral": (lambda world: GRID, lambda world: GRID, ancestral(GRID)),
    "mdlm": (lambda world: presets.mdlm(8), lambda world: presets.mdlm(8), ancestral(EIGHTHS)),
    "left to right": (
        *[lambda world: sampling.Blind(plan(world), "left_to_right")] * 2,
        enumerated(lambda world: references.left_to_right(sizes(world))),
    ),
    "blocks": (*[lambda world: sampling.Blind(TWO, block=2)] * 2, BLOCKS),
    "max probability": (
        lambda world: surest(sizes(world), MAX),
        lambda world: rules.surest(plan(world)),
        by_plan(references.max_probability),
    ),
    "margin": (
        lambda world: surest(sizes(world), MARGIN),
        lambda world: rules.surest(plan(world), readings.margin),
        by_plan(references.margin),
    ),
    "entropy": (
        lambda world: surest(sizes(world), ENTROPY),
        lambda world: rules.surest(plan(world), readings.negative_entropy),
        by_plan(references.negative_entropy),
    ),
    "entropy bound": (
        lambda world: shared(presets.eb(0.5), ENTROPY, ENTROPY),
        lambda world: presets.eb(0.5),
        enumerated(lambda world: references.entropy_bounded(0.5)),
    ),
    "entropy bound, by margin": (
        lambda world: shared(rules.entropy_bounded(1.2), MARGIN, ENTROPY),
        lambda world: rules.entropy_bounded(0.9, readings.margin),
        enumerated(lambda world: references.entropy_bounded({4: 1.2, 6: 0.9}[world.length], references.margin)),
    ),
    "threshold": (
        lambda world: shared(rules.confident(0.6), MAX),
        lambda world: rules.confident(0.6),
        enumerated(lambda world: references.confident(0.6)),
    ),
    "rule in blocks": (
        lambda world: shared(rules.at_random(TWO).replace(block=2), MAX),
        lambda world: rules.at_random(TWO).replace(block=2),
        BLOCKS,
    ),
    "remdm at 0": (*[lambda world: rules.remasked(FINE, 0.0)] * 2, ancestral(FINE)),
    "remdm cap": (*[lambda world: rules.remasked(FINE, 0.3)] * 2, remask_law("cap", 0.3)),
    "remdm rescale": (*[lambda world: rules.remasked(FINE, 0.4, "rescale")] * 2, remask_law("rescale", 0.4)),
}


@functools.cache
def exact_law(name, kind, size):
    law = SAMPLERS[name][2](world_of(kind, size)[0]).reshape(-1)
    assert law.sum() == pytest.approx(1, abs=1e-9)
    return law


@functools.cache
def world_of(kind, size):
    """(World, denoiser, parameters)."""
    if kind == "exact":
        _, denoiser, params = exact_world(*size)
    else:
        denoiser, params = wrong_world(*size, seed=SEED)
    return World(np.asarray(params)), denoiser, params


def sampled(name, sampler, kind, size, key, **more):
    _, denoiser, params = world_of(kind, size)
    if name.startswith("remdm"):
        more = {"record": masked_share, "frames": 8}
    return sampling.sample(denoiser, params, sampler, ROWS[size], key=key, length=size[0], **more)


def counts_of(tokens, size):
    powers = size[1] ** np.arange(size[0] - 1, -1, -1)
    return np.bincount(np.asarray(tokens) @ powers, minlength=size[1] ** size[0])


@pytest.mark.parametrize(
    ("name", "size", "kind"),
    [*thorough_but(lambda one: one[0] != "remdm cap", [(name, SMALL, "wrong") for name in SAMPLERS])]
    + [
        pytest.param(name, LARGE, kind, marks=pytest.mark.thorough)
        for name in SAMPLERS
        if name != "mdlm"
        for kind in ("exact", "wrong")
    ],
)
@pytest.mark.few(5)
def test_samples_follow_the_exact_law(name, size, kind):
    sampler = SAMPLERS[name][size == LARGE](world_of(kind, size)[0])
    out = sampled(name, sampler, kind, size, jax.random.key(sum(map(ord, name))))
    assert np.all(np.asarray(out.remaining) == 0)
    assert chi_square(counts_of(out.tokens, size), exact_law(name, kind, size)) < 4


def test_the_laws_differ_enough_for_the_test_to_tell_them_apart():
    """60,000 samples of one sampler would be refused as those of the next in the list: mean + 8 s.d. at least."""
    names = ["random order", "ancestral", "left to right", "blocks", "max probability", "margin", "entropy"]
    names += ["entropy bound", "threshold", "entropy bound, by margin", "remdm at 0", "remdm cap", "remdm rescale"]
    for one, other in zip(names, names[1:] + names[:1]):
        p, q = exact_law(one, "wrong", SMALL), exact_law(other, "wrong", SMALL)
        excess = ROWS[SMALL] * ((p - q) ** 2 / q).sum() / np.sqrt(2 * (p.size - 1))
        assert excess > 8, (one, other)


@pytest.mark.thorough
def test_laws_of_two_makers_agree():
    """The enumeration in float64 that this file trusts and ``evaluation.laws``: total variation below 1e-5."""
    world, _, params = world_of("wrong", SMALL)
    logits = jax.nn.log_softmax(params, axis=-1)
    theirs = {
        "random order": exact.random_order_law(logits, sizes(world)),
        "ancestral": exact.ancestral_law(logits, GRID.fractions),
        "max probability": exact.adaptive_law(logits, "probability", sizes(world)),
        "margin": exact.adaptive_law(logits, "margin", sizes(world)),
        "entropy": exact.adaptive_law(logits, "entropy", sizes(world)),
    }
    for name, law in theirs.items():
        assert 0.5 * np.abs(exact_law(name, "wrong", SMALL) - np.asarray(law)).sum() < 1e-5


def test_first_hitting_follows_its_law():
    world, denoiser, params = world_of("wrong", SMALL)
    blank = jnp.full((ROWS[SMALL], 4), 3, jnp.int32)
    steps = sampling.first_hitting(jax.random.key(0), blank == 3)
    key, temperature = jax.random.key(1), jnp.float32(1)
    out = sampling.blind_loop(denoiser, params, blank, steps, key=key, temperature=temperature)
    law = references.law_of(world, references.at_random_in_blocks((1, 1, 1, 1), 4))
    assert chi_square(counts_of(out.tokens, SMALL), law.reshape(-1)) < 4


@pytest.mark.parametrize("order", ["random", "left to right", MAX, MARGIN, ENTROPY, "coins"])
def test_one_token_at_a_time_every_order_that_does_not_look_gives_the_target(order):
    """A perfect denoiser, one token per step: the joint law itself, whatever the order (60,000, mean + 4 s.d.)."""
    table = exact_world(*SMALL)[0]
    rule = {"random": ONES, "left to right": sampling.Blind(ONES, "left_to_right")}
    rule["coins"] = shared(rules.at_random(Plan(np.ones(3, int), "t")).replace(block=3), MAX)
    chosen = rule[order] if order in rule else surest((1, 1, 1, 1), order)
    out = sampled("", chosen, "exact", SMALL, jax.random.key(11))
    assert np.all(np.asarray(out.nfe) == 4)
    assert chi_square(counts_of(out.tokens, SMALL), table.reshape(-1)) < 4


COINS = np.broadcast_to(np.log(np.array([0.9, 0.1, 1e-30])), (4**4, 4, 3)).astype(np.float32)
"""Independent coins in the small world's shape: the first two positions are asked, the others given."""


@pytest.mark.parametrize("score", ["proposal", "max"])
def test_the_confidence_of_what_was_drawn_is_biased_and_that_of_the_law_is_not(score):
    """Two coins of .1, one per step, 60,000 rows, each within 4 s.e.: P(1, 1) = .001 for .01, and P(x1 = 1) = .019.

    The first coin wins ties, so that it is the first that is revealed unless it shows 1 and the other 0; the second
    shows 1 with probability .081 + .009 + .001.
    """
    denoiser, canvas = models.from_function(lookup_logits, 3), np.array([3, 3, 0, 0], np.int32)
    rule = shared(rules.quota(2), PROPOSAL) if score == "proposal" else surest((1, 1, 1, 1), MAX)
    key = jax.random.key(12)
    out = sampling.sample(denoiser, jnp.asarray(COINS), rule, ROWS[SMALL], key=key, canvas=canvas)
    tokens = np.asarray(out.tokens)[:, :2]
    wanted = (0.001, 0.019, 0.091) if score == "proposal" else (0.01, 0.1, 0.1)
    for seen, p in zip((tokens.all(axis=1), tokens[:, 0] == 1, tokens[:, 1] == 1), wanted):
        assert abs(seen.mean() - p) < 4 * np.sqrt(p * (1 - p) / len(tokens))


@pytest.mark.parametrize(("strategy", "strength"), [("cap", 0.0), ("cap", 0.2), ("cap", 1.0), ("rescale", 0.5)])
def test_remasking_keeps_to_the_schedule(strategy, strength):
    """A perfect denoiser: after every step the share of masks is 1 - alpha, 60,000 rows of 4 positions, 4 s.e.

    Positions are revealed and masked by coins of their own, so every one of the 240,000 counts for itself.
    """
    out = sampled("remdm", rules.remasked(FINE, strength, strategy), "exact", SMALL, jax.random.key(13))
    masked = np.asarray(out.trajectory)[: FINE.steps] / ROWS[SMALL]
    alpha = FINE.fractions[1:, None]
    assert np.all(np.abs(masked - (1 - alpha)) <= 4 * np.sqrt(alpha * (1 - alpha) / ROWS[SMALL]))
    assert np.all(np.asarray(out.tokens) < 3)
    assert np.all(np.isnan(out.log_prob) == (strength > 0))
    again = np.asarray(out.nfe).mean()
    assert (again > FINE.expected_steps(4)) == (strength > 0)
    if strength == 0:
        error = 4 * 1.0 / np.sqrt(ROWS[SMALL])  # the steps of a row vary by less than 1
        assert abs(again - FINE.expected_steps(4)) < error

"""What rules choose, against NumPy on every state of small worlds; what the entropy bound promises; bad arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from references import World
from worlds import exact_world, random_table

from mdm_jax.sampling import View, presets, readings, rules
from mdm_jax.sampling.rules import take_surest
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, grids

pytestmark = pytest.mark.usefixtures("strict_types")


@jax.jit
def _decide(choose, tokens, masked, settled, clock, memory, measured, key):
    view = View(tokens, masked, settled, clock, memory, jax.random.split(key, tokens.shape))
    if measured is not None:
        view.read(tokens, measured)
    return choose(view)


def decide(rule, masked, clock=0, settled=None, memory=None, measured=None, seed=0):
    """What a rule chooses; all free positions are in one block. NumPy arrays in and out."""
    masked = np.asarray(masked)
    settled = ~masked if settled is None else np.asarray(settled)
    clock = np.broadcast_to(np.int32(clock), len(masked))
    measured = None if measured is None else tuple(np.asarray(values, np.float32) for values in measured)
    memory = None if memory is None else np.asarray(memory, np.float32)
    tokens = np.zeros(masked.shape, np.int32)
    choice = _decide(rule.choose, tokens, masked, settled, clock, memory, measured, jax.random.key(seed))
    return jax.tree.map(np.asarray, choice)


@functools.cache
def world(length, vocab_size, seed):
    _, _, params = exact_world(length, vocab_size, seed)
    return World(np.asarray(params))


def states_of(world):
    """Every state with something masked, and where."""
    states = [state for state in world.log_p if world.free(state)]
    return states, np.array(states) == world.mask


@pytest.mark.core
@pytest.mark.parametrize("bound", [0.0, 0.3, 0.7, 1.5, 100.0])
def test_the_entropy_bound_chooses_what_its_formula_says(bound):
    """All 175 states of 3^4: the largest k with sum - max of the first k entropies within the bound."""
    small = world(4, 3, 0)
    states, masked = states_of(small)
    entropy = np.stack([references.negative_entropy(small.logits[state]) for state in states])
    entropy = np.where(masked, entropy, -np.inf)
    choice = decide(presets.eb(bound), masked, measured=(entropy, entropy))
    choose = references.entropy_bounded(bound)
    for state, row in zip(states, np.asarray(choice.reveal)):
        ((_, wanted),) = choose(small, state)
        assert np.flatnonzero(row).tolist() == sorted(wanted), state


def test_bound_nought_is_one_token_and_whatever_is_certain():
    entropy = -np.array([[0.5, 0.0, 0.2, 0.0, 0.3], [0.5, 0.4, 0.2, 1e-30, 0.3], [0.0, 0.0, 0.0, 0.0, 0.0]])
    chosen = decide(presets.eb(0.0), np.ones((3, 5), bool), measured=(entropy, entropy)).reveal.astype(int)
    # Certain ones cost nothing, and neither does the first uncertain one behind them: it is the largest.
    assert chosen.tolist() == [[0, 1, 1, 1, 0], [0, 0, 0, 1, 0], [1, 1, 1, 1, 1]]


@pytest.mark.core
@pytest.mark.parametrize(("length", "vocab_size"), [(4, 3), (6, 2)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_path_costs_at_most_the_bound_for_every_step_of_two_or_more(length, vocab_size, seed):
    """Exact denoiser: ``KL(target || law) <= bound x E[steps that reveal two or more]``, by enumeration in float64.

    The choice is a function of the state, so the path is one of the sequence, and the law's divergence is the path's.
    """
    table = random_table(length, vocab_size, seed)
    small = world(length, vocab_size, seed)
    steps, costs = [], []
    for bound in (0.0, 0.05, 0.2, 0.5, 1.0, 100.0):
        choose = references.entropy_bounded(bound)
        cost = several = most = 0.0
        for sequence in small.complete():
            log_q, sizes = references.forced_path(small, sequence, choose)
            cost += table[sequence] * (np.log(table[sequence]) - log_q)
            several += table[sequence] * sum(size >= 2 for size in sizes)
            most += table[sequence] * len(sizes)
        law = references.law_of(small, choose)
        assert law.sum() == pytest.approx(1, abs=1e-6)
        assert cost == pytest.approx((table * np.log(table / law)).sum(), abs=1e-5)  # float32 conditionals
        assert -1e-6 < cost <= bound * several + 1e-6
        costs.append(cost)
        steps.append(most)
    assert costs[0] == pytest.approx(0, abs=1e-6)
    assert steps[0] == pytest.approx(length)
    assert steps[-1] == pytest.approx(1)
    assert np.all(np.diff(steps) <= 1e-9)
    assert costs[-1] > 0.05


def test_a_threshold_is_exceeded_not_met():
    log_p = np.log(np.array([[0.9, 0.95, 0.2, 0.9001], [0.3, 0.2, 0.3, 0.1]], np.float32))
    masked = np.ones((2, 4), bool)
    chosen = lambda t: decide(rules.confident(t), masked, measured=(log_p, log_p)).reveal.astype(int).tolist()  # noqa: E731
    assert chosen(0.9)[0][1:] == [1, 0, 1]
    assert chosen(0.25) == [[1, 1, 0, 1], [1, 0, 1, 0]]
    assert chosen(1.0) == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert chosen(0.0) == [[1] * 4] * 2
    masked[0, 1:3] = False
    assert chosen(0.0) == [[1, 0, 0, 1], [1] * 4]


def test_the_surest_are_the_first_of_equals_and_only_among_some():
    score = jnp.asarray([[1.0, 3.0, 3.0, -jnp.inf, 2.0], [0.0, -0.0, 0.0, 0.0, 0.0]])
    among = jnp.asarray([[True, True, True, True, False], [False, True, True, False, True]])
    for count, wanted in (
        (0, [[], []]),
        (1, [[1], [1]]),
        (2, [[1, 2], [1, 2]]),
        (4, [[0, 1, 2, 3], [1, 2, 4]]),
        (9, [[0, 1, 2, 3], [1, 2, 4]]),
    ):
        taken = np.asarray(jax.jit(take_surest)(score, among, jnp.full(2, count, jnp.int32)))
        assert [np.flatnonzero(row).tolist() for row in taken] == wanted


@pytest.mark.parametrize("strategy", ["cap", "rescale", "confidence"])
def test_remdm_s_coins_have_the_published_chances(strategy):
    """One step of 40,000 rows of 5 positions in the middle of a grid, each position's frequency within 4 s.e.

    Three positions are settled (drawn with probabilities .9, .5 and .1), two masked.
    """
    rows, strength, grid = 40_000, 0.3, grids.Grid(np.array([0.0, 0.5, 0.8, 1.0]), "t")
    a, b = 0.5, 0.8
    masked = np.array([False, True, False, False, True])
    psi = np.array([0.9, 0.0, 0.5, 0.1, 0.0])
    settled, memory = np.tile(~masked, (rows, 1)), np.tile(psi, (rows, 1)) if strategy == "confidence" else None
    rule = rules.remasked(grid, strength, strategy)
    choice = decide(rule, ~settled, 1, settled, memory, seed=7)
    most = references.sigma_max(a, b)
    sigma = np.full(5, {"cap": min(strength, most), "rescale": strength * most}.get(strategy, 0.0))
    reveal = (b - (1 - sigma[0]) * a) / (1 - a)
    if strategy == "confidence":  # shared by a softmax of minus the probabilities; masked ones as at sigma 0
        weights = np.exp(-psi) * ~masked
        sigma = strength * most * weights / weights.sum()
        reveal = (b - a) / (1 - a)
    for seen, wanted in (
        (choice.remask.mean(axis=0), np.where(masked, 0.0, sigma)),
        (choice.reveal.mean(axis=0), np.where(masked, reveal, 0.0)),
    ):
        assert np.all(np.abs(seen - wanted) <= 4 * np.sqrt(wanted * (1 - wanted) / rows))
    # the last step reveals whatever is masked and masks nothing
    last = decide(rule, ~settled, 2, settled, memory)
    assert np.all(last.reveal == ~settled)
    assert not np.any(last.remask)
    # nothing settled: nothing to mask, and no NaN
    nothing = decide(rule, np.ones((rows, 5), bool), 1, None, memory)
    assert not np.any(nothing.remask)
    assert abs(nothing.reveal.mean() - reveal) < 4 * np.sqrt(reveal * (1 - reveal) / (5 * rows))


def test_self_planning_at_strength_nought_masks_nothing_again():
    """Not even a token that the denoiser now rules out, nor one that ties with masked ones that are certain."""
    settled = np.array([[False, True, False, True]])
    score = np.array([[0.0, -np.inf, 0.0, -5.0]])
    for strength, again in ((0.0, []), (0.1, [1])):
        rule = rules.self_planned(Plan(np.array([2, 1, 1]), "t"), strength)
        choice = decide(rule, ~settled, 1, settled, measured=(score,))
        assert np.flatnonzero(choice.remask[0]).tolist() == again, strength
    assert choice.reveal.tolist() == [[True, False, True, False]]


def test_quotas_of_every_block():
    """For every number of masks up to 12 and of steps up to 14: the shares are LLaDA's, step by step."""
    at = np.arange(12)
    for steps in (1, 2, 3, 5, 12, 14):
        masked, settled, wanted = [], [], []
        for masks in range(1, 13):
            shares = [q for q in [masks // steps + (k < masks % steps) for k in range(steps)] if q > 0]
            for done, share in zip(np.cumsum([0, *shares[:-1]]), shares):
                masked.append((at >= done) & (at < masks))
                settled.append(at < done)
                wanted.append(share)
        rows = 78 - len(wanted)  # all in one shape
        masked, settled = (np.array(some + some[:1] * rows) for some in (masked, settled))
        score = np.zeros(masked.shape)
        chosen = decide(rules.quota(steps), masked, 0, settled, measured=(score,)).reveal
        assert chosen.sum(axis=1)[: len(wanted)].tolist() == wanted


PLAN = plans.uniform(4, 2)


@pytest.mark.core
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rules.surest([]), "plan must be a Plan or a sequence of them; got []"),
        (lambda: rules.quota(0), "steps must be a whole number from 1 to 2147483647; got 0"),
        (lambda: rules.confident(1.5), "threshold must be a probability from 0 to 1; got 1.5"),
        (lambda: rules.confident(-0.1), "threshold must be a probability from 0 to 1; got -0.1"),
        (lambda: rules.confident(float("nan")), "threshold must be a probability from 0 to 1; got nan"),
        (lambda: rules.entropy_bounded(-1.0), "bound must be 0 or more (nats); got -1.0"),
        (lambda: rules.remasked(grids.uniform(2), 1.1), "strength must be from 0 to 1; got 1.1"),
        (
            lambda: rules.self_planned(PLAN, -1.0),
            "strength must be 0 or more, in float32: 0, or from 1.2e-38 to 3.4e+38; got -1.0",
        ),
        (lambda: rules.self_corrected(PLAN, (1, -1, 0)), "most[1] must be a whole number from 0 to 2147483647; got -1"),
        (lambda: presets.mdlm(0), "steps must be a whole number from 1 to 1048576; got 0"),
        (lambda: presets.llada(0, 4), "length must be a whole number from 1 to 2147483647; got 0"),
        (lambda: presets.llada(8, 0), "steps must be a whole number from 1 to 2147483647; got 0"),
        (lambda: presets.llada(8, 4, 0), "block must be a whole number from 1 to 2147483647; got 0"),
        (lambda: presets.eb(-0.1), "bound must be 0 or more (nats); got -0.1"),
        (lambda: presets.remdm(0), "steps must be a whole number from 1 to 1048576; got 0"),
    ],
)
def test_bad_arguments_get_one_sentence(make, says):
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_measures_and_rules_have_their_documented_defaults():
    assert rules.surest(PLAN).score is readings.max_probability
    assert rules.quota(1).score is readings.proposal_probability
    assert presets.eb().score is readings.negative_entropy

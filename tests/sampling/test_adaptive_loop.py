"""What the adaptive loop does whatever the rule: counts, blocks, ends, noise, memory, trajectories, log_prob."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from references import DENOISER, FRAMES, LENGTH, MASK, ROWS, chi_square, hashed_params, ragged

from mdm_jax import models, sampling
from mdm_jax.sampling import FILLED, GIVEN, Choice, Rule, presets, readings, rules
from mdm_jax.sampling.adaptive import unmarked
from mdm_jax.sampling.blind import path_log_prob
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.plans import Plan, grids

pytestmark = pytest.mark.usefixtures("strict_types")

KEY = jax.random.key(3)
PLANS = [plans.uniform(LENGTH, 1 + row) for row in range(ROWS)]


@pytest.fixture(scope="module")
def params():
    return hashed_params()


def keep_all(frame):
    """Tokens and scores of every step."""
    return {"tokens": frame.tokens, "score": frame.score}


def run(params, rule, canvas=None, **more):
    """With a record, so that all runs of a rule share one executable."""
    canvas = ragged("blank") if canvas is None else canvas
    more = {"key": KEY, "record": keep_all, "frames": FRAMES, **more}
    return jax.tree.map(np.asarray, sampling.sample(DENOISER, params, rule, canvas=canvas, **more))


def surest(**more):
    """A plan for each row: row r has r + 1 steps, or in blocks as many of these as a block has positions."""
    block = min(more.get("block", LENGTH), LENGTH)
    return rules.surest([plans.uniform(block, min(1 + row, block)) for row in range(ROWS)]).replace(**more)


@pytest.mark.core
@pytest.mark.thorough
def test_rows_with_plans_of_their_own_count_their_own_passes(params):
    out = run(params, surest())
    assert out.nfe.tolist() == list(range(1, ROWS + 1))
    assert int(out.batch_nfe) == ROWS
    assert np.all(out.remaining == 0)
    for row, plan in enumerate(PLANS):
        assert np.bincount(out.reveal_step[row]).tolist() == plan.sizes.tolist()


def test_plans_are_scaled_to_what_is_free(params):
    """Row r has r given tokens in front; its plan's knots are scaled to the rest and rounded, halves up."""
    out = run(params, surest(), ragged("prompts"))
    for row, plan in enumerate(PLANS):
        knots = np.floor(plan.knots * (LENGTH - row) / LENGTH + 0.5).astype(int)
        sizes = np.diff(knots)
        steps = out.reveal_step[row]
        assert np.all((steps == GIVEN) == (np.arange(LENGTH) < row))
        assert np.bincount(steps[row:]).tolist() == sizes[sizes > 0].tolist()
        assert out.nfe[row] == (sizes > 0).sum()
    canvas = ragged("holes")
    canvas[3] = 1  # nothing to do
    out = run(params, surest(), canvas)
    assert out.nfe[3] == 0
    assert np.all(out.reveal_step[3] == GIVEN)
    assert np.all(out.tokens[canvas != MASK] == canvas[canvas != MASK])
    assert np.all(out.remaining == 0)


@pytest.mark.parametrize("block", [1, 5, 16, 100])
def test_blocks_are_counted_from_each_row_s_first_free_position(params, block):
    out = run(params, surest(block=block), ragged("prompts"))
    for row in range(ROWS):
        steps = out.reveal_step[row, row:]
        first, last = 0, -1
        for begin in range(0, len(steps), block):
            mine = steps[begin : begin + block]
            assert mine.min() == last + 1
            assert set(mine) == set(range(mine.min(), mine.max() + 1))
            first, last = mine.min(), mine.max()
        assert out.nfe[row] == last + 1 >= first


@pytest.mark.core
def test_a_row_is_done_at_its_first_end_token(params):
    """Whatever was masked behind a drawn end is filled; given ends do not count; passes are saved."""
    found = 0
    for end in range(4):
        canvas = ragged("prompts")
        canvas[5, :5] = end
        out = run(params, surest(block=4, end=end), canvas)
        free = run(params, surest(block=4), canvas)
        assert np.all(out.remaining == 0)
        for row in range(ROWS):
            tokens, steps = out.tokens[row], out.reveal_step[row]
            filled = np.flatnonzero(steps == FILLED)
            assert np.all(tokens[filled] == end)
            drawn = np.flatnonzero((tokens == end) & (steps >= 0))
            if len(filled):
                found += 1
                assert drawn[0] < filled[0]
                assert out.nfe[row] == steps.max() + 1 <= free.nfe[row]
                kept = steps >= 0
                assert np.all(tokens[kept] == free.tokens[row][kept])  # the same draws up to there
            else:
                assert np.all(tokens == free.tokens[row])
                assert np.all(steps == free.reveal_step[row])
    assert found > 12


def test_the_trajectory_is_what_happened(params):
    """Tokens after every step follow from the steps; the score is -inf where nothing was read; late steps drop out."""
    canvas = ragged("holes")
    out = run(params, surest(block=6), canvas)
    before = canvas
    for step in range(int(out.batch_nfe)):
        tokens, score = out.trajectory["tokens"][step], out.trajectory["score"][step]
        shown = (canvas != MASK) | (out.reveal_step <= step)
        assert np.all(tokens == np.where(shown, out.tokens, MASK))
        now = out.reveal_step == step
        assert np.all(np.isfinite(score[now]))
        assert np.all(np.isneginf(score[before != MASK]))
        assert np.all(score <= 0)
        before = tokens
    assert np.all(out.trajectory["tokens"][int(out.batch_nfe) :] == 0)
    plan = [plans.uniform(LENGTH, 4)] * ROWS
    blind = sampling.sample(DENOISER, params, plan, key=KEY, record=sampling.tokens_of, frames=3)
    frames = np.asarray(blind.trajectory)
    assert frames.shape == (3, ROWS, LENGTH)
    for step in range(3):
        assert np.all(frames[step] == np.where(blind.reveal_step <= step, blind.tokens, MASK))


@pytest.mark.core
@pytest.mark.parametrize("more", [{}, {"block": 4, "end": 2}, {"order_temperature": 0.7}])
def test_log_prob_is_that_of_the_path(params, more):
    """Where the order does not look at the draws: teacher forcing along the same steps gives it, to 1e-4 nats."""
    out = run(params, surest(**more), ragged("prompts"))
    forced = path_log_prob(DENOISER, params, jnp.asarray(out.tokens), jnp.asarray(out.reveal_step))
    np.testing.assert_allclose(out.log_prob, forced, atol=1e-4)
    assert np.all(out.log_prob < 0)


@pytest.mark.thorough
def test_log_prob_of_a_rule_that_chooses_before_it_reads(params):
    rule = rules.at_random([plans.uniform(8, 4)] * ROWS).replace(block=8, end=2)
    out = sampling.sample(DENOISER, params, rule, key=KEY, canvas=ragged("prompts"))
    forced = path_log_prob(DENOISER, params, out.tokens, out.reveal_step)
    np.testing.assert_allclose(out.log_prob, forced, atol=1e-4)


def test_samples_of_a_canvas_follow_each_other_and_differ(params):
    canvas = ragged("prompts")[[0, 4, 8]]
    out = run(params, rules.surest(PLANS[:3]), canvas, samples=4)
    assert out.tokens.shape == (ROWS, LENGTH)
    given = np.repeat(canvas, 4, axis=0)
    assert np.all(out.tokens[given != MASK] == given[given != MASK])
    assert len({tuple(row) for row in out.tokens.tolist()}) == ROWS
    same = run(params, rules.surest([plan for plan in PLANS[:3] for _ in range(4)]), given)
    assert np.all(out.tokens == same.tokens)


# ------------------------------------------------------------------------------- a user's own measure, choice, memory


def three_tokens(params, tokens):
    """Position j shows token j with probability ``params[j]``, one of two others else."""
    log_p = jnp.log(jnp.where(jnp.eye(3, dtype=bool), params[:, None], (1 - params[:, None]) / 2))
    return jnp.broadcast_to(log_p[None], (*tokens.shape, 3))


THREE = models.from_function(three_tokens, 3)
CHANCES = jnp.asarray([0.9, 0.6, 0.4])
MANY = 30_000


def chance_of_own(reading):
    """A user's measure: the largest probability itself."""
    return jnp.exp(readings.max_probability(reading))


def so_many(count, view):
    """A user's choice: so many of the best, and nothing at 0."""
    return Choice(rules.take_surest(view.score, view.open, jnp.full(len(view.tokens), 1, jnp.int32) * count))


def remember_tokens(view, choice):
    return jnp.where(choice.reveal, view.tokens, view.memory)


def own_rule(count, temperature):
    return Rule(Partial(so_many, jnp.int32(count)), score=chance_of_own, order_temperature=temperature)


def own_run(count, temperature=0.0):
    return sampling.sample(THREE, CHANCES, own_rule(count, temperature), MANY, key=KEY, length=3)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
@pytest.mark.thorough
def test_an_order_temperature_draws_positions_without_replacement(temperature):
    """30,000 rows of three positions, one per step: the six orders, chi-square below its mean + 4 s.d.

    The chance of an order a, b, c is w_a / (w_a + w_b + w_c) times w_b / (w_b + w_c) with w = exp(score / temperature).
    """
    steps = np.asarray(own_run(1, temperature).reveal_step)
    weight = np.exp(np.asarray(CHANCES, np.float64) / temperature)
    weight[2] = np.exp(0.4 / temperature)
    orders = list(itertools.permutations(range(3)))
    law = np.array([weight[a] / weight.sum() * weight[b] / (weight[b] + weight[c]) for a, b, c in orders])
    counts = np.array([(steps == np.argsort(order)).all(axis=1).sum() for order in orders])
    assert counts.sum() == MANY
    assert chi_square(counts, law) < 4


def test_a_user_s_measure_and_choice():
    """The best first, two at a time, then one; without noise always in the same order."""
    out = own_run(2)
    assert np.all(np.asarray(out.reveal_step) == [0, 0, 1])
    assert np.all(np.asarray(out.nfe) == 2)
    shares = np.mean(np.asarray(out.tokens) == np.arange(3), axis=0)
    p = np.asarray(CHANCES)
    assert np.all(np.abs(shares - p) < 4 * np.sqrt(p * (1 - p) / MANY))
    p = np.where(np.asarray(out.tokens) == np.arange(3), p, (1 - p) / 2)
    np.testing.assert_allclose(out.log_prob, np.log(p).sum(axis=1), atol=1e-5)


def test_a_rule_that_never_reveals_ends_and_says_so():
    out = own_run(0)
    assert np.all(np.asarray(out.remaining) == 3)
    assert np.all(np.asarray(out.tokens) == 3)
    assert np.all(np.asarray(out.reveal_step) == GIVEN)
    assert int(out.batch_nfe) <= 3 + 1


def nothing_left(view):
    return Choice(view.open)


def peek(view):
    """A choice that looks at the draws and ignores them."""
    return Choice(view.open & (view.proposal >= 0))


def remember_proposals(view, choice):
    del choice
    return view.proposal


def no_proposals(free):
    return jnp.zeros(free.shape, jnp.int32)


@pytest.mark.parametrize(
    ("rule", "defined"),
    [
        (Rule(nothing_left), True),
        (Rule(peek), False),
        (Rule(nothing_left, begin=no_proposals, remember=remember_proposals), False),
    ],
)
def test_a_rule_that_looks_at_proposals_has_no_log_prob(rule, defined):
    """Even where it does so only by its memory. (Settled while tracing: nothing needs to run.)"""
    blank = jnp.full((2, 3), 3, jnp.int32)
    undefined = jax.eval_shape(lambda key: unmarked(THREE, CHANCES, blank, rule, key=key), KEY)[1]
    assert (undefined is None) == defined


LOOKING = {
    "llada": lambda: presets.llada(3, 3),
    "remdm": lambda: presets.remdm(4, 0.5),
    "self-planned": lambda: rules.self_planned(plans.uniform(3, 2)),
    "self-corrected": lambda: rules.self_corrected(plans.uniform(3, 2)),
}


@pytest.mark.parametrize(
    "name", ["llada", *(pytest.param(name, marks=pytest.mark.thorough) for name in LOOKING if name != "llada")]
)
@pytest.mark.thorough
def test_a_row_with_nothing_to_draw_has_probability_one_whatever_the_rule(name):
    """Its log-probability is 0, as under plans; that of a row with one mask is undefined under these rules."""
    canvas = np.array([[0, 1, 2], [0, 3, 2]])
    out = sampling.sample(THREE, CHANCES, LOOKING[name](), key=KEY, canvas=canvas)
    assert np.isnan(out.log_prob).tolist() == [False, True]
    assert float(out.log_prob[0]) == 0
    assert int(out.nfe[0]) == 0
    assert np.asarray(out.tokens)[0].tolist() == [0, 1, 2]


def reads_score(view):
    return Choice(view.open & (view.score > 0))


def reads_measures(view):
    return Choice(view.open & (view.measures[0] > 0))


@pytest.mark.core
@pytest.mark.parametrize("choose", [reads_score, reads_measures, peek])
def test_a_rule_that_chooses_first_has_no_scores(choose):
    rule = Rule(choose, reads="chosen", measures=(readings.margin,))
    with pytest.raises(InputError, match="a rule that reads 'chosen' positions chooses before anything is read"):
        sampling.sample(THREE, CHANCES, rule, 2, key=KEY, length=3)


@pytest.mark.core
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"block": 0}, "block must be a whole number from 1 to 2147483647; got 0"),
        ({"end": -2}, "end must be a whole number from -1 to 2147483647; got -2"),
        ({"order_temperature": -1.0}, "order_temperature must be 0 or more, and at most"),
    ],
)
def test_numbers_of_a_rule_that_cannot_be_are_refused(change, says):
    rule = rules.surest(plans.uniform(3, 1)).replace(**change)
    with pytest.raises(InputError, match=says):
        sampling.sample(THREE, CHANCES, rule, 2, key=KEY, length=3)


@pytest.mark.thorough
def test_samples_repeat_what_each_row_has_of_its_own():
    """Plans in rules and in blind orders, and permutations; a user's arrays of two axes are nobody's rows."""
    two = [plans.uniform(3, 1), plans.uniform(3, 3)]
    out = sampling.sample(THREE, CHANCES, rules.surest(two), key=KEY, length=3, samples=2)
    assert out.nfe.tolist() == [1, 1, 3, 3]
    out = sampling.sample(THREE, CHANCES, sampling.Blind(two), key=KEY, samples=2)
    assert out.nfe.tolist() == [1, 1, 3, 3]
    order = sampling.Blind(plans.uniform(3, 3), order=np.array([[0, 1, 2], [2, 1, 0]]))
    out = sampling.sample(THREE, CHANCES, order, key=KEY, samples=2)
    assert out.reveal_step.tolist() == [[0, 1, 2]] * 2 + [[2, 1, 0]] * 2
    with pytest.raises(InputError, match="plan must be for as many rows as order"):
        sampling.sample(THREE, CHANCES, sampling.Blind([*two, two[0]], order.order), key=KEY)

    def by_policy(weights, view):
        return Choice(view.open & (jnp.sum(weights) > 0) & (view.clock[:, None] >= 0))

    out = sampling.sample(THREE, CHANCES, Rule(Partial(by_policy, jnp.ones((5, 7)))), 2, key=KEY, length=3)
    assert out.remaining.tolist() == [0, 0]


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "length must be given, or else a canvas: grids, blocks and rules do not tell it"),
        ({"length": 4, "canvas": np.full(3, 3)}, "length must be that of the canvas, 3; got 4"),
        ({"length": 3, "rows": 3}, "rows must be the same in rows, plan and canvas; got 3"),
        ({"length": 3, "temperature": -1.0}, "temperature must be 0 or more, and finite"),
        ({"length": 3, "samples": 0}, "samples must be a whole number from 1 to 2147483647; got 0"),
        ({"canvas": np.full((2, 3), 4)}, "canvas must be token ids from 0 to 2, or mask_id 3; got 4 at (0, 0)"),
    ],
)
def test_bad_requests_get_one_sentence(arguments, says):
    rule = rules.surest([plans.uniform(3, 1), plans.uniform(3, 2)])
    with pytest.raises(InputError) as caught:
        sampling.sample(THREE, CHANCES, rule, arguments.pop("rows", None), key=KEY, **arguments)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.thorough
def test_numbers_of_remasking_do_not_compile_anew():
    """Grid, strength (but 0, which masks nothing again), cap or rescale: one executable of the coins."""
    traces = []

    def counting(params, tokens):
        traces.append(tokens.shape)
        return jnp.broadcast_to(params, (*tokens.shape, 3))

    denoiser = models.from_function(counting, 3)
    for i, strategy in enumerate(("cap", "rescale", "cap")):
        rule = rules.remasked(grids.uniform(3 + i), (1 + i) / 3, strategy).replace(end=i, block=2 + i)
        sampling.sample(denoiser, jnp.zeros(3), rule, 4, key=jax.random.key(i), length=6, temperature=i / 2)
        if i == 0:
            first = len(traces)
    assert len(traces) == first


@pytest.mark.thorough
def test_passes_of_a_denoiser_that_costs_two(params):
    class Double(type(DENOISER)):
        pass

    costly = Double(DENOISER.function, False, DENOISER.vocab_size, DENOISER.mask_id, passes=2)
    one = sampling.sample(DENOISER, params, rules.surest(Plan(np.array([6, 10]), "t")), 3, key=KEY, length=LENGTH)
    two = sampling.sample(costly, params, rules.surest(Plan(np.array([6, 10]), "t")), 3, key=KEY, length=LENGTH)
    assert np.asarray(one.nfe).tolist() == [2] * 3
    assert np.asarray(two.nfe).tolist() == [4] * 3
    assert int(two.batch_nfe) == 4
    assert np.all(np.asarray(one.tokens) == np.asarray(two.tokens))

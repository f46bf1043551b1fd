"""Pairs, blocks and Binsaw: their laws against loops, exact integrals and counts of what is drawn."""

import itertools
import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from restored_tasks import require_made_again

from mdm_jax import oracles
from mdm_jax.evaluation import exact
from mdm_jax.support.errors import InputError
from mdm_jax.tasks import binsaw, from_spec, pairs, restore, two_blocks
from mdm_jax.tasks.toys import saws

pytestmark = pytest.mark.core


def by_loops(p, symbols, blocks):
    """The law of each row, in the order of ``itertools.product``, written as the docstrings say it."""

    def second(first, token):
        return p * (token == first) + (1 - p) / symbols

    law = []
    for row in itertools.product(range(symbols), repeat=4 if blocks else 2):
        mass = second(row[0], row[1]) / symbols
        if blocks:
            mass *= (row[2] == (row[1] + 1) % symbols) * second(row[2], row[3])
        law.append(mass)
    return np.array(law)


def information(law, symbols, length, first, second):
    """Mutual information as a sum over rows of ``p log p / (p_first p_second)``."""
    rows = list(itertools.product(range(symbols), repeat=length))

    def marginal(places):
        mass = {}
        for row, each in zip(rows, law):
            part = tuple(row[place] for place in places)
            mass[part] = mass.get(part, 0.0) + each
        return mass

    one, other, both = marginal(first), marginal(second), marginal([*first, *second])
    cut = len(first)
    return sum(mass * math.log(mass / (one[part[:cut]] * other[part[cut:]])) for part, mass in both.items() if mass > 0)


CASES = [(0.0, 4, False), (0.5, 4, False), (1.0, 3, False), (0.25, 4, True), (1.0, 4, True), (0.7, 2, True)]


def made(p, symbols, blocks):
    return (two_blocks if blocks else pairs)(p, symbols)


@pytest.mark.parametrize("case", CASES)
def test_laws_are_those_of_loops(case):
    symbols = case[1]
    task, law = made(*case), by_loops(*case)
    assert task.law.dtype == np.float64
    np.testing.assert_allclose(task.law, law, rtol=1e-14, atol=1e-17)
    states = exact.all_states(task.length, symbols)
    rows = states[(states < symbols).all(axis=1)]  # the order of the house
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(task.log_prob(rows), np.log(law), rtol=1e-14)
    np.testing.assert_array_equal(task.log_prob(jnp.asarray(rows)), task.log_prob(rows))
    assert task.entropy == pytest.approx(-sum(mass * math.log(mass) for mass in law if mass > 0), rel=1e-13)


def test_the_information_of_a_pair_is_that_of_the_notes():
    told = [pairs(p).mutual_information([0], [1]) for p in (0, 0.25, 0.5, 0.75, 1)]
    assert told == pytest.approx([0, 0.0830, 0.3128, 0.6977, 1.3863], abs=5e-5)
    assert told == pytest.approx([pairs(p).total_correlation for p in (0, 0.25, 0.5, 0.75, 1)], abs=1e-14)


@pytest.mark.parametrize(("first", "second"), [([0], [1]), ([1], [2]), ([0, 1], [2, 3]), ([3], [0]), ([2], [1, 3])])
def test_information_between_positions_is_that_of_sums_over_rows(first, second):
    for p in (0.0, 0.6, 1.0):
        want = information(by_loops(p, 3, True), 3, 4, first, second)
        assert two_blocks(p, 3).mutual_information(first, second) == pytest.approx(want, abs=1e-13)


def test_blocks_tell_each_other_as_much_at_every_strength():
    for p in (0, 0.3, 1):
        assert two_blocks(p, 5).mutual_information([0, 1], [2, 3]) == pytest.approx(math.log(5), rel=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_independent_tokens_lose_the_total_correlation(case):
    task, law = made(*case), by_loops(*case)
    joint = law.reshape((task.vocab_size,) * task.length)
    product = np.ones(())
    for place in range(task.length):
        others = tuple(each for each in range(task.length) if each != place)
        product = np.multiply.outer(product, joint.sum(axis=others))
    positive = joint > 0
    divergence = (joint[positive] * np.log(joint[positive] / product[positive])).sum()
    assert task.total_correlation == pytest.approx(divergence, abs=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_rows_are_drawn_from_the_law(case):
    """Chi-squared of 65,536 rows, less than 4 standard errors above its mean; impossible rows never occur."""
    task = made(*case)
    places = task.train @ task.vocab_size ** np.arange(task.length - 1, -1, -1)
    counts, want = np.bincount(places, minlength=len(task.law)), task.law * len(task.train)
    assert counts[want == 0].sum() == 0
    here = want > 0
    freedom = here.sum() - 1
    statistic = ((counts[here] - want[here]) ** 2 / want[here]).sum()
    assert (statistic - freedom) / math.sqrt(2 * freedom) < 4


@pytest.mark.thorough
def test_a_perfect_model_loses_the_information_in_one_step_and_less_in_more():
    """Exact laws of ancestral sampling by the table's own conditionals."""

    def lost(p, steps):
        task = pairs(p)
        world = oracles.table(task.law.reshape(4, 4))
        logits = exact.conditionals(world.denoiser, world.params, length=2)
        law = exact.ancestral_law(logits, np.linspace(0, 1, steps + 1))
        return float(exact.kl_divergence(task.law, law))

    for p in (0.25, 0.5, 0.75, 1):
        assert lost(p, 1) == pytest.approx(pairs(p).total_correlation, abs=1e-4)
    assert [lost(1, steps) for steps in (1, 2, 4, 8)] == pytest.approx([1.386, 0.470, 0.208, 0.098], abs=6e-4)


def test_the_score_is_the_law_in_bits_but_for_smoothing():
    for task in (pairs(0.5), two_blocks(0.25)):
        exactly = -task.log_prob(task.test) / (task.length * math.log(2))
        assert np.abs(task.score(task.test) - exactly).max() < 0.05
        assert abs((task.score(task.test) - exactly).mean()) < 0.002
    assert np.isfinite(pairs(1).score(np.array([[0, 1]]))).all()
    assert pairs(1).log_prob(np.array([[0, 1]])).tolist() == [-math.inf]


@pytest.mark.parametrize("spec", ["pairs:0.5", "pairs:1", "pairs:0.1,8", "blocks:0.3", "blocks:1e-05,2", "binsaw"])
def test_a_spec_makes_its_task_again(spec):
    task = from_spec(spec)
    assert task.spec == spec
    stored = require_made_again(task)
    with pytest.raises(InputError, match="its data has changed since"):
        restore(stored | {"digest": "0" * 64})


def test_the_draws_are_the_same_for_ever():
    assert pairs(0.5).test[:6].tolist() == [
        [0, 0],
        [0, 0],
        [2, 2],
        [0, 0],
        [3, 2],
        [3, 0],
    ]  # frozen: runs and reports rely on it
    assert pairs(0.5).digest[:16] == "50d24bc847c002e7"
    assert two_blocks(0.5).digest[:16] == "960bfcfa21516973"
    assert binsaw().digest[:16] == "6bfdc3c8bcd002bb"
    assert pairs(0.25).digest != pairs(0.75).digest


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("pairs:2", "p must be a probability from 0 to 1; got 2.0."),
        ("pairs:nan", "p must be a probability from 0 to 1; got nan."),
        ("pairs:", "spec must be pairs:P, with P from 0 to 1, or pairs:P,SYMBOLS; got 'pairs:'."),
        ("pairs", "spec must be pairs:P, with P from 0 to 1, or pairs:P,SYMBOLS; got 'pairs'."),
        ("blocks:a", "spec must be blocks:P, with P from 0 to 1, or blocks:P,SYMBOLS; got 'blocks:a'."),
        ("pairs:.5,4,3", "spec must be pairs:P, with P from 0 to 1, or pairs:P,SYMBOLS; got 'pairs:.5,4,3'."),
        ("blocks:.5,1", "symbols must be a whole number from 2 to 16; got 1."),
        ("binsaw:64", 'spec must be "text"'),
    ],
)
def test_bad_specs_are_refused_in_one_sentence(spec, says):
    with pytest.raises(InputError) as caught:
        from_spec(spec)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_other_bad_input_is_refused_in_one_sentence():
    task = pairs(0.5)
    for call, says in (
        (lambda: task.log_prob(np.array([[0, 4]])), "tokens must be ids from 0 to 3, without masks"),
        (lambda: task.log_prob(np.array([[0, 1, 2]])), "tokens must be rows of length 2"),
        (lambda: task.mutual_information([], [1]), "first must be a list of positions, at least one"),
        (lambda: task.mutual_information([0], [2]), "second must be a whole number from 0 to 1"),
        (lambda: task.mutual_information([0], [0, 1]), "second must be positions other than"),
        (lambda: from_spec("pairs:0.5", length=3), "length must be 2"),
        (lambda: binsaw().log_prob(np.zeros((1, 63), int)), "tokens must be rows of length 64"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert says in str(caught.value)


def integral(row):
    """The likelihood of 64 bits as a fraction: a polynomial in the shift between corners, integrated term by term.

    At the shift ``(m + u) / 64`` bit ``i`` lies at ``(j + u) / 32`` of a period, ``j = (i + m) mod 32``, where the wave
    is ``(j + u) / 16`` if it rises and 2 less that if it falls. Times 320, its probability of a 1 is a polynomial in
    ``u`` with whole coefficients.
    """
    total = Fraction(0)
    for m in range(32):
        product = [1]
        for i, bit in enumerate(row):
            j = (i + m) % 32
            constant, slope = (16 + 18 * j, 18) if j < 16 else (16 + 18 * (32 - j), -18)
            if not bit:
                constant, slope = 320 - constant, -slope
            product = [constant * low + slope * high for low, high in zip([*product, 0], [0, *product])]
        total += sum(Fraction(each, power + 1) for power, each in enumerate(product))
    return total / (32 * 320**64)


def test_the_likelihood_of_a_saw_is_an_exact_integral():
    task = binsaw()
    rows = [*task.test[:4].tolist(), [0] * 64, [1, 0] * 32]
    want = [math.log(value.numerator) - math.log(value.denominator) for value in map(integral, rows)]
    np.testing.assert_allclose(task.log_prob(np.array(rows)), want, rtol=1e-12)


def test_twice_the_points_change_nothing_and_few_would():
    rows = binsaw().test[:500]
    exactly = saws.log_likelihood(rows, saws.POINTS)
    np.testing.assert_allclose(exactly, saws.log_likelihood(rows, 2 * saws.POINTS), rtol=0, atol=1e-12)
    assert np.abs(exactly - saws.log_likelihood(rows, 2)).max() > 1e-4  # the rule is what makes it exact


def test_the_saw_is_that_of_the_oracle():
    """Whose shifts are 512 points: as close as its docstring says."""
    rows = binsaw().test[:256]
    assert np.abs(binsaw().log_prob(rows) - np.asarray(oracles.binsaw().log_prob(rows))).max() < 6e-4


def test_many_rows_are_scored_as_few_are():
    task = binsaw()
    rows = task.train[:5000]
    np.testing.assert_array_equal(task.score(rows)[4090:4100], task.score(rows[4090:4100]))
    np.testing.assert_allclose(task.score(rows[:9]), -task.log_prob(rows[:9]) / 64 / math.log(2), rtol=1e-15)
    assert task.score(rows[:0]).shape == (0,)


def test_bits_of_a_saw_are_drawn_from_its_law():
    """Means and products at four distances of 65,536 rows, averaged over positions: within 4 standard errors."""
    bits = binsaw().train.astype(float)
    shifts = (np.arange(4096)[:, None] + 0.5) / 4096
    chance = saws.chance_of_one(shifts)
    for lag in (0, 1, 8, 16, 32):
        each = bits if lag == 0 else bits * np.roll(bits, -lag, axis=1)
        want = chance if lag == 0 else chance * np.roll(chance, -lag, axis=1)
        means = each.mean(axis=1)
        assert abs(means.mean() - want.mean()) < 4 * means.std() / math.sqrt(len(means))

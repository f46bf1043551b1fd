import itertools
from fractions import Fraction

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mdm_jax.theory import plans, profiles

tuned = settings(max_examples=80, deadline=None)
curve = hnp.arrays(np.float64, st.integers(1, 24), elements=st.floats(0, 10))


@tuned
@given(curve, st.data())
def test_no_plan_beats_the_optimal_one(g, data):
    length = len(g)
    steps = data.draw(st.integers(1, length))
    cuts = data.draw(st.sets(st.integers(1, length - 1), max_size=steps - 1)) if length > 1 else set()
    rival = np.diff([0, *sorted(cuts), length])
    profile = profiles.from_values(g)
    best = plans.optimal_for_every_budget(profile, steps)
    assert best.nelbo[-1] <= profile.expected_nelbo(rival) + 1e-9
    assert abs(profile.expected_nelbo(best.sizes(steps)) - best.nelbo[-1]) < 1e-9
    assert (np.diff(best.nelbo) <= 1e-9).all()


@tuned
@given(curve)
def test_each_step_is_worth_less_than_the_one_before(g):
    best = plans.optimal_for_every_budget(profiles.from_values(np.sort(g)[::-1]))
    assert (np.diff(best.nelbo, 2) >= -1e-9).all()


@st.composite
def revealed(draw, most=20):
    """Knots, as exact fractions with a small common denominator: ties are frequent."""
    parts = draw(st.lists(st.integers(0, 12), min_size=1, max_size=most))
    assume(sum(parts))
    return [Fraction(sum(parts[:k]), sum(parts)) for k in range(len(parts) + 1)]


def largest_remainder(shares):
    sizes = [int(share) for share in shares]
    order = sorted(range(len(shares)), key=lambda k: (sizes[k] - shares[k], k))
    for k in order[: int(sum(shares)) - sum(sizes)]:
        sizes[k] += 1
    return sizes


@tuned
@given(revealed(), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_rounding_is_that_of_exact_fractions(knots, length, seed):
    shares = [length * (b - a) for a, b in itertools.pairwise(knots)]
    noise = np.random.default_rng(seed).uniform(-1, 1, len(knots)) * 6e-8  # as float32 brings along
    noise[[0, -1]] = 0
    sizes = plans.round_sizes(np.maximum.accumulate(np.array(knots, dtype=float) + noise), length)
    assert sizes.sum() == length
    assert all(abs(n - share) < 1 + 1e-4 for n, share in zip(sizes.tolist(), shares))
    assert sizes.tolist() == largest_remainder(shares)


@tuned
@given(
    hnp.arrays(
        np.float64, st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 30)), elements=st.floats(0, 1)
    ),
    st.integers(1, 1000),
)
def test_rounding_a_stack_is_rounding_each(steps, length):
    assume((steps.sum(-1) > 1e-3).all())
    knots = np.concatenate([np.zeros((*steps.shape[:-1], 1)), np.cumsum(steps, -1)], -1)
    knots /= knots[..., -1:]
    sizes = plans.round_sizes(knots, length)
    assert sizes.shape == steps.shape
    assert (sizes >= 0).all()
    assert (sizes.sum(-1) == length).all()
    assert (np.abs(sizes - length * np.diff(knots, axis=-1)) < 1 + 1e-4).all()
    for at in np.ndindex(*steps.shape[:-1]):
        assert sizes[at].tolist() == plans.round_sizes(knots[at], length).tolist()

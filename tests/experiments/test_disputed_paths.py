"""What two measures dispute along a path, by laws whose sureness is known, and the order in which one adds."""

import jax
import numpy as np
import pytest

from experiments.planning_orders import least_digit_first
from experiments.tools.disputed import disputed
from mdm_jax import models, tasks
from mdm_jax.sampling import rules, sample
from mdm_jax.sampling.readings import margin, max_probability
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans

LENGTH, STEPS = 6, 3


@pytest.fixture(scope="module")
def model():
    """A model of random weights: its predictions differ from position to position."""
    denoiser = models.transformer(5, length=LENGTH, width=16, depth=1, heads=2)
    params = denoiser.init(jax.random.key(0), length=LENGTH)
    return denoiser, jax.tree.map(lambda leaf: leaf + jax.random.normal(jax.random.key(1), leaf.shape), params)


def path(model, rule):
    return sample(*model, rule, rows=32, length=LENGTH, key=jax.random.key(0), temperature=0.0)


def test_a_measure_does_not_dispute_its_own_path(model):
    for measure in (max_probability, margin):
        found = disputed(*model, path(model, rules.surest(plans.uniform(LENGTH, STEPS), measure)), measure)
        assert found == {"passes": 0.0, "tokens": 0.0, "sure": 1.0, "instead": 1.0}


def test_against_the_surest_first_the_least_sure_first_is_disputed_until_nothing_is_left_to_choose(model):
    """Two of six, of four and of two positions: in the first two passes both are other ones, in the last none."""

    def least(reading):
        return -max_probability(reading)

    found = disputed(*model, path(model, rules.surest(plans.uniform(LENGTH, STEPS))), least)
    assert found["passes"] == pytest.approx(2 / 3)
    assert found["tokens"] == pytest.approx(2 / 3)
    assert found["instead"] < found["sure"] < 1


def test_what_is_given_is_no_pass_and_rows_given_whole_are_refused(model):
    """Given positions keep their tokens and are revealed by no order; a path does not dispute itself."""
    denoiser, params = model
    canvas = np.tile([0, 1, 5, 5, 5, 5], (8, 1)).astype(np.int32)
    rule = rules.surest(plans.uniform(4, 2))
    taken = sample(denoiser, params, rule, key=jax.random.key(0), canvas=canvas, temperature=0.0)
    found = disputed(denoiser, params, taken, max_probability)
    assert found == {"passes": 0.0, "tokens": 0.0, "sure": 1.0, "instead": 1.0}

    def least(reading):
        return -max_probability(reading)

    assert disputed(denoiser, params, taken, least)["passes"] == pytest.approx(1 / 2)  # the first of two passes
    with pytest.raises(InputError, match="taken must have positions that were filled in"):
        disputed(denoiser, params, taken._replace(reveal_step=np.full((8, LENGTH), -1)), least)


def test_each_digit_stands_behind_what_it_takes_to_know_it():
    """A digit of the sum needs the carry into it, and a carry that of the column before."""
    task = tasks.arithmetic(digits=4)
    place = {at: turn for turn, at in enumerate(least_digit_first(4))}
    assert sorted(place) == list(range(task.length))
    free = np.flatnonzero(~tasks.given_of(task, "test")[0])
    assert sorted(place[at] for at in free) == list(range(9))
    carries, total = free[:4], free[4:]
    assert all(place[total[column]] > place[carries[column]] for column in range(4))
    assert all(place[carries[column]] > place[carries[column + 1]] for column in range(3))

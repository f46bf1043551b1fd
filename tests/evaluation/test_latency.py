"""What sampling takes: a line through times that a clock of our own tells."""

import jax
import numpy as np
import pytest

from mdm_jax import evaluation, oracles
from mdm_jax.support.errors import InputError

WORLD = oracles.polya(8, 0.5)


class Clock:
    """Tells what is added to it, once for each number of steps in turn; by and by slower, as machines are."""

    def __init__(self, milliseconds):
        self.milliseconds, self.calls, self.now = milliseconds, 0, 0.0

    def __call__(self):
        self.calls += 1
        if self.calls % 2 == 0:  # the end of a sampling: the first round is not measured
            self.now += 1e-3 * self.milliseconds[(self.calls // 2 - 1) % len(self.milliseconds)]
        return self.now


def timed(clock, steps, **more):
    return evaluation.sampling_time(
        WORLD.denoiser, WORLD.params, 8, 2, key=jax.random.key(0), steps=steps, clock=clock, **more
    )


def test_a_line_is_found_and_nothing_is_left():
    cost = timed(Clock([3 * k + 5 for k in (1, 2, 8)]), (8, 1, 2))
    assert cost.milliseconds_per_step == pytest.approx(3, rel=1e-9)
    assert cost.milliseconds_besides == pytest.approx(5, rel=1e-9)
    assert cost.steps.tolist() == [1, 2, 8]
    np.testing.assert_allclose(cost.milliseconds, [8, 11, 29])
    assert cost.of(100) == pytest.approx(305)
    assert cost.residual < 1e-9
    assert max(cost.per_step_error, cost.besides_error) < 1e-9


def test_a_bent_curve_is_told_and_rounds_that_differ_are():
    assert timed(Clock([1.0, 2.0, 100.0]), (1, 2, 8)).residual > 0.3
    rng = np.random.default_rng(0)
    noisy = Clock(np.tile([4.0, 7.0, 25.0], 42) * rng.normal(1, 0.1, 126))  # 3 K + 1: a warm-up, 41 rounds
    cost = timed(noisy, (1, 2, 8), repeats=41)
    assert 0.01 < cost.per_step_error < 0.2
    assert abs(cost.milliseconds_per_step - 3) < 4 * cost.per_step_error
    assert abs(cost.milliseconds_besides - 1) < 4 * cost.besides_error


def test_what_cannot_be_timed():
    with pytest.raises(InputError, match=r"^steps must be at least two different numbers of steps; got \(4, 4\)\.$"):
        timed(Clock([1]), (4, 4))
    with pytest.raises(InputError, match=r"^steps must be .* got 9\.$"):
        timed(Clock([1]), (4, 9))
    with pytest.raises(InputError, match=r"^repeats must be .* got 1\.$"):
        timed(Clock([1]), (4, 8), repeats=1)

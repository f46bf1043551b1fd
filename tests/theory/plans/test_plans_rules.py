"""Plans by rule: other programs' roundings, tables that repeat a plan, TC and DTC, the square root."""

import numpy as np
import pytest
from known_profiles import polya, random_composition, random_falling

from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import bounds, curves
from mdm_jax.theory.schedules import Schedule
from mdm_jax.theory.schedules import text as schedule_text


@pytest.mark.core
@pytest.mark.parametrize(
    ("rounding", "schedule", "sizes"),
    [
        ("llada", "linear", [3, 3, 2, 2]),
        ("largest remainder", "linear", [3, 3, 2, 2]),
        ("dllm", "linear", [2, 3, 2, 3]),
        ("dllm", "maskgit", [1, 2, 3, 4]),
        ("llada", "maskgit", [1, 3, 3, 3]),  # shares .76, 2.17, 3.24, 3.83: 0, 2, 3, 3 and two left over
    ],
)
def test_roundings_by_name(rounding, schedule, sizes):
    plan = plans.from_schedule(schedule_text.parse(schedule), 10, 4, rounding=rounding)
    assert plan.sizes.tolist() == sizes
    assert plan.origin["rounding"] == rounding


def llada(tokens, steps):
    """``get_num_transfer_tokens``: base and one more for the first steps."""
    return [tokens // steps + (k < tokens % steps) for k in range(steps)]


def dllm(tokens, steps, masked):
    """The walk of dllm's ``get_num_transfer_tokens``, noise time from 1 down; Python rounds halves to even too."""
    sizes, left = [], tokens
    for i in range(steps, 0, -1):
        t, s = i / steps, (i - 1) / steps
        quota = round(left * (1 - masked(s) / masked(t)))
        left -= quota
        sizes.append(quota)
    return [n for n in sizes if n]


@pytest.mark.core
@pytest.mark.parametrize(("length", "steps"), [(10, 4), (128, 32), (100, 7), (33, 32), (5, 1), (256, 100)])
def test_roundings_against_the_programs(length, steps):
    linear = plans.from_schedule(schedules.linear(), length, steps, rounding="llada")
    assert linear.sizes.tolist() == llada(length, steps)
    # Exact fractions, so that Python's float noise does not decide the halves.
    half_free = plans.from_schedule(schedules.polynomial(2.0), length, steps, rounding="dllm")
    assert half_free.sizes.tolist() == dllm(length, steps, lambda t: 1 - (1 - t) ** 2)
    cosine = plans.from_schedule(schedules.maskgit(), length, steps, rounding="dllm")
    assert cosine.sizes.tolist() == dllm(length, steps, lambda t: np.cos(np.pi / 2 * (1 - t)))


@pytest.mark.core
@pytest.mark.parametrize("rounding", plans.ROUNDINGS)
def test_roundings_make_plans(rounding):
    for text in ("linear", "maskgit", "beta:0.1,2"):
        for length, steps in [(1, 1), (37, 7), (512, 300)]:
            plan = plans.from_schedule(schedule_text.parse(text), length, steps, rounding=rounding)
            assert plan.length == length
            assert plan.steps <= steps
    stack = np.array([[0, 0.25, 0.5, 0.75, 1.0], [0, 0.1, 0.1, 1.0, 1.0]])
    sizes = plans.ROUNDINGS[rounding](stack, 10)
    assert sizes.tolist() == [plans.ROUNDINGS[rounding](row, 10).tolist() for row in stack]
    with pytest.raises(InputError, match=r"^rounding must be one of dllm, largest remainder, llada; got 'up'\.$"):
        plans.from_schedule(schedules.linear(), 8, 4, rounding="up")


@pytest.mark.core
@pytest.mark.thorough
def test_a_plan_as_a_schedule_is_the_plan_again(tmp_path):
    generator = np.random.default_rng(0)
    cases = [[5], [1], [4096 - 3, 1, 1, 1], [1, 1, 1, 4096 - 3], [1, 2, 30, 4], [1] * 600]
    cases += [random_composition(generator, n, k).tolist() for n, k in [(20, 4), (1024, 600), (4096, 600)]]
    for sizes in cases:
        plan = Plan(np.array(sizes), "given")
        schedule = plans.to_schedule(plan)
        assert isinstance(schedule, Schedule)
        again = plans.from_schedule(schedule, plan.length, plan.steps)
        assert again.sizes.tolist() == sizes
        read = schedule_text.load(schedule_text.save(schedule, tmp_path / "schedule.json"))
        assert plans.from_schedule(read, plan.length, plan.steps).sizes.tolist() == sizes
    twice = plans.from_schedule(plans.to_schedule(Plan(np.array([4, 4, 24, 32]), "given")), 64, 8)
    assert np.cumsum(twice.sizes)[1::2].tolist() == [4, 8, 32, 64]


@pytest.mark.core
@pytest.mark.parametrize("make", [plans.total_correlation_plan, plans.dual_total_correlation_plan])
@pytest.mark.parametrize("length", [1, 2, 10, 100])
def test_tc_and_dtc_plans(make, length):
    profile = random_falling(2, length)
    correlation = {
        plans.total_correlation_plan: curves.total_correlation,
        plans.dual_total_correlation_plan: curves.dual_total_correlation,
    }[make](profile)
    for nats in (0.0, 0.01, 0.5, 3.0, 1e6):
        plan = make(profile, nats=nats)
        assert plan.length == length
        assert bounds.factorisation_error(profile, plan.sizes) <= nats + 1e-12
        assert plan.origin["rate"] * correlation <= nats + 1e-12
    assert make(profile, nats=0.0).steps == length
    assert make(profile, nats=1e6).steps == 1
    used = [make(profile, steps=steps).steps for steps in range(1, length + 1)]
    assert all(n <= steps for steps, n in zip(range(1, length + 1), used))
    assert used == sorted(used)
    assert used[0] == 1
    assert used[-1] == length
    assert len(set(used)) > length / 2  # a budget that no rate uses up is rare


@pytest.mark.core
def test_the_shapes_of_tc_and_dtc_plans():
    profile = polya(0.5, 128)
    growing = plans.dual_total_correlation_plan(profile, steps=8)
    assert (np.diff(growing.sizes[:-1]) >= 0).all()  # the last takes what is left
    shrinking = plans.total_correlation_plan(profile, steps=8)
    assert (np.diff(shrinking.sizes) <= 0).all()
    assert growing.name == "DTC"
    assert shrinking.origin["rule"] == "TC"
    assert growing.origin["steps_asked"] == 8
    assert growing.origin["profile_digest"] == profile.digest
    flat = profiles.from_values(np.ones(16))  # nothing to lose
    assert plans.total_correlation_plan(flat, nats=0.0).sizes.tolist() == [16]
    for wrong in ({}, {"nats": 1.0, "steps": 3}):
        with pytest.raises(InputError, match=r"^nats and steps must be one number, the other left out; got "):
            plans.total_correlation_plan(profile, **wrong)
    with pytest.raises(InputError, match=r"^steps must be a whole number from 1 to 128; got 0\.$"):
        plans.total_correlation_plan(profile, steps=0)
    with pytest.raises(InputError, match=r"^nats must be a number of at least 0; got -1\.0\.$"):
        plans.dual_total_correlation_plan(profile, nats=-1.0)


@pytest.mark.core
@pytest.mark.parametrize("length", [1, 2, 5, 64])
def test_the_square_root_rule_uses_every_step(length):
    steep = profiles.from_values((np.arange(length) < length / 2).astype(float))  # all knots at one place
    rising = profiles.from_values(np.random.default_rng(0).normal(5, 1, length))
    flat = profiles.from_values(np.ones(length))
    for profile in (steep, rising, flat, random_falling(4, length)):
        for steps in {1, 2, length // 2, length} - {0} if length > 1 else {1}:
            plan = plans.square_root(profile, steps)
            assert plan.steps == steps
            assert plan.length == length
            assert plan.origin["expected_nelbo_nats"] == profile.expected_nelbo(plan.sizes)
    assert plans.square_root(flat, 1).name == "square root"
    if length == 64:
        assert plans.square_root(flat, 5).sizes.tolist() == plans.uniform(64, 5).sizes.tolist()
        line = profiles.from_values(np.linspace(2, 1, 64))  # constant falls: equal sizes, up to rounding
        assert set(plans.square_root(line, 8).sizes.tolist()) <= {7, 8, 9}


@pytest.mark.core
def test_the_square_root_rule_sees_a_late_fall():
    # A rule that looks at the fall where it stands takes everything at once here.
    profile = profiles.from_values(1 - (np.arange(256) / 256) ** 6)
    rule, best = plans.square_root(profile, 16), plans.optimal(profile, 16)
    assert bounds.factorisation_error(profile, rule.sizes) < 1.02 * bounds.factorisation_error(profile, best.sizes)

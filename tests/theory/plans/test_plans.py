"""Plans: the dynamic programme against every composition, rounding against exact fractions."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
from known_profiles import compositions, polya

from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.schedules import text as schedule_text


def cost(g, sizes):
    return sum(n * g[sum(sizes[:k])] for k, n in enumerate(sizes))


@pytest.mark.core
@pytest.mark.parametrize("length", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("kind", ["falling", "any", "rising", "flat"])
def test_optimal_is_the_best_of_all_compositions(length, kind):
    g = np.random.default_rng(length).normal(5, 1, length)
    g = {"falling": np.sort(g)[::-1], "any": g, "rising": np.sort(g), "flat": np.ones(length)}[kind]
    best = plans.optimal_for_every_budget(profiles.from_values(g))
    assert best.nelbo.shape == (length,)
    every = list(compositions(length))
    assert len(every) == 2 ** (length - 1)
    for steps in range(1, length + 1):
        least = min(cost(g, sizes) for sizes in every if len(sizes) <= steps)
        assert best.nelbo[steps - 1] == pytest.approx(least, abs=1e-12)
        sizes = best.sizes(steps).tolist()
        assert len(sizes) <= steps
        assert sum(sizes) == length
        assert min(sizes) >= 1
        assert cost(g, sizes) == pytest.approx(least, abs=1e-12)
        assert plans.optimal(best.profile, steps).sizes.tolist() == best.plan(steps).sizes.tolist() == sizes


@pytest.mark.core
def test_the_best_sizes_on_the_urn():
    profile = polya(0.5, 128)
    plan = plans.optimal(profile, 8)
    assert plan.sizes.tolist() == [1, 2, 3, 6, 10, 18, 32, 56]
    assert plan.origin["expected_nelbo_nats"] - profile.nelbo() == pytest.approx(0.5135, abs=5e-5)
    assert plan.origin["expected_nelbo_nats"] == pytest.approx(profile.expected_nelbo(plan.sizes), rel=1e-13)
    assert plan.origin["profile_digest"] == profile.digest
    # .851 where MaskGIT's knots are rounded; rounding its shares, as from_schedule does, gives .841
    rounded = np.diff(np.rint(128 * (1 - np.cos(np.pi / 16 * np.arange(9)))).astype(int))
    assert profile.expected_nelbo(rounded) - profile.nelbo() == pytest.approx(0.851, abs=5e-4)
    cosine = plans.from_schedule(schedules.maskgit(), 128, 8)
    assert profile.expected_nelbo(cosine.sizes) - profile.nelbo() == pytest.approx(0.841, abs=5e-4)


@pytest.mark.core
def test_value_of_a_step_falls():
    profile = polya(0.5, 48)
    best = plans.optimal_for_every_budget(profile)
    assert (np.diff(best.nelbo) <= 0).all()
    assert (np.diff(best.nelbo, 2) >= -1e-12).all()  # convex, because h falls
    assert best.nelbo[0] == pytest.approx(48 * np.log(2))
    assert best.nelbo[-1] == pytest.approx(profile.nelbo())
    assert best.sizes(48).tolist() == [1] * 48


@pytest.mark.core
def test_no_step_is_wasted_where_the_curve_is_flat_or_rises():
    assert plans.optimal(profiles.from_values(np.array([1.0, 1.0, 1.0])), 3).length == 3
    # revealing a token first would only make the rest dearer
    assert plans.optimal(profiles.from_values(np.array([1.0, 2.0, 3.0])), 3).sizes.tolist() == [3]
    assert plans.optimal(profiles.from_values(np.array([1.0, 2.0, 0.5])), 3).sizes.tolist() == [2, 1]


@pytest.mark.core
def test_fewer_budgets_may_be_asked_for():
    profile = polya(0.5, 32)
    few, all_of_them = plans.optimal_for_every_budget(profile, 5), plans.optimal_for_every_budget(profile)
    assert few.nelbo.tolist() == all_of_them.nelbo[:5].tolist()
    assert few.plan(5).sizes.tolist() == all_of_them.plan(5).sizes.tolist()
    with pytest.raises(InputError, match=r"^steps must be a whole number from 1 to 5; got 6\.$"):
        few.plan(6)


@pytest.mark.core
def test_a_long_sequence_is_planned_in_no_time():
    eta = 0.5 + 1 / (1 + 40 * np.arange(1024) / 1024)
    profile = profiles.from_values(eta)
    excess = plans.optimal_for_every_budget(profile, 64).nelbo[-1] - profile.nelbo()
    assert excess == pytest.approx(2.336, abs=1e-3)  # plans/DERIVATIONS.md, "Known optima"
    uniform = profile.expected_nelbo(plans.uniform(1024, 64).sizes) - profile.nelbo()
    assert uniform == pytest.approx(8.12, abs=5e-3)


@pytest.mark.core
def test_uniform():
    assert plans.uniform(10, 4).sizes.tolist() == [3, 3, 2, 2]
    assert plans.uniform(12, 4).sizes.tolist() == [3, 3, 3, 3]
    assert plans.uniform(5, 5).sizes.tolist() == [1] * 5
    assert plans.uniform(5, 1).sizes.tolist() == [5]


@pytest.mark.core
def test_a_linear_schedule_is_uniform_at_every_budget():
    # Ties among equal fractions, met through float32 times, go to the earlier steps nonetheless.
    for length in (7, 100, 128, 161, 256):
        for steps in (k for k in (1, 2, 3, 5, 7, 30, 64, 71, 97, 100, 116, 128, 141, 160, 241) if k <= length):
            linear = plans.from_schedule(schedules.linear(), length, steps).sizes
            assert linear.tolist() == plans.uniform(length, steps).sizes.tolist(), (length, steps)


@pytest.mark.core
def test_beta_schedules_meet_linear_and_sine_squared():
    for length, steps in [(128, 7), (100, 71), (256, 241), (1024, 48)]:
        linear = plans.from_schedule(schedules.beta(0.5, 0.5), length, steps)
        assert linear.sizes.tolist() == plans.uniform(length, steps).sizes.tolist()
        squared = plans.from_schedule(schedules.beta(1.0, 1.0), length, steps)
        assert squared.sizes.tolist() == plans.from_schedule(schedules.sine_squared(), length, steps).sizes.tolist()


def largest_remainder(shares):
    """In exact fractions."""
    sizes = [int(share) for share in shares]
    remainders = [share - n for share, n in zip(shares, sizes)]
    order = sorted(range(len(shares)), key=lambda k: (-remainders[k], k))
    for k in order[: int(sum(shares)) - sum(sizes)]:
        sizes[k] += 1
    return sizes


@pytest.mark.core
@pytest.mark.parametrize(
    ("name", "alpha"),
    [
        ("polynomial:2", lambda t: t * t),
        ("polynomial:3", lambda t: t**3),
        ("linear", lambda t: t),
    ],
)
def test_from_schedule_rounds_by_largest_remainder(name, alpha):
    for length, steps in [(10, 4), (128, 8), (100, 30), (256, 100), (97, 97)]:
        knots = [alpha(Fraction(k, steps)) for k in range(steps + 1)]
        expected = largest_remainder([length * (b - a) for a, b in itertools.pairwise(knots)])
        plan = plans.from_schedule(schedule_text.parse(name), length, steps)
        assert plan.sizes.tolist() == [n for n in expected if n], (name, length, steps)
        assert plan.length == length


@pytest.mark.core
def test_idle_steps_are_dropped():
    plan = plans.from_schedule(schedules.beta(0.9, 0.3), 256, 256)
    assert plan.steps < 256
    assert plan.sizes.min() >= 1
    assert plan.length == 256
    assert plan.origin["steps_asked"] == 256
    # share by share, alpha(1/3) is 1/27 of 9 tokens: 1/3, 7/3, 19/3
    assert plans.from_schedule(schedules.polynomial(3.0), 9, 3).sizes.tolist() == [1, 2, 6]
    assert plans.from_schedule(schedules.polynomial(8.0), 4, 3).sizes.tolist() == [4]


@pytest.mark.core
def test_names_and_origins():
    plan = plans.from_schedule(schedules.beta(0.9, 0.3), 128, 8)
    assert plan.name == plan.origin["schedule"] == "beta:0.9,0.3"
    assert plans.from_schedule(schedules.linear(), 128, 8, name="mine").name == "mine"
    assert plan.knots.tolist() == np.cumsum([0, *plan.sizes]).tolist()


@pytest.mark.core
def test_rounding():
    assert plans.round_sizes(np.array([0, 0.25, 0.5, 0.75, 1.0]), 10).tolist() == [3, 3, 2, 2]
    assert plans.round_sizes(np.array([0, 0.1, 0.1, 1.0]), 10).tolist() == [1, 0, 9]
    # 4/3 each; the last two would be ahead of the first by less than noise
    noisy = np.array([0, 1 / 3 - 1e-7, 2 / 3 - 1e-7, 1.0])
    assert plans.round_sizes(noisy, 4).tolist() == [2, 1, 1]
    # near a boundary of any fixed grid of remainders, ties are still ties
    for third in (0.00625, 0.03125, 0.00005, 0.33335):
        shares = np.array([1, 1, 1, 1, 1.0]) + np.array([-1, 1, -1, 1, 0]) * 1e-7 + third
        shares = np.append(shares, 12 - shares.sum())
        knots = np.append(0, np.cumsum(shares)) / 12
        sizes = plans.round_sizes(knots, 12)
        expected = largest_remainder([Fraction(1) + Fraction(str(third))] * 5 + [12 - 5 * (1 + Fraction(str(third)))])
        assert sizes.tolist() == expected


@pytest.mark.core
def test_file_round_trip(tmp_path):
    plan = plans.square_root(polya(0.5, 32), 5)
    again = plans.load(plan.save(tmp_path / "plan.json"))
    assert again.sizes.tolist() == plan.sizes.tolist()
    assert again.name == plan.name
    assert again.origin == plan.origin
    assert again.to_json() == plan.to_json()
    bare = tmp_path / "by hand.json"
    bare.write_text(json.dumps({"format": plans.FORMAT, "sizes": [1, 2]}))
    assert plans.load(bare).name == "by hand"


@pytest.mark.core
@pytest.mark.parametrize(
    "content",
    [
        [],
        3,
        {},
        {"format": "mdm_jax profile 1", "sizes": [1]},
        {"format": plans.FORMAT},
        *(
            {"format": plans.FORMAT, "sizes": sizes}
            for sizes in (
                None,
                [],
                3,
                "12",
                [0, 1],
                [1, -1],
                [1.5],
                [1.0, 2.0],
                [[1, 2]],
                [1, [2]],
                [True, True],
                ["a"],
                {"0": 1},
                [10**30],
            )
        ),
        *({"format": plans.FORMAT, "sizes": [1], "origin": origin} for origin in (3, "text", [1], None)),
    ],
    ids=str,
)
def test_malformed_file(content, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        plans.load(path)
    assert str(caught.value).startswith(f"{path} is not a plan: ")
    assert str(caught.value).endswith(".")


@pytest.mark.core
@pytest.mark.parametrize("sizes", [[], [0, 2], [2, -1]])
def test_sizes_of_a_plan(sizes):
    with pytest.raises(InputError, match=r"^sizes must be a non-empty list of whole numbers of at least 1; got \["):
        Plan(np.array(sizes, dtype=int), name="x")


@pytest.mark.core
@pytest.mark.parametrize("steps", [0, -1, 9])
def test_budgets_out_of_range(steps):
    profile = profiles.from_values(np.ones(8))
    for plan in (
        lambda: plans.uniform(8, steps),
        lambda: plans.from_schedule(schedules.linear(), 8, steps),
        lambda: plans.optimal(profile, steps),
        lambda: plans.optimal_for_every_budget(profile, steps),
        lambda: plans.search_beta(profile, [steps]),
    ):
        with pytest.raises(InputError, match=rf"^steps must be a whole number from 1 to 8; got {steps}\.$"):
            plan()

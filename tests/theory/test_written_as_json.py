"""Where plans, grids and profiles came from is JSON as soon as they are made; costs are not negative."""

import json
import time

import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import grids
from mdm_jax.theory.profiles import Profile

pytestmark = pytest.mark.core

PROFILE = profiles.from_values(np.array([3.0, 2.0, 1.0, 0.5]))
MAKERS = {
    "origin of a plan": lambda told: plans.Plan(np.array([1, 3]), name="x", origin=told),
    "origin of a grid": lambda told: grids.Grid(np.array([0.0, 1.0]), name="x", origin=told),
    "provenance": lambda told: profiles.from_values(np.ones(2), provenance=told),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_numbers_of_any_kind_become_pythons(maker, tmp_path):
    told = {"a": np.int64(3), "b": np.float32(0.5), "c": [jnp.float32(2), (np.bool_(True), None)], "d": jnp.bfloat16(1)}
    path = MAKERS[maker](told).save(tmp_path / "file.json")
    read = json.loads(path.read_text())
    expected = {"a": 3, "b": 0.5, "c": [2.0, [True, None]], "d": 1.0}
    assert read.get("origin", read.get("provenance")) == expected


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, np.ones(2), object(), "half \ud800", np.datetime64("2020")])
def test_what_json_does_not_have_is_refused_where_it_is_given(maker, value):
    name = maker.split()[0]
    with pytest.raises(InputError, match=rf"^{name} must be JSON: mappings, lists, texts and finite numbers; got"):
        MAKERS[maker]({"deep": [{"er": value}]})


def test_budgets_without_end_are_written_as_null(tmp_path):
    made = (
        plans.within(PROFILE, nats=np.inf),
        plans.total_correlation_plan(PROFILE, nats=np.inf),
        plans.dual_total_correlation_plan(PROFILE, nats=np.inf),
    )
    for plan in made:
        assert plan.origin["nats"] is None
        assert plans.load(plan.save(tmp_path / "plan.json")).sizes.tolist() == plan.sizes.tolist()
    assert made[0].sizes.tolist() == [4]


def test_a_name_that_cannot_be_written_is_refused():
    with pytest.raises(InputError, match=r"^name must be a text; got"):
        plans.Plan(np.array([1]), name="half \ud800")


def measured(means, errors):
    return Profile(len(means), np.arange(len(means)), np.array(means), np.diag(np.square(errors)))


def test_costs_below_zero_are_refused_but_for_errors_of_measurement():
    with pytest.raises(InputError, match=r"^means must be costs in nats: none is negative, .*; got -5\.0\.$"):
        profiles.from_values(np.array([-5.0, 1.0, 2.0]))
    with pytest.raises(InputError, match=r"^means must be costs in nats"):
        measured([1.0, -0.3], [0.01, 0.02])
    assert measured([1.0, -0.03], [0.01, 0.02]).means[1] == -0.03
    assert profiles.from_values(np.array([1.0, -1e-8])).means[1] == -1e-8


def test_a_negative_cost_in_a_file_is_refused(tmp_path):
    path = PROFILE.save(tmp_path / "profile.json")
    path.write_text(path.read_text().replace("0.5", "-0.5"))
    with pytest.raises(InputError, match=r"none is negative"):
        profiles.load(path)


def test_a_covariance_of_many_counts_is_looked_at_whole_in_files_only(tmp_path):
    """Two counts that would have a difference of negative variance."""
    m = 300
    spread = np.eye(m)
    spread[0, 1] = spread[1, 0] = 2.0
    made = Profile(m, np.arange(m), np.ones(m), spread)
    with pytest.raises(InputError, match=r"symmetric, with no negative variance"):
        profiles.load(made.save(tmp_path / "profile.json"))
    with pytest.raises(InputError, match=r"symmetric, with no negative variance"):
        Profile(4, np.arange(4), np.ones(4), spread[:4, :4])


def test_a_profile_of_many_counts_is_made_quickly():
    m = 2048
    counts, means, spread = np.arange(m), np.ones(m), np.eye(m)
    start = time.perf_counter()
    Profile(m, counts, means, spread)
    assert time.perf_counter() - start < 1.0  # (its eigenvalues take 2 s and more)

"""Files that contradict themselves, or that cannot be told apart, are refused; what the library writes is read."""

import json

import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import grids
from mdm_jax.theory.schedules import text as schedule_text

pytestmark = pytest.mark.core
PLAN = plans.Plan(np.array([1, 3]), name="mine")
GRID = grids.uniform(4)
SPREAD = np.array([[0.04, 0.01], [0.01, 0.09]])
PROFILE = profiles.Profile(2, np.array([0, 1]), np.array([2.0, 1.0]), SPREAD)
WRONG = [
    (plans.load, PLAN, {"length": 99}, r"length must be 4, which its sizes make; got 99\."),
    (plans.load, PLAN, {"steps": 7}, r"steps must be 2, which its sizes make; got 7\."),
    (plans.load, PLAN, {"length": 4.0}, r"length must be 4, which its sizes make; got 4\.0\."),
    (plans.load, PLAN, {"sizes": [True, 3]}, r"sizes must be a list of whole numbers; got \[True, 3\]\."),
    (plans.load, PLAN, {"sizes": [1.0, 3]}, r"sizes must be a list of whole numbers; got \[1\.0, 3\]\."),
    (plans.load, PLAN, {"sizes": ["1", 3]}, r"sizes must be a list of whole numbers"),
    (plans.load, PLAN, {"sizes": [2**80]}, r"sizes must be a list of whole numbers"),
    (plans.load, PLAN, {"name": 3}, r"name must be a text; got 3\."),
    (plans.load, PLAN, {"origin": [1]}, r"origin must be an object; got \[1\]\."),
    (plans.load, PLAN, {"sise": 3}, r"its entries must be format, name, .*; got 'sise' as well\."),
    (plans.load, PLAN, {"format": "mdm_jax plan 2"}, r"its format must be 'mdm_jax plan 1'"),
    (grids.load, GRID, {"steps": 5}, r"steps must be 4, which its fractions make; got 5\."),
    (grids.load, GRID, {"fractions": [0, True]}, r"fractions must be a list of numbers"),
    (profiles.load, PROFILE, {"length": 3}, r"counts must be increasing from 0 to length - 1 = 2"),
    (profiles.load, PROFILE, {"length": True}, r"length must be a whole number"),
    (profiles.load, PROFILE, {"counts": [0, 0]}, r"counts must be increasing"),
    (profiles.load, PROFILE, {"counts": [0, True]}, r"counts must be a list of whole numbers"),
    (profiles.load, PROFILE, {"nats_per_token": ["2", 1]}, r"nats_per_token must be a list of numbers"),
    (profiles.load, PROFILE, {"standard_errors": [0.2, 0.4]}, r"standard_errors must be the roots of the covariance"),
    (profiles.load, PROFILE, {"covariance": [[0.04, 0.01], [0.02, 0.09]]}, r"covariance must be symmetric"),
    (profiles.load, PROFILE, {"covariance": [[0.04, 0.08], [0.08, 0.09]]}, r"covariance must be symmetric"),
    (profiles.load, PROFILE, {"covariance": [[0.04, True], [True, 0.09]]}, r"covariance must be a list of numbers"),
]


@pytest.mark.parametrize(("load", "value", "change", "sentence"), WRONG)
def test_contradictions(load, value, change, sentence, tmp_path):
    path = value.save(tmp_path / "file.json")
    load(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=sentence) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path} is not a ")
    assert "\n" not in str(caught.value)


def test_a_plan_of_sizes_alone_is_read(tmp_path):
    path = tmp_path / "short.json"
    path.write_text('{"format": "mdm_jax plan 1", "sizes": [2, 2]}')
    assert (plans.load(path).name, plans.load(path).length) == ("short", 4)


@pytest.mark.parametrize("text", ['{"sizes": [8], "sizes": [4, 4]}', '[{"a": {"b": 1, "c": 2, "b": 1}}]'])
def test_a_key_twice_is_refused(text, tmp_path):
    path = tmp_path / "twice.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"not valid JSON \(the key '(sizes|b)' stands twice in one object\)\."):
        plans.load(path)


@pytest.mark.parametrize("degree", [True, "2", None, [2], 0, -1.0])
def test_schedules_take_numbers(degree):
    with pytest.raises(InputError, match=r"needs a (positive )?number for degree"):
        schedule_text.from_json({"family": "polynomial", "degree": degree})

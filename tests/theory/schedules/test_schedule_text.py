import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, schedules
from mdm_jax.theory.schedules import Schedule
from mdm_jax.theory.schedules import text as schedule_text


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("linear", "linear"),
        (" sine ", "sine"),
        ("sine-squared", "sine_squared"),
        ("maskgit:", "maskgit"),
        ("polynomial: 2", "polynomial:2"),
        ("beta: 0.90 , 3e-1", "beta:0.9,0.3"),
        ("beta:.5,100", "beta:0.5,100"),
        ("geometric", "geometric:0.0001,20"),
        ("geometric: .001, 20", "geometric:0.001,20"),
        ("kinetic_optimum:polynomial: 2", "kinetic_optimum:polynomial:2"),
        ("kinetic-optimum : kinetic-optimum:beta:1,.5", "kinetic_optimum:kinetic_optimum:beta:1,0.5"),
    ],
)
def test_text(text, canonical):
    schedule = schedule_text.parse(text)
    assert schedule_text.text_of(schedule) == canonical
    assert schedule_text.from_json(json.loads(json.dumps(schedule_text.to_json(schedule)))) == schedule


@pytest.mark.core
def test_numbers_arrive():
    schedule = schedule_text.parse("beta:0.9,0.3")
    assert isinstance(schedule, schedules.Beta)
    assert [schedule.a, schedule.b] == [jnp.float32(0.9), jnp.float32(0.3)]
    assert schedule_text.to_json(schedule) == {"family": "beta", "a": 0.9, "b": 0.3}
    assert schedule_text.to_json(schedules.linear()) == {"family": "linear"}
    assert schedule_text.from_json({"b": 0.3, "family": "beta", "a": 1}).a == 1


BAD_TEXT = [
    ("", "schedule must be one of linear, "),
    ("cosine", "'cosine'"),
    ("Linear", "'Linear'"),
    (":2", "':2'"),
    ("linear:1", "1 parameter; linear takes 0, as in linear"),
    ("beta", "0 parameters; beta takes 2, as in beta:A,B"),
    ("beta:0.9", "1 parameter;"),
    ("beta:1,2,3", "3 parameters"),
    ("beta:1,,", "3 parameters"),
    ("beta:1,", "needs a positive number for b; got ''"),
    ("beta:x,1", "needs a positive number for a; got 'x'"),
    ("beta:0,1", "for a; got '0'"),
    ("beta:1,-2", "for b; got '-2'"),
    ("polynomial:nan", "for degree; got 'nan'"),
    ("polynomial:inf", "for degree; got 'inf'"),
    ("polynomial:1e999", "for degree; got '1e999'"),
    ("polynomial:2:3", "for degree; got '2:3'"),
    (
        "beta:1e-50,1",
        "'beta:1e-50,1' cannot be used: a must be a positive, finite number that float32 can hold; got 1e-50",
    ),
    ("polynomial:1e300", "degree must be a positive, finite number that float32 can hold; got 1e+300"),
    ("beta:2000,1", "schedule 'beta:2000,1' cannot be used: a must be at most 1000; got 2000.0"),
    ("geometric:1", "1 parameter; geometric takes 0 or 2, as in geometric[:SIGMA_MIN,SIGMA_MAX]"),
    ("geometric:2,1", "schedule 'geometric:2,1' cannot be used: sigma_min must be below sigma_max (1.0); got 2.0"),
    ("geometric:2,100", "sigma_max must be at most 50"),
    ("kinetic_optimum", "'kinetic_optimum' lacks the schedule gamma, as in kinetic_optimum:polynomial:2"),
    ("kinetic_optimum:cosine", "gamma in the schedule 'kinetic_optimum:cosine' must be one of linear, "),
    ("kinetic_optimum:beta:2000,1", "schedule 'kinetic_optimum:beta:2000,1' cannot be used: a must be at most 1000"),
    ("kinetic_optimum:" * 2000 + "linear", "must nest kinetic_optimum at most 8 times; got 'kinetic_optimum:kin"),
    ("tabulated", "'tabulated' lacks a file, as in tabulated:schedule.json"),
    ("tabulated:no/such.json", "'tabulated:no/such.json' cannot be used: no/such.json does not exist"),
]


@pytest.mark.core
@pytest.mark.parametrize(("text", "message"), BAD_TEXT)
def test_bad_text(text, message):
    with pytest.raises(InputError) as caught:
        schedule_text.parse(text)
    _one_sentence(str(caught.value), message)


def _rows(times, angles):
    return {"family": "tabulated", "times": times, "angles": angles}


@pytest.mark.core
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "got None"),
        ([], "got []"),
        ("linear", "got 'linear'"),
        ({}, "got {}"),
        ({"family": "cosine"}, "cosine"),
        ({"family": 3}, "got {'family': 3}"),
        ({"family": ["beta"]}, "['beta']"),
        ({"family": "linear", "a": 1}, "must have the parameters none"),
        ({"family": "beta", "a": 1}, "must have the parameters a, b"),
        ({"family": "beta", "a": 1, "b": 1, "c": 1}, "must have the parameters a, b"),
        ({"family": "beta", "a": None, "b": 1}, "for a; got None"),
        ({"family": "beta", "a": 1, "b": [1]}, "for b; got [1]"),
        ({"family": "beta", "a": 1, "b": True}, "for b; got True"),
        ({"family": "beta", "a": 0.0, "b": 1}, "for a; got 0.0"),
        ({"family": "beta", "a": float("nan"), "b": 1}, "for a; got nan"),
        ({"family": "beta", "a": 10**400, "b": 1}, "positive number for a"),
        ({"family": "beta", "a": 10**5000, "b": 1}, "too large to show"),
        ({"family": "beta", "a": 2000, "b": 1}, "cannot be used: a must be at most 1000"),
        ({"family": "geometric"}, "must have the parameters sigma_min, sigma_max"),
        ({"family": "kinetic_optimum"}, "must have the parameters gamma"),
        ({"family": "kinetic_optimum", "gamma": "linear"}, "got 'linear'"),
        ({"family": "tabulated", "times": [0, 1]}, "must have the parameters times, angles"),
        (_rows([0, 1], "angles"), "for angles a list of at least 2 numbers that rise from 0 to 1; got 'angles'"),
        (_rows([0, 1], [0]), "for angles"),
        (_rows([0, 1], [0, None]), "for angles"),
        (_rows([0, 1], [False, True]), "for angles"),
        (_rows([0, 1], [0, "1"]), "for angles"),
        (_rows([0, 1], [0, float("nan")]), "for angles"),
        (_rows([0, 1], [0, 10**400]), "for angles"),
        (_rows([0, 0.5, 0.5, 1], [0, 0.2, 0.3, 1]), "for times a list of at least 2 numbers that rise from 0 to 1"),
        (_rows([0, 0.5, 0.9], [0, 0.5, 1]), "for times"),
        (_rows([0, 0.5, 1], [0, 1]), "must have as many times as angles; got 3 and 2"),
    ],
    ids=lambda value: ascii(value)[:40] if not isinstance(value, dict) or value.get("a") != 10**5000 else "huge",
)
def test_bad_json(value, message):
    with pytest.raises(InputError) as caught:
        schedule_text.from_json(value)
    _one_sentence(str(caught.value), message)


class Mine(Schedule):
    def alpha(self, t):
        return schedules.as_float(t)


@pytest.mark.core
@pytest.mark.parametrize("write", [schedule_text.text_of, schedule_text.to_json])
def test_what_cannot_be_written(write):
    with pytest.raises(InputError, match="must be of a named family to be written down; got Mine"):
        write(Mine())
    with pytest.raises(InputError, match="must be one schedule, not a stack; got a stack of shape"):
        write(schedules.polynomial(jnp.array([1.0, 2.0])))


def test_the_help_text_names_every_family():
    assert schedule_text.FORMS == (
        "linear, sine, sine_squared, maskgit, polynomial:DEGREE, geometric[:SIGMA_MIN,SIGMA_MAX], beta:A,B, "
        "kinetic_optimum:SCHEDULE, tabulated:FILE"
    )
    for name, family in schedule_text.FAMILIES.items():
        assert family.kind.name == name
        assert family.form.partition(":")[0].partition("[")[0] == name


class MyBeta(schedules.Beta):
    def theta(self, t):
        return schedules.as_float(t)


def test_a_subclass_is_not_its_family():
    mine = MyBeta(a=jnp.float32(1), b=jnp.float32(1))
    with pytest.raises(InputError, match="got MyBeta"):
        schedule_text.text_of(mine)
    assert schedule_text.label(mine) == "MyBeta"


TABLES = {
    "uneven": schedules.tabulated(jnp.array([0.0, 0.1, 0.7, 1.0]), jnp.array([0.0, 0.3, 0.35, 1.0])),
    "of a family": schedules.tabulate(schedules.beta(0.9, 0.3), 256),
    "of 100 cells": schedules.tabulate(schedules.sine(), 100),
    "knots that float32 cannot tell apart": schedules.tabulate(schedules.beta(0.05, 0.05), 64),
    "random": schedules.free(64, key=jax.random.key(0)),
    "rises too small for an angle": schedules.Tabulated(
        times=jnp.linspace(0.0, 1.0, 6), logits=jnp.array([-100.0, 0.0, -40.0, 3.0, -60.0])
    ),
}
T = np.concatenate([np.linspace(0, 1, 1001), np.geomspace(1e-7, 1e-3, 50), 1 - np.geomspace(1e-7, 1e-3, 50)])


@pytest.mark.parametrize("name", TABLES)
def test_a_table_goes_to_json_and_back(name):
    table = TABLES[name]
    value = json.loads(json.dumps(schedule_text.to_json(table), allow_nan=False))
    assert all(np.all(np.diff(value[key]) > 0) for key in ("times", "angles"))
    again = schedule_text.from_json(value)
    assert isinstance(again, schedules.Tabulated)
    assert again.times.tolist() == table.times.tolist()
    rises, known = _rises(again), _rises(table)
    np.testing.assert_allclose(np.cumsum(rises), np.cumsum(known), rtol=0, atol=1e-7)
    likely = known > 1e-9  # small rises keep their digits, next to 1 too
    np.testing.assert_allclose(rises[likely], known[likely], rtol=2e-6)
    assert schedule_text.to_json(again)["times"] == value["times"]
    np.testing.assert_allclose(schedule_text.to_json(again)["angles"], value["angles"], rtol=0, atol=1e-7)


def _rises(table):
    return scipy.special.softmax(np.asarray(table.logits, np.float64))


def test_theta_of_a_table_survives():
    table, t = TABLES["random"], jnp.asarray(T, jnp.float32)
    again = schedule_text.from_json(schedule_text.to_json(table))
    assert np.max(np.abs(again.theta(t) - table.theta(t))) <= 2e-7


def test_a_table_goes_to_json_and_back_in_float64(double):
    table = schedules.free(50, key=jax.random.key(1))
    again = schedule_text.from_json(schedule_text.to_json(table))
    np.testing.assert_allclose(np.cumsum(_rises(again)), np.cumsum(_rises(table)), rtol=0, atol=1e-15)


def test_the_json_of_a_table():
    assert schedule_text.to_json(TABLES["uneven"]) == _rows(
        [0.0, 0.1, 0.7, 1.0], pytest.approx([0.0, 0.3, 0.35, 1.0], abs=1e-7)
    )
    nested = schedules.kinetic_optimum(schedules.polynomial(2.0))
    value = {"family": "kinetic_optimum", "gamma": {"family": "polynomial", "degree": 2.0}}
    assert schedule_text.to_json(nested) == value
    assert schedule_text.from_json(value) == nested


def test_what_has_no_short_text_has_a_label():
    table = TABLES["uneven"]
    with pytest.raises(InputError) as caught:
        schedule_text.text_of(table)
    _one_sentence(str(caught.value), "save it with schedule_text.save")
    assert schedule_text.label(table) == "tabulated"
    assert schedule_text.label(schedules.kinetic_optimum(table)) == "kinetic_optimum:tabulated"
    assert schedule_text.label(schedules.kinetic_optimum(Mine())) == "kinetic_optimum:Mine"
    assert schedule_text.label(schedules.beta(0.9, 0.3)) == "beta:0.9,0.3"
    assert schedule_text.label(Mine()) == "Mine"


def test_a_plan_of_a_table_says_where_it_comes_from():
    table = TABLES["random"]
    plan = plans.from_schedule(table, 32, 8)
    assert plan.name == plan.origin["schedule"] == "tabulated"
    again = plans.from_schedule(schedule_text.from_json(plan.to_json()["origin"]["definition"]), 32, 8)
    assert again.sizes.tolist() == plan.sizes.tolist()
    for schedule, name in ((Mine(), "Mine"), (schedules.sine(), "sine")):
        plan = plans.from_schedule(schedule, 32, 8)
        assert plan.name == plan.origin["schedule"] == name
        assert "definition" not in plan.origin


def test_stacks_and_broken_numbers_cannot_be_written():
    stack = jax.tree.map(lambda *x: jnp.stack(x), schedules.free(4), schedules.free(4))
    with pytest.raises(InputError, match=r"must be one table, .*; got shapes \(2, 5\) and \(2, 4\)"):
        schedule_text.to_json(stack)
    broken = schedules.Tabulated(times=jnp.linspace(0.0, 1.0, 3), logits=jnp.array([jnp.nan, 0.0]))
    with pytest.raises(InputError, match="must be a table of logits, not NaN"):
        schedule_text.to_json(broken)
    with pytest.raises(InputError, match="must be made of positive, finite numbers"):
        schedule_text.to_json(schedules.Beta(a=jnp.float32("nan"), b=jnp.float32(1)))


@pytest.mark.parametrize(
    "schedule",
    [TABLES["random"], schedules.kinetic_optimum(TABLES["uneven"]), schedules.geometric(), schedules.linear()],
    ids=schedule_text.label,
)
def test_files(schedule, tmp_path):
    path = schedule_text.save(schedule, tmp_path / "new" / "schedule.json")
    assert [p.name for p in path.parent.iterdir()] == ["schedule.json"]
    assert json.loads(path.read_text())["format"] == "mdm_jax schedule 1"
    t = jnp.linspace(0.0, 1.0, 33)
    for again in (schedule_text.load(path), schedule_text.parse(f"tabulated:{path}")):
        assert type(again) is type(schedule)
        np.testing.assert_allclose(again.alpha(t), schedule.alpha(t), rtol=0, atol=3e-7)


def test_what_cannot_be_written_leaves_no_file(tmp_path):
    with pytest.raises(InputError):
        schedule_text.save(Mine(), tmp_path / "mine.json")
    assert list(tmp_path.iterdir()) == []


def _file(**changes):
    return json.dumps({"format": "mdm_jax schedule 1", **_rows([0.0, 0.5, 1.0], [0.0, 0.4, 1.0]), **changes})


@pytest.mark.core
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; expected a schedule"),
        ("", "not a schedule: not valid JSON"),
        (_file()[:-9], "not a schedule: not valid JSON"),
        ("[1, 2]", "is not a schedule: its format must be 'mdm_jax schedule 1'"),
        (_file(format="mdm_jax plan 1"), "its format must be"),
        (_file(family="spline"), "is not a schedule: schedule must be an object with a family out of linear"),
        (_file(angles=[0.0, 0.4, 0.4, 1.0]), "for angles a list of at least 2 numbers that rise from 0 to 1"),
        (_file(angles=[0.0, 1.0]), "must have as many times as angles; got 3 and 2"),
        (_file(times=[0.0, 1.0, 0.5]), "for times"),
        (_file(more=1), "must have the parameters times, angles"),
        ('{"format": "mdm_jax schedule 1", "family": "beta", "a": 2000, "b": 1}', "a must be at most 1000"),
        (_file().replace("0.4", "NaN"), "NaN is no number"),
        (_file(angles=[i / 999 for i in range(999)]), "for angles"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_files_that_hold_no_schedule(content, message, tmp_path):
    path = tmp_path / "schedule.json"
    if content is not None:
        path.write_text(content)
    for read in (schedule_text.load, lambda path: schedule_text.parse(f"tabulated:{path}")):
        with pytest.raises(InputError) as caught:
            read(path)
        _one_sentence(str(caught.value), message)
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 800


def test_a_file_that_nests_without_end_is_refused(tmp_path):
    path = tmp_path / "deep.json"
    for depth in (20, 900, 100_000):
        inner = '{"family": "kinetic_optimum", "gamma": ' * depth
        path.write_text('{"format": "mdm_jax schedule 1", ' + inner[1:] + '{"family": "linear"}' + "}" * depth)
        with pytest.raises(InputError) as caught:
            schedule_text.load(Path(path))
        _one_sentence(str(caught.value), "nest")


def _one_sentence(text, part):
    assert part in text
    assert text.endswith(".")
    assert "\n" not in text

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm_jax.support.errors import InputError
from mdm_jax.theory import schedules
from mdm_jax.theory.schedules import Schedule
from mdm_jax.theory.schedules import text as schedule_text

TINY, HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
number = st.floats(TINY, HUGE, width=32, allow_subnormal=False)
tuned = settings(max_examples=80, deadline=None)


NAMES = sorted(schedule_text.FAMILIES)


length = st.floats(np.float32(0.0100001).item(), 1000.0, width=32)


def up_to(most):
    return st.floats(TINY, most, width=32, allow_subnormal=False)


MEMBERS = {
    "linear": st.builds(schedules.linear),
    "sine": st.builds(schedules.sine),
    "sine_squared": st.builds(schedules.sine_squared),
    "maskgit": st.builds(schedules.maskgit),
    "polynomial": st.builds(schedules.polynomial, number),
    "geometric": st.lists(up_to(50.0), min_size=2, max_size=2, unique=True)
    .map(sorted)
    .map(lambda pair: schedules.geometric(*pair)),
    "beta": st.builds(schedules.beta, length, length),
}
known = st.recursive(st.one_of(*MEMBERS.values()), lambda inner: inner.map(schedules.kinetic_optimum), max_leaves=3)


def test_every_family_is_tried():
    assert {*MEMBERS, "kinetic_optimum", "tabulated"} == {*NAMES}


def same(one, other):
    return type(one) is type(other) and jax.tree.leaves(one) == jax.tree.leaves(other)


@tuned
@given(known)
def test_text_round_trip(schedule):
    text = schedule_text.text_of(schedule)
    assert same(schedule_text.parse(text), schedule)
    assert schedule_text.text_of(schedule_text.parse(text)) == text


@tuned
@given(known)
def test_json_round_trip(schedule):
    assert same(schedule_text.from_json(schedule_text.to_json(schedule)), schedule)


@tuned
@given(
    logits=st.lists(st.floats(-200, 200, width=32), min_size=5, max_size=5),
    inner=st.sets(st.floats(0, 1, width=32), min_size=4, max_size=8),
)
def test_table_round_trip(logits, inner):
    table = schedules.Tabulated(times=jnp.array([0.0, *sorted(inner)[:4], 1.0]), logits=jnp.array(logits))
    again = schedule_text.from_json(schedule_text.to_json(table))
    np.testing.assert_array_equal(again.times, table.times)
    rises, known = (scipy.special.softmax(np.asarray(x.logits, np.float64)) for x in (again, table))
    np.testing.assert_allclose(np.cumsum(rises), np.cumsum(known), rtol=0, atol=3e-7)


@tuned
@given(st.floats(TINY, HUGE))
def test_what_is_typed_is_what_is_meant(degree):
    assert schedule_text.parse(f"polynomial:{degree!r}").degree == np.float32(degree)


def _reads_or_says_why(read, value):
    try:
        result = read(value)
    except InputError as error:
        result = str(error)
    assert isinstance(result, Schedule) or (result.endswith(".") and result.count("\n") == 0)


family = st.sampled_from(NAMES) | st.text(max_size=8)
word = st.text(alphabet="0123456789.,:+-_eE infa\x00\u0661", max_size=12)


@tuned
@given(st.text() | st.builds(lambda f, rest: f"{f}:{rest}", family, word | st.floats().map(repr)))
def test_any_text(text):
    _reads_or_says_why(schedule_text.parse, text)


scalar = st.none() | st.booleans() | st.integers() | st.integers(min_value=10**300) | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@tuned
@given(
    anything
    | st.builds(
        lambda f, rest: {"family": f, **rest},
        family | anything,
        st.dictionaries(st.sampled_from(["a", "b", "degree", "gamma", "times", "angles", "sigma_min", "x"]), anything),
    )
)
def test_any_json(value):
    _reads_or_says_why(schedule_text.from_json, value)


@pytest.mark.parametrize("family", NAMES)
@settings(max_examples=40, deadline=None)
@given(values=st.lists(scalar, min_size=2, max_size=2))
def test_any_parameters(family, values):
    _reads_or_says_why(
        schedule_text.from_json, {"family": family, **dict(zip(schedule_text.FAMILIES[family].parameters, values))}
    )

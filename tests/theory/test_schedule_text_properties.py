import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm_jax.support.errors import InputError
from mdm_jax.theory import schedule_text
from mdm_jax.theory.schedules import Schedule

TINY, HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
number = st.floats(TINY, HUGE, width=32, allow_subnormal=False)
tuned = settings(max_examples=80, deadline=None)


@st.composite
def known(draw):
    make, names = schedule_text.FAMILIES[draw(st.sampled_from(sorted(schedule_text.FAMILIES)))]
    return make(*(draw(number) for _ in names))


def same(one, other):
    return type(one) is type(other) and jax.tree.leaves(one) == jax.tree.leaves(other)


@tuned
@given(known())
def test_text_round_trip(schedule):
    text = schedule_text.text_of(schedule)
    assert same(schedule_text.parse(text), schedule)
    assert schedule_text.text_of(schedule_text.parse(text)) == text


@tuned
@given(known())
def test_json_round_trip(schedule):
    assert same(schedule_text.from_json(schedule_text.to_json(schedule)), schedule)


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


family = st.sampled_from(sorted(schedule_text.FAMILIES)) | st.text(max_size=8)
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
        st.dictionaries(st.sampled_from(["a", "b", "degree", "x"]), anything),
    )
)
def test_any_json(value):
    _reads_or_says_why(schedule_text.from_json, value)


@pytest.mark.parametrize("family", sorted(schedule_text.FAMILIES))
@settings(max_examples=40, deadline=None)
@given(values=st.lists(scalar, min_size=2, max_size=2))
def test_any_parameters(family, values):
    _reads_or_says_why(
        schedule_text.from_json, {"family": family, **dict(zip(schedule_text.FAMILIES[family][1], values))}
    )

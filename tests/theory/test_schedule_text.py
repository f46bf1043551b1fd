import json

import jax.numpy as jnp
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.theory import schedule_text, schedules
from mdm_jax.theory.schedules import Schedule


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
    ("linear:1", "1 parameters; linear takes 0, as in linear"),
    ("beta", "0 parameters; beta takes 2, as in beta:A,B"),
    ("beta:0.9", "1 parameters"),
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
    ("beta:1e-50,1", "a must be a positive, finite number that float32 can hold; got 1e-50"),
    ("polynomial:1e300", "degree must be a positive, finite number that float32 can hold; got 1e+300"),
]


@pytest.mark.core
@pytest.mark.parametrize(("text", "message"), BAD_TEXT)
def test_bad_text(text, message):
    with pytest.raises(InputError) as caught:
        schedule_text.parse(text)
    _one_sentence(str(caught.value), message)


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
    ],
    ids=lambda value: str(value)[:40],
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
    with pytest.raises(InputError, match="must be a single schedule; got a stack of shape"):
        write(schedules.polynomial(jnp.array([1.0, 2.0])))


def test_the_help_text_names_every_family():
    assert schedule_text.FORMS == "linear, sine, sine_squared, maskgit, polynomial:DEGREE, beta:A,B"


def _one_sentence(text, part):
    assert part in text
    assert text.endswith(".")
    assert "\n" not in text

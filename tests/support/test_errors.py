import numpy as np
import pytest

from mdm_jax.support.errors import InputError, require, require_choice, require_seed, verbatim


@pytest.mark.core
def test_require_says_what_was_given_and_what_would_be_right():
    require(True, "steps", 0, "at least 1")
    with pytest.raises(InputError) as caught:
        require(False, "steps", 0, "at least 1")
    assert str(caught.value) == "steps must be at least 1; got 0."
    assert isinstance(caught.value, ValueError)


@pytest.mark.core
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a text", "'a text'"),
        (None, "None"),
        ([1, 2], "[1, 2]"),
        ("two\nlines", r"'two\nlines'"),
        (verbatim("shape (3,)"), "shape (3,)"),
    ],
)
def test_what_was_given_is_shown(given, shown):
    with pytest.raises(InputError) as caught:
        require(False, "x", given, "y")
    assert str(caught.value) == f"x must be y; got {shown}."


@pytest.mark.core
@pytest.mark.parametrize(
    "given", [list(range(10_000)), "x" * 10_000, verbatim("x" * 10_000)], ids=["list", "text", "verbatim"]
)
def test_what_is_long_is_shortened(given):
    with pytest.raises(InputError) as caught:
        require(False, "x", given, "y")
    assert len(str(caught.value)) < 250
    assert str(caught.value).endswith("....")


class Told:
    def __repr__(self):
        return "Told(\n    1,\n\n    2)"


@pytest.mark.core
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (Told(), "Told( 1, 2)"),
        (np.zeros((2, 2)), "array([[0., 0.], [0., 0.]])"),
        (verbatim("one\r\ntwo\u2028three"), "one two three"),
    ],
)
def test_what_has_several_lines_is_shown_on_one(given, shown):
    with pytest.raises(InputError) as caught:
        require(False, "x", given, "y")
    assert str(caught.value) == f"x must be y; got {shown}."


@pytest.mark.core
@pytest.mark.parametrize("seed", [-1, 2**31, 10**30])
def test_seeds_have_31_bits(seed):
    require_seed("seed", 0)
    require_seed("seed", 2**31 - 1)
    with pytest.raises(InputError, match=f"--seed must be from 0 to .* - 1; got {seed}"):
        require_seed("--seed", seed)


@pytest.mark.core
def test_choices_are_listed():
    require_choice("order", "random", ["random", "left"])
    with pytest.raises(InputError) as caught:
        require_choice("order", "Random", {"right": 1, "left": 2})
    assert str(caught.value) == "order must be one of left, right; got 'Random'."

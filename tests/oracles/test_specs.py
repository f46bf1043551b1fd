"""Oracles by name: every form gives the law it says, and every bad text is refused in one sentence."""

import numpy as np
import pytest

from mdm_jax import oracles
from mdm_jax.oracles import specs
from mdm_jax.support.errors import InputError

SAME = {
    "toy_left": oracles.toy_left,
    "toy-right": oracles.toy_right,
    "polya:0.5,6": lambda: oracles.polya(6, 0.5),
    " polya : 2 , 3 ": lambda: oracles.polya(3, 2),
    "markov:0.2,4": lambda: oracles.markov(np.array([[0.8, 0.2], [0.2, 0.8]]), 4),
    "markov:0,3": lambda: oracles.table(np.where(np.indices((2,) * 3).sum(axis=0) % 3 == 0, 0.5, 0.0)),
    "markov:1,3": lambda: oracles.markov(np.array([[0.0, 1.0], [1.0, 0.0]]), 3),
    "binsaw:5": lambda: oracles.binsaw(5),
}


@pytest.mark.core
@pytest.mark.parametrize("text", SAME)
def test_each_text_is_the_law_that_its_factory_makes(text):
    found, wanted = oracles.from_spec(text), SAME[text]()
    assert isinstance(found, oracles.Oracle)
    assert (found.length, found.vocab_size) == (wanted.length, wanted.vocab_size)
    states = np.indices((2,) * wanted.length).reshape(wanted.length, -1).T
    np.testing.assert_array_equal(found.log_prob(states), wanted.log_prob(states))
    assert np.exp(found.log_prob(states)).sum() == pytest.approx(1)


def test_binsaw_has_a_length_of_its_own():
    assert oracles.from_spec("binsaw").length == oracles.binsaw().length == 64


def test_the_weight_comes_first_and_the_length_last():
    assert oracles.from_spec("polya:3,7").length == 7
    assert oracles.from_spec("markov:0.25,9").length == 9


def test_every_form_is_told_by_its_kind():
    assert set(specs.KINDS) == {form.partition(":")[0].partition("[")[0] for form in specs.FORMS.split(", ")}


@pytest.mark.core
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("urn:0.5,6", "oracle must be one of toy_left, toy_right, polya:B,LENGTH, markov:FLIP,LENGTH, "
                      "binsaw[:LENGTH]; got 'urn:0.5,6'."),
        ("", "binsaw[:LENGTH]; got ''."),
        ("polya", "oracle 'polya' has 0 parameters; polya takes 2, as in polya:B,LENGTH."),
        ("polya:8", "oracle 'polya:8' has 1 parameter; polya takes 2, as in polya:B,LENGTH."),
        ("toy_left:5", "oracle 'toy_left:5' has 1 parameter; toy_left takes 0, as in toy_left."),
        ("binsaw:64,2", "oracle 'binsaw:64,2' has 2 parameters; binsaw takes 0 or 1, as in binsaw[:LENGTH]."),
        ("polya:x,8", "oracle 'polya:x,8' needs a number for b; got 'x'."),
        ("polya:nan,8", "oracle 'polya:nan,8' needs a number for b; got 'nan'."),
        ("polya:0,8", "oracle 'polya:0,8' cannot be used: b must be positive; got 0.0."),
        ("markov:0.2,8.0", "oracle 'markov:0.2,8.0' needs a whole number from 1 to 16384 for length; got '8.0'."),
        ("markov:0.2,0", "oracle 'markov:0.2,0' needs a whole number from 1 to 16384 for length; got '0'."),
        ("markov:0.2," + "9" * 400, "needs a whole number from 1 to 16384 for length; got '999"),
        ("polya:1e40,8", "oracle 'polya:1e40,8' cannot be used: b must be from 1e-30 to 1e+30; got 1e+40."),
        ("markov:-0.1,8", "oracle 'markov:-0.1,8' cannot be used: flip must be from 0 to 1; got -0.1."),
        ("markov:1.5,8", "oracle 'markov:1.5,8' cannot be used: flip must be from 0 to 1; got 1.5."),
    ],
)  # fmt: skip
def test_bad_texts_are_refused_in_one_sentence(text, message):
    with pytest.raises(InputError) as refusal:
        oracles.from_spec(text)
    said = str(refusal.value)
    assert message in said
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 700

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Vocabulary


@pytest.mark.core
@given(st.text(min_size=1))
def test_text_comes_back(text):
    vocabulary = Vocabulary.of(text)
    tokens = vocabulary.encode(text)
    assert tokens.dtype == np.int32
    assert tokens.shape == (len(text),)
    assert [vocabulary.characters[token] for token in tokens] == list(text)
    assert vocabulary.decode(tokens) == text


@given(st.text("abc_", min_size=1), st.sampled_from("·?X"))
def test_templates_come_back(text, mark):
    vocabulary = Vocabulary("_abc")
    template = text.replace("b", mark)
    tokens = vocabulary.encode(template, mask=mark)
    assert [token == vocabulary.size for token in tokens] == [letter == mark for letter in template]
    assert vocabulary.decode(tokens, mask=mark) == template
    assert vocabulary.decode(tokens, mask="") == template.replace(mark, "")


@given(st.lists(st.integers(0, 4), max_size=20))
def test_tokens_come_back(tokens):
    vocabulary = Vocabulary("\nabc")
    np.testing.assert_array_equal(vocabulary.encode(vocabulary.decode(np.array(tokens, int)), mask="·"), tokens)


@pytest.mark.core
def test_ids_are_places_among_the_sorted_characters():
    vocabulary = Vocabulary.of("hello")
    assert vocabulary == Vocabulary("ehlo")
    assert vocabulary.size == 4
    np.testing.assert_array_equal(vocabulary.encode("hole"), [1, 3, 2, 0])
    assert vocabulary.decode(np.array([1, 4, 3])) == "h·o"
    assert vocabulary.encode("").shape == (0,)
    with pytest.raises(dataclasses.FrozenInstanceError):
        vocabulary.characters = "x"  # pyright: ignore[reportAttributeAccessIssue]


def test_jax_arrays_are_shown_too():
    numpy = pytest.importorskip("jax.numpy")
    assert Vocabulary("abc").decode(numpy.array([2, 0, 3])) == "ca·"


@pytest.mark.core
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda v: v.encode("abxa"), ["text must use only the 3 characters", "got 'x' (U+0078) at index 2"]),
        (lambda v: v.encode("€"), ["got '€' (U+20AC) at index 0"]),
        (lambda v: v.encode("a\udc80"), [r"got '\udc80' (U+DC80) at index 1"]),
        (lambda v: v.encode("\n"), [r"got '\n' (U+000A) at index 0"]),
        (lambda v: v.encode("a·"), ["got '·'"]),
        (lambda v: v.encode("ab", mask="a"), ["mask must be one character that does not occur", "got 'a'"]),
        (lambda v: v.encode("ab", mask="<m>"), ["mask must be one character", "got '<m>'"]),
        (lambda v: v.encode("ab", mask=""), ["mask must be one character", "got ''"]),
        (lambda v: v.decode(np.array([0, 4])), ["ids from 0 to 2 or the mask 3", "got 4 at length index 1"]),
        (lambda v: v.decode(np.array([-2])), ["got -2 at length index 0"]),
        (lambda v: Vocabulary(""), ["characters must be distinct characters in ascending order", "got ''"]),
        (lambda v: Vocabulary("ba"), ["ascending order", "got 'ba'"]),
        (lambda v: Vocabulary("aa"), ["distinct", "got 'aa'"]),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, words):
    with pytest.raises(InputError) as caught:
        call(Vocabulary("abc"))
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence

"""The n-gram law against a dictionary implementation in exact fractions, written from the formula alone."""

from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm_jax.support.errors import InputError
from mdm_jax.tasks.ngram import _ranked, fit


class Dictionary:
    """Witten-Bell by the formula of the module: ``following[h][c] = N(h c)``."""

    def __init__(self, stream, vocab_size, order):
        self.vocab_size, self.order = vocab_size, order
        self.following = defaultdict(Counter)
        for k in range(order):
            for end in range(k, len(stream)):
                self.following[tuple(stream[end - k : end])][stream[end]] += 1

    def probability(self, context, token):
        context = tuple(context)[max(0, len(context) - self.order + 1) :]
        lower = Fraction(1, self.vocab_size)
        if context:
            lower = self.probability(context[1:], token)
        if context not in self.following:
            return lower
        counts = self.following[context]
        if not context:
            lower = Fraction(1, self.vocab_size)
        return (counts[token] + len(counts) * lower) / (sum(counts.values()) + len(counts))


def brute_force(stream, rows, vocab_size, order):
    law = Dictionary(stream, vocab_size, order)
    return np.array(
        [[np.log(float(law.probability(row[:place], token))) for place, token in enumerate(row)] for row in rows]
    )


def letters(text):
    return np.array([ord(letter) - ord("a") for letter in text], np.int32)


@pytest.mark.core
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
def test_agrees_with_the_dictionary_implementation(order):
    random = np.random.default_rng(0)
    stream = random.choice(7, size=400, p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.03, 0.02])
    rows = np.concatenate([stream[:120].reshape(10, 12), random.integers(0, 9, (10, 12))])  # 7 and 8 never occur
    got = fit(stream, 9, order).log_prob(rows)
    np.testing.assert_allclose(got, brute_force(stream.tolist(), rows.tolist(), 9, order), rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    stream=st.lists(st.integers(0, 3), min_size=4, max_size=40),
    row=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    order=st.integers(1, 4),
)
def test_agrees_on_any_small_stream(stream, row, order):
    got = fit(np.array(stream), 5, order).log_prob(np.array([row]))
    np.testing.assert_allclose(got, brute_force(stream, [row], 5, order), rtol=0, atol=1e-12)


@pytest.mark.core
@pytest.mark.parametrize("context", ["", "a", "ab", "abra", "zzzz", "zzab", "cada", "bra"])
def test_each_conditional_law_is_positive_and_sums_to_one(context):
    model = fit(letters("abracadabra"), 26, 5)
    rows = np.stack([np.append(letters(context), token) for token in range(26)])
    law = np.exp(model.log_prob(rows)[:, -1])
    assert (law > 0).all()
    assert law.sum() == pytest.approx(1, abs=1e-13)


def test_a_worked_example():
    # "abab": N(a) = N(b) = 2, T() = 2; after "a" only "b", twice.
    model = fit(letters("abab"), 4, 2)
    unigram = (2 + 2 / 4) / (4 + 2)
    bigram = (2 + 1 * unigram) / (2 + 1)
    np.testing.assert_allclose(np.exp(model.log_prob(letters("ab")[None])), [[unigram, bigram]], rtol=1e-14)


@pytest.mark.core
def test_one_fit_gives_every_lower_order():
    random = np.random.default_rng(1)
    stream, rows = random.integers(0, 5, 500), random.integers(0, 5, (6, 9))
    model = fit(stream, 5, 5)
    for order in range(1, 6):
        np.testing.assert_array_equal(model.log_prob(rows, order), fit(stream, 5, order).log_prob(rows))
    np.testing.assert_array_equal(model.log_prob(rows), model.log_prob(rows, 5))


def test_no_row_sees_another_and_no_context_reaches_before_the_row():
    stream = letters("the quick brown fox".replace(" ", "z") * 5)
    model = fit(stream, 26, 4)
    rows = stream[:60].reshape(6, 10)
    each = np.concatenate([model.log_prob(row[None]) for row in rows])
    np.testing.assert_array_equal(model.log_prob(rows), each)
    np.testing.assert_array_equal(model.log_prob(rows)[:, :5], model.log_prob(rows[:, :5]))
    np.testing.assert_array_equal(model.log_prob(rows)[:, :2], model.log_prob(rows, 2)[:, :2])


@pytest.mark.core
def test_a_vocabulary_of_a_million_at_order_six_does_not_overflow():
    random = np.random.default_rng(2)
    stream = random.choice([0, 7, 65_536, 999_998, 999_999], 300)
    rows = random.choice([0, 7, 65_536, 999_999, 123_456], (5, 10))
    got = fit(stream, 1_000_000, 6).log_prob(rows)
    want = brute_force(stream.tolist(), rows.tolist(), 1_000_000, 6)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.core
def test_bits_per_character_is_the_mean_code_length():
    model = fit(letters("abracadabra"), 26, 3)
    rows = letters("abrazcadab").reshape(2, 5)
    got = model.bits_per_character(rows)
    assert got.shape == (2,)
    np.testing.assert_allclose(got, [np.mean(-np.log2(np.exp(row))) for row in model.log_prob(rows)], rtol=1e-12)
    assert model.bits_per_character(rows[:0]).shape == (0,)


@pytest.mark.core
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda model: model.log_prob(np.array([[0, 26]])),
            ["tokens must be ids from 0 to 25", "26 at", "length index 1"],
        ),
        (lambda model: model.log_prob(np.array([[0], [-2]])), ["got -2 at rows index 1, length index 0"]),
        (lambda model: model.log_prob(np.array([[0]]), 4), ["order must be a whole number from 1 to 3", "got 4"]),
        (lambda model: model.log_prob(np.array([[0]]), 0), ["order must be a whole number from 1", "got 0"]),
        (lambda model: model.bits_per_character(np.zeros((2, 0), np.int32)), ["at least one token", "(2, 0)"]),
        (lambda model: fit(letters("ab"), 26, 3), ["at least as many as the order, 3", "got 2"]),
        (lambda model: fit(letters("ab"), 26, 0), ["order must be a whole number, 1 or more", "got 0"]),
        (lambda model: fit(letters("ab"), 1, 1), ["ids from 0 to 0", "got 1 at tokens index 1"]),
        (lambda model: fit(letters("ab"), 0, 1), ["vocab_size must be a whole number, 1 or more", "got 0"]),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, words):
    with pytest.raises(InputError) as caught:
        call(fit(letters("abracadabra"), 26, 3))
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("shift", [0, 62])
def test_ranks_are_those_of_unique(shift):
    """Also of codes so large that places do not fit beside them."""
    codes = np.random.default_rng(0).integers(0, 50, 400) + (2**shift if shift else 0)
    for values in (codes, codes[:1], codes[:0]):
        wanted = np.unique(values, return_inverse=True, return_counts=True)
        for mine, theirs in zip(_ranked(values), wanted):
            np.testing.assert_array_equal(mine, theirs)

"""Brackets: words against all sequences and a parser, their law against counts, shuffles against all shuffles."""

import dataclasses
import itertools
import math
import random
from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest
from restored_tasks import require_made_again

from mdm_jax.support.errors import InputError
from mdm_jax.tasks import brackets, from_spec, notes_of
from mdm_jax.tasks.rules.dyck_words import begun_behind_the_deepest

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def small():
    return brackets(length=8, kinds=2)


@pytest.fixture(scope="module")
def usual():
    return brackets()


def parsed(text):
    """Whether a stack parser accepts it."""
    stack = []
    for character in text:
        if character in "([{<":
            stack.append({"(": ")", "[": "]", "{": "}", "<": ">"}[character])
        elif not stack or stack.pop() != character:
            return False
    return not stack


def left_of(text):
    """How many characters are left when pairs side by side are taken out for as long as there are any."""
    while True:
        shorter = text
        for pair in ("()", "[]", "{}", "<>"):
            shorter = shorter.replace(pair, "")
        if shorter == text:
            return len(text)
        text = shorter


def words_of(pairs, kinds):
    """All words: a bracket of each kind around a word, and a word behind it."""
    if pairs == 0:
        return [""]
    return [
        opening + inner + closing + behind
        for within in range(pairs)
        for opening, closing in ("()", "[]")[:kinds]
        for inner in words_of(within, kinds)
        for behind in words_of(pairs - 1 - within, kinds)
    ]


def test_all_sequences_of_six_are_judged_as_a_parser_judges_them():
    """4^6 sequences: those that a stack parser accepts are valid, and share the law between them."""
    task = brackets(length=6, kinds=2)
    texts = ["".join(characters) for characters in itertools.product("()[]", repeat=6)]
    rows = task.vocabulary.encode("".join(texts)).reshape(-1, 6)
    accepted = np.array([parsed(text) for text in texts])
    np.testing.assert_array_equal(task.is_valid(rows), accepted)
    np.testing.assert_array_equal(task.score(rows), [left_of(text) for text in texts])
    assert accepted.sum() == task.words == 5 * 2**3
    assert np.exp(task.log_prob(rows)).sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("kinds", [1, 2])
def test_draws_are_uniform(kinds):
    """Chi-squared of 65,536 rows over all words of length 8, less than 4 standard errors from its mean."""
    task = brackets(8, kinds)
    text = task.vocabulary.decode(task.train.ravel())
    counts = Counter(text[start : start + 8] for start in range(0, len(text), 8))
    words = words_of(4, kinds)
    assert sorted(words) == sorted(counts)
    assert len(words) == task.words
    want = len(task.train) / task.words
    statistic = sum((count - want) ** 2 / want for count in counts.values())
    freedom = task.words - 1
    assert abs(statistic - freedom) / math.sqrt(2 * freedom) < 4


@pytest.mark.parametrize("pairs", [1, 2, 3, 4])
def test_each_word_comes_of_as_many_shuffles(pairs):
    """All shuffles of ``pairs`` steps up and one more down: each word of one kind comes of ``2 pairs + 1`` of them."""
    size = 2 * pairs + 1
    shuffles = np.full((math.comb(size, pairs), size), -1)
    for row, ups in zip(shuffles, itertools.combinations(range(size), pairs)):
        row[list(ups)] = 1
    words = Counter("".join(")("[int(step > 0)] for step in word) for word in begun_behind_the_deepest(shuffles.T).T)
    assert all(parsed(word) for word in words)
    assert set(words.values()) == {size}
    assert len(words) == math.comb(2 * pairs, pairs) // (pairs + 1)


def test_depths_and_kinds_of_long_words_are_those_of_the_law(usual):
    """Of 65,536 words: how many pairs ``()`` stand side by side, and the share of each kind, within 4 standard errors.

    Of Dyck words of ``n`` pairs those with ``k`` peaks are ``N(n, k) = C(n, k) C(n, k - 1) / n`` (Narayana): the mean
    is ``(n + 1) / 2``.
    """
    opens = usual.train % 2 == 0
    peaks = (opens[:, :-1] & ~opens[:, 1:]).sum(axis=1)
    assert abs(peaks.mean() - 17 / 2) < 4 * peaks.std() / math.sqrt(len(peaks))
    for kind in range(3):
        share = (usual.train // 2 == kind).mean(axis=1)
        assert abs(share.mean() - 1 / 3) < 4 * share.std() / math.sqrt(len(share))


def test_long_rows_are_judged_as_a_parser_judges_them(usual):
    """Held-out words, and the same with one token, two tokens or many tokens changed."""
    chance, rows = random.Random(0), []
    for row in usual.test[:300].tolist():
        for changes in (0, 1, 2, 20):
            changed = list(row)
            for _ in range(changes):
                changed[chance.randrange(32)] = chance.randrange(6)
            rows.append(changed)
    texts = [usual.show(np.array(row)) for row in rows]
    rows = np.array(rows)
    np.testing.assert_array_equal(usual.score(rows), [left_of(text) for text in texts])
    np.testing.assert_array_equal(usual.is_valid(rows), [parsed(text) for text in texts])
    assert usual.is_valid(usual.train[:5000]).all()
    assert usual.is_valid(jnp.asarray(usual.test)).all()


def test_the_law_is_known(small, usual):
    catalan = 35357670  # the 16th number of published tables
    assert usual.words == catalan * 3**16
    assert usual.entropy == pytest.approx(math.log(catalan) + 16 * math.log(3), rel=1e-14)
    assert usual.log_prob(usual.test[:2]).tolist() == [-usual.entropy] * 2
    assert usual.log_prob(0 * usual.test[:1]).tolist() == [-math.inf]
    assert dataclasses.replace(usual, words=4**1000).entropy == pytest.approx(1000 * math.log(4))  # beyond any float
    for bits in small.baselines(small.test).values():
        assert bits.mean() > small.entropy / 8 / math.log(2)  # what no model beats


def test_repeats_are_told(small, usual):
    assert "4,096 of 4,096 test rows also stand among the training rows" in notes_of(small)[0]
    assert notes_of(usual) == ()


@pytest.mark.parametrize(
    ("spec", "length"), [("brackets", 32), ("brackets", 6), ("brackets?kinds=1", 10), ("brackets?kinds=4", 16)]
)
def test_a_spec_makes_its_task_again(spec, length):
    task = from_spec(spec, length)
    assert (task.spec, task.length) == (spec, length)
    require_made_again(task)
    assert from_spec("brackets?kinds=3").spec == "brackets"


def test_the_draws_are_the_same_for_ever(small, usual):
    assert small.show(small.test[0]) == "(()[[]])"  # frozen: runs and reports rely on it
    assert usual.digest[:16] == "c50bd21d41e6a2fd"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: brackets(7), "length must be even: each bracket that opens needs one that closes; got 7."),
        (lambda: brackets(0), "length must be a whole number from 2 to 1024; got 0."),
        (lambda: brackets(8, 5), "kinds must be a whole number from 1 to 4; got 5."),
        (lambda: from_spec("brackets?kinds=x"), "kinds must be a whole number, as in brackets?kinds=4; got 'x'."),
        (lambda: from_spec("brackets?kinds="), "kinds must be a whole number, as in brackets?kinds=4; got ''."),
        (lambda: from_spec("brackets?kinds=0"), "kinds must be a whole number from 1 to 4; got 0."),
        (lambda: from_spec("brackets?kind=2"), "spec must be brackets or brackets?kinds=NUMBER; got"),
        (lambda: from_spec("brackets?"), "spec must be brackets or brackets?kinds=NUMBER; got 'brackets?'."),
        (lambda: from_spec("brackets:3"), 'spec must be "text"'),
        (lambda: brackets(4).score(np.array([[0, 1, 6, 1]])), "tokens must be ids from 0 to 5, without masks; got 6"),
        (lambda: brackets(4).is_valid(np.array([[0, 1]])), "tokens must be rows of length 4; got shape (1, 2)."),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, says):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)

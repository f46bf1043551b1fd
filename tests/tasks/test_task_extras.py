"""What a task may say beyond its arrays, the ends of rows, and the law of lengths."""

import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.support.ragged import ABSENT, lengths, present
from mdm_jax.tasks import context_of, draw_lengths, given_of, lengths_of, notes_of, npy
from mdm_jax.tasks.row_lengths import length_counts, told_lengths
from mdm_jax.tasks.task import token_ids

pytestmark = pytest.mark.core


class Bare:
    """As few members as a task may have."""

    spec, length, vocab_size, digest, score_name, lower_is_better = "mine", 3, 3, "0", "none", True
    train = np.array([[1, 2, ABSENT], [0, 1, 2]], np.int32)
    validation = test = train

    def show(self, tokens):
        return str(tokens)

    def score(self, tokens):
        return np.zeros(len(tokens))

    def baselines(self, tokens):
        return {"none": np.zeros(len(tokens))}

    def describe(self):
        return {}


class Telling(Bare):
    notes = ("two rows were left out",)

    def __init__(self, given=None):
        self._given = given

    def given(self, part):
        return self._given if part == "train" else None

    def context(self, part):
        return {"label": np.zeros(2, np.int32)} if part == "train" else None


def refusal(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    for word in words:
        assert word in sentence


def test_a_task_that_says_nothing_gives_nothing():
    assert given_of(Bare(), "train") is None
    assert context_of(Bare(), "test") is None
    assert notes_of(Bare()) == ()


def test_a_task_says_what_is_given_and_known():
    given = np.array([[True, False, False], [True, True, False]])
    task = Telling(given)
    np.testing.assert_array_equal(given_of(task, "train"), given)
    assert given_of(task, "validation") is None
    assert context_of(task, "train")["label"].tolist() == [0, 0]
    assert context_of(task, "validation") is None
    assert notes_of(task) == ("two rows were left out",)


def test_what_is_given_is_checked():
    refusal(lambda: given_of(Telling(), "all"), "part must be one of test, train, validation")
    refusal(lambda: context_of(Telling(), "all"), "part must be one of test, train, validation")
    more = Telling()
    more.context = lambda part: {"label": (np.zeros(2), [np.zeros((2, 3)), np.zeros(3)])}
    refusal(lambda: context_of(more, "test"), "task.context('test') must be None or arrays with a leading axis of 2")
    refusal(lambda: given_of(Telling(np.ones((2, 3))), "train"), "task.given('train') must be None or a bool array of")
    refusal(lambda: given_of(Telling(np.ones((3, 3), bool)), "train"), "shape [2, 3]", "got bool of shape (3, 3)")
    whole = np.array([[True, False, False], [True, True, True]])
    refusal(lambda: given_of(Telling(whole), "train"), "must leave a token to be learned in every row; row 1 has none")
    absent_is_no_token = np.array([[True, True, False], [True, True, False]])
    refusal(lambda: given_of(Telling(absent_is_no_token), "train"), "row 0 has none")


def test_rows_may_end_early_and_not_begin_late():
    rows = np.array([[3, 1, -1, -1], [0, 0, 2, 1]])
    assert token_ids(rows, "rows length", 4, "ids", ragged=True) is rows
    assert token_ids(rows[0], "length", 4, "ids", ragged=True).tolist() == [3, 1, -1, -1]
    refusal(lambda: token_ids(rows, "rows length", 4, "ids from 0 to 3"), "ids from 0 to 3; got -1 at rows index 0")
    refusal(lambda: token_ids(rows - 1, "rows length", 4, "ids from 0 to 3", ragged=True), "got -2 at rows index 0")
    for bad, where in (([-1, 2, 0], "length index 0"), ([1, -1, 0], "length index 1")):
        words = "must have -1 (no token) at the end of rows alone; got it before a token, at"
        refusal(lambda bad=bad: token_ids(np.array(bad), "length", 4, "ids", ragged=True), words, where)
    refusal(lambda: token_ids(np.array([[1], [-1]] * 2).T, "rows length", 4, "ids", "canvas", True), "canvas must have")


def test_lengths_of_rows():
    rows = np.array([[3, 1, -1, -1], [0, 0, 2, 1], [1, -1, -1, -1]])
    assert lengths(rows).tolist() == present(rows).sum(1).tolist() == [2, 4, 1]
    assert length_counts(rows) == [0, 1, 1, 0, 1]
    assert told_lengths(rows) == {"lengths": [0, 1, 1, 0, 1]}
    assert told_lengths(rows[1:2]) == told_lengths(np.arange(5)) == {}


def test_stored_lengths_are_read_and_malformed_ones_refused(tmp_path):
    np.testing.assert_array_equal(lengths_of({"length": 3, "lengths": [0, 2, 0, 5]}), [0, 2, 0, 5])
    np.save(tmp_path / "a.npy", np.arange(60).reshape(20, 3) % 4)
    assert lengths_of(npy(tmp_path / "a.npy").describe()) is None
    for bad in ([0, 1, 2], [0, 1, 2, 3, 4], [1, 1, 1, 1], [0, 0, 0, 0], [0, -1, 2, 2], [0, 1.0, 1, 1], "0123", {}):
        refusal(lambda bad=bad: lengths_of({"length": 3, "lengths": bad}), "its lengths are malformed")


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_lengths_are_drawn_from_their_law_evenly(seed):
    counts = np.array([0, 3, 0, 10, 1, 86])
    drawn = draw_lengths(counts, 1000, seed)
    assert drawn.dtype == np.int32
    shares = np.bincount(drawn, minlength=6) / 1000
    # Independent draws would be off by up to 3 standard errors, .035 at a share of .14; a golden sequence is within
    # its discrepancy, below 3 / 1000 for a thousand rows.
    np.testing.assert_allclose(shares, counts / 100, atol=0.004)
    assert shares[[0, 2]].sum() == 0
    np.testing.assert_array_equal(draw_lengths(counts, 37, seed), drawn[:37])  # more rows do not change the first


def test_each_row_is_a_draw_from_the_law():
    """Over 4,000 seeds the fifth row has each length as often as it should, within 4 standard errors."""
    counts = np.array([0, 1, 4, 5])
    fifth = np.array([draw_lengths(counts, 5, seed)[4] for seed in range(4000)])
    shares = np.bincount(fifth, minlength=4) / 4000
    law = counts / 10
    assert (np.abs(shares - law) <= 4 * np.sqrt(law * (1 - law) / 4000)).all()


def test_lengths_are_not_drawn_of_what_is_no_count():
    for bad in (np.zeros(3, int), np.array([0, -1, 2]), np.array([], int)):
        refusal(lambda bad=bad: draw_lengths(bad, 3), "counts must be counts of rows by length")
    refusal(lambda: draw_lengths(np.array([0, 1]), -1), "rows must be a whole number, 0 or more; got -1")
    refusal(lambda: draw_lengths(np.array([0, 1]), 1, 2**32), "seed must be a whole number from 0 to 4294967295")
    assert draw_lengths(np.array([0, 1]), 0).shape == (0,)

"""Additions: against Python's integers; carries against sums of the digits behind them; what is given and held out."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Task, arithmetic, baselines_of, from_spec, given_of, restore, vocabulary_of
from mdm_jax.tasks.rules.additions import ArithmeticTask, added

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def small():
    return arithmetic(3)


@pytest.fixture(scope="module")
def usual():
    return arithmetic()


def written(first, second, digits):
    """A row as text, by Python's integers: a carry is what the digits behind a place add up to, beyond them."""
    carries = [(first % 10**place + second % 10**place) // 10**place for place in range(digits, 0, -1)]
    marks = "".join("_^"[carry] for carry in carries)
    return f"{first:0{digits}}+{second:0{digits}}={marks}{first + second:0{digits + 1}}"


def numbers_of(text, digits):
    return int(text[:digits]), int(text[digits + 1 : 2 * digits + 1])


def test_all_additions_of_two_digits_are_those_of_integers(small):
    """10,000 pairs, each carry and each digit."""
    tens = np.array([[number // 10, number % 10] for number in range(100)])
    first, second = np.repeat(tens, 100, axis=0), np.tile(tens, (100, 1))
    vocabulary = small.vocabulary
    want = [written(one, other, 2) for one in range(100) for other in range(100)]
    assert vocabulary.decode(added(first, second).ravel()) == "".join(want)


def test_rows_are_additions(usual):
    for name in ("train", "validation", "test"):
        for row in getattr(usual, name)[:100]:
            text = usual.show(row)
            assert text == written(*numbers_of(text, 16), 16)
        assert usual.is_valid(getattr(usual, name)).all()
    long = arithmetic(100)
    text = long.show(long.test[0])
    assert text == written(*numbers_of(text, 100), 100)


def test_long_chains_of_carries_are_carried():
    task = arithmetic(5)
    pairs = (99999, 1), (45454, 54545), (54545, 45455)
    rows = np.stack([task.vocabulary.encode(written(*pair, 5)) for pair in pairs])
    assert [task.show(row)[12:] for row in rows] == ["^^^^^100000", "_____099999", "^^^^^100000"]
    assert task.is_valid(rows).all()


def test_wrong_tokens_are_counted(small):
    """Each row of the training part with tokens changed, against its text by Python's integers."""
    stream = np.random.RandomState(1)
    rows = small.train[:500].copy()
    places = stream.randint(8, 15, size=(500, 3))
    np.put_along_axis(rows, places, stream.randint(14, size=(500, 3)).astype(np.int32), axis=1)
    texts = [small.show(row) for row in rows]
    wrong = [sum(a != b for a, b in zip(text, written(*numbers_of(text, 3), 3))) for text in texts]
    assert set(wrong) == {1, 2, 3}
    np.testing.assert_array_equal(small.score(rows), wrong)
    np.testing.assert_array_equal(small.is_valid(rows), [count == 0 for count in wrong])
    assert small.is_valid(jnp.asarray(small.test)).all()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("123+456=___0579", 0),
        ("123+456=__^0579", 1),
        ("123+456=___0589", 1),
        ("123+456=0000579", 3),  # a digit is no carry
        ("1+3+456=___0559", 1),  # "+" is no digit, and read as 0
        ("123^456=___0579", 1),
        ("123+456+___0579", 1),
        ("^^^^^^^^^^^^^^^", 15),  # read as 000+000=___0000
    ],
)
def test_what_is_no_addition_is_counted(small, text, wrong):
    row = small.vocabulary.encode(text)[None]
    assert small.score(row).tolist() == [wrong]
    assert (small.log_prob(row)[0] == -math.inf) == bool(wrong)


def test_the_law_is_that_of_two_numbers(small, usual):
    assert small.log_prob(small.test[:1]).tolist() == [-small.entropy]
    assert small.entropy == pytest.approx(math.log(10**6), rel=1e-14)
    assert usual.entropy == pytest.approx(32 * math.log(10), rel=1e-14)
    digits = np.concatenate([usual.train[:, :16], usual.train[:, 17:33]], axis=1)
    counts = np.bincount(digits.ravel(), minlength=14)
    assert counts[10:].sum() == 0
    error = math.sqrt(digits.size * 0.1 * 0.9)
    assert (np.abs(counts[:10] - digits.size / 10) < 4 * error).all()
    carries = (usual.train[:, 34:50] == 13).mean(axis=0)[::-1]  # into the last digit but one first
    want = (1 - 10.0 ** -np.arange(1, 17)) / 2  # of place n: (1 - 10^-n) / 2
    assert (np.abs(carries - want) < 4 * 0.5 / math.sqrt(len(usual.train))).all()


def test_the_two_numbers_are_given(small):
    for name in ("train", "validation", "test"):
        given = given_of(small, name)
        assert given is not None
        assert [small.show(row[mask]) for row, mask in zip(getattr(small, name)[:5], given)] == [
            small.show(row)[:8] for row in getattr(small, name)[:5]
        ]
        assert (given.sum(axis=1) == 8).all()
    rows = small.test[:50]
    told, alone = baselines_of(small, rows, None), baselines_of(small, rows, small.given("test")[:50])
    for law in told:
        np.testing.assert_array_equal(told[law], alone[law])
    whole = small.baselines(rows, given=np.zeros(rows.shape, bool))
    assert whole["unigram"].mean() != told["unigram"].mean()


def test_no_held_out_row_is_trained_on(small):
    """Of 10^6 rows 8,192 are held out: without the check some 540 of the training rows would be among them."""
    train = {row.tobytes() for row in small.train}
    for part in (small.validation, small.test):
        assert not train & {row.tobytes() for row in part}
    assert [len(part) for part in (small.train, small.validation, small.test)] == [65_536, 4_096, 4_096]


@pytest.mark.parametrize("spec", ["arithmetic", "arithmetic?digits=4"])
def test_a_spec_makes_its_task_again(spec):
    task = from_spec(spec)
    assert task.spec == spec
    assert isinstance(task, Task)
    stored = json.loads(json.dumps(task.describe()))
    again = restore(stored)
    assert again.describe() == stored
    assert vocabulary_of(stored) == task.vocabulary
    assert isinstance(task, ArithmeticTask)
    assert (task.length, task.digits) == ((67, 16) if spec == "arithmetic" else (19, 4))
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, name), getattr(task, name))
        assert not getattr(task, name).flags.writeable
    assert from_spec("arithmetic?digits=16", 67).spec == "arithmetic"


def test_the_draws_are_the_same_for_ever(usual):
    assert usual.show(usual.test[0]) == "8361030845728563+9042350150629097=^_^_______^_^_^^17403380996357660"
    assert usual.digest[:16] == "3fa3d60f7852fdaf"  # frozen: runs and reports rely on it


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: arithmetic(2), "digits must be a whole number from 3 to 256; got 2."),
        (lambda: from_spec("arithmetic?digits=a"), "digits must be a whole number, as in arithmetic?digits=4; got"),
        (
            lambda: from_spec("arithmetic?kinds=2"),
            "spec must be arithmetic or arithmetic?digits=NUMBER; got 'arithmetic?kinds=2'.",
        ),
        (lambda: from_spec("arithmetic?digits=3", 16), "length must be 15, that of the rows of arithmetic?digits=3"),
        (lambda: arithmetic(3).score(np.array([[0] * 14 + [14]])), "tokens must be ids from 0 to 13, without masks"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, says):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)

"""Additions: against Python's integers; carries against sums of the digits behind them; what is given and held out."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from restored_tasks import require_made_again

from mdm_jax.support.errors import InputError
from mdm_jax.tasks import arithmetic, baselines_of, from_spec, given_of
from mdm_jax.tasks.rules.additions import ArithmeticTask, added

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def small():
    return arithmetic(4)


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
    places = stream.randint(10, 19, size=(500, 3))
    np.put_along_axis(rows, places, stream.randint(14, size=(500, 3)).astype(np.int32), axis=1)
    texts = [small.show(row) for row in rows]
    wrong = [sum(a != b for a, b in zip(text, written(*numbers_of(text, 4), 4))) for text in texts]
    assert set(wrong) == {0, 1, 2, 3}
    np.testing.assert_array_equal(small.score(rows), wrong)
    np.testing.assert_array_equal(small.is_valid(rows), [count == 0 for count in wrong])
    assert small.is_valid(jnp.asarray(small.test)).all()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("1230+4560=____05790", 0),
        ("1230+4560=___^05790", 1),
        ("1230+4560=____05890", 1),
        ("1230+4560=000005790", 4),  # a digit is no carry
        ("1+30+4560=____05590", 1),  # "+" is no digit, and read as 0
        ("1230^4560=____05790", 1),
        ("1230+4560+____05790", 1),
        ("^^^^^^^^^^^^^^^^^^^", 19),  # read as 0000+0000=____00000
    ],
)
def test_what_is_no_addition_is_counted(small, text, wrong):
    row = small.vocabulary.encode(text)[None]
    assert small.score(row).tolist() == [wrong]
    assert (small.log_prob(row)[0] == -math.inf) == bool(wrong)


def test_rows_are_drawn_from_the_law(usual):
    """Pairs of digits in all columns of the training rows: chi-squared, less than 4 standard errors from its mean."""
    pair = 10 * usual.train[:, :16] + usual.train[:, 17:33]
    counts = np.bincount(pair.ravel(), minlength=100).reshape(10, 10)
    law = np.full((10, 10), 0.25 / 100) + 0.75 / 10 * np.eye(10)[::-1]  # one column in four uniform, or else 9 in sum
    want = law * pair.size
    statistic = ((counts - want) ** 2 / want).sum()
    assert abs(statistic - 99) / math.sqrt(2 * 99) < 4
    assert usual.entropy == pytest.approx(-16 * (law * np.log(law)).sum(), rel=1e-13)
    each = -np.log(law).ravel()[pair[:1000]].sum(axis=1)
    np.testing.assert_allclose(usual.log_prob(usual.train[:1000]), -each, rtol=1e-13)
    carries = (usual.train[:, 34:50] == 13).mean(axis=0)[::-1]
    chances = [0.25 * 0.45]  # of a carry: out of the last column, 45 of 100 uniform pairs, and so on
    for _ in range(15):
        chances.append(0.25 * (0.45 + 0.1 * chances[-1]) + 0.75 * chances[-1])
    error = np.sqrt(np.array(chances) * (1 - np.array(chances)) / len(usual.train))
    assert (np.abs(carries - chances) < 4 * error).all()


def test_the_two_numbers_are_given(small):
    for name in ("train", "validation", "test"):
        given = given_of(small, name)
        assert given is not None
        assert [small.show(row[mask]) for row, mask in zip(getattr(small, name)[:5], given)] == [
            small.show(row)[:10] for row in getattr(small, name)[:5]
        ]
        assert (given.sum(axis=1) == 10).all()
    rows = small.test[:50]
    told, alone = baselines_of(small, rows, None), baselines_of(small, rows, small.given("test")[:50])
    for law in told:
        np.testing.assert_array_equal(told[law], alone[law])
    whole = small.baselines(rows, given=np.zeros(rows.shape, bool))
    assert whole["unigram"].mean() != told["unigram"].mean()


def test_no_held_out_row_is_trained_on(small):
    """8,192 rows are held out, a quarter of the likeliest 10^4: without the check thousands would be trained on."""
    train = {row.tobytes() for row in small.train}
    for part in (small.validation, small.test):
        assert not train & {row.tobytes() for row in part}
    assert [len(part) for part in (small.train, small.validation, small.test)] == [65_536, 4_096, 4_096]


@pytest.mark.parametrize("spec", ["arithmetic", "arithmetic?digits=5"])
def test_a_spec_makes_its_task_again(spec):
    task = from_spec(spec)
    assert task.spec == spec
    require_made_again(task)
    assert isinstance(task, ArithmeticTask)
    assert (task.length, task.digits) == ((67, 16) if spec == "arithmetic" else (23, 5))
    assert from_spec("arithmetic?digits=16", 67).spec == "arithmetic"


def test_the_draws_are_the_same_for_ever(usual):
    assert usual.show(usual.test[0]) == "8361030845728563+5638968154771439=^______^^^^^^^^^13999999000500002"
    assert usual.digest[:16] == "02dd967677d089fa"  # frozen: runs and reports rely on it


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: arithmetic(3), "digits must be a whole number from 4 to 256; got 3."),
        (lambda: from_spec("arithmetic?digits=a"), "digits must be a whole number, as in arithmetic?digits=4; got"),
        (
            lambda: from_spec("arithmetic?kinds=2"),
            "spec must be arithmetic or arithmetic?digits=NUMBER; got 'arithmetic?kinds=2'.",
        ),
        (lambda: from_spec("arithmetic?digits=4", 16), "length must be 19, that of the rows of arithmetic?digits=4"),
        (lambda: arithmetic(4).score(np.array([[0] * 18 + [14]])), "tokens must be ids from 0 to 13, without masks"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, says):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)

"""Digits and arrays: division, laws against brute-force counts, pictures, files that are refused."""

import json
import os
import sys
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import jax
import numpy as np
import pytest

from mdm_jax import models
from mdm_jax.app.cli import main
from mdm_jax.app.report import gallery, page
from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Numbers, Task, digits, from_spec, npy, restore, vocabulary_of
from mdm_jax.tasks.dealing import deal
from mdm_jax.tasks.rows import RowsTask
from mdm_jax.training import Run, Settings


@pytest.fixture(scope="module")
def pictures():
    return digits()


@pytest.fixture
def save(tmp_path):
    def saved(array, name="some.npy"):
        np.save(tmp_path / name, array)
        return tmp_path / name

    return saved


def refusal(call, *words):
    """The sentence with which ``call`` is refused, after a look at its form."""
    with pytest.raises(InputError) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence
    return sentence


def numbered(rows, length=3):
    """Rows that are all different: the first entry is the row's number."""
    return np.arange(rows)[:, None] * np.array([1] + [0] * (length - 1))


@pytest.mark.core
@pytest.mark.parametrize(("rows", "held_out"), [(20, 2), (29, 2), (30, 3), (1797, 179)])
def test_parts_are_disjoint_and_cover_the_rows(rows, held_out):
    train, validation, test = deal(numbered(rows))
    assert len(validation) == len(test) == held_out
    together = np.concatenate([train, validation, test])[:, 0]
    assert sorted(together.tolist()) == list(range(rows))
    for part in (train, validation, test):
        assert part.dtype == np.int32
        assert not part.flags.writeable


@pytest.mark.core
def test_the_deal_is_the_same_for_ever():
    train, validation, test = deal(numbered(30))
    assert validation[:, 0].tolist() == [2, 28, 13]  # frozen: runs and reports rely on it
    assert test[:, 0].tolist() == [10, 26, 24]
    assert train[:3, 0].tolist() == [27, 11, 17]


@pytest.mark.core
def test_digits_are_the_pictures_of_scikit_learn(pictures):
    from sklearn.datasets import load_digits

    assert isinstance(pictures, Task)
    assert (pictures.spec, pictures.length, pictures.vocab_size) == ("digits", 64, 17)
    rows = np.concatenate([pictures.train, pictures.validation, pictures.test])
    want = np.asarray(load_digits(return_X_y=True)[0])
    assert rows.shape == want.shape == (1797, 64)
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], want[np.lexsort(want.T)])
    assert pictures.digest == "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    again = digits()
    assert again.describe() == pictures.describe()
    np.testing.assert_array_equal(again.train, pictures.train)


@pytest.mark.core
def test_the_score_of_a_digit_is_its_distance_to_the_nearest_training_picture(pictures):
    assert (pictures.score_name, pictures.lower_is_better) == ("distance to the nearest training image", True)
    assert pictures.score(pictures.train[:7]).tolist() == [0.0] * 7
    changed = pictures.train[:3].copy()
    changed[:, 0] += 3  # the corners are blank
    assert pictures.score(changed).tolist() == [3.0] * 3
    rows = pictures.test[:5].astype(float)
    brute = [min(np.sqrt(((row - other) ** 2).sum()) for other in pictures.train.astype(float)) for row in rows]
    np.testing.assert_allclose(pictures.score(pictures.test)[:5], brute, rtol=1e-14)
    many = np.tile(pictures.test[:1], (2500, 1))
    np.testing.assert_array_equal(pictures.score(many), np.full(2500, pictures.score(pictures.test[:1])[0]))
    assert pictures.score(pictures.test[:0]).shape == (0,)


def test_what_position_is_worth_on_digits(pictures):
    bits = {name: values.mean() for name, values in pictures.baselines(pictures.test).items()}
    want = {"unigram": 2.972, "unigram by position": 2.439, "bigram": 2.700, "bigram by position": 2.299}
    assert bits == pytest.approx(want, abs=1e-3)


def test_digits_without_scikit_learn_say_how_to_install_it(monkeypatch, pictures):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    refusal(digits, 'The task "digits" needs scikit-learn', "pip install 'mdm-jax[digits]'")
    refusal(lambda: restore(pictures.describe()), "pip install 'mdm-jax[digits]'; sampling still works")
    assert vocabulary_of(pictures.describe()).decode(pictures.test[0]) == pictures.show(pictures.test[0])


def brute_force(train, rows, vocab_size):
    """Bits per token of every law by its formula, in exact fractions."""
    begin = "begin"
    contexts = {
        "unigram": lambda place, before: None,
        "unigram by position": lambda place, before: place,
        "bigram": lambda place, before: before,
        "bigram by position": lambda place, before: (place, before),
    }
    lower = {"unigram by position": "unigram", "bigram": "unigram", "bigram by position": "unigram by position"}
    following = {name: {} for name in contexts}
    for row in train:
        for place, (before, token) in enumerate(pairwise([begin, *row])):
            for name, context in contexts.items():
                following[name].setdefault(context(place, before), Counter())[token] += 1

    def probability(name, place, before, token):
        base = probability(lower[name], place, before, token) if name in lower else Fraction(1, vocab_size)
        counts = following[name].get(contexts[name](place, before))
        return base if counts is None else (counts[token] + len(counts) * base) / (counts.total() + len(counts))

    def bits(name, row):
        law = [probability(name, place, before, token) for place, (before, token) in enumerate(pairwise([begin, *row]))]
        return float(np.mean([-np.log2(float(each)) for each in law]))

    return {name: [bits(name, row) for row in rows] for name in contexts}


@pytest.mark.core
@pytest.mark.parametrize("vocab_size", [5, 9, 2**20])
def test_the_laws_are_those_counted_by_brute_force(save, vocab_size):
    random = np.random.default_rng(0)
    array = np.minimum(random.integers(0, 5, (40, 6)), random.integers(1, 5, 6))
    array[0, 0] = 4
    task = npy(save(array), vocab_size)
    rows = random.integers(0, min(vocab_size, 9), (12, 6))  # with pairs and tokens that never occurred
    want = brute_force(task.train.tolist(), rows.tolist(), vocab_size)
    got = task.baselines(rows)
    assert list(got) == list(want)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-12)
    np.testing.assert_array_equal(task.score(rows), got["bigram by position"])
    assert task.score_name == "bits per token of the bigram by position"


@pytest.mark.core
def test_every_law_sums_to_one(save):
    task = npy(save(np.random.default_rng(1).integers(0, 4, (30, 2))))
    every = np.stack(np.meshgrid(*[np.arange(4)] * 2), axis=-1).reshape(-1, 2)
    for bits in task.baselines(every).values():
        assert np.exp2(-2 * bits).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.core
@pytest.mark.parametrize("kind", ["uint8", "int16", ">i4", "int64", "uint64"])
def test_arrays_of_any_integer_type_are_tasks(save, kind):
    array = (np.arange(150).reshape(30, 5) % 7).astype(kind)
    for order in (array, np.asfortranarray(array)):
        path = save(order)
        task = npy(path)
        assert isinstance(task, Task)
        assert (task.length, task.vocab_size, task.spec) == (5, 7, f"npy:{path}")
        rows = np.concatenate([task.train, task.validation, task.test])
        assert sorted(rows.tolist()) == sorted(array.tolist())
        assert task.show(np.array([3, 0, 7, 6, 1])) == "3 0 · 6 1"


@pytest.mark.core
def test_specs_of_arrays_are_read_back(save, tmp_path, monkeypatch):
    path = save(np.arange(60).reshape(30, 2) % 7, "a b?vocab=x.npy")
    monkeypatch.chdir(tmp_path)
    task = from_spec("npy:a b?vocab=x.npy?vocab=300")
    assert (task.spec, task.vocab_size) == (f"npy:{path}?vocab=300", 300)
    assert from_spec(task.spec, 2).describe() == task.describe()
    refusal(
        lambda: from_spec("npy:a b?vocab=x.npy"),
        "npy:a b?vocab=x.npy is read as the file 'a b' with the settings 'vocab=x.npy', and there is a file 'a b?vocab",
    )
    refusal(lambda: from_spec("npy:a b?vocab=y"), "vocab must be a whole number, as in npy:PATH?vocab=256; got 'y'")
    refusal(lambda: from_spec(f"npy:{path}?vocab=6"), "vocab must be larger than every number", "is 6.")
    refusal(lambda: from_spec(f"npy:{path}?vocab=1"), "vocab must be a whole number from 2 to 1048576; got 1")
    refusal(lambda: from_spec(f"npy:{path}?vocab=9999999"), "vocab must be a whole number from 2 to 1048576")
    refusal(lambda: from_spec(f"npy:{path}?vocab=7", 3), "length must be 2, that of the rows of npy:", "got 3")
    refusal(lambda: from_spec("digits", 32), "length must be 64, that of the rows of digits, or left out; got 32")
    assert from_spec("digits", 64).length == from_spec("digits").length == 64


@pytest.mark.core
def test_a_description_survives_json_and_restores_the_task(save, pictures):
    path = save(np.arange(60).reshape(30, 2) % 7)
    for task in (pictures, npy(path), npy(path, 12)):
        description = json.loads(json.dumps(task.describe(), allow_nan=False))
        assert list(description) == ["spec", "length", "vocab_size", "digest", "vocabulary"]
        again = restore(description)
        assert type(again) is type(task)
        assert again.describe() == task.describe()
        for name in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(again, name), getattr(task, name))
        assert vocabulary_of(description) == task.vocabulary
    rest = "sampling still works from the stored vocabulary"
    np.save(path, (np.arange(60).reshape(30, 2) + 1) % 7)
    refusal(lambda: restore(description), "its data has changed since", rest)
    path.unlink()
    refusal(lambda: restore(description), "does not exist; sampling still works")
    refusal(lambda: restore(pictures.describe() | {"digest": "0"}), "'digits' cannot be restored", "has changed")
    for bad in ({}, {"numbers": "7"}, {"numbers": 7, "picture": 3}, {"numbers": 7, "picture": [True, 2]}):
        refusal(lambda bad=bad: vocabulary_of({"vocabulary": bad}), "its vocabulary is malformed")
    refusal(
        lambda: vocabulary_of({"vocabulary": {"numbers": 1}}), "size must be a whole number from 2 to 2147483647; got 1"
    )


@pytest.mark.core
def test_other_arrays_are_refused_in_one_sentence(save, tmp_path):
    rows = np.arange(60).reshape(30, 2) % 7
    start = "path must be an .npy file of integers of shape [rows, length] or [rows, height, width]; '"

    def refused(array, *words):
        refusal(lambda: npy(save(array)), start, "some.npy'", *words)

    refused(rows.astype(np.float32), "holds float32.")
    refused(rows > 3, "holds bool.")
    refused(rows.astype(str), "holds <U")
    refused(rows.astype(object), "holds pickled Python objects, which are never loaded")
    refused(rows - 2, "holds negative numbers, -2 at the least")
    refused(rows.ravel(), "has the shape [60], as mdm.tasks.tokens takes it")
    refused(rows[None, None], "has the shape [1, 1, 30, 2]")
    refused(rows[None], "has 1 rows, fewer than 20")
    refused(np.int64(3), "has the shape []")
    refused(rows[:19], "has 19 rows, fewer than 20 (at least two are to choose by, as many to judge by).")
    refused(rows[:0], "has 0 rows")
    refused(rows[:, :1], "has rows of length 1, less than 2")
    refused(rows[:, :0], "has rows of length 0, less than 2")
    refused(0 * rows, "has 0 as its largest number; it must be from 1 to 1048575")
    refused(rows + 2**20, "has 1048582 as its largest number")
    refused(rows.astype(np.uint64) + np.uint64(2**63), "has 92233720368547758")


@pytest.mark.core
def test_files_that_hold_no_array_are_refused_in_one_sentence(save, tmp_path):
    rows = np.arange(60).reshape(30, 2) % 7
    whole = save(rows).read_bytes()
    file = tmp_path / "other.npy"

    def refused(content, *words):
        file.write_bytes(content)
        refusal(lambda: npy(file), "path must be an .npy file of integers", "other.npy'", *words)

    refused(b"", "is empty")
    refused(b"1 2 3\n" * 30, "does not begin as numpy.save begins a file")
    refused(b"\x80\x04" + whole, "is a pickle, which is never loaded")
    np.savez(tmp_path / "many.npz", rows)
    refused((tmp_path / "many.npz").read_bytes(), "is a .npz or other zip archive")
    refused(whole[:-8], "is damaged (")
    refused(whole[:40], "is damaged (")
    refused(whole[:7], "is damaged (")
    refused(whole[:6] + b"\x03" + whole[7:], "has the format 3.0")
    refused(whole[:6] + b"\x09" + whole[7:], "has the format 9.0")
    refused(whole.replace(b"(30, 2)", b"(-3, 2)"), "has -3 rows")
    refused(whole.replace(b"(30, 2), }     ", b"(9999999, 999)}"), "more than the limit of 1073741824")
    file.unlink()
    refusal(lambda: npy(file), "other.npy' does not exist")
    refusal(lambda: npy(tmp_path), "is a directory")
    refusal(lambda: npy(""), "path must be the path of an .npy file; got ''")
    refusal(lambda: npy("a\0b"), "cannot be read (")
    refusal(lambda: npy("~nobody-of-that-name/x"), "does not exist")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
def test_pipes_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refusal(lambda: npy(tmp_path / "pipe"), "is not a regular file")


@pytest.mark.core
def test_rows_with_masks_or_of_another_length_are_not_scored(pictures):
    row = pictures.test[:1].copy()
    row[0, 5] = 17
    refusal(lambda: pictures.score(row), "ids from 0 to 16, without masks", "length index 5")
    refusal(lambda: pictures.baselines(row[:, :5]), "tokens must be rows of length 64; got shape (1, 5)")
    refusal(lambda: RowsTask.score(pictures, row), "without masks")


@pytest.mark.core
def test_pictures_are_shown_in_five_shades():
    picture = Numbers(17, (2, 4))
    row = np.array([0, 1, 4, 5, 8, 9, 16, 17])
    assert picture.decode(row) == "  ░░░░▒▒\n▒▒▓▓██··"
    assert picture.decode(row[:3]) == "0 1 4"
    assert picture.pieces(row) == ["0", "1", "4", "5", "8", "9", "16", "·"]
    assert Numbers(2, (1, 2)).decode(np.array([0, 1])) == "  ██"


@pytest.mark.core
def test_numbers_are_read_and_written():
    numbers = Numbers(300)
    row = numbers.encode("  0 299\n7 ", mask="□")
    assert row.dtype == np.int32
    assert row.tolist() == [0, 299, 7]
    assert numbers.decode(row) == "0 299 7" == "".join(numbers.pieces(row))
    assert numbers.encode("□□ 1 □", mask="□").tolist() == [300, 300, 1, 300]
    assert numbers.encode("").shape == (0,)
    refusal(lambda: numbers.encode("1 300"), "numbers from 0 to 299", "got '300' as number 2")
    for bad in ("x", "-1", "1.5", "٣", "²", "1,2", "9" * 5000, "□"):
        refusal(lambda bad=bad: numbers.encode(f"1 {bad}"), "numbers from 0 to 299", "as number 2")
    for mask in ("", "5", " ", "-", "ab"):
        refusal(lambda mask=mask: numbers.encode("1", mask=mask), "mask must be one character that is no digit")
    refusal(lambda: numbers.decode(np.array([301])), "ids from 0 to 299 or the mask 300", "got 301")
    refusal(lambda: Numbers(17, (0, 4)), "shape must be a whole number, 1 or more; got 0")


@pytest.mark.core
def test_the_report_draws_pictures_and_writes_what_is_none():
    notation = Numbers(17, (1, 4))
    row = {"pieces": ["0", "8", "16", "8"], "reveal_step": [-1, 0, 1, 1]}
    html = gallery.one_sample(row, 2, 100, notation)
    assert html == page.picture([0, 8, 16, 8], row["reveal_step"], 2, 16, 4)
    assert '<path d="M1 0h1v1h-1zM3 0h1v1h-1z" opacity="0.5"/><path d="M2 0h1v1h-1z" opacity="1"/>' in html
    assert '<path d="M0 0h1v1h-1z" style="fill:var(--line)"><title>given</title></path>' in html
    assert '<path d="M1 0h1v1h-1z" style="fill:var(--r0)"><title>step 1</title></path>' in html
    assert '<path d="M2 0h1v1h-1zM3 0h1v1h-1z" style="fill:var(--r15)"><title>step 2</title></path>' in html
    assert "<pre" in gallery.one_sample(row, 2, 100, None)
    assert "<pre" in gallery.one_sample(row, 2, 100, Numbers(17))
    assert "<pre" in gallery.one_sample(row | {"pieces": ["<", "8", "16", "8"]}, 2, 100, notation)


@pytest.mark.core
@pytest.mark.parametrize(
    ("task", "says"),
    [
        (["npy:none.npy"], "none.npy' does not exist"),
        (["digits", "--length", "32"], "length must be 64"),
        (["npy"], 'spec must be "text"'),
        (["code", "--length", "1"], "length must be a whole number, 2 or more; got 1"),
    ],
)
def test_the_command_line_refuses_in_one_sentence(task, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "run", "--task", *task]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_samples_are_read_and_shown_as_numbers(save, monkeypatch, capsys):
    """The command on a model that has learnt nothing."""
    task = npy(save((np.arange(40)[:, None] + np.arange(6)) % 5))
    denoiser = models.transformer(5, length=6, width=8, depth=1, heads=1)
    params = denoiser.init(jax.random.key(0), 6)
    run = Run(denoiser, params, None, Settings(length=6), 0, task.describe())
    monkeypatch.setattr("mdm_jax.app.work.sampling.load", lambda *_, **__: run)
    sample = ["sample", "run", "--schedule", "linear", "--steps", "3", "--rows", "1"]
    capsys.readouterr()
    assert main([*sample, "--infill", "3 □□ 1", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["samples"][0]
    assert row["text"].split()[0] == "3"
    assert row["text"].split()[3] == "1"
    assert "".join(row["pieces"]) == row["text"]
    assert main([*sample, "--prompt", "3 4 0 1 2 3 4"]) == 2
    assert "--prompt must be at most 6 numbers long, as the model is; got 7." in capsys.readouterr().err
    assert main([*sample, "--prompt", "the"]) == 2
    assert "--prompt must be numbers from 0 to 4" in capsys.readouterr().err

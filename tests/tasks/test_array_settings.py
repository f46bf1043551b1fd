"""What may stand behind ``npy:PATH?``: pictures, alphabets, lengths, padding, labels, prompts; labels of digits."""

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.support.ragged import ABSENT, lengths
from mdm_jax.tasks import (
    Alphabet,
    Numbers,
    baselines_of,
    context_of,
    digits,
    from_spec,
    given_of,
    notes_of,
    npy,
    restore,
    sudoku4,
    vocabulary_of,
)
from mdm_jax.tasks.array_files import TokensTask
from mdm_jax.tasks.repeats import repeated
from mdm_jax.tasks.rows import counted

pytestmark = pytest.mark.core
PARTS = ("train", "validation", "test")
RANDOM = np.random.default_rng(0)
ROWS = RANDOM.integers(0, 4, (60, 12))
LENGTHS = RANDOM.integers(1, 13, 60)
LABELS = RANDOM.integers(0, 3, 60)
PROMPT = np.arange(12) < RANDOM.integers(0, 12, 60)[:, None]


def refusal(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


@pytest.fixture
def folder(tmp_path, monkeypatch):
    place = tmp_path.resolve()
    monkeypatch.chdir(place)
    for name, array in (
        ("rows", ROWS),
        ("lengths", LENGTHS),
        ("labels", LABELS.astype(np.uint8)),
        ("prompt", PROMPT),
        ("pictures", ROWS.reshape(60, 3, 4)),
        ("cut", np.where(np.arange(12) < LENGTHS[:, None], ROWS, -7)),
    ):
        np.save(f"{name}.npy", array)
    return place


def dealt(rows):
    """The split by its rule."""
    order, held = np.random.RandomState(0).permutation(len(rows)), len(rows) // 10
    return {"validation": rows[order[:held]], "test": rows[order[held : 2 * held]], "train": rows[order[2 * held :]]}


def stored(task):
    return json.loads(json.dumps(task.describe(), allow_nan=False))


SPECS = [
    "pictures.npy",
    "rows.npy?shape=3x4",
    "rows.npy?vocab=9&shape=2x6",
    "rows.npy?alphabet=TGCA",
    "rows.npy?lengths=lengths.npy",
    "rows.npy?alphabet=TGCA&lengths=lengths.npy",
    "cut.npy?pad=-7",
    "rows.npy?pad=3&labels=labels.npy",
    "pictures.npy?labels=labels.npy",
    "pictures.npy?prompt=prompt3.npy",
    "rows.npy?vocab=6&labels=labels.npy&prompt=prompt.npy",
]


@pytest.mark.parametrize("spec", SPECS)
def test_every_spec_is_restored(folder, spec):
    np.save("prompt3.npy", PROMPT.reshape(60, 3, 4))
    task = from_spec(f"npy:{spec}")
    again = restore(stored(task))
    assert again.describe() == task.describe()
    assert type(again) is type(task)
    assert again.notes == task.notes
    assert again.show(again.test[0]) == task.show(task.test[0])
    assert vocabulary_of(stored(task)) == task.vocabulary
    for part in PARTS:
        np.testing.assert_array_equal(getattr(again, part), getattr(task, part))
        np.testing.assert_array_equal(given_of(again, part), given_of(task, part))
        mine, theirs = context_of(task, part), context_of(again, part)
        assert (mine is None) == (theirs is None) == ("labels" not in spec)
        if mine is not None:
            np.testing.assert_array_equal(mine["label"], theirs["label"])
    assert task.spec.startswith(f"npy:{folder}/")
    assert from_spec(task.spec).spec == task.spec


def test_pictures_are_rows_with_a_shape(folder):
    flat, solid = from_spec("npy:rows.npy?shape=3x4"), npy("pictures.npy")
    assert flat.vocabulary == solid.vocabulary == Numbers(4, (3, 4))
    np.testing.assert_array_equal(flat.train, solid.train)
    assert solid.spec == f"npy:{folder}/pictures.npy" == npy("pictures.npy", shape=(3, 4)).spec
    assert flat.spec == npy("rows.npy", shape=(3, 4)).spec == f"npy:{folder}/rows.npy?shape=3x4"
    assert solid.show(solid.test[0]).count("\n") == 2
    assert flat.score(flat.test).tolist() == npy("rows.npy").score(flat.test).tolist()
    refusal(lambda: npy("rows.npy", shape=(3, 3)), "shape must have as many pixels as a row of", "12; 3 x 3 are 9.")
    refusal(lambda: npy("pictures.npy", shape=(4, 3)), "shape must be (3, 4), that of the pictures in", "got (4, 3)")
    refusal(lambda: from_spec("npy:rows.npy?shape=3"), "shape must be height and width, as in npy:PATH?shape=14x14")
    refusal(lambda: from_spec("npy:rows.npy?shape=0x3"), "shape must be a whole number, 1 or more; got 0")
    for settings in ("alphabet=abcd", "lengths=lengths.npy", "pad=3"):
        name = settings.partition("=")[0]
        said = f"{name} must be left out where rows are pictures; the array in", "has the shape [60, 3, 4]. Store"
        refusal(lambda settings=settings: from_spec(f"npy:pictures.npy?{settings}"), *said)
        said = f"shape must be left out beside {name}: pictures have neither letters nor ends; got (3, 4)."
        refusal(lambda settings=settings, said=said: from_spec(f"npy:rows.npy?shape=3x4&{settings}"), said)


def test_ids_are_written_in_the_order_of_an_alphabet(folder):
    task = npy("rows.npy", alphabet="TGCA")
    assert task.vocabulary == Alphabet("TGCA")
    assert [task.show(row) for row in task.test] == ["".join("TGCA"[token] for token in row) for row in task.test]
    row = task.vocabulary.encode("ACG□T", mask="□")
    assert row.tolist() == [3, 2, 1, 4, 0]
    assert task.vocabulary.decode(row) == "ACG·T" == "".join(task.vocabulary.pieces(row))
    assert task.vocab_size == npy("rows.npy", 4, alphabet="TGCA").vocab_size == 4
    assert npy("rows.npy", alphabet="TGCAN").vocab_size == 5
    refusal(
        lambda: npy("rows.npy", alphabet="TGC"), "alphabet must have a character for every number in", "is 3; got 3"
    )
    refusal(lambda: npy("rows.npy", alphabet="TGCC"), "alphabet must be distinct characters, two at the least")
    refusal(
        lambda: npy("rows.npy", 5, alphabet="TGCA"), "vocab must be 4, the size of the alphabet, or left out; got 5"
    )
    refusal(lambda: task.vocabulary.encode("U"), "text must use only the 4 characters of the vocabulary")
    refusal(lambda: vocabulary_of({"vocabulary": {"alphabet": 3}}), "its vocabulary is malformed")


def test_rows_end_where_their_lengths_say(folder):
    wanted = dealt(np.where(np.arange(12) < LENGTHS[:, None], ROWS, ABSENT))
    for task in (npy("rows.npy", lengths="lengths.npy"), npy("cut.npy", lengths="lengths.npy"), npy("cut.npy", pad=-7)):
        for part in PARTS:
            np.testing.assert_array_equal(getattr(task, part), wanted[part])
        assert task.vocab_size == 4
        assert task.describe()["lengths"] == np.bincount(lengths(task.train), minlength=13).tolist()
        told = f"Rows have {LENGTHS.min()} to {LENGTHS.max()} tokens, {LENGTHS.mean():.1f} on average."
        assert notes_of(task)[0] == told
        assert task.show(task.test[0]) == " ".join(str(token) for token in task.test[0] if token != ABSENT)
    np.save("whole.npy", np.full(60, 12))
    assert "lengths" not in npy("rows.npy", lengths="whole.npy").describe()


def test_padding_within_a_row_is_a_token(folder):
    rows = np.tile([[2, 0, 1, 0, 0], [1, 0, 0, 0, 0], [2, 2, 2, 2, 2]], (10, 1))
    np.save("padded.npy", rows)
    task = npy("padded.npy", pad=0)
    ends = {tuple(row) for part in PARTS for row in getattr(task, part).tolist()}
    assert ends == {(2, 0, 1, -1, -1), (1, -1, -1, -1, -1), (2, 2, 2, 2, 2)}
    assert task.vocab_size == 3  # 0 is a token, since it stands before a 1
    np.save("padded.npy", np.where(rows == 0, 7, rows))
    assert npy("padded.npy", pad=7).vocab_size == 8  # for the same reason
    rows[:, 1:3] = 1
    np.save("padded.npy", np.where(rows == 0, 7, rows))
    assert npy("padded.npy", pad=7).vocab_size == 3  # at ends alone
    rows[17] = 0
    np.save("padded.npy", rows)
    refusal(lambda: npy("padded.npy", pad=0), "pad must leave a token in every row; row 17 of ", "is all 0.")
    refusal(lambda: npy("rows.npy", pad=0, lengths="lengths.npy"), "pad must be left out where lengths are given")
    refusal(lambda: from_spec("npy:rows.npy?pad=x"), "pad must be a whole number, as in npy:PATH?pad=0; got 'x'")


def brute_force(train, rows, vocab_size):
    """The bigram by position of rows of different lengths, by loops over their tokens alone."""
    trimmed = [[token for token in row if token != -1] for row in train]

    def smoothed(counts, token, lower):
        return (
            lower if not counts else (counts.count(token) + len(set(counts)) * lower) / (len(counts) + len(set(counts)))
        )

    def bits(row):
        row, found = [token for token in row if token != -1], []
        for place, (before, token) in enumerate(pairwise(["begin", *row])):
            law = smoothed([each for other in trimmed for each in other], token, 1 / vocab_size)
            law = smoothed([other[place] for other in trimmed if len(other) > place], token, law)
            pairs = [["begin", *other][place : place + 2] for other in trimmed if len(other) > place]
            found.append(-np.log2(smoothed([second for first, second in pairs if first == before], token, law)))
        return found

    return [bits(row) for row in rows]


def test_the_laws_of_ragged_rows_are_those_counted_by_brute_force(folder):
    task = npy("rows.npy", lengths="lengths.npy")
    want = brute_force(task.train.tolist(), task.test.tolist(), 4)
    np.testing.assert_allclose(task.score(task.test), [np.mean(bits) for bits in want], rtol=1e-12)
    given = np.arange(12) < 3
    got = task.baselines(task.test, given=np.tile(given, (len(task.test), 1)))["bigram by position"]
    free = [bits[3:] if len(bits) > 3 else bits for bits in want]
    np.testing.assert_allclose(got, [np.mean(bits) for bits in free], rtol=1e-12)
    short = np.array([[token, *[ABSENT] * 11] for token in range(4)])
    assert all(np.exp2(-bits).sum() == pytest.approx(1, abs=1e-12) for bits in task.baselines(short).values())
    refusal(lambda: counted(task.test, given[:3]), "given must be a bool array of shape [6, 12]; got bool (3,)")


def test_labels_are_dealt_as_the_rows_are(folder):
    task = from_spec("npy:rows.npy?labels=labels.npy")
    rows, labels = dealt(ROWS), dealt(LABELS)
    assert task.classes == task.describe()["classes"] == 3
    for part in PARTS:
        context = context_of(task, part)
        assert list(context) == ["label"]
        assert context["label"].dtype == np.int32
        np.testing.assert_array_equal(context["label"], labels[part])
        np.testing.assert_array_equal(getattr(task, part), rows[part])
    refusal(
        lambda: npy("rows.npy", labels="rows.npy"),
        "labels must be an .npy file of whole numbers from 0 on, one for each of the 60 rows",
        "has the shape [60, 12]",
    )
    np.save("labels.npy", LABELS - 1)
    row = int(np.argmax(LABELS == 0))
    refusal(lambda: npy("rows.npy", labels="labels.npy"), f"labels.npy' has -1 for row {row}.")
    np.save("labels.npy", LABELS / 2)
    refusal(lambda: npy("rows.npy", labels="labels.npy"), "labels.npy' holds float64")
    refusal(lambda: npy("rows.npy", labels="none.npy"), "labels must be an .npy file of", "none.npy' does not exist")


def test_prompts_are_dealt_as_the_rows_are(folder):
    task = from_spec("npy:rows.npy?prompt=prompt.npy")
    for part, wanted in dealt(PROMPT).items():
        np.testing.assert_array_equal(given_of(task, part), wanted)
    given = given_of(task, "test")
    got = baselines_of(task, task.test, given)["bigram by position"]
    want = brute_force(task.train.tolist(), task.test.tolist(), 4)
    np.testing.assert_allclose(got, [np.mean(np.array(bits)[~row]) for bits, row in zip(want, given)], rtol=1e-12)
    full = PROMPT.copy()
    full[33] = True
    np.save("prompt.npy", full)
    refusal(
        lambda: npy("rows.npy", prompt="prompt.npy"), "prompt must leave a token to be learned in every row; row 33"
    )
    np.save("prompt.npy", PROMPT)
    refusal(
        lambda: npy("rows.npy", prompt="prompt.npy", lengths="lengths.npy"), "prompt must leave a token", "leaves none"
    )
    refusal(
        lambda: npy("rows.npy", prompt="labels.npy"), "prompt must be an .npy file of truth values of shape [60, 12]"
    )
    refusal(lambda: npy("pictures.npy", prompt="prompt.npy"), "truth values of shape [60, 3, 4]", "the shape [60, 12]")


def test_lengths_that_are_none_are_refused(folder):
    for bad, said in ((0, "has 0 for row 5"), (13, "has 13 for row 5"), (-1, "has -1 for row 5")):
        np.save("lengths.npy", np.where(np.arange(60) == 5, bad, LENGTHS))
        start = "lengths must be an .npy file of whole numbers from 1 to 12, one for each of the 60 rows"
        refusal(lambda: npy("rows.npy", lengths="lengths.npy"), start, said)


def test_changed_files_beside_the_array_are_noticed(folder):
    task = npy("rows.npy", labels="labels.npy", lengths="lengths.npy")
    description = stored(task)
    assert description["digest"] != npy("rows.npy").digest
    np.save("labels.npy", LABELS[::-1].astype(np.uint8))
    refusal(lambda: restore(description), "its data has changed since")
    swapped = dataclasses.replace(task, labels=tuple(part[::-1].copy() for part in task.labels))
    refusal(lambda: restore(stored(swapped)), "its arrays were put in by hand")
    bare = dataclasses.replace(task, labels=None, classes=None)
    refusal(lambda: restore(stored(bare)), "its arrays were put in by hand")
    wrong = tuple(part[:-1] for part in task.labels)
    refusal(
        lambda: dataclasses.replace(task, labels=wrong), "labels must be int32 of shape [48]; got int32 of shape (47"
    )


def test_duplicates_across_the_split_are_counted_by_brute_force(folder):
    rows = RANDOM.integers(0, 2, (200, 5))
    np.save("few.npy", rows)
    parts = dealt(rows)
    train = {tuple(row) for row in parts["train"].tolist()}
    counts = [sum(tuple(row) in train for row in parts[part].tolist()) for part in ("validation", "test")]
    said = f"{counts[0]} of 20 validation rows and {counts[1]} of 20 test rows also stand among the training rows"
    assert notes_of(npy("few.npy"))[0].startswith(said)
    assert notes_of(npy("rows.npy")) == ()
    train = RANDOM.integers(-1, 3, (500, 4))
    held = RANDOM.integers(-1, 3, (90, 4))
    known = {tuple(row) for row in train.tolist()}
    assert repeated(train, held).tolist() == [tuple(row) in known for row in held.tolist()]


def test_a_refusal_says_what_the_data_may_want(folder):
    refusal(lambda: npy("cut.npy"), "holds negative numbers, -7 at the least; if -7 fills up rows, give pad=-7.")
    assert npy("cut.npy", pad=-7).train.min() == -1


def test_streams_and_specs_that_contradict_each_other(folder):
    np.save("stream.npy", np.arange(2000) % 5)
    task = from_spec("npy:stream.npy?vocab=7", 10)
    assert isinstance(task, TokensTask)
    assert (task.train.ndim, task.vocab_size, task.length) == (1, 7, 10)
    assert restore(stored(task)).describe() == task.describe()
    refusal(
        lambda: from_spec("npy:stream.npy?pad=0", 10), "spec must be without them: that file is one stream of tokens"
    )


def test_digits_with_labels_are_the_digits_of_scikit_learn():
    from sklearn.datasets import load_digits

    task, plain = from_spec("digits?labels"), digits()
    pixels, shown = load_digits(return_X_y=True)
    rows, labels = dealt(pixels), dealt(shown)
    assert (task.spec, task.classes) == ("digits?labels", 10)
    for part in PARTS:
        np.testing.assert_array_equal(getattr(task, part), rows[part])
        np.testing.assert_array_equal(context_of(task, part)["label"], labels[part])
        assert context_of(plain, part) is None
    assert restore(stored(task)).describe() == task.describe()
    assert task.score(task.test).tolist() == plain.score(plain.test).tolist()
    assert "classes" not in plain.describe()


def test_clues_of_a_grid_are_not_counted():
    task = sudoku4()
    given = np.random.default_rng(0).random(task.test[:4].shape) < 0.5
    whole = [task.baselines(task.test[:4], given=given | (np.arange(16) != cell))["no repeats"] for cell in range(16)]
    want = np.where(given, 0, np.stack(whole, axis=1)).sum(axis=1) / (~given).sum(axis=1)
    np.testing.assert_allclose(task.baselines(task.test[:4], given=given)["no repeats"], want * 1.0, rtol=1e-12)
    refusal(
        lambda: dataclasses.replace(task, prompts=(np.ones((1, 1), bool),) * 3), "task.given('train') must be None or"
    )

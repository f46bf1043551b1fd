"""Tasks however they were made: one file has one spelling, and what a run cannot restore it says."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Numbers, Vocabulary, digits, npy, restore, text
from mdm_jax.tasks.dealing import deal
from mdm_jax.tasks.rows import RowsTask
from mdm_jax.tasks.text_files import from_content

ROWS = np.random.default_rng(0).integers(0, 4, (60, 9))
WORDS = "the quick brown fox " * 40
OWN = "sampling still works from the stored vocabulary, but to train it further give the task itself to fit"

pytestmark = pytest.mark.core


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with an array, a text, and links and folders beside them."""
    place = tmp_path.resolve()
    monkeypatch.chdir(place)
    np.save("rows.npy", ROWS)
    (place / "words.txt").write_text(WORDS)
    (place / "sub" / "deep").mkdir(parents=True)
    os.symlink("rows.npy", "linked.npy")
    os.symlink(place / "sub", "folder")
    return place


def stored(task):
    """Its description after a stay in a file."""
    return json.loads(json.dumps(task.describe()))


def refusal(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


def spellings(name, folder):
    return (name, f"./{name}", f"sub/../{name}", f"sub//deep/../../{name}", f"folder/deep/../../{name}", folder / name)


def test_one_file_has_one_spelling(folder, monkeypatch):
    wanted = f"npy:{folder}/rows.npy"
    assert {npy(path).spec for path in (*spellings("rows.npy", folder), "linked.npy")} == {wanted}
    assert {text(8, path).spec for path in spellings("words.txt", folder)} == {f"text:{folder}/words.txt"}
    monkeypatch.chdir(folder / "sub")
    assert npy("../rows.npy").describe() == npy(folder / "rows.npy").describe()
    assert npy("../linked.npy", 9).spec == f"{wanted}?vocab=9"


def test_descriptions_of_other_spellings_are_restored_and_the_digest_decides(folder, monkeypatch):
    """Runs of before have the path as it was given, made absolute: with "..", or through a link."""
    for spec in (f"npy:{folder}/sub/../rows.npy", f"npy:{folder}/linked.npy"):
        task = restore(stored(npy("rows.npy")) | {"spec": spec})
        assert task.spec == f"npy:{folder}/rows.npy"
        np.testing.assert_array_equal(task.train, npy("rows.npy").train)
    old = stored(npy("linked.npy"))
    np.save("other.npy", ROWS[::-1])
    (folder / "linked.npy").unlink()
    os.symlink("other.npy", "linked.npy")
    assert restore(old).digest == old["digest"]  # the link now leads to other data, and the run does not
    refusal(lambda: restore(old | {"spec": f"npy:{folder}/linked.npy"}), "its data has changed since")


def test_a_size_in_a_name_is_not_taken_for_one(folder):
    path = folder / "a?vocab=7"
    with path.open("wb") as stream:
        np.save(stream, ROWS)
    task = npy(path)
    assert task.spec == f"npy:{path}?vocab=4"
    assert restore(stored(task)).describe() == task.describe()


def test_a_vocabulary_that_was_set_by_hand_is_stored_and_restored(folder):
    plain = npy("rows.npy")
    for vocabulary in (Numbers(4, (3, 3)), Numbers(9), Numbers(300, (1, 9))):
        task = dataclasses.replace(plain, vocabulary=vocabulary)
        again = restore(stored(task))
        assert again.vocabulary == vocabulary
        assert again.vocab_size == vocabulary.size
        assert again.describe() == task.describe()
        assert again.show(again.test[0]) == task.show(task.test[0])
        np.testing.assert_array_equal(again.score(again.test), task.score(task.test))
    pictures = digits()
    again = restore(stored(dataclasses.replace(pictures, vocabulary=Numbers(17))))
    assert again.vocabulary == Numbers(17)
    assert type(again) is type(pictures)
    words = text(8, "words.txt")
    other = Vocabulary("".join(map(chr, range(600, 600 + words.vocab_size))))
    assert restore(stored(dataclasses.replace(words, vocabulary=other))).show(words.test[0])[0] in other.characters


def test_a_vocabulary_that_does_not_fit_is_refused(folder):
    plain = npy("rows.npy")
    refusal(lambda: dataclasses.replace(plain, vocabulary=Numbers(3)), "train must be ids from 0 to 2; got 3 at rows")
    small = stored(plain) | {"vocabulary": {"numbers": 3}}
    refusal(lambda: restore(small), "the stored vocabulary does not fit its data (train must be ids from 0 to 2; got 3")
    odd = stored(plain) | {"vocab_size": 5}
    refusal(lambda: restore(odd), "its vocab_size is 4, and was 5")


@pytest.mark.parametrize("name", ["train", "validation", "test"])
def test_arrays_that_were_put_in_by_hand_are_not_taken_for_those_of_the_file(folder, name):
    for task in (npy("rows.npy"), text(8, "words.txt"), digits()):
        mine = getattr(task, name)
        same = dataclasses.replace(task, **{name: mine.copy()})
        assert same.describe() == task.describe()  # what they are counts, not where they lie
        other = dataclasses.replace(task, **{name: mine[:-2].copy()})
        assert other.describe() != task.describe()
        assert other.digest == task.digest
        refusal(lambda task=other: restore(stored(task)), "its arrays were put in by hand", OWN)
        turned = dataclasses.replace(task, **{name: mine[::-1].copy()})
        assert stored(turned)["arrays"] != stored(other)["arrays"]


def test_other_fields_and_other_classes(folder):
    class Mine(RowsTask):
        def score(self, tokens):
            return np.zeros(len(tokens))

    task = npy("rows.npy")
    refusal(lambda: restore(stored(dataclasses.replace(task, spec="mine"))), "it is a task of your own", OWN)
    refusal(lambda: restore(stored(dataclasses.replace(task, digest="0"))), "its data has changed since")
    refusal(
        lambda: dataclasses.replace(text(8, "words.txt"), length=4), "validation must be rows of length 4, at least"
    )
    mine = Mine(task.spec, task.vocabulary, *task.made, task.digest, task.made)
    refusal(lambda: restore(stored(mine)), "its class is your own", OWN)
    bare = RowsTask("npy:rows.npy", Numbers(4), *deal(ROWS[::-1]), task.digest)
    refusal(lambda: restore(stored(bare)), "its arrays were put in by hand", OWN)
    memory = from_content(WORDS, 8, "mine", "it")
    refusal(lambda: restore(stored(memory)), "it is a task of your own", OWN)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((4, 9), 4, np.int32), "train must be ids from 0 to 3; got 4 at rows index 0, length index 0"),
        (np.full((4, 9), -100, np.int32), "got -100"),
        (np.zeros((0, 9), np.int32), "train must be rows of length 9, at least one; got shape (0, 9)"),
    ],
)
def test_arrays_that_are_no_tokens_are_refused(folder, array, says):
    refusal(lambda: dataclasses.replace(npy("rows.npy"), train=array), says)


@pytest.mark.processes
def test_what_is_no_token_is_refused_everywhere(folder):
    """150 calls with what is no token, no size, no text or no length: each is refused in a sentence."""
    script = [sys.executable, str(Path(__file__).with_name("bad_tokens.py")), "rows.npy", "words.txt"]
    path = str(Path(__file__).parents[2])
    done = subprocess.run(script, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, check=True)
    found = json.loads(done.stdout)
    assert len(found) > 150
    wrong = [
        (name, told) for name, wanted, told in found if wanted not in told or not told.endswith(".") or "\n" in told
    ]
    assert not wrong


def test_half_characters_and_other_things_that_no_run_can_store(folder):
    refusal(lambda: from_content(WORDS + "\ud800", 8, "mine", "it"), "content must be text without lone surrogates")
    refusal(lambda: Vocabulary("a\ud800"), "characters must be distinct characters in ascending order")
    with open(b"\xff.npy", "wb") as stream:
        np.save(stream, ROWS)
    refusal(lambda: npy(os.fsdecode(b"\xff.npy")), "has a name that is not UTF-8, which a run cannot store")

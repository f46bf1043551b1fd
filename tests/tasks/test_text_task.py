import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mdm_jax import tasks
from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Task, from_spec, restore, text, vocabulary_of
from mdm_jax.tasks.ngram import fit


@pytest.fixture(scope="module")
def documentation():
    return text(length=128)


@pytest.fixture
def write(tmp_path):
    def written(content, name="some.txt"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return written


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


@pytest.mark.core
def test_the_documentation_is_a_task(documentation):
    from pydoc_data.topics import topics

    source = "\n\n".join(topics[name] for name in sorted(topics))
    task = documentation
    held_out = len(source) // 10
    assert isinstance(documentation, Task)
    assert task.spec == "text"
    assert task.vocabulary.characters == "".join(sorted(set(source)))
    assert task.vocab_size == len(set(source))
    assert task.digest == hashlib.sha256(source.encode()).hexdigest()
    assert task.vocabulary.decode(task.train) == source[:-held_out]
    windows = [source[len(source) - held_out :][start : start + 128] for start in range(0, held_out - 127, 128)]
    shown = [task.show(row) for row in np.concatenate([task.validation, task.test])]
    assert sorted(shown) == sorted(windows)
    assert shown != windows  # dealt, not cut in the middle
    assert {array.dtype for array in (task.train, task.validation, task.test)} == {np.dtype(np.int32)}
    assert not any(array.flags.writeable for array in (task.train, task.validation, task.test))


@pytest.mark.core
@pytest.mark.parametrize(("count", "length"), [(5000, 10), (4999, 7), (400, 10), (439, 10), (80, 2)])
def test_parts_are_disjoint_and_cover_the_text(write, count, length):
    # Every character occurs once, so that a token is its place in the text.
    task = text(length, write("".join(chr(0x4E00 + place) for place in range(count))))
    held_out = count // 10
    np.testing.assert_array_equal(task.train, np.arange(count - held_out))
    rows = np.concatenate([task.validation, task.test])
    rows = rows[np.argsort(rows[:, 0])]
    np.testing.assert_array_equal(rows.ravel(), np.arange(count - held_out, count - held_out + rows.size))
    assert rows.shape == (held_out // length, length)
    assert 2 <= len(task.validation) <= len(task.test) <= len(task.validation) + 1


@pytest.mark.core
def test_everything_is_a_function_of_the_data(documentation):
    again = text(length=128)
    assert again.describe() == documentation.describe()
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(again, name), getattr(documentation, name))


@pytest.mark.core
def test_the_deal_is_the_same_for_ever(write):
    task = text(2, write("".join(chr(0x4E00 + place) for place in range(240))))
    assert task.validation[:, 0].tolist() == [228, 238, 224, 236, 220, 232]  # frozen: runs and reports rely on it


@pytest.mark.core
def test_score_is_the_trigram_of_the_training_part(documentation):
    task = documentation
    trigram = fit(task.train, task.vocab_size, 3)
    scores = task.score(task.test)
    np.testing.assert_array_equal(scores, trigram.bits_per_character(task.test))
    assert (task.score_name, task.lower_is_better) == ("trigram bits per character", True)
    noise = np.random.default_rng(0).integers(0, task.vocab_size, (8, 128))
    assert scores.mean() < 3 < np.log2(task.vocab_size) < task.score(noise).min()


def test_held_out_bits_fall_with_the_order_up_to_five(documentation):
    # Loose, because the text differs a little between Python versions; measured on 3.11: 4.67 3.35 2.49 2.06 1.94.
    model = fit(documentation.train, documentation.vocab_size, 5)
    rows = np.concatenate([documentation.validation, documentation.test])
    bits = [model.bits_per_character(rows, order).mean() for order in range(1, 6)]
    np.testing.assert_allclose(bits, [4.67, 3.35, 2.49, 2.06, 1.94], atol=0.15)
    assert (np.diff(bits) < 0).all()


def test_masks_are_shown_but_not_scored(documentation):
    row = documentation.test[0].copy()
    row[5] = documentation.vocab_size
    assert documentation.show(row)[5] == "·"
    refusal(lambda: documentation.score(row[None]), "without masks", "rows index 0, length index 5")


@pytest.mark.core
def test_samples_that_were_cut_are_shown_and_scored_as_far_as_they_go(documentation):
    cut = documentation.test[:3].copy()
    cut[:, 50:] = -1
    np.testing.assert_allclose(documentation.score(cut), documentation.score(documentation.test[:3, :50]), rtol=1e-12)
    assert documentation.show(cut[0]) == documentation.show(documentation.test[0, :50])
    cut[1, 60] = 0
    refusal(
        lambda: documentation.score(cut), "tokens must have -1 (no token) at the end of rows alone", "length index 59"
    )


@pytest.mark.core
def test_files_are_read_as_people_mean_them(write):
    plain = write("one line\nanother — ☃\n" * 30, "plain.txt")
    windows = write(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n"), "windows.txt")
    assert text(8, windows).digest == text(8, plain).digest
    assert text(8, windows).vocabulary == text(8, str(plain)).vocabulary
    assert "\r" not in text(8, windows).vocabulary.characters
    assert "\r" in text(8, write("old\rline" * 60, "mac.txt")).vocabulary.characters


@pytest.mark.core
def test_bad_files_are_refused_in_one_sentence(write, tmp_path):
    good = "ab" * 200

    def refused(path, *words, length=4):
        return refusal(lambda: text(length, path), *words)

    refused(tmp_path / "none.txt", "path must be a readable UTF-8 text file", "none.txt' does not exist")
    refused(write("x", "file") / "below", "cannot be read (Not a directory)")
    refused(tmp_path / ("x" * 300), "cannot be read (File name too long)")
    refused(str(tmp_path / "a\0b"), "cannot be read (", "null")
    refused(tmp_path, "is a directory")
    refused("", "path must be the path of a UTF-8 text file; got ''")
    refused("~nobody-of-that-name/x", "does not exist")
    refused(write(""), "is empty")
    refused(write(good[:7] + "\0" + good), "has a NUL byte at position 7")
    refused(write(good.encode("utf-16")), "has a NUL byte at position 3, so it is binary or UTF-16")
    refused(write(b"caf\xe9" + good.encode()), "has the byte 0xe9 at position 3, which is not UTF-8")
    refused(write(b"\xef\xbb\xbfcaf\xe9" + good.encode()), "0xe9 at position 6")
    refused(write(b"abc\xc3"), "has the byte 0xc3 at position 3")
    refused(write(b"\xef\xbb\xbf"), "needs a text of at least 160 characters", "has 0.")
    refused(write("a" * 200), "a text with at least two different characters")
    refused(write("ab" * 79 + "a"), "length 4 needs a text of at least 160 characters", "some.txt has 159.")
    assert text(4, write("ab" * 80)).validation.shape == (2, 4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
def test_pipes_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refusal(lambda: text(4, tmp_path / "pipe"), "is not a regular file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_unreadable_files_are_refused(write):
    file = write("ab" * 200)
    file.chmod(0)
    refusal(lambda: text(4, file), "cannot be read (Permission denied)")


@pytest.mark.skipif(sys.platform != "linux", reason="needs sparse files")
def test_absurdly_large_files_are_refused_unread(write):
    file = write("")
    os.truncate(file, 2**30 + 1)
    refusal(lambda: text(4, file), f"has {2**30 + 1} bytes, more than the limit of {2**30}")


def test_a_python_without_its_documentation_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    refusal(text, "pydoc_data", "give the path of a UTF-8 text file instead")


@pytest.mark.core
def test_bad_lengths_are_refused_in_one_sentence():
    refusal(lambda: text(1), "length must be a whole number, 2 or more; got 1")
    refusal(lambda: text(-5), "got -5")
    refusal(lambda: text(10**6), "needs a text of at least 40000000 characters", "CPython's documentation has ")


@pytest.mark.core
def test_specs_are_read_back(write, tmp_path, monkeypatch):
    assert from_spec("text", length=64).describe() == text(64).describe()
    file = write("some text: " * 50, "a:b c.txt")
    task = from_spec(f"text:{file}", 8)
    assert task.spec == f"text:{file}"
    assert from_spec(task.spec, 8).describe() == task.describe()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert from_spec("text:a:b c.txt", 8).spec == task.spec
    assert from_spec("text:~/a:b c.txt", 8).spec == task.spec


@pytest.mark.core
@pytest.mark.parametrize(
    "spec", ["", "texts", "text:", ":", "digit", "digits:x", "code:", "npy", "npy:", "Text", "text file", ":text"]
)
def test_unknown_specs_list_the_choices(spec):
    refusal(lambda: from_spec(spec), f"got {spec!r}.", 'spec must be "text" (', '"digits"', '"npy:PATH"')


@pytest.mark.core
def test_a_description_survives_json_and_restores_the_task(write):
    task = text(8, write('déjà vu "☃"\n' * 40))
    description = json.loads(json.dumps(task.describe(), allow_nan=False))
    assert list(description) == ["spec", "length", "vocab_size", "digest", "vocabulary"]
    again = restore(description)
    assert again.describe() == task.describe()
    np.testing.assert_array_equal(again.test, task.test)
    assert vocabulary_of(description) == task.vocabulary


@pytest.mark.core
def test_changed_or_missing_data_is_refused_but_the_vocabulary_stays(write):
    file = write("abc " * 100)
    description = text(8, file).describe()
    rest = "sampling still works from the stored vocabulary, but training, profile and report need the original data."
    write("abc " * 99 + "cba ")
    refusal(lambda: restore(description), repr(description["spec"]), "has changed", "another Python version", rest)
    file.unlink()
    refusal(lambda: restore(description), "cannot be restored", "does not exist; sampling still works", rest)
    refusal(
        lambda: restore(description | {"spec": "sudoku"}),
        "'sudoku' cannot be restored: it is a task of your own; sampling still works",
    )
    assert vocabulary_of(description).characters == " abc"
    documentation = text(64).describe()
    refusal(lambda: restore(documentation | {"digest": "0" * 64}), "The task 'text' cannot be restored", "has changed")
    refusal(lambda: restore(documentation | {"vocabulary": "abc"}), "the stored vocabulary does not fit")


@pytest.mark.core
def test_damaged_descriptions_are_refused_in_one_sentence():
    description = text(64).describe()
    refusal(lambda: restore({}), "its vocabulary is missing")
    refusal(lambda: vocabulary_of({"vocabulary": ["a"]}), "its vocabulary is missing")
    refusal(lambda: vocabulary_of({"vocabulary": "ba"}), "ascending order")
    for name in ("spec", "length", "digest"):
        refusal(lambda name=name: restore(description | {name: None}), "its spec, length or digest is missing")


@pytest.mark.processes
@pytest.mark.core
def test_nothing_here_imports_jax():
    code = "import sys, mdm_jax.tasks as t; t.text().score; assert not {'jax', 'jaxlib', 'flax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=os.getcwd(), env=os.environ | {"PYTHONPATH": _root()})


def _root():
    return os.path.dirname(os.path.dirname(os.path.dirname(tasks.__file__)))

"""Files of token ids: their parts, what is read of a large one, laws against brute force, files that are refused."""

import itertools
import os
from collections import Counter

import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Task, restore, vocabulary_of
from mdm_jax.tasks.array_files import token_files, token_maps
from mdm_jax.tasks.array_files.token_files import from_settings, spread_windows, tokens


@pytest.fixture
def large(monkeypatch):
    """Every file of more than 100 tokens counts as a large one."""
    monkeypatch.setattr(token_maps, "MOST_IN_MEMORY", 100)


@pytest.fixture
def stream(tmp_path):
    path = tmp_path / "stream.bin"
    (np.arange(4003) % 251).astype(np.uint8).tofile(path)
    return path


def test_nine_tenths_are_to_train_on_and_windows_of_the_last_are_held_out(stream):
    task = tokens(stream, 10, dtype="uint8")
    assert isinstance(task, Task)
    ids = np.fromfile(stream, np.uint8)
    np.testing.assert_array_equal(task.train, ids[:3603])
    assert task.train.dtype == task.validation.dtype == task.test.dtype == np.int32
    assert len(task.validation) == len(task.test) == 20
    windows = np.concatenate([task.validation, task.test])
    wanted = ids[3603 : 3603 + 400].reshape(40, 10)
    assert sorted(map(tuple, windows.tolist())) == sorted(map(tuple, wanted.tolist()))
    assert (task.vocab_size, task.length, task.spec) == (251, 10, f"bin:{stream}?dtype=uint8")
    assert task.notes == (
        "Held out are 40 windows, evenly spread over the last tenth of 4,003 tokens.",
        "Whether they also stand among the training tokens was not looked for.",
    )
    assert task.show(task.train[:3]) == "0 1 2"


@pytest.mark.parametrize("shape", [(5000,), (500, 10)])
def test_a_large_file_is_the_same_stream_or_rows_left_in_the_file(tmp_path, large, monkeypatch, shape):
    """Few windows are held out, evenly spread; nothing but them and the digest's blocks is read."""
    monkeypatch.setattr(token_files, "HELD_OUT", 6)
    ids = np.arange(5000).reshape(shape) % 300
    np.save(tmp_path / "some.npy", ids.astype(">i4"))  # in whatever order of bytes
    task = tokens(tmp_path / "some.npy", 10, 300)
    assert isinstance(task.train, np.memmap)
    assert token_maps.stays_in_file(task.train)
    np.testing.assert_array_equal(task.train, ids[: shape[0] * 9 // 10])
    held_out = np.concatenate([task.validation, task.test])
    wanted = (np.arange(4500, 5000) % 300).reshape(50, 10)[[0, 8, 16, 25, 33, 41]]
    assert sorted(held_out.tolist()) == sorted(wanted.tolist())
    assert task.notes[0] == "Held out are 6 windows, evenly spread over the last tenth of 5,000 tokens."
    again = restore(task.describe()) if len(shape) == 1 else tokens(tmp_path / "some.npy", vocab_size=300)
    np.testing.assert_array_equal(again.train, task.train)
    np.testing.assert_array_equal(again.test, task.test)
    assert again.describe() == task.describe()
    assert vocabulary_of(task.describe()) == task.vocabulary


def test_the_digest_of_a_large_file_is_that_of_its_size_and_blocks(tmp_path, large, monkeypatch):
    """A change of the first byte, of the last and of the size is noticed; one between two blocks is not, as is said."""
    monkeypatch.setattr(token_maps, "_BLOCKS", 3)
    monkeypatch.setattr(token_maps, "_BLOCK", 10)
    path, digests = tmp_path / "some.bin", []
    whole = bytes(range(10)) * 100
    for data in (
        whole,
        b"\x01" + whole[1:],
        whole[:-1] + b"\x01",
        whole + b"\x00",
        whole[:200] + b"\x07" + whole[201:],
    ):
        path.write_bytes(data)
        digests.append(tokens(path, 4, 10, "uint8").digest)
    assert len(set(digests[:4])) == 4
    assert digests[4] == digests[0]
    path.write_bytes(whole)
    assert tokens(path, 4, 2**16, "uint16").digest != digests[0]  # other tokens


def test_the_digest_of_a_smaller_file_is_that_of_every_byte(stream):
    first = tokens(stream, 10, dtype="uint8").digest
    data = bytearray(stream.read_bytes())
    data[2001] = 7
    stream.write_bytes(data)
    assert tokens(stream, 10, dtype="uint8").digest != first


def test_windows_are_evenly_spread_and_all_if_they_are_fewer():
    ids = np.arange(1003)
    for most in (1, 7, 99, 100, 5000):
        found = spread_windows(ids, 10, most)
        assert len(found) == min(most, 100)
        np.testing.assert_array_equal(found - found[:, :1], np.tile(np.arange(10), (len(found), 1)))
        gaps = np.diff(found[:, 0]) // 10
        assert len(found) == 1 or gaps.max() - gaps.min() <= 1
    np.testing.assert_array_equal(
        spread_windows(ids[:1000].reshape(100, 10), 10, 2), ids[:1000].reshape(100, 10)[[0, 50]]
    )


def test_the_laws_are_those_counted_by_brute_force(stream):
    """Witten and Bell's smoothing, of the windows of the training part, the first token by the unigram."""
    random = np.random.default_rng(3)
    random.integers(0, 5, 900).astype(np.uint8).tofile(stream)
    task = tokens(stream, 9, 7, "uint8")
    windows = task.train[:810].reshape(90, 9).tolist()
    ones = Counter(itertools.chain.from_iterable(windows))
    pairs = Counter(pair for row in windows for pair in itertools.pairwise(row))
    total = sum(ones.values())

    def one(token):
        return (ones[token] + len(ones) / 7) / (total + len(ones))

    def two(before, token):
        after = {b: count for (a, b), count in pairs.items() if a == before}
        if not after:
            return one(token)
        return (after.get(token, 0) + len(after) * one(token)) / (sum(after.values()) + len(after))

    rows = np.array([[0, 1, 2, 3, 4, 5, 6, 0, 1], [4, 4, 4, 4, 4, 4, 4, 6, 6]])
    found = task.baselines(rows)
    for row, unigram, bigram in zip(rows.tolist(), found["unigram"], found["bigram"]):
        assert unigram == pytest.approx(-np.mean([np.log2(one(token)) for token in row]))
        laws = [one(row[0]), *(two(a, b) for a, b in itertools.pairwise(row))]
        assert bigram == pytest.approx(-np.mean(np.log2(laws)))
    np.testing.assert_array_equal(task.score(rows), found["bigram"])


def test_the_laws_of_a_long_stream_are_counted_on_a_sample_and_it_is_said(stream, monkeypatch):
    monkeypatch.setattr(token_files, "SAMPLE", 100)
    (np.arange(4000) // 400).astype(np.uint8).tofile(stream)
    task = tokens(stream, 10, 12, "uint8")
    assert task.notes[2] == "The baselines are counted on 100 training tokens, evenly spread."
    counted = task._frequencies[0]
    assert counted.totals.tolist() == [100]
    assert dict(zip(counted.codes.tolist(), counted.counts.tolist())) == {0: 20, **dict.fromkeys(range(1, 9), 10)}


@pytest.mark.parametrize(
    ("array", "arguments", "says"),
    [
        ([1] * 400, {"length": 8}, "dtype must be given for a file without a header, one of int16, "),
        ([1] * 400, {"length": 8, "dtype": "float32"}, "dtype must be one of int16, int32"),
        ([1] * 400, {"dtype": "uint8"}, "length must be given: .* is a stream of tokens"),
        ([1] * 400, {"length": 1, "dtype": "uint8"}, "length must be a whole number, 2 or more; got 1"),
        ([1] * 399, {"length": 8, "dtype": "uint16"}, "has 399 bytes, no multiple of the 2 of uint16"),
        ([], {"length": 8, "dtype": "uint8"}, "is empty"),
        ([1, 2] * 150, {"length": 8, "dtype": "uint8"}, "has 300 tokens, fewer than 320: its last tenth must hold two"),
        ([0] * 400, {"length": 8, "dtype": "uint8"}, "has 0 as its largest number"),
        ([1, 255] * 200, {"length": 8, "dtype": "int8"}, "holds negative numbers, -1 at the least"),
        ([1, 9] * 200, {"length": 8, "dtype": "uint8", "vocab_size": 9}, "vocab must be larger than every id .* is 9"),
    ],
)  # fmt: skip
def test_bad_files_and_arguments_are_refused_in_one_sentence(tmp_path, array, arguments, says):
    path = tmp_path / "some.bin"
    path.write_bytes(bytes(array))
    with pytest.raises(InputError, match=says) as caught:
        tokens(path, **arguments)
    assert "\n" not in str(caught.value)


def test_arrays_of_other_shapes_and_kinds_are_refused_in_one_sentence(tmp_path, large):
    path = tmp_path / "some.npy"
    for array, says in (
        (np.zeros((20, 3, 3), int), r"has the shape \[20, 3, 3\]"),
        (np.zeros((10, 5), int), r"such rows are a task by tasks.npy"),
        (np.asfortranarray(np.zeros((30, 5), int)), "is stored column by column"),
        (np.zeros(500), "holds float64"),
        (np.zeros(0, int), "holds no tokens"),
        (np.zeros((30, 5), int), "vocab must be given for a file of more than"),
    ):
        np.save(path, array)
        with pytest.raises(InputError, match=says):
            tokens(path, 5)
    np.save(path, np.zeros((300, 5), int))
    with pytest.raises(InputError, match="length must be 5, that of the file's rows, or left out; got 6"):
        tokens(path, 6, 3)
    with pytest.raises(InputError, match=r"is an \.npy file, whose header says its type; leave dtype out"):
        tokens(path, 5, 3, "uint8")
    np.save(path, np.full(5000, 2**32 + 1))  # 1, if it were cut to 32 bits
    with pytest.raises(InputError, match=r"has the id 4294967297 in its last tenth, which is none of 0 to 2"):
        tokens(path, 5, 3)
    with pytest.raises(InputError, match="does not exist"):
        tokens(tmp_path / "none.bin", 5, 3, "uint8")


def test_a_sparse_file_of_twenty_gigabytes_is_a_task_at_once(tmp_path):
    """Ten thousand million tokens, of which a few thousand blocks are read."""
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 20 * 10**9)
    task = tokens(path, 1024, 50257, "uint16")
    assert task.train.shape == (9 * 10**9,)
    assert task.validation.shape == task.test.shape == (2048, 1024)
    assert task.spec == f"bin:{path}?dtype=uint16&vocab=50257"
    assert from_settings(str(path), {"dtype": "uint16", "vocab": "50257"}, 1024).describe() == task.describe()
    with pytest.raises(InputError, match="dtype must be given, as in bin:PATH"):
        from_settings(str(path), {"vocab": "50257"}, 1024)


def test_samples_that_were_cut_are_scored_as_far_as_they_go(stream):
    task = tokens(stream, 10, dtype="uint8")
    cut = task.test[:3].copy()
    cut[:, 4:] = -1
    short = tokens(stream, 4, dtype="uint8")
    short.__dict__["_frequencies"] = task._frequencies  # counted on the same windows
    for name, bits in task.baselines(cut).items():
        np.testing.assert_allclose(bits, short.baselines(task.test[:3, :4])[name], rtol=1e-12)

"""Files of safetensors: what the package wrote, and headers that lie."""

import json
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import safetensors
from safetensors.numpy import save_file

from mdm_jax.models.pretrained.safetensors_files import read_safetensors
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.core

MATRIX = np.arange(24, dtype=np.float32).reshape(4, 6)
ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def put(path, header, numbers=24, length=None):
    """A file of a header and so many bytes of numbers."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + bytes(numbers))
    return path


def test_tensors_and_slices_are_what_was_saved(tmp_path):
    saved = {
        "matrix": MATRIX,
        "half": MATRIX.astype(np.float16),
        "bfloat16": MATRIX.astype(ml_dtypes.bfloat16),
        "whole": np.arange(5),
        "number": np.array(3.5, np.float32),
        "nothing": np.zeros((0, 3), np.float32),
    }
    save_file(saved, tmp_path / "a.safetensors", metadata={"format": "pt"})
    tensors = read_safetensors(tmp_path / "a.safetensors")
    assert tensors.keys() == saved.keys()
    for name, value in saved.items():
        found = tensors[name].read(tuple(slice(0, size) for size in value.shape))
        assert (tensors[name].shape, tensors[name].dtype, found.dtype) == (value.shape, value.dtype, value.dtype)
        np.testing.assert_array_equal(found, value)
    for name in ("matrix", "half", "bfloat16"):
        part = (slice(1, 3), slice(2, 6))
        np.testing.assert_array_equal(tensors[name].read(part), saved[name][part])


LIES = {
    "a header of 200 GB": ({"header": {"a": ENTRY}, "length": 2 * 10**11}, "says that its header has 200,000,000,000"),
    "a tensor of 200 GB": (
        {"header": {"a": {**ENTRY, "shape": [5 * 10**10], "data_offsets": [0, 2 * 10**11]}}},
        "ends at byte 200,000,000,000 of 24",
    ),
    "a shape of 200 GB": ({"header": {"a": {**ENTRY, "shape": [5 * 10**10]}}}, "has 24 bytes, which its shape"),
    "a shape beyond all numbers": ({"header": {"a": {**ENTRY, "shape": [2**70]}}}, "no list of whole numbers"),
    "no header": ({"header": b"", "length": 0, "numbers": 0}, "not JSON"),
    "no JSON": ({"header": b"{nothing}"}, "not JSON"),
    "a list": ({"header": []}, "no object"),
    "a name twice": ({"header": b'{"a": 1, "a": 2}'}, "stands twice"),
    "deep JSON": ({"header": b"[" * 300 + b"]" * 300}, "not JSON"),
    "no place": ({"header": {"a": {"dtype": "F32", "shape": [2, 3]}}}, "does not say type, shape and place of 'a'"),
    "backwards": ({"header": {"a": {**ENTRY, "data_offsets": [24, 0]}}}, "ends at byte 0"),
    "below nothing": ({"header": {"a": {**ENTRY, "data_offsets": [-4, 20]}}}, "no list of whole numbers"),
    "half a byte": ({"header": {"a": {**ENTRY, "data_offsets": [0.5, 24]}}}, "no list of whole numbers"),
    "another type": ({"header": {"a": {**ENTRY, "dtype": "F33"}}}, "of the type 'F33'"),
    "too short": ({"header": {"a": ENTRY}, "numbers": 23}, "ends at byte 24 of 23"),
    "two in one place": ({"header": {"a": ENTRY, "b": {**ENTRY, "data_offsets": [4, 28]}}, "numbers": 28}, "overlap"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_header_that_lies_is_one_sentence_and_takes_no_memory(tmp_path, name):
    given, wanted = LIES[name]
    path = put(tmp_path / "a.safetensors", **given)
    assert path.stat().st_size < 4096
    tracemalloc.start()
    with pytest.raises(InputError, match=wanted) as refused:
        read_safetensors(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert str(path) in str(refused.value)


def test_files_cut_short_anywhere_are_one_sentence(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"matrix": MATRIX}, path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            read_safetensors(path)


GAPS = {
    "before": ({"a": {**ENTRY, "data_offsets": [4, 28]}}, 28, "bytes 0 to 4"),
    "between": ({"a": ENTRY, "b": {**ENTRY, "data_offsets": [28, 52]}}, 52, "bytes 24 to 28"),
    "behind": ({"a": ENTRY}, 1025, "bytes 24 to 1,025"),
}


@pytest.mark.parametrize("name", GAPS)
def test_numbers_of_no_tensor_are_refused_as_the_package_refuses_them(tmp_path, name):
    header, numbers, wanted = GAPS[name]
    path = put(tmp_path / "a.safetensors", header, numbers)
    with pytest.raises(safetensors.SafetensorError), safetensors.safe_open(path, framework="numpy"):
        pass
    with pytest.raises(InputError, match=f"{wanted} are of no tensor"):
        read_safetensors(path)


def test_a_pointer_of_git_lfs_is_told_as_one(tmp_path):
    (tmp_path / "a.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(InputError, match="git lfs pull"):
        read_safetensors(tmp_path / "a.safetensors")

"""Boxes of tensors in files, against NumPy's own indexing of the same numbers."""

import itertools
import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from mdm_jax.models.pretrained.stored import StoredTensor
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.core

BEGIN = 3  # a byte that no type of number is aligned to


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_every_box_of_every_order_of_axes_is_what_numpy_picks_out(tmp_path, axes, dtype):
    dtype = np.dtype(dtype)
    numbers = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "numbers").write_bytes(bytes(BEGIN) + numbers.tobytes() + b"behind")
    turned = numbers.transpose(axes)
    strides = tuple(stride // dtype.itemsize for stride in turned.strides)
    tensor = StoredTensor(tmp_path / "numbers", BEGIN, turned.shape, dtype, strides)
    np.testing.assert_array_equal(tensor.read(), turned)
    spans = [[slice(*ends) for ends in itertools.combinations_with_replacement(range(n + 1), 2)] for n in turned.shape]
    for index in itertools.product(*spans):
        right = turned[index]
        np.testing.assert_array_equal(tensor.read(index), right)
        apart = np.zeros((*right.shape, 2), dtype)  # what is read goes between zeros
        tensor.read_into(apart[..., 1], index)
        np.testing.assert_array_equal(apart, np.stack([np.zeros_like(right), right], axis=-1))


def test_a_number_alone_is_read(tmp_path):
    (tmp_path / "numbers").write_bytes(np.float32(3.5).tobytes())
    assert StoredTensor(tmp_path / "numbers", 0, (), np.dtype(np.float32)).read() == np.float32(3.5)


def test_what_lies_in_one_piece_takes_no_memory_beside_its_own(tmp_path):
    rows = np.random.default_rng(0).standard_normal((2**10, 2**11), np.float32)  # 8 MB
    rows.tofile(tmp_path / "rows")
    tensor = StoredTensor(tmp_path / "rows", 0, rows.shape, rows.dtype)
    out = np.empty((2**9, 2**11), np.float32)
    tracemalloc.start()
    tensor.read_into(out, (slice(2**8, 2**8 + 2**9), slice(0, 2**11)))
    assert tracemalloc.get_traced_memory()[1] < 2**16
    tracemalloc.stop()
    np.testing.assert_array_equal(out, rows[2**8 : 2**8 + 2**9])


@pytest.mark.parametrize("strides", [(6, 1), (1, 4)])
def test_a_file_that_shrank_or_went_is_one_sentence(tmp_path, strides):
    path = tmp_path / "numbers"
    path.write_bytes(bytes(4 * 24 - 1))
    tensor = StoredTensor(path, 0, (4, 6), np.dtype(np.float32), strides)
    assert tensor.read((slice(0, 3), slice(0, 5))).shape == (3, 5)  # what is there
    with pytest.raises(InputError, match="ends before its tensors do: it was cut short"):
        tensor.read()
    path.unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        tensor.read()

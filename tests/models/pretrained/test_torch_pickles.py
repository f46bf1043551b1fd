"""Files of torch against bytes put together by hand, and against torch itself where it is installed."""

import os
import struct
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from torch_files import MAGIC, Called, Named, legacy, pickled, tensor, zipped

from mdm_jax.models.pretrained.torch_pickles import check_sums, read_torch
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.core

NUMBERS = np.arange(24, dtype=np.float32) / 7
HALVES = np.arange(6).astype(ml_dtypes.bfloat16)


def whole(stored):
    return np.array(stored.read(tuple(slice(0, size) for size in stored.shape)))


def put(path, content):
    path.write_bytes(content)
    return path


def both(path, table, numbers=NUMBERS, halves=HALVES):
    """The same table in both formats; ``table(old)`` makes it."""
    contents = numbers.tobytes(), halves.tobytes()
    yield put(path / "new.pt", zipped(table(False), dict(zip("01", contents))))
    sizes = numbers.size, halves.size
    yield put(path / "old.pt", legacy(table(True), dict(zip("01", zip(sizes, contents)))))


def test_tensors_and_their_views_are_what_numpy_says(tmp_path):
    def table(old):
        return {
            "whole": tensor("Float", "0", 24, (4, 6), legacy=old),
            "turned": tensor("Float", "0", 24, (6, 4), (1, 6), legacy=old),
            "inner": tensor("Float", "0", 24, (2, 3), (6, 1), offset=8, legacy=old),
            "repeated": tensor("Float", "0", 24, (3, 6), (0, 1), offset=6, legacy=old),
            "number": tensor("Float", "0", 24, (), (), offset=5, legacy=old),
            "nothing": tensor("Float", "0", 24, (0, 3), legacy=old),
            "halves": tensor("BFloat16", "1", 6, (2, 3), legacy=old),
        }

    matrix = NUMBERS.reshape(4, 6)
    wanted = {
        "whole": matrix,
        "turned": matrix.T,
        "inner": matrix[1:3, 2:5],
        "repeated": np.broadcast_to(matrix[1], (3, 6)),
        "number": NUMBERS[5],
        "nothing": np.zeros((0, 3), np.float32),
        "halves": HALVES.reshape(2, 3),
    }
    for path in both(tmp_path, table):
        tensors, others = read_torch(path)
        assert others == {}
        assert tensors.keys() == wanted.keys()
        for name, right in wanted.items():
            assert tensors[name].dtype == right.dtype
            np.testing.assert_array_equal(whole(tensors[name]), right)
        np.testing.assert_array_equal(tensors["turned"].read((slice(2, 5), slice(1, 3))), matrix.T[2:5, 1:3])
        np.testing.assert_array_equal(tensors["inner"].read((slice(1, 2), slice(0, 2))), matrix[2:3, 2:4])
        check_sums(path)


def test_what_a_training_framework_saves_beside_its_weights_is_kept_apart(tmp_path):
    def table(old):
        arguments = Called(Named("argparse", "Namespace"), ())
        return {"args": arguments, "model": {"weight": tensor("Float", "0", 24, (24,), legacy=old)}, "epoch": 3}

    def halves(old):
        return {**table(old), "more": tensor("BFloat16", "1", 6, (6,), legacy=old)}

    for path in both(tmp_path, lambda old: {**table(old), "list": [tensor("BFloat16", "1", 6, (6,), legacy=old)]}):
        tensors, others = read_torch(path)
        assert list(tensors) == ["weight"]
        assert others["epoch"] == 3
        assert others["args"] == {}
    for path in both(tmp_path, halves):
        with pytest.raises(InputError, match=r"holds no table of tensors by name.* entry 'args' is none"):
            read_torch(path)


HOSTILE = {
    "os.system": Called(Named("os", "system"), ("touch here",)),
    "builtins.eval": Called(Named("builtins", "eval"), ("1",)),
    "posix.system": {"weight": Called(Called(Named("posix", "system"), ("touch here",)), ())},
    "torch.load": Called(Named("torch", "load"), ("other.pt",)),
    "collections.OrderedDict.fromkeys": Called(Named("collections", "OrderedDict.fromkeys"), ([],)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_foreign_name_is_refused_and_nothing_is_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for path in (put(tmp_path / "a.pt", zipped(HOSTILE[name], {})), put(tmp_path / "b.pt", legacy(HOSTILE[name], {}))):
        with pytest.raises(InputError) as refused:
            read_torch(path)
        assert f"names '{name}' in its pickle" in str(refused.value)
        assert str(refused.value).count("\n") == 0
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "b.pt"]


def bomb() -> bytes:
    """A tuple of two of a tuple of two of ..., a hundred deep, as a key: to hash it would take for ever."""
    return b"\x80\x02}(K\x01q\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(100)) + b"Nu."


def amplified(module: str, name: str, *more: str) -> bytes:
    """A list of many results of one call on one large text: each would be as large again."""
    text = b"X" + struct.pack("<I", 2**18) + b"a" * 2**18 + b"q\x01"
    others = b"".join(b"X" + struct.pack("<I", len(one)) + one.encode() for one in more)
    given = b"(h\x01" + others + b"tq\x02"
    called = f"c{module}\n{name}\n".encode() + b"q\x03"
    return b"\x80\x02" + text + given + called + b"](" + b"h\x03h\x02R" * 40_000 + b"e."


DAMAGED = {
    "no end": (b"\x80\x02}", "damaged pickle"),
    "no stack": (b"\x80\x02u.", "damaged pickle"),
    "not there": (b"\x80\x02h\x05.", "damaged pickle"),
    "an opcode of others": (b"\x80\x02(i__main__\nA\n.", "opcode INST"),
    "a registered class": (b"\x80\x02\x82\x01.", "opcode EXT1"),
    "a long text": (b"\x80\x02X\xff\xff\xff\xff.", "claims an item of 4,294,967,295 bytes"),
    "a long list of bytes": (
        b"\x80\x04\x8e" + struct.pack("<Q", 2 * 10**11) + b".",
        "claims an item of 200,000,000,000",
    ),
    "a far memo": (b"\x80\x02}r\xff\xff\xff\x7f.", "no table of tensors"),
    "a deep key": (bomb(), "neither text nor a number"),
    "bytes of an encoding that takes for ever to hash": (
        b"\x80\x02K\x01q\x00" + b"h\x00h\x00\x86q\x00" * 100 + b"0c_codecs\nencode\n(X\x01\x00\x00\x00ah\x00tR.",
        "has damaged bytes",
    ),
    "a call of what is no function": (pickled(Called(3, ())), "calls in its pickle what is not there"),
    "a name without an end": (b"\x80\x02c" + b"a" * 9000, "damaged pickle"),
    "an odd state": (b"\x80\x02cargparse\nNamespace\n)\x81K\x01b.", "a dict was expected"),
    "no tensors": (pickled({"a": 1}), "no table of tensors"),
    "a list": (pickled([1]), "no table of tensors"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_pickle_is_one_sentence_and_takes_no_memory(tmp_path, name):
    content, wanted = DAMAGED[name]
    old = b"".join([pickled(MAGIC), pickled(1001), pickled({"little_endian": True}), content, pickled([])])
    for path in (put(tmp_path / "a.pt", zipped(content, {})), put(tmp_path / "b.pt", old)):
        tracemalloc.start()
        with pytest.raises(InputError, match=wanted):
            read_torch(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content", [amplified("torch", "Size"), amplified("_codecs", "encode", "latin1")], ids=["Size", "encode"]
)
def test_a_small_pickle_cannot_have_a_large_item_copied_without_end(tmp_path, content):
    path = put(tmp_path / "a.pt", zipped(content, {}))
    tracemalloc.start()
    with pytest.raises(InputError, match="gives more than 4,194,304 items to what it calls in its pickle"):
        read_torch(path)
    assert tracemalloc.get_traced_memory()[1] < 2**27  # without end it would be 10 and 80 GB
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (tensor("Float", "0", 24, (5, 5)), "ends beyond its storage"),
        (tensor("Float", "0", 5 * 10**10, (5 * 10**10,)), "missing or cut short"),
        (tensor("Float", "9", 24, (24,)), "missing or cut short"),
        (tensor("Float", "0", 24, (2,), (-1,), offset=1), "impossible shape"),
        (tensor("Float", "0", 24, (2, 2), (1,)), "impossible shape"),
        (Called(Named("torch._utils", "_rebuild_tensor_v2"), (1, 0, (), (), False, None)), "without a storage"),
        (tensor("QInt8", "0", 24, (24,)), "names 'torch.QInt8Storage'"),
    ],
)
def test_tensors_that_the_file_does_not_hold_are_refused(tmp_path, made, wanted):
    path = put(tmp_path / "a.pt", zipped({"weight": made}, {"0": NUMBERS.tobytes()}))
    assert path.stat().st_size < 4096
    with pytest.raises(InputError, match=wanted):
        read_torch(path)


def test_files_cut_short_anywhere_are_one_sentence(tmp_path):
    table = {"weight": tensor("Float", "0", 24, (4, 6), legacy=True)}
    old = legacy(table, {"0": (24, NUMBERS.tobytes())})
    new = zipped({"weight": tensor("Float", "0", 24, (4, 6))}, {"0": NUMBERS.tobytes()})
    for content in (old, new):
        for length in range(0, len(content), 7):
            with pytest.raises(InputError):
                read_torch(put(tmp_path / "a.pt", content[:length]))


def test_a_flipped_bit_of_a_zip_archive_is_found(tmp_path):
    content = bytearray(zipped({"weight": tensor("Float", "0", 24, (4, 6))}, {"0": NUMBERS.tobytes()}))
    content[content.index(NUMBERS[3:].tobytes())] ^= 1
    path = put(tmp_path / "a.pt", content)
    read_torch(path)
    with pytest.raises(InputError, match="entry 'archive/data/0' have another check sum"):
        check_sums(path)
    content[content.index(b"_rebuild")] ^= 1
    with pytest.raises(InputError, match=r"a.pt (is a damaged zip archive|names)"):
        read_torch(put(path, content))


def test_an_entry_that_begins_beyond_the_file_is_one_sentence(tmp_path):
    content = bytearray(zipped({"weight": tensor("Float", "0", 24, (4, 6))}, {"0": NUMBERS.tobytes()}))
    last = content.rindex(b"PK\x01\x02")  # of "version", which nothing reads
    content[last + 42 : last + 46] = struct.pack("<I", len(content) - 5)
    path = put(tmp_path / "a.pt", content)
    read_torch(path)
    with pytest.raises(InputError, match="its entry 'archive/version' begins beyond the file"):
        check_sums(path)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "no file that torch.save wrote"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (pickled({"a": 1}), "does not begin with its magic number"),
        (pickled(MAGIC) + pickled(7), "protocol other than 1001"),
        (legacy({}, {}, little_endian=False), "other byte order"),
        (zipped({}, {}, byteorder=b"big"), "other byte order"),
        (legacy({"w": tensor("Float", "0", 9, (9,), legacy=True)}, {"0": (2**40, b"")}), "ends beyond the file"),
    ],
)
def test_what_torch_did_not_write_so_is_refused(tmp_path, content, wanted):
    with pytest.raises(InputError, match=wanted):
        read_torch(put(tmp_path / "a.pt", content))


def test_no_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_torch(tmp_path / "no.pt")


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_torch_saves_is_read_bit_for_bit(tmp_path, new, protocol):
    torch = pytest.importorskip("torch")
    matrix = torch.randn(10, 12, generator=torch.Generator().manual_seed(0))
    table = {
        "whole": matrix,
        "turned": matrix.T,
        "inner": matrix[2:7:2, 3:9],
        "expanded": matrix[0].expand(3, 12),
        "half": matrix.half(),
        "bfloat16": matrix.to(torch.bfloat16),
        "long": torch.arange(7),
        "bool": matrix > 0,
        "number": torch.tensor(3.5),
        "parameter": torch.nn.Parameter(matrix + 1),
    }
    torch.save(table, tmp_path / "a.pt", _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    tensors, _ = read_torch(tmp_path / "a.pt")
    check_sums(tmp_path / "a.pt")
    for name, value in table.items():
        value = value.detach().contiguous()
        raw = value.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if name == "bfloat16" else value.numpy()
        found = whole(tensors[name])
        assert found.dtype == raw.dtype
        np.testing.assert_array_equal(found, raw)

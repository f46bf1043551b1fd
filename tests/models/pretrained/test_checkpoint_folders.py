"""Folders of checkpoints: every arrangement that people publish, and what is wrong with others."""

import hashlib
import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file
from torch_files import Called, Named, legacy, tensor, zipped

from mdm_jax.models.pretrained.folders import open_checkpoint
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.core

ONE, TWO = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(4, np.float32)
CONFIG = {"model_type": "llada"}


def torch_file(**arrays):
    table = {name: tensor("Float", name, value.size, value.shape) for name, value in arrays.items()}
    return zipped(table, {name: value.tobytes() for name, value in arrays.items()})


def with_config(folder, config=CONFIG):
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def index_of(folder, name, **where):
    (folder / f"{name}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def single(folder):
    save_file({"one": ONE, "two": TWO}, folder / "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"not looked at where there is the other")


def sharded(folder):
    save_file({"one": ONE}, folder / "model-1-of-2.safetensors")
    save_file({"two": TWO}, folder / "model-2-of-2.safetensors")
    index_of(folder, "model.safetensors", one="model-1-of-2.safetensors", two="model-2-of-2.safetensors")


def of_torch(folder):
    (folder / "pytorch_model.bin").write_bytes(torch_file(one=ONE, two=TWO))
    (folder / "training_args.bin").write_bytes(b"never looked at")


def of_torch_in_shards(folder):
    (folder / "a.bin").write_bytes(torch_file(one=ONE))
    (folder / "b.bin").write_bytes(torch_file(two=TWO))
    index_of(folder, "pytorch_model.bin", one="a.bin", two="b.bin")


def of_another_name(folder):
    save_file({"one": ONE, "two": TWO}, folder / "adapter.safetensors")


@pytest.mark.parametrize("arrange", [single, sharded, of_torch, of_torch_in_shards, of_another_name])
def test_every_usual_arrangement_is_read(tmp_path, arrange):
    arrange(with_config(tmp_path))
    found = open_checkpoint(tmp_path)
    assert found.config == CONFIG
    assert found.tensors.keys() == {"one", "two"}
    np.testing.assert_array_equal(found.tensors["one"].read((slice(0, 2), slice(1, 3))), ONE[:, 1:])
    np.testing.assert_array_equal(found.tensors["two"].read((slice(0, 4),)), TWO)
    digests = found.digests()
    assert {"config.json"} < digests.keys()
    for name, digest in digests.items():
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_a_file_of_weights_has_its_configuration_beside_it_or_is_given_one(tmp_path):
    save_file({"one": ONE}, tmp_path / "some.safetensors")
    with pytest.raises(InputError, match=r"has no config.json"):
        open_checkpoint(tmp_path / "some.safetensors")
    assert open_checkpoint(tmp_path / "some.safetensors", {"model_type": "x"}).config == {"model_type": "x"}
    with_config(tmp_path)
    assert open_checkpoint(tmp_path / "some.safetensors").config == CONFIG


@pytest.mark.parametrize("newer", [False, True])
def test_what_fairseq_was_called_with_is_a_configuration(tmp_path, newer):
    # An object of argparse's: made without arguments, then given its attributes.
    made = Called(Named("argparse", "Namespace"), ())
    table = {"model": {"one": tensor("Float", "0", 6, (2, 3), legacy=True)}}
    table |= {"cfg": {"model": made}} if newer else {"args": made}
    (tmp_path / "a.pt").write_bytes(legacy(table, {"0": (6, ONE.tobytes())}))
    assert open_checkpoint(tmp_path / "a.pt").config == {"model_type": "fairseq"}


def nothing(folder):
    del folder


def two_files(folder):
    save_file({"one": ONE}, folder / "a.safetensors")
    save_file({"one": ONE}, folder / "b.safetensors")


def missing_shard(folder):
    sharded(folder)
    (folder / "model-2-of-2.safetensors").unlink()


def shard_that_lacks_a_tensor(folder):
    sharded(folder)
    save_file({"other": TWO}, folder / "model-2-of-2.safetensors")


def tensor_in_two_shards(folder):
    sharded(folder)
    save_file({"one": ONE, "two": TWO}, folder / "model-2-of-2.safetensors")


def shard_elsewhere(folder):
    sharded(folder)
    index_of(folder, "model.safetensors", one="../model-1-of-2.safetensors")


def index_of_nothing(folder):
    index_of(folder, "model.safetensors")


def index_that_is_none(folder):
    (folder / "model.safetensors.index.json").write_text("{]")


def foreign_pickle(folder):
    (folder / "pytorch_model.bin").write_bytes(zipped(Called(Named("os", "system"), ("true",)), {}))


def configuration_that_is_none(folder):
    single(folder)
    (folder / "config.json").write_text("[1]")


WRONG = {
    nothing: "has no weights: no file that ends in .safetensors",
    two_files: r"several files of weights and no index \(a.safetensors and b.safetensors\)",
    missing_shard: "names the shard model-2-of-2.safetensors, which is not beside it",
    shard_that_lacks_a_tensor: r"model-2-of-2.safetensors lacks the tensor 'two', which model.safetensors.index.json",
    tensor_in_two_shards: "the tensor 'one' in two shards",
    shard_elsewhere: "must be the name of a file beside the index; got '../model-1-of-2.safetensors'",
    index_of_nothing: "weight_map must say",
    index_that_is_none: "not valid JSON",
    foreign_pickle: "names 'os.system'",
    configuration_that_is_none: "config.json must be an object",
}


@pytest.mark.parametrize("arrange", WRONG)
def test_what_is_wrong_with_a_folder_is_one_sentence(tmp_path, arrange):
    arrange(with_config(tmp_path))
    with pytest.raises(InputError, match=WRONG[arrange]) as refused:
        open_checkpoint(tmp_path)
    assert "\n" not in str(refused.value)


def test_no_folder_and_no_file_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"folder must be a folder with config.json and weights"):
        open_checkpoint(tmp_path / "no")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="weights must be a file that ends in"):
        open_checkpoint(tmp_path / "a.txt")


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_links_as_download_caches_make_them_are_followed(tmp_path):
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshot"
    for one in (blobs, folder):
        one.mkdir()
    single(with_config(blobs))
    for name in ("config.json", "model.safetensors"):
        (folder / name).symlink_to(blobs / name)
    assert open_checkpoint(folder).tensors.keys() == {"one", "two"}

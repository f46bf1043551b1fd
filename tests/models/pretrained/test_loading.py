"""Published checkpoints as denoisers: parameters against stacks that NumPy makes, on one device and on eight."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from compiled import programs
from compiler_flags import with_devices
from llada_folders import ALONE, LLADA, LLADA_8B, STACKED, llada_arrays, save_folder, stacked
from torch_files import tensor, zipped

from mdm_jax import models
from mdm_jax.models import rotary
from mdm_jax.models.pretrained import families
from mdm_jax.models.pretrained.loading import expected_shapes
from mdm_jax.support.errors import InputError
from mdm_jax.training import devices

pytestmark = pytest.mark.core

ARRAYS = llada_arrays()
HEAD, NORM = ALONE["head/weight"], ALONE["norm/weight"]
KEY_2 = STACKED["layers/attention/key/weight"].replace("{i}", "2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp("llada"), ARRAYS, LLADA)


@pytest.fixture(scope="module")
def loaded(folder):
    return models.load_pretrained(folder)


def leaves(params):
    found = jax.tree_util.tree_leaves_with_path(params["params"])
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in found}


def test_parameters_are_what_lies_in_the_files_bit_for_bit(loaded):
    found, right = leaves(loaded.params), stacked(ARRAYS, 4)
    assert found.keys() == right.keys()
    for path, value in right.items():
        assert found[path].dtype == value.dtype
        np.testing.assert_array_equal(found[path], value)


def test_loading_compiles_nothing(tmp_path):
    """Of sizes that no other test has; 10 programs of angles were compiled here once, a third of the time."""
    config = {**LLADA, "d_model": 4 * 26, "rope_theta": 4321.0}
    save_folder(tmp_path, llada_arrays(config), config)
    with programs() as made:
        models.load_pretrained(tmp_path)
    assert made == []
    for first, angles in zip(rotary.rotations(1, 26, 4321.0), rotary.rotations(3, 26, 4321.0)):
        np.testing.assert_array_equal(first, angles[:1])


def test_what_happens_to_the_files_afterwards_changes_nothing(tmp_path):
    wide = {**LLADA, "vocab_size": 2**17, "embedding_size": 2**17, "weight_tying": True}
    arrays = llada_arrays(wide)
    path = save_folder(tmp_path, {name: value for name, value in arrays.items() if name != HEAD}, wide)
    loaded = models.load_pretrained(path)
    assert max(leaf.nbytes for leaf in leaves(loaded.params).values()) > 2**22  # small ones and large ones
    before = {name: value.copy() for name, value in leaves(loaded.params).items()}
    with (path / "model.safetensors").open("r+b") as stream:  # in place, as another program may
        stream.write(bytes((path / "model.safetensors").stat().st_size))
    for name, value in leaves(loaded.params).items():
        np.testing.assert_array_equal(value, before[name])


def test_what_the_family_says_becomes_wrappers(loaded, folder):
    logits = jax.jit(models.logits, static_argnums=0)(loaded.denoiser, loaded.params, np.full((1, 8), 11, np.int32))
    impossible = np.isneginf(np.asarray(logits)).all(axis=(0, 1))
    assert np.flatnonzero(impossible).tolist() == [11, 12, 13, 14, 15]  # the mask, and rows past the vocabulary
    assert (loaded.denoiser.vocab_size, loaded.denoiser.mask_id) == (16, 11)
    told = models.load_pretrained(folder, shift=True, banned=[3], mask_id=5)
    assert isinstance(told.denoiser.denoiser, type(models.shifted(loaded.denoiser)))
    assert (told.denoiser.mask_id, told.denoiser.setting, told.published.banned) == (5, (3,), (3,))
    assert told.provenance["settings"] == {"shift": True, "mask_id": 5, "banned": [3]}


def test_where_it_is_from_is_told(loaded, folder):
    assert loaded.provenance["family"] == "LLaDA"
    assert sorted(loaded.provenance["files"]) == ["config.json", "model.safetensors"]
    assert loaded.provenance["ignored"] == []
    assert loaded.provenance["folder"] == str(folder)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_types_are_kept(tmp_path, dtype):
    arrays = llada_arrays(dtype=dtype)
    arrays[NORM] = arrays[NORM].astype(np.float32)  # as some keep their norms
    found = leaves(models.load_pretrained(save_folder(tmp_path, arrays, LLADA, shards=2)).params)
    for path, value in stacked(arrays, 4).items():
        assert found[path].dtype == value.dtype
        np.testing.assert_array_equal(found[path], value)


def test_a_pickle_of_torch_makes_the_same_parameters(tmp_path, loaded):
    # A matrix stored by columns is the same matrix.
    table = {name: tensor("Float", str(i), value.size, value.shape) for i, (name, value) in enumerate(ARRAYS.items())}
    contents = {str(i): value.tobytes() for i, value in enumerate(ARRAYS.values())}
    turned = list(ARRAYS).index(HEAD)
    table[HEAD] = tensor("Float", str(turned), ARRAYS[HEAD].size, ARRAYS[HEAD].shape, (1, ARRAYS[HEAD].shape[0]))
    contents[str(turned)] = ARRAYS[HEAD].T.tobytes()
    (tmp_path / "pytorch_model.bin").write_bytes(zipped(table, contents))
    (tmp_path / "config.json").write_text(json.dumps(LLADA))
    found = models.load_pretrained(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, found.params, loaded.params)
    assert found.denoiser == loaded.denoiser


def test_an_average_beside_the_weights_is_told_and_not_taken(tmp_path, loaded):
    table = {name: tensor("Float", str(i), value.size, value.shape) for i, (name, value) in enumerate(ARRAYS.items())}
    contents = {str(i): value.tobytes() for i, value in enumerate(ARRAYS.values())}
    contents["average"] = np.zeros(4, np.float32).tobytes()
    saved = {"model": table, "ema": {"shadow": tensor("Float", "average", 4, (4,))}}
    (tmp_path / "pytorch_model.bin").write_bytes(zipped(saved, contents))
    (tmp_path / "config.json").write_text(json.dumps(LLADA))
    found = models.load_pretrained(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, found.params, loaded.params)
    assert found.provenance["ignored"] == ["ema (averaged weights)", *loaded.provenance["ignored"]]


def test_fused_tensors_are_taken_apart(tmp_path):
    width, rows = 8, 6
    config = {"model_type": "mdlm", "vocab_size": rows, "model_length": 8, "hidden_dim": width, "cond_dim": 4}
    config |= {"n_blocks": 2, "n_heads": 2, "mask_token_id": 5, "time_conditioning": False}
    published = families.published(config, [], {})
    shapes = expected_shapes(models.from_linen(published.module, rows, 5))
    draw, arrays = np.random.default_rng(1), {}
    for path, source in published.sources.items():
        stack = "{i}" in source.names[0]
        shape = shapes[path].shape[1:] if stack else shapes[path].shape
        shape = (3 * width, *shape[1:]) if source.ranges else shape
        for i in range(2 if stack else 1):
            name = source.names[0].replace("{i}", str(i))
            arrays.setdefault(f"backbone.{name}", draw.standard_normal(shape).astype(np.float32))
    extra = {"backbone.rotary_emb.inv_freq": np.zeros(2, np.float32)}
    found = models.load_pretrained(save_folder(tmp_path, arrays | extra, config))
    assert found.provenance["ignored"] == list(extra)
    fused = [arrays[f"backbone.blocks.{i}.attn_qkv.weight"] for i in range(2)]
    parts = leaves(found.params)
    for place, part in enumerate(("query", "key", "value")):
        right = np.stack([matrix[place * width : (place + 1) * width] for matrix in fused])
        np.testing.assert_array_equal(parts[f"layers/attention/{part}/weight"], right)
    name = "backbone.blocks.1.attn_qkv.weight"
    arrays[name] = np.concatenate([arrays[name], arrays[name][:2]])
    with pytest.raises(InputError, match=rf"'{name}' has 26 rows, of which the network .* takes 24: it is of another"):
        models.load_pretrained(save_folder(tmp_path, arrays, config))


def changed(**arrays):
    return {name: value for name, value in {**ARRAYS, **arrays}.items() if value is not None}


EXTRA = np.zeros(2, np.float32)
WRONG = {
    "a missing tensor": (changed(**{KEY_2: None}), {}, f"lacks the tensor '{KEY_2}'"),
    "an extra tensor": (changed(extra=EXTRA, more=EXTRA), {}, "has the tensor 'extra' and 1 more, which the network"),
    "one layer more": (ARRAYS, {"n_layers": 5}, r"lacks the tensor 'model.transformer.blocks.4"),
    "one layer fewer": (ARRAYS, {"n_layers": 3}, r"has the tensor 'model.transformer.blocks.3"),
    "another shape": (changed(**{KEY_2: np.zeros((8, 15), np.float32)}), {}, r"has shape \[8, 15\], of which no"),
    "another width": (ARRAYS, {"d_model": 32}, r"of which no parameter of shape \[.*32\] can be made"),
    "whole numbers": (changed(**{NORM: np.zeros(16, np.int32)}), {}, "must be of type float32.*; got int32"),
    "numbers of 64 bits": (changed(**{NORM: np.zeros(16)}), {}, "got float64"),
    "a layer of another type": (changed(**{KEY_2: ARRAYS[KEY_2].astype(np.float16)}), {}, "float16 and float32"),
    "a mixture of experts": (ARRAYS, {"model_type": "llada_moe", "num_experts": 64}, "is a mixture of experts"),
    "uniform noise": (ARRAYS, {"model_type": "duo"}, "DUO's, whose noise is uniform"),
    "another network": (ARRAYS, {"model_type": "mamba"}, "model_type must be one of llada"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_one_sentence(tmp_path, name):
    arrays, config, wanted = WRONG[name]
    save_folder(tmp_path, arrays, {**LLADA, **config})
    with pytest.raises(InputError, match=wanted) as refused:
        models.load_pretrained(tmp_path)
    assert "\n" not in str(refused.value)


HUGE = {
    "a billion layers": ({"n_layers": 10**9}, "lacks the tensor"),
    "200 GB": ({"vocab_size": 10**9, "embedding_size": 10**9}, r"has shape \[16, 16\], of which no parameter"),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_configuration_of_more_than_there_is_takes_no_memory(folder, name):
    config, wanted = HUGE[name]
    tracemalloc.start()
    with pytest.raises(InputError, match=wanted):
        models.load_pretrained(folder, config={**LLADA, **config})
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


def test_a_flipped_bit_changes_the_digest_or_is_refused(tmp_path, loaded):
    path = save_folder(tmp_path, ARRAYS, LLADA) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    other = models.load_pretrained(tmp_path).provenance["files"]
    assert other["config.json"] == loaded.provenance["files"]["config.json"]
    assert other["model.safetensors"] != loaded.provenance["files"]["model.safetensors"]


def test_a_head_that_is_the_embedding_needs_no_tensor(tmp_path):
    config = {**LLADA, "weight_tying": True}
    found = models.load_pretrained(save_folder(tmp_path, changed(**{HEAD: None}), config))
    assert "head/weight" not in leaves(found.params)


def test_llada_8b_is_as_large_as_it_is_said_to_be():
    published = families.published(LLADA_8B, list(ALONE.values()), {})
    shapes = expected_shapes(models.from_linen(published.module, published.vocab_size, published.mask_id))
    assert sum(leaf.size for leaf in shapes.values()) == 8_015_581_184
    stored = {path: jax.ShapeDtypeStruct(leaf.shape, jax.numpy.bfloat16) for path, leaf in shapes.items()}
    mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
    on_each = sum(part.bytes for part in devices.explain(mesh, stored))
    assert 16_031_162_368 / 8 <= on_each < 16_031_162_368 / 8 + 2**21  # the norms are on every device


@pytest.mark.processes
@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float32", marks=pytest.mark.thorough)])
def test_a_mesh_is_filled_part_by_part(tmp_path, dtype):
    here = Path(__file__).parent
    environment = {**os.environ, "XLA_FLAGS": with_devices(8), "JAX_PLATFORMS": "cpu"}
    environment["PYTHONPATH"] = os.pathsep.join([str(here.parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(here / "sharded_loading.py"), str(tmp_path / "made"), json.dumps(LLADA), dtype]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["divided"] >= 10
    assert found["reads twice"] == 0
    assert found["read"] == found["whole"] == found["bytes"]
    assert found["largest difference"] < (0.05 if dtype == "bfloat16" else 1e-5)

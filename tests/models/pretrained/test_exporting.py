"""Parameters out again: a checkpoint's tensors bit for bit, what transformers makes of them; our own by path."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from golden_cases import golden
from llada_folders import LLADA, llada_arrays, save_folder
from made_tensors import checkpoint
from safetensors import safe_open
from safetensors.numpy import load_file

import mdm_jax as mdm
from mdm_jax import models
from mdm_jax.models.pretrained.exporting import tensors_like
from mdm_jax.models.pretrained.folders import open_checkpoint
from mdm_jax.models.pretrained.published import Source
from mdm_jax.support.errors import InputError

CASES = {name: case for family in ("decoders", "diffusion", "encoders") for name, case in golden(family).items()}
core = pytest.mark.core


def written(folder, case):
    """A folder of a kept case, and what was written into it."""
    arrays = {name: np.ascontiguousarray(value) for name, value in checkpoint(case["tensors"]).items()}
    save_folder(folder, arrays, case["config"])
    if "vocabulary" in case["settings"]:
        (folder / "vocab.json").write_text(json.dumps(case["settings"]["vocabulary"]))
    return folder, arrays


def loaded(folder, case):
    settings = {name: value for name, value in case["settings"].items() if name != "vocabulary"}
    return models.load_pretrained(folder, **settings)


@core
@pytest.mark.parametrize("name", CASES)
def test_what_leaves_as_it_came_has_the_bits_that_it_came_with(name, tmp_path):
    folder, arrays = written(tmp_path / "published", CASES[name])
    found = loaded(folder, CASES[name])
    path = models.export_parameters(tmp_path / "out.safetensors", found.denoiser, found.params, like=folder)
    out = load_file(path)
    assert out.keys() == arrays.keys()
    for tensor, value in arrays.items():
        assert out[tensor].dtype == value.dtype
        assert out[tensor].shape == value.shape
        assert out[tensor].tobytes() == value.tobytes(), tensor
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["format"] == "pt"  # which transformers asks for


@core
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16])
def test_types_are_kept_and_wrappers_change_nothing(dtype, tmp_path):
    arrays = llada_arrays(dtype=dtype)
    folder = save_folder(tmp_path / "published", arrays, LLADA, shards=3)
    found = models.load_pretrained(folder, shift=True, length=6)
    model = models.calibrated(models.framed(found.denoiser, [1, 2, 3], prefix=[0]), [0.0, 1.0], [1.0, 2.0])
    out = load_file(models.export_parameters(tmp_path / "out.safetensors", model, found.params, like=folder))
    assert {name: value.tobytes() for name, value in out.items()} == {n: v.tobytes() for n, v in arrays.items()}
    assert {value.dtype for value in out.values()} == {np.dtype(dtype)}


@core
def test_one_number_that_changed_is_the_one_that_differs(tmp_path):
    """Of a fused tensor: row 3 of layer 1's key is row width + 3 of the joined matrix."""
    folder, arrays = written(tmp_path / "published", CASES["MDLM"])
    found = loaded(folder, CASES["MDLM"])
    changed = jax.tree.map(lambda leaf: leaf, found.params)
    key = changed["params"]["layers"]["attention"]["key"]
    key["weight"] = key["weight"].at[1, 3, 2].add(1.0)
    out = load_file(models.export_parameters(tmp_path / "out.safetensors", found.denoiser, changed, like=folder))
    differ = {name: np.argwhere(out[name] != value).tolist() for name, value in arrays.items()}
    width = key["weight"].shape[-1]
    (name,) = [name for name, places in differ.items() if places]
    assert re.fullmatch(r"(backbone\.)?blocks\.1\.attn_qkv\.weight", name)
    assert differ[name] == [[width + 3, 2]]


@core
def test_another_name_of_a_trained_tensor_is_trained_too_and_a_buffer_is_copied(tmp_path):
    case = CASES["BERT"]
    _, arrays = written(tmp_path / "first", case)
    bias = next(
        name for name in arrays if name.endswith("predictions.decoder.bias") or name.endswith("predictions.bias")
    )
    stem = bias.rsplit("predictions.", 1)[0]
    twice = {f"{stem}predictions.bias": arrays[bias], f"{stem}predictions.decoder.bias": arrays[bias]}
    buffer = {"bert.embeddings.position_ids": np.arange(8)[None]}
    folder = save_folder(tmp_path / "published", {**arrays, **twice, **buffer}, case["config"])
    found = loaded(folder, case)
    changed = jax.tree.map(lambda leaf: leaf + 1, found.params)
    out = load_file(models.export_parameters(tmp_path / "out.safetensors", found.denoiser, changed, like=folder))
    for name in twice:
        np.testing.assert_array_equal(out[name], arrays[bias] + 1)
    np.testing.assert_array_equal(out["bert.embeddings.position_ids"], buffer["bert.embeddings.position_ids"])


@core
def test_what_cannot_be_put_together_is_refused(tmp_path):
    folder, _ = written(tmp_path / "published", CASES["MDLM"])
    found, whole = loaded(folder, CASES["MDLM"]), open_checkpoint(folder)
    path = "layers/attention/key/weight"
    names = found.published.sources[path].names
    width = found.params["params"]["layers"]["attention"]["key"]["weight"].shape[-1]

    def refused(rows, params=found.params):
        sources = {**found.published.sources, path: Source(names, (rows,))}
        told = type(found.published)(**{**vars(found.published), "sources": sources})
        with pytest.raises(InputError) as error:
            tensors_like(params, told, whole)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert f"rows from {width} to {width + 1} are in no parameters" in refused((width + 1, 2 * width))
    assert "are in two parameters" in refused((0, width))
    assert "are in two parameters" in refused((width - 1, 2 * width))
    halved = jax.tree.map(lambda leaf: leaf, found.params)
    key = halved["params"]["layers"]["attention"]["key"]
    key["weight"] = key["weight"].astype(jnp.bfloat16)
    assert "of one type where the checkpoint joins them" in refused((width, 2 * width), halved)
    key["weight"] = key["weight"][:, :-1]
    assert "must have shapes that make those of" in refused((width, 2 * width), halved)


def test_transformers_loads_what_was_trained_on(tmp_path):
    """Every number is changed; then both make the same logits of it."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    made_of = {"vocab_size": 13, "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 3}
    made_of |= {"num_attention_heads": 4, "max_position_embeddings": 32}
    heads = {"num_key_value_heads": 2}
    kinds = {
        "Qwen3": (transformers.Qwen3Config(**made_of, **heads, head_dim=8), transformers.Qwen3ForCausalLM),
        "Llama tied": (
            transformers.LlamaConfig(**made_of, **heads, tie_word_embeddings=True),
            transformers.LlamaForCausalLM,
        ),
        "BERT": (transformers.BertConfig(**made_of), transformers.BertForMaskedLM),
        "ModernBERT": (
            transformers.ModernBertConfig(**made_of, pad_token_id=0, cls_token_id=1, sep_token_id=2),
            transformers.ModernBertForMaskedLM,
        ),
    }
    tokens = np.array([[3, 12, 5, 12, 7, 12, 4]])
    for name, (config, kind) in kinds.items():
        torch.manual_seed(0)
        config._attn_implementation = "eager"
        kind(config).save_pretrained(tmp_path / name)
        found = models.load_pretrained(tmp_path / name, mask_id=12, shift=False, banned=[])
        changed = jax.tree.map(lambda leaf: leaf * 1.25 + 0.01, found.params)
        folder = tmp_path / f"{name} again"
        folder.mkdir()
        shutil.copy(tmp_path / name / "config.json", folder)
        models.export_parameters(folder / "model.safetensors", found.denoiser, changed, like=tmp_path / name)
        theirs, about = kind.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
        assert not any(about[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys")), name
        given = {"attention_mask": torch.zeros(1, 1, 7, 7)} if "CausalLM" in kind.__name__ else {}
        with torch.no_grad():
            right = theirs.eval()(torch.tensor(tokens), **given).logits.numpy()
        ours = np.asarray(jax.jit(models.logits, static_argnums=0)(found.denoiser, changed, jnp.asarray(tokens)))
        real = np.arange(13) != 12
        assert np.abs(ours - right)[..., real].max() <= 1e-5 * np.abs(right).max(), name


SMALL = {"length": 8, "width": 16, "depth": 2, "heads": 2}
OWN = {
    "bidirectional": lambda: models.transformer(4, **SMALL),
    "ragged": lambda: models.transformer(4, **SMALL, ragged=True),
    "with classes": lambda: models.transformer(4, **SMALL, classes=3),
    "any order": lambda: models.any_order(4, **SMALL),
    "block causal": lambda: models.block_causal(4, **SMALL, block=4),
    "latent": lambda: models.latent_transformer(4, length=8, width=16, depth=2, heads=2, latent_size=3),
}


@core
@pytest.mark.parametrize("kind", OWN)
def test_our_own_come_back_bit_for_bit(kind, tmp_path):
    model = OWN[kind]()
    params = jax.jit(lambda: model.init(mdm.key(0), length=8))()
    about = {"run": "abc", "step": 7}
    path = models.export_parameters(tmp_path / "own.safetensors", model, params, about=about)
    again, found = models.load_exported(path)
    assert again == model
    assert jax.tree.structure(found) == jax.tree.structure(params)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), found, params)
    assert all(a.dtype == b.dtype for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params)))
    with safe_open(path, framework="numpy") as file:  # as others see it
        assert "blocks_0.attention.output.kernel" in file.keys()  # noqa: SIM118
        said = json.loads(file.metadata()["mdm_jax"])
    assert (said["run"], said["step"], said["model"]) == ("abc", 7, models.describe(model))


@core
def test_a_users_own_model_is_given_again(tmp_path):
    def function(params, tokens):
        return params["table"][tokens] * params["scales"]["half"].astype(jnp.float32)

    model = models.from_function(function, vocab_size=3)
    params = {"table": jnp.arange(12.0).reshape(4, 3), "scales": {"half": jnp.bfloat16(0.5)}, "count": jnp.arange(0)}
    path = models.export_parameters(tmp_path / "own.safetensors", model, params)
    with pytest.raises(InputError, match="denoiser must be given"):
        models.load_exported(path)
    again, found = models.load_exported(path, model)
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, found, params)
    assert found["scales"]["half"].dtype == jnp.bfloat16
    assert found["scales"]["half"].shape == ()


@core
def test_the_file_is_new_or_may_be_replaced_and_nothing_is_half_written(tmp_path, monkeypatch):
    model = OWN["bidirectional"]()
    params = jax.jit(lambda: model.init(mdm.key(0), length=8))()
    path = tmp_path / "folder" / "own.safetensors"
    models.export_parameters(path, model, params)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"path must be a new file, or one that may be replaced"):
        models.export_parameters(path, model, params)
    other = jax.tree.map(lambda leaf: leaf + 1, params)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space") as error:
            models.export_parameters(path, model, other, replace=True)
    assert error.value.filename == str(path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["own.safetensors"]
    models.export_parameters(path, model, other, replace=True)
    jax.tree.map(np.testing.assert_array_equal, models.load_exported(path)[1], other)


@core
def test_what_is_no_file_of_ours_is_one_sentence(tmp_path):
    model = OWN["bidirectional"]()
    params = jax.jit(lambda: model.init(mdm.key(0), length=8))()
    folder = save_folder(tmp_path / "published", llada_arrays(), LLADA)
    found = models.load_pretrained(folder)
    like = models.export_parameters(tmp_path / "like.safetensors", found.denoiser, found.params, like=folder)
    own = models.export_parameters(tmp_path / "own.safetensors", model, params)
    odd = {"params": {**params["params"], "head": {"kernel": jnp.zeros((16, 5))}}}
    wrong = models.export_parameters(tmp_path / "wrong.safetensors", model, odd)
    cases = {
        "has a published model's names": lambda: models.load_exported(like),
        "must be a file that export_parameters wrote": lambda: models.load_exported(folder / "model.safetensors"),
        r"denoiser must be left out, or that of": lambda: models.load_exported(own, OWN["ragged"]()),
        r"params.head.kernel must have shape \(16, 4\); got \(16, 5\)": lambda: models.load_exported(wrong),
        "like must be the checkpoint that the model was made of": lambda: models.export_parameters(
            tmp_path / "a", models.from_linen(found.published.module.clone(rotary_base=1e4), 16, 11),
            found.params, like=folder,
        ),
        "like must be the checkpoint": lambda: models.export_parameters(tmp_path / "a", model, params, like=folder),
        "denoiser must be of a published network": lambda: models.export_parameters(
            tmp_path / "a", models.from_function(lambda params, tokens: tokens, 3), params, like=folder
        ),
        "must be those of a network of LLaDA": lambda: models.export_parameters(
            tmp_path / "a", found.denoiser, params, like=folder
        ),
        "params must be dictionaries of arrays": lambda: models.export_parameters(
            tmp_path / "a", model, {"params": [jnp.zeros(3)]}
        ),
        "folder must be a folder with config.json": lambda: models.export_parameters(
            tmp_path / "a", found.denoiser, found.params, like=tmp_path / "none"
        ),
    }  # fmt: skip
    for wanted, call in cases.items():
        with pytest.raises(InputError, match=wanted) as error:
            call()
        assert "\n" not in str(error.value)
    assert not (tmp_path / "a").exists()

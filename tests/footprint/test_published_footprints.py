"""What published models take, before their weights are there: counts by hand, bytes by what is loaded."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from llada_folders import LLADA, LLADA_8B, llada_arrays, save_folder

from mdm_jax import models
from mdm_jax.footprint import footprint, inference, longest, sampling_cache
from mdm_jax.models.pretrained.by_blocks import as_denoiser
from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.support.errors import InputError
from mdm_jax.training import Settings, initial_state

SDAR = {
    **{"model_type": "sdar", "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 6, "intermediate_size": 24, "vocab_size": 12, "mask_token_id": 11},
    **{"max_position_embeddings": 20, "rope_theta": 1e6, "rms_norm_eps": 1e-6, "hidden_act": "silu"},
    **{"tie_word_embeddings": False, "block_size": 4, "dtype": "bfloat16"},
}


def a_folder(path, config):
    """config.json, and no more than that."""
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.core
def test_the_true_llada_8b_by_hand_from_its_config_alone(tmp_path):
    found = models.outline_pretrained(a_folder(tmp_path, {**LLADA_8B, "torch_dtype": "bfloat16"}))
    assert (found.family, found.typed_by) == ("LLaDA", "config.json")
    width, hidden, vocab, layers, length = 4096, 12_288, 126_464, 32, 4096
    matrices = 4 * width**2 + 3 * width * hidden
    count = layers * (matrices + 2 * width) + 2 * vocab * width + width
    whole = inference(found.denoiser, found.shapes)
    assert whole.parameters == count == 8_015_581_184
    assert whole.types == {"bfloat16": 2 * count}
    assert whole.parameter_bytes == 2 * count
    assert whole.encoding == length * layers * (2 * matrices + 4 * length * width)
    assert whole.readout == length * 2 * vocab * width
    assert whole.cache == ()
    eight = inference(found.denoiser, found.shapes, {"data": 1, "model": 8})
    # The last norm is a vector, and whole on every device; norms of layers are one array of 32 of them.
    assert (eight.devices, eight.parameter_bytes) == (8, 2 * ((count - width) // 8 + width))
    assert inference(found.denoiser, found.shapes, devices=8).parameter_bytes == 2 * count
    assert inference(found.denoiser, found.shapes, length=1024).encoding == 1024 * layers * (
        2 * matrices + 4 * 1024 * width
    )


@pytest.mark.parametrize(
    ("config", "count"),
    [
        # As Dream-7B and BERT (bert-base-uncased, with its head) are published.
        (
            {
                **{"model_type": "Dream", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28},
                **{"num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "rms_norm_eps": 1e-6},
                **{"max_position_embeddings": 131072, "rope_theta": 1e6, "mask_token_id": 151666},
                "tie_word_embeddings": False,
            },
            7_615_616_512,
        ),
        (
            {
                **{"model_type": "bert", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
                **{"intermediate_size": 3072, "vocab_size": 30522, "max_position_embeddings": 512},
                **{"type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12},
            },
            109_514_298,
        ),
    ],
)
def test_published_counts_are_met_without_weights_and_without_a_vocabulary(config, count, tmp_path):
    found = models.outline_pretrained(a_folder(tmp_path, config))
    assert sum(leaf.size for leaf in jax.tree.leaves(found.shapes)) == count


def test_an_index_without_its_shards_tells_whether_the_head_is_the_embedding(tmp_path):
    """The fault: A2D's config.json ties a head that its folders have."""
    tied = {**SDAR, "model_type": "a2d-qwen3", "tie_word_embeddings": True}
    del tied["block_size"]
    bare = models.outline_pretrained(a_folder(tmp_path, tied))
    weights = {"lm_head.weight": "model-1.safetensors", "model.embed_tokens.weight": "model-1.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    found = models.outline_pretrained(tmp_path)
    assert found.shapes["params"]["head"]["weight"].shape == (12, 16)
    assert "head" not in bare.shapes["params"]


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_an_outline_has_the_shapes_and_types_of_what_is_loaded(dtype, tmp_path):
    """By the headers of the weights; and by config.json alone, where it tells the type that they have."""
    save_folder(tmp_path / "whole", llada_arrays(LLADA, dtype), LLADA)
    loaded = models.load_pretrained(tmp_path / "whole").params
    bare = a_folder(tmp_path / "bare", {**LLADA, "torch_dtype": np.dtype(dtype).name})
    for folder, typed_by in ((tmp_path / "whole", "the files"), (bare, "config.json")):
        found = models.outline_pretrained(folder)
        assert found.typed_by == typed_by
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), found.shapes) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), loaded
        )
        held = inference(found.denoiser, found.shapes)
        assert held.parameter_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(loaded))
        assert sum(line.count for line in held.arrays) == len(jax.tree.leaves(loaded))


def test_types_are_counted_apart(tmp_path):
    arrays = llada_arrays(LLADA, ml_dtypes.bfloat16)
    arrays |= {name: value.astype(np.float32) for name, value in arrays.items() if "norm" in name}
    found = models.outline_pretrained(save_folder(tmp_path / "mixed", arrays, LLADA))
    norms = sum(value.nbytes for name, value in arrays.items() if "norm" in name)
    rest = sum(value.nbytes for name, value in arrays.items() if "norm" not in name)
    assert inference(found.denoiser, found.shapes).types == {"bfloat16": rest, "float32": norms}


def test_a_model_by_blocks_keeps_keys_and_values_in_the_type_of_its_weights(tmp_path):
    found = models.outline_pretrained(a_folder(tmp_path, SDAR))
    lines = inference(found.denoiser, found.shapes).cache
    # Keys and values of 20 positions in three layers, two heads of six.
    kept = [line for line in lines if line.name in ("kept key", "kept value")]
    assert [(line.shape, line.dtype, line.bytes) for line in kept] == 2 * [((1, 3, 20, 2, 6), "bfloat16", 2 * 720)]
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), found.shapes)
    real = found.denoiser.empty(params, 1, 20, 4)
    assert sum(line.bytes for line in lines) == sum(leaf.nbytes for leaf in jax.tree.leaves(real))
    # What the model makes of itself is float32: its cache would have twice as many bytes.
    wide = [line for line in sampling_cache(found.denoiser) if line.name in ("kept key", "kept value")]
    assert [(line.dtype, line.bytes) for line in wide] == 2 * [("float32", 4 * 720)]


def test_float32_weights_are_trained_and_the_state_is_that_of_what_is_loaded(tmp_path):
    folder = save_folder(tmp_path / "whole", llada_arrays(), LLADA)
    found, loaded = models.outline_pretrained(folder), models.load_pretrained(folder)
    settings = Settings(batch=4, length=8, optimizer="adamw")
    ours = footprint(found.denoiser, settings, params=found.shapes)
    real = jax.jit(initial_state, static_argnums=(0, 1))(loaded.denoiser, settings, loaded.params)
    assert ours.state_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(real))
    assert ours.gradients == sum(leaf.nbytes for leaf in jax.tree.leaves(loaded.params))
    held = inference(found.denoiser, found.shapes)
    assert ours.flops.forward == 4 * (held.encoding + held.readout)
    assert ours.flops.backward == 2 * ours.flops.forward


def test_no_type_is_float32_and_no_mask_is_needed(tmp_path):
    config = {name: value for name, value in LLADA.items() if name != "mask_token_id"}
    found = models.outline_pretrained(a_folder(tmp_path, config))
    assert found.typed_by == "nobody"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found.shapes)} == {"float32"}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {**LLADA, "torch_dtype": "int8"},
            "config.json's torch_dtype or dtype must be one of float32, bfloat16",
        ),
        ({"model_type": "llada_moe", "num_experts": 64}, "a model_type of 'llada_moe' is a mixture of experts"),
        ({"model_type": "mamba"}, "config.json's model_type must be one of llada"),
        ({**SDAR, "block_size": None}, "block must be given, as SDAR goes by blocks"),
        ([], "config.json must be an object"),
    ],
)
def test_what_no_outline_can_be_made_of_is_one_sentence(config, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        models.outline_pretrained(a_folder(tmp_path, config))


def test_nothing_in_a_folder_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json and no weights, which say what a model is"):
        models.outline_pretrained(tmp_path)


def test_weights_that_are_there_are_compared_with_config(tmp_path):
    save_folder(tmp_path / "whole", llada_arrays(), {**LLADA, "n_layers": 5})
    with pytest.raises(InputError, match="lacks the tensor"):
        models.outline_pretrained(tmp_path / "whole")


def test_rows_longer_than_the_model_are_refused():
    sizes = {"width": 16, "depth": 1, "hidden": 24, "heads": 4, "key_value_heads": 2, "head_features": 4}
    model = as_denoiser(Decoder(vocab_size=10, embedding_rows=10, length=8, **sizes), 10, 9)
    with pytest.raises(InputError, match="length must be a whole number from 1 to 8; got 9"):
        inference(model, length=9)
    framed = models.framed(model, range(9), prefix=[0], suffix=[1, 2])
    bare = inference(model, length=8).encoding
    assert (longest(model), longest(framed)) == (8, 5)
    found = inference(framed)  # of the longest row
    assert (found.length, found.encoding) == (5, bare)  # what stands around a row is encoded with it
    with pytest.raises(InputError, match="length must be a whole number from 1 to 5; got 6"):
        inference(framed, length=6)
    assert bare == 8 * (inference(model, length=1).encoding + 4 * 7 * 16)  # a token meets seven more

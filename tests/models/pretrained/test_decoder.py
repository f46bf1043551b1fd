"""The decoder against ``transformers``: by golden numbers, and directly where that is installed."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_equal_logits, denoiser, golden, logits_of_case, parameters
from made_tensors import checkpoint

from mdm_jax import models
from mdm_jax.models import rotary
from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.models.pretrained.families import decoders, llada, smdm
from mdm_jax.support.errors import InputError

CASES = golden("decoders")
SIZES = {"width": 16, "hidden": 20, "heads": 4, "key_value_heads": 2, "head_features": 4}


def family_of(name):
    return {"LLaDA": llada, "SMDM": smdm}.get(name, decoders).published


def small(depth=2, **settings):
    module = Decoder(vocab_size=13, embedding_rows=13, length=8, depth=depth, **{**SIZES, **settings})
    return models.from_linen(module, 13, mask_id=12)


def parameters_of(model, kind=jnp.float32):
    params = jax.jit(lambda: model.init(jax.random.key(0), length=8))()
    return jax.tree.map(lambda leaf: leaf.astype(kind), params)


@functools.partial(jax.jit, static_argnums=0)
def logits(model, params, tokens):
    return models.logits(model, params, tokens)


@pytest.mark.core
@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_an_independent_implementation(name):
    case = CASES[name]
    ours = logits_of_case(case, family_of(name))
    mask_id = 13 if name == "SMDM" else 12
    assert_equal_logits(ours, np.asarray(case["logits"]), case["tokens"], mask_id)


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3"])
def test_logits_are_those_of_transformers_at_another_size(kind):
    """32 features, 3 layers and 40 positions, of which a row lacks 11; weights from names, sizes that no golden has."""
    pytest.importorskip("transformers")
    from models.pretrained.golden import decoders as reference
    from models.pretrained.golden.make import filled

    config = {
        **{**reference.SIZES, "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 64},
        **{"rope_theta": 1e6 if kind == "Qwen2" else 5e5, "rms_norm_eps": 1e-6, "max_position_embeddings": 64},
    }
    config |= {"head_dim": 16} if kind == "Qwen3" else {}
    network = reference.model(kind, config)
    tensors = checkpoint(filled(network))
    tokens = np.random.default_rng(0).integers(0, 50, (2, 40))
    tokens[1, 29:] = -1
    theirs = reference.full_attention(network, tokens)
    told = decoders.published({**config, "model_type": f"a2d-{kind.lower()}", "mask_token_id": 49}, tuple(tensors), {})
    ours = models.logits(denoiser(told), parameters(told, tensors), jnp.asarray(tokens, jnp.int32))
    assert_equal_logits(ours, theirs, tokens, 49)


_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
SCALINGS = {
    "linear": {"rope_type": "linear", "factor": 3.0},
    "llama3": {
        **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "original_max_position_embeddings": 64,
    },
    "yarn": _YARN,
    "yarn, a narrow ramp not on whole features": {**_YARN, "beta_fast": 4, "beta_slow": 0.7, "truncate": False},
    "yarn, told its gain": {**_YARN, "attention_factor": 1.3},
    "yarn, as DeepSeek": {**_YARN, "mscale": 1.0, "mscale_all_dim": 0.4},
}


@pytest.mark.parametrize("name", SCALINGS)
def test_scaled_rotary_positions_are_those_of_transformers(name, tmp_path):
    """Frequencies within 1e-6 of theirs; logits of 120 positions with a config.json that they wrote."""
    pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from models.pretrained.golden import decoders as reference
    from models.pretrained.golden.make import filled
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

    config = {**reference.SIZES, "vocab_size": 50, "rope_theta": 1e4, "rms_norm_eps": 1e-6, "head_dim": 32}
    config |= {"max_position_embeddings": 256, "rope_scaling": SCALINGS[name]}
    network = reference.model("Qwen3", config)
    tensors = checkpoint(filled(network))
    tokens = np.random.default_rng(0).integers(0, 50, (2, 120))
    theirs = reference.full_attention(network, tokens)
    network.config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert "rope_parameters" in written  # and in golden numbers, the older "rope_scaling"
    told = decoders.published({**written, "model_type": "a2d-qwen3"}, tuple(tensors), {"mask_id": 49})
    turns = Qwen3RotaryEmbedding(network.config)
    ours = rotary.frequencies(32, told.module.rotary_base, told.module.rotary_scales)
    np.testing.assert_allclose(ours, turns.inv_freq.to(torch.float32).numpy(), rtol=1e-6)
    np.testing.assert_allclose(told.module.rotary_gain, turns.attention_scaling, rtol=1e-6)
    found = models.logits(denoiser(told), parameters(told, tensors), jnp.asarray(tokens, jnp.int32))
    assert_equal_logits(found, theirs, tokens, 49)
    plain = told.module.clone(rotary_scales=(), rotary_gain=1.0)
    other = models.logits(models.from_linen(plain, 50, 49), parameters(told, tensors), jnp.asarray(tokens, jnp.int32))
    assert np.abs(np.asarray(other - found))[..., :49].max() > 1e-2 * np.abs(theirs).max()  # which it is not without


def test_a_row_is_worth_what_it_is_worth_alone():
    model = small()
    params = parameters_of(model)
    alone = jnp.asarray([[3, 12, 12, 5, 1], [12, 12, 0, 12, 7]])
    wider = jnp.pad(alone, ((0, 1), (0, 3)), constant_values=-1)  # and a row of nothing
    together = logits(model, params, wider)
    assert models.takes_absent(model)
    np.testing.assert_allclose(together[:2, :5], logits(model, params, alone), atol=1e-5)
    assert not bool(jnp.isnan(together).any())


def test_longer_rows_than_the_model_are_refused_with_a_sentence():
    model = small()
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), length=8))
    with pytest.raises(InputError, match=r"^tokens must be at most 8 long, as the model is; got 9\."):
        jax.eval_shape(model.encode, params, jnp.zeros((1, 9), jnp.int32))


def test_sixteen_layers_are_traced_like_two():
    """One layer is traced, whatever their number: the jaxprs have equally many equations, down into the scan."""

    def equations(depth):
        model = small(depth)
        params = jax.eval_shape(lambda: model.init(jax.random.key(0), length=8))
        traced = jax.make_jaxpr(lambda params: models.logits(model, params, jnp.zeros((1, 8), jnp.int32)))(params)
        scans = [eqn for eqn in traced.jaxpr.eqns if eqn.primitive.name == "scan"]
        assert [eqn.params["length"] for eqn in scans] == [depth]
        return str(traced).count(" = ")

    assert equations(2) == equations(16)


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("tied", [False, True])
def test_stored_types_are_kept_and_logits_are_float32(kind, tied):
    """Logits of rounded parameters worked out in float32 differ by less than 4% of the largest one (bfloat16)."""
    model = small(tied=tied, head_norms=True, biases=True)
    params = parameters_of(model, kind)
    tokens = jnp.asarray([[3, 12, 12, 5, 1, -1]])
    shapes = jax.eval_shape(model.encode, params, tokens)
    assert shapes.dtype == kind  # no layer widens what it hands on
    found = logits(model, params, tokens)[:, :5, :12]
    wide = logits(model, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params), tokens)[:, :5, :12]
    assert found.dtype == jnp.float32
    assert float(jnp.abs(found - wide).max()) < 0.04 * float(jnp.abs(wide).max())


@pytest.mark.parametrize("kind", [jnp.float32, jnp.bfloat16])
def test_gradients_are_finite_and_of_the_parameters_types(kind):
    model = small(head_norms=True, biases=True)
    params = parameters_of(model, kind)
    tokens = jnp.asarray([[3, 12, 12, -1, -1, -1], [-1] * 6])

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: jnp.sum(jax.nn.log_softmax(models.logits(model, p, tokens)[0, :, :12])[1:3, 4]))(
            params
        )

    leaves = jax.tree.leaves(gradient(params))
    assert all(leaf.dtype == kind and bool(jnp.isfinite(leaf.astype(jnp.float32)).all()) for leaf in leaves)
    assert sum(bool(jnp.any(leaf != 0)) for leaf in leaves) == len(leaves)


def test_equal_settings_are_equal_models():
    assert small() == small()
    assert hash(small()) == hash(small())
    assert small() != small(tied=True)


def test_a_context_is_refused_with_a_sentence():
    model = small()
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), length=8))
    with pytest.raises(InputError, match="leave the context out"):
        jax.eval_shape(model.encode, params, jnp.zeros((1, 8), jnp.int32), jnp.zeros((1, 3)))

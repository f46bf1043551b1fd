"""The DiT against ``d3_dna``'s: by golden numbers, and directly where that is installed."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_equal_logits, denoiser, golden, logits_of_case, parameters
from made_tensors import checkpoint

from mdm_jax import models
from mdm_jax.models.pretrained.diffusion_transformer import DiffusionTransformer, noise_of
from mdm_jax.models.pretrained.families.diffusion import published
from mdm_jax.support.errors import InputError

CASES = golden("diffusion")
TOKENS = jnp.asarray([[3, 12, 12, 5, 1, -1, -1, -1]])


def small(depth=2, timed=True):
    sizes = {"width": 16, "hidden": 64, "heads": 4, "level_features": 8}
    return models.from_linen(DiffusionTransformer(13, length=8, depth=depth, mask_id=12, timed=timed, **sizes), 13, 12)


def parameters_of(model, kind=jnp.float32):
    params = jax.jit(lambda: model.init(jax.random.key(0), length=8))()
    return jax.tree.map(lambda leaf: leaf.astype(kind), params)


@pytest.mark.core
@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_an_independent_implementation(name):
    case = CASES[name]
    assert_equal_logits(logits_of_case(case, published), np.asarray(case["logits"]), case["tokens"], 11)


@pytest.mark.skipif(importlib.util.find_spec("d3_dna") is None, reason="d3-dna is not installed")
@pytest.mark.parametrize("timed", [False, True])
def test_logits_are_those_of_d3_dna_at_another_size(timed):
    """32 features, 3 blocks and 40 positions, of which a row lacks 11; weights from names, sizes that no golden has."""
    from models.pretrained.golden import diffusion as reference
    from models.pretrained.golden.make import filled

    sizes = {"vocab_size": 50, "hidden_size": 32, "cond_dim": 24, "n_blocks": 3, "n_heads": 2}
    network = reference.network(sizes)
    tensors = checkpoint(filled(network))
    tokens = np.random.default_rng(0).integers(0, 50, (2, 40))
    tokens[:, ::3], tokens[1, 29:] = 49, -1
    theirs = reference.logits(network, tokens, 49, reference.noisy if timed else reference.still)
    flat = {"vocab_size": 50, "hidden_dim": 32, "cond_dim": 24, "n_blocks": 3, "n_heads": 2, "model_length": 64}
    told = published({**flat, "model_type": "mdlm", "time_conditioning": timed, "mask_index": 49}, tuple(tensors), {})
    ours = models.logits(denoiser(told), parameters(told, tensors), jnp.asarray(tokens, jnp.int32))
    assert_equal_logits(ours, theirs, tokens, 49)


def test_sigma_is_that_of_the_time_at_which_so_much_is_masked():
    """SEDD's log-linear noise masks a token by time t with probability .999 t = 1 - exp(-sigma)."""
    tokens = jnp.asarray([[12] * 8, [12, 1, 2, 3, -1, -1, -1, -1], [1] * 8, [-1] * 8])
    np.testing.assert_allclose(1 - np.exp(-noise_of(tokens, 12)), [0.999, 0.999 / 4, 0, 0], atol=1e-6)


def test_a_row_that_is_told_its_noise_is_worth_what_it_is_worth_alone():
    """Its masked fraction is of what is there, and of its own."""
    model = small()
    params = parameters_of(model)
    alone = jnp.asarray([[3, 12, 12, 5, 1], [12, 12, 0, 12, 7]])
    wider = jnp.pad(alone, ((0, 1), (0, 3)), constant_values=-1)  # and a row of nothing
    logits = jax.jit(lambda tokens: models.logits(model, params, tokens))
    np.testing.assert_allclose(logits(wider)[:2, :5], logits(alone), atol=1e-5)
    assert not bool(jnp.isnan(logits(wider)).any())


def test_sixteen_blocks_are_traced_like_two():
    def equations(depth):
        model = small(depth)
        params = jax.eval_shape(lambda: model.init(jax.random.key(0), length=8))
        return str(jax.make_jaxpr(lambda params: models.logits(model, params, TOKENS))(params)).count(" = ")

    assert equations(2) == equations(16)


def test_stored_types_are_kept_logits_are_float32_and_gradients_finite():
    """Logits of rounded parameters worked out in float32 differ by less than 4% of the largest one."""
    model = small()
    params = parameters_of(model, jnp.bfloat16)
    assert jax.eval_shape(model.encode, params, TOKENS).dtype == jnp.bfloat16
    logits = jax.jit(lambda params: models.logits(model, params, TOKENS)[:, :5, :12])
    found, wide = logits(params), logits(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params))
    assert found.dtype == jnp.float32
    assert float(jnp.abs(found - wide).max()) < 0.04 * float(jnp.abs(wide).max())
    leaves = jax.tree.leaves(
        jax.jit(jax.grad(lambda params: jnp.sum(jax.nn.log_softmax(logits(params))[0, 1, 3])))(params)
    )
    assert all(leaf.dtype == jnp.bfloat16 and bool(jnp.isfinite(leaf.astype(jnp.float32)).all()) for leaf in leaves)


def test_equal_settings_are_equal_models_and_long_rows_are_refused():
    assert small() == small()
    assert hash(small()) == hash(small())
    assert small() != small(timed=False)
    model = small()
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), length=8))
    with pytest.raises(InputError, match=r"^tokens must be at most 8 long, as the model is; got 9\."):
        jax.eval_shape(model.encode, params, jnp.zeros((1, 9), jnp.int32))

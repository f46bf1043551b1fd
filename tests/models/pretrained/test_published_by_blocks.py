"""Decoder and DiT by blocks: all blocks in one pass against each alone, and the cache against encoding anew."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_equal_logits, golden
from made_tensors import checkpoint

from mdm_jax import models, sampling
from mdm_jax.models.extending import block_length
from mdm_jax.models.pretrained.by_blocks import ByBlocksDenoiser, in_blocks
from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.models.pretrained.diffusion_transformer import DiffusionTransformer
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.usefixtures("strict_types")

LENGTH, BLOCK, TOKENS, MASK, ROWS = 10, 4, 6, 5, 5  # the last block is shorter, the mask among the logits
NUMBER = np.arange(LENGTH) // BLOCK
SIZES = {"width": 16, "depth": 2, "hidden": 20, "heads": 4, "key_value_heads": 2, "head_features": 4}


@functools.cache
def tiny(block=BLOCK, kind="decoder"):
    """The model by blocks, its parameters, and the bidirectional model of the same ones."""
    if "decoder" in kind:
        plain = Decoder(vocab_size=TOKENS, embedding_rows=TOKENS, length=LENGTH, head_norms=True, **SIZES)
    else:
        sizes = {"width": 16, "depth": 2, "hidden": 64, "heads": 4, "level_features": 8}
        plain = DiffusionTransformer(vocab_size=TOKENS, length=LENGTH, mask_id=MASK, timed=False, **sizes)
    model = ByBlocksDenoiser(in_blocks(plain, block, MASK, "shifted" in kind), TOKENS, MASK)
    return model, jax.jit(lambda: model.init(jax.random.key(0), LENGTH))(), models.from_linen(plain, TOKENS, MASK)


@functools.partial(jax.jit, static_argnums=0)
def logits(model, params, tokens):
    return models.logits(model, params, tokens)[..., :MASK]


def random_tokens(seed=0):
    return np.random.default_rng(seed).integers(0, MASK, (ROWS, LENGTH)).astype(np.int32)


def random_canvas(seed):
    """Tokens, about half of them given, and in every other row a prompt besides."""
    rng = np.random.default_rng(seed)
    given = rng.random((ROWS, LENGTH)) < 0.4
    given[::2] |= np.arange(LENGTH) < rng.integers(0, LENGTH, (len(given[::2]), 1))
    return np.where(given, random_tokens(seed), MASK).astype(np.int32)


def test_one_block_is_the_bidirectional_decoder():
    model, params, plain = tiny(block=LENGTH)
    canvas = random_canvas(1)
    np.testing.assert_allclose(logits(model, params, canvas), logits(plain, params, canvas), atol=2e-5)
    assert block_length(model) == LENGTH


@pytest.mark.parametrize("kind", ["decoder", "shifted decoder", "diffusion transformer"])
def test_all_blocks_in_one_pass_are_what_each_is_alone(kind):
    model, params, _ = tiny(kind=kind)
    tokens, noisy = random_tokens(), random_canvas(2)
    read = jax.jit(lambda *streams: model.readout(params, model.encode_blocks(params, *streams)))
    together = np.asarray(read(tokens, noisy))[..., :MASK]
    for k in range(3):
        canvas = np.where(k > NUMBER, tokens, np.where(k == NUMBER, noisy, MASK)).astype(np.int32)
        alone = np.asarray(logits(model, params, canvas))
        np.testing.assert_allclose(together[:, k == NUMBER], alone[:, k == NUMBER], atol=2e-5)


def sampled(denoiser, params, canvas, steps):
    more = {"key": jax.random.key(3), "temperature": jnp.float32(1.0), "record": None, "frames": None}
    more |= {"context": None, "row_ids": None}
    return sampling.blind_loop(denoiser, params, jnp.asarray(canvas), jnp.asarray(steps), **more)


@pytest.mark.parametrize(
    ("block", "kind"), [(BLOCK, "decoder"), (BLOCK, "shifted decoder"), (3, "diffusion transformer")]
)
def test_cached_sampling_draws_what_encoding_anew_draws(block, kind):
    """In order of the blocks, and in an order that finishes none before the last steps."""
    model, params, _ = tiny(block, kind)
    rng, canvas = np.random.default_rng(block), random_canvas(block)
    number = np.arange(LENGTH) // block
    for steps in (4 * number + rng.integers(0, 4, canvas.shape), rng.integers(0, 6, canvas.shape)):
        steps = np.where(canvas == MASK, steps, -1).astype(np.int32)
        cached, anew = (sampled(one, params, canvas, steps) for one in (model, models.without_cache(model)))
        np.testing.assert_array_equal(cached.tokens, anew.tokens)
        np.testing.assert_allclose(cached.log_prob, anew.log_prob, atol=1e-4)
        assert not bool(jnp.any(cached.tokens == MASK))


def test_shifted_a_block_is_predicted_one_position_earlier():
    """Its first token after a finished block by that block's last position, and else by itself."""
    (plain, params, _), (shifted, _, _) = tiny(), tiny(kind="shifted decoder")
    canvas = np.where(np.arange(LENGTH) < [[4], [5], [8], [0], [9]], random_tokens(), MASK).astype(np.int32)
    own, moved = (np.asarray(logits(one, params, canvas)) for one in (plain, shifted))
    for row, finished in enumerate([1, 1, 2, 0, 2]):
        for place in range(LENGTH):
            alone = place % BLOCK == 0 and (place == 0 or NUMBER[place] > finished)
            np.testing.assert_allclose(moved[row, place], own[row, place if alone else place - 1], atol=1e-6)


def test_settings_tell_models_apart_and_a_block_longer_than_the_model_is_refused():
    assert tiny()[0] == ByBlocksDenoiser(in_blocks(tiny()[2].module, BLOCK, MASK), TOKENS, MASK)
    assert tiny()[0] != tiny(3)[0]
    assert not models.takes_absent(tiny()[0])
    with pytest.raises(InputError, match=r"^block must be a whole number from 1 to 10; got 11\."):
        in_blocks(tiny()[2].module, 11, MASK)


@pytest.mark.parametrize(
    ("family", "name"), [("decoders", "SDAR"), ("decoders", "Fast-dLLM v2"), ("diffusion", "BD3-LM")]
)
def test_a_folder_that_goes_by_blocks_is_loaded_sampled_and_described_so(family, name, tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.numpy import save_file

    case = golden(family)[name]
    (tmp_path / "config.json").write_text(json.dumps(case["config"]))
    save_file(checkpoint(case["tensors"]), str(tmp_path / "model.safetensors"))
    found = models.load_pretrained(tmp_path, **case["settings"])
    assert block_length(found.denoiser) == 3
    tokens = jnp.asarray(case["tokens"], jnp.int32)
    assert_equal_logits(
        models.logits(found.denoiser, found.params, tokens), np.asarray(case["logits"]), tokens, found.published.mask_id
    )
    told = models.describe(found.denoiser)
    assert models.from_description(json.loads(json.dumps(told))) == found.denoiser

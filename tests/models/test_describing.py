"""Descriptions of published models and of what stands around them, there and back through JSON."""

import json

import pytest

from mdm_jax import models
from mdm_jax.models.pretrained.by_blocks import as_denoiser, in_blocks
from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.models.pretrained.diffusion_transformer import DiffusionTransformer
from mdm_jax.models.pretrained.encoder import Encoder
from mdm_jax.models.pretrained.modern_encoder import ModernEncoder
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.core

DECODER = Decoder(12, 12, 8, 16, 2, 24, 4, 2, 4, rotary_base=5e5, rotary_scales=(1.0, 0.25), rotary_gain=1.1)
MODERN = ModernEncoder(12, 8, 16, 4, 24, (True, False), 4, 160000.0, 10000.0, 1e-5, "gelu", True)
ENCODER = Encoder(vocab_size=12, length=8, width=16, depth=2, heads=4, inner=24, epsilon=1e-12)
NETWORKS = [DECODER, MODERN, ENCODER, DiffusionTransformer(12, 8, 16, 2, 64, 4, 8, 11, True)]


def there_and_back(model):
    return models.from_description(json.loads(json.dumps(models.describe(model))))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: type(network).__name__)
def test_a_published_network_is_described_whole(network):
    model = models.from_linen(network, 12, mask_id=11)
    assert models.is_pretrained(models.describe(model))
    assert there_and_back(model) == model


def test_wrappers_around_a_published_network_belong_to_it():
    model = models.banned(models.shifted(models.from_linen(DECODER, 12, mask_id=11)), [3, 1])
    assert there_and_back(model) == model
    framed = models.framed(model, [5, 0, 2], prefix=[1], suffix=[3, 3])
    assert there_and_back(framed) == framed
    calibrated = models.calibrated(framed, [0.0, 0.5, 1.0], [1.0, 1.5, 2.0])
    assert there_and_back(calibrated) == calibrated


def test_what_is_a_users_own_stays_so():
    own = models.transformer(4, length=8, width=16, depth=1, heads=2)
    assert not models.is_pretrained(models.describe(own))
    assert there_and_back(own) == own
    assert models.describe(models.banned(own, [0])) is None
    assert models.describe(models.top_k(models.from_linen(DECODER, 12, mask_id=11), 3)) is None


NUMBERS = {"family": "transformer", "vocab_size": 4}
PARTS = {"family": "latent transformer", "vocab_size": 4}


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({**NUMBERS, "width": "16"}, "model width must be a whole number; got '16'."),
        ({**NUMBERS, "width": True}, "model width must be a whole number; got True."),
        ({**NUMBERS, "expansion": None}, "model expansion must be a number; got None."),
        ({**PARTS, "share": 1}, "model share must be true or false; got 1."),
        ({**PARTS, "block": 2.0}, "model block must be a whole number or null; got 2.0."),
        ((DECODER, {"heads": "8"}), "model network heads must be a whole number; got '8'."),
        ((DECODER, {"heads": None}), "model network heads must be a whole number; got None."),
        ((DECODER, {"width": {}}), "model network width must be a whole number; got {}."),
        ((DECODER, {"biases": 0}), "model network biases must be true or false; got 0."),
        ((DECODER, {"epsilon": False}), "model network epsilon must be a number; got False."),
        ((DECODER, {"rotary_scales": [1, "2"]}), "model network rotary_scales must be a list, each a number; got [1,"),
        ((MODERN, {"full": [True, 0]}), "model network full must be a list, each true or false; got [True, 0]."),
        ((ENCODER, {"activation": 3}), "model network activation must be a text; got 3."),
        ((ENCODER, {"dropped_id": "4"}), "model network dropped_id must be a whole number or null; got '4'."),
    ],
)
def test_a_setting_of_another_type_is_one_sentence(told, wanted):
    if isinstance(told, tuple):
        network, change = told
        told = models.describe(models.from_linen(network, 12, mask_id=11))
        told["network"] |= change
    with pytest.raises(InputError) as refused:
        models.from_description(told)
    assert str(refused.value).startswith(wanted)
    assert "\n" not in str(refused.value)


def test_ids_of_a_network_by_blocks_are_looked_at_too():
    model = as_denoiser(in_blocks(DECODER, 4, mask_id=11, shifted=True), 12, mask_id=11)
    assert there_and_back(model) == model
    with pytest.raises(InputError, match=r"^vocab_size must be a whole number from 2 to \d+; got 1\."):
        models.from_description({**models.describe(model), "vocab_size": 1})


def nested(depth):
    told = models.describe(models.from_linen(DECODER, 12, mask_id=11))
    for _ in range(depth):
        told = {"family": "shifted", "denoiser": told}
    return told


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"family": "shifted"}, "model family must be"),
        ({"family": "framed", "ids": [1], "denoiser": nested(0), "more": 1}, "another version"),
        ({"family": "framed", "ids": [99], "denoiser": nested(0)}, "ids must be a whole number from 0 to 11"),
        ({"family": "pretrained decoder", "network": {"width": 3}, "vocab_size": 12}, "another version"),
        ({"family": "pretrained decoder", "network": [], "vocab_size": 12}, "an object of settings"),
        (nested(17), "at most 16 wrappers deep"),
    ],
)
def test_what_cannot_be_is_one_sentence(told, wanted):
    with pytest.raises(InputError, match=wanted):
        models.from_description(told)

"""Descriptions of published models and of what stands around them, there and back through JSON."""

import json

import pytest

from mdm_jax import models
from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.models.pretrained.diffusion_transformer import DiffusionTransformer
from mdm_jax.models.pretrained.encoder import Encoder
from mdm_jax.models.pretrained.modern_encoder import ModernEncoder
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.core

DECODER = Decoder(12, 12, 8, 16, 2, 24, 4, 2, 4, rotary_base=5e5)
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
        ({"family": "pretrained decoder", "network": {"width": {}}, "vocab_size": 12}, "an object of settings"),
        ({"family": "pretrained decoder", "network": [], "vocab_size": 12}, "an object of settings"),
        (nested(17), "at most 16 wrappers deep"),
    ],
)
def test_what_cannot_be_is_one_sentence(told, wanted):
    with pytest.raises(InputError, match=wanted):
        models.from_description(told)

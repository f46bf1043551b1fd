import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mdm_jax import models, sampling
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans

VOCAB = 4


class WholeLinen(nn.Module):
    """A user's module that returns logits."""

    @nn.compact
    def __call__(self, tokens, context=None):
        hidden = nn.Embed(VOCAB + 1, 8)(tokens).cumsum(axis=1)
        if context is not None:
            hidden = hidden + context[:, None, :]
        return nn.Dense(VOCAB)(hidden)


class HalvedLinen(nn.Module):
    """A user's module in two halves."""

    def setup(self):
        self.embed, self.head = nn.Embed(VOCAB + 1, 8), nn.Dense(VOCAB)

    def encode(self, tokens):
        return self.embed(tokens)

    def readout(self, hidden):
        return self.head(hidden)


class WholeNNX(nnx.Module):
    def __init__(self, rngs):
        self.embed, self.head = nnx.Embed(VOCAB + 1, 8, rngs=rngs), nnx.Linear(8, VOCAB, rngs=rngs)

    def __call__(self, tokens):
        return self.head(self.embed(tokens))


class HalvedNNX(WholeNNX):
    def encode(self, tokens):
        return self.embed(tokens)

    def readout(self, hidden):
        return self.head(hidden)


def plain(params, tokens):
    return params[tokens]


def with_context(params, tokens, context):
    return params[tokens] + context[:, None, :]


def every_kind():
    whole, halved = (models.from_linen(m, VOCAB) for m in (WholeLinen(), HalvedLinen()))
    yield "linen", whole, whole.init(jax.random.key(0), 6)
    yield "linen in halves", halved, halved.init(jax.random.key(0), 6)
    yield "nnx", *models.from_nnx(WholeNNX(nnx.Rngs(0)), VOCAB)
    yield "nnx in halves", *models.from_nnx(HalvedNNX(nnx.Rngs(0)), VOCAB)
    yield "function", models.from_function(plain, VOCAB), jax.random.normal(jax.random.key(0), (VOCAB + 1, VOCAB))


@pytest.mark.core
@pytest.mark.parametrize(
    ("kind", "denoiser", "params"), list(every_kind()), ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_kind_meets_the_contract_and_samples(kind, denoiser, params):
    del kind
    assert isinstance(denoiser, models.Denoiser)
    assert hash(denoiser) == hash(denoiser)
    tokens = jnp.array([[0, 4, 2, 4, 1, 3]])
    hidden = denoiser.encode(params, tokens)
    logits = denoiser.readout(params, hidden)
    assert logits.shape == (1, 6, VOCAB)
    assert logits.dtype == jnp.float32
    # the readout works on gathered positions, in any order
    gathered = denoiser.readout(params, hidden.reshape(6, -1)[jnp.array([5, 0])])
    np.testing.assert_allclose(gathered, logits[0, jnp.array([5, 0])], atol=1e-6)
    np.testing.assert_allclose(logits, models.logits(denoiser, params, tokens), atol=1e-6)
    out = sampling.sample(denoiser, params, plans.uniform(6, 3), 2, key=jax.random.key(1))
    assert np.all((np.asarray(out.tokens) >= 0) & (np.asarray(out.tokens) < VOCAB))
    assert np.asarray(out.nfe).tolist() == [3, 3]


def test_equal_settings_make_equal_denoisers():
    one, two = (models.transformer(9, length=8, width=16, depth=1, heads=2) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != models.transformer(9, length=8, width=16, depth=2, heads=2)


@pytest.mark.core
def test_context_reaches_the_model():
    linen = models.from_linen(WholeLinen(), VOCAB)
    params = linen.init(jax.random.key(0), 3)
    function, table = models.from_function(with_context, VOCAB), jnp.zeros((VOCAB + 1, VOCAB))
    tokens = jnp.full((2, 3), VOCAB)
    for denoiser, weights, width in ((linen, params, 8), (function, table, VOCAB)):
        context = jnp.stack([jnp.zeros(width), 5 * jnp.ones(width).at[0].set(-5)])
        logits = models.logits(denoiser, weights, tokens, context)
        assert not np.allclose(logits[0], logits[1])
    push = jnp.array([[0.0, 50.0, 0.0, 0.0], [0.0, 0.0, 0.0, 50.0]])
    out = sampling.sample(function, table, plans.uniform(3, 2), 2, key=jax.random.key(0), context=push)
    assert np.asarray(out.tokens).tolist() == [[1, 1, 1], [3, 3, 3]]


def test_a_mask_among_the_logits_is_never_drawn():
    denoiser = models.from_function(plain, VOCAB, mask_id=2)
    params = jnp.zeros((VOCAB + 1, VOCAB)).at[:, 2].set(100.0)
    out = sampling.sample(denoiser, params, plans.uniform(50, 2), 4, key=jax.random.key(0))
    assert not np.any(np.asarray(out.tokens) == 2)
    assert np.all(np.asarray(out.remaining) == 0)


@pytest.mark.core
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: models.from_function(lambda p: p, 4), "function must be a function of (params, tokens)"),
        (lambda: models.from_function(plain, 1), "vocab_size must be at least 2; got 1"),
        (lambda: models.from_function(plain, 4, mask_id=-1), "mask_id must be a token id"),
        (
            lambda: models.logits(models.from_function(plain, 4), jnp.zeros((5, 5)), jnp.zeros((1, 2), int)),
            "logits over vocab_size = 4 tokens; got shape (1, 2, 5) (does it predict the mask token?",
        ),
        (
            lambda: models.logits(models.from_function(plain, 4), jnp.zeros((5, 4)), jnp.zeros((1, 2), int), "c"),
            "context must be left out",
        ),
        (lambda: models.from_description({"family": "unet"}), "model family must be 'transformer'; got 'unet'"),
        (lambda: models.from_description({"family": "transformer", "vocab_size": 5, "colour": 1}), "another version"),
    ],
)
def test_mistakes_get_one_sentence(make, says):
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)

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


@pytest.mark.thorough
@pytest.mark.core
def test_the_transformer_takes_a_context_if_it_was_made_for_one():
    denoiser = models.transformer(VOCAB, length=6, width=16, depth=1, heads=2)
    context = jnp.ones((2, 3))
    params = denoiser.init(jax.random.key(0), 6, context[:1])
    noisy = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape), params)
    tokens = jnp.full((2, 6), VOCAB)
    logits = models.logits(denoiser, noisy, tokens, context * jnp.array([[0.0], [3.0]]))
    assert not np.allclose(logits[0], logits[1])
    # zero-initialised: at first the context changes nothing, and without one it costs no parameters
    np.testing.assert_array_equal(
        models.logits(denoiser, params, tokens, context), models.logits(denoiser, params, tokens, 5 * context)
    )
    plain = denoiser.init(jax.random.key(0), 6)
    assert len(jax.tree.leaves(plain)) < len(jax.tree.leaves(params))


@pytest.mark.core
@pytest.mark.parametrize("halves", [False, True])
def test_parameters_are_made_of_one_key_as_the_module_makes_them(halves):
    module, tokens, key = (HalvedLinen() if halves else WholeLinen()), jnp.zeros((1, 4), jnp.int32), jax.random.key(3)
    denoiser = models.from_linen(module, VOCAB)
    params = denoiser.init(key, 4)
    own = module.init(key, tokens, method=lambda module, x: module.readout(module.encode(x)) if halves else module(x))
    untyped = getattr(type(denoiser).init, "__wrapped__", type(denoiser).init)
    other = untyped(denoiser, jax.random.key(3, impl="rbg"), 4)
    for one, two, three in zip(*map(jax.tree.leaves, (params, own, other)), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
    for bad in (0, None, jax.random.key_data(key), jax.random.split(key, 2)):
        with pytest.raises(InputError, match=r"^key must be one PRNG key, as jax.random.key\(0\) makes it"):
            untyped(denoiser, bad, 4)


@pytest.mark.core
@pytest.mark.thorough
def test_the_transformer_sees_both_ways_and_takes_shorter_sequences():
    denoiser = models.transformer(VOCAB, length=8, width=16, depth=1, heads=2)
    params = denoiser.init(jax.random.key(0), 8)
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(1), x.shape), params)
    base = jnp.zeros((1, 5), jnp.int32)
    for changed in (0, 4):
        other = base.at[0, changed].set(1)
        moved = np.abs(models.logits(denoiser, params, base) - models.logits(denoiser, params, other)).max(axis=-1)[0]
        assert np.all(moved > 1e-6), changed
    with pytest.raises(InputError, match="tokens must be at most 8 long, as the model is; got 9"):
        models.logits(denoiser, params, jnp.zeros((1, 9), jnp.int32))


@pytest.mark.thorough
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
        (lambda: models.from_function(plain, 1), "vocab_size must be a whole number from 2 to 2147483646; got 1"),
        (
            lambda: models.from_function(plain, 4, mask_id=-1),
            "mask_id must be a whole number from 0 to 2147483647; got -1",
        ),
        (
            lambda: models.logits(models.from_function(plain, 4), jnp.zeros((5, 5)), jnp.zeros((1, 2), int)),
            "logits over vocab_size = 4 tokens; got shape (1, 2, 5) (does it predict the mask token?",
        ),
        (
            lambda: models.logits(models.from_function(plain, 4), jnp.zeros((5, 4)), jnp.zeros((1, 2), int), "c"),
            "context must be left out",
        ),
        (lambda: models.from_description({"family": "unet"}), "or 'calibrated'; got 'unet'"),
        (lambda: models.from_description({"family": "transformer", "vocab_size": 5, "colour": 1}), "another version"),
        (lambda: models.from_description([1]), "model family must be 'transformer' or"),
        (
            lambda: models.from_description({"family": "transformer", "vocab_size": 5, "depth": "4"}),
            "model depth must be a whole number; got '4'",
        ),
    ],
)
def test_mistakes_get_one_sentence(make, says):
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)

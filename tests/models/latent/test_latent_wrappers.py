"""What becomes of the latent: averaged over, against sums in NumPy; drawn anew whenever a row has changed."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from latent_tables import perturbed, random_world

import mdm_jax as mdm
from mdm_jax import models
from mdm_jax.evaluation import exact
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.usefixtures("strict_types")

WORLD = random_world(3)
TINY = models.latent_transformer(3, length=6, width=8, depth=1, heads=2, latent_size=2)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A latent model whose hidden vectors are the latent, two standard normal numbers."""

    vocab_size: int = 4
    passes = 1
    latent_shape = (1, 2)

    @property
    def mask_id(self):
        return self.vocab_size

    def begin(self, params, keys, context=None):
        drawn = jax.vmap(lambda key: jax.random.normal(key, (1, 2), jnp.float32))(keys)
        return drawn if context is None else context

    def encode(self, params, tokens, context=None):
        assert context is not None
        return jnp.broadcast_to(context, (*tokens.shape, 2))

    def readout(self, params, hidden):
        return jnp.zeros((*hidden.shape[:-1], self.vocab_size), jnp.float32)

    def posterior(self, params, tokens, told):
        raise NotImplementedError

    def log_prior(self, params, latent):
        raise NotImplementedError

    def kl(self, params, posterior, latent):
        raise NotImplementedError


# ----------------------------------------------------------------------------------------------------------- averaged


def test_the_marginal_is_the_mean_over_one_set_of_latents():
    """Of three values 16 draws: in every state and position the same counts of them, and their mean in float64."""
    average = models.marginal(WORLD.model)
    found = np.exp(np.asarray(exact.conditionals(average, WORLD.params, 3), np.float64))
    states = np.array(list(itertools.product(range(3), repeat=3)))
    masked = states == WORLD.model.mask_id
    each = WORLD.chance[:, masked].reshape(WORLD.values, -1)
    counts, *_ = np.linalg.lstsq(each.T, found[masked].ravel(), rcond=None)
    np.testing.assert_allclose(16 * counts, np.round(16 * counts), atol=1e-3)
    assert round(16 * counts.sum()) == 16
    np.testing.assert_allclose(found[masked].ravel(), np.round(16 * counts) / 16 @ each, atol=1e-6)
    assert average.passes == 16
    assert models.marginal(WORLD.model) == average != models.marginal(WORLD.model, seed=1)


def test_exact_laws_and_profiles_run_on_the_marginal():
    """Its law in one step is the product of its marginals; the estimated profile is the exact one within 4.5 s.e."""
    average = models.marginal(WORLD.model, latents=4)
    logits = exact.conditionals(average, WORLD.params, 3)
    law = np.asarray(exact.random_order_law(logits, [3]), np.float64)
    first = np.exp(np.asarray(logits[-1], np.float64))  # all masked
    np.testing.assert_allclose(law.reshape(2, 2, 2), np.einsum("a,b,c->abc", *first), atol=1e-6)
    rows = np.random.default_rng(0).integers(0, 2, (64, 3))
    target = np.bincount(rows @ [4, 2, 1], minlength=8) / 64
    profile = mdm.estimate_profile(average, WORLD.params, rows, encodings=2048, key=mdm.key(0))
    assert np.all(np.abs(profile.values - exact.exact_profile(logits, target)) < 4.5 * profile.standard_errors)


def test_the_marginal_of_a_transformer_is_numpy_s_mean():
    params = perturbed(TINY, 6)
    tokens = jnp.asarray(np.random.default_rng(1).integers(0, 4, (3, 6)), jnp.int32)
    average = models.marginal(TINY, latents=5, seed=3)
    drawn = TINY.draw_latents(params, jax.random.split(jax.random.key(3), 5))
    logits = jax.jit(models.logits, static_argnums=0)
    each = np.stack([logits(TINY, params, tokens, jnp.broadcast_to(one, (3, *one.shape))) for one in drawn])
    each = np.exp(each.astype(np.float64))
    wanted = (each / each.sum(-1, keepdims=True)).mean(0)
    assert np.ptp(each / each.sum(-1, keepdims=True), axis=0).max() > 0.05
    np.testing.assert_allclose(jnp.exp(logits(average, params, tokens, None)), wanted, rtol=1e-4)


# -------------------------------------------------------------------------------------------------------- drawn anew


def test_every_state_of_a_row_has_a_latent_of_its_own_and_they_are_independent_draws():
    """All 5^6 states of six tokens: distinct latents; mean, variance and the correlation of states that differ in one
    place (in any place, to any token) within 4.5 s.e."""
    states = np.array(list(itertools.product(range(5), repeat=6)), np.int32)
    anew = models.redrawn(Shown())
    keys = jnp.broadcast_to(mdm.key(3), (len(states),))
    context = models.begun(anew, (), keys)
    hidden = np.asarray(anew.encode((), jnp.asarray(states), context), np.float64)[:, 0]
    again = np.asarray(anew.encode((), jnp.asarray(states[:7]), models.begun(anew, (), keys[:7])))[:, 0]
    np.testing.assert_array_equal(hidden[:7], again)  # one state, one latent
    assert len(np.unique(hidden[:, 0])) > 0.998 * len(states)  # float32: a few of 2^14 numbers meet by chance
    assert len({tuple(one) for one in hidden}) == len(states)
    error = 4.5 / math.sqrt(hidden.size)
    assert abs(hidden.mean()) < error
    assert abs(np.mean(hidden**2) - 1) < error * math.sqrt(2)
    table = hidden[:, 0].reshape((5,) * 6)
    for axis, shift in itertools.product(range(6), (1, 2)):
        assert abs(np.mean(table * np.roll(table, shift, axis))) < 4.5 / math.sqrt(len(states))
    others = models.begun(anew, (), jnp.broadcast_to(mdm.key(4), (len(states),)))
    other = np.asarray(anew.encode((), jnp.asarray(states), others), np.float64)[:, 0, 0]
    assert abs(np.mean(hidden[:, 0] * other)) < 4.5 / math.sqrt(len(states))


def test_both_inputs_of_guidance_see_the_same_latent():
    """Fixed: of the row. Redrawn: around the guided model; the other way round each input would have its own."""
    params = (jnp.zeros(1), jnp.zeros(1))
    canvas = jnp.asarray([[1, 4, 4], [4, 2, 4]], jnp.int32)
    how = models.guidance(canvas, 4, weight=1.0)
    keys = jax.random.split(mdm.key(5), 2)
    for model in (models.guided(Shown()), models.redrawn(models.guided(Shown()))):
        hidden = np.asarray(model.encode(params, canvas, models.begun(model, params, keys, how)))
        np.testing.assert_array_equal(hidden[..., :2], hidden[..., 2:4])
        assert len(np.unique(hidden[..., 0])) == 2
        assert model.passes == 2
    with pytest.raises(InputError, match=r"redrawn around guided: redrawn\(guided\(model\)\); got one whose inputs"):
        models.guided(models.banned(models.redrawn(Shown()), [1]))


def test_wrong_contexts_and_models_without_latents_are_refused():
    plain = mdm.oracles.polya(3, 0.5).denoiser
    for make in (models.redrawn, models.marginal):
        with pytest.raises(InputError, match="denoiser must be a model with latents, as models"):
            make(plain)
        for done in (models.redrawn(Shown()), models.banned(models.marginal(Shown()), [1])):
            with pytest.raises(
                InputError, match=r"denoiser must be the model without models.redrawn and models.marginal"
            ):
                make(done)
    with pytest.raises(InputError, match="latents must be"):
        models.marginal(Shown(), latents=0)
    tokens, latent = jnp.zeros((2, 3), jnp.int32), jnp.zeros((2, 1, 2))
    with pytest.raises(InputError, match="context must be left out: latents are drawn at each step; got ArrayImpl"):
        models.begun(models.redrawn(Shown()), (), jax.random.split(mdm.key(0), 2), latent)
    given = models.guidance(jnp.full((2, 3), 4), 4, weight=1.0, context=latent)
    with pytest.raises(InputError, match="context must be left out: latents are drawn at each step; got ArrayImpl"):
        models.begun(models.redrawn(models.guided(Shown())), (), jax.random.split(mdm.key(0), 2), given)
    with pytest.raises(InputError, match=r"context must be keys for 2 rows, as samplers make them \(models.begun\)"):
        models.logits(models.redrawn(Shown()), (), tokens)
    context = models.begun(models.redrawn(Shown()), (), jax.random.split(mdm.key(0), 3))
    with pytest.raises(InputError, match=r"context must be keys for 2 rows.*got keys of shape \(3, 2\)"):
        models.logits(models.redrawn(Shown()), (), tokens, context)
    with pytest.raises(InputError, match="context must be left out: latents are averaged over"):
        models.logits(models.marginal(Shown()), (), tokens, latent)

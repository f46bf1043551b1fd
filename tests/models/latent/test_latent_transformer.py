"""The latent transformer: its prior, posterior and KL against NumPy and SciPy; what a latent reaches, and what is
refused."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from latent_tables import perturbed
from scipy import integrate, special, stats

import mdm_jax as mdm
from mdm_jax import models
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.usefixtures("strict_types")

LENGTH, VOCAB, SIZE = 6, 3, 2
TINY: dict[str, Any] = {"length": LENGTH, "width": 8, "depth": 1, "heads": 2, "latent_size": SIZE}
NORMAL = models.latent_transformer(VOCAB, **TINY)
MIXED = models.latent_transformer(VOCAB, **TINY, prior=3, block=2)
DRAWS = 2**14
ROWS = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, (5, LENGTH)), jnp.int32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def call(name, model, *arguments):
    """``model.name(...)``, compiled."""
    return getattr(model, name)(*arguments)


def keys(seed, many=DRAWS):
    return jax.random.split(jax.random.key(seed), many)


def posterior_of(model, params, many=1):
    law = call("posterior", model, params, ROWS[:many], jnp.ones((many, LENGTH), bool))
    return law, np.asarray(law.mean, np.float64), np.exp(np.asarray(law.log_scale, np.float64))


def components(model, params):
    """Weights, means and scales of a learned prior, float64[latents, components, ...]."""
    weight, mean, log_scale = (
        np.asarray(one, np.float64) for one in model.module.apply(params, method="learned_prior")
    )
    share = np.exp(weight) / np.exp(weight).sum(-1, keepdims=True)
    return share, mean, np.exp(log_scale)


def mixture_log_prob(model, params, latent):
    share, mean, scale = components(model, params)
    each = stats.norm.logpdf(np.asarray(latent, np.float64)[:, :, None, :], mean, scale).sum(-1)
    return np.asarray(special.logsumexp(each, axis=-1, b=share)).sum(-1)


# --------------------------------------------------------------------------------------------------------------- laws


def test_the_closed_form_kl_is_numpy_s_and_what_draws_estimate():
    """2^14 draws of the posterior of one row: within 4.5 s.e."""
    params = perturbed(NORMAL, LENGTH)
    law, mean, scale = posterior_of(NORMAL, params, 5)
    wanted = 0.5 * (mean**2 + scale**2 - 1 - 2 * np.log(scale)).sum((-2, -1))
    np.testing.assert_allclose(call("kl", NORMAL, params, law, law.mean), wanted, rtol=1e-5)
    assert np.ptp(wanted) > 0.1
    noise = jax.random.normal(jax.random.key(1), (DRAWS, 1, SIZE), jnp.float32)
    one = jax.tree.map(lambda leaf: leaf[:1], law)
    drawn = one.sample(noise)
    ratio = np.asarray(one.log_prob(drawn) - call("log_prior", NORMAL, params, drawn), np.float64)
    assert abs(ratio.mean() - wanted[0]) < 4.5 * ratio.std() / math.sqrt(DRAWS)
    np.testing.assert_allclose(drawn, mean[:1] + scale[:1] * np.asarray(noise), atol=1e-5)
    np.testing.assert_allclose(
        one.log_prob(drawn), stats.norm.logpdf(np.asarray(drawn, float), mean[:1], scale[:1]).sum((-2, -1)), atol=1e-4
    )
    np.testing.assert_allclose(
        call("log_prior", NORMAL, params, drawn), stats.norm.logpdf(np.asarray(drawn, float)).sum((-2, -1)), atol=1e-4
    )


def test_a_learned_prior_s_density_is_numpy_s_mixture_and_factorises_over_blocks():
    params = perturbed(MIXED, LENGTH)
    latent = jax.random.normal(jax.random.key(2), (7, 3, SIZE), jnp.float32)
    found = call("log_prior", MIXED, params, latent)
    np.testing.assert_allclose(found, mixture_log_prob(MIXED, params, latent), rtol=1e-5)
    # Exchanging one block's latent changes the density by that block's own difference, whatever the others are.
    other = latent.at[:, 1].set(latent[::-1, 1])
    apart = latent.at[:, 0].set(0.0).at[:, 2].set(0.0)
    both = call("log_prior", MIXED, params, apart.at[:, 1].set(other[:, 1])) - call("log_prior", MIXED, params, apart)
    np.testing.assert_allclose(call("log_prior", MIXED, params, other) - found, both, atol=1e-4)
    law, mean, scale = posterior_of(MIXED, params, 5)
    drawn = law.sample(jax.random.normal(jax.random.key(3), (5, 3, SIZE), jnp.float32))
    wanted = stats.norm.logpdf(np.asarray(drawn, float), mean, scale).sum((-2, -1))
    np.testing.assert_allclose(
        call("kl", MIXED, params, law, drawn), wanted - mixture_log_prob(MIXED, params, drawn), rtol=1e-4, atol=1e-4
    )


def test_the_estimate_of_a_learned_prior_s_kl_is_unbiased():
    """One number per latent, by quadrature; 2^14 draws within 4.5 s.e."""
    model = models.latent_transformer(VOCAB, **{**TINY, "latent_size": 1}, prior=2)
    params = perturbed(model, LENGTH)
    law, mean, scale = posterior_of(model, params)
    where = {"loc": mean.item(), "scale": scale.item()}

    def difference(z):
        return stats.norm.pdf(z, **where) * (
            stats.norm.logpdf(z, **where) - mixture_log_prob(model, params, np.full((1, 1, 1), z))[0]
        )

    wanted = integrate.quad(difference, *stats.norm.interval(1 - 1e-12, **where))[0]
    drawn = law.sample(jax.random.normal(jax.random.key(4), (DRAWS, 1, 1), jnp.float32))
    found = np.asarray(call("kl", model, params, law, drawn), np.float64)
    assert wanted > 0
    assert abs(found.mean() - wanted) < 4.5 * found.std() / math.sqrt(DRAWS)


def test_drawn_latents_have_the_prior_s_law():
    """2^14 rows: each number's mean and second moment within 4.5 s.e.; blocks uncorrelated; components as often as
    their weights say (chi-squared below its mean + 4.5 s.d.)."""
    for model in (NORMAL, MIXED):
        params = perturbed(model, LENGTH, seed=1)
        if model is MIXED:  # far apart, so that each draw tells its component
            inner = params["params"]
            centres = jnp.linspace(-9.0, 9.0, 3, dtype=jnp.float32)[None, :, None]
            spread = jnp.broadcast_to(centres, inner["prior_mean"].shape)
            params = {"params": {**inner, "prior_mean": inner["prior_mean"] + spread}}
        drawn = np.asarray(call("draw_latents", model, params, keys(5)), np.float64)
        assert drawn.shape == (DRAWS, *model.latent_shape)
        if model is NORMAL:
            share, mean, scale = np.ones((1, 1)), np.zeros((1, 1, SIZE)), np.ones((1, 1, SIZE))
        else:
            share, mean, scale = components(model, params)
        first = (share[..., None] * mean).sum(1)
        second = (share[..., None] * (mean**2 + scale**2)).sum(1)
        for power, wanted in ((1, first), (2, second)):
            found = drawn**power
            assert np.all(np.abs(found.mean(0) - wanted) < 4.5 * found.std(0) / math.sqrt(DRAWS))
        flat = drawn.reshape(DRAWS, -1)
        if model is NORMAL:
            assert abs(np.asarray(np.corrcoef(flat.T))[0, 1]) < 4.5 / math.sqrt(DRAWS)
            continue
        chosen = np.abs(drawn[:, :, None, 0] - mean[None, :, :, 0]).argmin(-1)
        for block in range(3):
            counts = np.bincount(chosen[:, block], minlength=3)
            squared = np.sum((counts - DRAWS * share[block]) ** 2 / (DRAWS * share[block]))
            assert squared < 2 + 4.5 * 2
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert abs(np.asarray(np.corrcoef(drawn[:, one, 0], drawn[:, other, 0]))[0, 1]) < 4.5 / math.sqrt(DRAWS)


# ------------------------------------------------------------------------------------------------ what a latent reaches


def test_a_block_s_latent_modulates_its_own_positions_and_only_those():
    """With attention silent and no local mixing: the gradient of every position in every latent."""
    model = models.latent_transformer(VOCAB, **TINY, reach=0, block=4)
    params = perturbed(model, LENGTH)
    silent = params["params"]["blocks_0"]["attention"]["output"]
    silent["kernel"] = jnp.zeros_like(silent["kernel"])
    masks = jnp.full((1, LENGTH), model.mask_id, jnp.int32)
    latents = call("draw_latents", model, params, keys(6, 1))
    slope = jax.jit(jax.jacobian(lambda z: jnp.sum(model.encode(params, masks, z) ** 2, axis=-1)))(latents)
    reached = np.abs(np.asarray(slope))[0, :, 0].max(-1) > 1e-4
    np.testing.assert_array_equal(reached, (np.arange(LENGTH)[:, None] // 4) == np.arange(2)[None])


def test_a_block_that_tells_nothing_has_the_prior_and_what_is_told_counts():
    params = perturbed(MIXED, LENGTH)
    told = jnp.asarray(np.arange(LENGTH)[None] < 3).repeat(5, 0)  # all of the first block, half of the second
    law = call("posterior", MIXED, params, ROWS, told)
    np.testing.assert_array_equal(law.mean[:, 2], 0.0)
    np.testing.assert_array_equal(law.log_scale[:, 2], 0.0)
    assert np.all(np.abs(law.mean[:, :2]) > 0)
    everything = call("posterior", MIXED, params, ROWS, jnp.ones_like(told))
    assert not np.allclose(law.mean[:, 0], everything.mean[:, 0])
    changed = call("posterior", MIXED, params, ROWS.at[:, 1].set((ROWS[:, 1] + 1) % VOCAB), told)
    assert not np.allclose(law.mean[:, 0], changed.mean[:, 0])
    hidden = call(
        "posterior", MIXED, params, ROWS.at[:, 5].set(MIXED.mask_id), told
    )  # masks may stand where nothing is told
    assert not np.allclose(law.mean[:, 0], hidden.mean[:, 0])
    assert np.isfinite(hidden.mean).all()


def test_shared_blocks_are_the_denoiser_s():
    shared = models.latent_transformer(VOCAB, **TINY, share=True)
    params = perturbed(shared, LENGTH)
    assert not [name for name in params["params"] if "recognition_blocks" in name]
    assert [name for name in perturbed(NORMAL, LENGTH)["params"] if "recognition_blocks" in name]
    before = posterior_of(shared, params)[1]
    kernel = params["params"]["blocks_0"]["attention"]["output"]["kernel"]
    params["params"]["blocks_0"]["attention"]["output"]["kernel"] = 2 * kernel
    assert not np.allclose(before, posterior_of(shared, params)[1])


def test_at_the_beginning_the_latent_changes_nothing_and_its_mean_varies():
    """Modulation begins at zero, the recognition's mean does not: else neither had a gradient."""
    params = NORMAL.init(mdm.key(0), LENGTH)
    masks = jnp.full((4, LENGTH), NORMAL.mask_id, jnp.int32)
    hidden = np.asarray(call("encode", NORMAL, params, masks, call("draw_latents", NORMAL, params, keys(7, 4))))
    np.testing.assert_allclose(hidden, np.broadcast_to(hidden[:1], hidden.shape), atol=1e-5)
    assert np.var(posterior_of(NORMAL, params, 5)[1], axis=0).max() > 1e-4


# ----------------------------------------------------------------------------------------------------- values, refusals


def test_equal_settings_make_equal_models_that_can_be_described():
    again = models.latent_transformer(VOCAB, **TINY, prior=3, block=2)
    assert again == MIXED != NORMAL
    assert hash(again) == hash(MIXED)
    assert isinstance(MIXED, models.LatentModel)
    assert isinstance(MIXED, models.LatentDenoiser)
    for model in (NORMAL, MIXED, models.latent_transformer(VOCAB, **TINY, share=True, recognition_depth=1)):
        assert models.from_description(models.describe(model)) == model
    assert models.latent_transformer(VOCAB, **TINY, block=LENGTH) == NORMAL  # one block is none
    assert models.latent_transformer(VOCAB, **TINY, block=4).latent_shape == (2, SIZE)
    assert not isinstance(models.transformer(VOCAB, length=LENGTH, width=8, depth=1, heads=2), models.LatentModel)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"latent_size": 0}, "latent_size must be"),
        ({"block": 0}, "block must be"),
        ({"prior": -1}, "prior must be"),
        ({"recognition_depth": 0}, "recognition_depth must be"),
        ({"share": True, "recognition_depth": 2}, "recognition_depth must be at most the denoiser's depth, 1, where"),
        ({"width": 6}, "width must be a multiple"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, says):
    with pytest.raises(InputError, match=says):
        models.latent_transformer(VOCAB, **{**TINY, **changes})


def test_a_context_that_is_no_latent_of_this_model_is_refused_in_a_sentence():
    params, masks = perturbed(MIXED, LENGTH), jnp.full((2, LENGTH), VOCAB, jnp.int32)
    wanted = r"context must be latents of shape \(2, 3, 2\), as draw_latents or posterior\(...\).sample make them"
    for given, shown in ((None, "None"), (jnp.zeros((2, 1, 2)), r"shape \(2, 1, 2\)")):
        with pytest.raises(InputError, match=f"{wanted}.*got {shown}"):
            models.logits(MIXED, params, masks, given)
    with pytest.raises(InputError, match="context must be left out: a latent denoiser's context is its latent"):
        MIXED.init(mdm.key(0), LENGTH, jnp.zeros((1, 3)))
    drawn = call("draw_latents", MIXED, params, keys(8, 2))
    np.testing.assert_allclose(models.begun(MIXED, params, keys(8, 2)), drawn, atol=1e-5)
    np.testing.assert_array_equal(models.begun(MIXED, params, keys(9, 2), drawn), drawn)  # what is given is kept

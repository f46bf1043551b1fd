"""A diffusion as the prior of the latent: its normal laws, its density and its KL, against independent truth."""

import compiled
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mdm_jax as mdm
from mdm_jax.models.latent import noising
from mdm_jax.models.latent.noising import Level, Normal
from mdm_jax.support.errors import InputError

ROWS = 40_000
STEPS = 2


pytestmark = pytest.mark.thorough  # each compiles a model of its own


@pytest.fixture(scope="module")
def tiny():
    """Two tokens of two kinds, a latent of one number, two steps; all parameters random."""
    model = mdm.models.latent_transformer(2, length=2, width=8, depth=1, heads=2, latent_size=1)
    model = mdm.models.diffusion_prior(model, steps=STEPS, width=8)
    return model, shaken(model.init(mdm.key(0), length=2), 1)


def shaken(params, seed):
    """Parameters that nothing is special about: those of a fresh model, and noise."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(mdm.key(seed), len(leaves))
    noise = (0.25 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True))
    return jax.tree.unflatten(tree, [leaf + one for leaf, one in zip(leaves, noise, strict=True)])


# The normal laws, by NumPy's linear algebra of the joint law.


def joint(mean, variance, levels):
    """Mean and covariance of (latent, copy, cleaner copy), from what noise is added to what."""
    (signal, _), (signal_of, noise_of) = levels
    share = signal / signal_of
    left = np.sqrt(1 - share**2)
    # latent = mean + sd e0; cleaner = signal_of latent + noise_of e1; copy = share cleaner + left e2.
    rows = np.array([[1, 0, 0], [share * signal_of, share * noise_of, left], [signal_of, noise_of, 0]])
    scale = rows * np.array([np.sqrt(variance), 1, 1])
    return rows[:, 0] * mean, scale @ scale.T


def condition(mean, covariance, of, on, value):
    """The normal law of number ``of``, given those of ``on``."""
    gain = covariance[of, on] @ np.linalg.inv(covariance[np.ix_(on, on)])
    return mean[of] + gain @ (value - mean[on]), covariance[of, of] - gain @ covariance[on, of]


@pytest.mark.parametrize(("count", "at"), [(2, 0), (5, 1), (5, 3), (16, 14)])
def test_each_normal_law_is_that_of_the_joint_law(count, at, strict_types):
    every = noising.levels(count)
    np.testing.assert_allclose(np.square(every.signal) + np.square(every.noise), 1, atol=1e-6)
    level, towards = (Level(every.signal[k], every.noise[k]) for k in (at, at + 1))
    prior, copy = Normal(jnp.float32(0.7), jnp.float32(0.3)), jnp.float32(-1.1)
    mean, covariance = joint(0.7, 0.3, [[np.float64(x) for x in one] for one in (level, towards)])
    np.testing.assert_allclose(noising.noisy(prior, level), (mean[1], covariance[1, 1]), rtol=1e-5)
    known = condition(mean, covariance, 0, [1], np.array([-1.1]))
    np.testing.assert_allclose(noising.given_copy(prior, level, copy), known, rtol=1e-4)
    after = condition(mean, covariance, 2, [1], np.array([-1.1]))
    told = noising.cleaner(noising.given_copy(prior, level, copy), level, copy, towards)
    np.testing.assert_allclose(told, after, rtol=1e-4)


def test_the_kl_of_two_normal_laws_is_what_sampling_says():
    one, other = Normal(jnp.float32(0.5), jnp.float32(0.3)), Normal(jnp.float32(-0.2), jnp.float32(0.9))
    drawn = 0.5 + np.sqrt(0.3) * np.random.default_rng(0).normal(size=100_000)
    ratio = np.asarray(noising.log_density(one, drawn) - noising.log_density(other, drawn))
    error = ratio.std() / np.sqrt(ratio.size)
    assert abs(float(noising.kl(one, other)) - ratio.mean()) < 4 * error


# The chain.


def by_hand(model, params, keys):
    """The chain that ``draw_latents`` is to walk, in float64: copies [steps + 1, rows], noisiest first."""
    noise = np.stack([np.asarray(jax.random.normal(key, (STEPS + 1, 1, 1)), np.float64)[:, 0, 0] for key in keys], 1)
    angle = np.pi / 2 * np.arange(1, STEPS + 2) / (STEPS + 1)
    copies = [noise[0]]
    for k in range(STEPS):
        copies.append(mean_of(model, params, copies[-1], k, angle) + scale_of(model, params, copies[-1], k, angle)
                      * noise[1 + k])  # fmt: skip
    return np.stack(copies), angle


def network(model, params, copy, k):
    step = jnp.full(copy.shape, k, jnp.int32)
    shift, log_ratio = model.module.apply(params, jnp.asarray(copy, jnp.float32)[:, None, None], step, method="reverse")
    return np.asarray(shift, np.float64)[:, 0, 0], np.asarray(log_ratio, np.float64)[:, 0, 0]


def mean_of(model, params, copy, k, angle):
    """Mean of the next copy: the latent's, as the network thinks, through the bridge from copy to latent."""
    signal, noise, share = np.sin(angle[k]), np.cos(angle[k]), np.sin(angle[k]) / np.sin(angle[k + 1])
    shift, _ = network(model, params, copy, k)
    latent = signal * copy + noise * shift
    of_latent, of_copy = np.sin(angle[k + 1]) * (1 - share**2), share * np.cos(angle[k + 1]) ** 2
    return (of_latent * latent + of_copy * copy) / noise**2


def scale_of(model, params, copy, k, angle):
    noise, share = np.cos(angle[k]), np.sin(angle[k]) / np.sin(angle[k + 1])
    _, log_ratio = network(model, params, copy, k)
    own = np.cos(angle[k + 1]) ** 2 * (1 - share**2) / noise**2
    of_latent = np.sin(angle[k + 1]) * (1 - share**2) / noise**2
    return np.sqrt(own + (of_latent * noise * np.exp(log_ratio)) ** 2)


def test_latents_are_drawn_along_the_chain_and_tell_all_of_it(tiny):
    model, params = tiny
    keys = jax.random.split(mdm.key(3), 50)
    latents = model.draw_latents(params, keys)
    assert latents.shape == (50, *model.latent_shape) == (50, 1, 1 + STEPS)
    copies, angle = by_hand(model, params, keys)
    np.testing.assert_allclose(latents[:, 0, 0], copies[-1], rtol=1e-4, atol=1e-5)
    share = np.sin(angle[:-1]) / np.sin(angle[1:])
    noise = (copies[:-1] - share[:, None] * copies[1:]) / np.sqrt(1 - share**2)[:, None]
    np.testing.assert_allclose(latents[:, 0, 1:].T, noise, rtol=1e-3, atol=1e-4)
    # Each row's is its own key's.
    np.testing.assert_allclose(model.draw_latents(params, keys[7:9]), latents[7:9], rtol=1e-5, atol=1e-6)


def density(model, params, grid):
    """``p(latent)`` on a grid by quadrature over the chain, and the weight of each point: no closed form is used."""
    width, angle = grid[1] - grid[0], np.pi / 2 * np.arange(1, STEPS + 2) / (STEPS + 1)
    law = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    for k in range(STEPS):
        mean, scale = (one(model, params, grid, k, angle)[:, None] for one in (mean_of, scale_of))
        kernel = np.exp(-0.5 * ((grid - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
        law = width * law @ kernel
    return law, width


@pytest.fixture(scope="module")
def exact(tiny):
    """``-log p(tokens)`` of all four rows: one token at a time in random order, the latent integrated out."""
    model, params = tiny
    grid = np.linspace(-12, 12, 4001)
    law, width = density(model, params, grid)
    np.testing.assert_allclose(width * law.sum(), 1, atol=1e-4)
    latents = jnp.zeros((len(grid), *model.latent_shape)).at[:, 0, 0].set(jnp.asarray(grid, jnp.float32))

    def log_probs(seen):
        tokens = jnp.broadcast_to(jnp.asarray(seen), (len(grid), 2))
        return np.asarray(jax.nn.log_softmax(mdm.models.logits(model, params, tokens, latents), axis=-1), np.float64)

    nothing, rows = log_probs([2, 2]), [(a, b) for a in range(2) for b in range(2)]
    result = {}
    for a, b in rows:
        left = np.exp(nothing[:, 0, a] + log_probs([a, 2])[:, 1, b])
        right = np.exp(nothing[:, 1, b] + log_probs([2, b])[:, 0, a])
        # The order is drawn with the latent: the average of both is the law of the row given the latent.
        result[a, b] = -np.log(width * np.sum(law * (left + right) / 2))
    np.testing.assert_allclose(sum(np.exp(-one) for one in result.values()), 1, atol=1e-4)
    return result


def test_the_density_of_the_chain_gives_the_exact_likelihood(tiny, exact):
    """Wide draws of latent and noise, weighted by the prior, are unbiased for ``p(tokens)``: 40,000, 4 errors."""
    model, params = tiny
    width = jnp.asarray([1.6, 1.3, 1.3])

    @jax.jit
    def weights(tokens, noise):
        latent = width[None, None] * noise
        drawn = jnp.sum(-0.5 * jnp.square(noise) - jnp.log(width)[None, None] - 0.5 * np.log(2 * np.pi), axis=(1, 2))
        nothing = jax.nn.log_softmax(mdm.models.logits(model, params, jnp.full_like(tokens, 2), latent), axis=-1)
        orders = []
        for first in (0, 1):
            seen = jnp.where(jnp.arange(2)[None] == first, tokens, 2)
            second = jax.nn.log_softmax(mdm.models.logits(model, params, seen, latent), axis=-1)
            each = (nothing[:, first], tokens[:, first]), (second[:, 1 - first], tokens[:, 1 - first])
            orders.append(sum(jnp.take_along_axis(law, token[:, None], 1)[:, 0] for law, token in each))
        return jnp.exp(model.log_prior(params, latent) - drawn) * (jnp.exp(orders[0]) + jnp.exp(orders[1])) / 2

    noise = jax.random.normal(mdm.key(5), (ROWS, *model.latent_shape))
    for row, cost in exact.items():
        drawn = np.asarray(weights(jnp.broadcast_to(jnp.asarray(row), (ROWS, 2)), noise), np.float64)
        error = drawn.std() / np.sqrt(ROWS)
        assert error < 0.03 * np.exp(-cost)  # the test can fail
        assert abs(drawn.mean() - np.exp(-cost)) < 4 * error


def test_the_fixed_latent_loss_is_a_bound_of_the_exact_likelihood(tiny, exact):
    model, params = tiny
    objective = mdm.training.FixedLatentBound()
    for row, cost in exact.items():
        examples = mdm.training.Examples(np.broadcast_to(np.asarray(row, np.int32), (ROWS, 2)))
        loss = np.asarray(mdm.training.objective.score(objective, mdm.key(6), model, params, examples).loss)
        error = loss.std() / np.sqrt(ROWS)
        assert loss.mean() + 4 * error > cost
        assert loss.mean() - 4 * error < cost + 3  # and says something


def divergences(model, params, row, seed):
    """The KL of a row, 40,000 times: as the model says it, and as the log-ratio of densities; and the posterior.

    Parameters and tokens are arguments: with them as constants of a program of so many rows, XLA's kernels of YNNPACK
    on a CPU (jaxlib 0.10.2) now and then give other numbers, NaN too.
    """

    @jax.jit
    def both(params, row, noise):
        tokens = jnp.broadcast_to(row, (ROWS, len(row)))
        posterior = model.posterior(params, tokens, jnp.ones(tokens.shape, bool))
        latent = posterior.sample(noise)
        ratio = posterior.log_prob(latent) - model.log_prior(params, latent)
        return model.kl(params, posterior, latent), ratio, posterior

    closed, ratio, posterior = both(
        params, jnp.asarray(row), jax.random.normal(mdm.key(seed), (ROWS, *model.latent_shape))
    )
    return np.asarray(closed, np.float64), np.asarray(ratio, np.float64), posterior


def test_the_kl_is_that_of_the_whole_chain_and_quieter(tiny):
    """Closed forms along the chain against the log-ratio of the densities: 40,000 draws, 4 errors of the difference."""
    closed, ratio, _ = divergences(*tiny, [0, 1], 7)
    error = (closed - ratio).std() / np.sqrt(ROWS)
    assert closed.min() >= 0
    assert abs((closed - ratio).mean()) < 4 * error
    assert closed.std() < ratio.std()


def test_before_it_is_trained_the_prior_is_standard_normal():
    """Whatever the blocks; the KL is in the mean that of one normal law from another: 40,000 draws, 4 errors."""
    plain = mdm.models.latent_transformer(3, length=4, width=8, depth=1, heads=2, latent_size=2, block=2)
    model = mdm.models.diffusion_prior(plain, steps=5, width=8)
    params = model.init(mdm.key(0), length=4)
    keys = jax.random.split(mdm.key(1), ROWS)
    drawn = np.asarray(jax.jit(model.draw_latents)(params, keys))[..., :2].reshape(ROWS, 4)
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=4 / np.sqrt(ROWS))
    np.testing.assert_allclose(drawn.T @ drawn / ROWS, np.eye(4), atol=4 * np.sqrt(2 / ROWS))
    closed, _, posterior = divergences(model, params, [0, 1, 2, 0], 2)
    mean, log_scale = (np.asarray(one, np.float64)[0, :, :2] for one in posterior)
    wanted = np.sum(0.5 * (mean**2 + np.exp(2 * log_scale) - 1 - 2 * log_scale))
    assert abs(closed.mean() - wanted) < 4 * closed.std() / np.sqrt(ROWS)


# The house around it.


def test_it_is_a_latent_model_like_any_other(tiny):
    model, params = tiny
    assert isinstance(model, mdm.models.LatentModel)
    told = mdm.models.describe(model)
    assert told is not None
    assert told["family"] == "diffusion prior"
    assert mdm.models.from_description(told) == model
    plan, key = mdm.plans.uniform(2, 2), mdm.key(1)
    whole = mdm.sample(model, params, plan, rows=6, key=key)
    given = mdm.sample(
        model, params, plan, rows=6, key=key, context=model.draw_latents(params, jax.random.split(key, 6))
    )
    assert whole.tokens.shape == given.tokens.shape == (6, 2)
    for wrapped in (mdm.models.redrawn(model), mdm.models.marginal(model, latents=4)):
        assert int(mdm.sample(wrapped, params, plan, rows=3, key=key).remaining.sum()) == 0
    with compiled.programs() as made:
        mdm.sample(model, shaken(params, 9), plan, rows=6, key=mdm.key(2))
    assert [name for name in made if "loop" in name] == []


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        (mdm.models.transformer(2, length=2, width=8, depth=1, heads=2), {}, "model must be what models.latent_trans"),
        (mdm.models.latent_transformer(2, length=2, width=8, depth=1, heads=2, prior=2), {}, "model must be one with"),
        (mdm.models.latent_transformer(2, length=2, width=8, depth=1, heads=2), {"steps": 0}, "steps must be"),
        (mdm.models.latent_transformer(2, length=2, width=8, depth=1, heads=2), {"width": 0}, "width must be"),
    ],
)
def test_what_it_refuses(model, settings, said):
    with pytest.raises(InputError, match=said):
        mdm.models.diffusion_prior(model, **settings)


def test_a_latent_without_its_noise_is_refused(tiny):
    model, params = tiny
    with pytest.raises(InputError, match=r"context must be latents of shape \(3, 1, 3\)"):
        mdm.models.logits(model, params, jnp.full((3, 2), 2), jnp.zeros((3, 1, 1)))


@pytest.mark.parametrize("flag", ["jax_enable_x64", "jax_numpy_dtype_promotion"])
def test_it_is_the_same_under_every_flag(tiny, flag):
    model, params = tiny
    keys, tokens = jax.random.split(mdm.key(4), 3), jnp.asarray([[0, 1], [1, 1], [0, 0]], jnp.int32)

    def figures():
        latent = model.draw_latents(params, keys)
        posterior = model.posterior(params, tokens, jnp.ones((3, 2), bool))
        return latent, model.log_prior(params, latent), model.kl(params, posterior, latent)

    usual = figures()
    with jax.enable_x64(True) if flag == "jax_enable_x64" else jax.numpy_dtype_promotion("strict"):
        flagged = figures()
    for one, other in zip(usual, flagged, strict=True):
        assert one.dtype == other.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_it_learns_a_latent_of_several_modes():
    """Two equal tokens of four kinds in one step, one draw of the latent for each row of training.

    The latent must tell which kind. A step costs little of the mutual information, log 4, that it costs without one.
    """
    task = mdm.tasks.pairs(1)
    settings = mdm.training.Settings(steps=500, batch=64, length=2, learning_rate=0.01)
    plain = mdm.models.latent_transformer(4, length=2, width=32, depth=1, heads=2, latent_size=4)
    model, objective = mdm.models.diffusion_prior(plain, steps=8, width=32), mdm.training.StepwiseLatentBound(steps=1)
    run = mdm.fit(model, task, settings=settings, objective=objective)
    examples = mdm.training.Examples(np.asarray(task.test[:4096], np.int32))
    bound = float(mdm.training.objective.score(objective, mdm.key(2), model, run.params, examples).loss.mean())
    latents = jax.jit(model.draw_latents)(run.params, jax.random.split(mdm.key(1), 4096))
    law = jax.nn.softmax(mdm.models.logits(model, run.params, jnp.full((4096, 2), 4), latents), axis=-1)
    both = np.einsum("ra,rb->ab", *np.moveaxis(np.asarray(law, np.float64), 1, 0)) / 4096
    divergence = -np.mean(np.log(4 * np.diag(both)))
    assert divergence < 0.1 * np.log(4)
    assert np.log(4) + divergence - 0.05 < bound < 1.2 * np.log(4)

"""Tokens and latents denoised jointly: objective and sampler against quadrature over the latents."""

import functools
import itertools

import compiled
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mdm_jax as mdm
from mdm_jax.support.errors import InputError
from mdm_jax.training.objective import Examples, score
from mdm_jax.training.objectives import from_description

LENGTH = STEPS = 3
ROWS = 40_000
GRID = np.linspace(-12, 12, 1201)
WIDTH = GRID[1] - GRID[0]
SIGNAL = np.sin(np.pi / 2 * np.arange(1, STEPS + 1) / STEPS)
MASK = 2


pytestmark = pytest.mark.thorough  # each compiles a model of its own


@pytest.fixture(scope="module")
def tiny():
    """Three tokens of two kinds, a latent of one number; all parameters random."""
    plain = mdm.models.latent_transformer(2, length=LENGTH, width=8, depth=1, heads=2, latent_size=1)
    model = mdm.models.joint_diffusion(plain)
    leaves, tree = jax.tree.flatten(model.init(mdm.key(0), length=LENGTH))
    keys = jax.random.split(mdm.key(1), len(leaves))
    noise = (0.2 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True))
    return model, jax.tree.unflatten(tree, [leaf + one for leaf, one in zip(leaves, noise, strict=True)])


class Double:
    """The model on a grid of latents, in float64: laws of tokens, laws of moves."""

    def __init__(self, model, params):
        self.model, self.params = model, params

        @jax.jit
        def both(tokens, step):
            many = len(GRID)
            copy = jnp.asarray(GRID, jnp.float32)[:, None, None]
            context = mdm.models.NoisyLatent(copy, jnp.full(many, step), jnp.full(many, STEPS))
            hidden = model.encode(params, jnp.broadcast_to(tokens[None], (many, LENGTH)), context)
            law = model.module.apply(params, hidden, context, method="latent_law")
            return jax.nn.log_softmax(model.readout(params, hidden), axis=-1), law

        self.both = both

    @functools.cache  # noqa: B019
    def at(self, tokens):
        """Log-probabilities [grid, position, token], and mean and variance of the next latent [grid]."""
        step = sum(token != MASK for token in tokens)
        log_probs, law = self.both(jnp.asarray(tokens), step)
        shift, log_ratio = (np.asarray(one, np.float64)[:, 0, 0] for one in law)
        if step == STEPS - 1:
            return np.asarray(log_probs, np.float64), None
        noise = np.sqrt(1 - SIGNAL[step] ** 2)
        guess = SIGNAL[step] * GRID + noise * shift, (noise * np.exp(log_ratio)) ** 2
        return np.asarray(log_probs, np.float64), bridged(step, GRID, *guess)

    @functools.cache  # noqa: B019
    def kernel(self, tokens):
        """Density of the next latent, given this one: [grid, grid]."""
        mean, variance = (one[:, None] for one in self.at(tokens)[1])
        return density(GRID[None], mean, variance)


def bridged(step, copy, mean, variance):
    """Mean and variance of the next copy, if the latent has these given this one: Bayes' rule for a normal chain."""
    signal, after = SIGNAL[step], SIGNAL[step + 1]
    share = signal / after
    left = 1 - share**2
    # next | latent: N(after latent, 1 - after^2); copy | next: N(share next, left).
    spread = 1 - after**2
    gain = spread * share / (share**2 * spread + left)
    of_latent = after - gain * share * after
    return of_latent * mean + gain * copy, spread - gain * share * spread + of_latent**2 * variance


def density(value, mean, variance):
    return np.exp(-0.5 * (value - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)


def divergence(one, other):
    (mean, variance), (mean_of, variance_of) = one, other
    return 0.5 * (variance / variance_of - 1 - np.log(variance / variance_of) + (mean - mean_of) ** 2 / variance_of)


def states(row, order):
    """What is revealed before each step of an order, and what the step reveals."""
    seen = [MASK] * LENGTH
    for position in order:
        yield tuple(seen), position
        seen[position] = row[position]


def exact(double, row):
    """``-log p(row)``: the mean over all orders, the latents integrated out step by step."""
    total = 0.0
    for order in itertools.permutations(range(LENGTH)):
        law = density(GRID, 0.0, 1.0)
        for seen, position in states(row, order):
            log_probs, move = double.at(seen)
            law = law * np.exp(log_probs[:, position, row[position]])
            if move is not None:
                law = WIDTH * law @ double.kernel(seen)
        total += WIDTH * law.sum() / 6
    return -np.log(total)


def nelbo(double, row):
    """The bound, by quadrature: cost of tokens under the recognition's copies, and divergences of the chain."""
    posterior = double.model.posterior(double.params, jnp.asarray([row]))
    mean, scale = float(posterior.mean[0, 0, 0]), float(np.exp(posterior.log_scale[0, 0, 0]))
    variance = scale**2
    total = divergence((SIGNAL[0] * mean, SIGNAL[0] ** 2 * variance + 1 - SIGNAL[0] ** 2), (0.0, 1.0))
    for order in itertools.permutations(range(LENGTH)):
        for step, (seen, position) in enumerate(states(row, order)):
            signal = SIGNAL[step]
            noisy = signal * mean, signal**2 * variance + 1 - signal**2
            law = density(GRID, *noisy)
            log_probs, move = double.at(seen)
            cost = -log_probs[:, position, row[position]]
            if move is not None:
                gain = signal * variance / noisy[1]
                known = mean + gain * (GRID - noisy[0]), variance * (1 - signal**2) / noisy[1]
                cost = cost + divergence(bridged(step, GRID, *known), move)
            total += WIDTH * np.sum(law * cost) / 6
    return total


ALL = list(itertools.product(range(2), repeat=LENGTH))


@pytest.fixture(scope="module")
def truth(tiny):
    """Cost and bound of all eight rows."""
    double = Double(*tiny)
    costs = {row: exact(double, row) for row in ALL}
    np.testing.assert_allclose(sum(np.exp(-cost) for cost in costs.values()), 1, atol=1e-4)
    return costs, {row: nelbo(double, row) for row in ALL}


@pytest.mark.usefixtures("quick_loops")
def test_the_loss_is_the_bound_by_quadrature_and_above_the_exact_cost(tiny, truth):
    """40,000 draws of a row, 4 errors."""
    costs, bounds = truth
    objective = mdm.training.JointLatentBound(steps=STEPS)
    assert objective.is_bound
    for row in ALL[::3]:
        examples = Examples(np.broadcast_to(np.asarray(row, np.int32), (ROWS, LENGTH)))
        losses = score(objective, mdm.key(2), *tiny, examples)
        loss = np.asarray(losses.loss, np.float64)
        error = loss.std() / np.sqrt(ROWS)
        assert error < 0.03 * bounds[row]  # the test can fail
        assert abs(loss.mean() - bounds[row]) < 4 * error
        assert float(losses.terms["kl"].min()) >= 0
    assert all(bounds[row] >= costs[row] for row in ALL)


def test_the_sampler_has_the_law_that_is_integrated(tiny, truth):
    """40,000 rows, each of eight frequencies within 4 errors; the plan's steps are those of the bound."""
    costs, _ = truth
    out = mdm.sampling.sample_jointly(*tiny, mdm.plans.uniform(LENGTH, STEPS), rows=ROWS, key=mdm.key(3))
    assert int(out.remaining.sum()) == 0
    assert set(np.asarray(out.nfe).tolist()) == {STEPS}
    tokens = np.asarray(out.tokens)
    for row, cost in costs.items():
        share, wanted = np.mean(np.all(tokens == np.asarray(row), axis=1)), np.exp(-cost)
        assert abs(share - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / ROWS)


def test_a_row_is_its_own_and_another_plan_compiles_nothing(tiny):
    plan, key = mdm.plans.uniform(LENGTH, STEPS), mdm.key(4)
    whole = mdm.sampling.sample_jointly(*tiny, plan, rows=6, key=key)
    mdm.sampling.sample_jointly(*tiny, plan, rows=2, key=key, row_ids=[4, 1])
    with compiled.programs() as made:
        some = mdm.sampling.sample_jointly(*tiny, plan, rows=2, key=key, row_ids=[5, 2])
        quick = mdm.sampling.sample_jointly(*tiny, mdm.plans.uniform(LENGTH, 1), rows=2, key=key, temperature=0.5,
                                            row_ids=[0, 1])  # fmt: skip
    assert made == []
    np.testing.assert_array_equal(some.tokens, whole.tokens[jnp.asarray([5, 2])])
    np.testing.assert_allclose(some.log_prob, whole.log_prob[jnp.asarray([5, 2])], rtol=1e-4)
    assert quick.nfe.tolist() == [1, 1]


def test_log_prob_is_that_of_the_tokens_given_the_latents(tiny):
    """With one step it is that of all tokens given a row's first latents, drawn by the row's own key."""
    model, params = tiny
    plan, key, ids = mdm.plans.uniform(LENGTH, 1), mdm.key(5), (0, 7)
    ask = functools.partial(mdm.sampling.sample_jointly, model, params, plan, rows=2, key=key, row_ids=list(ids))
    assert ask(temperature=0).log_prob.tolist() == [0.0] * 2
    out, latents = ask(), []
    for row in ids:
        own = jax.random.split(key)[1]
        for number in (0x7FFFFFFE, row, 0x7FFFFFFF, 0):
            own = jax.random.fold_in(own, number)
        latents.append(jax.random.normal(own, (1, 1)))
    context = model.start(jnp.stack(latents), jnp.ones(2, jnp.int32))
    law = jax.nn.log_softmax(mdm.models.logits(model, params, jnp.full((2, LENGTH), MASK), context))
    wanted = jnp.take_along_axis(law, out.tokens[..., None], axis=-1)[..., 0].sum(axis=-1)
    np.testing.assert_allclose(out.log_prob, wanted, rtol=1e-4)


def test_the_house_knows_it(tiny):
    model, params = tiny
    told = mdm.models.describe(model)
    assert told is not None
    assert told["family"] == "joint diffusion"
    assert mdm.models.from_description(told) == model
    objective = mdm.training.JointLatentBound(steps=2, warmup=0.5)
    assert from_description(objective.describe()) == objective
    with pytest.raises(InputError, match="context must be a NoisyLatent"):
        mdm.sample(model, params, mdm.plans.uniform(LENGTH, 2), rows=2, key=mdm.key(0))
    with pytest.raises(InputError, match="denoiser must be a model with latents"):
        score(mdm.training.FixedLatentBound(), mdm.key(0), model, params, Examples(np.zeros((2, LENGTH), np.int32)))


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda _, __: mdm.training.JointLatentBound(steps=0), "steps must be"),
        (lambda _, __: mdm.training.JointLatentBound(warmup=2.0), "warmup must be"),
        (lambda model, params: scored(4, model, params), "steps must be at most the length, 3"),
        (lambda model, params: scored(2, mdm.models.tempered(model, 0.5), params), "unwrapped"),
        (lambda _, __: mdm.models.joint_diffusion(mdm.models.transformer(2, length=2, width=8, heads=2)), "model must"),
        (lambda model, params: mdm.sampling.sample_jointly(model, params, mdm.plans.uniform(4, 2), key=mdm.key(0)),
         "plan must be of at most 3"),
    ],
)  # fmt: skip
def test_what_is_refused(tiny, ask, said):
    with pytest.raises(InputError, match=said):
        ask(*tiny)


def scored(steps, model, params):
    rows = Examples(np.zeros((2, LENGTH), np.int32))
    return score(mdm.training.JointLatentBound(steps=steps), mdm.key(0), model, params, rows)


def test_while_the_latents_warm_up_their_divergences_count_less(tiny):
    model, params = tiny
    objective, examples = mdm.training.JointLatentBound(steps=STEPS, warmup=0.5), Examples(np.asarray(ALL, np.int32))
    part, whole = (objective.losses(model, params, examples, objective.corrupt(mdm.key(7), model, examples, at))
                   for at in (jnp.float32(0.25), jnp.float32(1)))  # fmt: skip
    np.testing.assert_allclose(whole.loss - part.loss, 0.5 * whole.terms["kl"], rtol=1e-3, atol=1e-5)


def test_gradients_are_finite_and_reach_every_part(tiny):
    """At the last step there is no move: what stands in its place must not leak."""
    model, params = tiny
    objective, examples = mdm.training.JointLatentBound(steps=STEPS), Examples(np.asarray(ALL, np.int32))
    corrupted = objective.corrupt(mdm.key(10), model, examples, jnp.float32(1))
    assert set(np.asarray(corrupted.step).tolist()) == set(range(STEPS))

    @jax.jit
    @jax.grad
    def slope(params):
        return objective.losses(model, params, examples, corrupted).loss.sum()

    for path, leaf in jax.tree_util.tree_leaves_with_path(slope(params)):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 0, path


@pytest.mark.parametrize("flag", ["jax_enable_x64", "jax_numpy_dtype_promotion"])
def test_it_is_the_same_under_every_flag(tiny, flag):
    examples = Examples(np.asarray(ALL, np.int32))
    objective = mdm.training.JointLatentBound(steps=STEPS)

    def figures():
        losses = score(objective, mdm.key(8), *tiny, examples)
        out = mdm.sampling.sample_jointly(*tiny, mdm.plans.uniform(LENGTH, 2), rows=4, key=mdm.key(9))
        return losses.loss, out.log_prob

    usual = figures()
    with jax.enable_x64(True) if flag == "jax_enable_x64" else jax.numpy_dtype_promotion("strict"):
        flagged = figures()
    for one, other in zip(usual, flagged, strict=True):
        assert one.dtype == other.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_training_lowers_it():
    """Two equal tokens of four kinds in one step: from log 16 without a latent towards their entropy, log 4."""
    task = mdm.tasks.pairs(1)
    settings = mdm.training.Settings(steps=400, batch=64, length=2, learning_rate=0.01)
    plain = mdm.models.latent_transformer(4, length=2, width=32, depth=1, heads=2, latent_size=4)
    model, objective = mdm.models.joint_diffusion(plain), mdm.training.JointLatentBound(steps=1)
    run = mdm.fit(model, task, settings=settings, objective=objective)
    losses = score(objective, mdm.key(1), model, run.params, Examples(np.asarray(task.test[:4096], np.int32)))
    assert np.log(4) < losses.loss.mean() < 0.75 * np.log(16)
    assert losses.terms["kl"].mean() > 0.5 * np.log(4)
    out = mdm.sampling.sample_jointly(model, run.params, mdm.plans.uniform(2, 1), rows=4096, key=mdm.key(2))
    assert np.mean(out.tokens[:, 0] == out.tokens[:, 1]) > 0.6  # 0.25 without a latent

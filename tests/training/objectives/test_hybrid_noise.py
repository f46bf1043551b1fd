"""The ELBO of hybrid noise against sums, quadrature and paths of its own; its weights near the ends; training by it."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import PatternTask
from worlds import exact_world, wrong_world

import mdm_jax as mdm
from mdm_jax.models import logits
from mdm_jax.support.errors import InputError
from mdm_jax.training import Examples, HybridNoise, nelbo
from mdm_jax.training.corruption import Corrupted
from mdm_jax.training.objective import score
from mdm_jax.training.objectives import from_description
from mdm_jax.training.objectives.hybrid import Noised, noise_levels, token_costs

LAW = np.array([0.5, 0.3, 0.15, 0.05])
SHARES = [0.0, 1e-3, 0.1, 0.2, 0.6]


def process(noise, uniform, gamma, vocab):
    """``(alpha, beta pi)`` at noise ``1 - t``: the notes' formulas, the mask last."""
    t, level = 1 - noise, 2**gamma * uniform / (1 - uniform)
    c = level * (t * noise) ** (gamma / 2)
    return t / (1 + c), np.append(np.full(vocab, c / vocab), noise) / (1 + c)


def law_of(noise, uniform, gamma, token, vocab):
    alpha, rest = process(noise, uniform, gamma, vocab)
    return rest + alpha * (np.arange(vocab + 1) == token)


def costs(log_probs, tokens, seen, noise, uniform, gamma=1.0):
    """``token_costs`` of a vocabulary without the mask among it."""
    vocab = log_probs.shape[-1]
    tokens, seen = (jnp.asarray(ids, jnp.int32) for ids in (tokens, seen))
    return token_costs(log_probs, tokens, seen, seen == vocab, jnp.asarray(noise), vocab, uniform, gamma)


@pytest.mark.parametrize("gamma", [1.0, 1.5])
@pytest.mark.parametrize("uniform", SHARES)
def test_of_a_constant_prediction_the_elbo_is_minus_its_logarithm(uniform, gamma):
    """For any share: the trapezoidal rule in the logit of the noise, exact sums over what is seen."""
    y = np.arange(-75.0, 34.0, 0.125)
    noise = 1 / (1 + np.exp(-y))
    with jax.enable_x64(True):
        for token in range(4):
            rows = np.stack([law_of(n, uniform, gamma, token, 4) for n in noise])
            seen = jnp.broadcast_to(jnp.arange(5, dtype=jnp.int32), rows.shape)
            log_probs = jnp.broadcast_to(jnp.log(LAW), (*rows.shape, 4))
            made = costs(log_probs, jnp.full(rows.shape, token, jnp.int32), seen, noise[:, None], uniform, gamma)
            value = 0.125 * np.sum((rows * made.nelbo).sum(-1) * noise * (1 - noise))
            assert value == pytest.approx(-math.log(LAW[token]), rel=1e-9)


def path_divergence(predict, tokens, uniform, gamma, grid):
    """``KL(q(path | tokens) || p(path))`` on a grid of times: transition matrices alone, no weights.

    ``predict(state)``: the model's laws, [length, vocab]; states with the mask's id ``vocab``.
    """
    length = len(tokens)
    vocab = predict((0,) * length).shape[-1]
    states = list(itertools.product(range(vocab + 1), repeat=length))
    predicted = {state: predict(state) for state in states}
    total = 0.0
    for t, s in itertools.pairwise(grid):  # from t to the later s, which is nearer to the data
        (alpha_t, rest_t), (alpha_s, rest_s) = (process(1 - time, uniform, gamma, vocab) for time in (t, s))
        ratio = alpha_t / alpha_s
        forward = ratio * np.eye(vocab + 1) + (rest_t - ratio * rest_s)[None, :]  # [z_s, z_t]
        assert forward.min() > -1e-12
        of_truth = [rest_s + alpha_s * (np.arange(vocab + 1) == x) for x in tokens]
        at_t = [law @ forward for law in of_truth]
        for state in states:
            weight = np.prod([law[z] for law, z in zip(at_t, state)])
            for j, z in enumerate(state):
                if weight == 0:
                    continue
                mine = of_truth[j] * forward[:, z]
                theirs = (rest_s + alpha_s * np.append(predicted[state][j], 0)) * forward[:, z]
                mine, theirs = mine / mine.sum(), theirs / theirs.sum()
                some = mine > 0
                total += weight * np.sum(mine[some] * np.log(mine[some] / theirs[some]))
    return total


def integral(predict_at, tokens, uniform, gamma=1.0, step=0.25):
    """The ELBO of one sequence by ``token_costs``: exact sums over what is seen, the trapezoidal rule in time.

    ``predict_at(noise)``: a function like ``predict`` above.
    """
    length, vocab = len(tokens), predict_at(0.5)((0,) * len(tokens)).shape[-1]
    states = np.array(list(itertools.product(range(vocab + 1), repeat=length)), np.int32)
    truth, total = np.broadcast_to(np.asarray(tokens), states.shape), 0.0
    with jax.enable_x64(True):
        for y in np.arange(-60.0, 32.0, step):
            noise = 1 / (1 + np.exp(-y))
            laws = np.stack([law_of(noise, uniform, gamma, x, vocab) for x in tokens])
            weight = np.prod(laws[np.arange(length), states], axis=-1)
            log_probs = jnp.log(np.stack([predict_at(noise)(tuple(state)) for state in states]))
            made = costs(log_probs, truth, states, np.full((len(states), 1), noise), uniform, gamma)
            total += step * noise * (1 - noise) * np.sum(weight * np.asarray(made.nelbo.sum(-1)))
    return total


def table_of(denoiser, params):
    """What a denoiser of two tokens of two predicts of every state, in NumPy."""
    states = list(itertools.product(range(3), repeat=2))
    laws = jax.nn.softmax(logits(denoiser, params, jnp.asarray(states, jnp.int32)), axis=-1)
    return dict(zip(states, np.asarray(laws, np.float64))).__getitem__


@pytest.mark.parametrize("uniform", [pytest.param(0.0, marks=pytest.mark.thorough), 0.2])
def test_the_elbo_of_any_table_is_the_divergence_of_fine_paths(uniform):
    """A table that contradicts itself, two tokens of two: on finer grids the paths' divergence falls to it like 1/K."""
    predict, tokens = table_of(*wrong_world(2, 2, seed=3)), (0, 1)
    value = integral(lambda noise: predict, tokens, uniform, step=0.5)
    # Fine where the time is near either end; the very last steps are exact whatever their size.
    coarse, fine = (
        path_divergence(predict, tokens, uniform, 1.0, np.sin(np.linspace(0, np.pi / 2, steps + 1)) ** 2)
        for steps in (50, 200)
    )
    assert abs(fine - value) < 0.3 * abs(coarse - value) < 0.02 * value


def test_without_uniform_noise_it_is_the_masked_nelbo():
    """Number by number: ``sum over masked of -log p / (1 - t)``, over the density of the times."""
    denoiser, params = wrong_world(4, 3, seed=1)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 3, (64, 4)), jnp.int32)
    objective, examples = HybridNoise(uniform=0.0), Examples(tokens)
    made = objective.corrupt(jax.random.key(0), denoiser, examples, jnp.float32(0))
    masked = made.tokens == denoiser.mask_id
    assert np.array_equal(made.tokens, jnp.where(masked, denoiser.mask_id, tokens))  # nothing is replaced
    same = Corrupted(made.tokens, masked, 1 / (made.noise * made.density))
    losses = objective.losses(denoiser, params, examples, made)
    np.testing.assert_allclose(losses.loss, nelbo(denoiser, params, tokens, same), rtol=1e-5)


def from_the_others(table, uniform, noise):
    """``p(x_j | z without z_j)`` at one noise, by Bayes: what the best model predicts of each state."""
    length, vocab = table.ndim, table.shape[0]
    cells = np.array(list(itertools.product(range(vocab), repeat=length)))
    chance = np.stack([law_of(noise, uniform, 1.0, x, vocab) for x in range(vocab)])

    def predict(state):
        likelihood = np.stack([chance[cells[:, j], z] for j, z in enumerate(state)])
        laws = []
        for j in range(length):
            weight = table.reshape(-1) * np.delete(likelihood, j, axis=0).prod(0)
            laws.append(np.bincount(cells[:, j], weight, minlength=vocab) / weight.sum())
        return np.maximum(laws, 1e-300)

    return predict


@pytest.mark.parametrize("uniform", [0.2, 0.0])
@pytest.mark.few(1)
def test_it_is_a_bound_and_the_best_model_attains_it(uniform):
    """Its mean over a table is the entropy where each token is predicted from the others at the time, and above it of
    a model that is told no time; for masks alone the two are one.
    """
    table = exact_world(2, 2, seed=1)[0]
    entropy = -np.sum(table * np.log(table))

    def mean(predict_at):
        return sum(p * integral(predict_at, cell, uniform, step=0.5) for cell, p in np.ndenumerate(table))

    assert mean(lambda noise: from_the_others(table, uniform, noise)) == pytest.approx(entropy, rel=1e-6)
    timeless = mean(lambda noise: from_the_others(table, uniform, 0.5))
    assert timeless == pytest.approx(entropy, rel=1e-6) if uniform == 0 else entropy < timeless < 1.5 * entropy


def test_an_estimate_is_unbiased_and_its_variance_finite():
    """262,144 rows of a constant prediction: within 4 standard errors of -log x^[x], which are at most .1 nats."""
    denoiser, params = constant(LAW)
    rows = 2**18
    tokens = jnp.zeros((rows, 1), jnp.int32).at[::2].set(3)
    examples = Examples(tokens)
    for uniform in (0.0, 0.2):
        objective = HybridNoise(uniform=uniform, weights="dynamic")
        losses = score(objective, jax.random.key(1), denoiser, params, examples)  # held out: the ELBO's weights
        assert np.array_equal(losses.loss, losses.terms["nelbo"])
        for half, truth in ((losses.loss[1::2], 0.5), (losses.loss[::2], 0.05)):
            mean, error = float(np.mean(half)), float(np.std(half)) / math.sqrt(rows / 2)
            assert abs(mean + math.log(truth)) < 4 * error < 0.1


def constant(law):
    """A denoiser that predicts one law everywhere."""

    def predict(params, tokens):
        return jnp.broadcast_to(params["law"], (*tokens.shape, len(law)))

    return mdm.models.from_function(predict, len(law)), {"law": jnp.log(jnp.asarray(law, jnp.float32))}


@pytest.mark.parametrize("uniform", [0.2, 1e-6, 0.9])
@pytest.mark.few(1)
def test_float32_holds_costs_and_gradients_up_to_both_ends(uniform):
    """Within 1e-4 of float64 of what it may amount to, from 1 - t = 1e-28 to t = 2^-24; gradients are finite."""
    noise = np.array([1e-28, 1e-20, 1e-12, 1e-6, 1e-3, 0.3, 0.9, 1 - 1e-5, 1 - 2.0**-24], np.float32)[:, None]
    scores = np.random.default_rng(0).normal(0, 3, (1, 1, 4)).astype(np.float32)
    for scale in (0.01, 1.0, 8.0):
        for token in range(4):
            seen = np.broadcast_to(np.arange(5, dtype=np.int32), (len(noise), 5))

            def total(scores, noise, token=token, seen=seen):
                log_probs = jnp.broadcast_to(jax.nn.log_softmax(scores), (*seen.shape, 4))
                made = costs(log_probs, jnp.full(seen.shape, token, jnp.int32), seen, noise, uniform)
                return made.nelbo

            narrow = np.asarray(total(jnp.asarray(scale * scores), jnp.asarray(noise)), np.float64)
            with jax.enable_x64(True):
                exact = np.asarray(total(jnp.asarray(scale * scores, jnp.float64), jnp.asarray(noise, jnp.float64)))
            rare = np.stack([law_of(float(n[0]), uniform, 1.0, token, 4) for n in noise])
            weight = rare / (0.5 + 0.125 * noise.astype(np.float64) ** -0.75)  # as a row counts in the estimate
            assert np.all(np.isfinite(narrow))
            np.testing.assert_allclose(weight * narrow, weight * exact, atol=2e-5, rtol=1e-4)
            slope = jax.grad(lambda scores, total=total: jnp.sum(total(scores, jnp.asarray(noise))))
            assert np.all(np.isfinite(slope(jnp.asarray(scale * scores))))


def test_without_uniform_noise_a_model_may_rule_out_what_stands_there():
    """Only masks are predicted: what the model says where a token is seen costs nothing, -inf included."""
    tokens = jnp.zeros((16, 4), jnp.int32)

    def other_than_seen(params, seen):
        return jnp.where(seen[..., None] == jnp.arange(3)[None, None, :], -jnp.inf, 0.0 * params)

    model, objective = mdm.models.from_function(other_than_seen, 3), HybridNoise(uniform=0.0)
    made = objective.corrupt(jax.random.key(4), model, Examples(tokens), jnp.float32(0))
    masked = np.asarray(made.tokens) == 3
    assert 0 < masked.sum() < masked.size
    loss = objective.losses(model, jnp.float32(0), Examples(tokens), made).loss
    wanted = masked.sum(1) * math.log(3) / np.asarray(made.noise) / np.asarray(made.density)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_what_is_seen_follows_the_shares():
    """16,384 rows of 16: in ten bins of the noise, the shares of masks and of wrong tokens, within 4.5 s.e. each."""
    denoiser, _ = constant(LAW)
    tokens = jnp.ones((2**14, 16), jnp.int32)
    made = HybridNoise(uniform=0.3).corrupt(jax.random.key(2), denoiser, Examples(tokens), jnp.float32(0))
    shares = np.stack([law_of(float(n), 0.3, 1.0, 1, 4) for n in made.noise])
    for bin_ in np.array_split(np.argsort(made.noise), 10):
        for token in range(5):
            chance = shares[bin_, token]
            count = np.sum(np.asarray(made.tokens)[bin_] == token)
            error = math.sqrt(16 * np.sum(chance * (1 - chance)))
            assert abs(count - 16 * chance.sum()) < 4.5 * error + 0.5, token
    assert np.all(np.asarray(made.bound) == 1)
    surrogate = HybridNoise(weights="clipped").corrupt(jax.random.key(2), denoiser, Examples(tokens), jnp.float32(0.5))
    assert np.all(np.asarray(surrogate.bound) == 0)


def test_times_have_the_density_that_is_said():
    """The share of 2^16 evenly spread numbers below any level is the integral of the density."""
    noise, density = noise_levels((jnp.arange(2**16) + 0.5) / 2**16)
    level = np.logspace(-12, 0, 25)[:-1]
    np.testing.assert_allclose([np.mean(noise < one) for one in level], level / 2 + level**0.25 / 2, atol=2e-5)
    np.testing.assert_allclose(density, 0.5 + 0.125 * np.asarray(noise, np.float64) ** -0.75, rtol=1e-5)


def test_a_mask_below_the_vocabulary_is_never_drawn_as_a_token():
    """Uniform noise is over the real tokens, the mask's id being one of the vocabulary's."""
    model = mdm.models.from_function(lambda params, tokens: jnp.zeros((*tokens.shape, 4)), 4, mask_id=1)
    tokens = jnp.zeros((4096, 8), jnp.int32)
    made = HybridNoise(uniform=0.9).corrupt(jax.random.key(3), model, Examples(tokens), jnp.float32(0))
    count = np.bincount(np.asarray(made.tokens).ravel(), minlength=4)
    shares = np.stack([process(float(n), 0.9, 1.0, 3)[1] for n in made.noise])
    expected = 8 * shares.sum(0)
    assert abs(count[1] - expected[3]) < 5 * math.sqrt(expected[3])
    for token in (2, 3):
        assert abs(count[token] - expected[0]) < 5 * math.sqrt(expected[0])


@pytest.mark.parametrize("weights", ["dynamic", "clipped"])
@pytest.mark.few(1)
def test_the_surrogate_s_weights_are_the_published_ones(weights):
    """Costs times the weights of the notes: ``KL + IS`` by its definition, in float64."""
    uniform, vocab = 0.2, 4
    level = 2 * uniform / (1 - uniform)
    denoiser, params = constant(LAW)
    noise = np.array([0.9999, 0.9, 0.5, 0.1, 0.001])
    tokens = np.zeros((5, 3), np.int32)
    seen = np.broadcast_to(np.array([4, 0, 2], np.int32), (5, 3))
    made = Noised(jnp.asarray(seen), jnp.asarray(noise, jnp.float32), jnp.ones(5), jnp.zeros(5))
    losses = HybridNoise(uniform, weights).losses(denoiser, params, Examples(jnp.asarray(tokens)), made)
    expected = np.zeros(5)
    for row, n in enumerate(noise):
        alpha, rest = process(n, uniform, 1.0, vocab)
        truth, mine = law_of(n, uniform, 1.0, 0, vocab), rest + alpha * np.append(LAW, 0)
        divergence = np.sum(truth * np.log(truth / mine))
        c, slope = level * math.sqrt(n * (1 - n)), level * (1 - 2 * n) / (2 * math.sqrt(n * (1 - n)))
        gain = c + (1 - n) * slope
        true = {4: 1 / (n * (1 - n)), 0: gain / vocab / ((1 - n) * (1 - n + c / vocab)), 2: gain / ((1 - n) * c)}
        ours = {4: 2.0, 2: 1.0, 0: min(2.0, level / vocab * math.exp(-0.5 * math.log((1 - n) / n)))}
        for z in (4, 0, 2):
            ratio = truth[z] / mine[z]
            weight = ours[z] if weights == "dynamic" else min(2.0, true[z])
            expected[row] += weight * (divergence + ratio - math.log(ratio) - 1)
    np.testing.assert_allclose(losses.loss, expected, rtol=2e-4)
    assert np.all(losses.terms["nelbo"] != losses.loss)


@pytest.mark.parametrize("objective", [HybridNoise(), HybridNoise(0.1, "dynamic"), HybridNoise(0.0, "clipped")])
@pytest.mark.few(1)
def test_no_flag_changes_it(objective):
    """The same noise, losses and slopes, in float32: under float64, strict promotion, NaN and infinity as faults."""
    denoiser, params = wrong_world(4, 3, seed=1)
    examples = Examples(jnp.asarray(np.random.default_rng(0).integers(0, 3, (16, 4)), jnp.int32))

    def value(params, progress):
        made = objective.corrupt(jax.random.key(5, impl="threefry2x32"), denoiser, examples, jnp.float32(progress))
        losses = objective.losses(denoiser, params, examples, made)
        return jnp.sum(losses.loss), (made, losses)

    def everything():
        return [jax.jit(jax.value_and_grad(value, has_aux=True))(params, progress) for progress in (0.5, 1.0)]

    plain = everything()
    assert {leaf.dtype for leaf in jax.tree.leaves(plain)} == {np.dtype("float32"), np.dtype("int32")}
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        with jax.debug_nans(True), jax.debug_infs(True):
            strict = everything()
        with jax.enable_x64(True):
            double = everything()
    for other in (strict, double):
        for one, two in zip(jax.tree.leaves(plain), jax.tree.leaves(other), strict=True):
            assert one.dtype == two.dtype
            np.testing.assert_allclose(one, two, rtol=2e-5, atol=1e-6)


class Coins(PatternTask):
    """Independent tokens of one law."""

    vocab_size = 4

    def __init__(self):
        rows = np.random.default_rng(0).choice(4, (600, 8), p=LAW).astype(np.int32)
        self.train, self.validation, self.test = rows[:500], rows[500:], rows[500:]


@pytest.mark.parametrize("weights", ["elbo", "dynamic", "clipped"])
@pytest.mark.thorough
def test_training_finds_the_law_but_for_clipped_weights_that_flatten_it(weights, tmp_path):
    """One law for every position: held out it costs nearly its cross-entropy, whatever the noise and the weights."""
    denoiser, _ = constant(LAW)
    settings = mdm.training.Settings(
        steps=200, batch=32, length=8, optimizer="adamw", learning_rate=0.05, weight_decay=0.0, ema_decay=0.9
    )
    how = {"settings": settings, "objective": HybridNoise(0.2, weights), "progress": False, "report_every": 100}
    run = mdm.fit(denoiser, Coins(), params={"law": jnp.zeros(4)}, directory=tmp_path / "run", **how)
    found = np.asarray(jax.nn.softmax(run.params["law"]))
    if weights == "clipped":  # .46 of .5 and .07 of .05, after 800 steps as after 200
        assert found[0] < LAW[0] - 0.02
        assert found[-1] > LAW[-1] + 0.01
    else:
        np.testing.assert_allclose(found, LAW, atol=0.04)
    last = run.place.read_log()[-1]
    entropy = -np.sum(LAW * np.log2(LAW))
    assert abs(last["held_out_bits_per_token"] - entropy) < 0.1 + 4 * last["held_out_standard_error"]
    if weights != "elbo":
        assert last["held_out_nelbo"] == last["held_out_bits_per_token"]
        assert last["train_nelbo"] == pytest.approx(entropy, abs=0.8)
        assert last["train_bits_per_token"] != last["train_nelbo"]


def test_objectives_are_values_and_refuse_what_is_none():
    assert HybridNoise() == HybridNoise(0.2, "elbo", 1.0) != HybridNoise(0.1)
    assert hash(HybridNoise(uniform=0.2)) == hash(HybridNoise())
    described = HybridNoise(0.1, "dynamic", 1.5).describe()
    assert from_description({**described, "is_bound": True}) == HybridNoise(0.1, "dynamic", 1.5)
    for arguments, says in (
        ({"uniform": 1.0}, "uniform must be the share of uniform noise, from 0 to 0.99; got 1"),
        ({"uniform": -0.1}, "uniform must be the share"),
        ({"gamma": 2.0}, "gamma must be from 1"),
        ({"weights": "elbo "}, "weights must be one of"),
    ):
        with pytest.raises(InputError, match=says):
            HybridNoise(**arguments)

"""The latent objectives against enumeration: losses, expected losses, and the likelihoods that two of them bound.

The models are tables (``latent_tables``): a latent of finitely many values, whose sums over masks, orders and latents
are finite.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from latent_tables import Chances, equal_tokens, random_world, without_effect
from scipy.special import ndtr, ndtri
from scipy.stats import binom

import mdm_jax as mdm
from mdm_jax.support.errors import InputError
from mdm_jax.training import Examples, FixedLatentBound, LatentSurrogate, StepwiseLatentBound
from mdm_jax.training.objective import monitored, score
from mdm_jax.training.objectives.collapse import pair_information
from mdm_jax.training.objectives.latents import Told

pytestmark = pytest.mark.usefixtures("strict_types")

LENGTH = 3
WORLD = random_world(LENGTH)
KEY = jax.random.key(5)
losses_of = jax.jit(lambda objective, denoiser, *arrays: objective.losses(denoiser, *arrays), static_argnums=(0, 1))


def value_of(noise, chance):
    """Which value of the latent the noise stands for, in float64."""
    return int(np.sum(ndtr(np.float64(noise)) > np.cumsum(chance)[:-1]))


# ------------------------------------------------------------------------------------------------ one loss, by hand


@pytest.mark.parametrize(
    ("objective", "progress"),
    [
        (LatentSurrogate(warmup=0.5, free_bits=0.9), 0.125),
        (LatentSurrogate(warmup=0.5, draws=3), 1.0),
        (FixedLatentBound(warmup=0.8, free_bits=0.3), 0.2),
        (LatentSurrogate(warmup=0.5), 0.125),
        (StepwiseLatentBound(warmup=0.0, steps=2), 0.0),
        (StepwiseLatentBound(steps=2, draws=3), 1.0),
    ],
)
@pytest.mark.few(3)
def test_a_loss_is_what_numpy_says(objective, progress):
    """64 rows of the objective's own masks and noise: weights, masks, KL and importance weights in float64."""
    tokens = np.random.default_rng(1).integers(0, 2, (64, LENGTH)).astype(np.int32)
    examples = Examples(jnp.asarray(tokens))
    corrupted = objective.corrupt(KEY, WORLD.model, examples, jnp.float32(progress))
    found = losses_of(objective, WORLD.model, WORLD.params, examples, corrupted)
    warm = 1.0 if objective.warmup == 0 else min(progress / objective.warmup, 1.0)
    wanted, divergences = [], []
    for row, truth in enumerate(tokens):
        masked = {j for j in range(LENGTH) if int(corrupted.tokens[row, j]) == 2}
        if isinstance(objective, StepwiseLatentBound):
            later = {j for j in range(LENGTH) if int(corrupted.known[row, j]) == 2}
            weight, told, scored = objective.steps, masked - later, masked - later
        else:
            later, weight, scored = set(), LENGTH / len(masked), masked
            told = set(range(LENGTH)) if isinstance(objective, FixedLatentBound) else masked
        once = 1.0 if isinstance(objective, FixedLatentBound) else weight
        q = WORLD.posterior[WORLD.state(truth, later), WORLD.subset(told)]
        divergence = float(np.sum(q * np.log(q / WORLD.prior)))
        values = [value_of(noise, q) for noise in np.asarray(corrupted.noise)[row, :, 0, 0]]
        costs = np.array([-WORLD.step(truth, masked, scored)[value] for value in values])
        ratios = np.array([math.log(q[value] / WORLD.prior[value]) for value in values])
        if len(values) == 1:
            free = objective.free_bits * math.log(2) * len(told) / LENGTH
            wanted.append(weight * costs[0] + warm * once * max(divergence, free))
            divergences.append(divergence)
        else:
            wanted.append(-weight * math.log(np.mean(np.exp(-costs - warm * ratios))))
            divergences.append(ratios.mean())
    np.testing.assert_allclose(found.loss, wanted, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(found.terms["kl"], divergences, rtol=2e-5, atol=1e-5)
    assert objective.terms == ("kl",)
    assert found.revealed is None


@pytest.mark.parametrize(
    "objective", [LatentSurrogate(draws=3), FixedLatentBound(free_bits=0.3), StepwiseLatentBound(steps=2)]
)
@pytest.mark.thorough
def test_64_bits_change_nothing(objective):
    """The same masks, noise and losses, in the same types."""
    tokens = np.random.default_rng(1).integers(0, 2, (64, LENGTH)).astype(np.int32)
    params, found = jax.device_get(WORLD.params), []
    for double in (False, True):
        with jax.enable_x64(double):
            examples = Examples(jnp.asarray(tokens))
            corrupted = objective.corrupt(KEY, WORLD.model, examples, jnp.float32(1))
            losses = losses_of(objective, WORLD.model, params, examples, corrupted)
            found.append(jax.tree.leaves(jax.device_get((corrupted, losses.loss, losses.terms))))
    for one, two in zip(*found, strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [LatentSurrogate, StepwiseLatentBound])
def test_masks_and_noise_have_the_laws_that_are_said(kind):
    """2^14 rows of four tokens. Chi-squared of every mask below its mean + 4.5 s.d.; noise N(0, 1) within 4.5 s.e."""
    rows, length = 2**14, 4
    world = random_world(length)
    tokens = jnp.ones((rows, length), jnp.int32)
    objective = kind(steps=3) if kind is StepwiseLatentBound else kind()
    made = objective.corrupt(KEY, world.model, Examples(tokens), jnp.float32(1))
    masked, unknown = (np.asarray(ids) == world.model.mask_id for ids in (made.tokens, made.known))
    np.testing.assert_array_equal(made.told, masked & ~unknown)
    np.testing.assert_array_equal(made.scored, made.told)
    found = {}
    for pair in zip(map(tuple, masked), map(tuple, unknown)):
        found[pair] = found.get(pair, 0) + 1
    expected = {}
    if kind is StepwiseLatentBound:  # the steps of plans.uniform, each as often, in every order
        for path in world.paths(mdm.plans.uniform(length, 3).sizes):
            for hidden, revealed in path:
                pair = tuple(tuple(j in part for j in range(length)) for part in (hidden, hidden - revealed))
                expected[pair] = expected.get(pair, 0) + rows / 3 / math.factorial(length)
        np.testing.assert_array_equal(made.weight, 3.0)
    else:  # every number of masks is as likely, and every set of so many
        for mask in itertools.product((False, True), repeat=length):
            if any(mask):
                expected[mask, (False,) * length] = rows / length / math.comb(length, sum(mask))
        np.testing.assert_allclose(made.weight, length / masked.sum(1))
    assert found.keys() == expected.keys()
    squared = sum((found[one] - expected[one]) ** 2 / expected[one] for one in expected)
    assert squared < len(expected) - 1 + 4.5 * math.sqrt(2 * (len(expected) - 1))
    noise = np.asarray(made.noise, np.float64).ravel()
    assert abs(noise.mean()) < 4.5 / math.sqrt(noise.size)
    assert abs(np.mean(noise**2) - 1) < 4.5 * math.sqrt(2 / noise.size)


# ------------------------------------------------------------------------- expected losses, and what they are bounds of


def asked_of(objective, world):
    """Every masking with its probability: ``(probability, masked, unknown to the recognition, told, weight)``."""
    length = world.model.length
    if isinstance(objective, StepwiseLatentBound):
        sizes = mdm.plans.uniform(length, objective.steps).sizes
        paths = [pair for path in world.paths(sizes) for pair in path]
        return [(1 / len(paths), hidden, hidden - revealed, revealed, objective.steps) for hidden, revealed in paths]
    every = frozenset(range(length))
    masks = [frozenset(some) for n in range(1, length + 1) for some in itertools.combinations(range(length), n)]
    return [
        (
            1 / length / math.comb(length, len(masked)),
            masked,
            frozenset(),
            every if isinstance(objective, FixedLatentBound) else masked,
            length / len(masked),
        )
        for masked in masks
    ]


def choices_of(q, draws):
    """Every multiset of so many values with its probability; of one draw, or of two values."""
    if draws == 1:
        return [(chance, [value]) for value, chance in enumerate(q)]
    assert len(q) == 2
    return [(binom.pmf(n, draws, q[1]), [1] * n + [0] * (draws - n)) for n in range(draws + 1)]


def expected_losses(objective, world):
    """The expected loss of every sequence, by the objective's own code on every masking and every latent."""
    draws, rows = getattr(objective, "draws", 1), []
    for number, tokens in enumerate(world.sequences):
        for probability, masked, unknown, told, weight in asked_of(objective, world):
            q = world.posterior[world.state(tokens, unknown), world.subset(told)]
            shares = np.cumsum(q) - q / 2
            for chance, values in choices_of(q, draws):
                if chance > 0:
                    noise = ndtri(shares[values])
                    once = 1.0 if isinstance(objective, FixedLatentBound) else weight
                    rows.append((number, probability * chance, tokens, masked, unknown, told, weight, once, noise))
    rows += [(rows[-1][0], 0.0, *rows[-1][2:])] * (-len(rows) % 512)  # few shapes, few programs
    number, probability, tokens, masked, unknown, told, weight, once, noise = (list(column) for column in zip(*rows))

    def marks(sets):
        return np.array([[j in one for j in range(world.model.length)] for one in sets])

    masked, unknown, told, truth = marks(masked), marks(unknown), marks(told), np.array(tokens, np.int32)
    scored = masked if isinstance(objective, FixedLatentBound) else told
    mask = np.int32(world.model.mask_id)
    corrupted = Told(
        jnp.asarray(np.where(masked, mask, truth)),
        jnp.asarray(np.where(unknown, mask, truth)),
        jnp.asarray(scored),
        jnp.asarray(told),
        jnp.asarray(weight, jnp.float32),
        jnp.asarray(once, jnp.float32),
        jnp.asarray(np.array(noise)[:, :, None, None], jnp.float32),
    )
    losses = losses_of(objective, world.model, world.params, Examples(jnp.asarray(truth)), corrupted).loss
    return np.bincount(number, np.array(probability) * np.asarray(losses, np.float64), len(world.sequences))


def test_a_mean_over_random_masks_is_the_sum_over_all_masks():
    """``score`` of 2^15 copies of each of two sequences, in chunks: within 4.5 s.e. of the enumerated expectation."""
    for objective in (LatentSurrogate(), FixedLatentBound(), StepwiseLatentBound(steps=2)):
        wanted = expected_losses(objective, WORLD)
        for number in (1, 6):
            rows = jnp.broadcast_to(jnp.asarray(WORLD.sequences[number], jnp.int32), (2**12, LENGTH))
            loss = np.asarray(score(objective, KEY, WORLD.model, WORLD.params, Examples(rows)).loss, np.float64)
            assert abs(loss.mean() - wanted[number]) < 4.5 * loss.std() / math.sqrt(len(loss))


def test_the_fixed_latent_bound_is_one_of_one_token_at_a_time_and_tight_for_a_latent_that_tells_all():
    """Every sequence of a random world; then two equal tokens, whose entropy it is."""
    found = expected_losses(FixedLatentBound(), WORLD)
    exact = np.array([WORLD.nll(tokens, [1] * LENGTH) for tokens in WORLD.sequences])
    assert np.all(found > exact + 1e-3)
    told = equal_tokens(4)
    found = expected_losses(FixedLatentBound(), told)
    equal = [tokens[0] == tokens[1] for tokens in told.sequences]
    np.testing.assert_allclose(found[equal], math.log(4), atol=1e-4)
    np.testing.assert_allclose([told.nll((1, 1), [1, 1])], math.log(4), atol=1e-4)


def test_one_token_at_a_time_needs_no_latent_so_that_the_fixed_latent_bound_is_as_tight_without():
    """Two equal tokens: a collapsed latent costs what one that tells all costs; in one step it costs the entropy more.

    This is why training by this bound alone ends with a latent that says nothing.
    """
    told = equal_tokens(4)
    chance = np.broadcast_to(told.chance.mean(0), told.chance.shape)  # where a token is seen, the other is known
    posterior = np.broadcast_to(told.prior, told.posterior.shape)
    collapsed = dataclasses.replace(told, chance=chance, posterior=posterior)
    both = [expected_losses(FixedLatentBound(), world)[0] for world in (told, collapsed)]
    np.testing.assert_allclose(both, math.log(4), atol=1e-4)
    one_step = [expected_losses(StepwiseLatentBound(steps=1), world)[0] for world in (told, collapsed)]
    np.testing.assert_allclose(one_step, [math.log(4), 2 * math.log(4)], atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_stepwise_bound_is_one_of_its_sampler_and_tight_where_the_posterior_is_true(steps):
    """With the true posterior it is the mean over orders of ``-log q(tokens | order)``; of one step, the likelihood."""
    sizes = mdm.plans.uniform(LENGTH, steps).sizes
    exact = np.array([WORLD.nll(tokens, sizes, anew=True) for tokens in WORLD.sequences])
    assert np.all(expected_losses(StepwiseLatentBound(steps=steps), WORLD) > exact + 1e-3)
    true = WORLD.with_true_posterior()
    found = expected_losses(StepwiseLatentBound(steps=steps), true)
    by_path = []
    for tokens in WORLD.sequences:
        paths = [[np.exp(WORLD.step(tokens, *pair)) @ WORLD.prior for pair in path] for path in WORLD.paths(sizes)]
        by_path.append(-np.mean([np.sum(np.log(path)) for path in paths]))
    np.testing.assert_allclose(found, by_path, atol=1e-5)
    assert np.all(found > exact - 1e-5)
    if steps == 1:
        np.testing.assert_allclose(found, exact, atol=1e-5)


def test_several_draws_lie_between_the_bound_and_the_likelihood_and_tend_to_it():
    """One step, two values of the latent, so that 1, 2, 4, 16 and 64 draws can be enumerated."""
    world = random_world(LENGTH, values=2, seed=3)
    exact = np.array([world.nll(tokens, [LENGTH], anew=True) for tokens in world.sequences])
    found = [expected_losses(StepwiseLatentBound(steps=1, draws=draws), world) for draws in (1, 2, 4, 16, 64)]
    assert np.all(np.diff(found, axis=0) < 0)
    gaps = np.array(found) - exact
    assert np.all(gaps > -1e-5)
    assert np.all(gaps[-1] < 0.03 * gaps[0] + 1e-5)


@pytest.mark.parametrize("symbols", [2, 4])
def test_the_surrogate_of_two_equal_tokens_is_half_of_their_entropy(symbols):
    """So it bounds the likelihood of no sampler; both bounds are the entropy."""
    world = equal_tokens(symbols)
    equal = [tokens[0] == tokens[1] for tokens in world.sequences]
    entropy = math.log(symbols)
    np.testing.assert_allclose(expected_losses(LatentSurrogate(), world)[equal], entropy / 2, atol=1e-4)
    for bound in (FixedLatentBound(), StepwiseLatentBound(steps=1), StepwiseLatentBound(steps=2)):
        np.testing.assert_allclose(expected_losses(bound, world)[equal], entropy, atol=1e-4)
    assert [one.is_bound for one in (LatentSurrogate(), FixedLatentBound(), StepwiseLatentBound())] == [
        False, True, True,
    ]  # fmt: skip


def test_a_perfect_model_of_the_surrogate_may_be_wrong_with_a_latent_that_is_kept():
    """Two independent bits, a latent of two. A first step writes both, the second token looks at the first one's."""
    wrong = 1e-6
    chance = np.zeros((4, 3, 3, 2, 2))
    for value, bits in enumerate(itertools.product(range(2), repeat=2)):
        one_hot = np.where(np.eye(2) == 1, 1 - wrong, wrong)[list(bits)]
        chance[value] = one_hot  # by position: what is written where nothing is seen
        chance[value, :2, 2, 1], chance[value, 2, :2, 0] = one_hot[0], one_hot[1]  # beside a token: the other's bit
    nothing = np.full((9, 4, 4), 1 / 4)
    model = dataclasses.replace(WORLD.model, vocab_size=2, length=2)
    world = dataclasses.replace(WORLD, model=model, chance=chance.reshape(4, 9, 2, 2), prior=np.full(4, 1 / 4),
                                posterior=nothing).with_true_posterior()  # fmt: skip
    entropy = 2 * math.log(2)
    for objective in (LatentSurrogate(), StepwiseLatentBound(steps=2)):  # no model has less
        np.testing.assert_allclose(expected_losses(objective, world), entropy, atol=1e-4)
    np.testing.assert_allclose([world.nll(tokens, [1, 1], anew=True) for tokens in world.sequences], entropy, atol=1e-4)
    kept = {tokens: world.nll(tokens, [1, 1]) for tokens in world.sequences}
    assert kept[0, 0] == pytest.approx(math.log(2), abs=1e-4)  # of equal bits, as if there were no others
    assert kept[0, 1] > 10


def test_free_bits_never_lower_a_loss_and_the_warm_up_ends_at_the_bound():
    bound = StepwiseLatentBound(steps=2)
    assert np.all(expected_losses(dataclasses.replace(bound, free_bits=0.2), WORLD) >= expected_losses(bound, WORLD))
    examples = Examples(jnp.zeros((4, LENGTH), jnp.int32))

    def weights(objective, progress):
        made = objective.corrupt(KEY, WORLD.model, examples, jnp.float32(progress))
        return np.asarray(made.kl_weight / (1 if isinstance(objective, FixedLatentBound) else made.weight)).tolist()

    for kind in (LatentSurrogate, FixedLatentBound, StepwiseLatentBound):
        steps = {"steps": 2} if kind is StepwiseLatentBound else {}
        assert weights(kind(warmup=0.4, **steps), 0.0) == [0.0] * 4
        np.testing.assert_allclose(weights(kind(warmup=0.4, **steps), 0.1), 0.25)
        np.testing.assert_allclose(weights(kind(warmup=0.4, **steps), 1.0), 1.0)
        np.testing.assert_allclose(weights(kind(warmup=0.0, **steps), 0.0), 1.0)


# --------------------------------------------------------------------------------------------------------- collapse


def monitors_of(world, tokens):
    found = monitored(FixedLatentBound(), KEY, world.model, world.params, Examples(jnp.asarray(tokens, jnp.int32)))
    return {name: float(one) for name, one in found.items()}


def test_monitors_are_zero_where_the_latent_is_without_effect_and_tell_what_a_perfect_one_knows():
    """Of four symbols: KL and mutual information log 4, but for the 64 draws that stand for the prior."""
    silent = monitors_of(without_effect(2), np.array([[0, 0], [0, 1], [1, 1], [1, 1]]))
    assert silent == pytest.approx({"kl_nats": 0, "active_units": 0, "pair_information_nats": 0}, abs=1e-4)
    loud = monitors_of(equal_tokens(4), np.arange(8)[:, None].repeat(2, 1) % 4)
    assert loud["kl_nats"] == pytest.approx(math.log(4), abs=1e-4)
    assert loud["active_units"] == 1
    assert loud["pair_information_nats"] == pytest.approx(math.log(4), abs=0.1)


def test_pair_information_is_the_mutual_information_of_the_mixture_over_so_many_latents():
    """256 keys against 4,000 priors of 64 draws, their mutual information summed in float64: within 4.5 s.e."""
    world = random_world(2, vocab_size=3, values=3, seed=1)
    keys = jax.random.split(KEY, (256, 2))
    each = jax.jit(jax.vmap(lambda pair: pair_information(world.model, world.model, world.params, 2, *pair)))(keys)
    law = world.chance[:, -1]  # the last state: all masked
    drawn = np.random.default_rng(0).multinomial(64, world.prior, 4000) / 64
    joint = np.einsum("nk,ka,kb->nab", drawn, law[:, 0], law[:, 1])
    apart = joint.sum(2, keepdims=True) * joint.sum(1, keepdims=True)
    wanted = np.sum(joint * np.log(joint / apart), axis=(1, 2))
    error = math.hypot(np.std(each) / math.sqrt(256), np.std(wanted) / math.sqrt(4000))
    assert wanted.mean() > 10 * error
    assert abs(np.mean(each) - wanted.mean()) < 4.5 * error


@dataclasses.dataclass(frozen=True)
class Units:
    """A latent model that looks at one token, with three numbers: one that varies, one too little, one never."""

    vocab_size = 2
    mask_id = 2
    passes = 1
    latent_shape = (1, 3)

    def encode(self, params, tokens, context=None):
        assert context is not None
        return jnp.zeros((*tokens.shape, 2)) + context[:, :, :2]

    def readout(self, params, hidden):
        return hidden

    def begin(self, params, keys, context=None):
        return jax.vmap(lambda key: jax.random.normal(key, (1, 3), jnp.float32))(keys)

    def posterior(self, params, tokens, told):
        first = tokens[:, :1].astype(jnp.float32)
        mean = jnp.stack([first, 0.19 * first, jnp.ones_like(first)], axis=-1)
        return mdm.models.Posterior(mean, jnp.zeros_like(mean))

    def log_prior(self, params, latent):
        return jnp.zeros(len(latent))

    def kl(self, params, posterior, latent):
        return jnp.sum(posterior.mean**2, axis=(-2, -1)) / 2


def test_active_units_are_those_whose_mean_varies_over_the_data():
    """Variances 1/4, .19^2/4 = .009 and 0, against .01."""
    tokens = np.arange(8)[:, None].repeat(2, 1) % 2
    found = monitored(LatentSurrogate(), KEY, Units(), (), Examples(jnp.asarray(tokens, jnp.int32)))
    assert float(found["active_units"]) == 1
    assert float(found["kl_nats"]) == pytest.approx((1 + 0.19**2) / 4 + 1 / 2)


class Estimated(Units):
    """One whose KL is estimated by the latent that was drawn, as that from a learned prior is."""

    def kl(self, params, posterior, latent):
        return posterior.log_prob(latent) - mdm.models.Posterior(*map(jnp.zeros_like, posterior)).log_prob(latent)


def test_estimates_of_a_kl_count_as_they_are_so_that_their_mean_is_the_kl():
    """2^14 rows, many of whose estimates are negative: the mean within 4.5 s.e. of the KL, (1 + .19^2 + 1) / 2."""
    tokens = jnp.ones((2**14, 2), jnp.int32)
    objective, model = FixedLatentBound(), Estimated()
    made = objective.corrupt(KEY, model, Examples(tokens), jnp.float32(1))
    whole, part = (
        np.asarray(objective.losses(model, (), Examples(tokens), one).loss, np.float64)
        for one in (made, made._replace(kl_weight=jnp.zeros_like(made.kl_weight)))
    )
    counted = whole - part
    assert np.mean(counted < -0.1) > 0.1
    assert abs(counted.mean() - (2 + 0.19**2) / 2) < 4.5 * counted.std() / math.sqrt(len(counted))


# ----------------------------------------------------------------------------------------------------------- refusals


def test_objectives_are_values_and_refuse_what_is_none():
    assert StepwiseLatentBound(steps=2, draws=1) == StepwiseLatentBound(steps=2) != StepwiseLatentBound(steps=3)
    assert hash(LatentSurrogate(warmup=1.0)) == hash(LatentSurrogate())
    for make, says in (
        (lambda: LatentSurrogate(warmup=1.5), "warmup must be from 0 to 1; got 1.5"),
        (lambda: FixedLatentBound(free_bits=-1.0), "free_bits must be from 0"),
        (lambda: StepwiseLatentBound(steps=0), "steps must be"),
        (lambda: LatentSurrogate(draws=0), "draws must be"),
        (lambda: LatentSurrogate(draws=2, free_bits=0.5), "free_bits must be 0 where there are several draws"),
        (lambda: FixedLatentBound().context(jnp.zeros(2)), "context must be left out"),
    ):
        with pytest.raises(InputError, match=says):
            make()
    rows = Examples(jnp.zeros((2, LENGTH), jnp.int32))
    with pytest.raises(InputError, match="steps must be at most the length, 3; got 4"):
        StepwiseLatentBound(steps=4).corrupt(KEY, WORLD.model, rows, jnp.float32(1))
    plain = mdm.models.transformer(2, length=4, width=8, depth=1, heads=2)
    for objective in (LatentSurrogate(), FixedLatentBound(), StepwiseLatentBound(steps=1)):
        with pytest.raises(InputError, match="denoiser must be a model with latents"):
            objective.corrupt(KEY, plain, rows, jnp.float32(1))
        for wrapper in (mdm.models.redrawn, mdm.models.marginal):
            with pytest.raises(InputError, match="denoiser must be the latent model: redrawn and marginal are"):
                objective.corrupt(KEY, wrapper(WORLD.model), rows, jnp.float32(1))


def test_a_posterior_of_finitely_many_values_draws_each_as_often_as_it_says():
    """Of this file's own tools: 2^14 draws, chi-squared below its mean + 4.5 s.d."""
    law = np.array([0.5, 0.3, 0.2])
    noise = jax.random.normal(KEY, (2**14, 1, 1))
    drawn = Chances(jnp.broadcast_to(jnp.asarray(law, jnp.float32), (2**14, 3))).sample(noise)
    counts = np.bincount(np.asarray(drawn, int).ravel(), minlength=3)
    assert np.sum((counts - law * 2**14) ** 2 / (law * 2**14)) < 2 + 4.5 * 2

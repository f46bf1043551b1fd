"""Exact laws of samplers: against every assignment of positions to steps, against samples, and the paper's toys."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import worlds
from compiled import programs

from mdm_jax import models, oracles
from mdm_jax.evaluation import exact
from mdm_jax.sampling import sample
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import grids

THIRDS = np.arange(4) / 3
TOYS = {"left": oracles.toy_left, "right": oracles.toy_right}


def random_logits(length, vocab_size, seed=0):
    """Conditionals that belong to no joint law, one of them impossible: float64 under ``double``."""
    logits = np.random.default_rng(seed).normal(size=((vocab_size + 1) ** length, length, vocab_size))
    logits[-1, 0, 0] = -np.inf
    return jnp.asarray(logits)


def exact_logits(table):
    """The conditionals of a positive joint law, in NumPy's float64."""
    states = exact.all_states(table.ndim, table.shape[0])
    logits = np.zeros((*states.shape, table.shape[0]))
    for code, j in zip(*np.nonzero(states == table.shape[0])):
        logits[code, j] = np.log(worlds.conditional(table, tuple(states[code]), table.shape[0], j))
    return jnp.asarray(logits)


def chance(probabilities, tokens, order):
    """``q(tokens | order)``, positions of one step drawn independently given those of earlier steps."""
    length, vocab_size = probabilities.shape[1:]
    total = 1.0
    for j in range(length):
        code = 0
        for token, step in zip(tokens, order):
            code = code * (vocab_size + 1) + (token if step < order[j] else vocab_size)
        total *= probabilities[code, j, tokens[j]]
    return total


def joint(logits, weights):
    """``weight(order) q(tokens | order)``: float64[orders, sequences]."""
    probabilities = np.asarray(jax.nn.softmax(logits, axis=-1))
    sequences = list(itertools.product(range(logits.shape[2]), repeat=logits.shape[1]))
    return np.array([[w * chance(probabilities, x, order) for x in sequences] for order, w in weights.items()])


def bernoulli(shares, length):
    """The probability of every assignment of positions to steps."""
    orders = itertools.product(range(len(shares)), repeat=length)
    return {order: math.prod(shares[k] for k in order) for order in orders}


def partitions(sizes):
    """All ordered partitions with these sizes, equally likely."""
    steps = [k for k, size in enumerate(sizes) for _ in range(size)]
    orders = set(itertools.permutations(steps))
    return dict.fromkeys(orders, 1 / len(orders))


def toy(name):
    table = TOYS[name]()
    return exact.conditionals(table.denoiser, table.params, table.length), jnp.asarray(table.probabilities, jnp.float32)


def beta_fractions(a, b):
    """Beta(a, b) in three equal time steps, by SciPy."""
    return np.sin(np.pi / 2 * scipy.special.betainc(a, b, THIRDS)) ** 2


# ------------------------------------------------------------------------------------------------ against enumeration


@pytest.mark.core
@pytest.mark.usefixtures("double", "strict_types")
@pytest.mark.parametrize(("length", "vocab_size"), [(3, 3), (1, 4)])
def test_ancestral_against_every_assignment(length, vocab_size):
    logits = random_logits(length, vocab_size)
    for grid in ([0.0, 0.2, 0.2, 0.7, 1.0], [0.0, 0.0, 0.4, 1.0, 1.0]):
        wanted = joint(logits, bernoulli(np.diff(grid), length)).sum(axis=0)
        law = exact.ancestral_law(logits, np.array(grid))
        np.testing.assert_allclose(law, wanted, atol=1e-14)
        assert law.sum() == pytest.approx(1, abs=1e-13)


@pytest.mark.core
@pytest.mark.usefixtures("double", "strict_types")
@pytest.mark.parametrize(("length", "vocab_size"), [(4, 2), (3, 3)])
def test_random_order_against_every_ordered_partition(length, vocab_size):
    logits = random_logits(length, vocab_size, seed=1)
    every = (s for k in range(1, length + 1) for s in itertools.product(range(1, length + 1), repeat=k))
    for sizes in (s for s in every if sum(s) == length):
        wanted = joint(logits, partitions(sizes)).sum(axis=0)
        np.testing.assert_allclose(exact.random_order_law(logits, sizes), wanted, atol=1e-12)
    np.testing.assert_array_equal(
        exact.random_order_law(logits, [0, 1, 0, length - 1]), exact.random_order_law(logits, [1, length - 1])
    )


def by_walking(logits, score, sizes):
    """The law of a deterministic adaptive order, path by path."""
    vocab_size = logits.shape[2]
    probabilities, law = np.asarray(jax.nn.softmax(logits, axis=-1)), {}

    def walk(tokens, mass, step):
        if vocab_size not in tokens:
            law[tokens] = law.get(tokens, 0.0) + mass
            return
        code = sum(token * (vocab_size + 1) ** i for i, token in enumerate(reversed(tokens)))
        free = [j for j, token in enumerate(tokens) if token == vocab_size]
        now = sorted(free, key=lambda j: -score(probabilities[code, j]))[: sizes[step]]
        for drawn in itertools.product(range(vocab_size), repeat=len(now)):
            after, share = list(tokens), mass
            for j, token in zip(now, drawn):
                after[j], share = token, share * probabilities[code, j, token]
            walk(tuple(after), share, step + 1)

    walk((vocab_size,) * logits.shape[1], 1.0, 0)
    return [law[x] for x in itertools.product(range(vocab_size), repeat=logits.shape[1])]


SCORES = {
    "probability": lambda p: p.max(),
    "margin": lambda p: np.sort(p)[-1] - np.sort(p)[-2],
    "entropy": lambda p: -scipy.stats.entropy(p),
}


@pytest.mark.usefixtures("double", "strict_types")
@pytest.mark.parametrize("rule", SCORES)
@pytest.mark.thorough
def test_adaptive_orders_path_by_path(rule):
    logits = random_logits(4, 3, seed=2)
    for sizes in ([1, 1, 1, 1], [1, 2, 1], [3, 1], [4]):
        wanted = by_walking(logits, SCORES[rule], sizes)
        np.testing.assert_allclose(exact.adaptive_law(logits, rule, sizes), wanted, atol=1e-14)
    own = exact.adaptive_law(logits, lambda log_probs: log_probs[:, 1], [1, 0, 3])
    np.testing.assert_allclose(own, by_walking(logits, lambda p: p[1], [1, 3]), atol=1e-14)


@pytest.mark.core
@pytest.mark.usefixtures("double")
def test_one_token_at_a_time_gives_the_target():
    table = worlds.random_table(4, 3, seed=3)
    logits = exact_logits(table)
    np.testing.assert_allclose(exact.random_order_law(logits, [1] * 4), table.ravel(), atol=1e-14)
    for rule in exact.RULES:
        np.testing.assert_allclose(exact.adaptive_law(logits, rule, [1] * 4), table.ravel(), atol=1e-14)


@pytest.mark.thorough
@pytest.mark.usefixtures("double")
def test_one_token_at_a_time_is_the_limit_of_fine_grids():
    """Conditionals that contradict each other: total variation at most C(3, 2) / K, and falling as 1 / K."""
    logits = random_logits(3, 2, seed=7)
    limit = exact.random_order_law(logits, [1, 1, 1])
    steps = np.array([8, 64])
    grids_of = (np.arange(k + 1) / k for k in steps)
    distances = np.array([exact.total_variation(limit, exact.ancestral_law(logits, a)) for a in grids_of])
    assert (distances <= 3 / steps).all()
    scaled = steps * distances
    assert scaled[0] > 0.1
    assert scaled[1] == pytest.approx(scaled[0], rel=0.1)


# ------------------------------------------------------------------------------------------------ what profiles predict


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("consistent", [True, False], ids=["exact conditionals", "inconsistent conditionals"])
def test_profiles_predict_the_divergence_per_path_and_bound_that_of_the_law(consistent):
    """Equality for the joint law of path and sequence, a gap of known size for the output law.

    (profiles/DERIVATIONS.md, "Samples are nearer to the data than the cost says".)
    """
    table = worlds.random_table(4, 2, seed=4)
    target, entropy = table.ravel(), float(scipy.stats.entropy(table.ravel()))
    logits = exact_logits(table) if consistent else random_logits(4, 2).at[-1, 0, 0].set(0.3)
    profile = profiles.from_values(np.asarray(exact.exact_profile(logits, table)))
    if consistent:
        np.testing.assert_allclose(profile.values, oracles.table(table).entropies(), atol=1e-14)
    a = np.array([0.0, 0.15, 0.5, 1.0])
    cases = [
        (exact.ancestral_law(logits, a), bernoulli(np.diff(a), 4), grids.ancestral_nelbo(profile, grids.Grid(a, "a"))),
        (exact.random_order_law(logits, [1, 2, 1]), partitions([1, 2, 1]), profile.expected_nelbo(np.array([1, 2, 1]))),
        (exact.random_order_law(logits, [4]), partitions([4]), profile.expected_nelbo(np.array([4]))),
    ]
    for law, weights, nelbo in cases:
        chances = np.array(list(weights.values()))[:, None]
        both = joint(logits, weights)
        by_path = float(np.sum(chances * target * np.log(chances * target / both)))
        assert nelbo - entropy == pytest.approx(by_path, abs=1e-12)
        gap = float(np.sum(target * chances * np.log(chances / (both / both.sum(axis=0)))))
        divergence = float(exact.kl_divergence(table, law))
        assert divergence == pytest.approx(by_path - gap, abs=1e-12)
        assert divergence <= by_path + 1e-12
        assert (gap < 1e-12) == (len(weights) == 1)


# ------------------------------------------------------------------------------------------------ against samples


@pytest.mark.thorough
def test_against_compiled_samples():
    """Chi-square of 100,000 rows over 27 sequences; 26 degrees of freedom exceed 61.7 with probability 1e-4."""
    denoiser, params = worlds.wrong_world(3, 3)
    logits = exact.conditionals(denoiser, params, 3)
    drawn = sample(denoiser, params, plans.Plan(np.array([2, 1]), name="test"), 100_000, key=jax.random.key(0))
    counts = np.bincount(np.asarray(drawn.tokens) @ [9, 3, 1], minlength=27)
    expected = 100_000 * np.asarray(exact.random_order_law(logits, [2, 1]), dtype=np.float64)
    assert np.sum((counts - expected) ** 2 / expected) < 61.7
    other = 100_000 * np.asarray(exact.random_order_law(logits, [1, 2]), dtype=np.float64)
    assert np.sum((counts - other) ** 2 / other) > 200


# ------------------------------------------------------------------------------------------------ the paper's toys


@pytest.mark.core
def test_the_toys_of_the_paper():
    """Three steps at t = k/3 (exact/DERIVATIONS.md, "The toys")."""
    wanted = {"left": (0.4051, 0.3882, 0.5816, 0.2844), "right": (0.1169, 0.1277, 0.1113, 0.1026)}
    best = {"left": beta_fractions(0.5, 0.3), "right": beta_fractions(0.4, 0.6)}
    for name, values in wanted.items():
        logits, target = toy(name)
        rows = (THIRDS, np.sin(np.pi / 2 * THIRDS) ** 2, np.sin(np.pi / 2 * THIRDS), best[name])
        found = [float(exact.total_variation(target, exact.ancestral_law(logits, grid))) for grid in rows]
        np.testing.assert_allclose(found, values, atol=6e-5)


@pytest.mark.core
def test_fixed_sizes_on_the_toys():
    logits, target = toy("left")
    for sizes, distance in [([1, 4], 0), ([1, 3, 1], 0), ([1, 4, 0], 0), ([2, 2, 1], 0.5)]:
        assert exact.total_variation(target, exact.random_order_law(logits, sizes)) == pytest.approx(distance, abs=1e-6)
    logits, target = toy("right")
    for sizes, distance in [([3, 1, 1], 0), ([2, 2, 1], 0.0312), ([1, 2, 2], 0.0933)]:
        assert exact.total_variation(target, exact.random_order_law(logits, sizes)) == pytest.approx(distance, abs=6e-5)


# ------------------------------------------------------------------------------------------------ gradients, shapes


@pytest.mark.core
@pytest.mark.usefixtures("double")
@pytest.mark.thorough
def test_gradients_against_finite_differences():
    table, logits = worlds.random_table(3, 3, seed=5), random_logits(3, 3, seed=6)

    def costs(grid, logits):
        law = exact.ancestral_law(logits, grid)
        values = jnp.stack([f(table, law) for f in (exact.total_variation, exact.kl_divergence, exact.jensen_shannon)])
        return values, values

    both = jax.jit(jax.jacrev(costs, argnums=(0, 1), has_aux=True))  # slopes and values by one executable

    def slopes(argument, at, direction, h=1e-6):
        return (both(*argument(at + h * direction))[1] - both(*argument(at - h * direction))[1]) / (2 * h)

    grid = jnp.array([0.0, 0.2, 0.45, 0.8, 1.0])
    by_grid, by_logits = both(grid, logits)[0]
    for k in range(1, 4):
        found = slopes(lambda a: (a, logits), grid, jnp.eye(5)[k])
        np.testing.assert_allclose(by_grid[:, k], found, rtol=1e-6, atol=1e-9)
    assert bool(jnp.all(jnp.isfinite(by_logits)))
    way = jax.random.normal(jax.random.key(0), logits.shape)
    found = slopes(lambda x: (grid, x), logits, way)
    np.testing.assert_allclose(jnp.einsum("csjv,sjv->c", by_logits, way), found, rtol=1e-6, atol=1e-9)


@pytest.mark.core
def test_one_executable_for_all_grids_and_all_sizes():
    logits = random_logits(3, 2)
    exact.ancestral_law(logits, [0.0, 0.5, 1.0]), exact.random_order_law(logits, [1, 2])
    with programs() as made:
        exact.ancestral_law(logits, np.array([0.0, 0.1, 1.0])), exact.random_order_law(logits, np.array([1, 1, 1]))
    assert not [name for name in made if "law" in name]


@pytest.mark.core
def test_divergences_by_hand():
    p, q = np.array([[0.5, 0.5], [0.0, 0.0]]), np.array([0.25, 0.25, 0.5, 0.0])
    assert exact.total_variation(p, q) == pytest.approx(0.5)
    assert exact.kl_divergence(p, q) == pytest.approx(np.log(2))
    assert exact.kl_divergence(q, p) == np.inf
    middle = np.array([0.375, 0.375, 0.25, 0.0])
    wanted = (scipy.stats.entropy([0.5, 0.5, 0, 0], middle) + scipy.stats.entropy(q, middle)) / 2
    assert exact.jensen_shannon(p, q) == pytest.approx(wanted)
    assert exact.jensen_shannon([1.0, 0.0], [0.0, 1.0]) == pytest.approx(np.log(2))
    with pytest.raises(InputError, match="the laws must be over the same states; got 4 and 2 states"):
        exact.total_variation(p, [0.5, 0.5])


# ------------------------------------------------------------------------------------------------ denoisers


@pytest.mark.core
def test_conditionals_of_any_denoiser_in_the_order_of_states():
    denoiser, params = worlds.wrong_world(2, 3)  # a table looked up by its own arithmetic
    np.testing.assert_allclose(
        exact.conditionals(denoiser, params, 2), jax.nn.log_softmax(params, axis=-1), rtol=1e-5, atol=1e-6
    )
    assert exact.all_states(2, 2).tolist() == [list(x) for x in itertools.product(range(3), repeat=2)]


def counted(params, tokens, context):
    """Logits that depend on how many 7s, the mask's id, there are."""
    count = jnp.sum(tokens == 7, axis=-1)[:, None, None] * jnp.arange(2)[None, None, :]
    return params * count + context[:, None, :] + jnp.zeros((1, tokens.shape[1], 1))


def test_conditionals_in_chunks_with_another_mask_and_a_context():
    denoiser = models.from_function(counted, 2, mask_id=7)
    found = exact.conditionals(denoiser, jnp.float32(0.1), 8, context=jnp.array([[0.0, 1.0]]))  # 6,561 states
    count = np.sum(exact.all_states(8, 2) == 2, axis=1)
    odds = np.broadcast_to((0.1 * count + 1)[:, None], found.shape[:2])
    np.testing.assert_allclose(found[:, :, 1] - found[:, :, 0], odds, atol=1e-5)


@pytest.mark.core
def test_what_is_refused():
    logits = random_logits(2, 2)
    with pytest.raises(InputError, match="at most 100000"):
        exact.all_states(11, 2)
    with pytest.raises(InputError, match="rise from 0 to 1"):
        exact.ancestral_law(logits, [0.0, 0.7, 0.5, 1.0])
    with pytest.raises(InputError, match="rise from 0 to 1"):
        exact.ancestral_law(logits, [0.0, 0.5])
    with pytest.raises(InputError, match="sum to the length 2"):
        exact.random_order_law(logits, [1, 2])
    with pytest.raises(InputError, match="one of entropy, margin, probability"):
        exact.adaptive_law(logits, "luck", [1, 1])
    with pytest.raises(InputError, match="all \\(vocab_size"):
        exact.random_order_law(logits[:8], [1, 1])
    with pytest.raises(InputError, match="target must be"):
        exact.exact_profile(logits, np.ones(8) / 8)


def test_the_largest_tables():
    """10^5 partial states, 19^5 pairs: independent tokens, so that every sampler gives the target."""
    alone = np.random.default_rng(0).normal(size=(5, 9))
    logits = jnp.asarray(np.broadcast_to(alone, (exact.MOST_STATES, 5, 9)), jnp.float32)
    target = np.ones(1)
    for law in np.exp(alone) / np.exp(alone).sum(axis=1, keepdims=True):
        target = np.outer(target, law).ravel()
    np.testing.assert_allclose(exact.ancestral_law(logits, THIRDS), target, rtol=1e-4)

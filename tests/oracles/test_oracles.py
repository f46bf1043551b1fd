"""What every oracle promises, against its own table of all states."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from worlds import conditional, random_table

from mdm_jax import models, oracles, sampling
from mdm_jax.models import Denoiser
from mdm_jax.oracles import Oracle
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans

pytestmark = pytest.mark.usefixtures("strict_types")


def random_chain(vocab_size, length, seed=0):
    return oracles.markov(np.random.default_rng(seed).dirichlet(np.ones(vocab_size), vocab_size), length)


def random_mixture(components, length, vocab_size, seed=0):
    rng = np.random.default_rng(seed)
    laws = rng.dirichlet(np.ones(vocab_size), (components, length))
    return oracles.mixture(rng.dirichlet(np.ones(components)), laws)


def mixture_with_zeros():
    laws = np.array([[[1, 0, 0], [0.5, 0, 0.5], [0, 1, 0]], [[0, 0.5, 0.5], [0.25, 0, 0.75], [0, 0.5, 0.5]]])
    return oracles.mixture(np.array([0.3, 0.7]), laws)


ONE_WAY = np.array([[0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0], [0.9, 0.1, 0.0, 0.0], [0.2, 0.0, 0.3, 0.5]])
"""Many forbidden moves, and a token, 3, that the chain leaves for good: its stationary probability is 0."""

WORLDS = {
    "table": lambda: oracles.table(random_table(3, 3, 0)),
    "one token": lambda: oracles.table(np.array([0.2, 0.0, 0.8])),
    "left": oracles.toy_left,
    "right": oracles.toy_right,
    "binary chain": lambda: oracles.markov(np.array([[0.9, 0.1], [0.4, 0.6]]), 5),
    "chain": lambda: random_chain(3, 4),
    "chain with zeros": lambda: oracles.markov(ONE_WAY, 4),
    "chain of one": lambda: random_chain(3, 1),
    "urn": lambda: oracles.polya(5, 0.5),
    "lopsided urn": lambda: oracles.polya(4, 2, 0.3),
    "mixture": lambda: random_mixture(3, 3, 3),
    "mixture with zeros": mixture_with_zeros,
    "binsaw": lambda: oracles.binsaw(6, saws=1, shifts=7),
}


@pytest.fixture(params=list(WORLDS), scope="module")
def oracle(request):
    return WORLDS[request.param]()


@pytest.fixture(scope="module")
def every_logit(oracle):
    """The denoiser at all ``(V + 1)^length`` partial states."""
    partial = jnp.asarray(states(oracle.length, oracle.vocab_size + 1))
    return np.asarray(models.logits(oracle.denoiser, oracle.params, partial))


def states(length, values):
    return np.array(list(itertools.product(range(values), repeat=length)), np.int32)


def joint(oracle):
    """The table as ``log_prob`` has it."""
    law = np.exp(oracle.log_prob(states(oracle.length, oracle.vocab_size)))
    return law.reshape((oracle.vocab_size,) * oracle.length)


@pytest.mark.core
def test_it_meets_the_contracts(oracle):
    assert isinstance(oracle, Oracle)
    assert isinstance(oracle.denoiser, Denoiser)
    assert oracle.denoiser == oracle.denoiser
    assert hash(oracle.denoiser) == hash(oracle.denoiser)
    assert oracle.denoiser.vocab_size == oracle.denoiser.mask_id == oracle.vocab_size
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(oracle.params))


@pytest.mark.core
def test_log_prob_sums_to_one(oracle):
    assert joint(oracle).sum() == pytest.approx(1, abs=1e-13)


@pytest.mark.core
def test_the_denoiser_knows_every_conditional(oracle, every_logit):
    """All ``(V + 1)^length`` partial states, against sums over the table."""
    law, vocab_size, length = joint(oracle), oracle.vocab_size, oracle.length
    partial = states(length, vocab_size + 1)
    logits = every_logit
    assert logits.shape == (len(partial), length, vocab_size)
    assert logits.dtype == np.float32
    assert not np.isnan(logits).any()
    impossible = 0
    for tokens, found in zip(partial, logits):
        index = tuple(slice(None) if token == vocab_size else token for token in tokens)
        possible = law[index].sum() > 0
        impossible += not possible
        for j in range(length):
            if tokens[j] < vocab_size:
                expected = np.where(np.arange(vocab_size) == tokens[j], 0, -np.inf)
            elif not possible:
                expected = np.full(vocab_size, -np.log(vocab_size))
            else:
                with np.errstate(divide="ignore"):
                    expected = np.log(conditional(law, tuple(tokens.tolist()), vocab_size, j))
            np.testing.assert_allclose(found[j], expected, atol=2e-6, err_msg=str(tokens))
    assert (impossible > 0) == bool((law == 0).any())


@pytest.mark.core
def test_log_prob_is_the_sum_of_log_conditionals_in_any_order(oracle, every_logit):
    x = np.argwhere(joint(oracle) > 0)[:64].astype(np.int32)
    rng = np.random.default_rng(0)
    shown, total = np.full_like(x, oracle.vocab_size), np.zeros(len(x))
    orders, rows = np.stack([rng.permutation(oracle.length) for _ in x]), np.arange(len(x))
    for j in orders.T:
        code = np.ravel_multi_index(tuple(shown.T), (oracle.vocab_size + 1,) * oracle.length)
        total += every_logit[code, j, x[rows, j]]
        shown[rows, j] = x[rows, j]
    np.testing.assert_allclose(total, oracle.log_prob(x), atol=1e-5)


def entropies_by_enumeration(law):
    """For each count, the mean over all sets and all positions outside of a conditional entropy, from the table."""
    length, values = law.ndim, np.zeros(law.ndim)
    for count in range(length):
        found = []
        for revealed in itertools.combinations(range(length), count):
            for j in set(range(length)) - set(revealed):
                hidden = tuple(k for k in range(length) if k != j and k not in revealed)
                both = law.sum(axis=hidden)
                given = both.sum(axis=sorted([*revealed, j]).index(j), keepdims=True)
                used = both > 0
                found.append(-np.sum(both[used] * np.log((both / np.where(given > 0, given, 1))[used])))
        values[count] = np.mean(found)
    return values


@pytest.mark.core
def test_entropies_are_those_of_the_table(oracle):
    law, found = joint(oracle), oracle.entropies()
    assert found.shape == (oracle.length,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, entropies_by_enumeration(law), atol=1e-12, rtol=0)
    used = law[law > 0]
    assert oracle.entropy() == pytest.approx(-np.sum(used * np.log(used)), abs=1e-12)
    assert found.sum() == pytest.approx(oracle.entropy(), abs=1e-12)
    assert (np.diff(found) <= 1e-12).all()


@pytest.mark.core
@pytest.mark.parametrize("name", ["table", "chain with zeros", "lopsided urn", "mixture with zeros"])
@pytest.mark.few(1)
def test_samples_follow_the_law(name):
    """Chi-square of 20,000 samples: within 4 standard deviations of its mean; cells of less than 5 go together."""
    oracle, rows = WORLDS[name](), 20_000
    tokens = np.asarray(oracle.sample(jax.random.key(0), rows))
    assert tokens.shape == (rows, oracle.length)
    assert tokens.dtype == np.int32
    check_law(tokens, joint(oracle))
    assert not np.array_equal(tokens, oracle.sample(jax.random.key(1), rows))


@pytest.mark.core
def test_a_row_of_samples_depends_on_the_key_and_its_number_alone():
    few, many = (WORLDS["lopsided urn"]().sample(jax.random.key(0), rows) for rows in (3, 20_000))
    np.testing.assert_array_equal(few, many[:3])


def check_law(tokens, law):
    counts = np.zeros(law.shape)
    np.add.at(counts, tuple(tokens.T), 1)
    assert (counts[law == 0] == 0).all()
    expected, few = len(tokens) * law, len(tokens) * law < 5
    observed = np.append(counts[~few], counts[few].sum())
    expected = np.append(expected[~few], expected[few].sum())
    observed, expected = observed[expected > 0], expected[expected > 0]
    freedom = len(observed) - 1
    assert ((observed - expected) ** 2 / expected).sum() < freedom + 4 * np.sqrt(2 * freedom) + 1e-9


@pytest.mark.core
@pytest.mark.thorough
def test_the_sampler_reproduces_the_law_one_token_at_a_time():
    """8,000 samples in random order; chi-square within 4 standard deviations of its mean."""
    table = random_table(5, 2, 0)
    for oracle in (oracles.table(table), oracles.toy_right()):
        out = sampling.sample(oracle.denoiser, oracle.params, plans.uniform(5, 5), 8_000, key=jax.random.key(3))
        check_law(np.asarray(out.tokens), joint(oracle))
        np.testing.assert_allclose(out.log_prob, oracle.log_prob(out.tokens), atol=1e-5)
    # In one step target L becomes any of 32 words; in two, most canvases cannot occur together.
    left = oracles.toy_left()
    for steps in (1, 2):
        out = sampling.sample(left.denoiser, left.params, plans.uniform(5, steps), 8_000, key=jax.random.key(4))
        assert np.isfinite(np.asarray(out.log_prob)).all()
        assert len(np.unique(np.asarray(out.tokens), axis=0)) == 32


@pytest.mark.core
def test_oracles_of_a_kind_share_compiled_code():
    traces = []

    def counting(denoiser, params, tokens):
        traces.append(denoiser)
        return models.logits(denoiser, params, tokens)

    compiled = jax.jit(counting, static_argnums=0)
    for seed in range(3):
        for oracle in (random_chain(3, 4, seed), random_mixture(2, 4, 3, seed)):
            compiled(oracle.denoiser, oracle.params, jnp.full((2, 4), 3))
    assert len(traces) == 2


@pytest.mark.core
def test_tabulate(oracle):
    """Also by the way of a flat table."""
    table = oracles.tabulate(oracle)
    np.testing.assert_allclose(table.probabilities, joint(oracle), atol=1e-15)
    flat = oracles.table(table.probabilities.ravel(), oracle.vocab_size)
    np.testing.assert_allclose(flat.probabilities, table.probabilities, rtol=1e-14)
    assert (table.length, table.vocab_size) == (oracle.length, oracle.vocab_size)


@pytest.mark.core
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: oracles.table(np.ones((2, 3)) / 6), "probabilities must be of shape (vocab_size,) * length"),
        (lambda: oracles.table(np.ones(1)), "probabilities must be of shape (vocab_size,) * length"),
        (lambda: oracles.table(np.ones(6) / 6, 2), "probabilities must be a power of vocab_size = 2 in number; got 6"),
        (lambda: oracles.table(np.ones((2, 2)) / 4, 3), "probabilities must be of shape (vocab_size,) * length"),
        (lambda: oracles.table(np.ones((2,) * 17) / 2**17), "probabilities must be at most 65536 in number"),
        (lambda: oracles.table(np.array([0.5, 0.6])), "probabilities must be not negative and sum to 1; got entries"),
        (lambda: oracles.table(np.array([1.5, -0.5])), "probabilities must be not negative and sum to 1; got entries"),
        (lambda: oracles.table(np.array([1.0, np.nan])), "probabilities must be not negative and sum to 1"),
        (lambda: oracles.markov(np.ones((2, 3)) / 3, 4), "transition must be of shape [vocab_size, vocab_size]"),
        (lambda: oracles.markov(np.ones((2, 2)), 4), "transition must be a law in each row, not negative and summing"),
        (
            lambda: oracles.markov(np.eye(2), 4),
            "transition must be a chain with only one stationary law, unless stationary says which; got 2 sets",
        ),
        (lambda: oracles.markov(np.ones((2, 2)) / 2, 0), "length must be a whole number from 1 to 2147483647; got 0"),
        (lambda: oracles.polya(0, 1.0), "length must be a whole number from 1 to 2147483647; got 0"),
        (lambda: oracles.polya(4, 0), "a must be a positive number, from 1e-30 to 1e+30; got 0"),
        (lambda: oracles.polya(4, 1, np.inf), "b must be a positive number, from 1e-30 to 1e+30; got inf"),
        (lambda: oracles.mixture(np.ones(1), np.ones((2, 2))), "probabilities must be of shape [components, length"),
        (lambda: oracles.mixture(np.ones(1), np.full((2, 1, 2), 0.5)), "weights must be one for each of the 2"),
        (lambda: oracles.mixture(np.ones(2), np.full((2, 1, 2), 0.5)), "weights must be probabilities, not negative"),
        (lambda: oracles.mixture(np.ones(1), np.ones((1, 1, 2))), "probabilities must be a law of every position"),
        (lambda: oracles.binsaw(noise=0.6), "noise must be from 0 to 1/2; got 0.6"),
        (
            lambda: oracles.binsaw().entropies(),
            "the number of states must be at most 65536 to be summed over; got 2^64",
        ),
        (lambda: oracles.tabulate(oracles.polya(17, 1.0)), "the number of states must be at most 65536"),
        (lambda: oracles.toy_left().log_prob(np.zeros((3, 4), int)), "tokens must be token ids of shape [rows, 5]"),
        (lambda: oracles.toy_left().log_prob(np.zeros((3, 5))), "tokens must be token ids of shape [rows, 5]; got f"),
        (lambda: oracles.polya(2, 1.0).log_prob(np.array([[0, 2]])), "tokens must be ids from 0 to 1; got [2]"),
        (
            lambda: models.logits(oracles.toy_left().denoiser, oracles.toy_left().params, jnp.zeros((1, 4), jnp.int32)),
            "tokens must be of shape [rows, 5] for this table; got shape (1, 4)",
        ),
    ],
)
def test_bad_input_gets_one_sentence(make, says):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)

"""The five laws of ``experiments.tools.profile_laws``: exact profiles, and costs as the denoisers have them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mdm_jax as mdm
from experiments import chosen_plans
from experiments.tools import profile_laws
from mdm_jax import oracles
from mdm_jax.models.denoiser import logits
from mdm_jax.theory import plans, profiles


def as_mixture(length: int) -> oracles.Oracle:
    ones = profile_laws.BIASES[:, np.arange(length) % 2]
    return oracles.mixture(profile_laws.WEIGHTS, np.stack([1 - ones, ones], axis=-1))


def as_table_of_checksums(length: int, group: int, one: float) -> oracles.Oracle:
    states = np.indices((2,) * length)
    odd = (states.reshape(length // group, group, *states.shape[1:]).sum(axis=1) % 2).any(axis=0)
    chance = np.where(odd, 0.0, one ** states.sum(axis=0) * (1 - one) ** (length - states.sum(axis=0)))
    return oracles.table(chance / chance.sum())


def as_table_of_pairs(length: int, one: float) -> oracles.Oracle:
    states = np.indices((2,) * length)
    equal = (states[::2] == states[1::2]).all(axis=0)
    ones = states[::2].sum(axis=0)
    return oracles.table(np.where(equal, one**ones * (1 - one) ** (length // 2 - ones), 0.0), 2)


SMALL = {
    "urn": (lambda: profile_laws.urn(10), lambda: oracles.polya(10, 0.5)),
    "chain": (lambda: profile_laws.chain(8), lambda: oracles.markov(profile_laws.TRANSITION, 8)),
    "mixture": (lambda: profile_laws.mixture(9), lambda: as_mixture(9)),
    "checksums": (lambda: profile_laws.checksums(8, 4, 0.15), lambda: as_table_of_checksums(8, 4, 0.15)),
    "table": (
        lambda: profile_laws.random_table(8),
        lambda: oracles.table(np.random.default_rng(0).dirichlet(np.full(2**8, 0.05)), 2),
    ),
    "rare": (lambda: profile_laws.rare(8, 0.1), lambda: as_table_of_pairs(8, 0.1)),
}


@pytest.mark.parametrize("name", SMALL)
def test_profiles_and_costs_are_the_oracles(name: str):
    law, oracle = (make() for make in SMALL[name])
    np.testing.assert_allclose(law.profile, oracle.entropies(), rtol=1e-9, atol=1e-12)
    rng, counts = np.random.default_rng(0), np.arange(law.length)
    tokens = law.sample(rng, 6)
    orders = np.argsort(rng.random(tokens.shape), axis=1)
    hidden = np.argsort(orders, axis=1)[:, None] >= counts[:, None]
    asked = np.where(hidden, tokens[:, None], 0)
    corrupted = np.where(hidden, oracle.vocab_size, tokens[:, None]).reshape(-1, law.length)
    scores = jax.nn.log_softmax(logits(oracle.denoiser, oracle.params, jnp.asarray(corrupted, jnp.int32)), axis=-1)
    chosen = np.take_along_axis(np.asarray(scores), asked.reshape(-1, law.length, 1), axis=-1)
    expected = -np.where(hidden, chosen.reshape(hidden.shape), 0.0).sum(axis=-1) / (law.length - counts)
    np.testing.assert_allclose(law.costs(tokens, orders, counts), expected, atol=2e-5)


def test_rows_have_the_profile_for_their_mean():
    """1,000 rows of each law at all counts: no mean is 4.5 standard errors off (of 332, by chance 1 in 400)."""
    for law in profile_laws.laws().values():
        counts = np.arange(law.length)
        rows = law.rows(np.random.default_rng(0), 1_000, counts)
        error = np.maximum(rows.std(axis=0, ddof=1) / np.sqrt(len(rows)), 1e-9)
        assert np.abs((rows.mean(axis=0) - law.profile) / error).max() < 4.5, law.name


def test_a_measured_profile_is_as_estimate_profile_has_it():
    """Counts, rows and orders the same; covariances of 1,024 sequences alike (a fifth: 4 standard errors)."""
    law, oracle = profile_laws.urn(16), oracles.polya(16, 0.5)
    tokens = np.asarray(oracle.sample(mdm.key(0), 1024))
    passes = 16 * 1024
    theirs = mdm.estimate_profile(oracle.denoiser, oracle.params, tokens, passes, key=mdm.key(1))
    ours = law.measured(np.random.default_rng(0), passes, sequences=1024)
    assert ours.counts.tolist() == theirs.counts.tolist()
    for name in ("rows", "orders_per_row"):
        assert ours.provenance[name] == theirs.provenance[name]
    both = np.sqrt(ours.standard_errors**2 + theirs.standard_errors**2)
    assert np.abs((ours.means - theirs.means)[1:] / both[1:]).max() < 4
    np.testing.assert_allclose(ours.standard_errors, theirs.standard_errors, rtol=0.2, atol=1e-6)
    few = law.measured(np.random.default_rng(0), 512, sequences=8)
    assert (few.provenance["rows"], few.provenance["orders_per_row"]) == (8, 8)


def test_best_beta_of_the_experiment_is_that_of_the_search():
    """From sizes made once. The search also tries shorter numbers near the best cell: it may find a hair less."""
    law = profile_laws.chain()
    measured = law.measured(np.random.default_rng(0), 256)
    search = plans.search_beta(measured, [4, 8], grid=chosen_plans.GRID, starts=0)
    for steps in (4, 8):
        ours = float(measured.expected_nelbo(chosen_plans.best_beta(measured, steps)))
        theirs = float(measured.expected_nelbo(search.plan(steps).sizes))
        assert theirs - 1e-9 <= ours < theirs + 0.05


def test_regrets_of_a_cell_are_those_of_every_plan():
    """By brute force over all plans of a short law: the optimum, and no regret is below 0."""
    law = profile_laws.random_table(6)
    truth = profiles.from_values(law.profile)
    cells = chosen_plans.cells_of("table", truth, 64, [law.measured(np.random.default_rng(s), 64) for s in range(3)])
    assert [cell["steps"] for cell in cells] == [4]
    every = [np.diff([0, *cut, 6]) for k in range(4) for cut in itertools.combinations(range(1, 6), k)]
    least = min(float(truth.expected_nelbo(sizes)) for sizes in every)
    uniform = float(truth.expected_nelbo(plans.uniform(6, 4).sizes))
    assert cells[0]["regret"]["uniform"] == pytest.approx(uniform - least, abs=1e-6)
    assert min(cells[0]["regret"].values()) >= 0


def test_the_sixth_law_is_beside_the_five():
    """Experiments of the five have results; most of what the sixth costs is in few sequences."""
    assert list(profile_laws.every_law()) == [*profile_laws.laws(), "rare"]
    law = profile_laws.rare()
    every = law.rows(np.random.default_rng(1), 1000, np.arange(48))
    errors = every.std(axis=0, ddof=1) / np.sqrt(1000)
    assert np.abs((every.mean(axis=0) - law.profile[:48]) / errors).max() < 4.5
    rows = every[:, 0]
    quiet = rows < 1.001 * rows.min()
    assert 0.4 < quiet.mean() < 0.65  # .98^32 = .52 of all have no one at all
    assert rows[~quiet].sum() > 0.8 * rows.sum()

"""``experiments/minimal.py``, which uses nothing of the library, against the library."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mdm_jax as mdm
from experiments import minimal
from mdm_jax.evaluation import exact

LENGTH = 5
URN = mdm.oracles.polya(LENGTH, 0.5)


def urn_logits(params, tokens):
    return mdm.models.logits(URN.denoiser, params, tokens)


@pytest.mark.core
@pytest.mark.parametrize("steps", [1, 3, 8, 20])
def test_its_plan_is_the_optimal_one(steps):
    profile = mdm.profiles.from_values(mdm.oracles.polya(64, 0.5).entropies())
    sizes = minimal.optimal_sizes(np.asarray(profile.values), steps)
    best = mdm.plans.optimal(profile, steps)
    assert sizes.sum() == 64
    assert len(sizes) == steps
    assert minimal.expected_nelbo(np.asarray(profile.values), sizes) == pytest.approx(
        profile.expected_nelbo(best.sizes)
    )


def test_its_profile_is_the_laws():
    """4,000 rows of the urn, each count within 4 standard errors of the exact entropies."""
    rows = jnp.asarray(URN.sample(mdm.key(0), 4_000))
    for known, entropy in enumerate(URN.entropies()):
        revealed = jnp.full(len(rows), known)
        costs = np.asarray(minimal.cost(urn_logits, URN.params, rows, revealed, mdm.key(known), mask=2))
        assert abs(costs.mean() - entropy) <= 4 * costs.std() / np.sqrt(len(rows)) + 1e-6
    g = minimal.profile(urn_logits, URN.params, rows, mdm.key(1), mask=2)
    assert g == pytest.approx(URN.entropies(), abs=0.02)


def test_its_samples_follow_the_law_of_the_plan():
    """40,000 rows; each of 32 sentences within 4.5 standard errors of its exact probability."""
    sizes, count = np.array([1, 3, 1]), 40_000
    law = np.asarray(exact.random_order_law(exact.conditionals(URN.denoiser, URN.params, LENGTH), sizes))
    drawn = np.asarray(minimal.sample(urn_logits, URN.params, sizes, count, mdm.key(2), mask=2))
    words = np.array(list(itertools.product(range(2), repeat=LENGTH)))
    shares = (drawn[:, None] == words).all(axis=2).mean(axis=0)
    assert shares.sum() == 1
    assert (np.abs(shares - law) <= 4.5 * np.sqrt(law * (1 - law) / count)).all()


@pytest.mark.thorough
def test_its_network_learns_the_urn(capsys):
    """200 updates: below what a coin of known bias 1/2 costs (log 2), above what is possible."""
    params = minimal.train(minimal.draw(5_000, seed=0), jax.random.key(0), updates=200)
    g = minimal.profile(minimal.network, params, minimal.draw(1_000, seed=1), mdm.key(1))
    best = mdm.oracles.polya(64, 0.5).entropies()
    assert best.sum() - 0.5 < g.sum() < 0.8 * 64 * np.log(2)
    assert "update 200" in capsys.readouterr().out

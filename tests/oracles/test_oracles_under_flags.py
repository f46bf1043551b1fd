"""What an oracle draws depends on the key, not on a flag of JAX."""

import jax
import numpy as np
import pytest

from mdm_jax import oracles

KEY = jax.random.key(1)
ORACLES = {
    "urn": lambda: oracles.polya(4),
    "chain": lambda: oracles.markov(np.array([[0.9, 0.1], [0.2, 0.8]]), 4),
    "table": lambda: oracles.table(np.full(4, 0.25), 2),
    "mixture": lambda: oracles.mixture(np.array([0.3, 0.7]), np.full((2, 4, 3), 1 / 3)),
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.few(1)
def test_samples_are_the_same_without_partitionable_threefry(name):
    oracle = ORACLES[name]()
    usual = np.asarray(oracle.sample(KEY, 16))
    with jax.threefry_partitionable(False):
        np.testing.assert_array_equal(oracle.sample(KEY, 16), usual)

"""The experiment ``certificates_compared``: its parts by hand, and a verdict that can fail."""

import numpy as np
import pytest
import scipy.stats

from experiments import certificates_compared
from experiments.tools import profile_laws
from mdm_jax.theory import plans, profiles


@pytest.mark.core
def test_the_first_size_within_a_bound():
    bounds = np.array([[5.0, 1.0, 9.0], [2.0, 3.0, 9.0], [1.0, 1.0, 9.0]])
    found = certificates_compared.first_within(bounds, np.array([64, 128, 256]), 2.0)
    np.testing.assert_array_equal(found, [128, 64, 512])


@pytest.mark.core
def test_limits_of_blocks_hold_at_once():
    """Of 14 blocks of a doubling at d = 128 each limit fails with probability .05 / 14."""
    sigmas = certificates_compared.sigmas_of(128, 2.0)
    assert 14 * scipy.stats.norm.sf(sigmas) == pytest.approx(0.05)
    assert certificates_compared.bound(3.0, 8) == 2.0


@pytest.mark.core
def test_ratios_are_geometric_means():
    mean, low, high = certificates_compared.ratio_of(np.array([1.0, 4.0]), np.array([2.0, 2.0]))
    assert mean == pytest.approx(1)
    assert low < 0.5 < 2 < high


def test_both_bounds_of_a_law():
    law = profile_laws.random_table(9)
    found = certificates_compared.of_law(law, (8, 16), 2, 0)
    exact = profiles.from_values(law.profile)
    assert found["steps"] == 6
    assert found["lost"] == pytest.approx(plans.optimal(exact, 6).sizes @ law.profile[knots(exact)] - exact.nelbo())
    assert found["lost"] <= found["sharp"] <= found["limit"]  # each is a bound, the next one coarser
    assert min(found["theirs"]) > found["limit"]  # errors make theirs larger
    assert found["held"][1] == 4


def knots(exact):
    """Where the steps of the best plan of 6 start."""
    sizes = plans.optimal(exact, 6).sizes
    return np.cumsum(sizes) - sizes


def made_up(first=0.9, later=0.4, passes=0.5, ratio=4.51):
    law = {
        "steps": 16, "lost": 0.1, "limit": 1.0, "sharp": 0.3, "passes": [64, 512, 4096], "ours": [0.9, 0.4, 0.2],
        "theirs": [2.0, 1.5, 1.1], "ratio": [[first, 0.1, 5.0], [later, 0.1, 5.0], [0.1, 0.05, 0.2]],
        "ratio_of_passes": [passes, 0.1, 4.0], "fewest": 3, "never": 0, "held": [60, 60],
    }  # fmt: skip
    return {"ratios": {"0.01": ratio, "0.3": 2.16, "0.45": 1.65}, "laws": {"urn": law}}


@pytest.mark.core
@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "holds"),
        ({"first": 1.1}, "partly"),
        ({"later": 0.6}, "partly"),
        ({"passes": 1.3}, "partly"),
        ({"ratio": 4.6}, "does not"),
        ({"first": 1.1, "later": 0.6, "passes": 1.3}, "does not"),
    ],
)
def test_the_verdict_on_certificates(changed, verdict):
    assert certificates_compared.conclude(made_up(**changed)).verdict == verdict

"""What is no denoiser and no parameters, said in one sentence before anything is computed."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

from mdm_jax import models
from mdm_jax.models.denoiser import require_model
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.core


def look_up(params, tokens):
    return params["e"][tokens]


MODEL = models.from_function(look_up, 5)
check = getattr(require_model, "__wrapped__", require_model)


@pytest.mark.parametrize("params", [{"e": jnp.zeros((6, 5))}, {"e": np.zeros((6, 5))}, [1, 2.0], None, random.key(0)])
def test_a_denoiser_and_arrays_pass(params):
    assert check(MODEL, params) is None
    assert check(models.tempered(MODEL, 0.5), params) is None


@pytest.mark.parametrize("denoiser", [look_up, None, 3, "model", type(models.tempered(MODEL, 0.5)), type(MODEL)])
def test_what_is_no_denoiser_is_refused(denoiser):
    with pytest.raises(InputError, match="denoiser must be a denoiser, as"):
        check(denoiser, {})


@pytest.mark.parametrize("leaf", ["a", object(), look_up, np.array(["a"]), np.array([None])])
def test_what_is_no_array_is_refused(leaf):
    with pytest.raises(InputError, match="params must be a pytree of arrays"):
        check(MODEL, {"e": leaf})


def test_what_makes_no_array_becomes_one_of_objects():
    np.testing.assert_array_equal(as_array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]]))
    for given in ([[1], [2, 3]], random.key(0)):
        assert as_array(given).dtype == object
        assert as_array(given).shape == ()

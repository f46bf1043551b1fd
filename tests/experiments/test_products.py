"""The instrument that finds a program's matrix products and does them again."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.tools.products import again, each_alone, products_of


def network(kernel, inputs):
    """Two products forward, one of them in a loop of three; batched ones too."""
    hidden = jnp.tanh(inputs @ kernel)
    scores = jnp.einsum("rqf,rkf->rqk", hidden, hidden)
    looped, _ = jax.lax.scan(lambda carry, _: (carry @ kernel, None), hidden, None, 3)
    return jnp.sum(scores) + jnp.sum(looped)


def test_products_are_found_wherever_they_are_and_counted_as_operations():
    kernel, inputs = jnp.ones((4, 4)), jnp.ones((2, 3, 4))
    found = products_of(jax.jit(network), kernel, inputs)
    dense, attention = 2 * (2 * 3) * 4 * 4, 2 * 2 * 3 * 3 * 4
    assert sorted(one.operations for one in found) == sorted([dense] * 4 + [attention])
    # The gradient by the kernel: one for each product more, by the inputs of all but the first.
    gradient = products_of(jax.grad(network), kernel, inputs)
    assert sum(one.operations for one in gradient) == (4 + 4 + 3) * dense + 3 * attention


def test_each_is_done_as_often_as_said():
    """The sum over turns of each product's first number, on operands that do not change."""
    found = products_of(network, jnp.ones((4, 4)), jnp.ones((2, 3, 4)))
    once = float(again(found, 1)())
    assert np.isfinite(once)
    np.testing.assert_allclose(float(again(found, 5)()), 5 * once, rtol=1e-5)
    np.testing.assert_allclose(float(each_alone(found, 5)()), 5 * once, rtol=1e-5)

"""Global settings of JAX that would change what is computed here, or whether it can be, put aside for a while."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
import jax.core
import jax.dtypes
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh


@contextmanager
def usual(*given: Any) -> Iterator[None]:
    """Inside, no mesh is active (``jax.set_mesh``), and random bits are those of ``jax_threefry_partitionable``.

    What runs here says itself where it runs, so a mesh around it is somebody else's; and what a key gives must not
    depend on a flag. Outside of ``jit`` only.

    Args:
        given: what a function was called with that may be called while JAX traces: where any of it is traced, all stays
            as it is, since the program is then somebody else's.
    """
    with ExitStack() as stack:
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(given)):
            yield
            return
        if not jax.sharding.get_abstract_mesh().empty:
            stack.enter_context(jax.set_mesh(Mesh(np.empty((), object), ())))
        if not jax.config.jax_threefry_partitionable:  # pyright: ignore[reportAttributeAccessIssue]
            stack.enter_context(jax.threefry_partitionable(True))
        yield


def loose(tree: Any) -> Any:
    """A pytree whose arrays have no place of their own, where they were made under an active mesh and so lie on it.

    What is made within ``jax.set_mesh`` is bound to the mesh, numbers included, and cannot be computed with beside
    parameters that lie elsewhere. Arrays that are on one device, traced ones and what is no array stay as they are.
    """

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or isinstance(leaf, jax.core.Tracer):
            return leaf
        if len(leaf.sharding.device_set) == 1 or not leaf.is_fully_replicated:
            return leaf
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            words = jnp.asarray(np.asarray(jax.random.key_data(leaf)))
            return jax.random.wrap_key_data(words, impl=str(jax.random.key_impl(leaf)))
        return np.asarray(leaf)

    return jax.tree.map(one, tree)

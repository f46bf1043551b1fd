"""Global settings of JAX that would change what is computed here, or whether it can be, put aside for a while."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import jax
import numpy as np
from jax.sharding import Mesh


@contextmanager
def usual() -> Iterator[None]:
    """Inside, no mesh is active (``jax.set_mesh``), and random bits are those of ``jax_threefry_partitionable``.

    What runs here says itself where it runs, so a mesh around it is somebody else's; and what a key gives must not
    depend on a flag. Outside of ``jit`` only.
    """
    with ExitStack() as stack:
        if not jax.sharding.get_abstract_mesh().empty:
            stack.enter_context(jax.set_mesh(Mesh(np.empty((), object), ())))
        if not jax.config.jax_threefry_partitionable:  # pyright: ignore[reportAttributeAccessIssue]
            stack.enter_context(jax.threefry_partitionable(True))
        yield

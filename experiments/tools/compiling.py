"""Compilation as it is the first time, whatever other processes have kept."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache


@contextmanager
def compiled_anew() -> Iterator[None]:
    """Inside, JAX neither looks at its cache of compiled programs nor writes to it: what is found there takes no time.

    What this process has compiled is still at hand; :func:`jax.clear_caches` forgets it.
    """
    before = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()  # JAX asks once whether there is a cache
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        reset_cache()

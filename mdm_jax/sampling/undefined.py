"""Log-probabilities that are not defined: NaN, put in where ``jax_debug_nans`` does not take it for a fault."""

import jax
import jax.core
import jax.custom_batching
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def marked(log_prob: Float[Array, "*any"], undefined: Bool[Array, "*any"] | None) -> Float[Array, "*any"]:
    """``log_prob`` with NaN where it is undefined.

    Under ``jax_debug_nans``, which takes any NaN that JAX computed for a fault, it is put in on the host, but in code
    that is being compiled: there only what comes out is looked at.
    """
    if undefined is None:
        return log_prob
    if not jax.config.jax_debug_nans:  # pyright: ignore[reportAttributeAccessIssue]
        return jnp.where(undefined, np.float32(np.nan), log_prob)
    if isinstance(log_prob, jax.core.Tracer):
        return _marked_while_traced(log_prob, undefined)
    return jax.device_put(np.where(undefined, np.float32(np.nan), log_prob), log_prob.sharding)


@jax.custom_batching.custom_vmap
def _marked_while_traced(log_prob: Array, undefined: Array) -> Array:
    return jnp.where(undefined, np.float32(np.nan), log_prob)


@_marked_while_traced.def_vmap
def _marked_batch(size: int, batched: list[bool], log_prob: Array, undefined: Array) -> tuple[Array, bool]:
    """Under ``vmap`` alone nothing is compiled: the batch is a value, and marked like one."""
    del size
    log_prob, undefined = jnp.broadcast_arrays(
        *(value if is_batch else value[None] for value, is_batch in zip((log_prob, undefined), batched))
    )
    return marked(log_prob, undefined), True

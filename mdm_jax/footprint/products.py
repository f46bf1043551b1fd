"""Operations of matrix products, counted in the program that JAX traces: of any model, before anything is compiled."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from mdm_jax.support.errors import InputError

_OPAQUE = {
    *("call_exported", "ffi_call", "io_callback", "pallas_call", "pure_callback", "shard_map"),
    *("ragged_dot_general", "scaled_dot", "scaled_matmul_wrapper"),
    *("bcoo_dot_general", "bcoo_dot_general_sampled", "bcoo_spdot_general", "bcsr_dot_general"),
    *("coo_matmat", "coo_matvec", "csr_matmat", "csr_matvec"),
    *("dot_product_attention_fwd_wrapper", "dot_product_attention_bwd_wrapper"),
    *("dot_product_attention_fp8_fwd_wrapper", "dot_product_attention_fp8_bwd_wrapper", "rnn_bwd", "rnn_fwd"),
}
"""What may hold products that the traced program does not show, or shows for one device of many: calls of other
programs, products in groups or with scales, sparse ones, and cuDNN's."""


def matrix_products(function: Callable[..., Any], *inputs: Any) -> int:
    """Operations of the matrix products and convolutions of a function; a multiplication and an addition are two.

    The function is traced, not run: shapes are enough. What is in a loop counts as often as the loop runs, of branches
    the one with the most products counts, and of a convolution the padding too. Nothing else is counted: beside
    products of realistic widths, norms, softmax and the like are a few per cent.

    Args:
        function: of arrays, as ``jax.jit`` takes it; a gradient, say.
        inputs: arrays, or their shapes (``jax.ShapeDtypeStruct``), in any pytrees.

    Raises:
        InputError: products in a ``while_loop``, whose rounds only a run tells, or in what JAX cannot look into
            (a kernel, a callback, ``shard_map``, a sparse product, cuDNN's attention).

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> wide, high = jax.ShapeDtypeStruct((2, 5), jnp.float32), jax.ShapeDtypeStruct((5, 3), jnp.float32)
        >>> mdm.footprint.matrix_products(lambda a, b: jnp.tanh(a @ b).sum(), wide, high)  # 2 x 5 x 3, twice
        60
    """
    return _counted(jax.make_jaxpr(function)(*inputs).jaxpr)


def _counted(program: Jaxpr) -> int:
    return sum(map(_of_equation, program.eqns))


def _of_equation(equation: Any) -> int:
    name, told = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = told["dimension_numbers"]
        return 2 * equation.outvars[0].aval.size * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        return 2 * equation.outvars[0].aval.size * (kernel.size // kernel.shape[told["dimension_numbers"].rhs_spec[0]])
    if name in _OPAQUE:
        raise InputError(f"matrix products cannot be counted in a model with {name}, which hides what it does.")
    inside = [_counted(program) for program in _programs(told.values())]
    if name == "while" and any(inside):
        raise InputError(
            "matrix products cannot be counted in a while_loop, whose rounds only a run tells: make it a scan, or a "
            "fori_loop between two numbers."
        )
    if name == "cond":
        return max(inside)
    return sum(inside) * (told["length"] if name == "scan" else 1)


def _programs(values: Any) -> Iterator[Jaxpr]:
    """The programs among an equation's parameters."""
    for value in values:
        if isinstance(value, ClosedJaxpr | Jaxpr):
            yield value if isinstance(value, Jaxpr) else value.jaxpr
        elif isinstance(value, tuple | list):
            yield from _programs(value)

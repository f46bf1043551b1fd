"""The matrix products of a program, found in its jaxpr and done again alone: what no way of writing it can avoid."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array


class Product(NamedTuple):
    """One ``dot_general``: its operands as (shape, type), and how it contracts them."""

    operands: tuple[tuple[tuple[int, ...], str], tuple[tuple[int, ...], str]]
    dimension_numbers: Any

    @property
    def operations(self) -> int:
        """Additions and multiplications."""
        (left, _), (right, _) = self.operands
        (contracted, _), (batched, _) = self.dimension_numbers
        shared = math.prod(left[axis] for axis in (*contracted, *batched))
        return 2 * math.prod(left) * math.prod(right) // shared


def products_of(function: Callable[..., Any], *arguments: Any) -> list[Product]:
    """Every matrix product that ``function(*arguments)`` does, as often as it does it.

    Loops of unknown length count once.
    """
    return list(_walk(jax.make_jaxpr(function)(*arguments).jaxpr))


def _walk(jaxpr: Jaxpr) -> Iterator[Product]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            left, right = ((one.aval.shape, str(one.aval.dtype)) for one in equation.invars)  # pyright: ignore[reportAttributeAccessIssue]
            yield Product((left, right), equation.params["dimension_numbers"])
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in (one for value in equation.params.values() for one in _jaxprs(value)):
            for _ in range(times):
                yield from _walk(inner)


def _jaxprs(value: Any) -> list[Jaxpr]:
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    return [one for item in value for one in _jaxprs(item)] if isinstance(value, tuple | list) else []


def again(products: list[Product], times: int) -> Callable[[], Any]:
    """A function that does all of them ``times`` times in one compiled program, each on operands of its own."""
    operands = [_operands(product) for product in products]
    compiled = jax.jit(lambda operands: _repeated(products, operands, times))
    return lambda: jax.block_until_ready(compiled(operands))


def each_alone(products: list[Product], times: int) -> Callable[[], Any]:
    """The same, but one after the other, each ``times`` times before the next: its operands are in the cache."""
    counts = {product: products.count(product) for product in dict.fromkeys(products)}
    operands = [_operands(product) for product in counts]

    def all_of_them(operands: list[Any]) -> Array:
        total = jnp.float32(0)
        for (product, count), pair in zip(counts.items(), operands, strict=True):
            total = total + _repeated([product], [jax.lax.optimization_barrier((pair, total))[0]], count * times)
        return total

    compiled = jax.jit(all_of_them)
    return lambda: jax.block_until_ready(compiled(operands))


def _operands(product: Product) -> list[Array]:
    generator = np.random.default_rng(0)
    return [jnp.asarray(generator.standard_normal(shape), kind) for shape, kind in product.operands]


def _repeated(products: list[Product], operands: list[Any], times: int) -> Array:
    def once(_: Any, carry: tuple[Any, Array]) -> tuple[Any, Array]:
        # What passes a barrier with the running sum is another array in each turn, and no part of it can be left out.
        operands, total = jax.lax.optimization_barrier(carry)
        made = [
            jax.lax.dot_general(left, right, product.dimension_numbers)
            for product, (left, right) in zip(products, operands, strict=True)
        ]
        return operands, total + sum(one.ravel()[0] for one in jax.lax.optimization_barrier(made))

    return jax.lax.fori_loop(0, times, once, (operands, jnp.float32(0)))[1]

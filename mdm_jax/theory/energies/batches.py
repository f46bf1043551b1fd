"""The energies of any number of schedules, and their gradients, with one executable."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mdm_jax.support.errors import require
from mdm_jax.theory.energies.mask_energies import kinetic
from mdm_jax.theory.numerics import quadrature
from mdm_jax.theory.schedules import Geometric, Schedule, SineSquared, checked_schedule
from mdm_jax.theory.schedules.checks import check_numbers

CHUNK, BLOCK = 16384, 2048
"""Schedules per call of the executable in :func:`batch`, and how many of them it works on at a time (powers of 2)."""
_FEW = 4


def batch(
    stack: Schedule, weight: Schedule | None = None, energy: Callable[..., Array] = kinetic, gradient: bool = False
) -> Any:
    """The energies of a whole stack of schedules, and their gradients; any number of them with one executable.

    For the host: under ``jit`` use ``jax.vmap``.

    Args:
        stack: a schedule whose leaves have a leading axis (``beta(a_values, b_values)``).
        weight: one weight for all; ``sine_squared()`` if left out.
        energy: ``energy(schedule, weight) -> float[]``.
        gradient: return the gradient in the schedules' numbers as well.

    Returns:
        float[stack], or that and a schedule whose leaves are the gradients. NaN where a pair is not resolved, and where
        :func:`kinetic` would refuse the numbers of a family.

    Raises:
        InputError: leaves without a common leading axis, or nothing in it.

    Example:
        >>> import jax.numpy as jnp, mdm_jax as mdm
        >>> values, slopes = mdm.energies.batch(mdm.schedules.beta(jnp.array([0.9, 1.0]), 1.0), gradient=True)
        >>> values.tolist(), slopes.a.shape  # the second schedule is the optimum, pi^2
        ([9.99..., 9.8696], (2,))
    """
    require(isinstance(stack, Schedule), "stack", stack, "a Schedule")
    weight = SineSquared() if weight is None else checked_schedule(weight, "weight")
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(stack)}
    require(len(sizes) == 1 and () not in sizes, "stack", stack, "a schedule whose leaves share one leading axis")
    ((count,),) = sizes
    require(count > 0, "stack", stack, "at least one schedule")
    block = _block(stack, weight)
    leaves, parts = jax.tree.map(_on_host, stack), []  # NumPy slices; JAX's eager ones cost more than the energies
    for start in range(0, count, CHUNK):
        part = jax.tree.map(lambda leaf, start=start: _padded(leaf[start : start + CHUNK]), leaves)
        parts.append(_chunk(energy, gradient, block, part, weight, -(-min(CHUNK, count - start) // block)))
    found = jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *parts)
    impossible = _impossible(stack, leaves)
    if not impossible.any():
        return found
    return jax.tree.map(lambda x: jnp.where(impossible.reshape(-1, *(1,) * (x.ndim - 1)), jnp.nan, x), found)


def _impossible(stack: Schedule, leaves: Schedule) -> np.ndarray:
    """Which schedules of a stack have numbers that are no positive, finite ones, where they must be: bool[stack]."""
    numbers = [np.asarray(leaf) for leaf in jax.tree.leaves(leaves)]
    known = type(stack)._check is check_numbers or type(stack) is Geometric
    bad = [~(np.isfinite(x) & (x > 0)) for x in numbers if x.ndim == 1] if known else []
    if type(stack) is Geometric:
        bad.append(~(np.asarray(leaves.sigma_min) < np.asarray(leaves.sigma_max)))  # pyright: ignore[reportAttributeAccessIssue]
    return np.any(bad, axis=0) if bad else np.zeros(len(numbers[0]), bool)


def _block(stack: Schedule, weight: Schedule) -> int:
    """How many schedules to work on at a time: fewer, where tables make many nodes of one."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf)[1:], float), stack)

    def nodes(schedule: Schedule, weight: Schedule) -> Array:
        return quadrature.nodes(quadrature.merge(schedule.pieces(), weight.pieces()))[0]

    fewest = len(quadrature.nodes()[0])
    crowd = jax.eval_shape(nodes, one, weight).shape[0] / fewest
    return max(1, BLOCK >> math.ceil(math.log2(max(crowd, 1))))


def _on_host(leaf: Array) -> np.ndarray:
    return np.asarray(leaf, dtype=jax.dtypes.canonicalize_dtype(float))


def _padded(leaf: np.ndarray) -> np.ndarray:
    missing = CHUNK - len(leaf)
    return np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)]) if missing else leaf


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _chunk(
    energy: Callable[..., Array], gradient: bool, block: int, stack: Schedule, weight: Schedule, blocks: Array | int
) -> Any:
    """The first ``blocks`` blocks, one after another: what is in hand stays in cache."""
    many = jax.vmap(functools.partial(_value_and_slopes, energy) if gradient else energy, in_axes=(0, None))
    parts = jax.tree.map(lambda leaf: leaf.reshape(-1, block, *leaf.shape[1:]), stack)
    values = jnp.zeros((CHUNK // block, block), float)
    start = (values, jax.tree.map(jnp.zeros_like, parts)) if gradient else values

    def one(i: Array, done: Any) -> Any:
        answer = many(jax.tree.map(lambda leaf: leaf[i], parts), weight)
        return jax.tree.map(lambda whole, part: whole.at[i].set(part), done, answer)

    done = jax.lax.fori_loop(0, blocks, one, start)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), done)


def _value_and_slopes(energy: Callable[..., Array], schedule: Schedule, weight: Schedule) -> tuple[Array, Schedule]:
    """For a few numbers, derivatives forwards cost less than one backwards: nothing has to be kept."""
    leaves, tree = jax.tree.flatten(schedule)
    if any(jnp.ndim(leaf) for leaf in leaves) or len(leaves) > _FEW:
        return jax.value_and_grad(energy)(schedule, weight)
    value, push = jax.linearize(lambda *leaves: energy(jax.tree.unflatten(tree, leaves), weight), *leaves)
    units = np.eye(len(leaves), dtype=value.dtype)
    return value, jax.tree.unflatten(tree, [push(*map(jnp.asarray, unit)) for unit in units])

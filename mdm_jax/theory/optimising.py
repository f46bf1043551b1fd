r"""The schedule of least energy within a family, by gradients: ``minimise(energy, start)``.

Everything happens in the free real coordinates of the family (:meth:`Schedule.coordinates`: logarithms of positive
parameters, logits of a table), so that no step leaves the family and none is too short for a small parameter. The
energy is any differentiable function of a schedule: an energy of :mod:`mdm_jax.theory.energies`, an
:func:`mdm_jax.theory.actions.action`, what a plan costs.

Of the families here, only the free table (:func:`mdm_jax.theory.schedules.free`) finds the theorem's answer
``alpha = sin^2(pi/2 gamma)`` for every ``gamma``, and that up to its cells: among schedules whose angle is straight
between the knots, the energy ``pi^2 sum_k rise_k^2 m_k``, with ``m_k = width_k^-2 integral over cell k of dt / gamma'``,
is least at ``rise_k`` proportional to ``1 / m_k``.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int

from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.theory.schedule import Schedule, as_float

STEPS = 1000
"""What :func:`minimise` may take by default. Families of a few numbers need about 10, a free table of 64 cells 30."""
_PATIENCE = 5
_PATIENCE_WITH_OTHERS = 100
"""Steps without progress before giving up. (Optimisers without a line search go up and down.)"""
_ROUNDINGS, _NOISE = 16, 256
"""Relative machine epsilons by which an energy must fall to count as lower, and may rise by bad luck in its rounding."""
_DOUBLINGS = 12
"""How far from a start of infinite energy a finite one is looked for."""
_REACH = 2.0
"""The longest first try of a line search, per coordinate (root mean square): a factor of ``e^2`` in a parameter."""


class Minimum(NamedTuple):
    """What :func:`minimise` found.

    Attributes:
        schedule: of the family of the start; the best schedule that was seen.
        energy: float[], its energy.
        gradient_norm: float[], the Euclidean norm of the energy's gradient there, in the schedule's coordinates.
        steps: int32[], steps of the optimiser that were taken.
        converged: bool[], whether the gradient is nothing but rounding (see :func:`minimise`). It is not if ``steps``
            ran out first, or where the energy has a kink or falls for ever.
    """

    schedule: Schedule
    energy: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    steps: Int[Array, ""]
    converged: Bool[Array, ""]


def minimise(
    energy: Callable[[Schedule], Any],
    start: Schedule,
    steps: int = STEPS,
    tolerance: float | int | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> Minimum:
    """The schedule of least ``energy`` that gradients lead to from ``start``, in the family of ``start``.

    A pure function: ``jit`` it, ``vmap`` it over a stack of starts. It is compiled once per energy function and family;
    so name the function (or keep it) rather than write the same ``lambda`` again. Numbers in which it differs from call
    to call, or is batched, go into a ``jax.tree_util.Partial``: ``Partial(energies.kinetic, weight=schedules.beta(a, b))``
    has one executable for all ``(a, b)``.

    **Start.** Where its energy is not finite, its coordinates are raised, else lowered, by a growing number of
    ``log 2``, each alone or all together, until it is. In families of positive parameters that doubles or halves
    parameters, and an energy is finite once the exponents of a schedule at its ends are large enough.

    **Stop.** When ``gradient_norm <= tolerance * scale`` with ``scale = max(|energy|, min(1, |energy at the start|))``,
    or when in 5 steps (100 with an ``optimizer`` of yours) neither the energy fell by 16 machine epsilons nor the gradient by
    half. The result has converged in the first case, and in the second if the gradient is below
    ``4 sqrt(machine epsilon) * scale``: what it still promises is then lost in the rounding of the energy.

    Args:
        energy: ``energy(schedule) -> float[]``, differentiable in JAX; it may be infinite or NaN somewhere.
        start: any schedule with numbers to change (``linear``, say, has none). ``vmap`` for a stack.
        steps: the most steps to take.
        tolerance: as above; machine epsilon to the power 3/4 if left out (6e-6 in float32, 2e-12 in float64).
        optimizer: an Optax optimiser; L-BFGS with a zoom line search, started afresh when it stalls, if left out.
            Steps to where the energy is not finite are taken back and tried at half the length.

    Raises:
        InputError: an energy that is not a function of a schedule to a real number, a start that is no schedule, that
            has no numbers, or near which no finite energy is found. (Under ``jit`` and ``vmap`` that last one cannot be
            seen: there it gives the start, its energy, and ``converged`` false.)

    >>> from mdm_jax.theory import energies, schedules
    >>> best = minimise(energies.kinetic, schedules.beta(0.2, 3.0))  # gamma = t
    >>> round(float(best.schedule.a), 3), round(float(best.schedule.b), 3), round(float(best.energy / np.pi**2), 4)
    (1.0, 1.0, 1.0)
    """
    require(callable(energy), "energy", energy, "a function of a schedule")
    require(isinstance(start, Schedule), "start", start, "a Schedule")
    require(steps >= 0, "steps", steps, "at least 0")
    require(tolerance is None or tolerance >= 0, "tolerance", tolerance, "at least 0")
    if not jax.tree.leaves(start.coordinates()):
        raise InputError(f"start must have numbers to change; {start.name} has none.")
    if tolerance is None:
        tolerance = float(jnp.finfo(as_float(0).dtype).eps) ** 0.75
    function = energy if isinstance(energy, Partial) else Partial(energy)
    minimum = _minimise(function, start, jnp.int32(steps), as_float(tolerance), optimizer)
    if not isinstance(minimum.energy, jax.core.Tracer) and not np.isfinite(minimum.energy):
        raise InputError(f"start must have a finite energy, or one near it; that of {start.name} is {minimum.energy}.")
    return minimum


class _Point(NamedTuple):
    """Coordinates, the energy there, and its gradient."""

    at: Any
    value: Array
    gradient: Any


class _State(NamedTuple):
    point: _Point
    best: _Point
    low: Array
    flattest: Array
    memory: Any
    shrink: Array
    idle: Array
    steps: Array


@functools.partial(jax.jit, static_argnums=4)
def _minimise(
    energy: Partial, start: Schedule, steps: Array, tolerance: Array, optimizer: optax.GradientTransformation | None
) -> Minimum:
    _check(energy, start)
    coordinates = jax.tree.map(as_float, start.coordinates())
    eps = jnp.finfo(as_float(0).dtype).eps
    own = optimizer is None
    optimiser = optax.with_extra_args_support(_lbfgs(coordinates) if optimizer is None else optimizer)
    patience = _PATIENCE if own else _PATIENCE_WITH_OTHERS

    def height(at: Any) -> Array:
        return as_float(energy(start.at_coordinates(at)))

    def look(at: Any) -> _Point:
        return _Point(at, *jax.value_and_grad(height)(at))

    first = _finite_start(look, coordinates)
    floor = jnp.minimum(1.0, jnp.abs(first.value))

    def scale(point: _Point) -> Array:
        return jnp.maximum(jnp.abs(point.value), floor)

    def going(state: _State) -> Array:
        flat = optax.tree.norm(state.best.gradient) <= tolerance * scale(state.best)
        return (state.steps < steps) & (state.idle < patience) & ~flat & _usable(state.best)

    def step(state: _State) -> _State:
        old = state.point
        updates, memory = optimiser.update(
            old.gradient, state.memory, old.at, value=old.value, grad=old.gradient, value_fn=height
        )
        at = jax.tree.map(lambda x, update: x + state.shrink * update, old.at, updates)
        new = _Point(at, memory[-1].value, memory[-1].grad) if own else look(at)
        usable = _usable(new)
        rounding = eps * jnp.abs(state.low)
        level = _usable(new) & (new.value <= state.low + _NOISE * rounding)
        norm = optax.tree.norm(new.gradient)
        if own:  # the line search, at its wit's end, goes uphill
            usable = level
        lower = usable & (new.value < state.low - _ROUNDINGS * rounding)
        progress = usable & (lower | (norm < 0.5 * state.flattest))
        # Where the energies are equal as far as one can tell, the gradients tell.
        better = lower | (level & (norm < optax.tree.norm(state.best.gradient)))
        point = _where(usable, new, old)
        if own:
            memory = _where(usable & (_norm(new.at, old.at) > 0), memory, optimiser.init(point.at))
        else:
            memory = _where(usable, memory, state.memory)
        return _State(
            point=point,
            best=_where(better, new, state.best),
            low=jnp.where(progress, jnp.minimum(new.value, state.low), state.low),
            flattest=jnp.where(progress, jnp.minimum(norm, state.flattest), state.flattest),
            memory=memory,
            shrink=state.shrink if own else jnp.where(usable, jnp.minimum(2 * state.shrink, 1.0), 0.5 * state.shrink),
            idle=jnp.where(progress, 0, state.idle + 1),
            steps=state.steps + 1,
        )

    one, none = jnp.ones_like(first.value), jnp.zeros_like(steps)
    norm = optax.tree.norm(first.gradient)
    memory = optimiser.init(coordinates)
    state = jax.lax.while_loop(going, step, _State(first, first, first.value, norm, memory, one, none, none))
    best, norm = state.best, optax.tree.norm(state.best.gradient)
    stalled = (state.idle >= patience) & (norm <= 4 * eps**0.5 * scale(best))
    found = _usable(best)
    return Minimum(
        schedule=start.at_coordinates(best.at),
        energy=best.value,
        gradient_norm=jnp.where(found, norm, jnp.inf),
        steps=state.steps,
        converged=found & (stalled | (norm <= tolerance * scale(best))),
    )


def _check(energy: Partial, start: Schedule) -> None:
    given = jax.eval_shape(energy, start)
    shape, dtype = getattr(given, "shape", None), getattr(given, "dtype", None)
    if shape != () or not jnp.issubdtype(dtype, jnp.floating):
        shown = f"{shape} of {dtype}" if shape is not None else f"a {type(given).__name__}"
        shown += " (vmap minimise over a stack of starts)" if shape else ""
        require(False, "energy", verbatim(shown), "a function of one schedule to one real number, float[]")


def _lbfgs(coordinates: Any) -> optax.GradientTransformation:
    """L-BFGS with a zoom line search whose first try is within :data:`_REACH`.

    The line search takes infinite and NaN energies for too long a step.
    """
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(coordinates))
    return optax.chain(
        optax.scale_by_lbfgs(),
        optax.scale(-1.0),
        optax.clip_by_global_norm(_REACH * count**0.5),
        optax.scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one"),
    )


def _finite_start(look: Callable[[Any], _Point], coordinates: Any) -> _Point:
    """``coordinates``, or the nearest of the places described in :func:`minimise` with a finite energy and gradient."""
    leaves, structure = jax.tree.flatten(coordinates)
    doublings = range(_DOUBLINGS + 1)
    if len(leaves) <= 2:
        ups = sorted(itertools.product(doublings, repeat=len(leaves)), key=lambda up: (max(up), sum(up)))
    else:
        ups = [n * way for n in doublings for way in (*np.eye(len(leaves)), np.ones(len(leaves)))]
    shifts = as_float(np.log(2) * np.concatenate([ups, np.negative(ups)]))

    def searching(state: tuple[Array, _Point]) -> Array:
        place, point = state
        return (place < len(shifts) - 1) & ~_usable(point)

    def move(state: tuple[Array, _Point]) -> tuple[Array, _Point]:
        place = state[0] + 1
        return place, look(structure.unflatten([leaf + shifts[place, i] for i, leaf in enumerate(leaves)]))

    nowhere = _Point(coordinates, jnp.full((), jnp.inf, float), coordinates)
    _, point = jax.lax.while_loop(searching, move, (jnp.int32(-1), nowhere))
    return _where(_usable(point), point, nowhere)


def _usable(point: _Point) -> Array:
    """Whether the energy and its gradient are finite."""
    return jnp.isfinite(point.value) & jnp.isfinite(optax.tree.norm(point.gradient))


def _norm(left: Any, right: Any) -> Array:
    return optax.tree.norm(jax.tree.map(jnp.subtract, left, right))


def _where(condition: Array, left: Any, right: Any) -> Any:
    return cast(Any, jax.tree.map(functools.partial(jnp.where, condition), left, right))

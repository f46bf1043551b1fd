r"""The schedule of least energy within a family, by gradients: ``minimise(energy, start)``.

Everything happens in the free real coordinates of the family (:meth:`Schedule.coordinates`: logarithms of positive
parameters, logits of a table), so that no step leaves the family and none is too short for a small parameter. The
energy is any differentiable function of a schedule: an energy of :mod:`mdm_jax.theory.energies`, an
:func:`mdm_jax.theory.energies.action`, what a plan costs.

Of the families here, only the free table (:func:`mdm_jax.theory.schedules.free`) finds the theorem's answer
``alpha = sin^2(pi/2 gamma)`` for every ``gamma``, and that up to its cells: among schedules whose angle is straight
between the knots, the energy ``pi^2 sum_k rise_k^2 m_k`` (``m_k = width_k^-2 integral over cell k of dt / gamma'``) is
least at ``rise_k`` proportional to ``1 / m_k``.
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

from mdm_jax.support.arrays import described
from mdm_jax.support.errors import InputError, require, require_number, require_whole, verbatim
from mdm_jax.theory.numerics.given import as_float
from mdm_jax.theory.schedules.base import Schedule, checked_schedule

STEPS = 1000
"""What :func:`minimise` may take by default. Families of a few numbers need about 10, a free table of 64 cells 30."""
_PATIENCE = 5
_PATIENCE_WITH_OTHERS = 100
"""Steps without progress before giving up. (Optimisers without a line search go up and down.)"""
_ROUNDINGS, _NOISE = 16, 256
"""Relative machine epsilons by which an energy must fall to count as lower, and by which rounding may raise it."""
_DOUBLINGS = 12
"""How far from a start of infinite energy a finite one is looked for."""
_REACH = 2.0
"""The longest step, per coordinate (root mean square): a factor of ``e^2`` in a parameter."""
_TRIES = 20


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

    def __repr__(self) -> str:
        """Its numbers; of arrays shape and range."""
        return f"Minimum({', '.join(f'{name}={described(value)}' for name, value in self._asdict().items())})"


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
    to call, or is batched, go into a ``jax.tree_util.Partial``: ``Partial(energies.kinetic, weight=beta(a, b))``
    has one executable for all ``(a, b)``.

    **Start.** Where its energy is not finite, its coordinates are raised, else lowered, by a growing number of
    ``log 2``, each alone or all together, until it is. In families of positive parameters that doubles or halves
    parameters, and an energy is finite once the exponents of a schedule at its ends are large enough.

    **Stop.** When ``gradient_norm <= tolerance * scale`` with ``scale = max(|energy|, min(1, |energy at the start|))``,
    or when in 5 steps (100 with an ``optimizer`` of yours) neither the energy fell by 16 relative machine epsilons nor
    the gradient by half. The result has converged in the first case, and in the second if the gradient is below
    ``4 sqrt(machine epsilon) * scale``: what it still promises is then lost in the rounding of the energy.

    Args:
        energy: ``energy(schedule) -> float[]``, differentiable in JAX; it may be infinite or NaN somewhere.
        start: any schedule with numbers to change (``linear``, say, has none). ``vmap`` for a stack.
        steps: the most steps to take.
        tolerance: as above; machine epsilon to the power 3/4 if left out (6e-6 in float32, 2e-12 in float64).
        optimizer: an Optax optimiser (keep the object: another one compiles anew); L-BFGS with a backtracking line
            search if left out. With one of yours, steps to where the energy is not finite are taken back and tried at
            half the length.

    Raises:
        InputError: an energy that is not a function of a schedule to a real number, a start that is no schedule, that
            has no numbers, or near which no finite energy is found. (Under ``jit`` and ``vmap`` that last one cannot be
            seen: there it gives the start, its energy, and ``converged`` false.)

    Example:
        >>> import mdm_jax as mdm
        >>> best = mdm.energies.minimise(mdm.energies.kinetic, mdm.schedules.beta(0.2, 3.0))  # gamma = t
        >>> round(float(best.schedule.a), 3), round(float(best.schedule.b), 3), float(best.energy)  # the last is pi^2
        (1.0, 1.0, 9.8696)
    """
    require(callable(energy), "energy", energy, "a function of a schedule")
    checked_schedule(start, "start")
    steps = require_whole("steps", steps, 0, 2**31 - 1)
    if tolerance is not None:
        require_number("tolerance", tolerance, 0, np.inf, "a number of at least 0")
    if not jax.tree.leaves(start.coordinates()):
        raise InputError(f"start must have numbers to change; {start.name} has none.")
    tightness = jnp.finfo(as_float(0).dtype).eps ** 0.75 if tolerance is None else tolerance
    function = energy if isinstance(energy, Partial) else Partial(energy)
    minimum = _minimise(function, start, jnp.int32(steps), as_float(tightness), optimizer)
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
    direction: Any
    rate: Array
    memory: Any
    best: _Point
    floor: Array
    low: Array
    flattest: Array
    place: Array
    tries: Array
    idle: Array
    steps: Array


@functools.partial(jax.jit, static_argnums=4)
def _minimise(
    energy: Partial, start: Schedule, steps: Array, tolerance: Array, optimizer: optax.GradientTransformation | None
) -> Minimum:
    # One loop in which the energy and its gradient are written once: they are most of what there is to compile.
    _check(energy, start)
    coordinates = jax.tree.map(as_float, start.coordinates())
    eps = jnp.finfo(as_float(0).dtype).eps
    own = optimizer is None
    optimiser = optax.with_extra_args_support(optax.lbfgs(linesearch=None) if optimizer is None else optimizer)
    patience = _PATIENCE if own else _PATIENCE_WITH_OTHERS
    reach = _REACH * sum(np.size(leaf) for leaf in jax.tree.leaves(coordinates)) ** 0.5
    shifts = _shifts(coordinates)
    places = len(jax.tree.leaves(shifts)[0])

    def height(at: Any) -> Array:
        return as_float(energy(start.at_coordinates(at)))

    def scale(state: _State) -> Array:
        return jnp.maximum(jnp.abs(state.best.value), state.floor)

    def going(state: _State) -> Array:
        flat = _norm(state.best.gradient) <= tolerance * scale(state)
        onward = (state.steps < steps) & (state.idle < patience) & ~flat
        return jnp.where(_usable(state.point), onward, state.place < places)

    def turn(state: _State) -> _State:
        old, direction = state.point, state.direction
        seeking = ~_usable(old)  # a place where the energy is finite
        at = jax.tree.map(lambda x, step: x + state.rate * step, old.at, direction)
        new = _Point(at, *jax.value_and_grad(height)(at))
        rounding = eps * jnp.abs(state.low)
        level = new.value <= state.low + _NOISE * rounding
        slope, new_slope = _dot(direction, old.gradient), _dot(direction, new.gradient)
        accept = _usable(new)
        if own:  # Armijo's condition or, where roundings decide it, that of Hager and Zhang
            lower = new.value <= old.value + 1e-4 * state.rate * slope
            accept = accept & (seeking | lower | (level & (new_slope <= -0.9998 * slope)))
        found, stuck = seeking & accept, ~seeking & ~accept & (state.tries >= _TRIES)
        moved = accept | stuck if own else accept
        point = _where(accept, new, old)

        afresh = found
        if own:  # a pair of negative curvature, or a direction that leads nowhere
            afresh = found | stuck | (accept & (new_slope <= slope))
        memory = _where(afresh, optimiser.init(point.at), state.memory)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes types
            ahead, memory = optimiser.update(
                point.gradient, memory, point.at, value=point.value, grad=point.gradient, value_fn=height
            )
        if own:
            downhill = _dot(ahead, point.gradient) < 0
            ahead = _where(downhill, ahead, jax.tree.map(jnp.negative, point.gradient))
            ahead = _of_length(ahead, jnp.where(afresh | ~downhill, 1.0, jnp.minimum(_norm(ahead), reach)))
            bracketed = _usable(new) & (new_slope > 0)
            secant = jnp.clip(slope / jnp.where(bracketed, slope - new_slope, 1.0), 0.1, 0.5)
            shorter, longer = state.rate * jnp.where(bracketed, secant, 0.25), jnp.ones_like(state.rate)
        else:
            shorter, longer = 0.5 * state.rate, jnp.minimum(2 * state.rate, 1.0)
        elsewhere = jax.tree.map(lambda shift: shift[jnp.minimum(state.place + 1, places - 1)], shifts)

        norm = _norm(new.gradient)
        fall = accept & (new.value < state.low - _ROUNDINGS * rounding)
        progress = found | fall | (accept & (norm < 0.5 * state.flattest))
        # Where the energies are equal as far as one can tell, the gradients tell.
        better = found | fall | (accept & level & (norm < _norm(state.best.gradient)))
        counted = (~seeking & moved if own else ~seeking).astype(jnp.int32)
        return _State(
            point=point,
            direction=_where(moved, ahead, _where(seeking, elsewhere, direction)),
            rate=jnp.where(moved, longer, jnp.where(seeking, 1.0, shorter)),
            memory=_where(moved, memory, state.memory),
            best=_where(better, new, state.best),
            floor=jnp.where(found, jnp.minimum(1.0, jnp.abs(new.value)), state.floor),
            low=jnp.where(progress, jnp.minimum(new.value, state.low), state.low),
            flattest=jnp.where(progress, jnp.minimum(norm, state.flattest), state.flattest),
            place=state.place + seeking.astype(jnp.int32),
            tries=jnp.where(moved | seeking, 0, state.tries + 1),
            idle=jnp.where(progress, 0, state.idle + counted),
            steps=state.steps + counted,
        )

    one, none, inf = jnp.ones_like(tolerance), jnp.zeros_like(steps), jnp.full_like(tolerance, jnp.inf)
    nowhere = _Point(coordinates, inf, coordinates)
    stay = jax.tree.map(lambda shift: shift[0], shifts)
    memory = optimiser.init(coordinates)
    state = _State(nowhere, stay, one, memory, nowhere, one, inf, inf, none, none, none, none)
    state = jax.lax.while_loop(going, turn, state)
    best, norm = state.best, _norm(state.best.gradient)
    stalled = (state.idle >= patience) & (norm <= 4 * eps**0.5 * scale(state))
    found = _usable(best)
    return Minimum(
        schedule=start.at_coordinates(best.at),
        energy=best.value,
        gradient_norm=jnp.where(found, norm, jnp.inf),
        steps=state.steps,
        converged=found & (stalled | (norm <= tolerance * scale(state))),
    )


def _check(energy: Partial, start: Schedule) -> None:
    given = jax.eval_shape(energy, start)
    shape, dtype = getattr(given, "shape", None), getattr(given, "dtype", None)
    if shape != () or dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        shown = f"{shape} of {dtype}" if shape is not None else f"a {type(given).__name__}"
        shown += " (vmap minimise over a stack of starts)" if shape else ""
        require(False, "energy", verbatim(shown), "a function of one schedule to one real number, float[]")


def _shifts(coordinates: Any) -> Any:
    """What to add to ``coordinates``, from nothing on, in search of a finite energy; :func:`minimise` says what."""
    leaves, structure = jax.tree.flatten(coordinates)
    doublings = range(_DOUBLINGS + 1)
    if len(leaves) <= 2:
        ups = sorted(itertools.product(doublings, repeat=len(leaves)), key=lambda up: (max(up), sum(up)))
    else:
        ups = [n * way for n in doublings for way in (*np.eye(len(leaves)), np.ones(len(leaves)))]
    table = as_float(np.log(2) * np.concatenate([ups, np.negative(ups)]))

    def along(leaf: Array, shift: Array) -> Array:
        return jnp.broadcast_to(shift.reshape((-1,) + (1,) * leaf.ndim), shift.shape + leaf.shape)

    return structure.unflatten([along(leaf, table[:, i]) for i, leaf in enumerate(leaves)])


def _usable(point: _Point) -> Array:
    """Whether the energy and its gradient are finite."""
    return jnp.isfinite(point.value) & jnp.isfinite(_norm(point.gradient))


def _norm(tree: Any) -> Array:
    return cast(Array, optax.tree.norm(tree))


def _dot(left: Any, right: Any) -> Array:
    return cast(Array, optax.tree.vdot(left, right))


def _of_length(tree: Any, length: Array) -> Any:
    norm = _norm(tree)
    return jax.tree.map(lambda x: x * (length / jnp.where(norm > 0, norm, 1.0)), tree)


def _where(condition: Array, left: Any, right: Any) -> Any:
    return cast(Any, jax.tree.map(functools.partial(jnp.where, condition), left, right))

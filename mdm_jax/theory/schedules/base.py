r"""What a mask schedule is: the base classes that every family shares.

**The convention, stated once.** Time ``t`` runs with generation: at ``t = 0`` every token is masked, at ``t = 1`` all
are revealed. ``alpha(t)`` is the probability that a token is *revealed* at time ``t``; it rises from 0 to 1 (the
convention of arXiv 2509.13866, section 2). Nothing in this package uses the reversed time.

A schedule is a frozen dataclass whose numbers are JAX leaves, so schedules can be stacked, ``vmap``-ped over and
differentiated. ``alpha`` is enough to define one (subclass :class:`Schedule`); everything else follows from it, and
the built-in families override what has a closed form. Companions of ``alpha`` keep the digits that ``alpha`` itself
loses near the ends: ``one_minus_alpha``, and the angle ``theta(t) = (2/pi) arcsin sqrt(alpha(t))``, the coordinate in
which the Fisher-Rao metric of a mask bit is flat.

Values at ``t = 0`` and ``t = 1`` are the mathematical limits (infinite where the limit is).
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar, dataclass_transform

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.support.arrays import described
from mdm_jax.support.errors import require
from mdm_jax.theory.numerics.given import as_float
from mdm_jax.theory.schedules.checks import check_companions, check_rise
from mdm_jax.theory.schedules.inheriting import before, forget_older, own

HALF_PI = 0.5 * np.pi
"""From an angle ``theta`` between 0 and 1 to radians."""
_BISECTIONS = 40
_NEAR = 1e-30
"""A time so early that what is left of a power law there is its leading term."""


@dataclass_transform(frozen_default=True, kw_only_default=False)
@dataclasses.dataclass(frozen=True)
class Schedule:
    """A mask schedule ``alpha: [0, 1] -> [0, 1]``, increasing, with ``alpha(0) = 0`` and ``alpha(1) = 1``.

    Methods take times of any shape, ``float[...]``, and return the same shape; parameters are scalars (stack
    schedules and use ``jax.vmap`` for many of them). To define your own, subclass and write :meth:`alpha`; annotated
    names are its numbers, as in a dataclass (every subclass becomes one, and a pytree).

    A subclass of a family that writes another ``alpha`` (or ``theta``) has the generic companions of it, not the closed
    forms of its base, and a name of its own.

    Example:
        >>> import mdm_jax as mdm
        >>> class Smooth(mdm.schedules.Schedule):
        ...     def alpha(self, t):
        ...         return t * t * (3 - 2 * t)
        >>> float(Smooth().inverse(0.5)), float(Smooth().derivative(0.5)), float(Smooth().weight(0.5))
        (0.5, 1.5, 3.0)
    """

    name: ClassVar[str] = "schedule"
    ends: ClassVar[tuple[float, float] | None] = None
    """``(p, q)`` where ``theta ~ t^p`` at 0 and ``1 - theta ~ (1-t)^q`` at 1, if known; see :meth:`end_exponents`."""
    _flax_dataclass: ClassVar[bool]
    _angular: ClassVar[bool] = False
    _root: ClassVar[str] = ""
    _forgotten: ClassVar[frozenset[str]] = frozenset()
    """These three are what :func:`mdm_jax.theory.schedules.inheriting.forget_older` wrote."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Make the subclass a frozen dataclass and a pytree whose structure names its class.

        JAX's ``register_dataclass``, which ``flax.struct.dataclass`` calls, takes the structures of two classes with
        equally many fields for equal (seen in 0.10 to 0.12), so that ``jit`` now and then, as hashes fall, runs one
        schedule's program for another. Here the class is part of the structure.
        """
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = cls.__name__
        forget_older(cls, lambda root: Schedule if root.endswith("alpha") else AngleSchedule)
        dataclasses.dataclass(frozen=True, repr=False)(cls)
        cls._flax_dataclass = True  # so that decorating it with flax.struct.dataclass as well changes nothing
        names = tuple(field.name for field in dataclasses.fields(cls))

        def flatten(schedule: Schedule) -> tuple[tuple[Any, ...], type[Schedule]]:
            return tuple(getattr(schedule, name) for name in names), cls

        def flatten_with_keys(schedule: Schedule) -> tuple[tuple[Any, ...], type[Schedule]]:
            return tuple((jax.tree_util.GetAttrKey(name), getattr(schedule, name)) for name in names), cls

        def unflatten(_: type[Schedule], leaves: Iterable[Any]) -> Schedule:
            schedule = object.__new__(cls)  # no __init__: leaves may be anything while JAX is at work
            for name, leaf in zip(names, leaves):
                object.__setattr__(schedule, name, leaf)
            return schedule

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)

    def __repr__(self) -> str:
        """The class and its numbers; of arrays shape and range."""
        return f"{type(self).__name__}({', '.join(f'{k}={described(v)}' for k, v in self.parameters().items())})"

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        """Probability that a token is revealed at time ``t``."""
        raise NotImplementedError(f"{type(self).__name__} must define alpha(t)")

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        """Probability that a token is masked at time ``t``, ``1 - alpha(t)``, without cancellation near 1."""
        return 1 - before(self, "one_minus_alpha").alpha(as_float(t))

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        """The angle ``(2/pi) arcsin sqrt(alpha(t))``, from 0 to 1 (arXiv 2509.13866, condition 3.4)."""
        older, t = before(self, "theta", "one_minus_theta"), as_float(t)
        return angle(older.alpha(t), older.one_minus_alpha(t))

    def one_minus_theta(self, t: ArrayLike) -> Float[Array, "..."]:
        """``1 - theta(t)``, without cancellation near 1."""
        older, t = before(self, "theta", "one_minus_theta"), as_float(t)
        return angle(older.one_minus_alpha(t), older.alpha(t))

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        """``d alpha / dt``, per unit of time."""
        t = as_float(t)
        return jax.jvp(self.alpha, (t,), (jnp.ones_like(t),))[1]

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        """``log(d theta / dt)`` inside ``(0, 1)``: what energies integrate.

        ``complement`` is ``1 - t`` where it is known more exactly than ``t``; a formula for this and ``ends`` (or
        :meth:`end_exponents`) give energies their last digits.
        """
        del complement
        t = as_float(t)
        return jnp.log(self.derivative(t)) - jnp.log(np.pi * jnp.sqrt(self.alpha(t) * self.one_minus_alpha(t)))

    def theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        """``d theta / dt`` inside ``(0, 1)``; ``complement`` is ``1 - t`` where it is known more exactly than ``t``."""
        return jnp.exp(self.log_theta_rate(t, complement))

    def log_regular_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        """``log(theta'(t) t^(1-p) (1-t)^(1-q))``, with the :meth:`end_exponents` ``(p, q)``, which must be known.

        What is left of the rate when its power laws at the ends are taken out, so that these can be combined with
        those of a weight before rounding.
        """
        exponents = self.end_exponents()
        if exponents is None:
            raise NotImplementedError(f"{type(self).__name__} has no end_exponents()")
        t, u = times(t, complement)
        p, q = exponents
        return self.log_theta_rate(t, u) - (as_float(p) - 1) * jnp.log(t) - (as_float(q) - 1) * jnp.log(u)

    def hazard(self, t: ArrayLike) -> Float[Array, "..."]:
        """``theta'(t) / (1 - theta(t))`` inside (0, 1), the rate at which the angle that is left goes, near 1."""
        left = self.one_minus_theta(t)
        there = left > 0
        return jnp.where(there, self.theta_rate(t) / jnp.where(there, left, 1.0), jnp.inf)

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        """The time at which ``alpha`` is reached, ``float[...]`` in [0, 1]."""
        target = as_float(alpha)

        def halve(bounds: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            low, high = bounds
            middle = 0.5 * (low + high)
            below = self.alpha(middle) < target
            return (jnp.where(below, middle, low), jnp.where(below, high, middle)), None

        start = (jnp.zeros_like(target), jnp.ones_like(target))
        (low, high), _ = jax.lax.scan(halve, start, length=_BISECTIONS)
        middle = 0.5 * (low + high)
        # Bisection has no derivative; that of the implicit equation alpha(t) = target is added, with value zero.
        middle = jax.lax.stop_gradient(middle)
        slope = jax.lax.stop_gradient(self.derivative(middle))
        error = target - self.alpha(middle)
        middle = middle + (error - jax.lax.stop_gradient(error)) / jnp.where(slope > 0, slope, 1.0)
        return jnp.where(target <= 0, 0.0, jnp.where(target >= 1, 1.0, middle)).astype(target.dtype)

    def weight(self, t: ArrayLike) -> Float[Array, "..."]:
        """The NELBO weight ``alpha'(t) / (1 - alpha(t))`` of the summed masked cross-entropy.

        Infinite at ``t = 1``, and wherever else nothing is masked as far as the float type can tell.
        """
        t = as_float(t)
        inside = jnp.where(t >= 1, 0.5, t)
        masked = self.one_minus_alpha(inside)
        ended = (t >= 1) | (masked <= 0)
        return jnp.where(ended, jnp.inf, self.derivative(inside) / jnp.where(ended, 1.0, masked))

    def end_exponents(self) -> tuple[ArrayLike, ArrayLike] | None:
        """``(p, q)`` where ``theta ~ t^p`` near 0 and ``1 - theta ~ (1-t)^q`` near 1, or ``None`` if unknown."""
        return self.ends

    def pieces(self) -> Float[Array, " knots"] | None:
        """Times from 0 to 1 between which ``theta`` is smooth, where there is more than one piece."""
        return None

    def parameters(self) -> dict[str, Any]:
        """The numbers that distinguish this schedule from others of its family, by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def coordinates(self) -> Any:
        """Free real numbers that describe the schedule, for optimisers: the logarithms of its (positive) parameters."""
        return jax.tree.map(jnp.log, self.parameters())

    def at_coordinates(self, coordinates: Any) -> "Schedule":
        """The schedule of this family with other :meth:`coordinates`."""
        return dataclasses.replace(self, **jax.tree.map(jnp.exp, coordinates))

    def _check(self, argument: str) -> None:
        """Refuse a schedule that does not rise from 0 to 1 (:func:`checked_schedule`)."""
        check_rise(self, argument)


class AngleSchedule(Schedule):
    """A schedule given by its angle: subclasses write ``theta``, ``one_minus_theta`` and ``log_theta_rate``.

    Example:
        >>> import mdm_jax as mdm
        >>> class Late(mdm.schedules.AngleSchedule):
        ...     def theta(self, t):
        ...         return t**3
        >>> float(Late().alpha(0.5 ** (1 / 3)))  # sin^2(pi/4)
        0.5
    """

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.square(jnp.sin(HALF_PI * own(self, "theta")(t)))

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.square(jnp.sin(HALF_PI * own(self, "one_minus_theta")(t)))

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        raise NotImplementedError(f"{type(self).__name__} must define theta(t)")

    def one_minus_theta(self, t: ArrayLike) -> Float[Array, "..."]:
        older = before(self, "one_minus_theta")
        return 1 - own(older, "theta")(t)

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        del complement
        t = as_float(t)
        return jnp.log(jax.jvp(own(self, "theta"), (t,), (jnp.ones_like(t),))[1])

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        theta, rest, log_rate = (own(self, name) for name in ("theta", "one_minus_theta", "log_theta_rate"))
        t = as_float(t)
        inside = jnp.where((t > 0) & (t < 1), t, 0.5)
        value = np.pi * jnp.sin(HALF_PI * theta(inside)) * jnp.sin(HALF_PI * rest(inside))
        value = value * jnp.exp(log_rate(inside))
        exponents = own(self, "end_exponents")()
        if exponents is None:
            at_ends = jax.jvp(own(self, "alpha"), (t,), (jnp.ones_like(t),))[1]
            return jnp.where((t > 0) & (t < 1), value, at_ends)
        for at_end, exponent, near_0 in ((t <= 0, exponents[0], True), (t >= 1, exponents[1], False)):
            # Only an exponent of 1/2 needs the rate there; elsewhere the unused branch is fed a safe time.
            even = at_end & (as_float(exponent) == 0.5)
            near, far = jnp.where(even, _NEAR, 0.5), jnp.where(even, 1.0, 0.5)
            rate = log_rate(*((near, far) if near_0 else (far, near)))
            value = jnp.where(at_end, _slope_at_end(exponent, rate), value)
        return value

    def weight(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        late = (t < 1) & (self.one_minus_theta(t) < 0.25)
        # Late, where 1 - alpha and alpha' underflow, by their quotient: pi theta' / tan(pi/2 (1 - theta)).
        at = jnp.where(late, t, 0.5)
        left = HALF_PI * jnp.minimum(self.one_minus_theta(at), 0.5)
        shrink = jnp.where(left > 0, left / jnp.tan(jnp.where(left > 0, left, 1.0)), 1.0)
        return jnp.where(late, 2 * self.hazard(at) * shrink, Schedule.weight(self, jnp.where(late, 0.5, t)))


def checked_schedule(schedule: Any, argument: str = "schedule") -> Schedule:
    """``schedule``, after checking that it is one schedule and rises from 0 to 1.

    Families know their numbers; of any other class ``alpha`` is evaluated at some 300 times, and may dip by 8e-6, which
    float32 may have rounded; what such a class writes beside ``alpha`` must not contradict it
    (:func:`mdm_jax.theory.schedules.checks.check_companions`). What is traced (``jit``, ``vmap``, ``grad``) passes
    unchecked.

    Args:
        schedule: what was given.
        argument: its name, for the sentence.

    Raises:
        InputError: no schedule, a stack, numbers out of range, or an ``alpha`` that does not rise from 0 to 1: that
            falls from 1 to 0 (the reversed convention), stops short of 1, turns back, leaves [0, 1], is not a number,
            or is no ``float[...]`` of the shape of its times.

    Example:
        >>> import mdm_jax as mdm
        >>> class Reversed(mdm.schedules.Schedule):
        ...     def alpha(self, t):
        ...         return 1 - t
        >>> mdm.schedules.checked_schedule(Reversed())
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: schedule must be ... (the reversed convention: 1 - alpha is meant).
    """
    if not isinstance(schedule, Schedule):
        hint = "a Schedule (schedules.beta(0.9, 0.3), say; of your own, subclass Schedule and write alpha)"
        require(False, argument, schedule, hint)
    if not _traced(schedule):
        schedule._check(argument)
        check_companions(schedule, argument, Schedule)
    return schedule


def _traced(schedule: Schedule) -> bool:
    """Whether a number of the schedule is being traced, or all is."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in (*jax.tree.leaves(schedule), jnp.zeros(())))


def angle(alpha: Array, one_minus_alpha: Array) -> Array:
    """``(2/pi) arcsin sqrt(alpha)``, with the digits that ``one_minus_alpha`` has near 1."""
    # The double `where` keeps derivatives finite at the ends, where that of the square root is not.
    inside = (alpha > 0) & (one_minus_alpha > 0)
    sine, cosine = (jnp.sqrt(jnp.where(inside, x, 0.5)) for x in (alpha, one_minus_alpha))
    return jnp.where(inside, jnp.arctan2(sine, cosine) / HALF_PI, jnp.where(alpha > 0, 1.0, 0.0)).astype(alpha.dtype)


def power_of(log_base: Array, exponent: ArrayLike) -> Array:
    """``exponent log_base``: the logarithm of a power, which is 0 for the exponent 0, even of 0."""
    constant = (jnp.asarray(exponent) == 0) & jnp.isneginf(log_base)
    return jnp.multiply(exponent, jnp.where(constant, 0.0, log_base))


def times(t: ArrayLike, complement: ArrayLike | None) -> tuple[Array, Array]:
    """``t`` and ``1 - t`` as floats."""
    t = as_float(t)
    return t, 1 - t if complement is None else as_float(complement)


def _slope_at_end(exponent: ArrayLike, log_rate: Array) -> Array:
    """``alpha'`` at an end where ``theta`` (or ``1 - theta``) is ``c x^exponent``: like ``x^(2 exponent - 1)``."""
    # At exponent 1/2: alpha' = (pi^2 / 2) theta theta' = pi^2 theta'^2 x.
    exponent = as_float(exponent)
    even = np.pi**2 * jnp.exp(2 * log_rate + float(np.log(_NEAR)))
    return jnp.where(exponent > 0.5, 0.0, jnp.where(exponent < 0.5, jnp.inf, even))

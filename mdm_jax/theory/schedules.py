r"""Mask schedules as pytrees.

**The convention, stated once.** Time ``t`` runs with generation: at ``t = 0`` every token is masked, at ``t = 1`` all
are revealed. ``alpha(t)`` is the probability that a token is *revealed* at time ``t``; it rises from 0 to 1 (the
convention of arXiv 2509.13866, section 2). Nothing in this package uses the reversed time.

A schedule is a frozen dataclass whose numbers are JAX leaves, so schedules can be stacked, ``vmap``-ped over and
differentiated. ``alpha`` is enough to define one (subclass :class:`Schedule`); everything else follows from it, and
the built-in families override what has a closed form. Two companions of ``alpha`` keep the digits that ``alpha``
itself loses near the ends: ``one_minus_alpha`` and the angle ``theta(t) = (2/pi) arcsin sqrt(alpha(t))``, the
coordinate in which the Fisher-Rao metric of a mask bit is flat.

Values at ``t = 0`` and ``t = 1`` are the mathematical limits (infinite where the limit is).

| here                | formula for ``alpha``          | elsewhere                                            |
|---------------------|--------------------------------|------------------------------------------------------|
| ``linear``          | ``t``                          | MDLM ``loglinear``, dllm ``linear``, LLaDA            |
| ``sine``            | ``sin(pi t / 2)``              | MDLM ``cosine``                                       |
| ``sine_squared``    | ``sin^2(pi t / 2)``            | MDLM ``cosinesqr``; the kinetic optimum of gamma = t   |
| ``maskgit``         | ``1 - cos(pi t / 2)``          | MaskGIT, MD4 and dllm ``cosine``                      |
| ``polynomial(p)``   | ``t^p``                        | MD4 ``poly``, flow_matching ``PolynomialConvex``       |
| ``beta(a, b)``      | ``sin^2(pi/2 I_t(a, b))``      | arXiv 2509.13866, section 3.3                         |
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar, dataclass_transform

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betainc, betaln
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.support.errors import require

HALF_PI = 0.5 * np.pi
_BISECTIONS = 40


@dataclass_transform(frozen_default=True, kw_only_default=False)
@dataclasses.dataclass(frozen=True)
class Schedule:
    """A mask schedule ``alpha: [0, 1] -> [0, 1]``, increasing, with ``alpha(0) = 0`` and ``alpha(1) = 1``.

    Methods take times of any shape, ``float[...]``, and return the same shape; parameters are scalars (stack
    schedules and use ``jax.vmap`` for many of them). To define your own, subclass and write :meth:`alpha`; annotated
    names are its numbers, as in a dataclass (every subclass becomes one, and a pytree).
    """

    name: ClassVar[str] = "schedule"
    ends: ClassVar[tuple[float, float] | None] = None
    """``(p, q)`` where ``theta ~ t^p`` at 0 and ``1 - theta ~ (1-t)^q`` at 1, if known; see :meth:`end_exponents`."""
    _flax_dataclass: ClassVar[bool]

    def __init_subclass__(cls, **options: Any) -> None:
        """Make the subclass a frozen dataclass and a pytree whose structure names its class.

        JAX's ``register_dataclass``, which ``flax.struct.dataclass`` calls, takes the structures of two classes with
        equally many fields for equal (seen in 0.10 to 0.12), so that ``jit`` now and then, as hashes fall, runs one
        schedule's program for another. Here the class is part of the structure.
        """
        super().__init_subclass__(**options)
        dataclasses.dataclass(frozen=True)(cls)
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

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        """Probability that a token is revealed at time ``t``."""
        raise NotImplementedError(f"{type(self).__name__} must define alpha(t)")

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        """Probability that a token is masked at time ``t``, ``1 - alpha(t)``, without cancellation near 1."""
        return 1 - self.alpha(t)

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        """The angle ``(2/pi) arcsin sqrt(alpha(t))``, from 0 to 1 (arXiv 2509.13866, condition 3.4)."""
        return jnp.arctan2(jnp.sqrt(self.alpha(t)), jnp.sqrt(self.one_minus_alpha(t))) / HALF_PI

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        """``d alpha / dt``, per unit of time."""
        t = as_float(t)
        return jax.jvp(self.alpha, (t,), (jnp.ones_like(t),))[1]

    def theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        """``d theta / dt`` inside ``(0, 1)``; ``complement`` is ``1 - t`` where it is known more exactly than ``t``."""
        del complement
        t = as_float(t)
        return self.derivative(t) / (np.pi * jnp.sqrt(self.alpha(t) * self.one_minus_alpha(t)))

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
        """The NELBO weight ``alpha'(t) / (1 - alpha(t))`` of the summed masked cross-entropy; infinite at ``t = 1``."""
        t = as_float(t)
        ended = t >= 1
        inside = jnp.where(ended, 0.5, t)
        return jnp.where(ended, jnp.inf, self.derivative(inside) / self.one_minus_alpha(inside))

    def end_exponents(self) -> tuple[ArrayLike, ArrayLike] | None:
        """``(p, q)`` where ``theta ~ t^p`` near 0 and ``1 - theta ~ (1-t)^q`` near 1, or ``None`` if unknown."""
        return self.ends

    def parameters(self) -> dict[str, Array]:
        """The numbers that distinguish this schedule from others of its family, by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


class Linear(Schedule):
    """``alpha(t) = t``."""

    name: ClassVar[str] = "linear"
    ends: ClassVar[tuple[float, float] | None] = (0.5, 0.5)

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return as_float(t)

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.ones_like(as_float(t))

    def theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = _pair(t, complement)
        return 1 / (np.pi * jnp.sqrt(t) * jnp.sqrt(u))

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        return as_float(alpha)


class Sine(Schedule):
    """``alpha(t) = sin(pi t / 2)``, which MDLM calls cosine."""

    name: ClassVar[str] = "sine"
    ends: ClassVar[tuple[float, float] | None] = (0.5, 1.0)

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.sin(HALF_PI * as_float(t))

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return 2 * jnp.square(jnp.sin(0.5 * HALF_PI * (1 - as_float(t))))

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        return HALF_PI * jnp.sin(HALF_PI * (1 - as_float(t)))

    def theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = _pair(t, complement)
        # alpha' / (pi sqrt(alpha (1 - alpha))) with sin(x) = 2 sin(x/2) cos(x/2) taken out of the ratio
        return jnp.cos(0.5 * HALF_PI * u) / jnp.sqrt(2 * jnp.sin(HALF_PI * t))

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        return jnp.arcsin(as_float(alpha)) / HALF_PI


class SineSquared(Schedule):
    """``alpha(t) = sin^2(pi t / 2)``: constant speed in ``theta``, hence the kinetic optimum of uniform time."""

    name: ClassVar[str] = "sine_squared"
    ends: ClassVar[tuple[float, float] | None] = (1.0, 1.0)

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.square(jnp.sin(HALF_PI * as_float(t)))

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.square(jnp.sin(HALF_PI * (1 - as_float(t))))

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return as_float(t)

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        return np.pi * jnp.sin(HALF_PI * t) * jnp.sin(HALF_PI * (1 - t))

    def theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        return jnp.ones_like(_pair(t, complement)[0])

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        alpha = as_float(alpha)
        return jnp.arctan2(jnp.sqrt(alpha), jnp.sqrt(1 - alpha)) / HALF_PI


class MaskGIT(Schedule):
    """``alpha(t) = 1 - cos(pi t / 2)``, the cosine schedule of MaskGIT and MD4."""

    name: ClassVar[str] = "maskgit"
    ends: ClassVar[tuple[float, float] | None] = (1.0, 0.5)

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        early = 2 * jnp.square(jnp.sin(0.5 * HALF_PI * t))
        return jnp.where(t < 0.5, early, 1 - jnp.sin(HALF_PI * (1 - t)))

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.sin(HALF_PI * (1 - as_float(t)))

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        return HALF_PI * jnp.sin(HALF_PI * as_float(t))

    def theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = _pair(t, complement)
        return Sine().theta_rate(u, t)  # MaskGIT is the mirror image of sine

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        return 2 * jnp.arcsin(jnp.sqrt(0.5 * as_float(alpha))) / HALF_PI


class Polynomial(Schedule):
    """``alpha(t) = t^degree`` for ``degree > 0``."""

    degree: Float[Array, "*stack"]
    name: ClassVar[str] = "polynomial"

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return as_float(t) ** self.degree

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        early = t < 0.5
        return jnp.where(early, 1 - t**self.degree, -jnp.expm1(self.degree * jnp.log(jnp.where(early, 1.0, t))))

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        return self.degree * as_float(t) ** (self.degree - 1)

    def theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = _pair(t, complement)
        log_t = jnp.where(t < 0.5, jnp.log(t), jnp.log1p(-u))
        masked = -jnp.expm1(self.degree * log_t)
        return self.degree * jnp.exp((0.5 * self.degree - 1) * log_t) / (np.pi * jnp.sqrt(masked))

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        return as_float(alpha) ** (1 / self.degree)

    def end_exponents(self) -> tuple[ArrayLike, ArrayLike] | None:
        return 0.5 * self.degree, 0.5


class Beta(Schedule):
    r"""``alpha(t) = sin^2(pi/2 I_t(a, b))`` with the regularised incomplete beta function (arXiv 2509.13866, 3.3).

    ``a, b > 0``. ``(.5, .5)`` is linear, ``(1, 1)`` is ``sine_squared``; ``a > b`` reveals few tokens early and many
    late. Values are differentiable in ``t`` inside (0, 1) (``derivative`` has the limits at the ends); JAX's
    ``betainc`` has no derivative in ``a`` and ``b``, and in float32 errs by about 1e-5.
    """

    a: Float[Array, "*stack"]
    b: Float[Array, "*stack"]
    name: ClassVar[str] = "beta"

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        return betainc(*jnp.broadcast_arrays(self.a, self.b, t))

    def _one_minus_theta(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        return betainc(*jnp.broadcast_arrays(self.b, self.a, 1 - t))

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.square(jnp.sin(HALF_PI * self.theta(t)))

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.square(jnp.sin(HALF_PI * self._one_minus_theta(t)))

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        inside = jnp.where((t > 0) & (t < 1), t, 0.5)
        value = np.pi * jnp.sin(HALF_PI * self.theta(inside)) * jnp.sin(HALF_PI * self._one_minus_theta(inside))
        value = value * self.theta_rate(inside)
        # alpha ~ (pi/2 t^a / (a B))^2 at 0, and the mirror image at 1
        log_scale = 2 * (np.log(HALF_PI) - betaln(self.a, self.b))
        at_0 = _power_limit(2 * self.a - 1, jnp.exp(log_scale) * 2 / self.a)
        at_1 = _power_limit(2 * self.b - 1, jnp.exp(log_scale) * 2 / self.b)
        return jnp.where(t <= 0, at_0, jnp.where(t >= 1, at_1, value))

    def theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = _pair(t, complement)
        return jnp.exp((self.a - 1) * jnp.log(t) + (self.b - 1) * jnp.log(u) - betaln(self.a, self.b))

    def end_exponents(self) -> tuple[ArrayLike, ArrayLike] | None:
        return self.a, self.b


def linear() -> Linear:
    """``alpha(t) = t``."""
    return Linear()


def sine() -> Sine:
    """``alpha(t) = sin(pi t / 2)``."""
    return Sine()


def sine_squared() -> SineSquared:
    """``alpha(t) = sin^2(pi t / 2)``."""
    return SineSquared()


def maskgit() -> MaskGIT:
    """``alpha(t) = 1 - cos(pi t / 2)``."""
    return MaskGIT()


def polynomial(degree: ArrayLike) -> Polynomial:
    """``alpha(t) = t^degree``; ``degree > 0``, a number or an array (a stack of schedules)."""
    return Polynomial(degree=_positive("degree", degree))


def beta(a: ArrayLike, b: ArrayLike) -> Beta:
    """``alpha(t) = sin^2(pi/2 I_t(a, b))``; ``a, b > 0``, numbers or arrays of one shape (a stack of schedules).

    >>> schedule = beta(0.9, 0.3)
    >>> schedule.alpha(jnp.array([0.0, 0.5, 1.0])).round(3).tolist()
    [0.0, 0.106..., 1.0]
    """
    a, b = jnp.broadcast_arrays(_positive("a", a), _positive("b", b))
    return Beta(a=a, b=b)


def as_float(x: ArrayLike) -> Array:
    """``x`` as an array of JAX's default float type (float32, or float64 under ``jax_enable_x64``)."""
    return jnp.asarray(x, dtype=float)


def _positive(argument: str, value: ArrayLike) -> Array:
    if not isinstance(value, jax.core.Tracer):
        held = jnp.finfo(jax.dtypes.canonicalize_dtype(float))
        with np.errstate(over="ignore"):
            numbers = np.asarray(value, dtype=float).astype(held.dtype)
        good = bool(np.all((numbers >= held.tiny) & np.isfinite(numbers)))
        require(good, argument, value, f"a positive, finite number that {held.dtype} can hold")
    return as_float(value)


def _pair(t: ArrayLike, complement: ArrayLike | None) -> tuple[Array, Array]:
    t = as_float(t)
    return t, 1 - t if complement is None else as_float(complement)


def _power_limit(exponent: Array, coefficient: Array) -> Array:
    """The limit of ``coefficient * x^exponent`` as ``x`` falls to 0."""
    return jnp.where(exponent > 0, 0.0, jnp.where(exponent < 0, jnp.inf, coefficient))

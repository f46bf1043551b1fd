"""The families of mask schedules. (What a schedule is, and the convention of time: :mod:`mdm_jax.theory.schedule`.)

| here                         | formula for ``alpha``                  | elsewhere                                           |
|------------------------------|----------------------------------------|-----------------------------------------------------|
| ``linear``                   | ``t``                                  | MDLM ``loglinear``, MD4 ``linear``, dllm ``linear``, LLaDA, flow_matching ``CondOT`` and (for tokens) ``LinearVP`` |
| ``sine``                     | ``sin(pi t / 2)``                      | MDLM ``cosine``, flow_matching ``Cosine``            |
| ``sine_squared``             | ``sin^2(pi t / 2)``                    | MDLM ``cosinesqr``; the kinetic optimum of gamma = t |
| ``maskgit``                  | ``1 - cos(pi t / 2)``                  | MaskGIT, MD4 and dllm ``cosine``                     |
| ``polynomial(p)``            | ``t^p``                                | MD4 ``polyP``, flow_matching ``PolynomialConvex(P)`` |
| ``geometric(s, S)``          | ``exp(-s^t S^(1-t))``, shifted and scaled to [0, 1] | SEDD and MDLM ``geometric`` (which stop short of 0 and 1) |
| ``beta(a, b)``               | ``sin^2(pi/2 I_t(a, b))``              | arXiv 2509.13866, section 3.3                        |
| ``kinetic_optimum(gamma)``   | ``sin^2(pi/2 gamma(t))``               | arXiv 2509.13866, condition 3.4                      |
| ``tabulated``, ``free``      | ``theta`` piecewise linear             | a learnable schedule; :mod:`mdm_jax.theory.tabulated` |

MDLM's and dllm's ``eps`` (a schedule that stops at ``1 - eps``) has no counterpart: ours reach 0 and 1.
"""
from typing import Any, ClassVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.support.errors import require
from mdm_jax.theory.incomplete_beta import incomplete_beta, incomplete_beta_inverse, log_beta
from mdm_jax.theory.schedule import HALF_PI, AngleSchedule, Schedule, angle, as_float, positive, times
from mdm_jax.theory.tabulated import Tabulated, free, tabulate, tabulated

__all__ = [
    "HALF_PI", "AngleSchedule", "Beta", "Geometric", "KineticOptimum", "Linear", "MaskGIT", "Polynomial", "Schedule",
    "Sine", "SineSquared", "Tabulated", "as_float", "beta", "free", "geometric", "kinetic_optimum", "linear", "maskgit",
    "polynomial", "sine", "sine_squared", "tabulate", "tabulated",
]  # fmt: skip


class Linear(Schedule):
    """``alpha(t) = t``."""

    name: ClassVar[str] = "linear"
    ends: ClassVar[tuple[float, float] | None] = (0.5, 0.5)

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return as_float(t)

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.ones_like(as_float(t))

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = times(t, complement)
        return -float(np.log(np.pi)) - 0.5 * jnp.log(t) - 0.5 * jnp.log(u)

    def log_regular_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        return jnp.full_like(times(t, complement)[0], -np.log(np.pi))

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

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = times(t, complement)
        # alpha' / (pi sqrt(alpha (1 - alpha))) with sin(x) = 2 sin(x/2) cos(x/2) taken out of the ratio
        return jnp.log(jnp.cos(0.5 * HALF_PI * u)) - 0.5 * jnp.log(2 * jnp.sin(HALF_PI * t))

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

    def one_minus_theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return 1 - as_float(t)

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        return np.pi * jnp.sin(HALF_PI * t) * jnp.sin(HALF_PI * (1 - t))

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        return jnp.zeros_like(times(t, complement)[0])

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        alpha = as_float(alpha)
        return angle(alpha, 1 - alpha)


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

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = times(t, complement)
        return Sine().log_theta_rate(u, t)  # MaskGIT is the mirror image of sine

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

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = times(t, complement)
        log_t = jnp.where(t < 0.5, jnp.log(t), jnp.log1p(-u))
        masked = -jnp.expm1(self.degree * log_t)
        return jnp.log(self.degree / np.pi) + (0.5 * self.degree - 1) * log_t - 0.5 * jnp.log(masked)

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        return as_float(alpha) ** (1 / self.degree)

    def end_exponents(self) -> tuple[ArrayLike, ArrayLike] | None:
        return 0.5 * self.degree, 0.5


class Geometric(Schedule):
    """``alpha(t) = exp(-sigma(t))`` with ``sigma = sigma_max^(1-t) sigma_min^t``, shifted and scaled to reach 0 and 1.

    ``0 < sigma_min < sigma_max``: the geometric noise of SEDD and MDLM, read from noise to data.
    """

    sigma_min: Float[Array, "*stack"]
    sigma_max: Float[Array, "*stack"]
    name: ClassVar[str] = "geometric"
    ends: ClassVar[tuple[float, float] | None] = (0.5, 0.5)

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        early = -self.sigma_max * jnp.expm1(-self._log_ratio() * t)  # sigma_max - sigma
        late = self._excess(1 - t)
        return jnp.exp(-late) * jnp.expm1(-early) / self._scale()

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.expm1(-self._excess(1 - as_float(t))) / self._scale()

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.exp(self._log_derivative(1 - as_float(t)))

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = times(t, complement)
        early = -self.sigma_max * jnp.expm1(-self._log_ratio() * t)
        late = self._excess(u)
        # alpha' / (pi sqrt(alpha (1 - alpha))), the scales taken out
        log_alpha = -late + jnp.log(-jnp.expm1(-early))
        log_masked = jnp.log(-jnp.expm1(-late))
        log_rate = jnp.log(self._log_ratio()) + self._log_sigma(u) - late
        return log_rate - float(np.log(np.pi)) - 0.5 * (log_alpha + log_masked)

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        alpha = as_float(alpha)
        early = -jnp.log(alpha + (1 - alpha) * jnp.exp(self.sigma_min - self.sigma_max))
        excess = jnp.where(alpha < 0.5, early, -jnp.log1p((1 - alpha) * self._scale()))
        return 1 - jnp.log1p(excess / self.sigma_min) / self._log_ratio()

    def coordinates(self) -> Any:
        return {"log_sigma_min": jnp.log(self.sigma_min), "log_log_ratio": jnp.log(self._log_ratio())}

    def at_coordinates(self, coordinates: Any) -> Schedule:
        least = jnp.exp(coordinates["log_sigma_min"])
        return type(self)(sigma_min=least, sigma_max=least * jnp.exp(jnp.exp(coordinates["log_log_ratio"])))

    def _log_ratio(self) -> Array:
        return jnp.log(self.sigma_max / self.sigma_min)

    def _scale(self) -> Array:
        return jnp.expm1(self.sigma_min - self.sigma_max)

    def _log_sigma(self, u: Array) -> Array:
        return jnp.log(self.sigma_min) + self._log_ratio() * u

    def _excess(self, u: Array) -> Array:
        """``sigma - sigma_min`` at the complement ``u`` of the time."""
        return self.sigma_min * jnp.expm1(self._log_ratio() * u)

    def _log_derivative(self, u: Array) -> Array:
        return jnp.log(-self._log_ratio() / self._scale()) + self._log_sigma(u) - self._excess(u)


class Beta(AngleSchedule):
    r"""``alpha(t) = sin^2(pi/2 I_t(a, b))`` with the regularised incomplete beta function (arXiv 2509.13866, 3.3).

    ``a, b > 0``. ``(.5, .5)`` is linear, ``(1, 1)`` is ``sine_squared``; ``a > b`` reveals few tokens early and many
    late. Differentiable in ``t``, ``a`` and ``b``, repeatedly (:mod:`mdm_jax.theory.incomplete_beta`).
    """

    a: Float[Array, "*stack"]
    b: Float[Array, "*stack"]
    name: ClassVar[str] = "beta"

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return incomplete_beta(self.a, self.b, t)[0]

    def one_minus_theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return incomplete_beta(self.a, self.b, t)[1]

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = times(t, complement)
        return (self.a - 1) * jnp.log(t) + (self.b - 1) * jnp.log(u) - log_beta(self.a, self.b)

    def log_regular_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        return jnp.broadcast_to(-log_beta(self.a, self.b), jnp.shape(times(t, complement)[0]))

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        alpha = as_float(alpha)
        return incomplete_beta_inverse(self.a, self.b, angle(alpha, 1 - alpha), angle(1 - alpha, alpha))[0]

    def end_exponents(self) -> tuple[ArrayLike, ArrayLike] | None:
        return self.a, self.b


class KineticOptimum(AngleSchedule):
    """``alpha(t) = sin^2(pi/2 gamma(t))``: the schedule of least energy under the weight ``1 / gamma'``.

    ``gamma`` is itself a schedule, whose ``alpha`` is meant: any smooth rise from 0 to 1. As a *weight* (see
    :mod:`mdm_jax.theory.energies`) a ``kinetic_optimum(gamma)`` stands for that ``gamma``.

    Source: arXiv 2509.13866, condition 3.4 and theorem 3.6.
    """

    gamma: Schedule
    name: ClassVar[str] = "kinetic_optimum"

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return self.gamma.alpha(t)

    def one_minus_theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return self.gamma.one_minus_alpha(t)

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        match self.gamma:
            case Linear():
                return jnp.zeros_like(as_float(t))
            case Polynomial(degree=degree):
                return jnp.log(degree) + (degree - 1) * jnp.log(as_float(t))
        t, u = times(t, complement)
        alpha, masked = self.gamma.alpha(t), self.gamma.one_minus_alpha(t)
        return self.gamma.log_theta_rate(t, u) + float(np.log(np.pi)) + 0.5 * (jnp.log(alpha) + jnp.log(masked))

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        alpha = as_float(alpha)
        return self.gamma.inverse(angle(alpha, 1 - alpha))

    def end_exponents(self) -> tuple[ArrayLike, ArrayLike] | None:
        known = self.gamma.end_exponents()
        return None if known is None else (2 * jnp.asarray(known[0], float), 2 * jnp.asarray(known[1], float))

    def pieces(self) -> Float[Array, " knots"] | None:
        return self.gamma.pieces()

    def coordinates(self) -> Any:
        return self.gamma.coordinates()

    def at_coordinates(self, coordinates: Any) -> Schedule:
        return type(self)(self.gamma.at_coordinates(coordinates))


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
    return Polynomial(degree=positive("degree", degree))


def geometric(sigma_min: ArrayLike = 1e-4, sigma_max: ArrayLike = 20.0) -> Geometric:
    """The geometric noise schedule between ``0 < sigma_min < sigma_max``; the defaults are SEDD's.

    Raises:
        InputError: a number that is not positive, ``sigma_max`` above 50 (beyond which ``exp(-sigma_max)`` says
            nothing new), or the two out of order.
    """
    least, most = jnp.broadcast_arrays(positive("sigma_min", sigma_min), positive("sigma_max", sigma_max, most=50.0))
    if not isinstance(sigma_min, jax.core.Tracer) and not isinstance(sigma_max, jax.core.Tracer):
        require(bool(np.all(least < most)), "sigma_min", sigma_min, f"below sigma_max ({sigma_max})")
    return Geometric(sigma_min=least, sigma_max=most)


def beta(a: ArrayLike, b: ArrayLike) -> Beta:
    """``alpha(t) = sin^2(pi/2 I_t(a, b))``; ``0 < a, b <= 1000``, numbers or arrays of one shape (a stack).

    Raises:
        InputError: a parameter that is not positive, or above 1000 (beyond which float32 has too few digits).

    >>> schedule = beta(0.9, 0.3)
    >>> schedule.alpha(jnp.array([0.0, 0.5, 1.0])).round(3).tolist()
    [0.0, 0.106..., 1.0]
    """
    a, b = jnp.broadcast_arrays(positive("a", a, most=1000.0), positive("b", b, most=1000.0))
    return Beta(a=a, b=b)


def kinetic_optimum(gamma: Schedule) -> KineticOptimum:
    """The schedule whose angle is ``gamma.alpha``: the optimum of the weight that a rise ``gamma`` from 0 to 1 gives.

    >>> kinetic_optimum(linear()).alpha(0.5) == sine_squared().alpha(0.5)
    Array(True, dtype=bool)
    """
    require(isinstance(gamma, Schedule), "gamma", gamma, "a Schedule (its alpha is the rise from 0 to 1)")
    return KineticOptimum(gamma=gamma)

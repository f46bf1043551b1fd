"""The families of mask schedules, and what others call them.

What a schedule is, and the convention of time: :mod:`mdm_jax.theory.schedules.base`.

| here                       | formula for ``alpha``           | elsewhere                                            |
|----------------------------|---------------------------------|------------------------------------------------------|
| ``linear``                 | ``t``                           | MDLM ``loglinear``, MD4 and dllm ``linear``, LLaDA,  |
|                            |                                 | flow_matching ``CondOT``                             |
| ``sine``                   | ``sin(pi t / 2)``               | MDLM ``cosine``, flow_matching ``Cosine``            |
| ``sine_squared``           | ``sin^2(pi t / 2)``             | MDLM ``cosinesqr``; the kinetic optimum of gamma = t |
| ``maskgit``                | ``1 - cos(pi t / 2)``           | MaskGIT, MD4 and dllm ``cosine``                     |
| ``polynomial(p)``          | ``t^p``                         | MD4 ``polyP``, flow_matching ``PolynomialConvex(P)`` |
| ``geometric(s, S)``        | ``exp(-s^t S^(1-t))``, shifted  | SEDD and MDLM ``geometric``, which stop short of     |
|                            | and scaled to [0, 1]            | 0 and 1                                              |
| ``beta(a, b)``             | ``sin^2(pi/2 I_t(a, b))``       | arXiv 2509.13866, section 3.3                        |
| ``kinetic_optimum(gamma)`` | ``sin^2(pi/2 gamma(t))``        | arXiv 2509.13866, condition 3.4                      |
| ``tabulated``, ``free``    | ``theta`` piecewise linear      | learnable; ``tables.py`` beside this file            |
| ``energies.geodesic``      | arc length ``gamma(t)``         | least action under any metric                        |

MDLM's and dllm's ``eps`` (a schedule that stops at ``1 - eps``) has no counterpart: ours reach 0 and 1. MDLM's
``linear`` (``sigma`` linear in time) is in no other code we know; write ``alpha`` for it.
"""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.support.errors import require
from mdm_jax.theory.numerics.beta_function import beta_hazard, incomplete_beta, incomplete_beta_inverse
from mdm_jax.theory.numerics.given import as_float, positive
from mdm_jax.theory.numerics.special import log_beta
from mdm_jax.theory.schedules.base import (
    AngleSchedule,
    Schedule,
    angle,
    checked_schedule,
    power_of,
    times,
)
from mdm_jax.theory.schedules.checks import check_numbers
from mdm_jax.theory.schedules.families import Geometric, Linear, MaskGIT, Polynomial, Sine, SineSquared


class Beta(AngleSchedule):
    r"""``alpha(t) = sin^2(pi/2 I_t(a, b))`` with the regularised incomplete beta function (arXiv 2509.13866, 3.3).

    ``a, b > 0``. ``(.5, .5)`` is linear, ``(1, 1)`` is ``sine_squared``; ``a > b`` reveals few tokens early and many
    late. Differentiable in ``t``, ``a`` and ``b``, repeatedly (:mod:`mdm_jax.theory.numerics.beta_function`).

    Example:
        >>> import jax, mdm_jax as mdm
        >>> slope = jax.grad(lambda schedule: schedule.alpha(0.5))(mdm.schedules.beta(1.0, 1.0))
        >>> type(slope).__name__, float(slope.a), float(slope.b)  # of alpha(1/2) in a and b
        ('Beta', -0.5444, 0.5444)
    """

    a: Float[Array, "*stack"]
    b: Float[Array, "*stack"]
    name: ClassVar[str] = "beta"
    _check = check_numbers

    def theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return incomplete_beta(self.a, self.b, t)[0]

    def one_minus_theta(self, t: ArrayLike) -> Float[Array, "..."]:
        return incomplete_beta(self.a, self.b, t)[1]

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = times(t, complement)
        return power_of(jnp.log(t), self.a - 1) + power_of(jnp.log(u), self.b - 1) - log_beta(self.a, self.b)

    def log_regular_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        return jnp.broadcast_to(-log_beta(self.a, self.b), jnp.shape(times(t, complement)[0]))

    def hazard(self, t: ArrayLike) -> Float[Array, "..."]:
        return beta_hazard(self.a, self.b, t)

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
        if type(self.gamma) is Linear:
            return jnp.zeros_like(as_float(t))
        if type(self.gamma) is Polynomial:
            return jnp.log(self.gamma.degree) + power_of(jnp.log(as_float(t)), self.gamma.degree - 1)
        t, u = times(t, complement)
        alpha, masked = self.gamma.alpha(t), self.gamma.one_minus_alpha(t)
        inside = (alpha > 0) & (masked > 0)
        size = 0.5 * (jnp.log(jnp.where(inside, alpha, 1.0)) + jnp.log(jnp.where(inside, masked, 1.0)))
        rate = self.gamma.log_theta_rate(t, u) + float(np.log(np.pi)) + size
        return jnp.where(inside, rate, jnp.log(self.gamma.derivative(t)))

    def hazard(self, t: ArrayLike) -> Float[Array, "..."]:
        return self.gamma.weight(t)

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
        return dataclasses.replace(self, gamma=self.gamma.at_coordinates(coordinates))

    def _check(self, argument: str) -> None:
        checked_schedule(self.gamma, f"gamma of {argument}")


def linear() -> Linear:
    """``alpha(t) = t``.

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.schedules.linear().alpha(0.75)), float(mdm.schedules.linear().weight(0.75))
        (0.75, 4.0)
    """
    return Linear()


def sine() -> Sine:
    """``alpha(t) = sin(pi t / 2)``.

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.schedules.sine().alpha(1 / 3))
        0.5
    """
    return Sine()


def sine_squared() -> SineSquared:
    """``alpha(t) = sin^2(pi t / 2)``.

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.schedules.sine_squared().alpha(1 / 3))
        0.25
    """
    return SineSquared()


def maskgit() -> MaskGIT:
    """``alpha(t) = 1 - cos(pi t / 2)``.

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.schedules.maskgit().alpha(2 / 3))
        0.5
    """
    return MaskGIT()


def polynomial(degree: ArrayLike) -> Polynomial:
    """``alpha(t) = t^degree``; ``degree > 0``, a number or an array (a stack of schedules).

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.schedules.polynomial(2).alpha(0.5))
        0.25
    """
    return Polynomial(degree=positive("degree", degree))


def geometric(sigma_min: ArrayLike = 1e-4, sigma_max: ArrayLike = 20.0) -> Geometric:
    """The geometric noise schedule between ``0 < sigma_min < sigma_max``; the defaults are SEDD's.

    Raises:
        InputError: a number that is not positive, ``sigma_max`` above 50 (beyond which ``exp(-sigma_max)`` says
            nothing new), or the two out of order.

    Example:
        >>> import mdm_jax as mdm
        >>> float(mdm.schedules.geometric().alpha(0.5))  # exp(-sqrt(20 * 1e-4)), nearly
        0.956
    """
    least, most = jnp.broadcast_arrays(positive("sigma_min", sigma_min), positive("sigma_max", sigma_max, most=50.0))
    if not isinstance(sigma_min, jax.core.Tracer) and not isinstance(sigma_max, jax.core.Tracer):
        require(bool(np.all(least < most)), "sigma_min", sigma_min, f"below sigma_max ({sigma_max})")
    return Geometric(sigma_min=least, sigma_max=most)


def beta(a: ArrayLike, b: ArrayLike) -> Beta:
    """``alpha(t) = sin^2(pi/2 I_t(a, b))``; ``0.01 <= a, b <= 1000``, numbers or arrays of one shape (a stack).

    Raises:
        InputError: a parameter below 0.01 (in float64 1e-9) or above 1000, beyond which there are too few digits.

    Example:
        >>> import jax.numpy as jnp, mdm_jax as mdm
        >>> mdm.schedules.beta(0.9, 0.3).alpha(jnp.array([0.0, 0.5, 1.0])).tolist()
        [0.0, 0.106..., 1.0]
    """
    least = 0.01 if jnp.finfo(as_float(0).dtype).bits < 64 else 1e-9
    a, b = jnp.broadcast_arrays(positive("a", a, least, 1000.0), positive("b", b, least, 1000.0))
    return Beta(a=a, b=b)


def kinetic_optimum(gamma: Schedule) -> KineticOptimum:
    """The schedule whose angle is ``gamma.alpha``: the optimum of the weight that a rise ``gamma`` from 0 to 1 gives.

    Example:
        >>> from mdm_jax import schedules
        >>> best = schedules.kinetic_optimum(schedules.linear())  # it is sine_squared()
        >>> float(best.alpha(0.25)), float(schedules.sine_squared().alpha(0.25))
        (0.146447, 0.146447)
    """
    checked_schedule(gamma, "gamma")
    return KineticOptimum(gamma=gamma)

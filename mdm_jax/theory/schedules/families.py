"""The families of mask schedules that have a closed form; :mod:`mdm_jax.theory.schedules` hands them on."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from mdm_jax.support.errors import require, verbatim
from mdm_jax.theory.numerics.given import as_float
from mdm_jax.theory.schedules.base import HALF_PI, Schedule, angle, power_of, times
from mdm_jax.theory.schedules.checks import check_numbers


class Linear(Schedule):
    """``alpha(t) = t``."""

    name: ClassVar[str] = "linear"
    ends: ClassVar[tuple[float, float] | None] = (0.5, 0.5)

    _check = check_numbers

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

    _check = check_numbers

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

    _check = check_numbers

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

    log_regular_rate = log_theta_rate

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        alpha = as_float(alpha)
        return angle(alpha, 1 - alpha)


class MaskGIT(Schedule):
    """``alpha(t) = 1 - cos(pi t / 2)``, the cosine schedule of MaskGIT and MD4."""

    name: ClassVar[str] = "maskgit"
    ends: ClassVar[tuple[float, float] | None] = (1.0, 0.5)

    _check = check_numbers

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
        alpha = as_float(alpha)
        return jnp.where(alpha >= 1, 1.0, 2 * jnp.arcsin(jnp.sqrt(0.5 * alpha)) / HALF_PI)


class Polynomial(Schedule):
    """``alpha(t) = t^degree`` for ``degree > 0``."""

    degree: Float[Array, "*stack"]
    name: ClassVar[str] = "polynomial"

    _check = check_numbers

    def alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        return as_float(t) ** self.degree

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        early = (t < 0.5) & (t**self.degree < 0.5)
        return jnp.where(early, 1 - t**self.degree, -jnp.expm1(self.degree * jnp.log(jnp.where(early, 1.0, t))))

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        return self.degree * as_float(t) ** (self.degree - 1)

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = times(t, complement)
        log_t = jnp.where(t < 0.5, jnp.log(t), jnp.log1p(-u))
        masked = -jnp.expm1(self.degree * log_t)
        return jnp.log(self.degree / np.pi) + power_of(log_t, 0.5 * self.degree - 1) - 0.5 * jnp.log(masked)

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
        # (the two round differently at the far end)
        return jnp.where(t >= 1, 1.0, jnp.exp(-late) * _reached(early) / self._scale())

    def one_minus_alpha(self, t: ArrayLike) -> Float[Array, "..."]:
        t = as_float(t)
        return jnp.where(t <= 0, 1.0, _at_most_one(_reached(self._excess(1 - t)) / self._scale()))

    def derivative(self, t: ArrayLike) -> Float[Array, "..."]:
        return jnp.exp(self._log_derivative(1 - as_float(t)))

    def log_theta_rate(self, t: ArrayLike, complement: ArrayLike | None = None) -> Float[Array, "..."]:
        t, u = times(t, complement)
        early = -self.sigma_max * jnp.expm1(-self._log_ratio() * t)
        late = self._excess(u)
        # alpha' / (pi sqrt(alpha (1 - alpha))), the scales taken out
        log_alpha = -late + jnp.log(_reached(early))
        log_masked = jnp.log(_reached(late))
        log_rate = jnp.log(self._log_ratio()) + self._log_sigma(u) - late
        return log_rate - float(np.log(np.pi)) - 0.5 * (log_alpha + log_masked)

    def inverse(self, alpha: ArrayLike) -> Float[Array, "..."]:
        alpha = as_float(alpha)
        early = (alpha < 0.5) & (self._scale() > 0.5)
        masked = jnp.where(early, 0.5, 1 - alpha)
        remembered = alpha + (1 - alpha) * jnp.exp(self.sigma_min - self.sigma_max)
        excess = jnp.where(early, -jnp.log(remembered), -jnp.log1p(-masked * self._scale()))
        t = 1 - jnp.log1p(excess / self.sigma_min) / self._log_ratio()
        return jnp.where(alpha <= 0, 0.0, jnp.where(alpha >= 1, 1.0, jnp.maximum(t, 0.0)))

    def weight(self, t: ArrayLike) -> Float[Array, "..."]:
        # sigma' / (e^late - 1), in which nothing underflows
        t = as_float(t)
        u = jnp.where(t < 1, 1 - t, 0.5)
        late = self._excess(u)
        shrink = jnp.where(late > 0, late / jnp.expm1(jnp.where(late > 0, late, 1.0)), 1.0)
        steep = self._log_ratio() / -jnp.expm1(-self._log_ratio() * u)
        return jnp.where(t < 1, steep * shrink, jnp.inf)

    def coordinates(self) -> Any:
        return {"log_sigma_min": jnp.log(self.sigma_min), "log_log_ratio": jnp.log(self._log_ratio())}

    def at_coordinates(self, coordinates: Any) -> Schedule:
        least = jnp.exp(coordinates["log_sigma_min"])
        most = least * jnp.exp(jnp.exp(coordinates["log_log_ratio"]))
        return dataclasses.replace(self, sigma_min=least, sigma_max=most)

    def _check(self, argument: str) -> None:
        check_numbers(self, argument)
        given = verbatim(f"sigma_min {self.sigma_min} and sigma_max {self.sigma_max}")
        require(bool(self.sigma_min < self.sigma_max), argument, given, "geometric with sigma_min below sigma_max")

    def _log_ratio(self) -> Array:
        return jnp.log(self.sigma_max / self.sigma_min)

    def _scale(self) -> Array:
        return _reached(self.sigma_max - self.sigma_min)

    def _log_sigma(self, u: Array) -> Array:
        return jnp.log(self.sigma_min) + self._log_ratio() * u

    def _excess(self, u: Array) -> Array:
        """``sigma - sigma_min`` at the complement ``u`` of the time."""
        return self.sigma_min * jnp.expm1(self._log_ratio() * u)

    def _log_derivative(self, u: Array) -> Array:
        return jnp.log(self._log_ratio() / self._scale()) + self._log_sigma(u) - self._excess(u)


def _at_most_one(x: Array) -> Array:
    return jnp.where(x > 1, 1.0, x)  # (a minimum would halve the slope where the two are equal)


def _reached(x: Array) -> Array:
    """``1 - exp(-x)``; unlike ``expm1``'s in JAX, its derivative keeps its digits for large ``x``."""
    large = x > 1
    return jnp.where(large, 1 - jnp.exp(-x), -jnp.expm1(-jnp.where(large, 1.0, x)))

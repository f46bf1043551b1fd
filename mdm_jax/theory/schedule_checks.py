"""Whether what is called a schedule rises from 0 to 1: for :func:`mdm_jax.theory.schedule.checked_schedule`."""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from mdm_jax.support.errors import InputError, require, verbatim

_ROUNDING = 64 * float(np.finfo(np.float32).eps)
"""By how much ``alpha`` may dip, or miss 0 and 1: what float32 may round."""
_HALVES = 0.5 ** np.arange(1, 24)
_TIMES = np.unique(np.concatenate([np.linspace(0, 1, 257), _HALVES, 1 - _HALVES]))
"""Where ``alpha`` is looked at: equally spaced, and ever closer to the ends."""


def check_numbers(self: Any, argument: str) -> None:
    """Refuse a schedule whose numbers are not one each, positive and finite (a method that families share)."""
    for name, value in self.parameters().items():
        if np.ndim(value):
            require(False, argument, verbatim(f"a stack of shape {np.shape(value)}"), "one schedule, not a stack")
        good = np.asarray(value).dtype.kind in "fiu" and bool(0 < float(value) < np.inf)
        require(good, argument, verbatim(f"{self.name} of {name} {value}"), "made of positive, finite numbers")


def check_rise(schedule: Any, argument: str) -> None:
    """Refuse a schedule whose ``alpha`` does not rise from 0 to 1, or is no float for every time."""
    label = type(schedule).__name__
    try:
        given = schedule.alpha(jnp.asarray(_TIMES, float))
    except (TypeError, ValueError, NotImplementedError) as error:
        wanted = "one schedule whose alpha takes an array of times"
        raise InputError(f"{argument} must be {wanted}; that of {label} raises: {error}") from error
    if isinstance(given, jax.core.Tracer):
        return
    shape, kind = np.shape(given), np.asarray(given).dtype
    good = shape == _TIMES.shape and bool(jnp.issubdtype(kind, jnp.floating))
    wanted = "one schedule whose alpha returns a float for every time"
    require(good, argument, verbatim(f"{label}, which for {_TIMES.shape} times returns {shape} of {kind}"), wanted)
    alpha = np.asarray(given, np.float64)
    shown = _fault(alpha)
    wanted = "a schedule whose alpha, the probability that a token is revealed, rises from 0 at t = 0 to 1 at t = 1"
    require(shown is None, argument, verbatim(f"{label} with {shown}"), wanted)


def _fault(alpha: np.ndarray) -> str | None:
    """What is wrong with the values at ``_TIMES``, if anything is."""

    def at(*places: int) -> str:
        return " and ".join(f"alpha({_TIMES[i]:.6g}) = {alpha[i]:.6g}" for i in places)

    if not np.isfinite(alpha).all():
        return at(int(np.argmin(np.isfinite(alpha))))
    if abs(alpha[0] - 1) <= _ROUNDING and abs(alpha[-1]) <= _ROUNDING:
        return f"{at(0, -1)} (the reversed convention: 1 - alpha is meant)"
    if abs(alpha[0]) > _ROUNDING or abs(alpha[-1] - 1) > _ROUNDING:
        return at(0, -1)
    falls = np.maximum.accumulate(alpha) - alpha
    worst = int(np.argmax(falls))
    return at(int(np.argmax(alpha[: worst + 1])), worst) if falls[worst] > _ROUNDING else None

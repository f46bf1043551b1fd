"""Whether what is called a schedule rises from 0 to 1, and is one schedule whatever is asked of it.

For :func:`mdm_jax.theory.schedules.base.checked_schedule`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.text import printable, shortened
from mdm_jax.theory.schedules.inheriting import writer

_ROUNDING = 64 * float(np.finfo(np.float32).eps)
"""By how much ``alpha`` may dip, or miss 0 and 1: what float32 may round."""
_HALVES = 0.5 ** np.arange(1, 24)
_TIMES = np.unique(np.concatenate([np.linspace(0, 1, 257), _HALVES, 1 - _HALVES]))
"""Where ``alpha`` is looked at: equally spaced, and ever closer to the ends."""
_RISES = "a schedule whose alpha, the probability that a token is revealed, rises from 0 at t = 0 to 1 at t = 1"

_EVEN = np.arange(1, 256) / 256
"""Where companions of ``alpha`` are looked at."""
_SAME = 1e-4
"""By how much probabilities may differ that should be equal."""
_SLOPE = 0.05
"""Likewise slopes, of their size."""
_EXPONENT = 0.15
"""Likewise exponents at the ends."""
_LIBRARY = __name__.partition(".")[0] + "."


def check_numbers(self: Any, argument: str) -> None:
    """Refuse a schedule whose numbers are not one each, positive and finite (a method that families share)."""
    for name, value in self.parameters().items():
        if np.ndim(value):
            require(False, argument, verbatim(f"a stack of shape {np.shape(value)}"), "one schedule, not a stack")
        good = np.asarray(value).dtype.kind in "fiu" and bool(0 < float(value) < np.inf)
        require(good, argument, verbatim(f"{self.name} of {name} {value}"), "made of positive, finite numbers")


def check_rise(schedule: Any, argument: str) -> None:
    """Refuse a schedule whose ``alpha`` does not rise from 0 to 1, or is no float32 (at least) for every time."""
    alpha = _values(schedule, "alpha", argument, _TIMES)
    if alpha is not None:
        check_values(schedule, _TIMES, alpha, argument)


def check_values(schedule: Any, times: np.ndarray, alpha: np.ndarray, argument: str) -> None:
    """Refuse a schedule whose ``alpha`` at ``times``, from 0 to 1, does not rise from 0 to 1."""
    shown = _fault(times, alpha)
    require(shown is None, argument, verbatim(f"{type(schedule).__name__} with {shown}"), _RISES)


def check_companions(schedule: Any, argument: str, root: type) -> None:
    """Refuse a schedule of a class of the user's own where what it writes beside ``alpha`` contradicts it.

    Only methods are looked at that the user wrote, and of slopes, inverses and exponents only a contradiction at most
    of the times counts.

    Args:
        schedule: of any class.
        argument: its name, for the sentence.
        root: the class ``Schedule``.
    """
    if type(schedule).__module__.startswith(_LIBRARY):
        return
    written = {name for name in _COMPANIONS if _is_own(type(schedule), name, root)}
    with jax.debug_nans(False):  # (places that nobody asked for)
        _check_traced(schedule, "alpha", argument)
        alpha = _values(schedule, "alpha", argument, _EVEN)
        if alpha is None:
            return
        for name in (name for name in _COMPANIONS if name in written):
            expected, at, close = _COMPANIONS[name](alpha)
            if name == "inverse":
                given = _values(schedule, name, argument, alpha[at])
                given = given if given is None else _values(schedule, "alpha", argument, np.clip(given, 0, 1))
                label = "alpha(inverse(alpha(t)))"
            else:
                _check_traced(schedule, name, argument)
                given, label = _values(schedule, name, argument, _EVEN[at]), f"{name}(t)"
            if given is None or not len(at):
                continue
            wrong = np.flatnonzero(~close(given, expected))
            if len(wrong) > (0 if name in _EXACT else len(at) // 2):
                worst = wrong[len(wrong) // 2]
                numbers = (float(x[i]) for x, i in ((_EVEN, at[worst]), (given, worst), (expected, worst)))
                _contradiction(schedule, argument, name, label, *numbers)
        if {"ends", "end_exponents"} & {n for n in _ENDS if _is_own(type(schedule), n, root)}:
            _check_ends(schedule, argument)


def _contradiction(
    schedule: Any, argument: str, name: str, label: str, time: float, given: float, expected: float
) -> None:
    found = f"{type(schedule).__name__}, whose {label} is {given:.6g} at t = {time:.6g}, where alpha makes it"
    require(False, argument, verbatim(f"{found} {expected:.6g}"), f"a schedule whose {name} does not contradict alpha")


_Expected = tuple[np.ndarray, np.ndarray, Callable[[np.ndarray, np.ndarray], np.ndarray]]


def _expected_probability(of: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], _Expected]:
    def close(given: np.ndarray, expected: np.ndarray) -> np.ndarray:
        return np.abs(given - expected) <= _SAME

    return lambda alpha: (of(alpha), np.arange(len(alpha)), close)


def _expected_angle(of: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], _Expected]:
    def close(given: np.ndarray, expected: np.ndarray) -> np.ndarray:
        # As probabilities, in which rounding is even; an angle out of [0, 1] is none.
        same = np.abs(np.sin(np.pi / 2 * given) ** 2 - np.sin(np.pi / 2 * expected) ** 2) <= _SAME
        return same & (given > -0.01) & (given < 1.01)

    return lambda alpha: (of(alpha), np.arange(len(alpha)), close)


def _expected_slope(
    of: Callable[[np.ndarray], np.ndarray], logarithm: bool = False
) -> Callable[[np.ndarray], _Expected]:
    """Slopes by central differences, where two of these agree and are no noise; times what ``of`` says of ``alpha``."""

    def close(given: np.ndarray, expected: np.ndarray) -> np.ndarray:
        ratio = np.exp(given - expected) if logarithm else given / expected
        return np.abs(ratio - 1) <= _SLOPE

    def expected(alpha: np.ndarray) -> _Expected:
        near, far = (np.full(len(alpha), np.nan) for _ in range(2))
        near[1:-1] = (alpha[2:] - alpha[:-2]) * 128
        far[2:-2] = (alpha[4:] - alpha[:-4]) * 64
        resolved = (near > 0.1) & (np.abs(far - near) < 0.01 * near) & (alpha > 0.02) & (alpha < 0.98)
        at = np.flatnonzero(resolved)
        value = near[at] * of(alpha[at])
        return (np.log(value) if logarithm else value), at, close

    return expected


def _expected_inverse(alpha: np.ndarray) -> _Expected:
    rises = np.diff(alpha, prepend=0.0, append=1.0)
    at = np.flatnonzero((rises[1:] > 1e-3) & (rises[:-1] > 1e-3) & (rises[1:] < 0.05) & (rises[:-1] < 0.05))
    return alpha[at], at, lambda given, expected: np.abs(given - expected) <= 1e-3


def _angle(alpha: np.ndarray) -> np.ndarray:
    return 2 / np.pi * np.arcsin(np.sqrt(np.clip(alpha, 0, 1)))


def _by_angle(alpha: np.ndarray) -> np.ndarray:
    return 1 / (np.pi * np.sqrt(alpha * (1 - alpha)))


_COMPANIONS: dict[str, Callable[[np.ndarray], _Expected]] = {
    "one_minus_alpha": _expected_probability(lambda alpha: 1 - alpha),
    "theta": _expected_angle(_angle),
    "one_minus_theta": _expected_angle(lambda alpha: _angle(1 - alpha)),
    "inverse": _expected_inverse,
    "derivative": _expected_slope(np.ones_like),
    "log_theta_rate": _expected_slope(_by_angle, logarithm=True),
    "theta_rate": _expected_slope(_by_angle),
    "weight": _expected_slope(lambda alpha: 1 / (1 - alpha)),
    "hazard": _expected_slope(lambda alpha: _by_angle(alpha) / _angle(1 - alpha)),
}
"""From ``alpha`` to what each should be, at which places, and when two values are taken for equal."""
_EXACT = ("one_minus_alpha", "theta", "one_minus_theta")
_ENDS = ("ends", "end_exponents")


def _check_ends(schedule: Any, argument: str) -> None:
    """Refuse exponents at the ends that are none, or are not those of the angle where it has settled to a power."""
    known = _called(schedule, "end_exponents", argument)
    if known is None:
        return
    try:
        exponents = [float(x) for x in known]
    except (TypeError, ValueError):
        exponents = []
    good = len(exponents) == 2 and all(0 < x < np.inf for x in exponents)
    name, wanted = type(schedule).__name__, "a schedule whose ends are two positive numbers, or None"
    require(good, argument, verbatim(f"{name} with ends {known!r}"), wanted)
    early = 0.5 ** np.arange(4, 13)
    for stated, what, label, at in (
        (exponents[0], "alpha", "theta goes as t", early),
        (exponents[1], "one_minus_alpha", "1 - theta goes as (1 - t)", 1 - early),
    ):
        small = _values(schedule, what, argument, at)
        if small is None:
            return
        kept = _angle(small)[small > _SAME]
        slopes = np.log2(kept[:-1] / kept[1:]) if len(kept) > 1 else np.zeros(0)
        if len(slopes) >= 3 and np.ptp(slopes[-3:]) < 0.03 and abs(slopes[-1] - stated) > _EXPONENT:
            found = (
                f"{name} with {stated:.6g} where {label}^{slopes[-1]:.3g} (seen from t = {at[len(kept) - 2]:.6g} on)"
            )
            require(False, argument, verbatim(found), "a schedule whose ends do not contradict alpha")


def _is_own(cls: type, name: str, root: type) -> bool:
    """Whether a user's class wrote the method that ``cls`` has."""
    wrote = writer(cls, name)
    forgotten = name in vars(wrote).get("_forgotten", ())
    return wrote is not root and not wrote.__module__.startswith(_LIBRARY) and not forgotten


def _called(schedule: Any, name: str, argument: str, *given: Any) -> Any:
    """What a method gives; whatever a user's method raises is told in a sentence."""
    try:
        return getattr(schedule, name)(*given)
    except Exception as error:
        said = shortened(printable(" ".join(str(error).split())))
        wanted = f"one schedule whose {name} takes an array of {'alphas' if name == 'inverse' else 'times'}"
        raised = f"{type(error).__name__}: {said}" if said else type(error).__name__
        sentence = f"{argument} must be {wanted}; that of {type(schedule).__name__} raises {raised}"
        raise InputError(sentence.removesuffix(".") + ".") from error


def _values(schedule: Any, name: str, argument: str, at: np.ndarray) -> np.ndarray | None:
    """What a method gives at some places, in float64; ``None`` while JAX traces."""
    given = _called(schedule, name, argument, jnp.asarray(at, float))
    if isinstance(given, jax.core.Tracer):
        return None
    shape, kind = np.shape(given), np.asarray(given).dtype
    good = shape == at.shape and bool(jnp.issubdtype(kind, jnp.floating))
    wanted = f"one schedule whose {name} returns a float for every time"
    shown = f"{type(schedule).__name__}, which for {at.shape} times returns {shape} of {kind}"
    require(good, argument, verbatim(shown), wanted)
    require(kind.itemsize >= 4, argument, verbatim(shown), f"{wanted}, of float32 at least")
    return np.asarray(given, np.float64)


def _check_traced(schedule: Any, name: str, argument: str) -> None:
    """Refuse a method that JAX cannot trace: one written with NumPy, or that asks which value it was given."""
    try:
        jax.eval_shape(getattr(schedule, name), jax.ShapeDtypeStruct((2,), jnp.asarray(0.0).dtype))
    except jax.errors.JAXTypeError as error:
        wanted = f"a schedule whose {name} is written with jax.numpy, so that JAX can trace it"
        raise InputError(
            f"{argument} must be {wanted}; got {type(schedule).__name__}, which it cannot trace."
        ) from error


def _fault(times: np.ndarray, alpha: np.ndarray) -> str | None:
    """What is wrong with the values at ``times``, if anything is."""

    def at(*places: int) -> str:
        return " and ".join(f"alpha({times[i]:.6g}) = {alpha[i]:.6g}" for i in places)

    if not np.isfinite(alpha).all():
        return at(int(np.argmin(np.isfinite(alpha))))
    if abs(alpha[0] - 1) <= _ROUNDING and abs(alpha[-1]) <= _ROUNDING:
        return f"{at(0, -1)} (the reversed convention: 1 - alpha is meant)"
    if abs(alpha[0]) > _ROUNDING or abs(alpha[-1] - 1) > _ROUNDING:
        return at(0, -1)
    falls = np.maximum.accumulate(alpha) - alpha
    worst = int(np.argmax(falls))
    return at(int(np.argmax(alpha[: worst + 1])), worst) if falls[worst] > _ROUNDING else None

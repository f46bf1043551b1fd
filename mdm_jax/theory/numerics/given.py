"""Whatever a caller or a file gave, looked at before it is used: numbers, arrays, texts, paths, JSON, budgets."""

import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from mdm_jax.support.errors import InputError, is_number, require, require_whole
from mdm_jax.support.text import shortened

_SMALL_FLOATS = ("bfloat16", "float16")
LONGEST = 2**31 - 1
"""The longest sequence: positions are 32-bit numbers."""


def brief(given: Any) -> str:
    """What is no plan, profile or grid, without the numbers in it."""
    return repr(given) if given is None or isinstance(given, str | int | float) else f"a {type(given).__name__}"


def require_text(argument: str, given: Any) -> None:
    """Refuse a name that is no text, or none that a file can hold."""
    require(isinstance(given, str) and _is_unicode(given), argument, given, "a text")


def _is_unicode(text: str) -> bool:
    """Whether it can be written: a half of a surrogate pair cannot."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def require_path(argument: str, given: Any) -> None:
    """Refuse what is no path."""
    require(isinstance(given, str | os.PathLike), argument, given, "a path")


def as_json(argument: str, given: Any) -> Any:
    """``given`` as JSON has it: mappings, lists, texts, truth values, finite numbers and nothing; else refused.

    NumPy's and JAX's numbers become Python's. An array is refused: which of its digits are meant is not ours to say.
    """
    wanted = "JSON: mappings, lists, texts and finite numbers"
    if isinstance(given, Mapping):
        for name in given:
            require(isinstance(name, str) and _is_unicode(name), f"a name in {argument}", name, "a text")
        return {name: as_json(argument, value) for name, value in given.items()}
    if isinstance(given, list | tuple):
        return [as_json(argument, value) for value in given]
    if given is None or isinstance(given, bool | np.bool_):
        return given if given is None else bool(given)
    if isinstance(given, str):
        require(_is_unicode(given), argument, given, wanted)
        return given
    require(is_number(given), argument, given, wanted)
    kind = getattr(getattr(given, "dtype", None), "kind", "")
    number = int(given) if isinstance(given, int) or kind in ("i", "u") else float(given)
    require(isinstance(number, int) or math.isfinite(number), argument, given, wanted)
    return number


def require_array(argument: str, given: Any) -> np.ndarray:
    """``given`` as an array; refuse a ragged list, or anything else that makes none."""
    try:
        return np.asarray(given)
    except (TypeError, ValueError):
        raise InputError(f"{argument} must be an array; got {shortened(repr(given))}.") from None


def check_budget(length: Any, steps: Any) -> int:
    """``steps``; refuse a number of them that is not whole or not from 1 to ``length``, itself a whole number."""
    return require_whole("steps", steps, 1, require_whole("length", length, 1, LONGEST))


def told_nats(nats: float | int) -> float | None:
    """A budget as an origin tells it: null if it is infinite, which JSON does not have."""
    return float(nats) if math.isfinite(nats) else None


def as_float(x: ArrayLike) -> Array:
    """``x`` as an array of JAX's default float type (float32, or float64 under ``jax_enable_x64``).

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.schedules.as_float(1)
        Array(1., dtype=float32)
    """
    return jnp.asarray(x, dtype=float)


def positive(argument: str, value: ArrayLike, least: float = 0.0, most: float | None = None) -> Array:
    """``value`` as floats if all are positive and finite (from ``least`` to ``most``); tracers pass unchecked.

    Raises:
        InputError: another number.
    """
    if not isinstance(value, jax.core.Tracer):
        held = jnp.finfo(jax.dtypes.canonicalize_dtype(float))
        try:
            given = np.asarray(value)
            if given.dtype.kind not in "fiu" and str(given.dtype) not in _SMALL_FLOATS:  # true and "1" are no numbers
                raise TypeError
            with np.errstate(over="ignore"):
                numbers = given.astype(float).astype(held.dtype)
        except (TypeError, ValueError):
            raise InputError(f"{argument} must be a positive number; got {value!r}.") from None
        good = bool(np.all((numbers >= held.tiny) & np.isfinite(numbers)))
        require(good, argument, value, f"a positive, finite number that {held.dtype} can hold")
        if not bool(np.all(numbers >= np.asarray(least, held.dtype))):
            raise InputError(f"{argument} must be at least {least:g}; got {value}.")
        if most is not None and not bool(np.all(numbers <= most)):
            raise InputError(f"{argument} must be at most {most:g}; got {value}.")
    return as_float(value)

"""One kind of error for everything a caller got wrong, worded for the caller."""

import operator
from collections.abc import Iterable, Sequence, Set
from typing import Any

from mdm_jax.support.text import shortened


class InputError(ValueError):
    """Bad input: one sentence that names the argument, what was given and what would be right.

    The command line prints the sentence and exits with status 2; it never shows a traceback for it.
    """


def require(condition: bool, argument: str, given: object, wanted: str) -> None:
    """Raise :class:`InputError` unless ``condition`` holds.

    Args:
        condition: a concrete (not traced) truth value.
        argument: the name of the argument as the caller knows it.
        given: what was passed; shown with ``repr``, shortened when long.
        wanted: what would have been right, as the end of a sentence ("must be ...").
    """
    if not condition:
        raise InputError(f"{argument} must be {wanted}; got {_shown(given)}.")


def require_choice(argument: str, given: str, choices: Iterable[str]) -> None:
    """Raise :class:`InputError` unless ``given`` is one of ``choices``."""
    options = sorted(choices)
    require(given in options, argument, given, "one of " + ", ".join(options))


def require_whole(argument: str, given: Any, least: int, most: int | None = None) -> int:
    """``given`` as an ``int``, or :class:`InputError` unless it is a whole number in the range.

    A float, even a whole one, and a truth value are none: what they would become says nothing of what was meant.
    """
    try:
        value = None if isinstance(given, bool) else operator.index(given)
    except TypeError:
        value = None
    wanted = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"
    require(value is not None and value >= least and (most is None or value <= most), argument, given, wanted)
    assert value is not None
    return value


def is_number(given: object) -> bool:
    """Whether it is one real number, or an array of one: no text, no truth value, no complex number."""
    dtype = getattr(given, "dtype", None)
    if dtype is None:
        return isinstance(given, int | float) and not isinstance(given, bool)
    return getattr(given, "shape", None) == () and (dtype.kind in "iuf" or "float" in str(dtype))


def is_list(given: object) -> bool:
    """Whether it is a list, a set or the like, or an array of one axis; text is none."""
    shape = getattr(given, "shape", None)
    return (
        isinstance(given, Sequence | Set) and not isinstance(given, str | bytes) if shape is None else len(shape) == 1
    )


def require_number(argument: str, given: object, least: float | int, most: float | int, wanted: str) -> None:
    """Raise :class:`InputError` unless ``given`` is a real number from ``least`` to ``most``; NaN is none."""
    value: Any = given if isinstance(given, int) or not is_number(given) else float(given)  # pyright: ignore[reportArgumentType]
    require(is_number(given) and least <= value <= most, argument, given, wanted)


def require_seed(argument: str, given: int) -> None:
    """Raise :class:`InputError` unless ``given`` is a seed: JAX keeps 32 bits, of which all but the sign are free."""
    require(0 <= given < 2**31, argument, given, "from 0 to 2^31 - 1")


def uncalled(given: object) -> object:
    """``given`` as :func:`require` should show it: of a function or class of this library, that it is to be called."""
    if not callable(given) or not str(getattr(given, "__module__", "")).startswith("mdm_jax."):
        return given
    name = getattr(given, "__name__", None)  # a made object that can be called has none
    return given if name is None else verbatim(f"{name} itself: call it, as {name}(...)")


def _shown(given: object) -> str:
    return shortened(given if isinstance(given, _Verbatim) else repr(given))


class _Verbatim(str):
    """Text shown without quotes (a shape, say)."""


def verbatim(text: str) -> str:
    """Mark ``text`` to be shown by :func:`require` as it is, without quotes."""
    return _Verbatim(text)

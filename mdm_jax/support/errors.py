"""One kind of error for everything a caller got wrong, worded for the caller."""

from collections.abc import Iterable

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


def require_seed(argument: str, given: int) -> None:
    """Raise :class:`InputError` unless ``given`` is a seed: JAX keeps 32 bits, of which all but the sign are free."""
    require(0 <= given < 2**31, argument, given, "from 0 to 2^31 - 1")


def _shown(given: object) -> str:
    return shortened(given if isinstance(given, _Verbatim) else repr(given))


class _Verbatim(str):
    """Text shown without quotes (a shape, say)."""


def verbatim(text: str) -> str:
    """Mark ``text`` to be shown by :func:`require` as it is, without quotes."""
    return _Verbatim(text)

"""How a module is called, and what is said of one that cannot be called so."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from mdm_jax.support.errors import InputError
from mdm_jax.support.text import shortened


def parameters_of(function: Any) -> list[inspect.Parameter] | None:
    """What a function takes, or ``None`` where Python cannot tell."""
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def call(method: Any, *inputs: Any) -> Any:
    """``method(*inputs)``, if it can be called so."""
    check_call(method, *inputs)
    return method(*inputs)


def check_call(method: Any, *inputs: Any) -> None:
    """Refuse a module's method that cannot be called with these: Python's own words would name an argument alone."""
    given = parameters_of(method)
    if given is None:
        return
    signature = inspect.Signature(given)
    try:
        signature.bind(*inputs)
    except TypeError as error:
        told = "tokens and a context" if len(inputs) > 1 else "tokens (and a context, where one is given)"
        name = getattr(method, "__name__", "__call__")
        told = "hidden vectors" if name == "readout" else told
        advice = "leave the context out" if len(inputs) > 1 else "call it with a context"
        raise InputError(
            f"the module is called with {told} and nothing else, and its {name} takes {signature}: "
            f"{error}; give what else it takes a default, or {advice}."
        ) from None


@contextlib.contextmanager
def asking_for_context(given: Any, encode: Callable[[], Any]) -> Iterator[None]:
    """Around what runs a model: of one that fails for want of a context, say that one must be given.

    Args:
        given: the context, ``None`` if there is none.
        encode: the model alone, traced without a context; called once something has failed.

    Raises:
        InputError: instead of whatever was raised inside, where the model alone fails too.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        found = None if given is not None else _failure(encode)
        if found is None:
            raise
        raise InputError(
            "context must be given to a model that needs one; without a context this one fails: "
            f"{type(found).__name__}: {shortened(str(found)).rstrip('.')}."
        ) from error


def _failure(act: Callable[[], Any]) -> Exception | None:
    """What ``act`` raises."""
    try:
        act()
    except Exception as error:  # told by the caller
        return error
    return None


def random_refused(remedy: str) -> InputError:
    return InputError(
        "the module draws random numbers when it is called (dropout, most likely), and a denoiser may not, in training "
        f"or in sampling: {remedy}, or with a rate of 0."
    )


def change_refused(what: str, remedy: str) -> InputError:
    return InputError(
        f"the module changes {what} when it is called (batch statistics or a cache, most likely), and a denoiser may "
        f"not: {remedy}."
    )

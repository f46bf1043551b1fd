"""How a module is called, and what is said of one that cannot be called so."""

import inspect
from typing import Any

from mdm_jax.support.errors import InputError


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
        raise InputError(
            f"the module is called with {told} and nothing else, and its {name} takes {signature}: "
            f"{error}; give what else it takes a default, or leave the context out."
        ) from None


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

"""What a user wrote in Python, named on a command line as ``MODULE:NAME``; what went wrong in it, in a few words."""

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from mdm_jax.support.errors import InputError, require
from mdm_jax.support.text import shortened


def own_object(argument: str, text: str) -> Any:
    """What ``text`` names: an attribute of a module in the working directory, or of one that is installed.

    Args:
        argument: what to call ``text`` in error messages.
        text: ``MODULE:NAME``, as in ``my_scores:closeness`` or ``package.module:Class.member``.

    Raises:
        InputError: another form, no such module, a module that fails when it is imported, or no such name in it.

    Example:
        >>> from mdm_jax.support.own_code import own_object
        >>> own_object("--score", "math:sqrt")(4)
        2.0
        >>> own_object("--score", "math:square")
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: --score names 'square', which the module math does not have.
    """
    module_name, _, name = text.partition(":")
    words = [*module_name.split("."), *name.split(".")]
    require(all(word.isidentifier() for word in words), argument, text, "MODULE:NAME, as in my_module:my_function")
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)  # as "python -m" has it; the program that pip installs has not
    importlib.invalidate_caches()  # a file that has just been written is seen
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(f"{argument} {text} cannot be imported: {told(error)}.") from error
        raise InputError(
            f"{argument} names the module {module_name}, which is neither in the working directory nor installed."
        ) from None
    except (Exception, SystemExit) as error:
        raise InputError(f"{argument} {text} cannot be imported: {told(error)}.") from error
    for word in name.split("."):
        if not hasattr(found, word):
            raise InputError(f"{argument} names {name!r}, which the module {module_name} does not have.")
        found = getattr(found, word)
    return found


def told(error: BaseException) -> str:
    """An error of somebody's code in a few words, with the place where it was raised.

    Example:
        >>> from mdm_jax.support.own_code import told
        >>> told(ValueError("no rows"))
        'ValueError: no rows'
    """
    said = f"{type(error).__name__}: {shortened(str(error).rstrip('.'))}".rstrip(": ")
    frames = traceback.extract_tb(error.__traceback__)
    return said if not frames else f"{said} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"

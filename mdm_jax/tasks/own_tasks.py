"""A task that a function of the user's own makes, named by ``MODULE:FUNCTION``, so that commands and runs find it."""

import os
import re
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from typing import Any

import numpy as np
from jaxtyping import Int

from mdm_jax.support.errors import InputError
from mdm_jax.support.own_code import own_object, told
from mdm_jax.tasks.extras import baselines_of
from mdm_jax.tasks.notations import from_json
from mdm_jax.tasks.task import Task

KIND = "python:"
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_STORED = {"spec": str, "length": int, "vocab_size": int, "digest": str}


class OwnTask:
    """A task of the user's under the name by which it is found again: ``spec`` and ``describe`` have it.

    Whatever else is asked for is the task's own. Made by :func:`from_function`.
    """

    def __init__(self, spec: str, task: Task) -> None:
        self.spec, self.task = spec, task

    @property
    def length(self) -> int:
        """As the task has it; so are all others."""
        return self.task.length

    @property
    def vocab_size(self) -> int:
        """Number of real tokens."""
        return self.task.vocab_size

    @property
    def train(self) -> np.ndarray:
        """Training data."""
        return self.task.train

    @property
    def validation(self) -> np.ndarray:
        """Held out, to choose by."""
        return self.task.validation

    @property
    def test(self) -> np.ndarray:
        """Held out, to judge by."""
        return self.task.test

    @property
    def digest(self) -> str:
        """Of the data."""
        return self.task.digest

    @property
    def score_name(self) -> str:
        """The heading of :meth:`score`."""
        return self.task.score_name

    @property
    def lower_is_better(self) -> bool:
        """The direction of :meth:`score`."""
        return self.task.lower_is_better

    def show(self, tokens: Int[Any, " length"]) -> str:
        """One row for human eyes."""
        return self.task.show(tokens)

    def score(self, tokens: Int[Any, "rows length"]) -> Any:
        """One number per row."""
        return self.task.score(tokens)

    def baselines(self, tokens: Int[Any, "rows length"], given: Any = None) -> Any:
        """Bits per token of each row, by name; of the tokens that are not ``given``."""
        return baselines_of(self.task, tokens, given)

    def describe(self) -> dict[str, Any]:
        """What the task describes itself as, under this name."""
        return {**self.task.describe(), "spec": self.spec}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("spec", "task"):  # copies and pickles ask before there is a task
            raise AttributeError(name)
        return getattr(self.task, name)

    def __repr__(self) -> str:
        return f"OwnTask({self.spec!r}, {self.task!r})"


def is_name(spec: str) -> bool:
    """Whether ``spec`` is written as ``MODULE:FUNCTION``."""
    return _NAME.fullmatch(spec) is not None


def is_there(name: str) -> bool:
    """Whether the module of ``MODULE:FUNCTION`` lies in the working directory or is installed; it is not imported."""
    top = name.partition(":")[0].partition(".")[0]
    return top in sys.modules or PathFinder.find_spec(top, [os.getcwd(), *sys.path]) is not None


def from_function(name: str) -> OwnTask:
    """The task that the function ``name`` returns when it is called without arguments.

    Args:
        name: ``MODULE:FUNCTION``, of a module in the working directory or of one that is installed.

    Raises:
        InputError: there is none, it fails, or returns something else than a task whose description can be stored.
    """
    spec = f"{KIND}{name}"
    function = own_object("spec", name)
    if not callable(function):
        raise InputError(f"spec must name a function that returns a task; {name} is {type(function).__name__}.")
    try:
        task = function()
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(
            f"spec must name a function that returns a task; {name}() failed with {told(error)}."
        ) from error
    if not isinstance(task, Task):
        lacking = [member for member in _members() if not hasattr(task, member)]
        raise InputError(
            f"spec must name a function that returns a task; {name}() returned {type(task).__name__}, which has no "
            f"{', '.join(lacking)}."
        )
    _check(name, task.describe())
    return OwnTask(spec, task)


def _check(name: str, description: Mapping[str, Any]) -> None:
    wrong = [key for key, kind in _STORED.items() if type(description.get(key)) is not kind]
    if wrong:
        raise InputError(
            f"spec must name a function that returns a task; describe() of that of {name}() has no {', '.join(wrong)}, "
            "as JSON has it."
        )
    stored = description.get("vocabulary")
    if not isinstance(stored, str | dict):
        raise InputError(
            f"spec must name a function that returns a task; describe() of that of {name}() has no vocabulary, "
            "as task.vocabulary.to_json() makes it."
        )
    from_json(stored)


def _members() -> list[str]:
    return sorted(name for name in dir(Task) if not name.startswith("_"))

"""Which of many parameters the plain test command tries; all the others are thorough."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def thorough_but(quick: Iterable[Any] | Callable[[Any], bool], every: Iterable[Any]) -> list[Any]:
    """``every``, those that are not ``quick`` marked as thorough: a parameter with several values goes by the tuple."""
    wanted = quick if callable(quick) else [*quick].__contains__
    marked = [(one, one if isinstance(one, tuple) else (one,)) for one in every]
    return [one if wanted(one) else pytest.param(*values, marks=pytest.mark.thorough) for one, values in marked]

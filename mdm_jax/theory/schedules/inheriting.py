"""What a subclass of a schedule inherits: no closed form that its base wrote for another schedule.

A class that writes ``alpha`` and inherits ``Linear`` would have ``Linear``'s slope, inverse and ends, and energies and
weights would silently be those of ``Linear``. So whatever is older than the newest definition is forgotten, and
computed from that definition instead.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from jax.typing import ArrayLike

DEFINITIONS = ("alpha", "theta", "one_minus_alpha", "one_minus_theta")
"""Each says all of a schedule. The newest counts; of several in one class, the first of these."""

_RATE = (*DEFINITIONS, "derivative")
COMPANIONS = {
    **dict.fromkeys((*DEFINITIONS, "derivative", "inverse", "end_exponents", "_check"), DEFINITIONS),
    **dict.fromkeys(("weight", "log_theta_rate"), _RATE),
    **dict.fromkeys(("theta_rate", "hazard"), (*_RATE, "log_theta_rate")),
    "log_regular_rate": (*_RATE, "log_theta_rate", "end_exponents", "ends"),
}
"""What each method must not be older than."""


def forget_older(cls: type, generic: Callable[[str], type]) -> None:
    """Put generic methods in ``cls`` where those that it inherits were written for another schedule.

    Args:
        cls: a new subclass of ``Schedule``.
        generic: from the definition that counts to the class that computes everything else from it.
    """
    cls._forgotten = frozenset()  # pyright: ignore[reportAttributeAccessIssue]
    age = {name: _age(cls, name) for name in (*COMPANIONS, "ends")}
    newest = min(age[name] for name in DEFINITIONS)
    if newest == len(cls.__mro__):
        return  # nothing but the base class
    root = next(name for name in DEFINITIONS if age[name] == newest)
    cls._root = root  # pyright: ignore[reportAttributeAccessIssue]
    cls._angular = not root.endswith("alpha")  # pyright: ignore[reportAttributeAccessIssue]
    made = {
        name: getattr(generic(root), name)
        for name, sources in COMPANIONS.items()
        if age[name] > min(age[source] for source in sources)
    }
    if root in _INSTEAD:
        name, method = _INSTEAD[root]
        made[name] = method
    if age["ends"] > newest:
        made["ends"] = None
    made = {name: value for name, value in made.items() if getattr(cls, name) is not value}
    for name, value in made.items():
        setattr(cls, name, value)
    cls._forgotten = frozenset(made)  # pyright: ignore[reportAttributeAccessIssue]


def own(schedule: Any, name: str) -> Any:
    """The method, as the bases write it where ``alpha`` defines the schedule.

    Methods of an angle are then reached by ``super()`` alone, and what they give must not stand on the new ``alpha``.
    """
    if type(schedule)._angular:
        return getattr(schedule, name)
    for base in type(schedule).__mro__:
        if name in vars(base) and name not in vars(base).get("_forgotten", ()):
            return vars(base)[name].__get__(schedule)
    raise AttributeError(name)


def before(schedule: Any, *roots: str) -> Any:
    """``schedule`` as the nearest base has it that one of ``roots`` does not define; itself where none defines it.

    A definition may stand on what it replaces, ``super().theta(t)`` say, and this must not lead back to it.
    """
    cls = type(schedule)
    if cls._root not in roots:
        return schedule
    older = next(base for base in cls.__mro__ if hasattr(base, "_root") and base._root not in roots)
    seen = object.__new__(older)
    for field in dataclasses.fields(older):
        object.__setattr__(seen, field.name, getattr(schedule, field.name))
    return seen


def writer(cls: type, name: str) -> type:
    """The class whose ``name`` it is that ``cls`` has."""
    return next(base for base in cls.__mro__ if name in vars(base))


def _age(cls: type, name: str) -> int:
    """How far back in the order of bases a class writes ``name``, the last one (``Schedule``) left out."""
    bases = cls.__mro__
    root = max(i for i, base in enumerate(bases) if "_forgotten" in vars(base))
    writes = (name in vars(base) and name not in vars(base).get("_forgotten", ()) for base in bases)
    return next((i for i, found in enumerate(writes) if found and i != root), len(bases))


def _not_masked(schedule: Any, t: ArrayLike) -> Any:
    """``alpha`` of a class that writes ``one_minus_alpha`` alone."""
    return 1 - schedule.one_minus_alpha(t)


def _not_left(schedule: Any, t: ArrayLike) -> Any:
    """``theta`` of a class that writes ``one_minus_theta`` alone."""
    return 1 - schedule.one_minus_theta(t)


_INSTEAD = {"one_minus_alpha": ("alpha", _not_masked), "one_minus_theta": ("theta", _not_left)}

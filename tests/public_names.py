"""What of the library is public: what its faces name in ``__all__``, and what modules without one do not hide."""

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import mdm_jax


def public(face: ModuleType = mdm_jax) -> dict[str, Any]:
    """Functions and classes by the module that defines them and their name there: ``mdm_jax.support.keys.key``."""
    found: dict[str, Any] = {}
    for value in _reached(face, set()):
        found.setdefault(f"{value.__module__}.{value.__qualname__}", value)
    return dict(sorted(found.items()))


def functions(face: ModuleType = mdm_jax) -> dict[str, Any]:
    """The functions among them."""
    return {name: value for name, value in public(face).items() if not inspect.isclass(value)}


def _reached(face: ModuleType, seen: set[str]) -> Iterator[Any]:
    if face.__name__ in seen or not face.__name__.startswith("mdm_jax"):
        return
    seen.add(face.__name__)
    for name in _names(face):
        value = getattr(face, name)
        if inspect.ismodule(value):
            yield from _reached(value, seen)
        elif str(getattr(value, "__module__", "")).startswith("mdm_jax") and hasattr(value, "__qualname__"):
            yield value


def _names(face: ModuleType) -> list[str]:
    if hasattr(face, "__all__"):
        return list(face.__all__)
    own = [name for name, value in vars(face).items() if getattr(value, "__module__", None) == face.__name__]
    return [name for name in own if not name.startswith("_")]

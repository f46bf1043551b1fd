"""Whether every public name of the library says what it is, and every public function shows it in an example.

``python .ci/site/undocumented.py [ROOM ...]`` prints what is missing, room by room: all of it, or of some rooms
(``sampling``, ``theory.plans``). Public is what a face names: ``mdm_jax``, every module that some ``__all__`` names,
and the wings. A module without ``__all__`` names what is defined in it and does not begin with an underscore.
"""

import ast
import dataclasses
import importlib
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

WINGS = ("evaluation.samples", "training.checkpoints", "training.devices")
"""Faces that no ``__all__`` names."""


@dataclasses.dataclass(frozen=True)
class Missing:
    """What one public name lacks."""

    face: str
    name: str
    lacks: str

    def __str__(self) -> str:
        return f"{self.face}.{self.name} has no {self.lacks}."


def names_of(face: ModuleType) -> list[str]:
    """The public names of a module."""
    named = getattr(face, "__all__", None)
    if named is not None:
        return list(named)
    return [
        name
        for name, value in vars(face).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == face.__name__
    ]


def faces() -> list[ModuleType]:
    """The front door, the rooms and wings behind it, and the modules that they name."""
    found: dict[str, ModuleType] = {}
    waiting = [importlib.import_module(name) for name in ("mdm_jax", *(f"mdm_jax.{wing}" for wing in WINGS))]
    while waiting:
        face = waiting.pop(0)
        if face.__name__ not in found:
            found[face.__name__] = face
            values = [getattr(face, name) for name in names_of(face)]
            waiting += [value for value in values if inspect.ismodule(value)]
    return [found[name] for name in sorted(found)]


def missing() -> Iterator[Missing]:
    """What public names lack; one that several faces name is told once, where it is named most deeply."""
    told: set[int | str] = set()
    for face in sorted(faces(), key=lambda face: -face.__name__.count(".")):
        for name in names_of(face):
            value = getattr(face, name)
            identity = id(value) if _has_own_docstring(value) else f"{face.__name__}.{name}"
            if identity not in told:
                told.add(identity)
                yield from (Missing(face.__name__, name, lack) for lack in _lacks(face, name, value))


def _has_own_docstring(value: Any) -> bool:
    return inspect.ismodule(value) or inspect.isclass(value) or _is_function(value)


def _is_function(value: Any) -> bool:
    """A function, or one that JAX has compiled: neither a class nor a type such as ``Callable[..., Array]``."""
    return inspect.isfunction(inspect.unwrap(value)) if callable(value) else False


def _lacks(face: ModuleType, name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        said = value.__dict__.get("__doc__") or ""
        if not said or said.startswith(f"{value.__name__}("):  # what dataclasses and named tuples write by themselves
            yield "docstring"
    elif inspect.ismodule(value) or _is_function(value):
        said = value.__doc__ or ""
        if not said:
            yield "docstring"
        elif _is_function(value) and ">>>" not in said:
            yield "example"
    elif not _says_what_it_is(face, name):
        yield "docstring after it"


def _says_what_it_is(module: ModuleType, name: str) -> bool:
    """Whether a string stands after the assignment of a constant or a type, in the module that has it."""
    body = ast.parse(inspect.getsource(module)).body
    for index, line in enumerate(body):
        if isinstance(line, ast.ImportFrom) and line.module:
            for imported in line.names:
                if (imported.asname or imported.name) == name:
                    return _says_what_it_is(importlib.import_module(line.module), imported.name)
        targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            after = body[index + 1] if index + 1 < len(body) else None
            return (
                isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            )
    return False


def main(rooms: list[str]) -> int:
    """Print what is missing in some rooms or in all; 1 if anything is."""
    wanted = tuple(f"mdm_jax.{room}" for room in rooms)
    found = [lack for lack in missing() if not wanted or lack.face.startswith(wanted)]
    for lack in sorted(found, key=str):
        print(lack)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Every ``:func:``, ``:class:``, ``:mod:``, ``:data:``, ``:meth:`` and ``:attr:`` of the library names something."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import mdm_jax

ROOT = Path(mdm_jax.__file__).parent
REFERENCE = re.compile(r":(?:func|class|mod|data|meth|attr|obj|exc):`~?([^`]+)`")
MODULES = ["mdm_jax", *sorted(found.name for found in pkgutil.walk_packages([str(ROOT)], "mdm_jax."))]


def texts_of(source):
    """Every string in a module with the classes that it stands in."""
    found = []

    def walk(node, classes):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                found.append((child.lineno, child.value, classes))
            walk(child, (*classes, child.name) if isinstance(child, ast.ClassDef) else classes)

    walk(ast.parse(source), ())
    return found


def has(owner, names):
    """Whether ``owner.a.b`` is there; a field of a dataclass without a default is no attribute, but annotated."""
    for name in names:
        if not hasattr(owner, name):
            return name in getattr(owner, "__annotations__", {}) and name == names[-1]
        owner = getattr(owner, name)
    return True


def resolves(name, module, classes=()):
    """Whether a name means something where it stands: in its class, in its module, or from the top."""
    parts = name.split(".")
    if has(module, [*classes, *parts]) or has(module, parts):
        return True
    for end in range(len(parts), 0, -1):
        try:
            top = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        return has(top, parts[end:])
    return False


@pytest.mark.core
def test_every_reference_resolves():
    count, lost = 0, []
    for name in MODULES:
        module = importlib.import_module(name)
        for line, text, classes in texts_of(Path(module.__file__).read_text(encoding="utf-8")):
            for said in REFERENCE.findall(text):
                count += 1
                if not resolves(said, module, classes):
                    lost.append(f"{name}, line {line}: {said}")
    assert lost == []
    assert count > 300


@pytest.mark.core
def test_a_name_that_is_nowhere_is_found_out():
    plans = importlib.import_module("mdm_jax.theory.plans.plan")
    for good in ("Plan", "Plan.steps", "Plan.sizes", "mdm_jax.theory.plans", "mdm_jax.theory.plans.Plan", "numpy.sum"):
        assert resolves(good, plans), good
    assert resolves("steps", plans, ("Plan",))
    for bad in ("steps", "Plan.step", "mdm_jax.theory.plan", "mdm_jax.theory.plans.Plane", "DIVERGENCES", "nope.sum"):
        assert not resolves(bad, plans), bad
    assert [text for _, text, classes in texts_of("class A:\n    'in it'\n'out'") if classes == ("A",)] == ["in it"]

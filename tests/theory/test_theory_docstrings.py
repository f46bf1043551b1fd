"""The examples in the docstrings of theory, module by module."""

import doctest
import importlib
import pkgutil

import pytest

from mdm_jax import theory

MODULES = [module.name for module in pkgutil.walk_packages(theory.__path__, "mdm_jax.theory.")]


@pytest.mark.core
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.few(2)
def test_examples_in_the_docstrings(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


@pytest.mark.core
def test_there_are_some():
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 15

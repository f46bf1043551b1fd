"""The examples in the docstrings of the whole library, module by module, as a reader would type them.

Which public functions lack one is what ``.ci/site/undocumented.py`` tells.
"""

import ast
import doctest
from pathlib import Path

import jax
import pytest
from matplotlib import pyplot
from printed import difference

import mdm_jax

ROOT = Path(mdm_jax.__file__).parent
SLOW = {
    "mdm_jax.evaluation.cards.making": "a search and four loops are compiled",
    "mdm_jax.evaluation.exact.beta_tuning": "a search is compiled",
    "mdm_jax.evaluation.exact.latent_laws": "two laws are compiled",
    "mdm_jax.evaluation.exact.laws": "six laws are compiled",
    "mdm_jax.evaluation.held_out": "maskings are compiled",
    "mdm_jax.evaluation.latents": "two measurements are compiled",
    "mdm_jax.evaluation.measuring.estimation": "a measurement is compiled",
    "mdm_jax.evaluation.measuring.prompted": "a measurement and a loop are compiled",
    "mdm_jax.evaluation.samples.evaluating": "a batch is compiled",
    "mdm_jax.evaluation.samples.racing": "a batch is compiled",
    "mdm_jax.evaluation.tuning": "a search is compiled",
    "mdm_jax.footprint.compiler": "a training step is compiled",
    "mdm_jax.plot.charts": "a search is compiled",
    "mdm_jax.plot.cost_landscapes": "a search is compiled",
    "mdm_jax.sampling.presets": "four loops are compiled",
    "mdm_jax.sampling.rule": "two loops are compiled",
    "mdm_jax.sampling.rules": "eight loops are compiled",
    "mdm_jax.tasks.pictures": "scikit-learn is imported",
    "mdm_jax.theory.plans.beta_search.searching": "a search is compiled",
    "mdm_jax.training.fitting": "a training is compiled",
    "mdm_jax.training.runs": "a training is compiled",
}
"""The modules whose examples take long, most of it compilation, with the reason; they are thorough."""
STARTERS = {"mdm_jax.footprint.shallow"}
"""The modules whose examples start processes; they are thorough too."""


def marks(name: str) -> list[pytest.MarkDecorator]:
    if name in STARTERS:
        return [pytest.mark.thorough, pytest.mark.processes]
    return [pytest.mark.thorough] if name in SLOW else []


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def examples_in(path: Path) -> list[doctest.DocTest]:
    """Every docstring with examples. They begin with no names: what they need, they import."""
    parser, found = doctest.DocTestParser(), []

    def walk(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = child.name if isinstance(child, ast.ClassDef | ast.FunctionDef) else ""
            if inner:
                walk(child, f"{name}.{inner}")
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            line = node.body[0].lineno - 1
            found.append(parser.get_doctest(text, {}, name, str(path), line))

    walk(ast.parse(path.read_text(encoding="utf-8")), module_of(path))
    return [each for each in found if each.examples]


MODULES = {module_of(path): path for path in sorted(ROOT.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")}


class AsShown(doctest.OutputChecker):
    """Holds what is printed against what is shown as our pages do."""

    def check_output(self, want, got, optionflags):
        return difference(want, got) is None

    def output_difference(self, example, got, optionflags):
        return f"{difference(example.want, got)}\n"


def what_fails(tests: list[doctest.DocTest]) -> str:
    said: list[str] = []
    runner = doctest.DocTestRunner(checker=AsShown(), verbose=False)
    with jax.numpy_rank_promotion("allow"):  # a user's setting
        for test in tests:
            runner.run(test, out=said.append)
    return "".join(said)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    pyplot.close("all")


@pytest.mark.core
@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in MODULES])
def test_examples_in_the_docstrings(name):
    tests = examples_in(MODULES[name])
    assert tests, "a >>> stands outside of its docstrings"
    if said := what_fails(tests):
        pytest.fail(said, pytrace=False)


@pytest.mark.core
def test_every_marked_module_has_examples():
    assert STARTERS | set(SLOW) <= set(MODULES)


WRONG = '''
class Some:
    def method(self):
        """One.

        Example:
            >>> 1 / 3
            0.33
            >>> "a" + "b"
            'ba'
        """

def none():
    """Nothing."""
'''


@pytest.mark.core
def test_an_example_that_is_not_true_is_found_out(tmp_path, monkeypatch):
    page = tmp_path / "mdm_jax" / "wrong.py"
    page.parent.mkdir()
    page.write_text(WRONG)
    monkeypatch.setitem(globals(), "ROOT", page.parent)
    (test,) = examples_in(page)
    assert test.name == "mdm_jax.wrong.Some.method"
    said = what_fails([test])
    assert "'ba'" in said
    assert "0.33" not in said
    assert "line 9" in said

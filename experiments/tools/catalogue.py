"""Which experiments there are, where their files lie, and what determines their results.

A module of ``experiments/`` that has a ``CLAIM`` is an experiment. Claims are read from the source, so that the list
imports nothing.
"""

import ast
import dataclasses
import types
from pathlib import Path
from typing import Any

from experiments.tools.experiment import Claim
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import digest
from mdm_jax.support.version import VERSION


@dataclasses.dataclass(frozen=True)
class Places:
    """Where everything lies, below the folder of a checkout."""

    root: Path = Path(__file__).parents[2]

    @property
    def modules(self) -> Path:
        return self.root / "experiments"

    @property
    def results(self) -> Path:
        """Committed, small: one file for each experiment."""
        return self.modules / "results"

    @property
    def pictures(self) -> Path:
        """Committed, small."""
        return self.modules / "pictures"

    @property
    def page(self) -> Path:
        """Generated from the results."""
        return self.modules / "README.md"

    @property
    def reasons(self) -> Path:
        """Why claims fail here, as written by people."""
        return self.modules / "reasons.toml"

    def folder(self, name: str, quick: bool) -> Path:
        """Of one experiment, ignored by git."""
        runs = self.root / "runs" / "experiments"
        return (runs / "quick" if quick else runs) / name


def claims(places: Places) -> dict[str, Claim]:
    """The claim of every experiment, by name, in alphabetical order."""
    found = {path.stem: _claim(path) for path in sorted(places.modules.glob("*.py"))}
    return {name: claim for name, claim in found.items() if claim is not None}


def _claim(path: Path) -> Claim | None:
    """What a module assigns to ``CLAIM``, from its source.

    Raises:
        InputError: it is not written with literals.
    """
    for node in _tree(path).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["CLAIM"]:
            try:
                if not isinstance(node.value, ast.Call):
                    raise ValueError("it is not called")
                named = {one.arg: ast.literal_eval(one.value) for one in node.value.keywords if one.arg is not None}
                return Claim(*map(ast.literal_eval, node.value.args), **named)
            except (ValueError, TypeError) as error:
                raise InputError(f"CLAIM of {path.name} must be Claim(...) of literals: {error}.") from None
    return None


def fingerprint(places: Places, name: str) -> str:
    """Of what determines the results: the library, and the module without comments, docstrings, claim, conclusion."""
    tree = _Bare().visit(_tree(places.modules / f"{name}.py"))
    return digest(f"{VERSION}\n{ast.unparse(tree)}")[:16]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


class _Bare(ast.NodeTransformer):
    """Without statements that are text alone, without the claim and the function that concludes."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        return None if node.name == "conclude" else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if [ast.unparse(target) for target in node.targets] == ["CLAIM"] else node


def config(module: types.ModuleType) -> dict[str, Any]:
    """The constants of an experiment: upper-case names whose values are numbers, text, or tuples and dicts of these."""
    named = {name: value for name, value in vars(module).items() if name.isupper() and not name.startswith("_")}
    return {name: value for name, value in sorted(named.items()) if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(one) for name, one in value.items())
    return isinstance(value, str | int | float)


def known(places: Places, name: str) -> str:
    """``name``, if it is an experiment's.

    Raises:
        InputError: it is none.
    """
    names = list(claims(places))
    if name not in names:
        raise InputError(f"there is no experiment {name!r}; there are {', '.join(names)}, and all.")
    return name

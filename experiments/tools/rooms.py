"""The house in numbers: modules of every room, its longest, its arrows, and the names that its face offers.

``python -m experiments.tools.rooms``; ``--root PATH`` counts another checkout, so that a change of the house can be
seen beside what was before.
"""

import argparse
import ast
from pathlib import Path

from mdm_jax.support.text import table

HERE = Path(__file__).parents[2]


def rooms(root: Path) -> list[dict]:
    """Every folder of the package: files, lines, longest file, arrows within and to others, names of its face."""
    modules = {_name(path, root): path for path in sorted((root / "mdm_jax").rglob("*.py"))}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules.items()}
    found = []
    for folder in sorted({path.parent for path in modules.values()}):
        inside = {name: path for name, path in modules.items() if path.parent == folder}
        lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in inside.values()}
        longest = max(lines, key=lambda name: lines[name])
        arrows = {(name, target) for name in inside for target in _imports(trees[name], modules)}
        within = sum(modules[target].parent == folder for _, target in arrows)
        face = trees[_name(folder / "__init__.py", root)]
        found.append(
            {
                "room": str(folder.relative_to(root)),
                "files": len(inside),
                "lines": sum(lines.values()),
                "longest": longest,
                "longest_lines": lines[longest],
                "arrows_within": within,
                "arrows_out": len(arrows) - within,
                "public_names": len(_public(face)),
            }
        )
    return found


def _name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _imports(tree: ast.Module, modules: dict[str, Path]) -> set[str]:
    """The modules of the package that one imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {part if part in modules else node.module for part in parts}
    return found & set(modules)


def _public(face: ast.Module) -> list[str]:
    """What a room's ``__all__`` lists."""
    for node in face.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return list(ast.literal_eval(node.value))
    return []


def describe(found: list[dict]) -> str:
    """One line a room."""
    heading = ["room", "files", "lines", "longest", "arrows within", "arrows out", "public names"]
    rows = [
        [
            one["room"],
            str(one["files"]),
            str(one["lines"]),
            f"{one['longest']} ({one['longest_lines']})",
            str(one["arrows_within"]),
            str(one["arrows_out"]),
            str(one["public_names"]),
        ]
        for one in found
    ]
    return table(heading, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=HERE)
    print(describe(rooms(parser.parse_args().root.resolve())))

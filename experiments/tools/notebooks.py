"""The notebooks: ``python -m experiments.tools.notebooks [--check] [NAME ...]`` executes them.

It needs ``pip install '.[notebooks]'``.

Without ``--check`` what the cells show is written into the notebooks, without what differs from one machine or day to
another. With it nothing is written: a cell that raises, that warns, or that shows something else than the notebook says
is told, and the exit status is 1. Words and whole numbers must be the same and the last digits of others may differ
(``tests/printed.py``); of pictures and tables it is only asked whether they are there. In a cell with the tag
"measured", whose numbers come from a model that was trained, words alone must be the same: training is chaotic, and
another processor rounds otherwise. So conclusions are printed as words, beside their numbers.
"""

import argparse
import base64
import contextlib
import copy
import importlib.util
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.tools import pictures
from experiments.tools.catalogue import Places

Notebook = Any
"""A dictionary as JSON has it; nbformat's are dictionaries too."""
SECONDS_PER_CELL = 600
PICTURE, TABLE, TEXT = "image/png", "text/html", "text/plain"
MEASURED = "measured"
_PYTHON = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main(arguments: Sequence[str] | None = None, places: Places | None = None) -> int:
    """The exit status: 1 if a notebook is not as it should be, 2 if there is none of a given name."""
    parser = argparse.ArgumentParser(prog="python -m experiments.tools.notebooks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="as in energy_landscape (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; compare with what the notebooks show")
    options = parser.parse_args(arguments)
    places = places or Places()
    there = {path.stem: path for path in sorted((places.modules / "notebooks").glob("*.ipynb"))}
    for name in options.names:
        if name not in there:
            print(f"there is no notebook {name!r}; there are {', '.join(there)}.", file=sys.stderr)
            return 2
    faults = [_do(path, options.check, places) for name, path in there.items() if name in (options.names or there)]
    return int(any(faults))


def _do(path: Path, check: bool, places: Places) -> str | None:
    """Execute one notebook; what is wrong with it, which is also printed."""
    import nbformat  # pyright: ignore[reportMissingImports]

    notebook = nbformat.read(path, as_version=4)
    fresh = executed(notebook)
    wrong = fault(fresh) or (disagreement(notebook, fresh, _comparison(places)) if check else None)
    if wrong is None and not check:
        path.write_text(nbformat.writes(tidy(fresh)) + "\n", encoding="utf-8")
    print(f"{path.name}: {wrong or ('as it was' if check else 'written')}", file=sys.stderr if wrong else sys.stdout)
    return wrong


def executed(notebook: Notebook) -> Notebook:
    """A copy with what its cells show now, run in an empty folder; the cells after one that raises are not run."""
    from nbclient import NotebookClient  # pyright: ignore[reportMissingImports]
    from nbclient.exceptions import CellExecutionError  # pyright: ignore[reportMissingImports]
    from traitlets.config import Config  # pyright: ignore[reportMissingImports]

    fresh = copy.deepcopy(notebook)
    for cell in code_cells(fresh):
        cell["outputs"], cell["execution_count"] = [], None
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(CellExecutionError):
        # A cell that raises has its error among its outputs, where `fault` finds it.
        NotebookClient(
            fresh,
            timeout=SECONDS_PER_CELL,
            kernel_name="python3",
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}}),  # files, no ports
        ).execute()
    return fresh


def code_cells(notebook: Notebook) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def fault(notebook: Notebook) -> str | None:
    """What no reader should see, in a sentence: a cell that raised, or wrote to standard error."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        for output in cell["outputs"]:
            match output:
                case {"output_type": "error", "ename": kind, "evalue": message}:
                    return f"code cell {number} raises {kind}: {message}"
                case {"output_type": "stream", "name": "stderr", "text": text}:
                    return f"code cell {number} writes to standard error: {text.strip()}"
    return None


def disagreement(notebook: Notebook, fresh: Notebook, difference: Callable[[str, str], str | None]) -> str | None:
    """Where what cells show now is not what the notebook shows, in a sentence."""
    for number, (old, new) in enumerate(zip(code_cells(notebook), code_cells(fresh), strict=True), start=1):
        shown, now = ([shown_as(output) for output in cell["outputs"]] for cell in (old, new))
        kinds, kinds_now = ([kind for kind, _ in outputs] for outputs in (shown, now))
        if kinds != kinds_now:
            return f"code cell {number} shows {kinds_now or 'nothing'}, and the notebook {kinds or 'nothing'}."
        compared = _without_numbers if MEASURED in old["metadata"].get("tags", ()) else str
        for (kind, text), (_, text_now) in zip(shown, now, strict=True):
            wrong = difference(compared(text), compared(text_now)) if kind == TEXT else None
            if wrong:
                return f"code cell {number}: {wrong}"
    return None


def shown_as(output: Any) -> tuple[str, str]:
    """The kind of an output that readers see, and its text where that is text alone."""
    if output["output_type"] == "stream":
        return TEXT, output["text"]
    kind = next((kind for kind in (PICTURE, TABLE) if kind in output["data"]), TEXT)
    return kind, output["data"][TEXT] if kind == TEXT else ""


def _without_numbers(text: str) -> str:
    return re.sub(r"[-+]?\d+(\.\d+)?", "0", text)


def tidy(notebook: Notebook) -> Notebook:
    """A copy without times, versions, paths and random names, its pictures small."""
    kept = copy.deepcopy(notebook)
    kept["metadata"].clear()
    kept["metadata"].update(copy.deepcopy(_PYTHON))
    for number, cell in enumerate(kept["cells"]):
        cell["id"] = f"cell-{number}"
        tags = cell["metadata"].get("tags")
        cell["metadata"].clear()
        if tags:
            cell["metadata"]["tags"] = tags
        for output in cell.get("outputs", ()):
            if output["output_type"] != "stream" and PICTURE in output["data"]:
                drawn = base64.b64decode(output["data"][PICTURE])
                output["data"][PICTURE] = base64.b64encode(pictures.small(drawn)).decode()
                output["data"].pop(TEXT, None)  # the name of a figure's class
    return kept


def _comparison(places: Places) -> Callable[[str, str], str | None]:
    """How the tests hold what is printed against what is shown."""
    path = places.root / "tests" / "printed.py"
    spec = importlib.util.spec_from_file_location("printed", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.difference


if __name__ == "__main__":
    sys.exit(main())

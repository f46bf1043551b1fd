"""The notebooks as they are committed, and the tool that executes them (CI does: ``experiments.tools.notebooks``)."""

import ast
import base64
import importlib
import io
import json
import re
import types

import pytest
from PIL import Image
from printed import difference

from experiments.tools import notebooks
from experiments.tools.catalogue import Places

PATHS = sorted((Places().modules / "notebooks").glob("*.ipynb"))
MOST_BYTES = 300_000
MACHINE = re.compile(r"/(?:root|home|Users|tmp|work)/|\bat 0x[0-9a-f]{6,}|\d ms\b")


def sources(path):
    """Code cells as Python: what begins with % is IPython's."""
    for cell in notebooks.code_cells(json.loads(path.read_text(encoding="utf-8"))):
        yield re.sub(r"^(\s*)%.*$", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)


def test_there_are_three():
    assert [path.stem for path in PATHS] == ["energy_landscape", "train_tune_sample_race", "tune_without_training"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_shows_what_it_did_and_nothing_of_the_machine(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert len(text.encode()) < MOST_BYTES
    assert (notebook["nbformat"], notebook["nbformat_minor"]) >= (4, 5)
    assert notebooks.fault(notebook) is None
    cells = notebooks.code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert len(outputs) >= 8
    assert any(notebooks.PICTURE in output.get("data", ()) for output in outputs)
    for output in outputs:
        words = output.get("text", []) + output.get("data", {}).get(notebooks.TEXT, [])
        assert MACHINE.search("".join(words)) is None
    assert json.loads(json.dumps(notebook["metadata"])) == notebooks.tidy(notebook)["metadata"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_its_first_cell_installs_the_library_where_it_is_not_there(path):
    first = notebooks.code_cells(json.loads(path.read_text(encoding="utf-8")))[0]
    assert first["outputs"] == []  # here it is there
    assert 'find_spec("mdm_jax") is None' in "".join(first["source"])
    assert "%pip install -q mdm-jax" in "".join(first["source"])
    for source in list(sources(path))[1:]:
        assert "pip install" not in source


@pytest.mark.core
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_its_cells_compile_and_the_names_of_the_library_are_there(path):
    cells = [compile(source, path.name, "exec", ast.PyCF_ONLY_AST) for source in sources(path)]
    named = {}
    for node in (node for cell in cells for node in ast.walk(cell)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                module = importlib.import_module(alias.name)
                named[alias.asname or top] = module if alias.asname else importlib.import_module(top)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = importlib.import_module(node.module)
                inside = hasattr(module, alias.name)
                value = (
                    getattr(module, alias.name) if inside else importlib.import_module(f"{node.module}.{alias.name}")
                )
                named[alias.asname or alias.name] = value
    chains = {ast.unparse(node) for cell in cells for node in ast.walk(cell) if isinstance(node, ast.Attribute)}
    chains = {chain for chain in chains if re.fullmatch(r"[\w.]+", chain)}
    found = [resolved(chain, named) for chain in chains if chain.partition(".")[0] in named]
    assert sum(getattr(value, "__module__", "").startswith("mdm_jax") for value in found) >= 5


def resolved(chain, named):
    """What a chain of names stands for, as far as it goes through modules."""
    first, *rest = chain.split(".")
    value = named[first]
    for name in rest:
        if not isinstance(value, types.ModuleType):
            break
        value = getattr(value, name)  # AttributeError: the notebook names something that is not there
    return value


def printing(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def drawing(size=(40, 20)):
    written = io.BytesIO()
    Image.new("RGB", size, "red").save(written, format="PNG")
    data = {"image/png": base64.b64encode(written.getvalue()).decode(), "text/plain": "<Figure size 40x20>"}
    return {"output_type": "display_data", "metadata": {"image/png": {"width": 20}}, "data": data}


def of(*outputs, tags=()):
    """A notebook of one cell."""
    metadata = {"tags": list(tags)} if tags else {}
    cell = {"cell_type": "code", "id": "x", "metadata": metadata | {"execution": {}}, "outputs": list(outputs)}
    return {"metadata": {"language_info": {"version": "3.99"}}, "cells": [cell]}


def disagreement(shown, now):
    return notebooks.disagreement(shown, now, difference)


def test_last_digits_may_differ_and_nothing_else():
    shown = of(printing("loses 0.513 nats: [1 2 3]"))
    assert disagreement(shown, of(printing("loses 0.514 nats: [1 2 3]"))) is None
    assert "'0.513' is shown and '0.533' printed" in disagreement(shown, of(printing("loses 0.533 nats: [1 2 3]")))
    assert "'3' is shown and '4' printed" in disagreement(shown, of(printing("loses 0.513 nats: [1 2 4]")))
    assert "code cell 1 shows nothing" in disagreement(shown, of())
    assert disagreement(of(drawing()), of(drawing((9, 9)))) is None
    assert "code cell 1 shows ['text/plain']" in disagreement(of(drawing()), of(printing("no picture")))


def test_of_what_was_measured_the_words_must_be_the_same():
    shown = of(printing("optimal: fewer faults (-0.70, 34%)"), tags=["measured"])
    assert disagreement(shown, of(printing("optimal: fewer faults (+0.11, 7%)"))) is None
    assert "'not'" in disagreement(shown, of(printing("optimal: not decided (-0.70, 34%)")))


def test_errors_and_warnings_are_faults():
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
    assert notebooks.fault(of(printing("fine"), error)) == "code cell 1 raises ValueError: no"
    assert notebooks.fault(of(printing("beware\n", "stderr"))) == "code cell 1 writes to standard error: beware"
    assert notebooks.fault(of(printing("fine"), drawing())) is None


def test_what_differs_from_day_to_day_is_left_out():
    kept = notebooks.tidy(of(printing("fine"), drawing(), tags=["measured"]))
    assert "3.99" not in json.dumps(kept)
    (cell,) = kept["cells"]
    assert cell["metadata"] == {"tags": ["measured"]}
    assert cell["outputs"][0] == printing("fine")
    picture = cell["outputs"][1]
    assert list(picture["data"]) == ["image/png"]
    image = Image.open(io.BytesIO(base64.b64decode(picture["data"]["image/png"])))
    assert image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)
    assert image.info == {}
    assert picture["metadata"] == {"image/png": {"width": 20}}


def test_a_notebook_that_is_not_there_is_told(capsys):
    assert notebooks.main(["no_such"]) == 2
    assert "there is no notebook 'no_such'" in capsys.readouterr().err

"""The front door: five tasks with one import, and nothing behind it until it is used."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mdm_jax as mdm

SCRIPT = Path(__file__).with_name("five_tasks.py")


@pytest.mark.core
def test_the_script_imports_nothing_but_the_front_door():
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    imports = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports == ["import mdm_jax as mdm"]


def test_five_tasks_need_one_import(tmp_path, monkeypatch, capsys):
    import matplotlib

    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    exec(compile(SCRIPT.read_text(encoding="utf-8"), SCRIPT.name, "exec"), {})
    assert "uniform" in capsys.readouterr().out
    assert (tmp_path / "profile.png").stat().st_size > 1000


@pytest.mark.core
def test_every_name_of_the_front_door_is_there_and_documented():
    for name in mdm.__all__:
        assert getattr(mdm, name).__doc__, name
        assert name in dir(mdm)
    assert re.fullmatch(r"\d+\.\d+\.\d+", mdm.__version__)
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        mdm.sampel  # noqa: B018


FACES = (
    "evaluation", "footprint", "models", "oracles", "plot", "sampling", "tasks", "theory", "theory.energies",
    "theory.plans", "theory.profiles", "theory.schedules", "training",
)  # fmt: skip


@pytest.mark.core
@pytest.mark.parametrize("room", FACES)
def test_every_face_offers_what_it_lists(room):
    face = importlib.import_module(f"mdm_jax.{room}")
    assert len(set(face.__all__)) == len(face.__all__) > 3
    for name in face.__all__:
        assert getattr(face, name) is not None


@pytest.mark.processes
def test_the_door_is_light():
    code = "import sys, mdm_jax as mdm; assert mdm.__version__; print('jax' in sys.modules, 'numpy' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]

"""Bad command lines and damaged files by the hundred: one sentence, status 2, nothing overwritten (``bad_input``)."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mdm_jax.app.cli import main
from mdm_jax.app.report import run_files
from mdm_jax.app.terminal.output import finite
from mdm_jax.support.errors import InputError
from mdm_jax.tasks import from_spec
from mdm_jax.theory import plans, profiles

ROOT = Path(__file__).parents[2]
WORKER = [sys.executable, str(Path(__file__).with_name("bad_input.py"))]


def report_of(*arguments):
    """Cases in a process of its own, which has no checks of types: what they came to."""
    where = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "")}
    done = subprocess.run([*WORKER, *arguments], capture_output=True, text=True, timeout=600, env=where, cwd=ROOT)
    assert done.stdout, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.processes
def test_a_hundred_cases_without_a_trained_run():
    """50 command lines and 50 files; most fail before any model is looked at."""
    found = report_of("--bare", "--cases", "100")
    assert found["defects"] == {}
    assert found["cases"] == 100
    assert sum(counts.get("2", 0) for counts in found["outcomes"].values()) >= 50  # the cases are bad ones


@pytest.mark.processes
@pytest.mark.thorough
def test_four_hundred_cases_around_a_trained_run():
    found = report_of("--cases", "400", "--seed", "1000")
    assert found["defects"] == {}
    assert found["cases"] >= 380
    succeeded = [name for name, counts in found["outcomes"].items() if counts.get("0", 0)]
    assert {"sample", "energy"} <= set(succeeded), "the commands that must work do not: the cases prove little"


@pytest.mark.core
def test_nothing_here_runs_what_it_reads():
    """No pickle, no eval, no YAML in the package, and arrays only by readers that refuse objects."""
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "torch"}
    for path in sorted((ROOT / "mdm_jax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                named = [node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
                assert not forbidden & {name.split(".")[0] for name in named}, where
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), where
                shell = [k for k in node.keywords if k.arg == "shell"]
                assert not shell, where
                if called in ("np.load", "numpy.load", "jnp.load"):
                    wanted = [k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) == "False"]
                    assert wanted, where


def header(text):
    """A ``.npy`` file with this for its header, and some data."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin-1") + bytes(40 * 8 * 4)


@pytest.mark.core
@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<i4', 'fortran_order': False, 'shape': (40, 8), }(",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (" + "-" * 3000 + "1, 8), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (40, 8), }",
        "{'descr': '<m8[s]', 'fortran_order': False, 'shape': (40, 8), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (1000000, 1000000), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ", 8), }",
        "'''",
    ],
    ids=["open", "deep", "objects", "times", "huge", "digits", "quotes"],
)
def test_arrays_that_are_none_are_refused(text, tmp_path):
    (tmp_path / "rows.npy").write_bytes(header(text))
    large = "1000000, 1000000" in text  # one that would be left in its file
    wanted = r"path must be a file of token ids: an \.npy" if large else r"path must be an \.npy file of integers"
    with pytest.raises(InputError, match=wanted):
        from_spec(f"npy:{tmp_path / 'rows.npy'}")


@pytest.mark.core
def test_arrays_in_fortran_order_are_read(tmp_path):
    rows = np.random.default_rng(0).integers(0, 5, (40, 3))
    np.save(tmp_path / "rows.npy", np.asfortranarray(rows))
    task = from_spec(f"npy:{tmp_path / 'rows.npy'}")
    found = np.concatenate([task.train, task.validation, task.test])
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, rows.tolist()))


def good_profile():
    return profiles.from_values(np.linspace(1.5, 0.5, 4)).to_json()


@pytest.mark.core
@pytest.mark.parametrize(
    ("load", "value", "says"),
    [
        (plans.load, {"sizes": [2**62, 2**62, 2**62, 2**62, 8]}, "sizes"),
        (plans.load, {"sizes": [10**30]}, "sizes"),
        (profiles.load, good_profile() | {"length": 10**18, "counts": [0, 10**18 - 1]}, "length"),
        (profiles.load, good_profile() | {"length": True, "counts": [0], "nats_per_token": [1.0]}, "length"),
        (profiles.load, good_profile() | {"nats_per_token": [1e308] * 4}, "nats_per_token"),
        (profiles.load, good_profile() | {"counts": [[0, 1], [2, 3]]}, "counts"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(load, value, says, tmp_path):
    form = plans.FORMAT if load is plans.load else profiles.FORMAT
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"format": form, **value}))
    with pytest.raises(InputError, match=says) as refused:
        load(path)
    assert len(str(refused.value)) < 1000


@pytest.mark.core
def test_numbers_larger_than_any_float_are_no_figures():
    assert finite(10**400) is None
    assert finite(float("nan")) is None
    assert finite(-3) == -3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small run in it, made by a process of its own."""
    folder = tmp_path_factory.mktemp("real")
    np.save(folder / "rows.npy", np.random.default_rng(0).integers(0, 6, (60, 8)).astype(np.int32))
    (folder / "notes.txt").write_text("mine")
    (folder / "plan.json").write_text('{"format": "mdm_jax plan 1", "sizes": [1, 2, 5]}')
    (folder / "sealed").mkdir()
    os.mkfifo(folder / "pipe")
    size = ["--length", "8", "--width", "8", "--depth", "1", "--heads", "2", "--batch", "2", "--steps", "2"]
    size += ["--model", "bidirectional"]
    process(folder, ["train", "run", "--task", "npy:rows.npy", *size]).wait(300)
    assert (folder / "run" / "config.json").exists()
    return folder


def process(folder, words, **options):
    """``mdm-jax`` as a user starts it."""
    where = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    where = {name: value for name, value in where.items() if value is not None}
    piped = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    command = [sys.executable, "-m", "mdm_jax.app.cli", *words]
    return subprocess.Popen(command, cwd=folder, env=where, text=True, encoding="utf-8", errors="replace", **piped)


def closing(*handles):
    def close():
        for handle in handles:
            os.close(handle)

    return {"preexec_fn": close}


SAMPLE = ["sample", "run", "--schedule", "sine", "--steps", "2", "--rows", "1"]
LATIN = {"LC_ALL": None, "LANG": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
REAL = [
    (["sample", "run", "--plan", "pipe"], {}, 2),
    (["sample", "run", "--plan", "/dev/zero"], {}, 2),
    ([*SAMPLE, "--prompt", b"\xff\xfe"], {}, 2),
    (["report", b"\xff\xfe"], {}, 2),
    (["report", "a\nb\x1b[31m"], {}, 2),
    (["energy", "linear", "--picture", "/proc/nothing/x.png"], {}, 2),
    (["train", "sealed/new", "--task", "npy:pipe"], {}, 2),
    (["evaluate", "run", "--store", "pipe", "--samples", "2", "--budgets", "2"], {}, 2),
    (["sing"], {}, 2),
    ([], {}, 0),
    ([*SAMPLE, "--infill", "1 ?", "--blank", "?"], {"env": LATIN}, 0),
    (["energy", "linear", "--no-picture"], {"env": {**LATIN, "HOME": None, "NO_COLOR": "1", "TERM": "dumb"}}, 0),
    (["energy", "linear", "--no-picture"], closing(1), 0),
    (["energy", "linear", "--no-picture"], closing(0), 0),
    (["sample", "nowhere"], closing(2), 2),
    (["sample", "nowhere"], closing(0, 1, 2), 2),
]


@pytest.mark.processes
@pytest.mark.thorough
def test_real_processes(place):
    """As shells, schedulers and careless scripts start them: pipes, other encodings, closed streams, no home."""
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    at_once = 3
    for first in range(0, len(REAL), at_once):
        running = [
            (words, wanted, process(place, words, **options.copy()))
            for words, options, wanted in REAL[first:][:at_once]
        ]
        for words, wanted, started in running:
            out, err = started.communicate(timeout=120)
            assert started.returncode == wanted, (words, err)
            assert "Traceback" not in out + err, (words, err)
            if wanted == 2 and err and not err.startswith("usage:"):
                assert len(err.splitlines()) == 1, (words, err)
                assert err.startswith("mdm-jax: "), (words, err)
            if wanted == 2:
                assert out == "", words
    after = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    drawn = json.loads(after.pop(place / "run" / "samples.json"))  # what the one sample that worked left for the report
    assert len(drawn["panels"]) == 1
    assert after == before


@pytest.mark.core
def test_a_picture_that_is_a_pipe_is_not_read(tmp_path):
    from mdm_jax.app.report import tuned
    from mdm_jax.training import RunDirectory

    os.mkfifo(tmp_path / "landscape.png")
    place = RunDirectory(tmp_path)
    files = run_files.RunFiles(place, {"task": {}}, [], None, None, None, None)
    with pytest.raises(InputError, match="is not a PNG picture"):
        tuned.landscape(files)


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["energy", "linear", "--picture", "pipe.png"], "is no file"),
        (["energy", "linear", "--picture", "folder.png"], "is no file"),
        (["tune", "oracle:polya:0.5,8", "--output", "loop"], "--output must be a folder"),
        (["sample", "nowhere", "--rows", "1" + "0" * 30], "--rows must be at least 1, and at most 1048576"),
        (["tune", "oracle:polya:1e-320,8"], "b must be from 1e-30 to 1e"),
        (["profile", "nowhere", "--encodings", "1" + "0" * 30], "--encodings must be at most 1099511627776"),
    ],
)
def test_places_that_cannot_be_written_are_refused_at_once(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.png")
    os.mkdir("folder.png")
    os.symlink("loop", "loop")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.png", "loop", "pipe.png"]

"""The command line keeps what it compiles in the user's cache folder, and nothing else of JAX is changed."""

import json
import os
import subprocess
import sys

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from mdm_jax.app import compile_cache

SCRIPT = """
import contextlib, io, json, os, pathlib, sys
import jax
import mdm_jax
from mdm_jax.app.cli import main

assert jax.config.jax_compilation_cache_dir is None  # the library itself changes nothing
kept = pathlib.Path(os.environ["XDG_CACHE_HOME"], "mdm-jax", "compiled")
told = {}

def run(name, *more):
    jax.clear_caches()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["energy", "linear", "--weight", "sine", "--no-picture", *more])
    files = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} if kept.exists() else None
    told[name] = {"status": status, "out": out.getvalue(), "err": err.getvalue(), "files": files}
    assert jax.config.jax_compilation_cache_dir is None

run("off", "--no-compile-cache")
run("first")
told["mode"] = kept.stat().st_mode & 0o777
run("second")
for path in kept.iterdir():
    path.write_bytes(path.read_bytes()[:100])
run("damaged")
run("mended")
run("whole again")
kept.chmod(0o777)
run("anybody may write there")
kept.chmod(0o700)
jax.clear_caches()
jax.jit(lambda x: x + 1)(2.0)
told["after"] = len(list(kept.iterdir()))
os.environ["XDG_CACHE_HOME"] = "/dev/null"
run("nowhere")
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the command said and kept, in a process that no test has given a cache."""
    home = tmp_path_factory.mktemp("home")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_COMPIL", "JAX_PERSIST"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**ours, "XDG_CACHE_HOME": str(home), "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.processes
@pytest.mark.thorough
def test_the_second_command_finds_what_the_first_compiled(told):
    assert told["off"]["files"] is None
    assert told["first"]["files"]
    assert told["second"]["files"] == told["first"]["files"]
    assert told["mode"] == 0o700
    for name in ("off", "first", "second"):
        assert (told[name]["status"], told[name]["err"]) == (0, "")
        assert told[name]["out"] == told["off"]["out"]


@pytest.mark.processes
@pytest.mark.thorough
def test_what_is_damaged_is_compiled_anew_and_said_in_one_line(told):
    damaged = told["damaged"]
    assert (damaged["status"], damaged["out"]) == (0, told["off"]["out"])
    assert damaged["err"].startswith("mdm-jax: warning: ")
    assert "could not be kept in" in damaged["err"]
    assert damaged["err"].count("\n") == 1
    assert damaged["files"] == {}
    assert told["mended"]["err"] == ""
    assert set(told["mended"]["files"]) == set(told["first"]["files"])
    assert told["whole again"]["files"] == told["mended"]["files"]


@pytest.mark.processes
@pytest.mark.thorough
def test_where_it_cannot_be_kept_nothing_is_said(told):
    for name in ("anybody may write there", "nowhere"):
        assert (told[name]["status"], told[name]["err"], told[name]["out"]) == (0, "", told["off"]["out"])
    assert told["after"] == len(told["mended"]["files"])  # what others compile in this process is theirs


@pytest.fixture
def no_cache():
    """Without the cache that tests have."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


@pytest.mark.core
def test_what_is_compiled_within_is_kept_and_nothing_else(no_cache, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with compile_cache.kept():
        jax.jit(lambda x: 3 * x + 1)(2.0)
    kept = set(tmp_path.glob("mdm-jax/compiled/*"))
    assert kept
    assert jax.config.jax_compilation_cache_dir is None
    jax.jit(lambda x: 5 * x - 1)(2.0)
    assert set(tmp_path.glob("mdm-jax/compiled/*")) == kept


@pytest.mark.core
def test_a_cache_that_is_set_is_left_unused_where_none_is_wanted(no_cache, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    with compile_cache.unused():
        jax.jit(lambda x: 7 * x + 2)(2.0)
        assert os.environ["JAX_ENABLE_COMPILATION_CACHE"] == "false"
    assert list(tmp_path.iterdir()) == []
    assert "JAX_ENABLE_COMPILATION_CACHE" not in os.environ
    jax.jit(lambda x: 9 * x + 2)(2.0)
    assert list(tmp_path.iterdir())


@pytest.mark.core
def test_what_was_used_longest_ago_goes_first(tmp_path):
    (tmp_path / "by XLA").mkdir()
    for age, name in enumerate(("new", "by XLA/old", "older", "by XLA/oldest")):
        (tmp_path / name).write_bytes(b"x" * 10)
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    compile_cache.shrink(tmp_path, 40)
    assert len(list(tmp_path.rglob("*"))) == 5
    compile_cache.shrink(tmp_path, 25)
    assert {path.name for path in tmp_path.rglob("*")} == {"new", "by XLA", "old"}
    compile_cache.shrink(tmp_path, 0)
    assert [path.name for path in tmp_path.rglob("*")] == ["by XLA"]


@pytest.mark.core
@pytest.mark.parametrize(
    ("platform", "environment", "wanted"),
    [
        ("linux", {"XDG_CACHE_HOME": "/caches"}, "/caches/mdm-jax/compiled"),
        ("linux", {"HOME": "/home/me"}, "/home/me/.cache/mdm-jax/compiled"),
        ("linux", {"HOME": "/home/me", "XDG_CACHE_HOME": "relative"}, "/home/me/.cache/mdm-jax/compiled"),
        ("darwin", {"HOME": "/Users/me"}, "/Users/me/Library/Caches/mdm-jax/compiled"),
        ("linux", {"HOME": "nowhere"}, None),
    ],
)
def test_the_folder_is_the_one_for_caches(platform, environment, wanted, monkeypatch):
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    found = compile_cache.folder()
    assert found is None if wanted is None else str(found) == wanted


@pytest.mark.core
def test_a_cache_that_is_set_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with compile_cache.kept():
        pass
    assert not list(tmp_path.iterdir())

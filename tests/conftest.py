"""Fixtures that the whole suite shares, and the folder in which compiled programs are kept."""

import collections
import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

import compiler_flags
import jax
import kept_programs
import pytest
import stories


def pytest_configure(config):
    """Most of the time that tests take is compilation: what one run has compiled, the next one finds.

    The folder is pytest's own (``.pytest_cache``), so that ``--cache-clear`` empties it. Another one is chosen by
    ``JAX_COMPILATION_CACHE_DIR``.
    """
    os.environ.setdefault("MPLBACKEND", "agg")
    os.environ["XLA_FLAGS"] = compiler_flags.cheaper(os.environ.get("XLA_FLAGS", ""))
    if hasattr(config, "workerinput") or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    if config.pluginmanager.hasplugin("cacheprovider"):
        place = config.cache.mkdir("compiled")
    else:
        place = Path(tempfile.mkdtemp(prefix="mdm-jax-compiled-"))
        config.add_cleanup(lambda: shutil.rmtree(place, ignore_errors=True))
    for name, value in kept_programs.settings(kept_programs.folder_in(place)).items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a test that is marked ``few(n)`` the first n cases are plain, all others thorough."""
    seen = collections.Counter()
    for item in items:
        mark = item.get_closest_marker("few")
        if mark is not None:
            name = item.nodeid.partition("[")[0]
            seen[name] += 1
            if seen[name] > mark.args[0]:
                item.add_marker(pytest.mark.thorough)


_STARTED: list[object] = []
"""The commands of all processes with a Python of ours that this one has started."""


def _note(event, arguments):
    if event == "subprocess.Popen" and sys.executable in arguments[1]:
        _STARTED.append(arguments[1])


sys.addaudithook(_note)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    item.started = len(_STARTED)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    """Whoever starts a process says so: it is where a test's time goes."""
    if len(_STARTED) > item.started:
        assert item.get_closest_marker("processes"), f"it started {_STARTED[-1]} and is not marked `processes`"


MOST_MAPS = 40_000
"""Memory maps of a worker: each compiled program takes a few, and Linux allows a process 65,530."""


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Compiled programs are let go after a file where there are many: past the limit the process is aborted."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True)
def strict_ranks():
    """Broadcasting between different ranks must be written out; it hides shape errors."""
    with jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture
def strict_types():
    """For tests of the mathematics: no silent promotion between types."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def double():
    """float64 for the duration of a test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def quick_loops():
    """For tests that draw much: their programs are compiled at a level at which loops are quick."""
    with compiler_flags.quick_loops():
        yield


@pytest.fixture(scope="session")
def story(tmp_path_factory):
    """A text file to train small runs on."""
    path = tmp_path_factory.mktemp("texts") / "story.txt"
    path.write_text(stories.story(stories.SENTENCE.split()), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(story, tmp_path_factory):
    """A run directory with everything in it but samples, made by the commands themselves; not to be changed."""
    from mdm_jax.app.cli import main

    directory = tmp_path_factory.mktemp("runs") / "story"
    assert main(["train", str(directory), "--task", f"text:{story}", *stories.TINY]) == 0
    assert main(["profile", str(directory), *stories.ENCODINGS]) == 0
    assert main(["tune", str(directory), *stories.TUNING]) == 0
    return directory

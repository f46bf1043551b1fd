"""Fixtures that the whole suite shares: tiny models and data, compiled once."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import jax
import pytest

# One compilation cache for all workers and for the commands that tests start: most of the suite's time is compilation.
_SETTINGS = {
    "JAX_COMPILATION_CACHE_DIR": "",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def pytest_configure(config):
    if hasattr(config, "workerinput") or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="mdm-jax-compiled-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ.update(_SETTINGS, JAX_COMPILATION_CACHE_DIR=folder)
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True, scope="session")
def few_schedules():
    """``tune`` tries 21 x 21 Beta schedules, linear and sine squared among them, instead of 256 x 256, and every number
    of steps only where they are few."""
    from mdm_jax.evaluation import tuning
    from mdm_jax.theory.plans import beta_search

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "BETA_VALUES", tuning.BETA_VALUES[8::12])
        patch.setattr(beta_search, "EVERY_BUDGET", 16)
        yield


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

"""The helpers that other tests rely on: what they count, and what they throw away."""

import os
import subprocess
import sys
import zlib

import compiler_flags
import jax
import jax.numpy as jnp
import kept_programs
import pytest
from compiled import programs
from jax._src import compiler

pytestmark = pytest.mark.core


def test_programs_are_counted_once_each_by_name():
    @jax.jit
    def mine(x):
        return x * 2

    numbers = jnp.arange(3), jnp.arange(4)
    with programs() as made:
        mine(numbers[0])
        mine(numbers[0])
    assert ["mine" in name for name in made] == [True]
    with programs() as none:
        mine(numbers[0])
    assert none == []
    with programs() as other:
        mine(numbers[1])
    assert len(other) == 1


@pytest.mark.processes
def test_a_program_found_in_the_cache_is_counted_too(tmp_path):
    script = "import jax; from compiled import programs\nwith programs() as made: jax.jit(lambda x: x * 3)(2)"
    kept = {name.upper(): str(value) for name, value in kept_programs.settings(tmp_path).items()}
    environment = os.environ | kept | {"PYTHONPATH": os.path.dirname(__file__)}
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", f"{script}\nprint(len(made))"], env=environment, capture_output=True, text=True
        )
        said.append((done.stdout, len(list(tmp_path.glob("*-cache")))))
    assert said == [("1\n", 1)] * 2


def test_what_is_damaged_goes_and_then_what_is_oldest(tmp_path):
    folder = kept_programs.folder_in(tmp_path)
    assert jax.__version__ in folder.name
    whole = kept_programs.decompressor().__module__
    content = zlib.compress(b"program" * 99) if whole == "zlib" else pytest.skip(f"compressed by {whole}")
    for i, name in enumerate(("whole", "half", "none")):
        (folder / f"{name}-cache").write_bytes(content[: len(content) // (1, 2, 10**6)[i]])
    assert kept_programs.folder_in(tmp_path) == folder
    assert [path.name for path in folder.glob("*-cache")] == ["whole-cache"]
    (folder / "older-cache").write_bytes(content)
    os.utime(folder / "older-cache", (1, 1))
    kept_programs.shrink(tmp_path, 2 * len(content))
    assert len(list(folder.glob("*-cache"))) == 2
    kept_programs.shrink(tmp_path, 2 * len(content) - 1)
    assert [path.name for path in folder.glob("*-cache")] == ["whole-cache"]


@pytest.mark.skipif(not hasattr(compiler, "get_compile_options"), reason="this JAX makes options elsewhere")
def test_within_quick_loops_the_suite_s_level_is_1_and_a_user_s_is_its_own(monkeypatch):
    def level():
        made = compiler.get_compile_options(num_replicas=1, num_partitions=1)
        return made.executable_build_options.debug_options.xla_backend_optimization_level

    before = level()
    for flags, wanted in ((compiler_flags.CHEAP, 1), (["--xla_backend_optimization_level=3"], before)):
        monkeypatch.setenv("XLA_FLAGS", " ".join(flags))
        with compiler_flags.quick_loops():
            assert level() == wanted
        assert level() == before

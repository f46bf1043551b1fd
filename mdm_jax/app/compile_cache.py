"""What one command has compiled, the next one finds: JAX's compilation cache, in the user's cache folder.

Compiling takes longer than most commands themselves. Only the command line keeps it; ``import mdm_jax`` changes no
setting of JAX. A cache is a convenience: where it cannot be kept, nothing is said, and everything is compiled. What
JAX finds in it is the program that it would have compiled: its key holds the program, the versions of JAX and XLA, the
flags, and what the processor can do.
"""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

MOST_BYTES = 512 * 2**20
"""What was used longest ago goes first. (JAX's own bound needs a lock at every look, and a further package.)"""
_SETTINGS = {
    "jax_compilation_cache_dir": None,
    # A command compiles hundreds of small programs, which take longer to compile than to read.
    "jax_persistent_cache_min_compile_time_secs": 0.0,
}
_TROUBLE = re.compile(r"Error \w+ persistent compilation cache entry for '([^']*)': (.*)", re.DOTALL)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Within it JAX looks in the user's cache folder before it compiles, and puts there what it has compiled.

    A cache that is set already is left alone: that of ``JAX_COMPILATION_CACHE_DIR``, or of whoever calls this.

    Warns:
        RuntimeWarning: once, if entries could not be read, or written; the bad ones are deleted.
    """
    chosen = "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.jax_compilation_cache_dir is not None  # pyright: ignore[reportAttributeAccessIssue]
    place = None if chosen or not _loads_safely(sys.platform, version("jaxlib")) else folder()
    if place is None or not _is_ours(place):
        yield
        return
    before = {name: getattr(jax.config, name) for name in _SETTINGS}
    trouble: dict[str, str] = {}
    try:
        for name, value in (_SETTINGS | {"jax_compilation_cache_dir": str(place)}).items():
            jax.config.update(name, value)
        with _hearing(trouble):
            yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        for name in trouble:
            _delete(place.glob(f"{name}-*"))
        shrink(place, MOST_BYTES)
    if trouble:
        said = f"{len(trouble)} compiled programs could not be kept in {place}, or read from there, and were compiled"
        warnings.warn(f"{said} anew: {next(iter(trouble.values()))}", RuntimeWarning, stacklevel=2)


@contextlib.contextmanager
def unused() -> Iterator[None]:
    """Within it, and in processes begun there, all is compiled anew and nothing is kept, whatever cache is set."""
    name = "jax_enable_compilation_cache"
    before, told = getattr(jax.config, name), os.environ.get(name.upper())
    try:
        jax.config.update(name, False)
        compilation_cache.reset_cache()  # which remembers whether it is used
        os.environ[name.upper()] = "false"
        yield
    finally:
        jax.config.update(name, before)
        compilation_cache.reset_cache()
        os.environ.pop(name.upper()) if told is None else os.environ.update({name.upper(): told})


def folder() -> Path | None:
    """Where the cache is: in ``XDG_CACHE_HOME``, or where this platform keeps caches; ``None`` without a home."""
    usual = {"darwin": "~/Library/Caches", "win32": os.environ.get("LOCALAPPDATA", "~/AppData/Local")}
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = given if os.path.isabs(given) else os.path.expanduser(usual.get(sys.platform, "~/.cache"))
    return Path(base, "mdm-jax", "compiled") if os.path.isabs(base) else None


def shrink(place: Path, most: int) -> None:
    """Delete what was used longest ago until there are at most ``most`` bytes."""
    found = []
    for path in filter(Path.is_file, place.rglob("*")):
        with contextlib.suppress(OSError):  # another process may have deleted it
            status = path.stat()
            found.append((max(status.st_atime_ns, status.st_mtime_ns), status.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            break
        _delete([path])
        total -= size


def _loads_safely(platform: str, jaxlib: str) -> bool:
    """Whether XLA can load what it has compiled: on macOS jaxlib before 0.10 crashes on large programs.

    Source: https://github.com/uwplasma/vmex/pull/142.
    """
    return platform != "darwin" or tuple(map(int, jaxlib.split(".")[:2])) >= (0, 10)


def _is_ours(place: Path) -> bool:
    """Whether the folder is there, or could be made, and nobody else may put programs into it that would be run."""
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = place.stat()
    except OSError:
        return False
    private = os.name == "nt" or (status.st_uid == os.getuid() and not status.st_mode & 0o022)
    return private and os.access(place, os.R_OK | os.W_OK | os.X_OK)


@contextlib.contextmanager
def _hearing(trouble: dict[str, str]) -> Iterator[None]:
    """Put JAX's warnings about entries into ``trouble``, by the program's name; show all others."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def hear(message: Warning | str, *about: Any, **more: Any) -> None:
            found = _TROUBLE.match(str(message))
            if found is None:
                show(message, *about, **more)
            else:
                trouble[found[1]] = found[2].strip()

        warnings.showwarning = hear
        yield


def _delete(paths: Any) -> None:
    """Delete files; one that is gone, or in use, is not missed."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()

"""Where the suite keeps what JAX has compiled: one folder for all workers, the commands they start, and the next run.

JAX's key to a program holds the program itself, the version of XLA and the flags, so that what is found is what would
have been compiled. But an entry is not written in one piece: a process that is killed may leave half of one, at which
JAX would warn for ever.
"""

import hashlib
import importlib
import platform
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import jaxlib

MOST_BYTES = 512 * 2**20
"""Some six times what one run of all tests needs."""


def settings(folder: Path) -> dict[str, str | float]:
    """What tells JAX to keep every program in ``folder``, however small; in capitals, for the environment."""
    return {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }


def folder_in(place: Path) -> Path:
    """The folder for these versions and this kind of processor, in good order: made, whole, and not too large."""
    folder = place / f"jax-{jax.__version__}-jaxlib-{jaxlib.__version__}-{platform.machine()}-{processor()}"
    folder.mkdir(parents=True, exist_ok=True)
    drop_damaged(folder)
    shrink(place, MOST_BYTES)
    return folder


def drop_damaged(folder: Path) -> None:
    """Delete what cannot be read among what was written since this was last asked."""
    stamp = folder / "checked"
    last = stamp.stat().st_mtime_ns if stamp.exists() else 0
    stamp.touch()
    decompress = decompressor()
    for path in folder.glob("*-cache"):
        if path.stat().st_mtime_ns >= last:
            try:
                decompress(path.read_bytes())
            except Exception:  # whatever a decompressor raises
                path.unlink()


def shrink(place: Path, most: int) -> None:
    """Delete what was written longest ago until at most ``most`` bytes are left."""
    entries = sorted((path.stat().st_mtime_ns, path.stat().st_size, path) for path in place.rglob("*-cache"))
    total = sum(size for _, size, _ in entries)
    for _, size, path in entries:
        if total <= most:
            break
        path.unlink()
        total -= size


def processor() -> str:
    """What tells processors apart that run different instructions, in a few characters."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(errors="replace").splitlines() if told.exists() else [platform.processor()]
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return hashlib.sha256(flags.encode()).hexdigest()[:8]


def decompressor() -> Callable[[bytes], bytes]:
    """The one that JAX takes: zstd where Python or a package has it, else zlib."""
    for name in ("compression.zstd", "zstandard"):
        try:
            return importlib.import_module(name).decompress
        except ImportError:
            continue
    return zlib.decompress

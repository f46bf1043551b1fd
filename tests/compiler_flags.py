"""How XLA compiles what the tests run: most of the suite's time is compilation, and most of that makes code fast."""

import contextlib
import os
from collections.abc import Iterator

from jax._src import compiler

CHEAP = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
"""LLVM's lowest level, loops written out by XLA itself rather than by way of MLIR, and one module for each program, as
workers share the processors already.

XLA's own passes, which decide what is computed, are the same; nothing reorders a sum. At this level no multiply-adds
are formed in one rounding, so that last bits may differ from those of a user's program.
"""
_LEVEL, _EMITTERS, _ = CHEAP


def cheaper(flags: str) -> str:
    """``XLA_FLAGS`` with ``CHEAP``, but for what they say otherwise: who sets the level has XLA's own way to loops."""
    told = [flag.partition("=")[0] for flag in flags.split()]
    left = [flag for flag in CHEAP if flag.partition("=")[0] not in told]
    return " ".join([*flags.split(), *(flag for flag in left if _LEVEL in left or flag != _EMITTERS)])


def with_devices(count: int) -> str:
    """``XLA_FLAGS`` for a process of its own: those of this one, and so many virtual devices."""
    return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"


@contextlib.contextmanager
def quick_loops() -> Iterator[None]:
    """What is compiled within is compiled at LLVM's level 1 where the suite's is 0: for tests that draw much.

    Loops then run some four times as fast, and compiling takes a fifth longer. JAX has options of a program for
    ``jax.jit`` alone, which is the library's here; so what makes them is replaced. A JAX that has no such function
    compiles as elsewhere.
    """
    made = getattr(compiler, "get_compile_options", None)
    if made is None or _LEVEL not in os.environ.get("XLA_FLAGS", "").split():
        yield
        return

    def options(*arguments, **more):
        chosen = made(*arguments, **more)
        chosen.executable_build_options.debug_options.xla_backend_optimization_level = 1
        return chosen

    compiler.get_compile_options = options
    try:
        yield
    finally:
        compiler.get_compile_options = made

"""How XLA compiles what the tests run: most of the suite's time is compilation, and most of that makes code fast."""

import os

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

"""What a training step would take, before it is started: bytes on every device, operations, the compiler's word."""

from mdm_jax.footprint.compiler import Collective, Compiled, compile_elsewhere, compile_step
from mdm_jax.footprint.estimate import SIZES, Footprint, Line, compiled, extrapolated, footprint, named
from mdm_jax.footprint.flops import StepFlops, step_flops

__all__ = [
    "SIZES",
    "Collective",
    "Compiled",
    "Footprint",
    "Line",
    "StepFlops",
    "compile_elsewhere",
    "compile_step",
    "compiled",
    "extrapolated",
    "footprint",
    "named",
    "step_flops",
]

"""What training or sampling would take, before it starts: bytes on every device, operations, the compiler's word."""

from mdm_jax.footprint.cache import CacheLine, longest, sampling_cache
from mdm_jax.footprint.compiler import Collective, Compiled, compile_elsewhere, compile_step
from mdm_jax.footprint.estimate import Footprint, footprint
from mdm_jax.footprint.flops import StepFlops, step_flops
from mdm_jax.footprint.lines import Line
from mdm_jax.footprint.products import matrix_products
from mdm_jax.footprint.shallow import compiled, extrapolated
from mdm_jax.footprint.sizes import KINDS, SIZES, named
from mdm_jax.footprint.using import Inference, inference

__all__ = [
    "KINDS",
    "SIZES",
    "CacheLine",
    "Collective",
    "Compiled",
    "Footprint",
    "Inference",
    "Line",
    "StepFlops",
    "compile_elsewhere",
    "compile_step",
    "compiled",
    "extrapolated",
    "footprint",
    "inference",
    "longest",
    "matrix_products",
    "named",
    "sampling_cache",
    "step_flops",
]

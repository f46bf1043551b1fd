"""The compiler's word on a footprint: of the model at its full depth, or from two shallow ones."""

import dataclasses

from mdm_jax import models
from mdm_jax.footprint.compiler import Collective, Compiled, compile_elsewhere
from mdm_jax.footprint.estimate import Footprint
from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.transformers import Transformer

SHALLOW = (2, 4)
"""Blocks of the two models that :func:`extrapolated` compiles."""


def compiled(denoiser: LinenDenoiser, of: Footprint, limit: float | int = 900, show: bool = True) -> Footprint:
    """The footprint with what the compiler says of the model at its full depth.

    Args:
        denoiser: the model of the footprint.
        of: the footprint.
        limit: seconds that compiling may take.
        show: whether to say on standard error what is going on.

    Raises:
        InputError: as :func:`~mdm_jax.footprint.compiler.compile_elsewhere`.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> settings = mdm.training.Settings(batch=4, length=8)
        >>> of = mdm.footprint.footprint(model, settings)
        >>> told = mdm.footprint.compiled(model, of, show=False).compiled
        >>> told.blocks, told.arguments - told.data == of.state_bytes  # the compiler counts the same state
        ((1,), True)
    """
    result = compile_elsewhere(denoiser, of.settings, of.mesh, of.devices, limit, show, of.context, of.objective)
    return dataclasses.replace(of, compiled=result)


def extrapolated(denoiser: LinenDenoiser, of: Footprint, limit: float | int = 900, show: bool = True) -> Footprint:
    """As :func:`compiled`, from two shallow models instead of the whole: blocks are all alike, so every figure is taken
    to be a straight line in their number. Of LLaDA-8B's size that takes a tenth of the time. A model of up to four
    blocks is compiled as it is.

    Args:
        denoiser: as for :func:`compiled`.
        of: likewise.
        limit: of each of the two.
        show: as for :func:`compiled`.

    Raises:
        InputError: as :func:`~mdm_jax.footprint.compiler.compile_elsewhere`.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2)
        >>> settings = mdm.training.Settings(batch=4, length=8)
        >>> of = mdm.footprint.footprint(model, settings)
        >>> mdm.footprint.extrapolated(model, of, show=False).compiled.blocks
        (1,)
    """
    model = denoiser.module
    assert isinstance(model, Transformer)  # footprint() has looked
    if model.depth <= SHALLOW[1]:
        return compiled(denoiser, of, limit, show)
    low, high = (
        compile_elsewhere(
            _of_depth(denoiser, depth), of.settings, of.mesh, of.devices, limit, show, of.context, of.objective
        )
        for depth in SHALLOW
    )

    def line(at_low: int, at_high: int) -> int:
        return max(0, round(at_low + (at_high - at_low) * (model.depth - SHALLOW[0]) / (SHALLOW[1] - SHALLOW[0])))

    kinds = {one.kind: one for one in low.collectives}, {one.kind: one for one in high.collectives}
    messages = []
    for kind in sorted({*kinds[0], *kinds[1]}):
        a, b = (of_depth.get(kind, Collective(kind, 0, 0)) for of_depth in kinds)
        messages.append(Collective(kind, line(a.count, b.count), line(a.bytes, b.bytes)))
    result = Compiled(
        temporaries=line(low.temporaries, high.temporaries),
        arguments=line(low.arguments, high.arguments),
        data=low.data,
        flops=line(low.flops, high.flops),
        collectives=tuple(messages),
        seconds=low.seconds + high.seconds,
        blocks=SHALLOW,
    )
    return dataclasses.replace(of, compiled=result)


def _of_depth(denoiser: LinenDenoiser, depth: int) -> LinenDenoiser:
    """The same with another number of blocks; a recognition network keeps its own."""
    made = models.from_description({**(models.describe(denoiser) or {}), "depth": depth})
    assert isinstance(made, LinenDenoiser)  # of the library's own, whose depth can be said
    return made

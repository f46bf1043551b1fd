"""The compiler's word on a footprint: of the model at its full depth, or from two shallow ones."""

import dataclasses
import functools

from mdm_jax.footprint.compiler import Collective, Compiled, compile_elsewhere
from mdm_jax.footprint.depths import SHALLOW, at_depth, depth_of, of_depth
from mdm_jax.footprint.estimate import Footprint
from mdm_jax.models.denoiser import Denoiser


def compiled(denoiser: Denoiser, of: Footprint, limit: float | int = 900, show: bool = True) -> Footprint:
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


def extrapolated(denoiser: Denoiser, of: Footprint, limit: float | int = 900, show: bool = True) -> Footprint:
    """As :func:`compiled`, from two shallow models instead of the whole: blocks are all alike, so every figure is taken
    to be a straight line in their number. Of LLaDA-8B's size that takes a tenth of the time. A model of up to four
    blocks is compiled as it is, and so is a published one, whose blocks compile like one.

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
    depth = depth_of(denoiser)
    if depth is None or depth <= SHALLOW[1]:
        return compiled(denoiser, of, limit, show)
    low, high = (
        compile_elsewhere(
            of_depth(denoiser, blocks), of.settings, of.mesh, of.devices, limit, show, of.context, of.objective
        )
        for blocks in SHALLOW
    )
    line = functools.partial(at_depth, depth)
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

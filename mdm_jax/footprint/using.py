"""What a model takes as it is, to be measured and sampled: nothing is trained, nothing allocated, no weight read."""

import dataclasses
import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mdm_jax.footprint.cache import CacheLine, longest, parameter_shapes, sampling_cache
from mdm_jax.footprint.estimate import abstract_mesh
from mdm_jax.footprint.lines import Line, grouped
from mdm_jax.footprint.products import matrix_products
from mdm_jax.models.denoiser import Context, Denoiser, Params, begun
from mdm_jax.models.latent import JointDenoiser
from mdm_jax.support.errors import require, require_whole
from mdm_jax.support.keys import key_of
from mdm_jax.training.contexts import shapes_of
from mdm_jax.training.devices import explain


@dataclasses.dataclass(frozen=True)
class Inference:
    """What a model takes that is not trained.

    Attributes:
        parameters: of the model.
        types: bytes of the parameters of each type, one copy of them.
        devices: how many.
        mesh: sizes of the mesh's axes; ``None``: everything is on every device.
        arrays: the parameters, line by line.
        length: tokens of a row.
        encoding: operations of the hidden vectors of one row.
        readout: operations of the logits at all of its positions.
        cache: what sampling keeps of one row; nothing of a model without a cache.
    """

    parameters: int
    types: Mapping[str, int]
    devices: int
    mesh: dict[str, int] | None
    arrays: tuple[Line, ...]
    length: int
    encoding: int
    readout: int
    cache: tuple[CacheLine, ...]

    @property
    def parameter_bytes(self) -> int:
        """Bytes of the parameters on every device: exact."""
        return sum(line.bytes for line in self.arrays)


def inference(
    denoiser: Denoiser,
    params: Params = None,
    mesh: Mapping[str, int] | None = None,
    devices: int = 1,
    length: int | None = None,
    context: Context = None,
) -> Inference:
    """What a model takes to be measured and sampled: bytes, operations of one encoding, cache.

    Args:
        denoiser: any model.
        params: its parameters or their shapes; those that it makes itself if left out.
        mesh: sizes of the axes "data" and "model", over which parameters are divided as
            :func:`~mdm_jax.training.devices.shardings` does; without it everything is on each of ``devices``.
        devices: how many; a mesh has its own number.
        length: tokens of a row; the longest that the model takes if left out.
        context: one row of what the model gets as a context, or its shape.

    Raises:
        InputError: rows longer than the model's, no length of a model that tells none, or products that cannot be
            counted (:func:`~mdm_jax.footprint.matrix_products`).

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.footprint.named("llada-8b")
        >>> found = mdm.footprint.inference(model, mesh={"data": 1, "model": 8})
        >>> f"{found.parameter_bytes:,} of {sum(found.types.values()):,} bytes on each of {found.devices} devices"
        '4,014,000,128 of 32,067,616,768 bytes on each of 8 devices'
        >>> f"{found.encoding / found.length:.3g} operations for each token that is encoded"
        '1.61e+10 operations for each token that is encoded'
    """
    count = devices if mesh is None else math.prod(mesh.values())
    require(count >= 1, "devices", count, "at least 1")
    length = require_whole("length", longest(denoiser) if length is None else length, 1, longest(denoiser))
    shown = shapes_of(context)
    shapes = parameter_shapes(denoiser, length, shown, params)
    tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
    seen = _begun(denoiser, shapes, shown)
    hidden = jax.eval_shape(denoiser.encode, shapes, tokens, seen)
    types: dict[str, int] = {}
    for leaf in jax.tree.leaves(shapes):
        types[leaf.dtype.name] = types.get(leaf.dtype.name, 0) + leaf.size * leaf.dtype.itemsize
    return Inference(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(shapes)),
        types=types,
        devices=count,
        mesh=None if mesh is None else dict(mesh),
        arrays=grouped(explain(abstract_mesh(mesh), {"params": shapes})),
        length=length,
        encoding=matrix_products(denoiser.encode, shapes, tokens, seen),
        readout=matrix_products(denoiser.readout, shapes, hidden),
        cache=sampling_cache(denoiser, 1, length, shown, shapes),
    )


def _begun(denoiser: Denoiser, params: Params, context: Context) -> Context:
    """The shape of what a row is encoded with: the context, and the latent that is drawn for it before, where one is.

    A draw is no part of an encoding: it is made once for a row.
    """
    if isinstance(denoiser, JointDenoiser) and context is None:
        noise = jax.ShapeDtypeStruct((1, *denoiser.latent_shape), jnp.float32)
        return jax.eval_shape(denoiser.start, noise, jax.ShapeDtypeStruct((1,), jnp.int32))
    keys = jax.eval_shape(lambda: key_of(0)[None])
    return jax.eval_shape(functools.partial(begun, denoiser), params, keys, context)

"""What sampling keeps from step to step, of a model with a cache: exact bytes, without allocating any."""

import dataclasses
from typing import Any

import jax

from mdm_jax.models.adapters import LinenDenoiser
from mdm_jax.models.denoiser import Context
from mdm_jax.models.extending import can_extend
from mdm_jax.support.errors import require_whole
from mdm_jax.training.contexts import shapes_of


@dataclasses.dataclass(frozen=True)
class CacheLine:
    """Arrays of one name and shape in a cache.

    Attributes:
        name: what is kept.
        count: how many arrays, one for each block of the network.
        shape: of each, with the axis of rows.
        dtype: of their numbers.
        bytes: of all of them.
    """

    name: str
    count: int
    shape: tuple[int, ...]
    dtype: str
    bytes: int


def sampling_cache(
    denoiser: LinenDenoiser, rows: int = 1, length: int | None = None, context: Context = None
) -> tuple[CacheLine, ...]:
    """The arrays that a model with a cache keeps while it samples; none of a model without one.

    Exact: the shapes of its own empty cache. Every array has a leading axis of rows, so that rows cost alike.

    Args:
        denoiser: one of the library's models.
        rows: sequences that are drawn together.
        length: of each; the model's if left out.
        context: one row of what the model gets as a context, or its shape.

    Raises:
        InputError: no rows, or sequences longer than the model's.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.any_order(4, length=8, width=16, depth=2, heads=2)
        >>> [(line.name, line.count, line.shape, line.bytes) for line in mdm.footprint.sampling_cache(model)][:3]
        [('rank', 1, (1, 8), 32), ('absorbed', 1, (1,), 4), ('kept key', 2, (1, 2, 8, 16), 2048)]
        >>> mdm.footprint.sampling_cache(mdm.models.transformer(4, length=8, width=16, depth=1, heads=2))
        ()
    """
    most: int = denoiser.module.length  # pyright: ignore[reportAttributeAccessIssue]
    rows = require_whole("rows", rows, 1, 2**31 - 1)
    length = require_whole("length", most if length is None else length, 1, most)
    if not can_extend(denoiser):
        return ()
    model: Any = denoiser
    shown = shapes_of(context)
    slots = max(min(slots, length) for slots in model.slots)

    def empty() -> Any:
        begun = () if shown is None else (jax.tree.map(lambda leaf: jax.numpy.zeros(leaf.shape, leaf.dtype), shown),)
        params = denoiser.init(jax.random.key(0), length, *begun)
        return model.empty(params, rows, length, slots)

    found: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.eval_shape(empty)):
        names = [step.name for step in path if isinstance(step, jax.tree_util.GetAttrKey)]
        found.setdefault((" ".join(names), leaf.shape, leaf.dtype.name), []).append(leaf.size * leaf.dtype.itemsize)
    return tuple(CacheLine(name, len(each), shape, kind, sum(each)) for (name, shape, kind), each in found.items())

"""What sampling keeps from step to step, of a model with a cache: exact bytes, without allocating any."""

import dataclasses
import functools
from typing import Any

import jax

from mdm_jax.models.denoiser import Context, Denoiser, Params, layers
from mdm_jax.models.extending import can_extend, extending
from mdm_jax.support.errors import require_whole
from mdm_jax.training.contexts import shapes_of
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import initial_params


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
    denoiser: Denoiser, rows: int = 1, length: int | None = None, context: Context = None, params: Params = None
) -> tuple[CacheLine, ...]:
    """The arrays that a model with a cache keeps while it samples; none of a model without one.

    Exact: the shapes of its own empty cache. Every array has a leading axis of rows, so that rows cost alike.

    Args:
        denoiser: one of the library's models, or a published one.
        rows: sequences that are drawn together.
        length: of each; the model's if left out.
        context: one row of what the model gets as a context, or its shape.
        params: the model's parameters or their shapes, where they are of other types than it makes: the cache is too.

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
    most: int | None = longest(denoiser)
    rows = require_whole("rows", rows, 1, 2**31 - 1)
    length = require_whole("length", most if length is None else length, 1, most)
    if not can_extend(denoiser):
        return ()
    model, shown = extending(denoiser), shapes_of(context)
    slots = max(min(slots, length) for slots in model.slots)
    made = parameter_shapes(denoiser, length, shown, params)

    def empty(params: Params, context: Context) -> Any:
        return model.empty(params, rows, length, slots, context)

    found: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.eval_shape(empty, made, shown)):
        names = [step.name for step in path if isinstance(step, jax.tree_util.GetAttrKey)]
        found.setdefault((" ".join(names), leaf.shape, leaf.dtype.name), []).append(leaf.size * leaf.dtype.itemsize)
    return tuple(CacheLine(name, len(each), shape, kind, sum(each)) for (name, shape, kind), each in found.items())


def longest(denoiser: Denoiser) -> int | None:
    """Tokens of the longest row of a model, without what it puts around rows itself; ``None`` where it tells none.

    Args:
        denoiser: any model; one of the library's, or a published one, has a module that tells its length.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(10, length=8, width=16, depth=1, heads=2)
        >>> mdm.footprint.longest(model)
        8
        >>> mdm.footprint.longest(mdm.models.framed(model, range(8), prefix=[8], suffix=[8]))
        6
    """
    *above, innermost = layers(denoiser)
    around = sum(len(getattr(layer, part, ())) for layer in above for part in ("prefix", "suffix"))
    length = getattr(getattr(innermost, "module", None), "length", None)
    return None if length is None else length - around


def parameter_shapes(denoiser: Denoiser, length: int, context: Context = None, params: Params = None) -> Params:
    """The shapes of a model's parameters: of those that are given, else of those that it makes.

    Args:
        denoiser: the model.
        length: of the sequences that they are made for.
        context: the shape of one row of what the model gets as a context.
        params: the parameters or their shapes.

    Raises:
        InputError: no ``params`` and a model that cannot make its own.
    """
    settings = Settings(length=max(2, length))  # no training is of less
    return jax.eval_shape(functools.partial(initial_params, denoiser, settings), params, context)

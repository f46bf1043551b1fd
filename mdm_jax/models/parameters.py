"""What of a model's arrays is trained: parameters, told apart from whatever else the model was given.

Running statistics, constants, whole numbers and PRNG keys belong to ``params`` too, since a denoiser gets all its
arrays there, but no gradient, no decay and no EMA may move them.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mdm_jax.models.denoiser import Denoiser, Params, layers
from mdm_jax.support.errors import InputError, require, verbatim


def parted(denoiser: Denoiser, params: Params) -> tuple[Params, Params]:
    """``params`` as what is trained and what is held, each with ``None`` in the places of the other's leaves.

    Trained are the floating-point leaves that the denoiser counts as parameters: of a Linen module those of the
    collection "params", of an NNX module those of ``nnx.Param``, else all of them.

    Args:
        denoiser: the model; a wrapper trains what the wrapped one does.
        params: arrays or their shapes.

    Raises:
        InputError: a leaf is complex or no array, or nothing would be trained.

    Example:
        >>> import jax.numpy as jnp
        >>> import mdm_jax as mdm
        >>> model = mdm.oracles.polya(8, 0.5).denoiser
        >>> trained, held = mdm.models.parted(model, {"weights": jnp.zeros(2), "count": jnp.zeros(1, int)})
        >>> trained
        {'count': None, 'weights': Array([0., 0.], dtype=float32)}
        >>> held
        {'count': Array([0], dtype=int32), 'weights': None}
    """
    told = _trains(denoiser)
    counted = jax.tree.map(lambda _: True, params) if told is None else told(params)
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for (path, leaf), count in zip(leaves, jax.tree.leaves(counted), strict=True):
        kind = _kind(leaf)
        where = jax.tree_util.keystr(path, simple=True, separator="/") or "its root"
        if kind is None or (count and jnp.issubdtype(kind, jnp.complexfloating)):
            what = verbatim(f"{type(leaf).__name__ if kind is None else kind} at {where}")
            require(False, "params", what, "a tree of arrays of real numbers (complex ones as two: real and imaginary)")
    chosen = jax.tree.map(lambda leaf, count: count and jnp.issubdtype(_kind(leaf), jnp.floating), params, counted)
    if not any(jax.tree.leaves(chosen)):
        raise InputError(f"params must hold something to train; got {len(leaves)} arrays, none of them a parameter.")
    trained = jax.tree.map(lambda leaf, choice: leaf if choice else None, params, chosen)
    return trained, jax.tree.map(lambda leaf, choice: None if choice else leaf, params, chosen)


def joined(trained: Params, held: Params) -> Params:
    """The one tree of which :func:`parted` made two: a leaf of ``held`` wherever ``trained`` has ``None``.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.models.joined({"count": None, "weights": 1.0}, {"count": 3, "weights": None})
        {'count': 3, 'weights': 1.0}
    """
    return jax.tree.map(lambda one, two: two if one is None else one, trained, held, is_leaf=lambda leaf: leaf is None)


def summary(tree: Any) -> str:
    """A pytree of arrays in a few words, as for a ``repr``: ``41 arrays, 613,248 numbers``."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape")]
    numbers = sum(math.prod(leaf.shape) for leaf in leaves)
    return f"<{len(leaves)} array{'' if len(leaves) == 1 else 's'}, {numbers:,} number{'' if numbers == 1 else 's'}>"


def _trains(denoiser: Any) -> Callable[[Params], Any] | None:
    """The method that says which leaves are parameters, of the outermost layer that has one."""
    return next((layer.trains for layer in layers(denoiser) if hasattr(layer, "trains")), None)


def _kind(leaf: Any) -> Any:
    """The type of an array or of a plain number; ``None`` of anything else."""
    return jnp.result_type(leaf) if isinstance(leaf, bool | int | float | complex) else getattr(leaf, "dtype", None)

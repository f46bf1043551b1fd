"""What is seen before the first step: data that do not fit the task, a model that cannot be trained on it."""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax.models.denoiser import Denoiser, Params, checked_tokens, layers, logits
from mdm_jax.models.parameters import parted
from mdm_jax.models.probes import mask_taken_for_a_token, nan_for_masks
from mdm_jax.models.transformers import Transformer
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.tasks import Task
from mdm_jax.training.settings import Settings
from mdm_jax.training.step import TrainState, initial_state


def checked_data(denoiser: Denoiser, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """``task.train`` and ``task.validation``, int32, every id of them seen to be a token's.

    Raises:
        InputError: a task that does not fit the model, or arrays that do not fit the task.
    """
    fits = denoiser.vocab_size == task.vocab_size
    require(fits, "denoiser.vocab_size", denoiser.vocab_size, f"the task's vocab_size {task.vocab_size}")
    train = np.asarray(checked_tokens(denoiser, task.train, "task.train"))
    validation = np.asarray(checked_tokens(denoiser, task.validation, "task.validation"))
    length, shape = task.length, verbatim(f"shape {train.shape}")
    if train.ndim == 1:
        require(len(train) >= length, "task.train", shape, f"a stream of at least {length} tokens")
    else:
        rows = train.ndim == 2 and train.shape[1] == length and len(train) > 0
        require(rows, "task.train", shape, f"a stream, or of shape [examples, {length}]")
    require(len(train) < 2**31, "task.train", shape, "shorter than 2^31: its places are counted in int32")
    shape = verbatim(f"shape {validation.shape}")
    enough = validation.ndim == 2 and len(validation) >= 2 and validation.shape[1] == length
    require(enough, "task.validation", shape, f"of shape [rows, {length}] with at least 2 rows")
    return train, validation


def check_model(denoiser: Denoiser, settings: Settings, params: Params | None, kept: bool = False) -> None:
    """Refuse a model that cannot be trained on sequences of ``settings.length``, without running it.

    Args:
        denoiser: the model.
        settings: how it would be trained.
        params: initial parameters, if they are given.
        kept: whether checkpoints would be written.

    Raises:
        InputError: one too short, one that draws random numbers or changes itself when it is called, parameters of
            which nothing can be trained, that are not finite or of less than 32 bits, logits of another shape.
    """
    model = _module(denoiser)
    if isinstance(model, Transformer) and model.length < settings.length:
        raise InputError(
            f"the model takes sequences of at most {model.length} tokens, and the task's have {settings.length}: make "
            f"it with models.transformer(..., length={settings.length})."
        )
    if params is not None:
        _check_finite(parted(denoiser, params)[0])  # parted: of no array JAX's own complaint would be long
    shapes = jax.eval_shape(functools.partial(initial_state, denoiser, settings), params).params
    bare = kept and jax.tree_util.treedef_is_leaf(jax.tree.structure(shapes))
    require(not bare, "params", verbatim("one array"), 'a tree, as {"table": array}, for a checkpoint to hold it')
    for path, leaf in jax.tree_util.tree_leaves_with_path(parted(denoiser, shapes)[0]):
        wide = "float32, or moves smaller than their last digit are lost (compute='bfloat16' is for speed)"
        require(leaf.dtype.itemsize >= 4, "params", verbatim(f"{leaf.dtype} at {_name(path)}"), wide)
    tokens = jax.ShapeDtypeStruct((settings.batch, settings.length), jnp.int32)
    jax.eval_shape(functools.partial(logits, denoiser), shapes, tokens)


def check_mask(denoiser: Denoiser, state: TrainState, settings: Settings, finite: bool) -> None:
    """Ask the model, before its first step, what it makes of the mask.

    Args:
        denoiser: the model.
        state: the first.
        settings: how it would be trained.
        finite: whether the held-out figure of ``state`` is.

    Raises:
        InputError: it is not, and masks give NaN.
    """
    if not finite:
        trouble = nan_for_masks(denoiser, state.params, settings.length)
        if trouble is not None:
            raise InputError(f"there is nothing to train yet: {trouble}")
    elif not isinstance(_module(denoiser), Transformer):
        trouble = mask_taken_for_a_token(denoiser, state.params, settings.length)
        if trouble is not None:
            warnings.warn(trouble, stacklevel=3)


def _check_finite(trained: Params) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(trained):
        for what, found in (("NaN", jnp.isnan), ("infinity", jnp.isinf)):
            shown = verbatim(f"{what} at {_name(path)}")
            require(not bool(jnp.any(found(leaf))), "params", shown, "finite where they are trained")


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/") or "its root"


def _module(denoiser: Denoiser) -> Any:
    """The Linen module inside, if it is one."""
    return next((layer.module for layer in layers(denoiser) if hasattr(layer, "module")), None)

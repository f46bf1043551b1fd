"""What is seen before the first step: data that do not fit the task, a model that cannot be trained on it."""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax.models.denoiser import Context, Denoiser, Params, begun, checked_tokens, layers
from mdm_jax.models.parameters import parted
from mdm_jax.models.probes import mask_taken_for_a_token, nan_for_masks
from mdm_jax.models.transformers import Transformer
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.keys import key_of
from mdm_jax.tasks import Task
from mdm_jax.training.contexts import checked_contexts
from mdm_jax.training.objective import Examples, check_losses
from mdm_jax.training.optimizer import check_update
from mdm_jax.training.step import TrainState, batch_of, initial_params, initial_state
from mdm_jax.training.ways import Job


def checked_data(denoiser: Denoiser, task: Task, context: Any = None) -> tuple[Examples, Examples]:
    """``task.train`` and ``task.validation``, int32, every id of them seen to be a token's, and what is known of each.

    Args:
        denoiser: the model.
        task: what is learned from.
        context: of the rows of either part, as :func:`mdm_jax.training.fit` takes it.

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
    contexts = checked_contexts(context, train, validation)
    return Examples(train, contexts[0]), Examples(validation, contexts[1])


def check_model(job: Job, params: Params | None, shown: Context, train: Examples, kept: bool = False) -> TrainState:
    """Refuse a model that cannot be trained on the data, without running it; returns the shapes of its state.

    Args:
        job: what would be trained.
        params: initial parameters, if they are given.
        shown: one row of what the denoiser gets as a context.
        train: the data.
        kept: whether checkpoints would be written.

    Raises:
        InputError: one too short, one that draws random numbers or changes itself when it is called, parameters of
            which nothing can be trained, that are not finite or of less than 32 bits, logits of another shape; an
            optimizer that cannot move them; an objective whose losses are of other shapes or names than it says.
    """
    denoiser, settings = job.denoiser, job.settings
    model = _module(denoiser)
    if isinstance(model, Transformer) and model.length < settings.length:
        raise InputError(
            f"the model takes sequences of at most {model.length} tokens, and the task's have {settings.length}: make "
            f"it with models.transformer(..., length={settings.length})."
        )
    if params is not None:
        _check_finite(parted(denoiser, params)[0])  # parted: of no array JAX's own complaint would be long
    if job.optimizer is not None:
        begun = jax.eval_shape(functools.partial(initial_params, denoiser, settings), params, shown)
        check_update(job.optimizer, parted(denoiser, begun)[0])
    made = functools.partial(initial_state, denoiser, settings, optimizer=job.optimizer)
    state = jax.eval_shape(made, params, shown)
    bare = kept and jax.tree_util.treedef_is_leaf(jax.tree.structure(state.params))
    require(not bare, "params", verbatim("one array"), 'a tree, as {"table": array}, for a checkpoint to hold it')
    for path, leaf in jax.tree_util.tree_leaves_with_path(parted(denoiser, state.params)[0]):
        wide = "float32, or moves smaller than their last digit are lost (compute='bfloat16' is for speed)"
        require(leaf.dtype.itemsize >= 4, "params", verbatim(f"{leaf.dtype} at {_name(path)}"), wide)

    def cost(state: TrainState, train: Examples) -> Any:
        examples, corrupted = batch_of(denoiser, settings, state.step, train, job.objective)
        return job.objective.losses(denoiser, state.params, examples, corrupted)

    check_losses(job.objective, jax.eval_shape(cost, state, train), settings.batch)
    return state


def check_mask(job: Job, state: TrainState, shown: Context, finite: bool) -> None:
    """Ask the model, before its first step, what it makes of the mask.

    Args:
        job: what is trained.
        state: the first.
        shown: one row of what the denoiser gets as a context.
        finite: whether the held-out figure of ``state`` is.

    Raises:
        InputError: it is not, and masks give NaN.
    """
    denoiser, length = job.denoiser, job.settings.length
    shown = begun(denoiser, state.params, key_of(0)[None], shown)
    if not finite:
        trouble = nan_for_masks(denoiser, state.params, length, shown)
        if trouble is not None:
            raise InputError(f"there is nothing to train yet: {trouble}")
    elif not isinstance(_module(denoiser), Transformer):
        trouble = mask_taken_for_a_token(denoiser, state.params, length, shown)
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

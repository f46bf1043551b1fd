"""What is seen before the first step: data that do not fit the task, a model that cannot be trained on it."""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax.models.classes import check_labels, classes_of
from mdm_jax.models.denoiser import Context, Denoiser, Params, begun, checked_tokens, layers
from mdm_jax.models.parameters import parted
from mdm_jax.models.probes import mask_taken_for_a_token, nan_for_masks
from mdm_jax.models.transformers import Transformer
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.keys import key_of
from mdm_jax.support.ragged import present
from mdm_jax.tasks import Task, given_of, lengths_of
from mdm_jax.tasks.array_files import stays_in_file
from mdm_jax.tasks.row_lengths import length_counts
from mdm_jax.training.contexts import checked_contexts
from mdm_jax.training.feeding import abstract
from mdm_jax.training.objective import Examples, check_losses
from mdm_jax.training.optimizer import check_update
from mdm_jax.training.step import Data, TrainState, batch_of, initial_params, initial_state
from mdm_jax.training.ways import Job


def checked_data(denoiser: Denoiser, task: Task, context: Any = None) -> tuple[Examples, Examples]:
    """``task.train`` and ``task.validation``, int32, every id of them seen to be a token's, and what is known of each.

    Training tokens that stay in their file are as they are; their ids are checked as they are read.

    Args:
        denoiser: the model.
        task: what is learned from.
        context: of the rows of either part, as :func:`mdm_jax.training.fit` takes it.

    Raises:
        InputError: a task that does not fit the model, or arrays that do not fit the task.
    """
    fits = denoiser.vocab_size == task.vocab_size
    require(fits, "denoiser.vocab_size", denoiser.vocab_size, f"the task's vocab_size {task.vocab_size}")
    far = stays_in_file(task.train)
    train = task.train if far else np.asarray(checked_tokens(denoiser, task.train, "task.train"))
    validation = np.asarray(checked_tokens(denoiser, task.validation, "task.validation"))
    length, shape = task.length, verbatim(f"shape {train.shape}")
    if train.ndim == 1:
        require(len(train) >= length, "task.train", shape, f"a stream of at least {length} tokens")
    else:
        rows = train.ndim == 2 and train.shape[1] == length and len(train) > 0
        require(rows, "task.train", shape, f"a stream, or of shape [examples, {length}]")
    whole = train.dtype.kind in "iu"
    require(whole, "task.train", verbatim(str(train.dtype)), "an array of token ids (whole numbers)")
    places = verbatim(f"{shape}, held in memory")
    wanted = "shorter than 2^31, or a np.memmap of one piece, of which training reads what it needs"
    require(far or len(train) < 2**31, "task.train", places, wanted)
    shape = verbatim(f"shape {validation.shape}")
    enough = validation.ndim == 2 and len(validation) >= 2 and validation.shape[1] == length
    require(enough, "task.validation", shape, f"of shape [rows, {length}] with at least 2 rows")
    _require_ends("train", train)
    _require_ends("validation", validation)
    _require_lengths(task, train)
    contexts = checked_contexts(context, train, validation)
    for part in contexts:
        check_labels(denoiser, part)
    classes, theirs = classes_of(denoiser), getattr(task, "classes", None)
    wide = classes == 0 or theirs is None or theirs <= classes
    require(wide, "denoiser", verbatim(f"{classes} classes"), f"a model of the task's {theirs} classes")
    needless = classes == 0 or contexts[0] is not None
    told = "the labels of the rows, since the denoiser has classes: from a task that tells them, or by context=(...)"
    require(needless, "context", context, f"{told}; a model without classes needs none")
    given = (_given(task, name, part) for name, part in (("train", train), ("validation", validation)))
    return Examples(train, contexts[0], next(given)), Examples(validation, contexts[1], next(given))


def _require_ends(name: str, tokens: np.ndarray) -> None:
    """Refuse absent positions elsewhere than at the end of a row; a stream has none.

    Raises:
        InputError: there are some.
    """
    if stays_in_file(tokens) or tokens.min() >= 0:
        return
    there = present(tokens)
    late = ~there if tokens.ndim == 1 else ~there[:, :-1] & there[:, 1:]
    if late.any():
        where = ", ".join(str(int(index)) for index in np.argwhere(late)[0])
        wanted = "token ids, and -1 (no token) at the end of rows alone"
        require(False, f"task.{name}", verbatim(f"-1 at ({where})"), wanted)


def _require_lengths(task: Task, train: np.ndarray) -> None:
    """Refuse a task whose rows have different lengths and whose description does not say so: samples would not either.

    Raises:
        InputError: it does not, or says other lengths.
    """
    if train.ndim == 1 or stays_in_file(train):
        return
    told = lengths_of(task.describe())
    if told is None and train.min() >= 0:
        return
    counts = length_counts(train)
    same = told is not None and told.tolist() == counts
    wanted = 'the number of training rows of 0, 1, ... tokens as "lengths", since rows have different lengths'
    require(same, "task.describe()", None if told is None else told.tolist(), f"a dictionary with {wanted}")


def _given(task: Task, name: str, tokens: np.ndarray) -> np.ndarray | None:
    """What a task says is given of the rows of a part, looked at.

    Raises:
        InputError: it is no mask of the part, or leaves nothing to predict in a row.
    """
    if stays_in_file(tokens):
        told = getattr(task, "given", None)
        mask = None if told is None else told(name)
        require(mask is None, f"task.given({name!r})", mask, "None, since these rows stay in their file")
        return None
    given = given_of(task, name)
    free = present(tokens)
    if given is not None:
        shown = verbatim(f"{given.dtype} of shape {given.shape}")
        fits = given.dtype == bool and given.shape == tokens.shape and tokens.ndim == 2
        require(fits, f"task.given({name!r})", shown, f"bool of shape {tokens.shape}, for rows")
        free = free & ~given
    if tokens.ndim == 2:
        left = free.any(axis=1)
        shown = verbatim(f"row {int(np.argmin(left))}, of which nothing is left to predict")
        require(bool(left.all()), f"task.{name}", shown, "rows with at least one token that is there and not given")
    return given


def mean_tokens(examples: Examples) -> float:
    """Tokens that a row asks for, on average; 0 where that is its length."""
    if examples.tokens.ndim == 1 or stays_in_file(examples.tokens):
        return 0.0
    free = np.sum(np.asarray(examples.free), axis=1)
    return 0.0 if bool(np.all(free == examples.tokens.shape[1])) else round(float(free.mean()), 6)


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
            f"it anew with length={settings.length}."
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

    def cost(state: TrainState, train: Data) -> Any:
        examples, corrupted = batch_of(denoiser, settings, state.step, train, job.objective)
        return job.objective.losses(denoiser, state.params, examples, corrupted)

    check_losses(job.objective, jax.eval_shape(cost, state, abstract(train, settings)), settings.batch)
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

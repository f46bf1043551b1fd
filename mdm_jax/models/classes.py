"""Classes of rows: a model of ``K`` of them is told each row's label, from 0 to K - 1, or K, which stands for none.

Its context is ``{"label": int32[rows]}``. Without a context no row has a label. A denoiser or a module of your own says
that its contexts are such by an attribute ``label_classes``, K.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from mdm_jax.models.denoiser import Context, is_readable, layers
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import InputError, require, require_whole, verbatim

LABEL = "label"
"""The name of labels in a context."""
_MAKER = "models.transformer(..., classes=10)"


def classes_of(denoiser: Any) -> int:
    """How many classes a denoiser's labels are of, whatever it is wrapped in; 0 if it takes none.

    Example:
        >>> import mdm_jax as mdm
        >>> sizes = {"length": 8, "width": 16, "depth": 1, "heads": 2}
        >>> plain, model = mdm.models.transformer(4, **sizes), mdm.models.transformer(4, **sizes, classes=3)
        >>> mdm.models.classes_of(plain), mdm.models.classes_of(mdm.models.tempered(model, 0.5))
        (0, 3)
    """
    return _told_classes(denoiser) or 0


def _told_classes(denoiser: Any) -> int | None:
    """The same; ``None`` of a model that says nothing of classes."""
    for layer in layers(denoiser):
        for one in (layer, getattr(layer, "module", None)):
            told = getattr(one, "label_classes", None)
            if type(told) is int:
                return told
    return None


def label_context(denoiser: Any, labels: Any, rows: int | None = None) -> dict[str, Int[Array, " rows"]]:
    """The context that tells a class-conditional model what its rows are to be.

    Args:
        denoiser: a model with classes, whatever it is wrapped in.
        labels: one label for all rows, or one for each: whole numbers below ``classes_of(denoiser)``. That number
            itself stands for no label.
        rows: how many; may be left out where there is a label for each, or where there is one row.

    Returns:
        ``{"label": int32[rows]}``.

    Raises:
        InputError: a model without classes, a label that is none, another number of them than rows.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2, classes=3)
        >>> mdm.models.label_context(model, 2, rows=3)["label"].tolist()
        [2, 2, 2]
        >>> mdm.models.label_context(model, [0, 5])
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: labels must be whole numbers from 0 to 2, or 3 for no label; got 5.
    """
    classes = require_classes(denoiser)
    if rows is not None:
        rows = require_whole("rows", rows, 1, 2**31 - 1)
    given = labels if isinstance(labels, jax.Array) else as_array(labels)
    _require_labels(given, classes, "labels", (0, 1))
    require(given.ndim == 0 or given.size > 0, "labels", labels, "one label at least")
    fits = given.ndim == 0 or rows in (None, len(given))
    require(fits, "labels", verbatim(f"{given.size} labels"), f"one for all rows, or {rows}, one for each")
    rows = rows or max(1, given.size)
    return {LABEL: jnp.broadcast_to(jnp.asarray(given, jnp.int32), (rows,))}


def no_label(denoiser: Any, rows: int) -> dict[str, Int[Array, " rows"]]:
    """The context of rows without labels, as where a model with classes gets no context.

    Args:
        denoiser: a model with classes, whatever it is wrapped in.
        rows: how many.

    Raises:
        InputError: a model without classes.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2, classes=3)
        >>> mdm.models.no_label(model, rows=2)["label"].tolist()
        [3, 3]
    """
    return label_context(denoiser, classes_of(denoiser), rows)


def require_classes(denoiser: Any, argument: str = "denoiser") -> int:
    """How many classes a denoiser's labels are of.

    Raises:
        InputError: it takes no labels.
    """
    classes, shown = classes_of(denoiser), verbatim(type(denoiser).__name__)
    require(classes > 0, argument, shown, f"a model with classes, as {_MAKER} makes it")
    return classes


def check_labels(denoiser: Any, context: Context, argument: str = "context") -> None:
    """Refuse a context that holds no labels, or wrong ones, of a model with classes, and labels where there are none.

    A model that says nothing of classes takes what it takes. Labels that this process cannot read are looked at by
    their type and shape alone: a wrong one among them makes the model's predictions NaN.

    Args:
        denoiser: the model, whatever it is wrapped in. Of a guided one the context is a ``Guidance``.
        context: what it would get.
        argument: its name, for the sentence.

    Raises:
        InputError: as said.

    Example:
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2, classes=3)
        >>> mdm.models.check_labels(model, mdm.models.label_context(model, [0, 2]))
        >>> mdm.models.check_labels(model, [0, 2])
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: context must be {"label": int32[rows]}, a label for each row, as ...
    """
    classes = _told_classes(denoiser)
    for part in () if classes is None else _parts(context):
        if classes and part is not None:
            _labels_in(part, classes, argument)
        labels = isinstance(part, dict) and LABEL in part
        wanted = f"left out, or the model one with classes, as {_MAKER} makes it: this one takes no labels"
        require(bool(classes) or not labels, argument, verbatim("labels"), wanted)


def labels_of(context: Context, classes: int, rows: int) -> Int[Array, " rows"]:
    """The label of each row as a network looks it up: no label for all of them where there is no context.

    What is no label, which only traced values can be, is beyond all: a lookup of it is NaN.

    Raises:
        InputError: the context is no labels, or has others than a label for each row.
    """
    if context is None:
        return jnp.full(rows, classes, jnp.int32)
    label = _labels_in(context, classes, "context")
    require(label.shape == (rows,), "context", verbatim(f"labels of shape {label.shape}"), f"labels of {rows} rows")
    good = (label >= 0) & (label <= classes)  # before the cast, which would make labels of larger numbers
    return jnp.where(good, jnp.asarray(label).astype(jnp.int32), jnp.int32(jnp.iinfo(jnp.int32).max))


def _parts(context: Context) -> tuple[Context, ...]:
    """The contexts inside of a ``Guidance``, however often one holds another; any other by itself."""
    if hasattr(context, "given") and hasattr(context, "without"):
        return *_parts(context.context), *_parts(context.without)
    return (context,)


def _labels_in(context: Context, classes: int, argument: str) -> Any:
    """The labels that a context holds, checked as far as they can be read."""
    holds = isinstance(context, dict) and set(context) == {LABEL}
    shown = verbatim(_told(context))
    wanted = f'{{"{LABEL}": int32[rows]}}, a label for each row, as models.label_context makes it'
    require(holds, argument, shown, wanted)
    assert isinstance(context, dict)
    label = context[LABEL]
    label = label if isinstance(label, jax.Array) else as_array(label)
    _require_labels(label, classes, f'{argument}["{LABEL}"]', (1,))
    return label


def _require_labels(label: Any, classes: int, argument: str, axes: tuple[int, ...]) -> None:
    shown, kind = verbatim(f"{label.dtype} of shape {label.shape}"), np.dtype(label.dtype).kind
    require(kind in "iu" and label.ndim in axes, argument, shown, "whole numbers, one label for each row")
    if is_readable(label):
        values = np.asarray(label)
        wrong = values[(values < 0) | (values > classes)]
        if wrong.size:
            wanted = f"whole numbers from 0 to {classes - 1}, or {classes} for no label"
            raise InputError(f"{argument} must be {wanted}; got {wrong[0]}.")


def _told(context: Context) -> str:
    if isinstance(context, dict):
        return f"a dictionary of {', '.join(map(repr, context)) or 'nothing'}"
    shape = getattr(context, "shape", None)
    return type(context).__name__ if shape is None else f"an array of shape {shape}"

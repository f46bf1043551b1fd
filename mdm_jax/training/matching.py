"""Whether a task, or parameters, fit a run that was trained before: told before anything is computed."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mdm_jax import tasks
from mdm_jax.models.denoiser import Params
from mdm_jax.support.errors import InputError, require, verbatim
from mdm_jax.support.text import shortened
from mdm_jax.tasks import Notation, Numbers, Task

_MANY = 2**20  # tokens of a vocabulary that are still compared one by one


def require_vocabulary(task: Task, description: Mapping[str, Any], where: str) -> None:
    """Refuse a task whose token ids mean something else than they did to a run.

    Args:
        task: what is to be learned, or looked at.
        description: the task of the run, as stored with it.
        where: the run, for the sentence.

    Raises:
        InputError: another number of tokens, or other tokens. What neither tells of its vocabulary is not compared.
    """
    size = description.get("vocab_size")
    ours, theirs = _notation(task.describe()), _notation(description)
    wanted = f"of the vocabulary of {where}"
    if ours is not None and theirs is not None and (told := _apart(ours, theirs)) is not None:
        raise InputError(f"task must be {wanted}: {told}.")
    shown = verbatim(f"one of {task.vocab_size} tokens")
    require(size is None or task.vocab_size == size, "task", shown, f"{wanted}, {size} tokens")


def require_same_shapes(params: Params, fresh: Params) -> None:
    """Refuse parameters that are not those of a model, and name the first leaf that differs.

    Args:
        params: given.
        fresh: the shapes of those that the model would make itself.

    Raises:
        InputError: a leaf is missing, or too many, or of another shape.
    """
    given, made = _by_name(params), _by_name(fresh)
    for name, leaf in made.items():
        wanted = f"those of the model, with {name} of shape {leaf.shape}"
        require(name in given, "params", verbatim("none there"), wanted)
        require(np.shape(given[name]) == leaf.shape, "params", verbatim(f"shape {np.shape(given[name])}"), wanted)
    more = next((name for name in given if name not in made), None)
    require(more is None, "params", verbatim(f"{more} besides"), "those of the model")


def _by_name(params: Params) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _notation(description: Mapping[str, Any]) -> Notation | None:
    """The vocabulary that a description tells, if it tells one: a task of one's own need not."""
    try:
        return tasks.vocabulary_of(description)
    except InputError:
        return None


def _apart(ours: Notation, theirs: Notation) -> str | None:
    """What tells two vocabularies apart, as the end of a sentence; ``None``: nothing."""
    if isinstance(ours, Numbers) and isinstance(theirs, Numbers):
        return None  # their sizes are compared; how they are drawn changes no token
    if ours.unit != theirs.unit:
        return f"its tokens are {ours.unit}, not {theirs.unit}"
    if max(ours.size, theirs.size) > _MANY:
        return None
    one, other = (notation.pieces(np.arange(notation.size)) for notation in (ours, theirs))
    if one == other:
        return None
    new, gone = (sorted(set(a) - set(b)) for a, b in ((one, other), (other, one)))
    told = [f"it has {_named(new)}, which the run never saw"] if new else []
    told += [f"it lacks {_named(gone)}"] if gone else []
    return ", and ".join(told) or "it has the same tokens in another order"


def _named(tokens: list[str]) -> str:
    return shortened(", ".join(map(repr, tokens)), 60)

"""A text in the ids of a larger vocabulary: that of a run, say, which is to be trained on it."""

import dataclasses
from typing import Any, TypeVar

import numpy as np

from mdm_jax.support.errors import InputError, require
from mdm_jax.support.ragged import ABSENT
from mdm_jax.support.text import shortened
from mdm_jax.tasks.line_tasks import LinesTask
from mdm_jax.tasks.notations import Vocabulary
from mdm_jax.tasks.parts import NAMES
from mdm_jax.tasks.text_files import TextTask

_Text = TypeVar("_Text", TextTask, LinesTask)


def in_vocabulary(task: _Text, vocabulary: Vocabulary) -> _Text:
    """The same text, its characters numbered as in ``vocabulary``, which has them all.

    A run stores the vocabulary, and restores the task in it.

    Args:
        task: a text, or lines.
        vocabulary: of characters, as ``run.vocabulary`` is.

    Raises:
        InputError: another kind of task or vocabulary, or one that lacks a character of the text.

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.lines(["CCO", "C1CC1"] * 20)
        >>> wider = mdm.tasks.in_vocabulary(task, mdm.tasks.Vocabulary("1=CNO"))
        >>> task.train[0].tolist(), wider.train[0].tolist(), wider.show(wider.train[0])
        ([1, 1, 2, -1, -1], [2, 2, 4, -1, -1], 'CCO')
    """
    require(isinstance(task, TextTask | LinesTask), "task", task, "a text or lines of one")
    wanted = "a Vocabulary of characters, as run.vocabulary is for a text"
    require(type(vocabulary) is Vocabulary, "vocabulary", vocabulary, wanted)
    own = task.vocabulary
    require(isinstance(own, Vocabulary), "task", own, "one whose tokens are characters")
    assert isinstance(own, Vocabulary)
    more = sorted(set(own.characters) - set(vocabulary.characters))
    if more:
        raise InputError(
            f"vocabulary must have every character of the text; it lacks {shortened(', '.join(map(repr, more)), 60)}."
        )
    ids = vocabulary.encode(own.characters)
    arrays = {name: _renumbered(getattr(task, name), ids) for name in NAMES}
    changes: dict[str, Any] = {"vocabulary": vocabulary, **arrays}
    if task.made is not None:
        tokens = zip(task.made[: len(NAMES)], NAMES)
        kept = (arrays[name] if one is getattr(task, name) else _renumbered(one, ids) for one, name in tokens)
        changes["made"] = (*kept, *task.made[len(NAMES) :])
    if isinstance(task, LinesTask):
        changes["separator"] = task.separator and tuple(int(ids[token]) for token in task.separator)
        changes["end"] = None if task.end is None else int(ids[task.end])
    return dataclasses.replace(task, **changes)


def is_part_of(task: Any, vocabulary: Any) -> bool:
    """Whether :func:`in_vocabulary` takes a task, and changes it."""
    own = task.vocabulary if isinstance(task, TextTask | LinesTask) else None
    if not isinstance(own, Vocabulary) or type(vocabulary) is not Vocabulary:
        return False
    return set(own.characters) < set(vocabulary.characters)


def _renumbered(tokens: np.ndarray, ids: np.ndarray) -> np.ndarray:
    found = np.where(tokens == ABSENT, ABSENT, ids[tokens]).astype(np.int32)  # ABSENT reads the last id, and is kept
    found.flags.writeable = False
    return found

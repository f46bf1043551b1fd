"""Options of labels: of which class samples are (``--label``), how closely they follow it (``--guidance``), and how
often training leaves the label out (``--label-dropout``).
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int32

from mdm_jax import tasks
from mdm_jax.models import Context, Denoiser, classes_of, guidance, guided, label_context
from mdm_jax.models.classes import LABEL
from mdm_jax.support.errors import InputError, require
from mdm_jax.tasks import Task
from mdm_jax.training import LabelDropout, Objective, Run


def classes_of_task(task: Task) -> int:
    """How many classes the rows of a task are of: what it says, or else as many as its labels need; 0 without labels.

    Raises:
        InputError: labels that are no whole numbers from 0 on.
    """
    known = [tasks.context_of(task, part) for part in ("train", "validation", "test")]
    if not all(isinstance(one, dict) and set(one) == {LABEL} for one in known):
        return 0
    told = getattr(task, "classes", None)
    if told is not None:
        return int(told)
    labels = [np.asarray(one[LABEL]) for one in known]
    good = all(one.dtype.kind in "iu" and one.size > 0 and one.min() >= 0 for one in labels)
    require(good, "task.context", known[0], "labels, whole numbers from 0 on")
    return 1 + max(int(one.max()) for one in labels)


def check_dropout(rate: float | None) -> None:
    """Refuse a ``--label-dropout`` that is no share of the rows."""
    require(rate is None or 0 <= rate < 1, "--label-dropout", rate, "a share of the rows, from 0 to below 1")


def with_dropout(objective: Objective, rate: float | None, classes: int) -> Objective:
    """The objective of a run whose rows have labels: under dropout, unless ``--label-dropout 0`` says none.

    Raises:
        InputError: ``--label-dropout`` for a task without labels.
    """
    if classes == 0:
        if rate is not None:
            raise InputError("--label-dropout must be left out for a task without labels: there are none to drop.")
        return objective
    dropping = LabelDropout(objective) if rate is None else LabelDropout(objective, rate)
    return dropping if dropping.rate > 0 else objective


def labels_of_rows(trained: Run, options: argparse.Namespace, rows: int) -> Int32[np.ndarray, " rows"] | None:
    """The label of each row: the one of ``--label``, or several that take turns; ``None`` where none is asked for.

    Raises:
        InputError: a run without classes, or a label that it has not.
    """
    asked = getattr(options, LABEL, None)
    if asked is None:
        return None
    classes = require_classes(trained)
    for label in asked:
        require(0 <= label < classes, "--label", label, f"from 0 to {classes - 1}, a class of this run")
    return np.resize(np.asarray(asked, np.int32), rows)


def require_classes(trained: Run) -> int:
    """How many classes a run has.

    Raises:
        InputError: none.
    """
    classes = classes_of(trained.denoiser)
    if classes == 0:
        raise InputError(
            f"--label needs a run whose data have labels (as train --task 'digits?labels'); {trained.place.path} has "
            "none."
        )
    return classes


def conditioned(
    trained: Run, options: argparse.Namespace, denoiser: Denoiser, canvas: np.ndarray | None, rows: int
) -> tuple[Denoiser, Context]:
    """The denoiser as ``--guidance`` asks for it, and the context of so many rows, by ``--label``.

    Beside a label guidance strengthens that alone, and what a prompt gives is seen by both inputs.

    Args:
        trained: the run.
        options: ``label`` and ``guidance``, each ``None`` or missing where it is not given.
        denoiser: the run's, perhaps changed.
        canvas: int32[length] or int32[rows, length], what is given; ``None``: nothing.
        rows: how many.

    Raises:
        InputError: as :func:`labels_of_rows`.
    """
    labels = labels_of_rows(trained, options, rows)
    context = None if labels is None else label_context(denoiser, labels)
    weight = getattr(options, "guidance", None)
    if weight is None:
        return denoiser, context
    given: Any = trained.settings.length if canvas is None else canvas
    by = "prompt" if labels is None else LABEL
    return guided(denoiser), guidance(given, denoiser, weight, context, rows, by)


def label_note(trained: Run, options: argparse.Namespace) -> str | None:
    """What to say where a model is asked without a label that was never trained so; ``None`` where there is nothing."""
    if classes_of(trained.denoiser) == 0 or trained.directory is None:
        return None
    objective = trained.directory.read_config().get("objective") or {}
    if objective.get("name") in (LabelDropout().describe()["name"], None):
        return None
    if options.label is None:
        return "this run was trained without label dropout: without --label it writes what it never learned."
    if options.guidance is not None:
        return "this run was trained without label dropout: --guidance leads away from what it never learned."
    return None


def told(asked: Sequence[int] | None) -> str | None:
    """What ``--label`` says, for a heading."""
    if asked is None:
        return None
    return f"label {asked[0]}" if len(asked) == 1 else f"labels {', '.join(map(str, asked))} in turn"

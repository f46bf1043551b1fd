"""What whoever imports a published model should know of the rows and of the tokens that it is to be measured on."""

from collections.abc import Collection

import numpy as np

from mdm_jax.app.report.remarks import FEW_ROWS
from mdm_jax.tasks import Task, Vocabulary
from mdm_jax.tasks.dealing import dealt
from mdm_jax.tasks.rows import RowsTask

_SHARE = 0.8
"""Of the rows that are held out, as it is proposed."""
_FILES = ("fasta", "npy", "text", "tokens")
"""Kinds of tasks whose spec takes a share."""


def told_of_few_rows(task: Task) -> str | None:
    """How many rows are to choose and to judge, where they are few, and how there are more.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.app.work.import_notes import told_of_few_rows
        >>> told_of_few_rows(mdm.tasks.sudoku4()) is None
        True
    """
    rows, others = len(task.validation), len(task.test)
    if rows >= FEW_ROWS:
        return None
    said = f"plans are chosen on {rows} rows and judged on {others} others, so intervals are wide"
    if np.ndim(task.train) == 1:
        return f"{said}; a longer text has more, or a smaller --length."
    if not isinstance(task, RowsTask) or task.spec.partition(":")[0] not in _FILES or task.held_out >= _SHARE:
        return f"{said}; more data have more."
    more = len(dealt(len(task.train) + rows + others, _SHARE)[1])
    return (
        f"{said}; the model is trained on none, so held_out={_SHARE} in the settings of --task (as in "
        f"fasta:PATH?held_out={_SHARE}) takes about {more} for each."
    )


def told_of_pieces(task: Task, vocabulary: Collection[str] | None) -> str | None:
    """Which of a checkpoint's tokens stand for characters, where it has others for the same ones in another place.

    Args:
        task: any.
        vocabulary: the checkpoint's tokens.

    Example:
        >>> import mdm_jax as mdm
        >>> from mdm_jax.app.work.import_notes import told_of_pieces
        >>> task = mdm.tasks.lines(["abba", "baab"] * 10)
        >>> told_of_pieces(task, ["a", "b", "##b"]).partition(";")[0]
        "the checkpoint has tokens that go on a word, as '##b'"
        >>> told_of_pieces(task, ["a", "b"]) is None
        True
    """
    letters = getattr(task, "vocabulary", None)
    if type(letters) is not Vocabulary or vocabulary is None:
        return None
    for mark, others, taken in (
        ("##", "go on a word", "begin one"),
        ("Ġ", "begin a word", "go on one"),
        ("▁", "begin a word", "go on one"),
    ):
        for letter in letters.characters:
            if mark + letter in vocabulary:
                return (
                    f"the checkpoint has tokens that {others}, as {mark + letter!r}; the characters of this task are "
                    f"those that {taken}, as {letter!r}, wherever they stand. A task in its own tokens is "
                    "tokens:PATH?tokenizer=FOLDER/tokenizer.json."
                )
    return None

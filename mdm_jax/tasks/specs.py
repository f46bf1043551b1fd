"""Tasks by name, as the command line gives them and as runs remember them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mdm_jax.support.errors import InputError, require
from mdm_jax.support.text import shortened
from mdm_jax.tasks import own_tasks, recoding, text_files
from mdm_jax.tasks.array_files import KINDS as ARRAYS
from mdm_jax.tasks.array_files import TokensTask
from mdm_jax.tasks.dealing import share_of
from mdm_jax.tasks.grids import sudoku4, sudoku6, sudoku9
from mdm_jax.tasks.line_tasks import SEQUENCES, lines, sequences
from mdm_jax.tasks.notations import Notation, Subwords, from_json
from mdm_jax.tasks.own_tasks import OwnTask
from mdm_jax.tasks.pictures import digits
from mdm_jax.tasks.python_code import code
from mdm_jax.tasks.rows import RowsTask
from mdm_jax.tasks.rules import RULES, rule_from_spec
from mdm_jax.tasks.spelling import Known, Settings, parsed
from mdm_jax.tasks.subwords import SETTINGS as SUBWORDS
from mdm_jax.tasks.subwords import SubwordsTask, by_stored, from_settings
from mdm_jax.tasks.task import Task
from mdm_jax.tasks.text_files import TextTask, text
from mdm_jax.tasks.toys import binsaw, law_from_spec

_Found = TextTask | RowsTask | TokensTask | SubwordsTask | OwnTask

LENGTH = 128
"""Characters in one row of ``text`` and ``code``, unless another number is asked for."""

SPECS = (
    '"text" (CPython\'s documentation), "text:PATH" (a UTF-8 file; its lines by "text:PATH?lines"), '
    '"tokens:PATH?tokenizer=FILE" (a text in subwords), "code" (Python\'s standard library), "fasta:PATH" (sequences), '
    '"digits" or "digits?labels" (8 x 8 pictures), "npy:PATH" (an integer array), "bin:PATH?dtype=TYPE" (token ids '
    'without a header), "pairs:P" or "blocks:P" (tokens that depend on each other, P from 0 to 1), "binsaw" (noisy '
    'bits of a wave), "sudoku4", "sudoku6" or "sudoku9" (grids), "brackets" (that match), "arithmetic" (additions with '
    'their carries), or "MODULE:FUNCTION" (a task of your own)'
)

_FIXED: dict[str, Callable[[], RowsTask]] = {
    "digits": digits, "digits?labels": lambda: digits(labels=True), "binsaw": binsaw, "sudoku4": sudoku4,
    "sudoku6": sudoku6, "sudoku9": sudoku9,
}  # fmt: skip
"""Tasks whose spec is a name alone."""


def from_spec(spec: str, length: int | None = None) -> _Found:
    """The task that ``spec`` names.

    Args:
        spec: a name, as "text", "code", "digits", "sudoku4"; a kind of data and the path of a file, as "text:PATH",
            with settings behind it, as "text:PATH?lines&prompt=SEP"; or "MODULE:FUNCTION", a function of your own that
            returns a task. The table "Which task?" in ``tasks/README.md`` has them all.
        length: tokens in one row. Of a text or a stream of tokens it says how long the windows are, ``LENGTH``
            characters if left out. Of lines and sequences, how long the longest may be; of brackets, how many there
            are. Other tasks have a length of their own, which is all that may be asked for.

    Raises:
        InputError: no such task, an unknown setting, or data that cannot be used.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> np.save("rows.npy", np.arange(200).reshape(50, 4) % 10)
        >>> mdm.tasks.from_spec("npy:rows.npy?vocab=16").vocab_size
        16
        >>> mdm.tasks.from_spec("poetry")
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: spec must be "text" (CPython's documentation), ... got 'poetry'.
    """
    task = _made(spec, length)
    require(length in (None, task.length), "length", length, f"{task.length}, that of the rows of {spec}, or left out")
    return task


def _made(spec: str, length: int | None) -> _Found:
    kind, _, rest = spec.partition(":")
    characters = LENGTH if length is None else length
    if spec in _FIXED:
        return _FIXED[spec]()
    if spec in ("text", "code"):
        return {"text": text, "code": code}[spec](characters)
    if kind in _LAWS:
        return law_from_spec(spec)
    if spec.partition("?")[0] in RULES:
        return rule_from_spec(spec, length)
    if kind in _FILES and rest:
        known, make = _FILES[kind]
        return make(*parsed(kind, rest, known), length)
    own = spec.removeprefix(own_tasks.KIND)
    told = spec.startswith(own_tasks.KIND)  # or else it must be nothing but that
    named = own_tasks.is_name(own) and (told or kind not in _TAKEN)
    if named and not told and not own_tasks.is_there(own):
        absent = (
            f"{shortened(repr(spec))}, whose module {shortened(kind)} is neither in the working directory nor installed"
        )
        raise InputError(f"spec must be {SPECS}; got {absent}.")
    require(named, "spec", spec, SPECS)
    return own_tasks.from_function(own)


def _text(path: str, settings: Settings, length: int | None) -> _Found:
    if "lines" in settings:
        end, held_out = "end" in settings, share_of(settings)
        return lines(path, length, prompt=settings.get("prompt"), end=end, held_out=held_out)
    if settings:
        raise InputError(
            f"spec must have lines where it has {' and '.join(settings)}, as in text:PATH?lines&prompt=SEP."
        )
    return text(LENGTH if length is None else length, path)


_FILES: dict[str, tuple[Known, Callable[[str, Settings, int | None], _Found]]] = {
    "text": (text_files.SETTINGS, _text),
    "fasta": (SEQUENCES, sequences),
    "tokens": (SUBWORDS, from_settings),
    **ARRAYS,
}
"""By the kind of data: the settings that may stand behind the path, and what makes the task."""
_LAWS = ("pairs", "blocks")
_TAKEN = {*_FILES, *_FIXED, *_LAWS, *RULES, "code"}
"""What cannot be the module of a task of one's own, unless "python:" stands before it."""


def restore(description: Mapping[str, Any]) -> Task:
    """The task that :meth:`Task.describe` described, from the same data; with the vocabulary that it had.

    Raises:
        InputError: ``description`` is not one, the data is gone or has changed, or it is of a task that no spec makes:
            one of the user's own, or with arrays that were put in by hand. The sentence says which.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> np.save("rows.npy", np.arange(200).reshape(50, 4) % 10)
        >>> stored = mdm.tasks.npy("rows.npy").describe()
        >>> mdm.tasks.restore(stored).train.shape
        (40, 4)
        >>> np.save("rows.npy", np.arange(200).reshape(50, 4) % 9)
        >>> mdm.tasks.restore(stored)
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: The task ... cannot be restored: its data has changed since ...
    """
    vocabulary = vocabulary_of(description)
    spec, length, digest = (description.get(name) for name in ("spec", "length", "digest"))
    if not (isinstance(spec, str) and type(length) is int and isinstance(digest, str)):
        raise InputError(
            "description must be what a task's describe() returned; its spec, length or digest is missing."
        )
    need = "training, profile and report need the original data"
    own = "to train it further give the task itself to fit, and its rows to the functions of evaluation"

    def lost(reason: str, remedy: str) -> InputError:
        return InputError(
            f"The task {spec!r} cannot be restored: {reason}; sampling still works from the stored vocabulary, but "
            f"{remedy}."
        )

    if not _is_ours(spec):
        raise lost("it is a task of your own", own)
    found = spec.startswith(own_tasks.KIND)  # whatever it is made of, its function makes it again
    for added, what in (("arrays", "its arrays were put in by hand"), ("class", "its class is your own")):
        if added in description and not found:
            raise lost(what, own)
    try:
        task = _again(spec, length, vocabulary)
    except InputError as error:
        raise lost(str(error).rstrip("."), need) from None
    if task.digest != digest:
        raise lost("its data has changed since (another Python version, or an edited file)", need)
    if not found and vocabulary != getattr(task, "vocabulary", None):  # set by hand, as the shape of pictures may be
        try:
            if recoding.is_part_of(task, vocabulary):  # trained on from a run that knew more characters
                task = recoding.in_vocabulary(task, vocabulary)  # pyright: ignore[reportArgumentType]
            else:
                task = dataclasses.replace(task, vocabulary=vocabulary)  # pyright: ignore[reportArgumentType]
        except InputError as error:
            raise lost(f"the stored vocabulary does not fit its data ({str(error).rstrip('.')})", need) from None
    made = task.describe()
    for name in description.keys() | made.keys():
        if name != "spec" and description.get(name) != made.get(name):  # one file has many spellings
            raise lost(f"its {name} is {made.get(name)!r}, and was {description.get(name)!r}", own)
    return task


def _again(spec: str, length: int, vocabulary: Notation) -> _Found:
    """The task of a spec; of subwords, by the tokenizer that was stored, whatever became of its file."""
    if isinstance(vocabulary, Subwords) and spec.startswith("tokens:"):
        return by_stored(spec, vocabulary, length)
    return from_spec(spec, length)


def _is_ours(spec: str) -> bool:
    """Whether :func:`from_spec` reads a spec of this form."""
    kinds = tuple(f"{kind}:" for kind in (*_FILES, *_LAWS))
    ours = spec in ("text", "code", *_FIXED) or spec.partition("?")[0] in RULES
    return ours or spec.startswith((*kinds, own_tasks.KIND))


def vocabulary_of(description: Mapping[str, Any]) -> Notation:
    """The vocabulary that :meth:`Task.describe` stored: all that showing samples and infilling need, without the data.

    Raises:
        InputError: ``description`` holds no vocabulary.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> np.save("rows.npy", np.arange(200).reshape(50, 4) % 10)
        >>> mdm.tasks.vocabulary_of(mdm.tasks.npy("rows.npy").describe())
        Numbers(size=10, shape=None)
    """
    stored = description.get("vocabulary")
    if not isinstance(stored, str | dict):
        raise InputError("description must be what a task's describe() returned; its vocabulary is missing.")
    return from_json(stored)

"""Tasks by name, as the command line gives them and as runs remember them."""

from collections.abc import Mapping
from typing import Any

from mdm_jax.support.errors import InputError, require
from mdm_jax.tasks.task import Task
from mdm_jax.tasks.text import text
from mdm_jax.tasks.vocabulary import Vocabulary


def from_spec(spec: str, length: int = 128) -> Task:
    """The task that ``spec`` names.

    Args:
        spec: "text" (CPython's documentation) or "text:PATH" (a UTF-8 file).
        length: tokens in one row.

    Raises:
        InputError: no such task, or its data cannot be used.
    """
    name, colon, path = spec.partition(":")
    require(name == "text" and bool(path) == bool(colon), "spec", spec, '"text" or "text:PATH" (a UTF-8 file)')
    return text(length, path or None)


def restore(description: Mapping[str, Any]) -> Task:
    """The task that :meth:`Task.describe` described, from the same data.

    Raises:
        InputError: ``description`` is not one, or the data is gone or has changed.
    """
    vocabulary = vocabulary_of(description)
    spec, length, digest = (description.get(name) for name in ("spec", "length", "digest"))
    if not (isinstance(spec, str) and isinstance(length, int) and isinstance(digest, str)):
        raise InputError(
            "description must be what a task's describe() returned; its spec, length or digest is missing."
        )

    def lost(reason: str) -> InputError:
        return InputError(
            f"The task {spec!r} cannot be restored: {reason}; sampling still works from the stored vocabulary, "
            "but training, profile and report need the original data."
        )

    try:
        task = from_spec(spec, length)
    except InputError as error:
        raise lost(str(error).rstrip(".")) from None
    if task.digest != digest or task.describe()["vocabulary"] != vocabulary.characters:
        raise lost("its data has changed since (another Python version, or an edited file)")
    return task


def vocabulary_of(description: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary that :meth:`Task.describe` stored: all that showing samples and infilling need, without the data.

    Raises:
        InputError: ``description`` holds no vocabulary.
    """
    characters = description.get("vocabulary")
    if not isinstance(characters, str):
        raise InputError("description must be what a task's describe() returned; its vocabulary is missing.")
    return Vocabulary(characters)

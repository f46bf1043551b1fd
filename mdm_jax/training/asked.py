"""What ``fit`` and ``load`` are called with, seen to be of the kinds that they take before anything is made of it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdm_jax.models.denoiser import require_denoiser
from mdm_jax.support.errors import InputError, require, uncalled
from mdm_jax.training.directory import RunDirectory
from mdm_jax.training.settings import Settings

_OF_A_TASK = ("length", "vocab_size", "train", "validation", "describe")


def require_pair(denoiser: Any, task: Any) -> None:
    """Refuse what is no denoiser, and a task without what training needs of one.

    Raises:
        InputError: one of the two.
    """
    require_task(task, ", given after the denoiser")
    require_denoiser(denoiser)


def require_task(task: Any, where: str = "") -> None:
    """Refuse a task without what training needs of one.

    Args:
        task: that is to be one.
        where: it is expected, as the end of a sentence.

    Raises:
        InputError: it is none.
    """
    lacks = [name for name in _OF_A_TASK if not hasattr(task, name)]
    wanted = f"a Task, as tasks.text, code, digits, npy and from_spec make them{where}"
    require(not lacks, "task", uncalled(task), f"{wanted}; this one has no {', '.join(lacks)}")


def require_settings(settings: Any) -> None:
    """Refuse settings of another kind.

    Raises:
        InputError: they are.
    """
    good = settings is None or isinstance(settings, Settings)
    require(good, "settings", settings, "Settings, as training.Settings(batch=4)")


def run_directory(directory: Any) -> RunDirectory:
    """The run directory of a path.

    Raises:
        InputError: it is no path.
    """
    good = isinstance(directory, str | os.PathLike) and isinstance(os.fspath(directory), str)
    require(good and "\0" not in os.fspath(directory), "directory", directory, "the path of a run directory")
    return RunDirectory(Path(directory))


@contextlib.contextmanager
def writing(place: RunDirectory) -> Iterator[None]:
    """Say of a directory that cannot be made or written what the system says of it.

    Raises:
        InputError: for an ``OSError`` inside.
    """
    try:
        yield
    except OSError as error:
        where = place.path if error.filename is None else error.filename
        raise InputError(
            f"directory must be one that can be made and written to; of {where} the system says: "
            f"{error.strerror or error}."
        ) from error

"""Source code as a task: windows of characters from the modules of Python's own standard library."""

import os
from pathlib import Path

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import digest
from mdm_jax.tasks.text_files import TextTask, from_content

MOST_CHARACTERS = 1_000_000
"""As much of the library is taken: about a fifth, a random sample of its modules."""


def code(length: int = 128) -> TextTask:
    """Windows of characters from the standard library; they are divided and scored as a text's are.

    The data are the modules that lie directly in the library's directory (``json/`` and other packages,
    ``site-packages`` and the machine's own ``_sysconfigdata`` are left out) and are pure ASCII. They are joined in the
    order of the SHA-256 of their names, so that the held-out last tenth is a random sample of modules and not the end
    of the alphabet, and cut at ``MOST_CHARACTERS``. Python versions differ: a run stores the digest, and the
    ``versions`` in its ``config.json`` say which Python it was.

    Args:
        length: characters in one row, at least 2.

    Raises:
        InputError: ``length`` is too small or too large, or this Python comes without its sources.

    Example:
        >>> import mdm_jax as mdm
        >>> task = mdm.tasks.code(length=64)
        >>> task.validation.shape[1], task.score_name
        (64, 'trigram bits per character')
    """
    return from_content(library(Path(os.__file__).parent), length, "code", "Python's standard library")


def library(directory: Path) -> str:
    """The modules in ``directory`` as one text."""
    names = [path.name for path in directory.glob("*.py") if not path.name.startswith("_sysconfigdata")]
    parts, room = [], MOST_CHARACTERS
    for name in sorted(names, key=digest):
        source = (directory / name).read_bytes()
        if room > 0 and source.isascii() and b"\0" not in source:
            parts.append(source.decode("ascii").replace("\r\n", "\n")[:room])
            room -= len(parts[-1])
    if not parts:
        raise InputError(
            f'The task "code" needs the sources of Python\'s standard library, and {str(directory)!r} has none; '
            "give a file of your own as text:PATH instead."
        )
    return "".join(parts)

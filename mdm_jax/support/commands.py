"""Commands as sentences name them: lines to paste into a shell."""

import shlex
from pathlib import Path


def command(name: str, place: str | Path, *more: str) -> str:
    """``mdm-jax NAME PLACE ...`` as a line to paste into a shell, whatever the path is.

    Example:
        >>> from mdm_jax.support.commands import command
        >>> command("profile", "runs/my run")
        "mdm-jax profile 'runs/my run'"
    """
    path = str(place)
    return shlex.join(["mdm-jax", name, f"./{path}" if path.startswith("-") else path, *more])

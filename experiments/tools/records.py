"""The committed records of runs, ``results/NAME.json``, as they are read."""

from typing import Any

from experiments.tools.catalogue import Places
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import read_json

FORMAT = "mdm_jax experiment 1"
LARGEST = 30_000
"""Bytes of a committed record."""


def read(places: Places, name: str) -> dict[str, Any] | None:
    """The committed record of an experiment; ``None`` if it has none.

    Raises:
        InputError: it cannot be read, or is of another format.
    """
    path = places.results / f"{name}.json"
    if not path.exists():
        return None
    found = read_json(path, "the record of an experiment")
    if found.get("format") != FORMAT:
        raise InputError(f"{path} is not the record of an experiment: its format must be {FORMAT!r}.")
    return found

"""Where ``tune`` puts its results, and what it is told to tune where that is an oracle."""

import os
from pathlib import Path

from mdm_jax import oracles
from mdm_jax.oracles import Oracle
from mdm_jax.support.errors import require
from mdm_jax.theory.plans.beta_search import MOST_VALUES
from mdm_jax.training import RunDirectory

_ORACLE = "oracle:"


def oracle_of(source: str) -> Oracle | None:
    """The oracle that ``oracle:...`` names; ``None`` if something else is named."""
    return oracles.from_spec(source.removeprefix(_ORACLE)) if source.startswith(_ORACLE) else None


def oracle_folder(source: str, output: str | None) -> RunDirectory:
    """Where results about an oracle go: ``--output``, or a folder of its name in ``runs``."""
    name = "".join(source.removeprefix(_ORACLE).split()).replace(":", "-").replace(",", "-")
    return folder(output or f"runs/{name}")


def folder(path: str | Path) -> RunDirectory:
    """A folder for results, which must not be a run: its plans are its own."""
    place = RunDirectory(Path(path))
    require(not place.config.exists(), "--output", str(path), "a folder that is not a run directory")
    there = os.path.lexists(place.path) and not place.path.is_dir()
    require(not there, "--output", str(path), "a folder; this is a file")
    return place


def check_grid(points: int | None) -> None:
    """Refuse a ``--grid`` that is none: a landscape has two values of ``a`` and of ``b`` at least."""
    require(points is None or 2 <= points <= MOST_VALUES, "--grid", points, f"from 2 to {MOST_VALUES}")

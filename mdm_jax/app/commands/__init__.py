"""The commands: one light module each, which owns its parser and knows whose work it is.

A command says what it is ``ABOUT`` and its ``DETAILS``, adds its ``arguments`` to a parser, and does what they say by
``run``. Nothing of JAX is imported before that, so that ``--help`` is instant. No command imports another.
"""

import argparse
from typing import Protocol

from mdm_jax.app.commands import (
    card,
    demo,
    energy,
    evaluate,
    export,
    footprint,
    import_,
    profile,
    race,
    report,
    sample,
    train,
    tune,
)


class Command(Protocol):
    """What a module of this folder has."""

    @property
    def ABOUT(self) -> str: ...

    @property
    def DETAILS(self) -> str: ...

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options."""

    def run(self, options: argparse.Namespace) -> None:
        """Do it."""


COMMANDS: dict[str, Command] = {
    "demo": demo,
    "train": train,
    "import": import_,
    "profile": profile,
    "tune": tune,
    "sample": sample,
    "evaluate": evaluate,
    "race": race,
    "card": card,
    "footprint": footprint,
    "energy": energy,
    "report": report,
    "export": export,
}
"""In the order of ``--help``."""

"""The options of every command that reads a run, without JAX."""

import argparse

ORDERS = ("random", "left_to_right", "probability", "margin", "entropy")
"""The last three look at the model."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run directory and the checkpoint."""
    parser.add_argument("directory", help="run directory")
    checkpoint(parser, "read this checkpoint: newest, best, or the step of one that is kept")


def checkpoint(parser: argparse.ArgumentParser, about: str) -> None:
    """Add the option that chooses a checkpoint."""
    parser.add_argument("--checkpoint", type=_checkpoint, metavar="WHICH", default="newest", help=about)


def places(parser: argparse.ArgumentParser, devices: str, mesh: str) -> None:
    """Add the options that say on which devices to run (:mod:`mdm_jax.app.options.places` reads them)."""
    parser.add_argument("--devices", type=int, metavar="N", help=devices)
    parser.add_argument("--mesh", metavar="AXES", help=f"{mesh} (with several processes: data=ALL)")


def as_json(parser: argparse._ActionsContainer) -> None:
    """Add ``--json``, which every command has."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def _checkpoint(text: str) -> int | str:
    """``newest``, ``best`` or a step."""
    if text in ("newest", "best"):
        return text
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be newest, best or a step; got {text!r}")

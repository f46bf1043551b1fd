"""Options that several commands have. Nothing of JAX is imported here: help is instant."""

import argparse

ORDERS = ("random", "left_to_right", "probability", "margin", "entropy")
"""The last three look at the model."""
_TASKS = (
    "text (CPython's documentation), text:PATH (your UTF-8 file), code (Python's standard library), "
    "digits (8 x 8 pictures), npy:PATH (your integer array), pairs:P or blocks:P (tokens that depend on each other), "
    "binsaw (bits of a wave), sudoku4, sudoku6 or sudoku9 (grids)"
)
_SETTINGS = (
    ("steps", int, "optimiser steps"),
    ("batch", int, "sequences per step"),
    ("length", int, "tokens per sequence"),
    ("learning_rate", float, "at its peak"),
    ("optimizer", str, "adamw or muon"),
    ("weight_decay", float, "decoupled, on matrices"),
    ("ema_decay", float, "decay of the parameters' moving average"),
    ("seed", int, "of parameters, data order and masks"),
    ("accumulate", int, "parts that a batch is worked on one after the other, in less memory"),
    ("compute", str, "bfloat16 or float32: the type of forward and backward passes"),
    ("width", int, "of the transformer"),
    ("depth", int, "blocks of the transformer"),
    ("heads", int, "attention heads"),
)


def everywhere(parser: argparse.ArgumentParser) -> None:
    """Add what every command has."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--quiet", action="store_true", help="no progress and no remarks: results, warnings and errors")
    parser.add_argument(
        "--no-compile-cache",
        action="store_true",
        help="compile everything anew, and keep nothing of it for the next command (else it is kept in your cache "
        "folder, under mdm-jax/compiled)",
    )


def run_directory(parser: argparse.ArgumentParser) -> None:
    """Add the run directory and the checkpoint."""
    parser.add_argument("directory", help="run directory")
    checkpoint(parser, "read this checkpoint: newest, best, or the step of one that is kept")


def checkpoint(parser: argparse.ArgumentParser, about: str) -> None:
    """Add the option that chooses a checkpoint."""
    parser.add_argument("--checkpoint", type=_checkpoint, metavar="WHICH", default="newest", help=about)


def training(parser: argparse._ActionsContainer, task: str | None = None) -> None:
    """Add what says how a run is trained: its task (``task`` if left out), a recipe, and every setting."""
    told = " (default: text)" if task is None else ""
    parser.add_argument("--task", default=task, help=f"{_TASKS}{told}")
    parser.add_argument("--recipe", choices=("demo", "long"), help="settings to start from (default: demo)")
    for name, kind, about in _SETTINGS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=about)


def places(parser: argparse.ArgumentParser, devices: str, mesh: str) -> None:
    """Add the options that say on which devices to run (:mod:`mdm_jax.app.options.places` reads them)."""
    parser.add_argument("--devices", type=int, metavar="N", help=devices)
    parser.add_argument("--mesh", metavar="AXES", help=f"{mesh} (with several processes: data=ALL)")


def budgets(parser: argparse._ActionsContainer, usual: str) -> None:
    """Add the numbers of steps (:mod:`mdm_jax.app.options.budgets` reads them)."""
    parser.add_argument("--budgets", help=f"numbers of steps, separated by commas (default: {usual})")


def order(parser: argparse._ActionsContainer, usual: str) -> None:
    """Add the order that ``evaluate`` and ``race`` sample in."""
    about = "what comes first; the last three are the model's surest positions"
    parser.add_argument("--order", choices=ORDERS, default=usual, help=about)


def drawing(parser: argparse.ArgumentParser) -> None:
    """Add how ``evaluate`` and ``race`` draw samples, and where they are kept."""
    parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the most probable token")
    parser.add_argument(
        "--given", type=int, metavar="TOKENS", help="every sample goes on from so many tokens of a held-out sequence"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws, which all schedules share")
    parser.add_argument("--batch", type=int, help="rows drawn together on each device (default: what fits it)")
    places(parser, "draw on N devices of this machine at once", "draw on a mesh, as in data=4")
    parser.add_argument(
        "--store",
        metavar="FILE",
        help="a .jsonl file that keeps what was drawn, so that nothing is drawn twice (default: in the run directory)",
    )


def _checkpoint(text: str) -> int | str:
    """``newest``, ``best`` or a step."""
    if text in ("newest", "best"):
        return text
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be newest, best or a step; got {text!r}")

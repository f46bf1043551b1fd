"""``mdm-jax``: the command line. Nothing heavy is imported until a command runs, so that ``--help`` is instant."""

import argparse
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from mdm_jax.app.options import common as run_options
from mdm_jax.app.options import comparing as evaluation_options
from mdm_jax.app.options import footprint as footprint_options
from mdm_jax.app.options import sampling as sampling_options
from mdm_jax.app.options import tuning as tuning_options
from mdm_jax.app.terminal.output import note
from mdm_jax.support.errors import InputError
from mdm_jax.support.stops import Interrupted, NonFinite
from mdm_jax.support.text import printable, shortened

SIGNALLED = 128
INTERRUPTED = 130
BAD_INPUT = 2
FAILED = 1


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that are values."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Complains on one line: what it did not understand may hold anything."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: 0, 1 for a training that is not finite, 2 for bad input or unusable files, 130 for Ctrl-C and
        143 for SIGTERM.
    """
    _mend_streams()
    parser = make_parser()
    for word in sys.argv[1:] if arguments is None else arguments:
        if word.startswith("--") and word.endswith("=--"):  # of which Python 3.11 makes an empty list
            parser.error(f"argument {word[:-3]}: expected one argument")
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        module = importlib.import_module(f"mdm_jax.app.work.{options.module}")
        usual = importlib.import_module("mdm_jax.support.flags").usual
        with warnings.catch_warnings(), usual():  # where to run is for options to say, not for whoever calls this
            warnings.showwarning = _show_warning
            module.run(options)
        sys.stdout.flush()
        return 0
    except InputError as error:
        note(str(error))
        return BAD_INPUT
    except MemoryError as error:
        note(_no_memory(error))
        return BAD_INPUT
    except RuntimeError as error:
        if not _exhausted(error):
            raise
        note(_no_memory(error))
        return BAD_INPUT
    except KeyboardInterrupt as error:
        print(file=sys.stderr)
        note(str(error) or "interrupted.")
        return SIGNALLED + error.signal if isinstance(error, Interrupted) else INTERRUPTED
    except NonFinite as error:
        print(file=sys.stderr)
        note(str(error))
        return FAILED
    except BrokenPipeError:
        # The reader (head, less) has gone; say nothing more, to it or to the interpreter's last flush.
        _silence_output()
        return 0
    except OSError as error:
        try:
            sys.stdout.flush()
        except OSError:  # it was standard output that failed: a full disk, say
            _silence_output()
        where = "standard output or a file" if error.filename is None else error.filename
        note(f"{where} cannot be used: {error.strerror or error}.")
        return BAD_INPUT


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line: where in the code it was given is for programmers."""
    note(f"warning: {message}")


def _exhausted(error: RuntimeError) -> bool:
    """Whether XLA had no memory. Its errors are known by their text: their class has another name in every version."""
    return "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def _no_memory(error: BaseException) -> str:
    """The sentence for it; of XLA's pages the first line."""
    said = str(error).strip().splitlines()
    return f"there is not enough memory for this: {shortened(said[0].rstrip('.')) if said else 'ask for less'}."


def _mend_streams() -> None:
    """Make the standard streams take whatever is printed.

    What their encoding lacks becomes an escape (a name that is no UTF-8; "±" where LANG is C). Those that were closed
    lead nowhere: else the next file to be opened would get their number, and what C libraries print would be written
    into it; and Python prints for a missing standard error to standard output.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence_output() -> None:
    """Send what is still buffered for standard output nowhere, so that the interpreter's last flush cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = _Parser(
        prog="mdm-jax", description="Train, understand, tune and sample masked diffusion models.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, module: str, about: str, details: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}. {details}".strip(),
            allow_abbrev=False,
            formatter_class=_Formatter,
        )
        sub.set_defaults(module=module)
        return sub

    sub = command("demo", "demo", "train on text, tune, sample and write report.html, in one go", "Safe to run twice.")
    sub.add_argument("--directory", default="runs/demo", help="run directory")
    sub.add_argument("--task", default="text", help=_TASKS)
    run_options.as_json(sub)

    sub = command(
        "train", "train", "train a model, or go on training", "An existing run keeps its settings; name none to resume."
    )
    sub.add_argument("directory", help="run directory, made if it does not exist")
    sub.add_argument("--task", help=f"{_TASKS} (default: text)")
    sub.add_argument("--recipe", choices=("demo", "long"), help="settings to start from (default: demo)")
    for name, kind, about in _TRAINING:
        sub.add_argument(f"--{name.replace('_', '-')}", type=kind, help=about)
    sub.add_argument("--checkpoint-every", type=int, help="steps between checkpoints (default: a tenth of the run)")
    run_options.checkpoint(
        sub, "go on from this checkpoint: newest, best, or the step of one that is kept; later ones are moved aside"
    )
    run_options.places(
        sub,
        "share every batch between N devices of this machine",
        "share batches and parameters over a mesh, as in data=4,model=2",
    )
    run_options.as_json(sub)

    sub = command("profile", "profile", "measure a run's information profile and its held-out loss")
    tuning_options.profile_arguments(sub)

    sub = command(
        "tune",
        "tune",
        "find the best schedules for several step budgets from a profile",
        "The landscape of Beta schedules is drawn beside the plans.",
    )
    tuning_options.tune_arguments(sub)

    sub = command(
        "sample",
        "sample",
        "draw samples from a run",
        "By default in random order by the run's own optimal plan, which needs a profile.",
    )
    sampling_options.arguments(sub)

    sub = command(
        "evaluate",
        "evaluate",
        "compare many schedules by their samples",
        "All share their random numbers, so differences are sharper than values; what was drawn is kept, and the same "
        "command goes on where it stopped.",
    )
    evaluation_options.evaluate_arguments(sub)

    sub = command(
        "race",
        "race",
        "find schedules for any order by their samples, by successive halving",
        "The winner is chosen on samples of its own and judged on fresh ones.",
    )
    evaluation_options.race_arguments(sub)

    sub = command("footprint", "footprint", footprint_options.ABOUT, footprint_options.DETAILS)
    footprint_options.arguments(sub)

    sub = command(
        "energy",
        "energy",
        "print the one-token energy of schedules under several weights, and draw it over all Beta schedules",
        "A schedule is linear, sine, sine_squared, maskgit, polynomial:DEGREE, geometric, beta:A,B, "
        "kinetic_optimum:SCHEDULE or tabulated:FILE.",
    )
    sub.add_argument(
        "schedules", nargs="*", metavar="SCHEDULE", help="as in sine or beta:0.9,0.3 (default: eight common ones)"
    )
    sub.add_argument(
        "--weight", action="append", metavar="SCHEDULE", help="a weight, as the schedule it makes optimal; repeatable"
    )
    sub.add_argument("--length", type=int, help="tokens of a sequence: print its constants too, with --vocab-size")
    sub.add_argument("--vocab-size", type=int, help="real tokens in the vocabulary, with --length")
    drawn = sub.add_mutually_exclusive_group()
    drawn.add_argument("--picture", metavar="PATH", default="runs/energy.png", help="a .png, .svg or .pdf file to draw")
    drawn.add_argument("--no-picture", action="store_true", help="draw nothing")
    run_options.as_json(sub)

    sub = command("report", "write_report", "write a run's report.html")
    sub.add_argument("directory", help="run directory")
    sub.add_argument("--samples", action="store_true", help="draw samples with the tuned plans for it (samples.json)")
    run_options.as_json(sub)
    return parser


_TASKS = (
    "text (CPython's documentation), text:PATH (your UTF-8 file), code (Python's standard library), "
    "digits (8 x 8 pictures) or npy:PATH (your integer array)"
)

_TRAINING = (
    ("steps", int, "optimiser steps"),
    ("batch", int, "sequences per step"),
    ("length", int, "tokens per sequence"),
    ("learning_rate", float, "at its peak"),
    ("optimizer", str, "adamw or muon"),
    ("weight_decay", float, "decoupled, on matrices"),
    ("average", float, "decay of the parameters' moving average"),
    ("seed", int, "of parameters, data order and masks"),
    ("accumulate", int, "parts that a batch is worked on one after the other, in less memory"),
    ("compute", str, "bfloat16 or float32: the type of forward and backward passes"),
    ("width", int, "of the transformer"),
    ("depth", int, "blocks of the transformer"),
    ("heads", int, "attention heads"),
)


if __name__ == "__main__":
    sys.exit(main())

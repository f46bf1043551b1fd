"""``mdm-jax``: the command line. Nothing heavy is imported until a command runs, so that ``--help`` is instant."""

import argparse
import io
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from mdm_jax.app.commands import COMMANDS
from mdm_jax.app.options import common
from mdm_jax.app.terminal.output import complain
from mdm_jax.support.errors import InputError
from mdm_jax.support.stops import Interrupted, NonFinite
from mdm_jax.support.text import printable, shortened
from mdm_jax.support.version import VERSION

SIGNALLED = 128
INTERRUPTED = 130
BAD_INPUT = 2
FAILED = 1
_HOW_SHOWN = ("--json", "--quiet", "--no-compile-cache")
"""Words of a command that change nothing of what it finds."""


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that are values."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Complains on one line: what it did not understand may hold anything."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))

    def parse_known_args(self, *args: Any, **more: Any) -> Any:
        """Complains of what a command does not know with the usage of that command, not with that of all."""
        found, unknown = super().parse_known_args(*args, **more)
        return (found, unknown) if not unknown else self.error(f"unrecognized arguments: {' '.join(unknown)}")


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
    words = sys.argv[1:] if arguments is None else arguments
    options.line = shlex.join(["mdm-jax", *(str(word) for word in words if word not in _HOW_SHOWN)])
    if options.command is None:
        parser.print_help()
        return 0
    try:
        _run(options)
        sys.stdout.flush()
        return 0
    except InputError as error:
        complain(str(error))
        return BAD_INPUT
    except MemoryError as error:
        complain(_no_memory(error))
        return BAD_INPUT
    except RuntimeError as error:
        if not _exhausted(error):
            raise
        complain(_no_memory(error))
        return BAD_INPUT
    except KeyboardInterrupt as error:
        print(file=sys.stderr)
        complain(str(error) or "interrupted.")
        return SIGNALLED + error.signal if isinstance(error, Interrupted) else INTERRUPTED
    except NonFinite as error:
        print(file=sys.stderr)
        complain(str(error))
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
        complain(f"{where} cannot be used: {error.strerror or error}.")
        return BAD_INPUT


def _run(options: argparse.Namespace) -> None:
    """Run the command as its options say, whatever flags of JAX whoever calls this has set."""
    # What XLA logs is for its authors; errors it raises. (It logs a page where it takes a kept program's preferences,
    # "prefer-no-gather", for abilities that the processor lacks: https://github.com/jax-ml/jax/issues/38445.)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from mdm_jax.app import compile_cache
    from mdm_jax.support.flags import usual
    from mdm_jax.support.progress import silence

    with warnings.catch_warnings(), silence(options.quiet), usual():
        warnings.showwarning = _show_warning
        with compile_cache.unused() if options.no_compile_cache else compile_cache.kept():
            COMMANDS[options.command].run(options)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line: where in the code it was given is for programmers."""
    complain(f"warning: {message}")


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
    parser.add_argument("--version", action="version", version=f"mdm-jax {VERSION}")
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, command in COMMANDS.items():
        about = command.ABOUT
        sub = parsers.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}. {command.DETAILS}".strip(),
            allow_abbrev=False,
            formatter_class=_Formatter,
        )
        command.arguments(sub)
        common.everywhere(sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())

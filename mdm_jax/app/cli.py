"""``mdm-jax``: the command line. Nothing heavy is imported until a command runs, so that ``--help`` is instant."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from mdm_jax.support.errors import InputError

INTERRUPTED = 130
BAD_INPUT = 2


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that are values."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None or action.default is False else super()._get_help_string(action)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 2 for bad input or unusable files, 130 for Ctrl-C."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        module = importlib.import_module(f"mdm_jax.app.{options.module}")
        module.run(options)
        sys.stdout.flush()
        return 0
    except InputError as error:
        print(f"mdm-jax: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as error:
        print(f"\nmdm-jax: {str(error) or 'interrupted.'}", file=sys.stderr)
        return INTERRUPTED
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
        print(f"mdm-jax: {where} cannot be used: {error.strerror or error}.", file=sys.stderr)
        return BAD_INPUT


def _silence_output() -> None:
    """Send what is still buffered for standard output nowhere, so that the interpreter's last flush cannot fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(
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
    _json(sub)

    sub = command(
        "train", "train", "train a model, or go on training", "An existing run keeps its settings; name none to resume."
    )
    sub.add_argument("directory", help="run directory, made if it does not exist")
    sub.add_argument("--task", help=f"{_TASKS} (default: text)")
    sub.add_argument("--recipe", choices=("demo", "long"), help="settings to start from (default: demo)")
    for name, kind, about in _TRAINING:
        sub.add_argument(f"--{name.replace('_', '-')}", type=kind, help=about)
    sub.add_argument("--checkpoint-every", type=int, help="steps between checkpoints (default: a tenth of the run)")
    _json(sub)

    sub = command("profile", "profile", "measure a run's information profile and its held-out loss")
    _run(sub)
    sub.add_argument("--passes", type=int, default=4096, help="sequences to encode in all")
    sub.add_argument(
        "--estimator",
        choices=("loss", "increments"),
        help="loss predicts costs, increments finds sizes with few passes (default: loss; with --prompt increments)",
    )
    given = sub.add_mutually_exclusive_group()
    given.add_argument("--given", type=int, metavar="TOKENS", help="profile of what follows so many held-out tokens")
    given.add_argument("--prompt", help="profile of what follows this prompt, as the model completes it")
    sub.add_argument("--output", metavar="FILE", help="where to put it (default: profile.json in the run directory; "
                     "with --given or --prompt profile_given.json)")  # fmt: skip
    sub.add_argument("--seed", type=int, default=0, help="of the random orders")
    _json(sub)

    sub = command(
        "tune",
        "tune",
        "find the best schedules for several step budgets from a profile",
        "The landscape of Beta schedules is drawn beside the plans.",
    )
    sub.add_argument(
        "source",
        help="a run directory, a profile file, or an oracle: oracle:toy_left, oracle:polya:0.5,128 or the like",
    )
    sub.add_argument(
        "--budgets", help="numbers of steps, separated by commas (default: those of 4,8,16,32 that fit the length)"
    )
    sub.add_argument(
        "--check-rows",
        type=int,
        help="held-out sequences on which to check the prediction; 0: no check (default: 64 for a run)",
    )
    sub.add_argument(
        "--by-law",
        choices=("total_variation", "kl", "jensen_shannon"),
        help="for a small oracle: tune ancestral sampling by the exact divergence of its law (budgets: 2,3,4)",
    )
    sub.add_argument("--output", metavar="FOLDER", help="where results go (default: the run directory, a folder named "
                     "as the profile, or runs/ORACLE)")  # fmt: skip
    sub.add_argument("--seed", type=int, default=0, help="of the paths checked, or of random starts")
    _json(sub)

    sub = command(
        "sample",
        "sample",
        "draw samples from a run",
        "By default in random order by the run's own optimal plan, which needs a profile.",
    )
    _sampling(sub)

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
    _json(sub)

    sub = command("report", "write_report", "write a run's report.html")
    _run(sub)
    _json(sub)
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
    ("width", int, "of the transformer"),
    ("depth", int, "blocks of the transformer"),
    ("heads", int, "attention heads"),
)


def _sampling(parser: argparse.ArgumentParser) -> None:
    """The options of ``sample``; which of them go together is for ``app/how.py`` to say."""
    _run(parser)
    group = parser.add_argument_group("how tokens are revealed")
    group.add_argument(
        "--preset",
        choices=("mdlm", "llada", "eb", "remdm", "best"),
        help="a sampler by name: ancestral (mdlm), surest first (llada), as the entropies allow (eb), ancestral that "
        "masks again (remdm), random by the run's optimal plan (best)",
    )
    group.add_argument(
        "--order",
        choices=("random", "left_to_right", "probability", "margin", "entropy"),
        help="what comes first; the last three are the model's surest positions (default: random)",
    )
    plan = group.add_mutually_exclusive_group()
    plan.add_argument("--plan", help="a plan or grid file (as tune writes)")
    plan.add_argument(
        "--schedule",
        help="a schedule, as in sine or beta:0.9,0.3 (default: the run's own optimal plan; with --block equal shares)",
    )
    group.add_argument("--steps", type=int, help="steps; not with --plan (default: 16, or the length if less)")
    group.add_argument("--threshold", type=float, metavar="P", help="reveal all that is surer than this probability")
    group.add_argument(
        "--entropy-bound",
        type=float,
        metavar="NATS",
        help="reveal the surest together while it costs no more than this",
    )
    group.add_argument(
        "--order-temperature", type=float, metavar="T", help="noise in the order of the surest (default: none)"
    )
    group.add_argument(
        "--block",
        type=int,
        metavar="N",
        help="blocks of so many positions, from left to right; plan and steps are then those of one block (llada "
        "shares its steps over the blocks)",
    )
    group.add_argument(
        "--end", metavar="TOKEN", help="a token that ends the sequence: what is still masked behind it is not drawn"
    )

    group = parser.add_argument_group("what is given")
    given = group.add_mutually_exclusive_group()
    given.add_argument("--prompt", help="text to begin with (digits, arrays: numbers)")
    given.add_argument("--infill", help="text with blanks to fill; what is left of the length is free")
    group.add_argument("--blank", help="the character that stands for a blank in --infill (default: \N{WHITE SQUARE})")

    group = parser.add_argument_group("the law that tokens are drawn from")
    group.add_argument(
        "--temperature",
        type=float,
        help="0 takes the most probable token (default: 1; with --preset llada 0, above which its order is biased)",
    )
    group.add_argument("--top-k", type=int, metavar="K", help="only the K most probable tokens")
    group.add_argument(
        "--top-p", type=float, metavar="P", help="only the most probable tokens that make up P (at temperature 1)"
    )
    group.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        help="follow what is given more closely, at twice the passes; 0: as it is",
    )
    group.add_argument("--seed", type=int, default=0, help="of the draws")

    group = parser.add_argument_group("output")
    group.add_argument("--rows", type=int, default=4, help="number of samples")
    group.add_argument("--replay", action="store_true", help="show step by step how each sample came about")
    group.add_argument("--replay-seconds", type=float, metavar="S", help="for each sample (default: 6)")
    _json(group)


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", help="run directory")


def _json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


if __name__ == "__main__":
    sys.exit(main())

"""``mdm-jax energy``: the one-token energy of schedules as a table, and its landscape as a picture."""

import argparse

ABOUT = "print the one-token energy of schedules under several weights, and draw it over all Beta schedules"
DETAILS = (
    "A schedule is linear, sine, sine_squared, maskgit, polynomial:DEGREE, geometric, beta:A,B, "
    "kinetic_optimum:SCHEDULE or tabulated:FILE."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "schedules", nargs="*", metavar="SCHEDULE", help="as in sine or beta:0.9,0.3 (default: eight common ones)"
    )
    parser.add_argument(
        "--weight", action="append", metavar="SCHEDULE", help="a weight, as the schedule it makes optimal; repeatable"
    )
    parser.add_argument("--length", type=int, help="tokens of a sequence: print its constants too, with --vocab-size")
    parser.add_argument("--vocab-size", type=int, help="real tokens in the vocabulary, with --length")
    drawn = parser.add_mutually_exclusive_group()
    drawn.add_argument("--picture", metavar="PATH", default="runs/energy.png", help="a .png, .svg or .pdf file to draw")
    drawn.add_argument("--no-picture", action="store_true", help="draw nothing")


def run(options: argparse.Namespace) -> None:
    """Print energies; draw them over all Beta schedules."""
    from mdm_jax.app.work import energies

    energies.run(options)

"""``mdm-jax evaluate``: samples of schedules and plans at several budgets, scored on common random numbers."""

import argparse

from mdm_jax.app.options import common

ABOUT = "compare many schedules by their samples"
DETAILS = (
    "All share their random numbers, so differences are sharper than values; what was drawn is kept, and the same "
    "command goes on where it stopped."
)
SCHEDULES = ("linear", "sine", "sine_squared", "maskgit", "polynomial:2")
"""Unless others are asked for."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    common.run_directory(parser)
    parser.add_argument(
        "schedules",
        nargs="*",
        metavar="SCHEDULE",
        help=f"as in sine or beta:0.9,0.3 (default: {' '.join(SCHEDULES)}; none where --plan is given)",
    )
    parser.add_argument("--plan", action="append", metavar="FILE", help="a plan file (as tune writes); repeatable")
    common.budgets(parser, "those of 4,8,16,32 that fit the length")
    common.order(parser, "random")
    parser.add_argument("--samples", type=int, default=64, help="of each schedule at each budget")
    parser.add_argument(
        "--baseline",
        metavar="SCHEDULE",
        help="what the others are compared with at each budget (default: the first)",
    )
    common.drawing(parser)
    parser.add_argument("--picture", metavar="PATH", help="a .png, .svg or .pdf file to draw: scores against steps")


def run(options: argparse.Namespace) -> None:
    """Evaluate, draw, print a table."""
    from mdm_jax.app.work import evaluating

    if not options.schedules and not options.plan:
        options.schedules = list(SCHEDULES)
    evaluating.run(options)

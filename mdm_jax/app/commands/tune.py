"""``mdm-jax tune``: the best schedules for several budgets, from a profile or a law, or measured in an order."""

import argparse

from mdm_jax.app.options import common

ABOUT = "find the best schedules for several step budgets from a profile"
DETAILS = "The landscape of Beta schedules is drawn beside the plans."
DIVERGENCES = ("total_variation", "kl", "jensen_shannon")
"""Those of :mod:`mdm_jax.app.work.tuning_by_law` (a test compares)."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "source",
        help="a run directory, a profile file, or an oracle: oracle:toy_left, oracle:polya:0.5,128 or the like",
    )
    common.checkpoint(parser, "of a run, read this checkpoint: newest, best, or the step of one that is kept")
    common.budgets(parser, "those of 4,8,16,32 that fit the length")
    parser.add_argument(
        "--grid",
        type=int,
        metavar="N",
        help="try N x N Beta(a, b) schedules (default: 256; with --by-law as many as there is time for)",
    )
    parser.add_argument(
        "--check-rows",
        type=int,
        help="held-out sequences on which to check the prediction; 0: no check (default: 64 for a run; with "
        "--order 128, which judge)",
    )
    parser.add_argument(
        "--by-law",
        choices=DIVERGENCES,
        help="for a small oracle: tune ancestral sampling by the exact divergence of its law (budgets: 2,3,4)",
    )
    parser.add_argument(
        "--order",
        choices=common.LOOKING,
        help="of a run: plans for sampling the model's surest positions first, each the cheapest of about 8 that are "
        "measured in this order on held-out rows; sample --order then takes them",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="where results go (default: the run directory, a folder named as the profile, or runs/ORACLE)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the paths checked, or of random starts")


def run(options: argparse.Namespace) -> None:
    """Tune, check, draw, print a table."""
    from mdm_jax.app.work import tuning, tuning_by_law, tuning_by_order

    if options.order is not None:
        tuning_by_order.run(options)
    elif options.by_law is not None:
        tuning_by_law.run(options)
    else:
        tuning.run(options)

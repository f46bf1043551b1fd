"""``mdm-jax race``: the best schedule for several budgets by racing samples, for orders that no profile covers."""

import argparse

from mdm_jax.app.options import common

ABOUT = "find schedules for any order by their samples, by successive halving"
DETAILS = "The winner is chosen on samples of its own and judged on fresh ones."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    common.run_directory(parser)
    common.budgets(parser, "those of 4,8,16 that fit the length")
    common.order(parser, "probability")
    parser.add_argument(
        "--grid", type=int, default=7, metavar="N", help="N x N Beta(a, b) schedules start, beside the named ones"
    )
    parser.add_argument("--free", type=int, default=0, metavar="N", help="then N random changes of the winner race it")
    parser.add_argument("--samples", type=int, default=4, help="of each schedule in the first round")
    parser.add_argument("--eta", type=int, default=3, help="so many times the samples, of 1/eta of the schedules, next")
    parser.add_argument("--finalists", type=int, default=4, help="schedules that the validation seeds choose from")
    parser.add_argument(
        "--final-samples", type=int, default=128, help="fresh ones of each finalist, and again of those judged"
    )
    common.drawing(parser)


def run(options: argparse.Namespace) -> None:
    """Race at each budget; write plans, results and landscapes; print tables."""
    from mdm_jax.app.work import racing

    racing.run(options)

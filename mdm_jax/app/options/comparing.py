"""The options of ``mdm-jax evaluate`` and ``mdm-jax race``. Nothing of JAX is imported here: help is instant."""

import argparse

from mdm_jax.app.options import common as run_options

SCHEDULES = ("linear", "sine", "sine_squared", "maskgit", "polynomial:2")
"""Unless others are asked for."""
_ORDER = "what comes first; the last three are the model's surest positions"


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``evaluate``."""
    run_options.arguments(parser)
    parser.add_argument(
        "schedules",
        nargs="*",
        metavar="SCHEDULE",
        help=f"as in sine or beta:0.9,0.3 (default: {' '.join(SCHEDULES)}; none where --plan is given)",
    )
    parser.add_argument("--plan", action="append", metavar="FILE", help="a plan file (as tune writes); repeatable")
    parser.add_argument(
        "--budgets", help="numbers of steps, separated by commas (default: those of 4,8,16,32 that fit the length)"
    )
    parser.add_argument("--order", choices=run_options.ORDERS, default="random", help=_ORDER)
    parser.add_argument("--samples", type=int, default=64, help="of each schedule at each budget")
    parser.add_argument(
        "--baseline",
        metavar="SCHEDULE",
        help="what the others are compared with at each budget (default: the first)",
    )
    _drawing(parser)
    parser.add_argument("--picture", metavar="PATH", help="a .png, .svg or .pdf file to draw: scores against steps")


def race_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``race``."""
    run_options.arguments(parser)
    parser.add_argument("--budgets", help="numbers of steps, separated by commas (default: those of 4,8,16 that fit)")
    parser.add_argument("--order", choices=run_options.ORDERS, default="probability", help=_ORDER)
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
    _drawing(parser)


def _drawing(parser: argparse.ArgumentParser) -> None:
    """What both have."""
    parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the most probable token")
    parser.add_argument(
        "--given", type=int, metavar="TOKENS", help="every sample goes on from so many tokens of a held-out sequence"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws, which all schedules share")
    parser.add_argument("--batch", type=int, help="rows drawn together on each device (default: what fits it)")
    run_options.places(parser, "draw on N devices of this machine at once", "draw on a mesh, as in data=4")
    parser.add_argument(
        "--store",
        metavar="FILE",
        help="a .jsonl file that keeps what was drawn, so that nothing is drawn twice (default: in the run directory)",
    )
    run_options.as_json(parser)

"""``mdm-jax card``: plans, thresholds and other orders side by side, their cost against their model calls."""

import argparse

from mdm_jax.app.options import common

ABOUT = "measure plans, thresholds and other orders side by side: cost against model calls"
DETAILS = (
    "The setting of each family of samplers is chosen on rows of the validation half and judged on rows of the test "
    "half; differences from the optimal plan are paired row by row."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "source",
        help="a run directory with a profile, or an oracle: oracle:toy_left, oracle:polya:0.5,32 or the like",
    )
    common.checkpoint(parser, "of a run, read this checkpoint: newest, best, or the step of one that is kept")
    parser.add_argument(
        "--passes",
        metavar="CALLS",
        help="numbers of model calls, separated by commas (default: those of 4,8,16,32 that fit the length)",
    )
    parser.add_argument(
        "--rows", type=int, default=128, help="of the test half, at most, on which all is judged; of an oracle, drawn"
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=0,
        metavar="N",
        help="of a run: draw so many samples of each sampler too, and score them, in a second table; 0: none",
    )
    parser.add_argument(
        "--score",
        metavar="MODULE:FUNCTION",
        help="judge these samples by a function of your own, from int[rows, length] to float[rows], in a module of the "
        "working directory (default: the task's score)",
    )
    parser.add_argument(
        "--hindsight",
        action="store_true",
        help="judge every setting that was tried, and say what the chosen one loses against the best of them: some ten "
        "times the passes that choosing takes",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="where card.json and card.png go (default: the run directory, or runs/ORACLE)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the orders, of an oracle's rows, and of the samples")


def run(options: argparse.Namespace) -> None:
    """Measure, draw, print tables."""
    from mdm_jax.app.work import carding

    carding.run(options)

"""The options of ``mdm-jax profile`` and ``mdm-jax tune``. Nothing of JAX is imported here: help is instant."""

import argparse
from collections.abc import Mapping

from mdm_jax.app.options import common as run_options

ESTIMATORS = ("loss", "increments")
"""Those of :mod:`mdm_jax.evaluation.profile_estimation` (a test compares)."""
DIVERGENCES: Mapping[str, str] = {
    "total_variation": "total variation",
    "kl": "KL",
    "jensen_shannon": "Jensen-Shannon",
}
"""As the command line and file names have them, and as ``evaluation/exact/tuning.py`` does (a test compares)."""


def profile_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``profile``."""
    run_options.arguments(parser)
    parser.add_argument("--encodings", type=int, default=4096, help="sequences to encode in all")
    parser.add_argument(
        "--estimator",
        choices=ESTIMATORS,
        help="loss predicts costs, increments finds sizes with few encodings (default: loss; with --prompt increments)",
    )
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--given", type=int, metavar="TOKENS", help="profile of what follows so many held-out tokens")
    given.add_argument("--prompt", help="profile of what follows this prompt, as the model completes it")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="where to put it (default: profile.json in the run directory; with --given or --prompt "
        "profile_given.json)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random orders")
    run_options.as_json(parser)


def tune_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tune``."""
    parser.add_argument(
        "source",
        help="a run directory, a profile file, or an oracle: oracle:toy_left, oracle:polya:0.5,128 or the like",
    )
    run_options.checkpoint(parser, "of a run, read this checkpoint: newest, best, or the step of one that is kept")
    parser.add_argument(
        "--budgets", help="numbers of steps, separated by commas (default: those of 4,8,16,32 that fit the length)"
    )
    parser.add_argument(
        "--check-rows",
        type=int,
        help="held-out sequences on which to check the prediction; 0: no check (default: 64 for a run)",
    )
    parser.add_argument(
        "--by-law",
        choices=tuple(DIVERGENCES),
        help="for a small oracle: tune ancestral sampling by the exact divergence of its law (budgets: 2,3,4)",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="where results go (default: the run directory, a folder named as the profile, or runs/ORACLE)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the paths checked, or of random starts")
    run_options.as_json(parser)

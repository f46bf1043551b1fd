"""``mdm-jax profile``: measure the information profile, and the held-out loss beside the baselines."""

import argparse

from mdm_jax.app.options import common

ABOUT = "measure a run's information profile and its held-out loss"
DETAILS = ""
ESTIMATORS = ("loss", "increments")
"""Those of :mod:`mdm_jax.evaluation.measuring.estimation` (a test compares)."""
MOST_ENCODINGS = 262144
"""That of :mod:`mdm_jax.evaluation.measuring.until` (a test compares)."""
PREDICTORS = ("fixed", "marginal")
"""Those of :mod:`mdm_jax.evaluation.latents` (a test compares)."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    common.run_directory(parser)
    parser.add_argument("--encodings", type=int, default=4096, help="sequences to encode in all, or first")
    parser.add_argument(
        "--until",
        type=float,
        metavar="BITS",
        help="go on until the standard error of the NELBO at one token per step is so small, in bits per token",
    )
    parser.add_argument(
        "--certify",
        metavar="K,...",
        help="certify what the best plans of these numbers of steps cost at most; with --until, go on until none of "
        "them costs more than so many bits per token above the best plan of its steps",
    )
    parser.add_argument(
        "--most-encodings",
        type=int,
        metavar="N",
        help=f"where --until gives up (default: {MOST_ENCODINGS})",
    )
    parser.add_argument(
        "--estimator",
        choices=ESTIMATORS,
        help="loss predicts costs, increments finds sizes with few encodings (default: loss; with --prompt increments, "
        "but loss for any-order models)",
    )
    parser.add_argument(
        "--predictor",
        choices=PREDICTORS,
        help="of a run with latents: fixed, each sequence with its latent, for sampling with one latent (the KL to be "
        "added is printed), or marginal, the average over 16 latents (default: fixed)",
    )
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--given", type=int, metavar="TOKENS", help="profile of what follows so many held-out tokens")
    given.add_argument("--prompt", help="profile of what follows this prompt, as the model completes it")
    common.rows_length(parser)
    common.labels(parser, "profile of the held-out sequences of this class (or of several, as in 0,1,2)")
    parser.add_argument(
        "--held-out-rows",
        type=int,
        metavar="N",
        help="sequences of the test half that are judged, at most (default: 1024)",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="where to put it (default: profile.json in the run directory; with --given, --prompt or "
        "--label profile_given.json)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random orders")


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    from mdm_jax.app.work import measuring

    measuring.run(options)

"""``mdm-jax profile``: measure the information profile, and the held-out loss beside the baselines."""

import argparse

from mdm_jax.app.options import common

ABOUT = "measure a run's information profile and its held-out loss"
DETAILS = ""
ESTIMATORS = ("loss", "increments")
"""Those of :mod:`mdm_jax.evaluation.profile_estimation` (a test compares)."""
PREDICTORS = ("fixed", "marginal")
"""Those of :mod:`mdm_jax.evaluation.latents` (a test compares)."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    common.run_directory(parser)
    parser.add_argument("--encodings", type=int, default=4096, help="sequences to encode in all")
    parser.add_argument(
        "--estimator",
        choices=ESTIMATORS,
        help="loss predicts costs, increments finds sizes with few encodings (default: loss; with --prompt increments)",
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
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="where to put it (default: profile.json in the run directory; with --given or --prompt "
        "profile_given.json)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random orders")


def run(options: argparse.Namespace) -> None:
    """Measure and print."""
    from mdm_jax.app.work import measuring

    measuring.run(options)

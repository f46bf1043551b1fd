"""``mdm-jax train``: train a model into a run directory, or go on where a run stopped."""

import argparse

from mdm_jax.app.options import common

ABOUT = "train a model, or go on training"
DETAILS = "An existing run keeps its settings; name none to resume."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("directory", help="run directory, made if it does not exist")
    common.training(parser)
    common.latents(parser)
    parser.add_argument("--checkpoint-every", type=int, help="steps between checkpoints (default: a tenth of the run)")
    common.checkpoint(
        parser, "go on from this checkpoint: newest, best, or the step of one that is kept; later ones are moved aside"
    )
    common.places(
        parser,
        "share every batch between N devices of this machine",
        "share batches and parameters over a mesh, as in data=4,model=2",
    )


def run(options: argparse.Namespace) -> None:
    """Train, then print what came out."""
    from mdm_jax.app.work import training

    training.run(options)

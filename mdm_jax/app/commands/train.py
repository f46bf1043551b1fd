"""``mdm-jax train``: train a model into a run directory, or go on where a run stopped."""

import argparse

from mdm_jax.app.options import common

ABOUT = "train a model, or go on training"
DETAILS = (
    "An existing run keeps its settings; name none to resume. More --steps alone train it further, from its newest "
    "checkpoint, with a learning rate that rises and falls anew."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("directory", help="run directory, made if it does not exist")
    common.training(parser)
    common.models(parser)
    common.latents(parser)
    parser.add_argument(
        "--from",
        dest="origin",
        metavar="RUN",
        help="begin with the parameters of another run, for a task of its vocabulary; its model, objective and task "
        "are taken unless others are given",
    )
    parser.add_argument(
        "--from-checkpoint",
        type=common.which_checkpoint,
        metavar="WHICH",
        help="of --from: newest, best, or the step of a checkpoint that is kept (default: newest)",
    )
    parser.add_argument(
        "--held-out-rows",
        type=int,
        metavar="N",
        help="at most so many rows of the validation half, evenly spread over it, are scored as training goes "
        "(default: 128)",
    )
    parser.add_argument(
        "--checkpoint-every", type=int, help="steps between checkpoints (default: a tenth of the steps to take)"
    )
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

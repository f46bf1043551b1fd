"""``mdm-jax import``: a published model as a run directory, for every other command."""

import argparse

from mdm_jax.app.options import common

ABOUT = "make a run directory of a published model"
DETAILS = (
    "The folder is what was downloaded: config.json and weights (safetensors, or torch's). Nothing in it is run. "
    "What config.json cannot be trusted on has options. The task's tokens are found in the checkpoint's vocabulary by "
    "their texts."
)

ROWS = 256
"""Of the training part, on which temperatures are found."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("folder", help="of the checkpoint, or its file of weights")
    parser.add_argument("directory", help="run directory, new or empty")
    parser.add_argument("--task", required=True, help=common.TASKS)
    parser.add_argument("--length", type=int, metavar="N", help="of the task: tokens per sequence")
    parser.add_argument(
        "--shift",
        action=argparse.BooleanOptionalAction,
        help="whether the model predicts each token one position earlier, as Dream does (default: as its family does)",
    )
    parser.add_argument("--mask-id", type=int, metavar="N", help="the mask's id (default: what the checkpoint says)")
    parser.add_argument(
        "--end-id", type=int, metavar="N", help="the id that ends a text, one of the task's (default: config.json's)"
    )
    parser.add_argument("--banned", type=_ids, metavar="IDS", help="ids that are never predicted, as in 0,1,2")
    parser.add_argument("--prefix", type=_ids, metavar="IDS", help="ids before every row; none: an empty text")
    parser.add_argument("--suffix", type=_ids, metavar="IDS", help="ids after every row; none: an empty text")
    parser.add_argument("--block", type=int, metavar="N", help="positions that were trained together")
    parser.add_argument(
        "--vocabulary", metavar="FOLDER", help="with the checkpoint's vocab.txt or the like (default: the folder)"
    )
    parser.add_argument(
        "--ids", type=_ids, metavar="IDS", help="the checkpoint's id of each token of the task, in the task's order"
    )
    parser.add_argument(
        "--calibrate",
        nargs="?",
        type=int,
        const=ROWS,
        metavar="ROWS",
        help="give the model a temperature for each share of masks where that is seen to help, found on at most ROWS "
        f"rows of the training part, evenly spread over it ({ROWS} if left out)",
    )


def _ids(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(",")) if text else ()
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be ids with commas between, as in 0,1,2; got {text!r}") from None


def run(options: argparse.Namespace) -> None:
    """Import, then print what it is."""
    from mdm_jax.app.work import importing

    importing.run(options)

"""``mdm-jax footprint``: what a model would take, line by line, before anyone pays for it."""

import argparse

from mdm_jax.app.options import common

ABOUT = "say what training or sampling a model would take on many devices, without having them"
DETAILS = (
    "Bytes per device of parameters and optimiser are exact and listed one by one, and so are those of the cache that "
    "sampling from some models keeps; operations are counted product by product; "
    "memory for activations and messages between devices are the CPU compiler's, from compiling the real step for "
    "virtual devices. Nothing is allocated. Of a published model config.json is enough, before its weights are "
    "downloaded; weights narrower than float32 are not trained, and no step of theirs is counted."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    models = "10m, 100m, 1b, llada-8b, a run directory, or the folder of a published model"
    parser.add_argument("--model", required=True, metavar="NAME", help=models)
    parser.add_argument("--kind", choices=common.MODELS, help="of a model named by its size (default: bidirectional)")
    blocks = "positions of a block: of block_causal (default: 16), or of a published model"
    parser.add_argument("--block", type=int, metavar="N", help=blocks)
    shift = "of a published model, as for import, where its folder does not say"
    parser.add_argument("--shift", action=argparse.BooleanOptionalAction, help=shift)
    places = parser.add_mutually_exclusive_group()
    places.add_argument("--mesh", metavar="SHAPE", help="sharded over a mesh, as in data=16,model=16 (--mesh of train)")
    places.add_argument("--devices", type=int, metavar="N", help="everything on each of N devices (--devices of train)")
    parser.add_argument("--batch", type=int, help="sequences per step (default: the run's; else one for every share)")
    parser.add_argument("--length", type=int, help="tokens per sequence (default: the model's)")
    parser.add_argument("--optimizer", help="adamw or muon (default: the run's; else adamw)")
    parser.add_argument("--accumulate", type=int, metavar="N", help="parts of the batch, one after the other")
    parser.add_argument("--compute", help="float32 or bfloat16, of forward and backward passes")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--no-compile", action="store_true", help="only what is exact; takes seconds")
    how.add_argument("--whole", action="store_true", help="compile the model at its full depth, which takes minutes "
                     "(default: 2 and 4 blocks of it, and a straight line through both)")  # fmt: skip
    parser.add_argument("--time-limit", type=float, default=900.0, metavar="S", help="seconds for each compilation")


def run(options: argparse.Namespace) -> None:
    """Count, ask the compiler unless told not to, print."""
    from mdm_jax.app.work import footprints

    footprints.run(options)

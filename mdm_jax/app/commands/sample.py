"""``mdm-jax sample``: draw sequences from a run. Which options go together, ``app/options/sampler_checks.py`` says."""

import argparse

from mdm_jax.app.options import common

ABOUT = "draw samples from a run"
DETAILS = (
    "By default in random order by the run's own optimal plan: from its profile, or the training's before there is one."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    common.run_directory(parser)
    group = parser.add_argument_group("how tokens are revealed")
    group.add_argument(
        "--preset",
        choices=("mdlm", "llada", "eb", "remdm", "best", "gidd"),
        help="a sampler by name: ancestral (mdlm), surest first (llada), as the entropies allow (eb), ancestral that "
        "masks again (remdm), random by the run's optimal plan (best), the reverse of hybrid noise for a run of train "
        "--uniform (gidd)",
    )
    group.add_argument(
        "--order",
        choices=common.ORDERS,
        help="what comes first; the last three are the model's surest positions (default: random)",
    )
    plan = group.add_mutually_exclusive_group()
    plan.add_argument("--plan", help="a plan or grid file (as tune writes)")
    plan.add_argument(
        "--schedule",
        help="a schedule, as in sine or beta:0.9,0.3 (default: the run's own optimal plan: the file "
        "plans/optimal-STEPS.json where tune wrote one for the present profile, else computed from that, or from the "
        "training's before there is one; with --order probability, margin or entropy plans/ORDER-STEPS.json where "
        "tune --order wrote one; with --block equal shares)",
    )
    group.add_argument("--steps", type=int, help="steps; not with --plan (default: 16, or the length if less)")
    group.add_argument("--threshold", type=float, metavar="P", help="reveal all that is surer than this probability")
    group.add_argument(
        "--entropy-bound",
        type=float,
        metavar="NATS",
        help="reveal the surest together while it costs no more than this",
    )
    group.add_argument(
        "--order-temperature", type=float, metavar="T", help="noise in the order of the surest (default: none)"
    )
    group.add_argument(
        "--block",
        type=int,
        metavar="N",
        help="blocks of so many positions, from left to right; plan and steps are then those of one block (llada "
        "shares its steps over the blocks). A run of train --model block_causal has its own, and steps are those of "
        "one",
    )
    group.add_argument(
        "--correct", type=int, metavar="N", help="with --preset gidd: then up to N steps that correct a token each"
    )
    group.add_argument(
        "--end", metavar="TOKEN", help="a token that ends the sequence: what is still masked behind it is not drawn"
    )

    group = parser.add_argument_group("what is given")
    given = group.add_mutually_exclusive_group()
    given.add_argument("--prompt", help="text to begin with (digits, arrays: numbers)")
    given.add_argument("--infill", help="text with blanks to fill; what is left of the length is free")
    group.add_argument("--blank", help="the character that stands for a blank in --infill (default: \N{WHITE SQUARE})")

    common.labels(group, "the class of the samples, of a run whose data have labels; several, as in 0,1,2, take turns")
    common.rows_length(group)

    group = parser.add_argument_group("the law that tokens are drawn from")
    group.add_argument(
        "--temperature",
        type=float,
        help="0 takes the most probable token (default: 1; with --preset llada 0, above which its order is biased)",
    )
    group.add_argument("--top-k", type=int, metavar="K", help="only the K most probable tokens")
    group.add_argument(
        "--top-p", type=float, metavar="P", help="only the most probable tokens that make up P (at temperature 1)"
    )
    common.guidance(group)
    common.latent_draw(group)
    group.add_argument("--seed", type=int, default=0, help="of the draws")

    group = parser.add_argument_group("output")
    group.add_argument("--rows", type=int, default=4, help="number of samples")
    group.add_argument(
        "--output",
        metavar="FILE",
        help="write the samples into a .npy file (ids), a .txt file (text) or a .fasta file (letters)",
    )
    group.add_argument("--force", action="store_true", help="replace --output if it is there")
    group.add_argument("--replay", action="store_true", help="show step by step how each sample came about")
    group.add_argument("--replay-seconds", type=float, metavar="S", help="for each sample (default: 6)")


def run(options: argparse.Namespace) -> None:
    """Draw, perhaps replay, and print samples."""
    from mdm_jax.app.work import sampling

    sampling.run(options)

"""Options that several commands have. Nothing of JAX is imported here: help is instant."""

import argparse

LOOKING = ("probability", "margin", "entropy")
"""Orders that look at the model."""
ORDERS = ("random", "left_to_right", *LOOKING)
MODELS = ("bidirectional", "any_order", "block_causal")
"""Kinds of models."""
LATENTS = ("none", "global", "block")
"""Kinds of latents of a model."""
LATENT_OBJECTIVES = ("surrogate", "fixed", "stepwise")
"""What a model with latents is trained on."""
LATENT_DRAWS = ("once", "each-step")
"""When a sampler draws them."""
TASKS = (
    "text (CPython's documentation), text:PATH (your UTF-8 file), text:PATH?lines (its lines, each a row of its own "
    "length), tokens:PATH?tokenizer=FILE (in subwords; &lines too), fasta:PATH (sequences), code (Python's standard "
    "library), digits or digits?labels (8 x 8 pictures), "
    "npy:PATH (your integer array), bin:PATH?dtype=TYPE&vocab=SIZE (a stream of token ids), pairs:P or blocks:P "
    "(tokens that depend on each other), binsaw (bits of a wave), sudoku4, sudoku6 or sudoku9 (grids), brackets (that "
    "match; ?kinds=N), arithmetic (additions with their carries; ?digits=N), "
    "MODULE:FUNCTION (a function that returns a task of your own)"
)
_SETTINGS = (
    ("steps", int, "optimiser steps; of a run that is there, more than it has"),
    ("batch", int, "sequences per step"),
    ("length", int, "tokens per sequence"),
    ("learning_rate", float, "at its peak"),
    ("optimizer", str, "adamw or muon"),
    ("weight_decay", float, "decoupled, on matrices"),
    ("ema_decay", float, "decay of the parameters' moving average"),
    ("seed", int, "of parameters, data order and masks"),
    ("accumulate", int, "parts that a batch is worked on one after the other, in less memory"),
    ("compute", str, "bfloat16 or float32: the type of forward and backward passes"),
    ("width", int, "of the transformer"),
    ("depth", int, "blocks of the transformer"),
    ("heads", int, "attention heads"),
)


def everywhere(parser: argparse.ArgumentParser) -> None:
    """Add what every command has."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--quiet", action="store_true", help="no progress and no remarks: results, warnings and errors")
    parser.add_argument(
        "--no-compile-cache",
        action="store_true",
        help="compile everything anew, and keep nothing of it for the next command (else it is kept in your cache "
        "folder, under mdm-jax/compiled)",
    )


def run_directory(parser: argparse.ArgumentParser) -> None:
    """Add the run directory and the checkpoint."""
    parser.add_argument("directory", help="run directory")
    checkpoint(parser, "read this checkpoint: newest, best, or the step of one that is kept")


def checkpoint(parser: argparse.ArgumentParser, about: str) -> None:
    """Add the option that chooses a checkpoint."""
    parser.add_argument("--checkpoint", type=which_checkpoint, metavar="WHICH", default="newest", help=about)


def training(parser: argparse._ActionsContainer, task: str | None = None) -> None:
    """Add what says how a run is trained: its task (``task`` if left out), a recipe, and every setting."""
    told = " (default: text)" if task is None else ""
    parser.add_argument("--task", default=task, help=f"{TASKS}{told}")
    parser.add_argument("--recipe", choices=("demo", "long"), help="settings to start from (default: demo)")
    for name, kind, about in _SETTINGS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=about)


def models(parser: argparse.ArgumentParser) -> None:
    """Add what chooses a kind of model (:mod:`mdm_jax.app.options.models` reads it)."""
    group = parser.add_argument_group("what kind of model")
    group.add_argument(
        "--model",
        choices=MODELS,
        help="bidirectional: every token sees all others; any_order: a revealed token sees those revealed before it, "
        "so that many steps cost little more than few; block_causal: blocks from left to right, each seeing those "
        "before it (default: the recipe's)",
    )
    group.add_argument("--block", type=int, metavar="N", help="positions of a block of block_causal (default: 16)")
    group.add_argument(
        "--ordered",
        type=float,
        metavar="SHARE",
        help="of an any-order model: the share of training's orders that go from left to right; the others are random "
        "(default: 0)",
    )
    group.add_argument(
        "--order-block",
        type=int,
        metavar="N",
        help="of these orders: blocks of so many positions go from left to right, with a random order in each "
        "(default: 1, strictly from left to right)",
    )
    group.add_argument(
        "--progressive", action="store_true", default=None, help="let that share rise from 0 over the training"
    )
    group.add_argument(
        "--label-dropout",
        type=float,
        metavar="RATE",
        help="of a task with labels: the share of the rows that are shown without theirs, so that the run can be "
        "sampled without a label and guided (default: 0.1)",
    )


def latents(parser: argparse.ArgumentParser) -> None:
    """Add what chooses latents and an objective (:mod:`mdm_jax.app.options.latents` reads it)."""
    group = parser.add_argument_group(
        "what tokens revealed together share: latents (VMD, VADD), and another noise (GIDD)"
    )
    group.add_argument("--latent", choices=LATENTS, help="a latent for the sequence, or for each block (default: none)")
    group.add_argument("--latent-size", type=int, metavar="N", help="numbers of a latent (default: 16)")
    group.add_argument("--latent-block", type=int, metavar="N", help="positions of a block (default: 8)")
    group.add_argument(
        "--latent-prior",
        type=int,
        metavar="K",
        help="a learned mixture of K normal laws to draw latents from (default: 0, the standard normal law)",
    )
    group.add_argument(
        "--latent-objective",
        choices=LATENT_OBJECTIVES,
        help="surrogate (VMD, VADD; no bound), or a bound of the likelihood: fixed for one latent that is kept, "
        "stepwise for one at each of --latent-steps (default: surrogate)",
    )
    group.add_argument("--latent-steps", type=int, metavar="K", help="steps of the stepwise bound (default: 4)")
    group.add_argument(
        "--latent-draws",
        type=int,
        metavar="K",
        help="latents for each example, importance-weighted: tighter, at as many passes (default: 1)",
    )
    group.add_argument(
        "--kl-warmup",
        type=float,
        metavar="F",
        help="part of the training in which the weight of the KL rises from 0 to 1 (default: 0.3)",
    )
    group.add_argument("--free-bits", type=float, metavar="BITS", help="of a sequence's KL, at no cost (default: 0)")
    group.add_argument(
        "--uniform",
        type=float,
        metavar="P",
        help="hybrid noise: with share P, at half-time, a wrong token stands in the place of a mask (the paper: 0.1 or "
        "0.2), so that a model without latents learns to correct",
    )


def latent_draw(parser: argparse._ActionsContainer) -> None:
    """Add when samplers draw a model's latents (:func:`mdm_jax.app.options.latents.drawing` reads it)."""
    parser.add_argument(
        "--latent-draw",
        choices=LATENT_DRAWS,
        help="of a run with latents: one latent for each sample (VMD), or one at each step (VADD) (default: once)",
    )


def places(parser: argparse.ArgumentParser, devices: str, mesh: str) -> None:
    """Add the options that say on which devices to run (:mod:`mdm_jax.app.options.places` reads them)."""
    parser.add_argument("--devices", type=int, metavar="N", help=devices)
    parser.add_argument("--mesh", metavar="AXES", help=f"{mesh} (with several processes: data=ALL)")


def budgets(parser: argparse._ActionsContainer, usual: str) -> None:
    """Add the numbers of steps (:mod:`mdm_jax.app.options.budgets` reads them)."""
    parser.add_argument("--budgets", help=f"numbers of steps, separated by commas (default: {usual})")


def order(parser: argparse._ActionsContainer, usual: str) -> None:
    """Add the order that ``evaluate`` and ``race`` sample in."""
    about = "what comes first; the last three are the model's surest positions"
    parser.add_argument("--order", choices=ORDERS, default=usual, help=about)


def drawing(parser: argparse.ArgumentParser) -> None:
    """Add how ``evaluate`` and ``race`` draw samples, and where they are kept."""
    parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the most probable token")
    parser.add_argument(
        "--given",
        type=_given,
        metavar="TOKENS",
        help="every sample goes on from so many tokens of a held-out sequence; prompts: from what the data gives of it "
        "(default: prompts where the data has them, else nothing, which is 0)",
    )
    rows_length(parser)
    labels(parser, "the class of the samples, of a run whose data have labels; several, as in 0,1,2, take turns")
    guidance(parser)
    parser.add_argument(
        "--end", metavar="TOKEN", help="a token that ends the sequence: what is still masked behind it is not drawn"
    )
    parser.add_argument(
        "--score",
        metavar="MODULE:FUNCTION",
        help="judge by a function of your own, from int[rows, length] to float[rows], in a module of the working "
        "directory (default: the task's score)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws, which all schedules share")
    parser.add_argument("--batch", type=int, help="rows drawn together on each device (default: what fits it)")
    latent_draw(parser)
    places(parser, "draw on N devices of this machine at once", "draw on a mesh, as in data=4")
    parser.add_argument(
        "--store",
        metavar="FILE",
        help="a .jsonl file that keeps what was drawn, so that nothing is drawn twice (default: in the run directory)",
    )


def labels(parser: argparse._ActionsContainer, about: str) -> None:
    """Add the classes that rows are of (:mod:`mdm_jax.app.options.labels` reads them)."""
    parser.add_argument("--label", type=_labels, metavar="N", help=about)


def guidance(parser: argparse._ActionsContainer) -> None:
    """Add how closely samples follow what is given (:mod:`mdm_jax.app.options.labels` reads it)."""
    parser.add_argument(
        "--guidance",
        type=float,
        metavar="W",
        help="follow the label, or else what is given of the text, more closely, at twice the model calls; 0: as it is",
    )


def rows_length(parser: argparse._ActionsContainer) -> None:
    """Add the length of rows where these differ (:mod:`mdm_jax.app.options.lengths` reads it)."""
    parser.add_argument(
        "--length",
        type=int,
        metavar="N",
        help="of a run of rows of different lengths: tokens of each sample (default: drawn as the training rows' are)",
    )


def _given(text: str) -> int | str:
    """``prompts``, or a number of tokens."""
    if text == "prompts":
        return text
    if text.removeprefix("-").isdigit() and text.isascii() and len(text) < 12:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a number of tokens, or prompts; got {text!r}")


def _labels(text: str) -> tuple[int, ...]:
    """A class, or several separated by commas."""
    parts = text.split(",")
    if all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        return tuple(map(int, parts))
    raise argparse.ArgumentTypeError(f"must be a class (a number), or several as in 0,1,2; got {text!r}")


def which_checkpoint(text: str) -> int | str:
    """``newest``, ``best`` or a step."""
    if text in ("newest", "best"):
        return text
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be newest, best or a step; got {text!r}")

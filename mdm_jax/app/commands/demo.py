"""``mdm-jax demo``: the main job in one go, from real text to a tuned sampler and a page that explains it."""

import argparse

from mdm_jax.app.options import common

ABOUT = "train on text, tune, sample and write report.html, in one go"
DETAILS = "Safe to run twice."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--directory", default="runs/demo", help="run directory")
    common.training(parser.add_argument_group("training"), "text")
    common.models(parser)
    group = parser.add_argument_group("measuring and tuning")
    group.add_argument("--encodings", type=int, default=4096, help="sequences to encode for the profile")
    common.budgets(group, "those of 4,8,16,32 that fit the length")
    group.add_argument("--grid", type=int, metavar="N", help="try N x N Beta(a, b) schedules (default: 256)")
    group.add_argument("--check-rows", type=int, default=64, help="held-out sequences to check the prediction on")


def run(options: argparse.Namespace) -> None:
    """Train (or load what is trained), measure, tune, sample, report."""
    from mdm_jax.app.work import demo

    demo.run(options)

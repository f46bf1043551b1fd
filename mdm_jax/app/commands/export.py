"""``mdm-jax export``: what was found here as files of the forms that other programs take."""

import argparse

from mdm_jax.app.options import common

ABOUT = "write parameters as safetensors, or a plan as the numbers that other samplers take"
DETAILS = (
    "Parameters and a plan may be asked for together. Where other programs take the numbers, "
    "mdm_jax/theory/plans/EXPORT.md says."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    common.run_directory(parser)
    group = parser.add_argument_group("parameters")
    group.add_argument("--parameters", metavar="FILE", help="write them into this .safetensors file")
    group.add_argument(
        "--like",
        metavar="FOLDER",
        help="with the names and shapes of this published checkpoint, which the run was imported from or began with: "
        "the file then takes the place of its weights (default: names as in mdm_jax)",
    )
    group = parser.add_argument_group("a plan")
    group.add_argument("--plan", metavar="PLAN", help="a name in the run's plans/, as in optimal-8, or a file")
    group.add_argument(
        "--format",
        choices=("counts", "fractions"),
        help="counts: tokens revealed at each step; fractions: revealed before each step, and 1 (default: counts)",
    )
    group.add_argument("--output", metavar="FILE", help="write the numbers into a .json or .npy file")
    group = parser.add_argument_group("files")
    group.add_argument("--force", action="store_true", help="replace files that are there")


def run(options: argparse.Namespace) -> None:
    """Write, then say what was written."""
    from mdm_jax.app.work import exporting

    exporting.run(options)

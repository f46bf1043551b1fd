"""``mdm-jax report``: one page that explains a run."""

import argparse

ABOUT = "write a run's report.html"
DETAILS = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("directory", help="run directory")
    parser.add_argument(
        "--samples", action="store_true", help="draw samples with the tuned plans for it (samples.json)"
    )


def run(options: argparse.Namespace) -> None:
    """Write the page from whatever the run directory holds."""
    from mdm_jax.app.work import reporting

    reporting.run(options)

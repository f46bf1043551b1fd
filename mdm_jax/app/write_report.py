"""``mdm-jax report``: one page that explains a run."""

import argparse
from pathlib import Path

from mdm_jax.app import report
from mdm_jax.app.output import show
from mdm_jax.training.runs import RunDirectory


def run(options: argparse.Namespace) -> None:
    """Write ``report.html`` from whatever the run directory holds."""
    place = RunDirectory(Path(options.directory))
    path = report.write(place)
    show({"report": str(path)}, f"{path} is written; open it in a browser.", options.json)

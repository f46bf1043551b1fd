"""``mdm-jax report``: one page that explains a run."""

import argparse
from pathlib import Path

from mdm_jax.app.report import writing as report
from mdm_jax.app.terminal.output import show
from mdm_jax.app.work import tuned_samples
from mdm_jax.training import RunDirectory, load


def run(options: argparse.Namespace) -> None:
    """Write ``report.html`` from whatever the run directory holds."""
    place = RunDirectory(Path(options.directory))
    if options.samples:
        tuned_samples.write(load(place.path))
    path = report.write(place)
    show({"report": str(path)}, f"{path} is written; open it in a browser.", options.json)

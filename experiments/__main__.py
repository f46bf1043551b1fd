"""Run an experiment: ``python -m experiments NAME [--quick]``."""

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

import experiments
from experiments.common import Experiment

NOT_EXPERIMENTS = {"__main__", "common", "judging", "peers", "readme_pictures", "rooms", "torch_twin", "trained"}


def main() -> int:
    """Parse the command line and run one experiment; 0 also where its verdict is 'does not'."""
    names = sorted(m.name for m in pkgutil.iter_modules(experiments.__path__) if m.name not in NOT_EXPERIMENTS)
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__, allow_abbrev=False)
    parser.add_argument("name", choices=names)
    parser.add_argument("--quick", action="store_true", help="a minute at most: checks that it runs, proves little")
    parser.add_argument("--output", type=Path, help="folder for results (default: experiments/results/NAME)")
    options = parser.parse_args()
    folder = options.output or Path(__file__).parent / "results" / options.name
    experiment = Experiment(options.name, folder, options.quick)
    importlib.import_module(f"experiments.{options.name}").run(experiment)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The README's pictures, from a finished demo run: ``python -m experiments.readme_pictures runs/demo``."""

import sys
from pathlib import Path

from mdm_jax.app import pictures
from mdm_jax.support.files import read_json
from mdm_jax.theory import plans, profiles
from mdm_jax.training import RunDirectory

FOLDER = Path(__file__).parent / "pictures"


def main() -> None:
    """Write profile.png and excess.png."""
    run = RunDirectory(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
    FOLDER.mkdir(exist_ok=True)
    plan = plans.load(run.plan("optimal", 8))
    pictures.save_png(pictures.profile(profiles.load(run.profile), plan), FOLDER / "profile.png")
    tuning = read_json(run.tuning, "a tuning file")
    pictures.save_png(pictures.nelbo_against_steps(tuning, excess=True), FOLDER / "excess.png")


if __name__ == "__main__":
    main()

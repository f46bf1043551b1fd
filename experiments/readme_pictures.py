"""The README's pictures, from a finished demo run: ``python -m experiments.readme_pictures runs/demo``."""

import sys
from pathlib import Path

from mdm_jax.app import drawing, energy, landscapes, pictures
from mdm_jax.support.files import read_json
from mdm_jax.theory import plans, profiles
from mdm_jax.training import RunDirectory

FOLDER = Path(__file__).parent / "pictures"


def main() -> None:
    """Write profile.png, excess.png and landscape.png."""
    run = RunDirectory(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
    FOLDER.mkdir(exist_ok=True)
    plan = plans.load(run.plan("optimal", 8))
    drawing.save_png(pictures.profile(profiles.load(run.profile), plan), FOLDER / "profile.png")
    tuning = read_json(run.tuning, "a tuning file")
    drawing.save_png(pictures.nelbo_against_steps(tuning, excess=True), FOLDER / "excess.png")
    weights = energy.by_name(energy.WEIGHTS)
    marks = energy.beta_marks(energy.by_name(energy.SCHEDULES))
    panels = [energy.landscape(weight, name) for name, weight in weights.items()]
    drawing.save_png(landscapes.landscapes(panels, marks), FOLDER / "landscape.png")


if __name__ == "__main__":
    main()

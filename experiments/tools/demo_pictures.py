"""Pictures of the demo and of the energy landscape: ``python -m experiments.tools.demo_pictures runs/demo``.

Those of experiments are written by their runs.
"""

import shutil
import sys
from pathlib import Path

from experiments.tools.catalogue import Places
from mdm_jax.app.work import energies as energy
from mdm_jax.plot import charts, drawing, energy_landscapes
from mdm_jax.support.files import read_json
from mdm_jax.theory import plans, profiles
from mdm_jax.training import RunDirectory

FOLDER = Places().pictures


def main() -> None:
    """Write profile.png, excess.png, tuning.png, landscape.png."""
    run = RunDirectory(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
    FOLDER.mkdir(exist_ok=True)
    plan = plans.load(run.plan("optimal", 8))
    drawing.save_png(charts.profile(profiles.load(run.profile), plan, axes=drawing.wide(3.0)), FOLDER / "profile.png")
    tuning = read_json(run.tuning, "a tuning file")
    drawing.save_png(charts.excess(tuning, axes=drawing.wide(3.4)), FOLDER / "excess.png")
    shutil.copy(run.landscape, FOLDER / "tuning.png")
    weights = energy.by_name(energy.WEIGHTS)
    marks = energy.beta_marks(energy.by_name(energy.SCHEDULES))
    panels = [energy.landscape(weight, name) for name, weight in weights.items()]
    drawing.save_png(energy_landscapes.side_by_side(panels, marks), FOLDER / "landscape.png")


if __name__ == "__main__":
    main()

"""The README's pictures, from a finished demo run: ``python -m experiments.readme_pictures runs/demo``.

Those of experiments are copied from their results, if they are there.
"""

import dataclasses
import shutil
import sys
from pathlib import Path

from matplotlib.figure import Figure

from mdm_jax import oracles
from mdm_jax.app.work import energies as energy
from mdm_jax.evaluation import exact
from mdm_jax.plot import charts, cost_landscapes, drawing, energy_landscapes
from mdm_jax.support.files import read_json
from mdm_jax.theory import plans, profiles
from mdm_jax.training import RunDirectory

FOLDER = Path(__file__).parent / "pictures"
COPIED = ("energy_and_information", "entropy_bound", "gumbel_range", "throughput")
"""Experiments whose figures the README shows."""


def main() -> None:
    """Write profile.png, excess.png, tuning.png, landscape.png, toy_targets.png, and one for each of :data:`COPIED`."""
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
    drawing.save_png(toy_targets(), FOLDER / "toy_targets.png")
    for name in COPIED:
        figure = Path(__file__).parent / "results" / name / "figure.png"
        if figure.exists():
            shutil.copy(figure, FOLDER / f"{name}.png")


def toy_targets() -> Figure:
    """Total variation of three ancestral steps from the paper's two targets, over the Beta schedules."""
    panels = []
    for name, toy in (("aaaaa or bbbbb", oracles.toy_left()), ("two or three a's", oracles.toy_right())):
        logits = exact.conditionals(toy.denoiser, toy.params, toy.length)
        panel, _ = cost_landscapes.panel_of(exact.search_beta_by_law(logits, toy.probabilities, 3))
        panels.append(dataclasses.replace(panel, name=name))
    return cost_landscapes.side_by_side(panels, "total variation of three ancestral steps from the target")


if __name__ == "__main__":
    main()

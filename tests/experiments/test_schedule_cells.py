"""What chosen schedules come to: the search and the judging against draws and intervals that are known."""

import numpy as np
import pytest

from experiments.tools import beta_told, schedule_cells, schedule_tables
from experiments.tools.python_lines import share_accepted
from experiments.tools.quoted import wrong
from experiments.tools.schedule_cells import Sizes, World, candidates, measured
from mdm_jax import oracles, tasks
from mdm_jax.theory import profiles

LENGTH = 8


@pytest.fixture(scope="module")
def cells():
    """Of an urn, whose rows of one token alone are counted as right: the fewer tokens at once, the more there are."""
    law = oracles.polya(LENGTH, 0.5)
    profile = profiles.from_values(law.entropies())
    nothing = np.full((1, LENGTH), law.denoiser.mask_id, np.int32)
    world = World(
        law.denoiser,
        law.params,
        lambda tokens: (tokens == tokens[:, :1]).all(axis=1).astype(float),
        better=1,
        canvases=(nothing, nothing),
        costs={"profile": lambda plan: float(profile.expected_nelbo(plan.sizes))},
        choices=("drawn",),
    )
    assert world.free == LENGTH
    return measured(world, Sizes(validation=256, test=64), seed=0, steps=[2, 4])


def test_the_grid_has_linear_and_sine_squared():
    made = {name: plan.sizes.tolist() for name, plan in candidates(96, 12).items()}
    assert (made["beta:0.5,0.5"], made["beta:1.0,1.0"]) == (made["linear"], made["sine squared"])


def test_a_cell_is_what_its_own_means_say(cells):
    assert [(one["order"], one["steps"]) for one in cells] == [
        ("random", 2), ("random", 4), ("max-probability", 2), ("max-probability", 4)
    ]  # fmt: skip
    for cell in cells:
        made, found = candidates(LENGTH, cell["steps"]), cell["candidates"]
        betas = [plan.sizes.tolist() for name, plan in made.items() if name.startswith("beta")]
        assert made[cell["chosen"]].sizes.tolist() in betas
        assert found[cell["chosen"]] == max(found[name] for name in found if made[name].sizes.tolist() in betas)
        for rival, (gain, error) in cell["gains"].items():
            assert gain == pytest.approx(cell["scores"]["winner"] - cell["scores"][rival])
            assert error >= 0
        if cell["chosen"] in schedule_cells.NAMED:
            assert cell["gains"][cell["chosen"]] == [0.0, 0.0]


def test_equal_plans_are_drawn_once(cells):
    made = candidates(LENGTH, 2)
    assert len(cells[0]["candidates"]) == len({tuple(plan.sizes.tolist()) for plan in made.values()}) < len(made)


def test_the_profile_of_an_urn_ranks_its_schedules(cells):
    """Exact rows are the likelier the smaller the cost; 256 samples of each tell as much in random order."""
    assert np.mean([one["agreement"]["profile"] for one in cells if one["order"] == "random"]) > 0.5


def made_up(gains, error=0.1, steps=(2, 4)):
    """A training with the same gain in all cells of a number of steps, over every rival."""
    return [
        {
            "order": order, "choice": choice, "steps": k, "chosen": "linear",
            "candidates": {"linear": 0.2, "sine": 0.1}, "agreement": {"profile": 0.5, "other half": 0.25},
            "scores": {"winner": 1.0 + gain, "linear": 1.0, "sine": 1.0, "sine squared": 1.0},
            "gains": {rival: [gain, error] for rival in schedule_cells.NAMED},
        }
        for order in schedule_cells.ORDERS for choice in schedule_cells.CHOICES for k, gain in zip(steps, gains)
    ]  # fmt: skip


def test_a_cell_pools_trainings_as_strata():
    world = {"better": 1, "unit": "right", "trainings": [made_up((0.3, 0.0), 0.03), made_up((0.5, 0.0), 0.04)]}
    cell = next(schedule_tables.cells_of(world))
    mean, low, high = cell.gain("linear")
    assert (mean, high - mean) == (pytest.approx(0.4), pytest.approx(1.959964 * 0.05 / 2))
    assert mean - low == pytest.approx(high - mean)


def test_averages_have_intervals_over_trainings():
    trainings = [made_up((gain, 0.01)) for gain in (0.1, 0.2, 0.3)]
    world = {"better": 1, "unit": "right", "trainings": trainings}
    mean, low, _ = schedule_tables.averaged(world, "linear", [2])
    assert (mean, mean - low) == (pytest.approx(0.2), pytest.approx(4.302653 * 0.1 / np.sqrt(3)))
    apart = schedule_tables.averaged(world, "linear", [2], less=[4])
    assert apart == pytest.approx([mean - 0.01, low - 0.01, 2 * mean - low - 0.01])
    single = {"better": 1, "unit": "right", "trainings": trainings[:1]}
    mean, low, _ = schedule_tables.averaged(single, "linear", [2])
    assert mean - low == pytest.approx(1.959964 * 0.1 / 2)  # four cells


@pytest.mark.parametrize(
    ("trainings", "verdict"),
    [
        ([(0.30, 0.10), (0.31, 0.10), (0.32, 0.10)], "holds"),
        ([(0.30, 0.30), (0.31, 0.32), (0.32, 0.31)], "partly"),  # as much at the most steps
        ([(0.30, 0.10), (-0.30, 0.10), (0.02, 0.10)], "does not"),
        ([(0.0, 0.0), (0.0, 0.0), (0.0, 0.0)], "does not"),
    ],
)
def test_verdicts(trainings, verdict):
    worlds = {"one": {"better": 1, "unit": "right", "trainings": [made_up(gains) for gains in trainings]}}
    found = schedule_tables.concluded(worlds, "made up")
    assert found.verdict == verdict
    assert found.figures["one: searches"] == found.figures["one: other searches that chose linear"] == 24
    assert found.figures["one: cells in which linear is better than sine and sine squared"] == 0  # they are as good


def test_the_largest_gain_is_one_that_is_seen():
    seen, unseen = made_up((0.2, 0.1), error=0.01), made_up((0.9, 0.9), error=1.0)
    for trainings, share in (([seen], 0.2), ([unseen], None)):
        world = {"better": 1, "unit": "right", "trainings": trainings}
        found = schedule_tables.figures_of("one", world).get("one: largest gain over linear, share of its score")
        assert found == (None if share is None else pytest.approx(share))


def test_the_page_tells_the_search_over_all_tasks():
    """Of every record whose name begins with ``beta_``; an error of .01 in a cell lets a gain of .1 be seen."""

    def record(name, gains):
        world = {"better": 1, "unit": "right", "trainings": [made_up(gains, 0.01)]}
        return {"figures": schedule_tables.figures_of(name, world), "config": {}}

    records = {
        "beta_rules": record("additions", (0.3, -0.1)),
        "beta_other": record("words", (0.1, 0.05)),
        "beta_none": record("noise", (0.0, 0.0)),
        "beta_others": {"figures": {"something else": 1.0}, "config": {}},
        "race": record("never", (0.9, 0.9)),
        "beta_not_run": None,
    }
    records["beta_none"]["figures"]["noise, random: rank correlation with profile"] = [0.1, -0.4, 1.2]
    records["beta_none"]["figures"]["noise: cells in which linear is better than sine and sine squared"] = 5
    page = beta_told.section(records)
    for row in (
        "| additions ([beta_rules](results/beta_rules.json)) | 8 | 4 | 4 | 30% (1.3 against 1) | 0 of 8 | 8 of 8 |",
        "| words ([beta_other](results/beta_other.json)) | 8 | 8 | 0 | 10% (1.1 against 1) | 0 of 8 | 8 of 8 |",
        "| noise ([beta_none](results/beta_none.json)) | 8 | 0 | 0 | none | 5 of 8 | 8 of 8 |",
    ):
        assert row in page
    text = " ".join(page.split())
    for sentence in (
        "more than that: additions, 30% (1.3 against 1). At most that: words, 10% (1.1 against 1). No cell is better "
        "than linear on noise. (",
        "more than half of the cells of noise. It is in 5 of 24 cells (noise 5). 24 of 24 searches (",
        "chose it. The chosen schedule is worse than linear in 4 of 24 cells (additions 4).",
    ):
        assert sentence in text
    assert "never" not in page
    assert "| words ([beta_other](results/beta_other.json)) | 0.50 | 0.25 | 0.50 | 0.25 |" in page
    assert "| noise ([beta_none](results/beta_none.json)) | 0.10 (-0.40 to 1.00) | 0.25 | 0.50 | 0.25 |" in page
    assert "in random order for 2 of 3 tasks (additions and words), in max-probability order for 3 of 3" in text
    made = {name: one for name, one in records.items() if one}
    assert wrong(page, made) == []
    assert wrong(page.replace("1.3 against", "1.4 against"), made)
    assert beta_told.section({"race": records["race"]}) == ""


@pytest.mark.parametrize(("share", "said"), [(0.004, "0.4%"), (0.0996, "10%"), (1.5, "1.5 times")])
def test_a_gain_is_spoken_as_its_size_asks(share, said):
    what = {"largest gain over linear, share of its score": share, "of that cell, chosen": 2, "of that cell, linear": 1}
    world = beta_told.World("beta_rules", "one", {f"one: {name}": value for name, value in what.items()})
    assert world.gain == f"{said} (2 against 1)"


def test_lines_of_code_are_accepted_and_shuffled_ones_are_not():
    task = tasks.code(length=96)
    rows = task.test[:200]
    shuffled = np.random.default_rng(0).permuted(rows, axis=1)
    real, made = (np.nanmean([share_accepted(task.show(row)) for row in some]) for some in (rows, shuffled))
    assert real > 0.7  # lines inside of text and of brackets are judged as if they stood alone
    assert made < real / 2

"""Chosen schedules where prompts depend on each other in groups: what is counted, and what is judged besides."""

import numpy as np
import pytest

from experiments import beta_published
from experiments.tools import schedule_tables
from experiments.tools.schedule_cells import NAMED, Sizes, World, candidates, measured
from mdm_jax import oracles

LENGTH = 8
ROWS = np.arange(4)[:, None] % 2 + np.zeros(LENGTH, np.int32)  # all 0, all 1, all 0, all 1


@pytest.fixture(scope="module")
def cell():
    """Of an urn: one token of each row is given, and what is found again of the others is counted."""
    law = oracles.polya(LENGTH, 0.5)
    given = np.broadcast_to(np.arange(LENGTH) == 3, ROWS.shape)
    canvas = np.where(given, ROWS, law.denoiser.mask_id).astype(np.int32)
    world = World(
        law.denoiser,
        law.params,
        lambda tokens, whole: beta_published.found_again(tokens, whole, LENGTH - 1),
        better=1,
        canvases=(canvas, canvas),
        costs={},
        choices=("drawn",),
        whole=(ROWS, ROWS),
        groups=["b", "a", "a", "a"],
        besides=lambda steps: {"again": candidates(LENGTH - 1, steps)["sine"], "linear too": _linear(steps)},
    )
    return measured(world, Sizes(validation=16, test=64), seed=0, steps=[3])[0]


def _linear(steps):
    return candidates(LENGTH - 1, steps)["linear"]


def test_gains_are_of_groups_and_their_errors_count_groups(cell):
    for rival, (gain, error) in cell["gains"].items():
        first, second = cell["grouped"][rival]
        assert gain == pytest.approx((first + second) / 2, abs=1e-5)
        assert error == pytest.approx(abs(first - second) / 2, abs=1e-5)  # the deviation over the root of two groups
    assert set(cell["gains"]) == {*NAMED, "again", "linear too"}


def test_plans_besides_are_judged_with_the_same_draws_and_are_no_candidates(cell):
    assert cell["scores"]["again"] == cell["scores"]["sine"]
    assert cell["grouped"]["linear too"].tolist() == cell["grouped"]["linear"].tolist()
    assert "again" not in cell["candidates"]


def test_samples_are_held_against_their_own_rows(cell):
    """Copies of the given token are likelier than not, in rows of zeros and in rows of ones; few rows are all right."""
    assert all(0.5 < score < 1 for score in cell["scores"].values())
    assert all(0 < whole < cell["scores"][name] for name, whole in cell["whole"].items())


def test_half_of_each_prompt_is_given_and_rows_of_a_group_take_turns():
    made = beta_published.prompts_of({"x": [[0] * 9, [1] * 9, [2] * 9], "y": [[3] * 9]}, each=4, seed=0)
    assert made.rows[:, 0].tolist() == [0, 3, 1, 3, 2, 3, 0, 3]
    assert made.groups == ["x", "y"] * 4
    assert (made.given.sum(axis=1) == 4).all()
    assert (made.given[0] != made.given[6]).any()  # the same row again


def made_up(of_groups):
    """One training of three cells, with a gain in each group over every rival; over the optimal sizes half of it."""
    return [
        {
            "order": "random", "choice": "greedy", "steps": steps, "chosen": "linear",
            "candidates": {"linear": 0.2, "sine": 0.1}, "agreement": {"profile": 0.5},
            "scores": dict.fromkeys(("winner", *NAMED, beta_published.OPTIMAL), 1.0),
            "whole": {"winner": 0.25, "linear": 0.5, beta_published.OPTIMAL: 0.75},
            "gains": {rival: [float(np.mean(gains)), 0.0] for rival in (*NAMED, beta_published.OPTIMAL)},
            "grouped": {
                **dict.fromkeys(NAMED, gains), beta_published.OPTIMAL: [gain / 2 for gain in gains]
            },
        }
        for steps, gains in zip((2, 3, 6), of_groups)
    ]  # fmt: skip


def test_averages_have_intervals_over_groups():
    cells = made_up([(0.1, 0.2, 0.6), (0.3, 0.2, 0.2), (0.0, 0.0, 0.0)])
    world = {"better": 1, "unit": "found again", "trainings": [cells]}
    mean, low, high = schedule_tables.averaged(world, "linear", [2, 3])
    half = 4.302653 * np.std([0.2, 0.2, 0.4], ddof=1) / np.sqrt(3)  # Student's t, two degrees of freedom
    assert (mean, high - mean, mean - low) == (pytest.approx(0.8 / 3), pytest.approx(half), pytest.approx(half))
    apart = schedule_tables.averaged(world, "linear", [2], less=[3])
    half = 4.302653 * np.std([-0.2, 0.0, 0.4], ddof=1) / np.sqrt(3)
    assert apart == pytest.approx([0.2 / 3, 0.2 / 3 - half, 0.2 / 3 + half])
    first = next(schedule_tables.cells_of(world))
    assert first.gain("linear") == schedule_tables.averaged(world, "linear", [2])
    with pytest.raises(AssertionError, match="one training's samples"):
        schedule_tables.averaged({**world, "trainings": [cells, cells]}, "linear", [2])


def test_the_profiles_sizes_are_told_beside_the_search():
    cells = made_up([(0.1, 0.2, 0.6), (0.3, 0.2, 0.1), (0.1, 0.1, 0.1)])
    cells += [{**one, "order": "max-probability"} for one in cells]
    worlds = {"made up": {"better": 1, "unit": "found again", "trainings": [cells]}}
    told = beta_published.conclude({"groups": {"reactions": [3, 3]}, "worlds": worlds})
    over_linear = told.figures[f"made up, random: {beta_published.OPTIMAL} over linear"]
    chosen_over_linear = told.figures["made up, random: mean gain over linear"]
    assert np.ravel([over_linear, chosen_over_linear])[[0, 3]] == pytest.approx([0.1, 0.2], abs=1e-5)
    assert told.figures[f"made up: rows found whole, {beta_published.OPTIMAL}"] == 0.75
    assert "3 judge with 1" in told.sample_size
    assert told.figures["made up: linear over the worst, on validation prompts"] == pytest.approx(0.1)
    assert told.figures["made up: best schedule over linear, on validation prompts"] == 0

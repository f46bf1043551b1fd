"""Evaluations, races and measurements that cannot be get one sentence; what lacks a law is told, and has no winner."""

import bad_evaluations
import numpy as np
import pytest
from answers import answers_of

pytestmark = pytest.mark.processes


def answers():
    return answers_of(bad_evaluations.__file__)


@pytest.mark.parametrize("name", bad_evaluations.CASES)
def test_what_cannot_be_gets_one_sentence(name):
    answer, wanted = answers()[name], bad_evaluations.CASES[name][1]
    assert answer.get("sentence") is not None, answer
    assert answer["sentence"].startswith(wanted)
    assert answer["sentence"].endswith(".")


def test_one_plan_and_any_iterable_of_plans_are_taken():
    assert answers()["one plan"]["value"] == ["uniform, 2 steps"]
    for name in ("generator", "values"):  # a uniform law of five tokens at six positions
        np.testing.assert_allclose(answers()[name]["value"], [[6 * np.log(5)] * 4], rtol=1e-6)


def test_scores_in_bfloat16_are_numbers():
    """Sums of six tokens below five are small whole numbers, which bfloat16 holds."""
    assert answers()["bfloat16"]["value"] == answers()["float64"]["value"]


def test_rows_that_cannot_be_drawn_are_told_and_have_no_log_probability():
    found = answers()["lawless"]
    assert np.isnan(found["value"]).all()
    assert found["warnings"] == [
        "8 of 8 rows have masks left: the model's logits are NaN where it sees the mask (id 5), though not where it "
        "sees tokens: its embedding must have a row for the mask, 6 rows in all."
    ]
    assert answers()["one plan"]["warnings"] == []


def test_a_race_without_a_grid_has_a_winner():
    assert answers()["grid 0"]["value"] == "linear"

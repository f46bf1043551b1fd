"""The picture of the front page draws what the records say, and the page's own table says the same."""

import json

import numpy as np
import pytest

from experiments.tools.catalogue import Places
from experiments.tools.front_page import FEW, ORDERS, PUBLISHED, SHOWN, front_page, times_as_long
from mdm_jax.support.errors import InputError

PLACES = Places()


def record(name):
    return json.loads((PLACES.results / f"{name}.json").read_text())


def test_lines_and_bars_are_those_of_the_records():
    plans, orders, longer = front_page(PLACES).axes
    drawn = [line.get_ydata() for line in plans.lines]
    for name in PUBLISHED:
        curves = record(name)["results"]["curves"]
        for kind in ("uniform", "optimal"):
            assert any(np.array_equal(line, curves[kind][SHOWN]) for line in drawn)
        cost = record(name)["figures"][f"{FEW} steps, optimal"][0]
        assert cost == pytest.approx(curves["optimal"][FEW - 1], abs=1e-4)  # the arrow ends on the curve
    figures = record("planning_orders")["figures"]
    for line, order in zip(orders.lines, ORDERS, strict=True):
        for passes, share in line.get_xydata():
            assert share == figures[f"sudoku9, greedy, {order}, {passes:g} passes"][0]
    widths = sorted({bar.get_width() for bar in longer.patches})
    assert widths == sorted({end for ends in times_as_long(PLACES).values() for end in ends})


def test_times_are_ours_over_theirs_turned_over_and_ordered():
    low, high = times_as_long(PLACES)["training step: PyTorch"]
    mean, least, most = record("train_step")["figures"]["our time over PyTorch's"]
    assert 1 <= low < 1 / mean < high
    assert (low * most, high * least) == pytest.approx((1, 1))
    assert all(1 <= low <= high for low, high in times_as_long(PLACES).values())


def test_a_missing_record_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="needs the result of reactions; got none"):
        front_page(Places(tmp_path))

"""The picture of a card: what is drawn is what the card says."""

import math

import numpy as np
import pytest
from matplotlib import colors

import mdm_jax as mdm
from mdm_jax.plot import cards, drawing
from mdm_jax.support.errors import InputError

BITS = 1 / math.log(2)
PASSES = (4, 8, 16)
KINDS = {"optimal plan": "plan", "best Beta": "plan", "threshold": "rule", "remasking": "sampler"}
ABOVE = {"best Beta": 0.001, "threshold": 0.05, "remasking": -0.02}


def made_up(scored=()):
    """A card whose figures are known: the optimal plan costs 1 + 1/K nats, the others so much more."""
    families = [
        {
            "name": name,
            "kind": kind,
            "points": [
                {
                    "setting": f"{name} {steps}",
                    "passes": steps * (1.1 if kind == "rule" else 1.0),
                    "cost_nats": (cost := 1 + 1 / steps + ABOVE.get(name, 0.0)),
                    "low": cost - 0.1,
                    "high": cost + 0.2,
                    "predicted_nats": None,
                }
                for steps in PASSES[::-1]  # in any order
            ],
        }
        for name, kind in KINDS.items()
    ]
    compared = [
        {"passes": steps, "family": name, "over": "optimal plan", "nats": nats, "low": nats - 0.01, "high": nats + 0.02}
        for steps in PASSES
        for name, nats in ABOVE.items()
    ]
    return {"families": families, "comparisons": compared, "scored": list(scored)}


def line_of(axes, name):
    return next(line for line in axes.lines if line.get_label() == name)


def test_each_family_is_a_line_of_its_costs_in_bits():
    axes = mdm.plot.card(made_up())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(KINDS)
    for name, kind in KINDS.items():
        x, y = line_of(axes, name).get_data()
        np.testing.assert_allclose(x, np.array(PASSES) * (1.1 if kind == "rule" else 1.0))
        np.testing.assert_allclose(y, (1 + 1 / np.array(PASSES) + ABOVE.get(name, 0.0)) * BITS)
    shown = {line_of(axes, name).get_linestyle() for name in ("optimal plan", "best Beta")}
    assert shown == {"-"} != {line_of(axes, "threshold").get_linestyle()}


def test_the_band_is_the_interval_of_the_optimal_plan_alone():
    axes = mdm.plot.card(made_up())
    (band,) = axes.collections
    assert colors.same_color(line_of(axes, "optimal plan").get_color(), drawing.light("optimal"))
    ends = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose((ends.min(), ends.max()), ((1 + 1 / 16 - 0.1) * BITS, (1 + 1 / 4 + 0.2) * BITS))


def test_differences_are_drawn_with_their_intervals_side_by_side():
    axes = cards.differences(made_up())
    drawn = {bars.get_label(): bars for bars in axes.containers}
    assert set(drawn) == set(ABOVE)
    places = []
    for name, nats in ABOVE.items():
        points, _, (bars,) = drawn[name].lines
        np.testing.assert_allclose(points.get_ydata(), nats * BITS)
        for segment in bars.get_segments():
            np.testing.assert_allclose(segment[:, 1], ((nats - 0.01) * BITS, (nats + 0.02) * BITS))
        places.append(points.get_xdata())
    assert (np.diff(places, axis=0) > 0).all()  # none on top of another
    np.testing.assert_allclose(places, np.broadcast_to(PASSES, (3, 3)), rtol=0.1)
    low, high = axes.get_ylim()
    assert low < -0.03 * BITS
    assert high > 0.07 * BITS


def test_a_card_of_one_family_and_one_number_of_passes_is_drawn_too():
    content = made_up()
    content["families"] = [{**content["families"][0], "points": content["families"][0]["points"][:1]}]
    content["comparisons"] = []
    figure = cards.picture(content)
    assert len(figure.axes) == 1
    assert len(drawing.svg(figure)) > 1000


def test_the_same_card_has_the_same_picture_and_no_name_is_obeyed():
    content = made_up()
    content["families"][1]["name"] = "<script>\x1b[31m$x_1$"
    first, second = (drawing.svg(cards.picture(content)) for _ in range(2))
    assert first == second
    assert "<script" not in first
    assert "\x1b" not in first


@pytest.mark.parametrize("wrong", [{}, {"families": []}, mdm.plans.uniform(4, 2)])
def test_what_is_no_card_is_refused_in_one_sentence(wrong):
    for draw in (mdm.plot.card, cards.differences, cards.picture):
        with pytest.raises(InputError, match=r"^found must be what evaluation.card returned, or the content of card"):
            draw(wrong)

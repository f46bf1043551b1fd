"""What notebooks show of an evaluation, a race and a search by law: always something, never very much."""

import dataclasses
import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import mdm_jax as mdm
from mdm_jax.evaluation import Evaluation, Raced
from mdm_jax.evaluation.exact import BetaByLaw
from mdm_jax.evaluation.samples.race_results import Rung

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("error")]
LENGTH = 8


class Cells(HTMLParser):
    """The cells of a table, row by row; fails where tags do not match."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data


def evaluated(names=("a", "b"), samples=4, scores=None, baseline=None):
    shape = len(names), samples
    values = np.random.default_rng(0).normal(3, 1, shape) if scores is None else np.broadcast_to(scores, shape)
    counts = np.full(shape, 2, np.int32)
    tokens = np.zeros((*shape, LENGTH), np.int32)
    return Evaluation(names, {"score": values}, counts, 0 * counts, values.astype(np.float32), tokens, baseline)


def raced(grid=3, means=None, counts=None):
    values = np.geomspace(0.25, 2, grid) if grid > 1 else np.ones(grid)
    plans = {"linear": mdm.plans.uniform(LENGTH, 2), "sine": mdm.plans.from_schedule(mdm.schedules.sine(), LENGTH, 2)}
    found = np.random.default_rng(1).normal(3, 1, (grid, grid)) if means is None else np.full((grid, grid), means)
    counts = np.full((grid, grid), 4) if counts is None else counts
    rungs = (Rung(("linear", "sine"), 4, np.array([3.0, 4.0])),)
    test = evaluated(("linear", "sine"))
    return Raced(plans, rungs, values, values, found, counts, test, test, "linear", True)


def by_law(points=4, values=None, costs=None):
    values = mdm.plans.beta_search.beta_values(points) if values is None else values
    landscape = np.random.default_rng(2).uniform(0.1, 1, (len(values),) * 2) if costs is None else costs
    return BetaByLaw("KL", 3, values, landscape, 0.5, 0.7, 0.1, mdm.grids.uniform(3))


def test_an_evaluation_is_its_table():
    found = evaluated(("a", "b", "c"), baseline="a")
    shown = Cells(found._repr_html_()).rows
    lines = [re.split(r"  +", line.rstrip()) for line in found.table().splitlines()]
    assert shown[0] == lines[0]
    assert [[cell for cell in row if cell] for row in shown[1:]] == lines[2:]  # the baseline has no difference
    assert shown[1][-1] == ""
    assert html.escape(repr(found)) in found._repr_html_()


@pytest.mark.parametrize("scores", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("samples", [1, 3])
def test_an_evaluation_of_any_scores_is_shown(scores, samples):
    rows = Cells(evaluated(samples=samples, scores=scores)._repr_html_()).rows
    assert len(rows) == 3
    assert rows[1][2] == {"nan": "undefined", "inf": "inf", "0.0": "0.000"}[str(scores)] + (
        " ± 0.000" if scores == 0 and samples > 1 else ""
    )


def test_an_evaluation_of_very_many_samplers_with_foreign_names_stays_small():
    names = tuple(f"<b>\x1b[31m{i}" + "x" * 500 for i in range(1000))
    page = evaluated(names)._repr_html_()
    assert len(page) < 100_000
    assert "<b>" not in page
    assert "\x1b" not in page
    assert "and 936 more samplers" in page
    assert len(Cells(page).rows) == 65


def test_a_race_is_its_landscape_with_its_conclusions():
    found = raced()
    page = found._repr_html_()
    assert page.count("<svg") == 1
    for sentence in found.conclusions():
        assert sentence in page
    assert page.count(">4</text>") == 9  # the samples of each cell


@pytest.mark.parametrize("grid", [0, 1, 2, 3])
@pytest.mark.parametrize("means", [None, np.nan, np.inf, -np.inf, 0.0])
def test_a_race_of_any_grid_and_scores_is_shown(grid, means):
    found = raced(grid, means)
    page = found._repr_html_()
    assert page.count("<svg") == (grid > 0)
    assert "Raced(winner=" in page
    assert ("<table>" in page) == (grid == 0)
    if grid > 0:
        stars = [line for line in mdm.plot.landscape(found).lines if line.get_marker() == "*"]
        assert len(stars) == (means is None or not np.isnan(means))


def test_a_race_with_some_scores_names_the_best_of_them():
    found = raced(2)
    means = np.array([[np.nan, 2.0], [np.inf, 3.0]])
    axes = mdm.plot.landscape(dataclasses.replace(found, landscape=means))
    assert any("2): 2" in text.get_text() for text in axes.texts)


def test_a_race_of_a_fine_grid_has_no_numbers():
    page = raced(64)._repr_html_()
    assert len(page) < 100_000
    assert ">4</text>" not in page
    assert "behind the best; numbers" not in page
    assert "behind the best" in page


def test_a_race_without_a_grid_has_no_landscape():
    with pytest.raises(mdm.support.errors.InputError, match=r"^found must be a race with a grid of schedules; got one"):
        mdm.plot.landscape(raced(0))


@pytest.mark.parametrize(
    "found",
    [
        by_law(),
        by_law(1, np.array([0.5])),
        by_law(2, costs=np.zeros((2, 2))),
        by_law(2, costs=np.array([[np.inf, 1.0], [np.nan, 2.0]])),
        by_law(3, costs=np.full((3, 3), 0.25)),
        by_law(2, np.array([1e-6, 1000.0])),
    ],
    ids=["usual", "one value", "no divergence", "infinite", "equal", "far apart"],
)
def test_a_search_by_law_is_its_landscape(found):
    page = found._repr_html_()
    assert page.count("<svg") == 1
    assert repr(found) in page
    assert repr(found) == (
        f"BetaByLaw({len(found.values)} x {len(found.values)} schedules at 3 steps; best: Beta(0.5, 0.7), KL 0.1)"
    )


def test_a_search_by_law_of_very_many_values_is_thinned():
    values = np.geomspace(0.1, 10, 4096)
    found = by_law(values=values, costs=np.add.outer(values, values).astype(np.float32))
    axes = mdm.plot.landscape(found)
    mesh = next(one for one in axes.collections if type(one).__name__ == "QuadMesh")
    shown = np.asarray(mesh.get_array())
    assert shown.shape == (512, 512)
    np.testing.assert_allclose((shown[0, 0], shown[-1, -1]), (0.2, 20.0), rtol=1e-6)
    assert len(found._repr_html_()) < 400_000

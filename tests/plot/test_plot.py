"""Pictures of profiles, plans, landscapes and samples: what is drawn is what was found."""

import itertools
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from known_profiles import markov
from matplotlib import colors, pyplot
from matplotlib.axes import Axes
from matplotlib.text import Text

import mdm_jax as mdm
from mdm_jax.plot import charts, cost_landscapes, drawing, report_charts, tokens
from mdm_jax.plot.drawing import styled
from mdm_jax.sampling import Sampled
from mdm_jax.sampling.result import MISSING
from mdm_jax.support.errors import InputError
from mdm_jax.support.ragged import ABSENT

LENGTH = 24
PROFILE = markov(0.2, LENGTH)
PLAN = mdm.plans.optimal(PROFILE, 6)


@pytest.fixture(autouse=True)
def closed():
    pyplot.close("all")  # what tests of other files have left open
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def tuned():
    return mdm.tune(PROFILE, [4, 8], grid=11, steps=[2, 16])


def measured():
    counts = np.array([0, 3, 10, LENGTH - 1])
    return mdm.profiles.Profile(LENGTH, counts, PROFILE.values[counts], 1e-4 * np.eye(4))


def sampled(rows=3, length=LENGTH, steps=6):
    rng = np.random.default_rng(0)
    shape = (rows, length)
    return SimpleNamespace(tokens=rng.integers(0, 300, shape), reveal_step=rng.integers(0, steps, shape))


@pytest.mark.core
@pytest.mark.parametrize("name", ["profile", "plan", "excess", "landscape", "samples"])
def test_axes_are_those_given_or_new_ones_of_pyplot(name, tuned):
    make = {
        "profile": lambda **axes: mdm.plot.profile(measured(), PLAN, **axes),
        "plan": lambda **axes: mdm.plot.plan(PLAN, PROFILE, **axes),
        "excess": lambda **axes: mdm.plot.excess(tuned, **axes),
        "landscape": lambda **axes: mdm.plot.landscape(tuned, 8, **axes),
        "samples": lambda **axes: mdm.plot.samples(sampled(), **axes),
    }[name]
    before = dict(pyplot.rcParams)
    given = drawing.wide(3.0)
    assert make(axes=given) is given
    assert pyplot.get_fignums() == []
    new = make()
    assert isinstance(new, Axes)
    assert pyplot.get_fignums() == [new.figure.number]
    assert dict(pyplot.rcParams) == before  # the style stays inside
    assert drawing.svg(make(axes=drawing.wide(3.0))) == drawing.svg(given)


@pytest.mark.core
def test_a_profile_and_the_staircase_of_a_plan():
    axes = mdm.plot.profile(PROFILE, PLAN)
    line = next(line for line in axes.lines if len(line.get_xdata()) == LENGTH)
    np.testing.assert_array_equal(line.get_ydata(), PROFILE.values)
    stairs = next(patch for patch in axes.patches if hasattr(patch, "get_data"))
    np.testing.assert_array_equal(stairs.get_data().edges, PLAN.knots)
    area = float(np.sum(stairs.get_data().values * np.diff(stairs.get_data().edges)))
    assert area == pytest.approx(float(PROFILE.expected_nelbo(PLAN.sizes)))
    assert "g(i), exact" in axes.get_legend_handles_labels()[1]
    assert "g(i), measured (± 1 s.e.)" in mdm.plot.profile(measured()).get_legend_handles_labels()[1]


@pytest.mark.core
def test_the_sizes_of_a_plan_and_what_its_steps_lose():
    axes = mdm.plot.plan(PLAN, PROFILE)
    assert [bar.get_height() for bar in axes.patches] == PLAN.sizes.tolist()
    right = next(other for other in axes.figure.axes if other is not axes)
    lost = right.lines[0].get_ydata()
    assert float(np.sum(lost)) == pytest.approx(float(PROFILE.expected_nelbo(PLAN.sizes)) - PROFILE.nelbo())
    grid = mdm.grids.geodesic(PROFILE, 5)
    assert [bar.get_height() for bar in mdm.plot.plan(grid).patches] == np.diff(grid.fractions).tolist()
    many = mdm.plans.uniform(10_000, 5_000)
    outline = next(patch for patch in mdm.plot.plan(many).patches if hasattr(patch, "get_data"))
    assert len(outline.get_data().values) <= charts.MOST_POINTS
    assert (outline.get_data().values == 2).all()


@pytest.mark.core
def test_excess_is_what_families_cost_above_the_least(tuned):
    axes = mdm.plot.excess(tuned)
    families = tuned.result["families"]
    least = min(PROFILE.nelbo(), *(min(costs) for costs in families.values()))
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == list(families)
    for name, costs in families.items():
        above = (np.array(costs) - least) / (LENGTH * np.log(2))
        np.testing.assert_allclose(lines[name].get_ydata(), np.where(above > 1e-6, above, np.nan))
    again = mdm.plot.excess(tuned.result)  # the content of tuning.json
    np.testing.assert_array_equal(again.lines[0].get_ydata(), axes.lines[0].get_ydata())


@pytest.mark.core
def test_the_report_shows_what_families_cost_above_the_optimal_plan_of_as_many_steps(tuned):
    axes = report_charts.above_optimal(tuned.result)
    families = tuned.result["families"]
    shown = 2 * np.array(tuned.result["steps"]) <= LENGTH
    assert 0 < shown.sum() < len(shown)
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == list(families)
    for name, costs in families.items():
        above = (np.array(costs) - np.array(families["optimal"]))[shown] / (LENGTH * np.log(2))
        np.testing.assert_allclose(lines[name].get_ydata(), np.where(above > 1e-6, above, 0.0))


@pytest.mark.core
def test_each_line_has_its_name_beside_it_and_no_name_lies_on_another(tuned):
    axes = report_charts.above_optimal(tuned.result)
    axes.figure.draw_without_rendering()
    assert axes.get_legend() is None
    names = {text.get_text(): Text.get_window_extent(text) for text in axes.texts}  # without the line to it
    assert list(names) == list(tuned.result["families"])
    right = axes.get_window_extent().x1
    for text, line in zip(axes.texts, axes.lines):
        assert text.get_color() == line.get_color()
        assert names[text.get_text()].x0 > right
    boxes = sorted(names.values(), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 0.1 for below, above in itertools.pairwise(boxes))


@pytest.mark.core
def test_places_are_kept_apart_and_as_near_as_can_be():
    def far(places):
        return sum((place - want) ** 2 for place, want in zip(places, wanted))

    rng = np.random.default_rng(0)
    for _ in range(20):
        wanted = rng.uniform(0, 1, 5).round(2).tolist()
        found = report_charts._apart(wanted, 0.2)
        order = np.argsort(wanted, kind="stable")
        assert (np.diff(np.array(found)[order]) >= 0.2 - 1e-9).all()
        for _ in range(200):  # others that are kept apart are no nearer
            gaps = 0.2 + rng.exponential(0.05, 4) * rng.integers(0, 2, 4)
            other = np.empty(5)
            other[order] = rng.uniform(-0.5, 0.7) + np.concatenate([[0.0], np.cumsum(gaps)])
            assert far(found) <= far(other) + 1e-9


FLAT = {
    "one token": (np.ones(1), [1]),
    "equal": (np.ones(8), [2, 4]),
    "nothing": (np.zeros(8), [8]),
    "one budget": (np.linspace(2, 1, 8), [8]),
    "rising": (np.linspace(0, 1, 8), [1, 8]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FLAT)
def test_where_nothing_costs_more_than_the_least_all_is_drawn_at_zero(name):
    values, budgets = FLAT[name]
    found = mdm.tune(mdm.profiles.from_values(values), budgets, grid=4)
    assert found._repr_html_().count("<svg") == 1
    assert found.search._repr_html_().count("<svg") == 1
    flat = bool(np.ptp(values) == 0)
    assert charts.costs_nothing(found.result) == flat
    excess, above = mdm.plot.excess(found), report_charts.above_optimal(found.result)
    assert excess.get_yscale() == ("linear" if flat else "log")
    for axes in (excess, above):
        drawing.svg(axes)
        low, high = axes.get_ylim()
        assert low < high
        assert not flat or all((line.get_ydata() == 0).all() for line in axes.lines)


@pytest.mark.core
def test_of_a_rising_profile_every_cost_is_inside_the_axes():
    found = mdm.tune(mdm.profiles.from_values(np.linspace(0, 1, 8)), [1, 8], grid=4)
    axes = report_charts.above_optimal(found.result)
    low, high = axes.get_ylim()
    shown = np.concatenate([line.get_ydata() for line in axes.lines])
    assert low < shown.min() < shown.max() < high


@pytest.mark.core
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grid", [[0.5], [0.5, 0.6], [20.0, 30.0]], ids=str)
def test_a_landscape_of_few_values(grid):
    found = mdm.plans.search_beta(PROFILE, [3], grid=grid, starts=0)
    assert found._repr_html_().count("<svg") == 1
    axes = mdm.plot.landscape(found)
    above = found.landscape[0].T / (LENGTH * np.log(2))
    np.testing.assert_allclose(mesh_of(axes).reshape(above.shape), above, rtol=1e-6)
    (low, high), best = axes.get_xlim(), found.best[0]
    assert low <= best[0] <= high
    assert low < high
    assert len(axes.get_xticks()) > 0


def mesh_of(axes):
    return np.asarray(next(one for one in axes.collections if type(one).__name__ == "QuadMesh").get_array())


def star_of(axes):
    return next(tuple(float(x[0]) for x in line.get_data()) for line in axes.lines if line.get_marker() == "*")


@pytest.mark.core
def test_landscapes_of_a_search_and_of_a_tuning(tuned):
    search, scale = tuned.search, 1 / (LENGTH * np.log(2))
    axes = mdm.plot.landscape(search, 8)
    at = search.place(8)
    shown = mesh_of(axes)
    true = search.landscape[at].T * scale
    np.testing.assert_allclose(shown, np.maximum(true, shown.min()), rtol=1e-6)
    assert star_of(axes) == tuple(search.best[at])
    assert axes.get_title() == "8 steps"
    optimal = tuned.result["families"]["optimal"][tuned.result["steps"].index(8)]
    shown = mesh_of(mdm.plot.landscape(tuned, 8))
    above = (search.landscape[at].T.astype(np.float64) + PROFILE.nelbo() - optimal) * scale
    np.testing.assert_allclose(shown, np.maximum(above, shown.min()), rtol=1e-5, atol=1e-9)
    single = mdm.plans.search_beta(PROFILE, [8], grid=11)
    np.testing.assert_array_equal(mesh_of(mdm.plot.landscape(single)), mesh_of(axes))


@pytest.mark.core
def test_landscapes_of_a_race_and_of_an_exact_law():
    values = np.array([0.25, 0.5, 1.0, 2.0])
    rng = np.random.default_rng(1)
    means, counts = rng.normal(3, 1, (4, 4)), rng.integers(1, 9, (4, 4))
    means[0, 0], counts[1, 2] = np.nan, 32
    raced = SimpleNamespace(
        plans={"linear": mdm.plans.uniform(LENGTH, 5)}, a=values, b=values, landscape=means, counts=counts,
        lower_is_better=True,
    )  # fmt: skip
    axes = mdm.plot.landscape(raced)
    assert axes.get_title() == "5 steps"
    assert star_of(axes) == (0.5, 1.0)  # of those that came furthest
    assert [text.get_text() for text in axes.texts][-16:] == [str(n) for n in counts.ravel()]
    law = SimpleNamespace(
        divergence="KL", steps=3, values=values, landscape=np.exp(means[1:, 1:]), a=0.5, b=0.7, value=0.1
    )
    law.values = values[1:]
    axes = mdm.plot.landscape(law, 3)
    np.testing.assert_allclose(mesh_of(axes), law.landscape.T)
    assert any(other.get_ylabel().startswith("KL between") for other in axes.figure.axes)


class Characters:
    def pieces(self, ids):
        return ["ab\n"[i % 3] for i in np.asarray(ids)]


class Pixels:
    shape = (4, 6)

    def pieces(self, ids):
        raise AssertionError("pixels are drawn, not written")


def image_of(axes):
    return np.asarray(axes.images[0].get_array(), np.float64)[..., :3]


@pytest.mark.core
def test_samples_in_the_colours_of_their_steps():
    drawn = sampled()
    axes = mdm.plot.samples(drawn, Characters(), rows=2)
    board = image_of(axes)
    assert board.shape == (2, LENGTH, 3)
    for row, column in np.ndindex(2, LENGTH):
        same = drawn.reveal_step[:2] == drawn.reveal_step[row, column]
        assert (board[same] == board[row, column]).all()
        assert not (board[~same] == board[row, column]).all(axis=-1).any()
    assert [text.get_text() for text in axes.texts] == ["ab⏎"[i % 3] for i in drawn.tokens[:2].ravel()]
    ids = mdm.plot.samples(drawn, rows=1)
    assert [text.get_text() for text in ids.texts] == [str(i) for i in drawn.tokens[0]]
    assert image_of(ids).shape[1] == tokens.LINE // 3  # ids of three digits: fewer in a line
    drawn.reveal_step[0, :3], drawn.reveal_step[1, -2:] = -1, -2
    shown = mdm.plot.samples(drawn)
    assert [text.get_text() for text in shown.get_legend().get_texts()] == ["given", "behind the end"]


@pytest.mark.core
def test_positions_that_are_not_there_are_left_blank():
    drawn = sampled()
    drawn.tokens[0, 5:], drawn.reveal_step[0, 5:] = ABSENT, MISSING
    board = image_of(mdm.plot.samples(drawn, Characters(), rows=2))
    assert (board[0, 5:] == 1).all()
    assert not (board[0, :5] == 1).all(axis=-1).any()
    assert not (board[1] == 1).all(axis=-1).any()
    texts = [text.get_text() for text in mdm.plot.samples(drawn, rows=1).texts]
    assert texts == [str(i) for i in drawn.tokens[0, :5]]


@pytest.mark.core
def test_pixels_stand_beside_their_steps():
    drawn = sampled()
    board = image_of(mdm.plot.samples(drawn, Pixels(), rows=1))
    assert board.shape[:2] == (4, 13)
    greys = 1 - drawn.tokens[0] / drawn.tokens[0].max()
    np.testing.assert_allclose(board[:, :6, 0], greys.reshape(4, 6), atol=1 / 255)
    steps = drawn.reveal_step[0].reshape(4, 6)
    assert len({tuple(colour) for colour in board[:, 7:][steps == steps[0, 0]]}) == 1


@pytest.mark.core
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: mdm.plot.profile(PROFILE, mdm.plans.uniform(9, 3)), r"^plan must be of the profile's length, 24; "),
        (lambda t: mdm.plot.plan(mdm.plans.uniform(9, 3), PROFILE), r"^plan must be of the profile's length, 24; got "),
        (lambda t: mdm.plot.plan(mdm.grids.uniform(3), PROFILE), r"^profile must be left out: the sizes of a grid"),
        (lambda t: mdm.plot.landscape(t), r"^steps must be one of the budgets that were searched; got none\.$"),
        (lambda t: mdm.plot.landscape(t, 5), r"^steps must be a budget that was searched \(4, 8\); got 5\.$"),
        (lambda t: mdm.plot.samples(sampled(), rows=0), r"^rows must be a whole number, 1 or more; got 0\.$"),
        (lambda t: mdm.plot.samples(sampled(rows=0)), r"^sampled must be samples, \[rows, length\], at least one; got"),
    ],
)  # fmt: skip
def test_bad_input(call, message, tuned):
    with pytest.raises(InputError, match=message):
        call(tuned)
    assert pyplot.get_fignums() == []


@pytest.mark.core
def test_a_fragment_for_a_page_has_names_of_its_own_and_foreign_text_escaped():
    name = '<b>\x1b[31m & "x"\''
    plans = [mdm.plans.Plan(np.array([n, 2]), name) for n in (3, 4)]
    pages = [plan._repr_html_() for plan in plans]
    assert pages[0] == plans[0]._repr_html_()
    ids = [set(re.findall(r'\bid="([^"]+)"', page)) for page in pages]
    assert ids[0]
    assert not ids[0] & ids[1]
    for page in pages:
        assert "<b>" not in page
        assert "\x1b" not in page
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
        assert used <= set(re.findall(r'\bid="([^"]+)"', page))


@pytest.mark.core
def test_very_much_is_thinned(tuned):
    long = mdm.profiles.Profile(2**22, np.array([0, 5, 2**22 - 1]), np.array([3.0, 2.0, 1.0]), np.zeros((3, 3)))
    values = {
        "long profile": long,
        "many counts": mdm.profiles.from_values(np.linspace(3, 1, 100_000)),
        "many steps": mdm.plans.uniform(1_000_000, 100_000),
        "long grid": mdm.grids.uniform(10_000),
        "tuned": tuned,
        "search": tuned.search,
    }
    for name, value in values.items():
        page = value._repr_html_()
        assert page.startswith("<figure"), name
        assert len(page) < 400_000, name
        assert len(repr(value)) < 800, name
    big = sampled(rows=500, length=3_000)
    assert len(drawing.svg(tokens.of_rows(big))) < 400_000
    assert len(cost_landscapes.of_budgets(tuned.search, tuned.search.budgets, 2).axes) == 3


@pytest.mark.core
def test_colours_of_the_page_are_those_of_the_charts():
    for light, dark in drawing.COLOURS.values():
        assert colors.is_color_like(light)
        assert colors.is_color_like(dark)


@pytest.mark.core
def test_a_picture_for_a_page_knows_the_light_and_the_dark_and_keeps_its_texts(tuned, tmp_path):
    picture = cost_landscapes.of_budgets(tuned, [4, 8])
    before = [text.get_path_effects() for text in picture.findobj(Text)]
    path = drawing.save_themed(picture, tmp_path / "landscape.svg")
    svg = path.read_text()
    assert [text.get_path_effects() for text in picture.findobj(Text)] == before
    again = cost_landscapes.of_budgets(tuned, [4, 8])
    assert svg == drawing.save_themed(again, tmp_path / "again.svg").read_text()
    light, dark = svg.split("@media (prefers-color-scheme:dark)")
    for name, (in_light, in_dark) in drawing.COLOURS.items():
        assert f"--{name}:{in_light}" in light
        assert f"--{name}:{in_dark}" in dark
    texts = [element.text for element in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]
    assert {"4 steps", "8 steps", "linear"} <= {text.strip() for text in texts}  # no outlines
    assert "#ffffff" not in svg.split("</style>", 1)[1]


@pytest.mark.core
def test_samples_are_a_picture_in_notebooks_where_they_can_be_looked_at():
    drawn = sampled()
    rows = jnp.zeros(3, jnp.int32)
    out = Sampled(
        jnp.asarray(drawn.tokens, jnp.int32), rows, rows[0], rows, jnp.asarray(drawn.reveal_step, jnp.int32),
        jnp.zeros(3), rows[0],
    )  # fmt: skip
    page = out._repr_html_()
    assert page.count("<svg") == 1
    assert f">{drawn.tokens[0, 0]}<" in page
    assert page == jax.tree.map(np.asarray, out)._repr_html_()
    assert out._replace(tokens=out.tokens[:0], reveal_step=out.reveal_step[:0])._repr_html_() is None
    seen = []
    jax.jit(lambda sampled: seen.append(sampled._repr_html_()))(out)
    assert seen == [None]


def test_a_notebook_that_becomes_interactive_within_stays_so():
    """Its first figure makes it so; settings of style come back all the same."""
    before = matplotlib.is_interactive(), matplotlib.rcParams["font.size"]
    try:
        with styled():
            matplotlib.rcParams["font.size"] = 31.0
            matplotlib.interactive(True)
        assert matplotlib.is_interactive()
        assert matplotlib.rcParams["font.size"] == before[1]
    finally:
        matplotlib.interactive(before[0])

"""``mdm-jax energy``: the table, the constants of a sequence, and the landscape."""

import json
import math
import os
import xml.etree.ElementTree

import numpy as np
import pytest

from mdm_jax.app.cli import main
from mdm_jax.app.work.energies import SCHEDULES, WEIGHTS, beta_marks, beta_parameters, by_name, landscape
from mdm_jax.plot import drawing, energy_landscapes
from mdm_jax.support.errors import InputError
from mdm_jax.theory import energies, schedules
from mdm_jax.theory.schedules import text as schedule_text
from mdm_jax.theory.schedules.text import parse

PI_2 = math.pi**2


def printed(capsys, *arguments):
    assert main(["energy", *arguments]) == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.core
def test_the_defaults_are_read_as_they_stand():
    for text in (*SCHEDULES, *WEIGHTS):
        assert schedule_text.text_of(parse(text)).startswith(text)


@pytest.mark.core
def test_the_table(capsys):
    out = printed(capsys, "linear", "geometric", "kinetic_optimum:linear", "--weight", "sine_squared", "--no-picture")
    assert [line.split() for line in out.splitlines()[2:5]] == [
        ["linear", "diverges"],
        ["geometric:0.0001,20", "diverges"],
        ["kinetic_optimum:linear", "1.0000"],
    ]
    assert "landscape" not in out
    assert os.listdir() == []


@pytest.mark.core
def test_json_has_the_same_energies_and_null_where_they_diverge(capsys):
    out = json.loads(printed(capsys, "linear", "beta:0.9,0.6", "--weight", "beta:1,1", "--no-picture", "--json"))
    energy = float(energies.kinetic(schedules.beta(0.9, 0.6))) / PI_2
    assert out == {
        "unit": "pi^2",
        "energies": {"linear": {"beta:1,1": None}, "beta:0.9,0.6": {"beta:1,1": pytest.approx(energy, rel=1e-5)}},
        "multiplicities": None,
        "picture": None,
    }


@pytest.mark.core
@pytest.mark.thorough
def test_a_table_in_a_file_is_called_by_what_was_typed(capsys, tmp_path):
    schedule_text.save(schedules.free(8), tmp_path / "free.json")
    out = json.loads(printed(capsys, "tabulated:free.json", "--weight", "sine_squared", "--no-picture", "--json"))
    assert out["energies"] == {"tabulated:free.json": {"sine_squared": pytest.approx(1.0, rel=1e-5)}}


@pytest.mark.core
def test_the_constants_of_a_sequence(capsys):
    arguments = ["sine", "--weight", "sine", "--no-picture", "--length", "3", "--vocab-size", "2"]
    out = printed(capsys, *arguments)
    rows = {line[:20].strip(): line.split()[-1] for line in out.splitlines() if line}
    assert float(rows["kinetic"]) == pytest.approx(math.log10(27), abs=1e-4)
    assert float(rows["conditional kinetic"]) == pytest.approx(math.log10(12), abs=1e-4)
    assert float(rows["geodesic"]) == pytest.approx(math.log10(3), abs=1e-4)
    assert "3 tokens out of 2, all of them possible" in out
    constants = json.loads(printed(capsys, *arguments, "--json"))["multiplicities"]
    assert {k: constants[k] for k in ("length", "vocab_size", "unit")} == {
        "length": 3,
        "vocab_size": 2,
        "unit": "log10",
    }
    assert 10 ** constants["kinetic"] == pytest.approx(27)


@pytest.fixture(scope="module")
def panels():
    """Landscapes with few points, by weight."""
    texts = ("sine_squared", "linear", "beta:0.9,0.3", "sine", "kinetic_optimum:polynomial:3")
    return {text: landscape(parse(text), text, points=15) for text in texts}


@pytest.mark.parametrize("text", ["sine_squared", "linear", "beta:0.9,0.3"])
def test_a_landscape_is_the_closed_form(panels, text):
    panel, weight = panels[text], parse(text)
    a, b = np.meshgrid(panel.a, panel.b, indexing="ij")
    truth = energies.batch(schedules.beta(a.ravel(), b.ravel()), weight, energies.closed_form) / PI_2
    np.testing.assert_allclose(panel.energies.ravel(), truth, rtol=1e-5)
    assert panel.energies.shape == (15, 15)
    assert panel.name == text
    infinite = np.isinf(panel.energies)
    np.testing.assert_array_equal(infinite, (a <= panel.walls[0]) | (b <= panel.walls[1]))
    assert infinite.any()


@pytest.mark.parametrize(
    ("text", "star"),
    [
        ("sine_squared", (1.0, 1.0)),
        ("linear", (0.5, 0.5)),
        ("beta:0.9,0.3", (0.9, 0.3)),
        ("kinetic_optimum:polynomial:3", (3.0, 1.0)),
    ],
)
def test_the_star_of_a_beta_weight_is_the_weight(panels, text, star):
    panel = panels[text]
    assert panel.exact
    assert panel.best == (*star, 1.0)
    assert panel.walls == (star[0] / 2, star[1] / 2)
    for x, at in zip((panel.a, panel.b), star):
        assert x[-1] >= max(2.0, 2 * at)
    assert 1 - 1e-5 < panel.energies.min() < 1.1


def test_the_star_of_another_weight_is_the_best_that_was_seen(panels):
    panel = panels["sine"]
    a, b, energy = panel.best
    assert not panel.exact
    assert (a, b) == pytest.approx((0.551, 0.89), abs=0.03)
    assert energy <= panel.energies.min()
    assert energy == pytest.approx(float(energies.kinetic(schedules.beta(a, b), schedules.sine())) / PI_2, rel=1e-5)
    mirrored = landscape(parse("maskgit"), points=15)
    assert mirrored.best == pytest.approx((b, a, energy), rel=1e-4)


def test_a_landscape_reaches_its_optimum_wherever_that_is():
    panel = landscape(parse("polynomial:12"), points=15)
    assert 2 < panel.best[0] < 0.8 * panel.a[-1]
    for text in ("beta:1000,1000", "beta:0.01,300"):
        panel = landscape(parse(text), points=9)
        assert panel.best == (*beta_parameters(parse(text)), 1.0)
        assert not np.isnan(panel.energies).any()
    with pytest.raises(InputError, match=r"polynomial:1e6 is too steep to draw \(--no-picture leaves that out\)\."):
        landscape(parse("polynomial:1e6"), "polynomial:1e6")


def test_marks_are_the_betas():
    named = by_name([*SCHEDULES, "kinetic_optimum:linear", "kinetic_optimum:polynomial:2"])
    assert beta_marks(named) == {
        "linear": (0.5, 0.5),
        "sine_squared": (1.0, 1.0),
        "beta:0.9,0.3": (0.9, 0.3),
        "beta:0.3,0.9": (0.3, 0.9),
        "beta:2,1": (2.0, 1.0),
    }
    assert beta_parameters(schedules.maskgit()) is None
    assert beta_parameters(schedules.kinetic_optimum(schedules.sine())) is None


def is_picture(path):
    data = path.read_bytes()
    if path.suffix == ".svg":
        return xml.etree.ElementTree.fromstring(data).tag.endswith("svg")
    return data.startswith({".png": b"\x89PNG", ".pdf": b"%PDF", ".PNG": b"\x89PNG"}[path.suffix])


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_landscapes_have_the_same_bytes(panels, suffix, tmp_path):
    marks = {"linear": (0.5, 0.5), "sine_squared": (1.0, 1.0), "far away": (50.0, 1.0)}
    chosen = [panels["sine"], panels["beta:0.9,0.3"]]
    paths = [drawing.save(energy_landscapes.side_by_side(chosen, marks), tmp_path / f"{i}{suffix}") for i in range(2)]
    assert is_picture(paths[0])
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_every_panel_has_its_weight_its_star_and_its_barred_region(panels):
    marks = {"linear": (0.5, 0.5), "sine_squared": (1.0, 1.0), "far away": (50.0, 1.0)}
    figure = energy_landscapes.side_by_side(list(panels.values()), marks)
    drawn = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in drawn] == [f"weight {name}" for name in panels]
    for axes, panel in zip(drawn, panels.values()):
        (star,) = (line for line in axes.lines if line.get_marker() == "*")
        assert (star.get_xdata()[0], star.get_ydata()[0]) == panel.best[:2]
        texts = [text.get_text() for text in axes.texts]
        assert {"infinite", "linear", "sine_squared"} <= {*texts}
        assert "far away" not in texts
        assert any(text.endswith("): 1.004") for text in texts) == (panel.name == "sine")
    assert len(figure.axes) == 2 * 3 + 1  # two rows of three, one of them empty, and the colours
    assert len(energy_landscapes.side_by_side(list(panels.values())[:4], {}).axes) == 5


def test_the_picture_of_the_command(capsys, tmp_path):
    out = printed(capsys, "sine_squared", "--weight", "linear")
    assert out.splitlines()[-1] == f"landscape: {os.path.join('runs', 'energy.png')}"
    assert is_picture(tmp_path / "runs" / "energy.png")
    arguments = ["linear", "--weight", "linear", "--picture", "new/folder/e.PNG", "--json"]
    result = json.loads(printed(capsys, *arguments))
    assert result["picture"] == os.path.join("new", "folder", "e.PNG")
    assert result["best_beta"] == {"linear": {"a": 0.5, "b": 0.5, "energy": 1.0}}
    before = (tmp_path / "new/folder/e.PNG").read_bytes()
    printed(capsys, *arguments)
    assert (tmp_path / "new/folder/e.PNG").read_bytes() == before


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cosine"], "schedule must be one of linear, sine, sine_squared, maskgit, polynomial:DEGREE, geometric["),
        (["beta:2000,1"], "schedule 'beta:2000,1' cannot be used: a must be at most 1000; got 2000.0."),
        (["tabulated:no.json"], "schedule 'tabulated:no.json' cannot be used: no.json does not exist"),
        (["linear", "--weight", "beta:1"], "schedule 'beta:1' has 1 parameter; beta takes 2, as in beta:A,B."),
        (["--picture", "energy.jpg"], "--picture must end in .png, .svg or .pdf; got 'energy.jpg'."),
        (["--picture", ""], "--picture must end in .png, .svg or .pdf; got ''."),
        (["--length", "8"], "--vocab-size must be given beside --length: the constants of a sequence need both."),
        (["--vocab-size", "8"], "--length must be given beside --vocab-size"),
        (["--length", "0", "--vocab-size", "8"], "--length must be from 1 to 10^12; got 0."),
        (["--length", "8", "--vocab-size", "-1"], "--vocab-size must be from 1 to 10^12; got -1."),
        (["--length", "1" + "0" * 400, "--vocab-size", "2"], "--length must be from 1 to 10^12; got 1000"),
        (["linear", "--weight", "polynomial:1e6"], "weight polynomial:1000000 is too steep to draw"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_bad_input_is_one_sentence(arguments, says, capsys):
    assert main(["energy", *arguments]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert os.listdir() == []


@pytest.mark.parametrize("path", ["folder.png", "file/energy.png"])
def test_a_picture_that_cannot_be_written_is_one_sentence(path, capsys, tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("in the way")
    assert main(["energy", "linear", "--weight", "linear", "--picture", path]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"mdm-jax: {path.split('/')[0]}")
    assert "cannot be used: " in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""

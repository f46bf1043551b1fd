"""The guides of theory's wings, and of plot: their examples run as they stand there, and their figures are true."""

import math
import re

import jax
import numpy as np
import pytest
from examples import ROOT, example, examples
from matplotlib import pyplot

import mdm_jax
from mdm_jax.theory import energies, schedules

PAGES = {
    path.parent.name: path
    for path in (*(ROOT / "mdm_jax" / "theory").glob("*/README.md"), ROOT / "mdm_jax" / "plot" / "README.md")
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    pyplot.close("all")


def run(page, name, instead=None):
    """What an example defines."""
    names = {}
    with jax.numpy_rank_promotion("allow"):  # a user's setting
        exec(compile(example(name, instead, PAGES[page]), str(PAGES[page]), "exec"), names)
    return names


@pytest.mark.core
def test_every_wing_has_a_guide_with_examples():
    wings = {"energies", "numerics", "plans", "profiles", "schedules"}
    assert set(PAGES) == wings | {"plot"}
    assert {name: list(examples(path.read_text(encoding="utf-8"))) for name, path in sorted(PAGES.items())} == {
        "energies": ["energies", "metrics"],
        "numerics": ["numerics"],
        "plans": ["plans", "grids"],
        "plot": ["pictures"],
        "profiles": ["profiles"],
        "schedules": ["schedules", "your own schedule"],
    }


@pytest.mark.core
def test_links_lead_somewhere():
    for path in (*PAGES.values(), ROOT / "mdm_jax" / "theory" / "README.md"):
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), (path, link)


@pytest.mark.core
@pytest.mark.parametrize("page", ["energies", "plans", "profiles"])
def test_what_the_tables_name_is_there(page):
    face = getattr(mdm_jax, page)
    rows = re.findall(r"^\| (.*) \|$", PAGES[page].read_text(encoding="utf-8"), flags=re.MULTILINE)
    cells = [row.split(" | ")[0 if page == "profiles" else 1] for row in rows]
    names = [name for cell in cells for name in re.findall(r"`([a-z_]+)[^`]*`", cell) if name not in ("profile", "pi")]
    assert len(names) >= 8
    assert [name for name in names if not hasattr(face, name)] == []


@pytest.mark.thorough
def test_schedules(elsewhere):
    names = run("schedules", "schedules")
    assert float(names["schedule"].alpha(names["schedule"].inverse(0.5))) == pytest.approx(0.5, abs=1e-5)
    assert (elsewhere / "schedule.json").exists()
    mine = run("schedules", "your own schedule")["mine"]
    assert mine.name == "Smooth"
    assert float(mine.inverse(0.5)) == pytest.approx(0.5)
    for method in (mine.one_minus_alpha, mine.theta, mine.one_minus_theta):
        assert method(0.5).shape == ()  # an array, whatever alpha makes of a number of Python's


def test_profiles(elsewhere):
    names = run("profiles", "profiles")
    lost = names["profiles"].bounds.factorisation_error(names["profile"], names["plan"].sizes)
    assert f"{float(lost):.2f} nats" in PAGES["profiles"].read_text(encoding="utf-8")
    assert (elsewhere / "profile.json").exists()


@pytest.mark.thorough
def test_energies():
    names = run("energies", "energies", {"10_000": "1_000"})
    assert float(energies.kinetic(schedules.sine(), names["weight"])) / math.pi**2 == pytest.approx(1.1402, abs=5e-5)
    assert float(names["found"].schedule.alpha(0.5)) == pytest.approx(0.5, abs=1e-3)
    assert bool(names["found"].converged)
    names = run("energies", "metrics")
    assert names["plans"].from_schedule(names["best"], 64, 8).sizes.sum() == 64


@pytest.mark.core
def test_the_table_of_energies():
    lines = PAGES["energies"].read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("schedule  "))
    weights = [word for word in lines[start].split()[1:] if word != "under"]
    rows = [line.split() for line in lines[start + 2 : lines.index("```", start)]]
    assert len(rows) == 8
    for name, *shown in rows:
        for weight, figure in zip(weights, shown, strict=True):
            energy = float(energies.kinetic(schedules.parse(name), schedules.parse(weight))) / math.pi**2
            assert figure == ("diverges" if math.isinf(energy) else f"{energy:.4f}")


@pytest.mark.thorough
def test_plans(elsewhere):
    names = run("plans", "plans")
    text, profile, best = PAGES["plans"].read_text(encoding="utf-8"), names["profile"], names["best"]
    assert f"best.sizes  # {' '.join(map(str, best.sizes))}" in text
    lost, even = (
        float(profile.expected_nelbo(plan.sizes)) - profile.nelbo()
        for plan in (best, names["plans"].uniform(128, 8))
    )  # fmt: skip
    assert f"it loses {lost:.2f} nats; eight equal steps lose {even:.2f}" in text
    assert names["found"].landscape.shape == (2, 64, 64)
    assert names["plans"].load("plan.json").sizes.tolist() == best.sizes.tolist()
    names = run("plans", "grids")
    grids = names["grids"]
    assert grids.ancestral_nelbo(names["profile"], names["grid"]) < grids.ancestral_nelbo(
        names["profile"], grids.uniform(8)
    )


@pytest.mark.core
def test_numerics():
    names = run("numerics", "numerics")
    assert float(names["below"] + names["above"]) == pytest.approx(1.0)
    found = names["incomplete_beta_inverse"](0.9, 0.3, names["below"])[0]
    assert float(found) == pytest.approx(0.5, abs=1e-5)
    with pytest.raises(
        Exception, match="gradient with respect to a and b not supported"
    ):  # what the guide says of JAX's own
        jax.grad(jax.scipy.special.betainc)(0.9, 0.3, 0.5)


@pytest.mark.thorough
def test_pictures(elsewhere):
    names = run("plot", "pictures")
    assert (elsewhere / "landscape.png").read_bytes().startswith(b"\x89PNG")
    assert len(pyplot.get_fignums()) == 5
    assert np.asarray(names["out"].tokens).shape == (4, 64)

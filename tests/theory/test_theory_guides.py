"""What the pages of theory's wings say beside their examples (``test_pages`` runs those) is true."""

import math
import re

import jax
import pytest
from page_texts import ROOT

import mdm_jax
from mdm_jax.theory import energies, schedules

PAGES = {path.parent.name: path for path in (ROOT / "mdm_jax" / "theory").glob("*/README.md")}


@pytest.mark.core
@pytest.mark.parametrize("page", ["energies", "plans", "profiles"])
def test_what_the_tables_name_is_there(page):
    face = getattr(mdm_jax, page)
    text = PAGES[page].read_text(encoding="utf-8").partition("## What it promises")[0]
    rows = re.findall(r"^\| (.*) \|$", text, flags=re.MULTILINE)
    cells = [row.split(" | ")[0 if page == "profiles" else 1] for row in rows]
    names = [name for cell in cells for name in re.findall(r"`([a-z_]+)[^`]*`", cell) if name not in ("profile", "pi")]
    assert len(names) >= 8
    assert [name for name in names if not hasattr(face, name)] == []


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


@pytest.mark.core
def test_jax_has_no_slopes_of_the_incomplete_beta_function():
    """What the page on numerics says of JAX's own."""
    with pytest.raises(Exception, match="gradient with respect to a and b not supported"):
        jax.grad(jax.scipy.special.betainc)(0.9, 0.3, 0.5)

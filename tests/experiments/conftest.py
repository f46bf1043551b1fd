"""What tests of the instrument share: a checkout with one experiment that is made up."""

import sys
from pathlib import Path

import pytest
from made_up_experiment import SOURCE, Calls

from experiments.tools.catalogue import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A checkout with one experiment and one module that is none."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "made_up.py").write_text(SOURCE)
    (tmp_path / "experiments" / "helper.py").write_text("def claim(): ...\n")
    return Places(tmp_path)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    module = Calls()
    monkeypatch.setitem(sys.modules, "experiments.made_up", module)
    return module

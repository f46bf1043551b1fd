import subprocess
import sys

import pytest

from mdm_jax.support import progress


@pytest.mark.core
def test_it_counts(capsys):
    with progress.bar(10, "training", "step", start=3) as advance:
        advance(4, loss="1.25")
        advance()
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.strip().splitlines()[-1].split("\r")[-1]
    assert "training" in last
    assert "8/10" in last
    assert "loss=1.25" in last


@pytest.mark.core
def test_silence(capsys):
    with progress.bar(10, "training", "step", show=False) as advance:
        advance(4, loss=1.0)
        advance()
    shown = capsys.readouterr()
    assert shown.out == shown.err == ""


def test_it_is_closed_when_the_work_fails(capsys):
    def work():
        with progress.bar(3, "sampling", "row") as advance:
            advance()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert "1/3" in capsys.readouterr().err
    with progress.bar(2, "again", "row") as advance:
        advance(2)
    assert "2/2" in capsys.readouterr().err


def test_a_log_is_not_flooded(capsys):
    with progress.bar(1000, "training", "step") as advance:
        for _ in range(1000):
            advance()
    # no terminal here: the first line and the last
    assert capsys.readouterr().err.count("\r") <= 4


@pytest.mark.core
def test_within_silence_no_bar_and_no_remark_is_shown(capsys):
    with progress.silence():
        progress.remark("working")
        with progress.silence(False), progress.bar(10, "training", "step") as advance:
            advance(4)
    shown = capsys.readouterr()
    assert shown.out == shown.err == ""
    with progress.silence(False):
        progress.remark("working \x1b[31m")
    assert capsys.readouterr().err == "working \\x1b[31m\n"


NOTEBOOK = """
import sys, types, warnings
warnings.simplefilter("error")
for name in ("ipykernel", "ipykernel.zmqshell", "IPython"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["IPython"].get_ipython = lambda: None
if "widgets" in sys.argv:
    class Widget:
        value = bar_style = ""
        def __init__(self, children=(), **more):
            self.__dict__.update(more, children=list(children), style=types.SimpleNamespace(), layout=self)
    fake = sys.modules["ipywidgets"] = types.ModuleType("ipywidgets")
    fake.HTML = fake.FloatProgress = fake.HBox = Widget
    shown = sys.modules["IPython.display"] = types.ModuleType("IPython.display")
    boxes = []
    shown.display = boxes.append
from mdm_jax.support import progress
with progress.bar(3, "training", "step") as advance:
    for _ in range(3):
        advance()
if "widgets" in sys.argv:
    print("widgets:", [[child.value for child in box.children][:2] for box in boxes], file=sys.stderr)
"""


@pytest.mark.processes
@pytest.mark.core
@pytest.mark.parametrize("widgets", [False, True])
def test_in_a_notebook_bars_are_widgets_where_there_are_any(widgets):
    """And without a word of complaint where there are none."""
    words = [sys.executable, "-c", NOTEBOOK, *(["widgets"] if widgets else [])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    if widgets:
        assert done.stderr.replace("\\u2007", " ") == "widgets: [['training: 100%', 3]]\n"
    else:
        assert "training: 100%" in done.stderr
        assert "3/3" in done.stderr

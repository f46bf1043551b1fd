"""``python -m experiments all``: what it says beforehand, what it leaves out, how it stops and goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_up_experiment import SOURCE, Calls

from experiments.__main__ import main
from experiments.tools.agenda import Agenda, agenda, told
from experiments.tools.catalogue import Places, claims
from experiments.tools.page import page
from experiments.tools.records import read
from experiments.tools.running import terminated_as_interrupted
from experiments.tools.wheels import wheel_of


def test_a_wheel_that_is_missing_is_no_failure(
    places: Places,
    calls: Calls,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A quick run needs neither the wheels nor what a full run alone needs."""
    needs = 'full_needs=("json", "no_such_package"), wheels=("made", "other"))'
    (places.modules / "made_up.py").write_text(SOURCE.replace("seeds=(3,))", needs))
    monkeypatch.setenv("MDM_JAX_WHEELS", str(tmp_path))
    (tmp_path / "made-1.0-py3-none-any.whl").touch()
    assert claims(places)["made_up"].lacks(quick=True) == ""
    lacks = (
        "made_up needs no_such_package (pip install no_such_package); the wheel of other in a folder that "
        "MDM_JAX_WHEELS names (pip download --no-deps -d FOLDER other)"
    )
    assert main(["made_up"], places) == 2
    assert capsys.readouterr().err == f"python -m experiments: {lacks}.\n"
    assert main(["all"], places) == 0
    assert capsys.readouterr().out.startswith(f"not tested: {lacks}\n")
    told = (
        "need more. made_up: json and no_such_package; made_up: the wheels of made and other, in the folder that "
        "`MDM_JAX_WHEELS` names. `pip"
    )
    assert told in " ".join(page(places).split())
    assert main(["made_up", "--quick"], places) == 0
    assert calls.called == ["ten", "the interval"]


def test_the_last_wheel_is_that_of_the_last_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MDM_JAX_WHEELS", str(tmp_path))
    assert wheel_of("made") is None
    for version in ("1.9", "1.10.1", "0.11", "1.10"):
        (tmp_path / f"made-{version}-py3-none-any.whl").touch()
    found = wheel_of("made")
    assert found is not None
    assert found.name == "made-1.10.1-py3-none-any.whl"


def test_all_says_beforehand_what_it_does_and_what_that_takes(places: Places, calls: Calls) -> None:
    """Minutes of the last run, or of the claim, less those of the parts that are finished."""

    def now(**options: bool) -> tuple[Agenda, str]:
        planned = agenda(places, list(claims(places)), **{"quick": False, "again": False} | options)
        return planned, told(planned, options.get("quick", False), 1)

    (places.modules / "another.py").write_text(SOURCE.replace("0.1", "30"))
    both = "to run, one after another, about 30 min of work in all:\n"
    first = "    another: about 30 min (not recorded)\n"
    assert now()[1] == f"{both}{first}    made_up: about 6.0 s (not recorded)"
    calls.stops_at = "the interval"
    assert main(["made_up"], places) == 130
    part = places.folder("made_up", quick=False) / "parts" / "ten.json"
    part.write_text(json.dumps(json.loads(part.read_text()) | {"seconds": 4.0}))
    kept = "    made_up: about 2.0 s (not recorded; parts of 4.0 s are finished and kept)"
    assert now()[1] == f"{both}{first}{kept}"
    assert [one.seconds for one in now(again=True)[0].runs] == [1800, 6]
    calls.stops_at = ""
    assert main(["made_up"], places) == 0
    path = places.results / "made_up.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"wall_seconds": 1800.0}))
    current = "left out, recorded of the present code (--again repeats them):\n    made_up"
    assert now()[1] == f"{both}{first}{current}"
    repeated = "    made_up: about 30 min (recorded, and to be repeated)"
    assert now(again=True)[1] == f"to run, one after another, about 60 min of work in all:\n{first}{repeated}"
    assert now(quick=True)[1] == "to run, one after another, seconds each:\n    another, made_up"
    (places.modules / "made_up.py").write_text(SOURCE.replace("LIMIT = 9", "LIMIT = 8"))
    assert now()[0].runs[1].why == "recorded of an earlier form of the code"
    (places.modules / "another.py").unlink()
    (places.modules / "made_up.py").write_text(SOURCE)
    assert now()[1] == current


def test_a_termination_stops_what_runs_as_ctrl_c_does() -> None:
    """Otherwise what ``all`` has begun would go on alone, beside the same command given again."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminated_as_interrupted():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


GOOD = (
    "from matplotlib.figure import Figure\nfrom experiments.tools.experiment import Claim, Conclusion, Run\n"
    + SOURCE.strip().removeprefix('"""A made-up experiment."""')
    + """
def run(experiment):
    return Run({'ten': experiment.part('ten', lambda: 10)}, Figure())
def conclude(results):
    return Conclusion('holds', 'it is', {'ten': results['ten']}, 'one')
"""
)
"""The made-up experiment as a module that runs in a process of its own."""
EVERYTHING = (sys.executable, "-m", "experiments", "all")


@pytest.fixture
def checkout(places: Places) -> Places:
    """The made-up checkout with the instrument in it."""
    here = Places()
    shutil.copytree(here.modules / "tools", places.modules / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "__main__.py"):
        shutil.copy(here.modules / name, places.modules / name)
    (places.modules / "made_up.py").write_text(GOOD)
    return places


def everything(places: Places) -> subprocess.CompletedProcess[str]:
    """What ``python -m experiments all`` says."""
    return subprocess.run(EVERYTHING, cwd=places.root, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.thorough
@pytest.mark.processes
def test_one_that_fails_stops_no_other(checkout: Places) -> None:
    """Of all, what is recorded of the present code is left out; a failure is told and makes the status 1."""
    (checkout.modules / "a_failure.py").write_text(GOOD.replace("return Run(", "raise ValueError('no ten')  # "))
    first, second = everything(checkout), everything(checkout)
    assert first.returncode == second.returncode == 1
    assert "ValueError: no ten" in first.stderr
    assert "1 of 2 experiments failed: a_failure." in first.stderr
    assert "made_up: holds; " in first.stdout
    assert "left out, recorded of the present code (--again repeats them):\n    made_up\n" in second.stdout
    made = read(checkout, "made_up")
    assert made is not None
    assert made["config"] == {"LIMIT": 9}
    assert read(checkout, "a_failure") is None


@pytest.mark.thorough
@pytest.mark.processes
def test_all_goes_on_where_it_was_terminated(checkout: Places) -> None:
    """Its process is stopped with it, and what that had finished is not done again."""
    slow = """
    if not __import__('pathlib').Path('go on').exists():
        experiment.part('slow', lambda: __import__('time').sleep(100))
    return Run("""
    (checkout.modules / "made_up.py").write_text(
        GOOD.replace("\n    return Run(", "\n    experiment.part('first', lambda: 1)" + slow)
    )
    begun = subprocess.Popen(EVERYTHING, cwd=checkout.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder, ends = checkout.folder("made_up", quick=False), time.monotonic() + 100
    while not (folder / "log.txt").exists() or "slow ..." not in (folder / "log.txt").read_text():
        assert time.monotonic() < ends
        time.sleep(0.1)
    begun.terminate()
    out, err = begun.communicate(timeout=50)
    assert begun.returncode == 130
    assert out.startswith("to run, one after another, about 6.0 s of work in all:\n    made_up: about 6.0 s (not")
    assert err.endswith("stopped; finished parts are kept, and the same command goes on from them.\n")
    assert "stopped; finished parts are kept" in (folder / "log.txt").read_text()
    (checkout.root / "go on").touch()
    second = everything(checkout)
    assert second.returncode == 0
    assert "(not recorded; parts of 0.0 s are finished and kept)" in second.stdout
    assert "made_up: first: finished before" in (folder / "log.txt").read_text()
    assert read(checkout, "made_up") is not None

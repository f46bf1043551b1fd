"""The instrument that runs experiments: parts are kept, records are whole, quick runs leave what is committed alone."""

import json
import subprocess
import sys

import numpy as np
import pytest
from made_up_experiment import SOURCE, Calls

from experiments.__main__ import main
from experiments.tools import recording
from experiments.tools.catalogue import Places, claims, fingerprint
from experiments.tools.experiment import Claim, plain, spoken
from experiments.tools.page import by_paper, page
from experiments.tools.records import read
from experiments.tools.took import Took, now
from mdm_jax.support.errors import InputError


def test_an_experiment_is_a_module_with_a_claim(places: Places) -> None:
    assert list(claims(places)) == ["made_up"]
    claim = claims(places)["made_up"]
    assert (claim.text, claim.source, claim.seeds) == ("ten is more than nine", "ours", (3,))
    (places.modules / "made_up.py").write_text("CLAIM = Claim(f'{1}', source='ours', minutes=1)")
    with pytest.raises(InputError, match=r"CLAIM of made_up\.py must be"):
        claims(places)


def test_a_full_run_writes_a_record_a_picture_and_the_page(
    places: Places, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["made_up"], places) == 0
    assert "verdict: holds\n" in capsys.readouterr().out
    made = read(places, "made_up")
    assert made is not None
    assert made["verdict"] == "holds"
    assert made["figures"] == {"ten": [10.0, 9.5, 10.5]}
    assert made["results"] == {"ten": 10.0, "interval": [9.5, 10.5]}
    assert made["left_out"] == []
    assert made["config"] == {}  # what the module has in upper case; this one has it in its class
    assert made["seeds"] == [3]
    assert set(made["versions"]) == {"mdm_jax", "jax", "flax", "optax", "numpy", "python"}
    assert made["fingerprint"] == fingerprint(places, "made_up")
    assert (places.modules / made["picture"]).read_bytes().startswith(b"\x89PNG")
    assert places.page.read_text() == page(places)
    assert "| **holds** | it is 10.0 *(one number)* |" in page(places)


def test_an_interrupted_run_goes_on_after_its_last_finished_part(
    places: Places, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.stops_at = "the interval"
    assert main(["made_up"], places) == 130
    assert capsys.readouterr().err.endswith(
        "stopped; finished parts are kept, and the same command goes on from them.\n"
    )
    assert read(places, "made_up") is None
    calls.stops_at = ""
    assert main(["made_up"], places) == 0
    assert calls.called == ["ten", "the interval"]
    assert main(["made_up", "--again"], places) == 0
    assert calls.called == ["ten", "the interval"] * 2
    (places.modules / "made_up.py").write_text(SOURCE.replace("LIMIT = 9", "LIMIT = 8"))
    assert main(["made_up"], places) == 0
    assert calls.called == ["ten", "the interval"] * 3


def test_a_record_has_the_processor_time_of_all_its_parts(places: Places, calls: Calls) -> None:
    """Those that an earlier run had finished too; where one of these does not say it, nor does the record."""
    calls.stops_at = "the interval"
    assert main(["made_up"], places) == 130
    calls.stops_at = ""
    part = places.folder("made_up", quick=False) / "parts" / "ten.json"
    kept = json.loads(part.read_text())
    assert 0 <= kept["processor_seconds"] < 60
    part.write_text(json.dumps(kept | {"seconds": 500.0, "processor_seconds": 800.0}))
    assert main(["made_up"], places) == 0
    made = read(places, "made_up")
    assert made is not None
    assert 800 <= made["processor_seconds"] < 860
    assert "(about 8 min, 13 min of processor time); " in page(places)
    del kept["processor_seconds"]
    part.write_text(json.dumps(kept | {"seconds": 500.0}))
    assert main(["made_up"], places) == 0
    made = read(places, "made_up")
    assert made is not None
    assert made["processor_seconds"] is None
    assert "(about 8 min); " in page(places)


@pytest.mark.processes
def test_processor_time_is_that_of_children_too() -> None:
    """One that says itself what it took, most of it by counting."""
    count = "import time; sum(range(10_000_000)); print(time.process_time())"
    begun = now()
    its_own = float(subprocess.run([sys.executable, "-c", count], capture_output=True, check=True).stdout)
    took = now().since(begun)
    assert took.processor is not None
    assert its_own > 0.06
    assert took.processor > its_own - 0.03  # user and system are counted in hundredths of a second
    assert took.plus(Took(1.0, None)) == Took(took.wall + 1, None)


def test_comments_claims_and_docstrings_are_no_part_of_the_fingerprint(places: Places) -> None:
    before = fingerprint(places, "made_up")
    path = places.modules / "made_up.py"
    path.write_text(SOURCE.replace("# of what is claimed", "").replace("A made-up", "An invented").replace("0.1", "2"))
    assert fingerprint(places, "made_up") == before
    path.write_text(SOURCE.replace("LIMIT = 9", "LIMIT = 8"))
    assert fingerprint(places, "made_up") != before


def test_a_quick_run_touches_nothing_that_is_committed(
    places: Places, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(places.modules.rglob("*"))
    assert main(["made_up", "--quick"], places) == 0
    assert "verdict: holds (quick run: not to be quoted)" in capsys.readouterr().out
    assert sorted(places.modules.rglob("*")) == before
    quick = places.root / "runs" / "experiments" / "quick" / "made_up"
    assert sorted(path.name for path in quick.iterdir()) == ["picture.png", "results.json"]
    assert main(["made_up", "--quick"], places) == 0
    assert calls.called == ["ten", "the interval"] * 2  # nothing is kept


def test_large_results_stay_outside_of_git(places: Places, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LARGEST", 100)
    assert main(["made_up"], places) == 0
    made = read(places, "made_up")
    assert made is not None
    assert (made["results"], made["left_out"]) == ({}, ["ten", "interval"])
    assert recording.small({"many": [1] * 50, "one": 1}, 100) == {"results": {"one": 1}, "left_out": ["many"]}
    kept = places.root / "runs" / "experiments" / "made_up" / "results.json"
    assert json.loads(kept.read_text()) == {"ten": 10.0, "interval": [9.5, 10.5]}


def test_an_unknown_name_is_refused_in_one_sentence(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["made-up"], places) == 2
    said = capsys.readouterr().err
    assert said == "python -m experiments: there is no experiment 'made-up'; there are made_up, and all.\n"


def test_one_whose_package_is_missing_is_not_tested(
    places: Places, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends at once, in one sentence that says what to install; among all it is no failure."""
    needs = 'needs={"json": "core", "no_such_package": "made_up"})'
    (places.modules / "made_up.py").write_text(SOURCE.replace("seeds=(3,))", needs))
    lacks = 'made_up needs no_such_package (pip install -e ".[made_up]").\n'
    assert main(["made_up", "--quick"], places) == 2
    assert capsys.readouterr().err == f"python -m experiments: {lacks}"
    assert main(["all"], places) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"not tested: {lacks.removesuffix('.' + chr(10))}\n")
    assert said.err.endswith("1 not tested, since what they need is missing: made_up.\n")
    assert "0 experiments: " in said.out
    assert calls.called == []
    assert read(places, "made_up") is None
    assert "`core` for made_up; `made_up` for made_up." in " ".join(page(places).split())


def test_the_page_tells_which_results_would_be_repeated(places: Places, calls: Calls) -> None:
    assert main(["made_up"], places) == 0
    assert "earlier form" not in page(places)
    path = places.results / "made_up.json"
    converted = json.loads(path.read_text()) | {"fingerprint": None, "wall_seconds": 7200.0}
    del converted["processor_seconds"]  # as in older ones
    path.write_text(json.dumps(converted))
    assert "**1 of the 1 results are of runs of an earlier form" in page(places)
    assert "in about 2.0 hours: made_up." in " ".join(page(places).split())
    assert f"(about 2.0 h); {converted['date']}, commit {converted['commit']};" in page(places)
    told = {"page": "README.md", "commit": "1fe9cc2", "date": "2026-11-22"}
    path.write_text(json.dumps(converted | {"recorded": told}))
    assert ", told in README.md of commit 1fe9cc2; full output not kept; [all" in page(places)


def test_a_record_of_another_form_of_the_code_would_be_repeated(places: Places, calls: Calls) -> None:
    assert main(["made_up"], places) == 0
    path = places.results / "made_up.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "another"}))
    assert "**1 of the 1 results are of runs of an earlier form" in page(places)


def test_claims_stand_by_paper(places: Places, calls: Calls) -> None:
    assert main(["made_up"], places) == 0
    assert "1 claims hold, 0 hold partly, 0 do not." in page(places)
    assert "| ours alone | [made_up](#made_up) |  |  |" in page(places)
    record = {"verdict": "partly"}
    claim = Claim("a", source="arXiv 2509.13866, Figure 1, and arXiv 2510.25544", minutes=1)
    told = by_paper({"one": claim}, {"one": record})
    for paper in ("2509.13866", "2510.25544"):
        assert f"| [{paper}](../mdm_jax/PAPERS.md#{paper}) |  | [one](#one) |  |" in told
    assert "ours alone" not in told


def test_the_list_has_claim_source_cost_and_last_verdict(
    places: Places, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], places) == 0
    assert capsys.readouterr().out == "made_up: not run; about 6.0 s\n    ten is more than nine [ours]\n"
    assert main(["made_up"], places) == 0
    capsys.readouterr()
    assert main([], places) == 0
    assert capsys.readouterr().out.startswith("made_up: holds (20")


def test_a_report_concludes_anew(places: Places, calls: Calls) -> None:
    """Which is no reason to run anything again: the fingerprint is of what determines the results."""
    assert main(["made_up"], places) == 0
    before = fingerprint(places, "made_up")
    (places.modules / "made_up.py").write_text(SOURCE + "def conclude(results): ...\n")
    calls.LIMIT = 11
    assert main(["report"], places) == 0
    made = read(places, "made_up")
    assert made is not None
    assert (made["verdict"], made["figures"]) == ("does not", {"ten": [10.0, 9.5, 10.5]})
    assert "| **does not** | it is 10.0 *(" in places.page.read_text()
    assert fingerprint(places, "made_up") == before


def test_figures_are_numbers_in_their_intervals() -> None:
    assert recording.checked({"a": np.float32(0.5), "b": (2, 1, 3)}) == {"a": 0.5, "b": [2, 1, 3]}
    for wrong in (float("nan"), "1", [1, 2], [4, 1, 3], True):
        with pytest.raises(InputError, match="the figure 'a' must be a number or"):
            recording.checked({"a": wrong})


def test_results_become_json() -> None:
    tree = {1: np.arange(2), "x": (np.float32(1), float("inf")), "y": {"z": np.bool_(True)}, "w": None}
    assert plain(tree) == {"1": [0, 1], "x": [1.0, None], "y": {"z": True}, "w": None}
    with pytest.raises(InputError, match="must be numbers, text, lists or objects; got set"):
        plain({"a": {1}})


def test_durations_are_spoken() -> None:
    assert [spoken(x) for x in (0.44, 75, 700, 9000)] == ["0.4 s", "75 s", "12 min", "2.5 h"]

"""What ``tune`` says beside its table: advantages and who judged them, the offset, certificates, the next door."""

import json

import numpy as np
import pytest

import mdm_jax as mdm
from mdm_jax.app.cli import main
from mdm_jax.app.report import told
from mdm_jax.app.work import tuning
from mdm_jax.theory import profiles

URN = mdm.oracles.polya(12, 0.5)
FEW = ["--budgets", "3", "--grid", "8"]


@pytest.fixture(scope="module")
def measured():
    """The profile of an urn by 40 of its rows, with their shares."""
    rows = np.asarray(URN.sample(mdm.key(0), 40))
    return mdm.estimate_profile(URN.denoiser, URN.params, rows, 480, key=mdm.key(1))


def printed(capsys, arguments):
    assert main(list(map(str, arguments))) == 0
    return capsys.readouterr().out


def test_of_an_exact_profile_differences_are_exact(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = printed(capsys, ["tune", "oracle:polya:0.5,12", "--output", "urn", *FEW])
    assert "The profile is exact, and so is this." in said
    assert "At 3 steps the best plan saves " in said
    assert " to " not in said.partition("At 3 steps")[2].partition(" over ")[0]
    assert "With probability" not in said
    assert "Which door? The optimal plan" in said
    result = json.loads((tmp_path / "urn" / "tuning.json").read_text())
    exact = profiles.from_values(URN.entropies())
    costs = {entry["role"]: entry["expected_nelbo_nats"] for entry in result["budgets"][0]["plans"]}
    for one in result["advantages"]:
        assert one["judged_on"] == "exact profile"
        assert one["rows"] is None
        assert one["low"] == pytest.approx(one["high"])
        assert one["nats"] == pytest.approx(costs[one["role"]] - costs["optimal"], abs=1e-9)
    assert costs["optimal"] == pytest.approx(float(exact.expected_nelbo(mdm.plans.optimal(exact, 3).sizes)))


def test_a_profile_file_judges_by_its_own_sequences(tmp_path, capsys, measured):
    measured.save(tmp_path / "urn.json")
    said = printed(capsys, ["tune", tmp_path / "urn.json", *FEW])
    result = json.loads((tmp_path / "urn" / "tuning.json").read_text())
    assert result["check"] is None
    assert {one["judged_on"] for one in result["advantages"]} == {"cross-fitted"}
    assert "Cross-fitted: each part of the 40 sequences judges what the others chose" in said
    assert "With probability .95 each, the plan of 3 steps costs at most " in said
    assert "Which door? " in said
    for line in mdm.evaluation.told_of_advantages(result):
        assert line in said


def test_without_shares_nothing_is_said_of_advantages_but_how_to_get_them(tmp_path, capsys, measured):
    bare = profiles.Profile(measured.length, measured.counts, measured.means, measured.covariance, measured.provenance)
    bare.save(tmp_path / "bare.json")
    said = printed(capsys, ["tune", tmp_path / "bare.json", *FEW])
    assert "Nothing is said of what plans save" in said
    assert "Measure it anew with: mdm-jax profile RUN" in said
    assert "plan saves" not in said
    assert json.loads((tmp_path / "bare" / "tuning.json").read_text())["advantages"] is None


def test_the_offset_and_certificates_are_sentences():
    check = {"rows": 64, "judged_on": "test half", "offset_nats": 2.0, "offset_standard_error": 1.0}
    result = {"length": 128, "check": check, "budgets": [{"steps": 1, "certificate": None}]}
    assert told.told_of_offset(result).startswith("The test half costs 0.023 ± 0.011 bits per token more than")
    assert told.told_of_offset({"length": 128, "check": None}) is None
    assert told.told_of_certificates(result) == []
    bounds = {"level": 0.9, "regret_nats": 0.0, "excess_nats": 128 * np.log(2)}
    one = told.told_of_certificates({"length": 128, "budgets": [{"steps": 1, "certificate": bounds}]})
    assert one == [
        "With probability .9 each, the plan of 1 step costs at most 0.000 bits per token more than the best plan of 1 "
        "step, and at most 1.000 more than one token per step."
    ]
    bounds |= {"regret_nats": 1.0, "regret_nats_at_once": 1.5, "excess_nats_at_once": 1.2 * 128 * np.log(2)}
    last = told.told_of_certificates({"length": 128, "budgets": [{"steps": 1, "certificate": bounds}]})[-1]
    assert last == "All 2 bounds hold at once, with that probability, where each is 1.50 times as large."
    bounds["regret_nats"] = 0.0  # of which no multiple is 1.5
    assert len(told.told_of_certificates({"length": 128, "budgets": [{"steps": 1, "certificate": bounds}]})) == 1
    assert told.told_of_certificates({"length": 1, "budgets": [{"steps": 1, "certificate": bounds}]}) == []


def test_brackets_are_spoken_of_where_there_are_some():
    one = {"rows": 64, "judged_on": "test half", "low": 0.2, "high": 1.8}
    chose = "Judged by 64 rows of the test half, which chose nothing; "
    assert told.told_of_basis({"advantages": [one]}) == f"{chose}in brackets intervals of 95%, each by itself."
    assert told.told_of_basis({"advantages": [one | {"low": -0.2}]}) == f"{chose}by intervals of 95%, each by itself."


def test_described_without_a_run_or_a_check(measured):
    result = mdm.tune(measured, [3], grid=8).result
    text = tuning.describe(result)
    assert "z apart" not in text
    assert "Nothing is said of what plans save" in text

"""``mdm-jax card``: what is asked for and refused, what is written and printed, and what its sentences say."""

import json
import math
import shutil
from typing import Any

import numpy as np
import pytest

from mdm_jax import models
from mdm_jax.app.cli import main
from mdm_jax.app.options.cards import not_for_cards, passes_of, refuse_card
from mdm_jax.app.report import carded, run_files
from mdm_jax.app.work import carding
from mdm_jax.app.work.doors import door_hint
from mdm_jax.evaluation.cards.families import DIGITS
from mdm_jax.evaluation.cards.making import LEAST
from mdm_jax.support.errors import InputError
from mdm_jax.tasks.notations.notation import Numbers
from mdm_jax.tasks.rows import RowsTask
from mdm_jax.theory import profiles
from mdm_jax.training import HybridNoise, LatentSurrogate, MaskedNelbo, Run, RunDirectory, Settings

BITS = 1 / math.log(2)
PASSES = (4, 8)
ABOVE = {"best Beta": 0.001, "threshold": 0.05, "entropy bound": 0.08, "margin, equal sizes": -0.03}


def made_up(exact=False, hindsight=None, scored=()):
    """The content of a ``card.json`` whose figures are known: nats per token above 1 + 1 / passes."""
    width = DIGITS if exact else 0.01
    families = {"optimal plan": 0.0, **ABOVE}
    return {
        "format": "mdm_jax card 1", "length": 16, "passes": list(PASSES), "profile_digest": "p", "exact": exact,
        "rows": {"chosen_on": 4, "judged_on": 40}, "run_step": 3, "scored": list(scored),
        "score": {"name": "score of ours", "lower_is_better": True, "own_score": None},
        "families": [
            {"name": name, "kind": "plan" if name in ("optimal plan", "best Beta") else "rule", "points": [
                {"asked": steps, "setting": f"setting {steps}", "passes": steps + 0.5,
                 "cost_nats": 1 + 1 / steps + above, "low": 1 + 1 / steps + above - width,
                 "high": 1 + 1 / steps + above + width} for steps in PASSES
            ]} for name, above in families.items()
        ],
        "comparisons": [
            {"passes": steps, "taken": steps + 0.5, "family": name, "over": "optimal plan", "nats": above,
             "low": above - width, "high": above + width, "hindsight_loss_nats": hindsight}
            for steps in PASSES for name, above in ABOVE.items()
        ],
    }  # fmt: skip


@pytest.mark.core
def test_sentences_say_what_costs_less_what_is_not_seen_to_differ_and_what_costs_more():
    sentences = carded.told(made_up())
    said = (
        "passes the margin order with equal sizes costs 0.043 (0.029 to 0.058) bits per token less than the optimal "
        "plan; a threshold costs 0.072 (0.058 to 0.087) bits per token more than the optimal plan; no difference seen: "
        "the best Beta schedule; all others cost more."
    )
    assert sentences == [f"At 4 {said}", f"At 8 {said}"]
    assert (round(0.05 * BITS, 3), round(-0.03 * BITS, 3)) == (0.072, -0.043)


@pytest.mark.core
def test_of_what_costs_more_the_nearest_rule_is_named_unless_a_rule_does_as_well():
    card = made_up()
    card["comparisons"] = [{**one, "low": one["nats"] - 1e-4} for one in card["comparisons"] if one["nats"] > 0]
    assert "a threshold costs 0.072" in carded.told(card)[0]  # the best Beta is nearer, but no rule
    card["comparisons"] = [{**one, "low": -1.0} if one["family"] == "threshold" else one for one in card["comparisons"]]
    assert "the best Beta schedule costs 0.001" in carded.told(card)[0]
    assert "no difference seen: a threshold; all others cost more." in carded.told(card)[0]


@pytest.mark.core
def test_exact_costs_have_no_intervals_and_equal_ones_do_not_differ():
    card = made_up(exact=True)
    for one in card["comparisons"]:
        nats = -1e-9  # as rounding leaves it
        one |= {"nats": nats, "low": nats - DIGITS, "high": nats + DIGITS} if one["family"] == "best Beta" else {}
    told = carded.told(card)[0]
    assert "costs 0.0433 bits per token less" in told
    assert "no difference: the best Beta schedule;" in told
    assert " to " not in carding.describe(card)
    assert "-0.0000" not in carding.describe(card)
    assert "+0.0000" in carding.describe(card)
    assert "over all 40 rows that there are" in carding.describe(card)


@pytest.mark.core
def test_the_table_has_every_family_at_every_number_of_passes_in_bits():
    lines = carding.describe(made_up(hindsight=0.002)).splitlines()
    rows = [line for line in lines if line.startswith(("4 passes", "8 passes"))]
    assert len(rows) == len(PASSES) * (1 + len(ABOVE))
    cost, apart = (1 + 1 / 8 + 0.05) * BITS, 0.05 * BITS
    row = next(line for line in rows if line.startswith("8 passes") and "threshold" in line)
    assert f"setting 8    8.5  {cost:.4f} (" in row
    assert f"{apart:+.4f} (+" in row
    assert "chosen on 4 rows and judged on 40 rows of the test half" in "\n".join(lines)
    assert f"cost at most {0.002 * BITS:.4f} bits per token more" in "\n".join(lines)
    assert carded.CAUTION in lines
    assert carded.told_of_choosing(made_up()) is None


@pytest.mark.core
def test_the_second_table_is_by_score():
    point = {"setting": "4 steps", "passes": 4.0, "samples": 8,
             "scores": {"score of ours": {"mean": 0.5, "low": 0.25, "high": 0.75}}}  # fmt: skip
    told = carding.describe(made_up(scored=[{"name": "remasking", "kind": "sampler", "points": [point]}]))
    assert "remasking  4 steps    4.0  0.500 (0.250 to 0.750)" in told
    assert "score of ours: lower is better" in told
    assert "8 samples of each" in told


@pytest.mark.core
def test_which_passes_can_be_asked_for():
    assert passes_of(None, 128) == [4, 8, 16, 32]
    assert passes_of(None, 5) == [4]
    assert passes_of(None, 3) == [1]
    assert passes_of("8, 2,8", 16) == [2, 8]
    assert passes_of(None, 64, block=16) == [4, 8, 16, 32]
    assert passes_of(None, 96, block=2) == [48]
    for text, length, block in (("0", 8, None), ("9", 8, None), ("x", 8, None), ("2.5", 8, None), ("6", 16, 4)):
        with pytest.raises(InputError, match=r"^--passes must be "):
            passes_of(text, length, block)


def run_of(place, denoiser, objective=None, **description):
    """What a run says of itself, without any training."""
    told = {"format": "mdm_jax run 1", "task": {}, "settings": {}, "objective": (objective or MaskedNelbo()).describe()}
    place.mkdir()
    (place / "config.json").write_text(json.dumps(told))
    return Run(denoiser, None, RunDirectory(place), Settings(length=8), 1, {"length": 8, **description})


SMALL: Any = {"length": 8, "width": 16, "depth": 1, "heads": 2}


@pytest.mark.core
@pytest.mark.parametrize(
    ("about", "said"),
    [
        ((models.latent_transformer(3, latent_size=2, **SMALL), LatentSurrogate()), "with a latent"),
        ((models.transformer(3, **SMALL), HybridNoise(uniform=0.1)), "under hybrid noise"),
        ((models.transformer(3, ragged=True, **SMALL), None, [0, 1, 0, 0, 0, 0, 0, 0, 3]), "different lengths"),
        ((models.transformer(3, classes=2, **SMALL),), "its rows have labels"),
        ((models.block_causal(3, block=3, **SMALL),), "not whole blocks of 3"),
    ],
    ids=["latents", "hybrid noise", "lengths", "labels", "blocks"],
)
def test_of_some_runs_there_is_no_card_and_the_hint_leads_elsewhere(about, said, tmp_path):
    denoiser, objective, lengths = (*about, None, None)[:3]
    run = run_of(tmp_path / "run", denoiser, objective, **({} if lengths is None else {"lengths": lengths}))
    assert said in not_for_cards(run)
    assert f"mdm-jax evaluate {tmp_path / 'run'} linear" in door_hint({"advantages": []}, run)
    assert "mdm-jax card" not in door_hint({"advantages": []}, run)


@pytest.mark.core
def test_of_a_run_whose_rows_are_given_in_part_there_is_none(tmp_path):
    rows = np.zeros((20, 8), np.int32)
    given = np.broadcast_to(np.arange(8) % 3 == 1, rows.shape)
    task = RowsTask("rows", Numbers(3), rows, rows, rows, digest="", prompts=(given,) * 3)
    run = run_of(tmp_path / "run", models.any_order(3, **SMALL))
    vars(run)["task"] = task  # as if restored
    with pytest.raises(InputError, match="can have no card: parts of its rows are given as prompts, and a card is of "):
        refuse_card(run)


@pytest.mark.core
def test_of_other_runs_there_is_and_the_hint_says_which_plan_by_what_was_judged(tmp_path):
    run = run_of(tmp_path / "run", models.any_order(3, **SMALL))
    assert not_for_cards(run) is None

    def hint(*lows):
        judged = [{"steps": at, "over": "sine", "low": low, "high": low + 1} for at, low in zip((4, 8, 16), lows)]
        return door_hint({"advantages": judged}, run)

    assert hint(0.1, 0.2, -0.1).startswith(
        "Which door? The optimal plan at 4 and 8 steps; at others any plan of as many steps"
    )
    assert hint(0.1, 0.2).startswith("Which door? The optimal plan. ")
    assert hint(-0.1, -0.2).startswith(
        "Which door? Of plans of as many steps any will do: no difference between them was seen. "
    )
    better = "Which door? At 8 steps sine, which was seen to cost less than the optimal plan. "
    assert hint(0.1, -2.0).startswith(better)
    assert hint().startswith("Which door? The optimal plan; what it saves has not been judged.")
    assert hint().endswith(f"mdm-jax card {tmp_path / 'run'}")


@pytest.mark.core
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere is neither a run directory nor an oracle: there is no such folder."),
        (["oracle:urn"], "oracle must be one of "),
        (["oracle:toy_left", "--passes", "9"], "--passes must be numbers of model calls from 1 to 5; got '9'."),
        (["oracle:toy_left", "--samples", "4"], "--samples needs a run: an oracle has no score."),
        (["oracle:toy_left", "--rows", "1"], "--rows must be from 2 (for an interval) to 100,000; got 1."),
        (["RUN", "--samples", "1"], "--samples must be 0 (no scores), or from 2 to 100,000; got 1."),
        (["RUN", "--score", "my:score"], "--score must be given beside --samples: it is of samples; got 'my:score'."),
        (["RUN", "--passes", "17"], "--passes must be numbers of model calls from 1 to 16; got '17'."),
        (["RUN", "--seed", "-1"], "--seed must be from 0 to 2^31 - 1; got -1."),
        (["UNTRAINED"], "has no checkpoint"),
        (["UNMEASURED"], "mdm-jax profile "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_in_one_sentence(words, said, trained, tmp_path, capsys):
    untrained, unmeasured = tmp_path / "untrained", tmp_path / "unmeasured"
    shutil.copytree(trained, unmeasured)
    (unmeasured / "profile.json").unlink()
    untrained.mkdir()
    shutil.copy(trained / "config.json", untrained)
    names = {"RUN": trained, "UNTRAINED": untrained, "UNMEASURED": unmeasured}
    assert main(["card", *(str(names.get(word, word)) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert said in err
    assert not list(tmp_path.rglob("card.*"))


@pytest.mark.thorough
def test_a_run_has_a_card_in_its_folder_and_the_report_shows_it(trained, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    words = ["card", str(run), "--passes", "2,4", "--rows", "16", "--samples", "4", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((run / "card.json").read_text())
    assert (run / "card.png").stat().st_size > 10_000
    assert found["passes"] == [2, 4]
    assert found["rows"] == {"chosen_on": LEAST, "judged_on": 16}
    profile = run_files.read(RunDirectory(run)).profile
    assert profile is not None
    assert found["profile_digest"] == profile.digest
    families = {family["name"]: family for family in found["families"]}
    assert {"optimal plan", "threshold", "entropy bound", "margin, equal sizes"} <= set(families)
    for family in found["families"]:  # a token costs at most what knows nothing of it pays
        assert all(0 < point["low"] <= point["cost_nats"] <= point["high"] for point in family["points"])
    compared = [one for one in found["comparisons"] if one["family"] == "equal sizes" and one["passes"] == 4]
    costs = {name: families[name]["points"][1]["cost_nats"] for name in ("optimal plan", "equal sizes")}
    if families["optimal plan"]["points"][1]["passes"] == 4:
        np.testing.assert_allclose(compared[0]["nats"], costs["equal sizes"] - costs["optimal plan"], atol=1e-9)
    assert {family["name"] for family in found["scored"]} >= {"remasking", "optimal plan"}
    assert main([*words[:-1], "--quiet"]) == 0  # the same again, as a table
    told = capsys.readouterr().out
    assert told.count("4 passes") >= len(families)
    assert found["score"]["name"] in told
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert 'id="card"' in page
    assert all(sentence.replace("'", "&#x27;") in page for sentence in carded.told(found))


@pytest.mark.thorough
def test_an_oracle_has_one_of_all_its_rows_or_of_rows_drawn(tmp_path, capsys):
    words = ["card", "oracle:toy_left", "--passes", "2", "--output", str(tmp_path / "law"), "--json"]
    assert main(words) == 0
    exact = json.loads(capsys.readouterr().out)
    assert exact["exact"]
    shown = carding.describe(exact)
    assert " to " not in shown
    assert "-0.0000" not in shown
    cost = {family["name"]: family["points"][0]["cost_nats"] for family in exact["families"]}
    # Five equal tokens: one alone, then the others at once, costs a bit in all; two tokens in the first step, two bits.
    np.testing.assert_allclose(cost["optimal plan"] * 5 * BITS, 1.0, atol=1e-6)
    np.testing.assert_allclose(cost["threshold"] * 5 * BITS, 1.0, atol=1e-6)
    assert (tmp_path / "law" / "card.png").exists()
    assert (
        main(["card", "oracle:polya:0.5,24", "--passes", "4", "--rows", "24", "--output", str(tmp_path / "urn")]) == 0
    )
    told = capsys.readouterr().out
    assert "judged on 24 drawn rows" in told


@pytest.mark.core
def test_a_file_that_is_no_card_is_refused_and_an_old_one_is_said_to_be_old(tmp_path):
    newer = profiles.from_values(np.ones(16))
    files = run_files.RunFiles(RunDirectory(tmp_path), {}, [], None, newer, None, None)
    assert carded.section(files) == ""
    for wrong in (
        [],
        {"format": "mdm_jax card 1"},
        {**made_up(), "families": [{"name": 3}]},
        {**made_up(), "format": "x"},
    ):
        (tmp_path / "card.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match="is not a card: "):
            carded.section(files)
    foreign = made_up()
    foreign["families"][0]["points"][0]["setting"] = "<script>"
    (tmp_path / "card.json").write_text(json.dumps(foreign))
    section = carded.section(files)
    assert "The profile has changed since" in section
    assert "<script" not in section
    assert f"{(1 + 1 / 4) * BITS:.3f}<br><small>&lt;script&gt;" in section

"""``mdm-jax tune RUN --order``: what it writes and prints, what ``sample`` makes of it, and what is refused."""

import contextlib
import html
import io
import json
import re
import shutil

import numpy as np
import pytest

import mdm_jax
from mdm_jax.app.cli import main
from mdm_jax.app.report import writing as report
from mdm_jax.app.work import tuning_by_order
from mdm_jax.evaluation.order_tuning import MEASURES
from mdm_jax.sampling import forced_log_prob, rules
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_json
from mdm_jax.support.keys import key_of
from mdm_jax.theory import plans, profiles
from mdm_jax.training import RunDirectory

ORDER = ["--order", "margin"]
WORDS = [*ORDER, "--budgets", "4,8", "--check-rows", "16"]


@pytest.fixture(scope="module")
def tuned(trained, tmp_path_factory):
    """A run whose profile has a slope, and plans by the command."""
    directory = RunDirectory(tmp_path_factory.mktemp("orders") / "my run")
    shutil.copytree(trained, directory.path)
    slope = profiles.from_values(np.linspace(3.0, 0.5, 16) ** 2, profiles.load(directory.profile).provenance)
    slope.save(directory.profile)
    return directory


@pytest.fixture(scope="module")
def told(tuned):
    """What the command prints, and the same as JSON; its plans are there then."""
    printed = []
    for more in ([], ["--json"]):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert main(["tune", str(tuned.path), *WORDS, *more]) == 0
        printed.append(out.getvalue())
    return printed[0], json.loads(printed[1])


@pytest.fixture
def copy(tuned, told, tmp_path):
    shutil.copytree(tuned.path, tmp_path / "my run")
    return RunDirectory(tmp_path / "my run")


def said(capsys, *words):
    capsys.readouterr()
    assert main(list(map(str, words))) == 0
    return capsys.readouterr()


def test_each_plan_file_holds_the_cheapest_of_its_shortlist_and_what_made_it(tuned, told):
    """Costs of the command against those that the run's own model is asked for anew, on all rows at once."""
    _, result = told
    run = mdm_jax.load(tuned.path)
    rows = np.asarray(run.task.validation)
    few = rows[np.linspace(0, len(rows) - 1, min(64, len(rows))).round().astype(int)]
    for one in result["budgets"]:
        for entry in one["shortlist"]:
            rule = rules.surest(plans.Plan(np.array(entry["sizes"]), "t"), MEASURES["margin"])
            found = forced_log_prob(run.denoiser, run.params, few, rule, key=key_of(0))
            assert entry["nats"] == pytest.approx(-float(np.mean(found.log_prob)) / 16, rel=1e-5)
        least = min(entry["nats"] for entry in one["shortlist"])
        plan = plans.load(tuned.plan("margin", one["steps"]))
        assert plan.sizes.tolist() == one["plan"]["sizes"]
        assert one["validation"] == pytest.approx(least, rel=1e-6)
        assert plan.origin["nats_per_token"] == one["validation"]
        assert (plan.origin["rule"], plan.origin["run"]) == ("margin", run.identity)
        assert plan.origin["chosen_from"] == len(one["shortlist"])
    assert result["rows"] == {"chosen_on": len(few), "judged_on": 16}


def test_the_table_has_the_figures_and_says_where_no_difference_is_seen(tuned, told):
    text, result = told
    for one, line in zip(result["budgets"], text.splitlines()[2:4], strict=True):
        assert line.startswith(f"{one['steps']} steps")
        assert f"{one['validation'] / np.log(2):.4f}" in line
        assert f"{one['test']['mean'] / np.log(2):.4f}" in line
        unseen = sum(not rival["same_plan"] and rival["low"] <= 0 <= rival["high"] for rival in one["above"])
        assert line.count("none seen (") == unseen
        assert line.count("the same plan") == sum(rival["same_plan"] for rival in one["above"])
    calls = result["calls"]
    assert f"Model calls, summed over rows: {calls['choosing']:,} to choose, {calls['judging']:,} to judge." in text
    assert f"where mdm-jax sample '{tuned.path}' --order margin --steps 8 finds them." in text


def test_differences_in_words():
    rival = {"rival": "equal steps", "same_plan": False, "mean": -0.1, "low": -0.2, "high": -0.05}
    assert tuning_by_order._difference(rival) == "-0.1443 (-0.2885 to -0.0721)"
    assert tuning_by_order._difference(rival | {"high": 0.0}) == "none seen (-0.2885 to +0.0000)"
    assert tuning_by_order._difference(rival | {"same_plan": True}) == "the same plan"


def test_sample_takes_the_plan_of_its_order_and_no_other(copy, capsys):
    path, other = copy.plan("margin", 4), [1, 2, 3, 10]
    plan = json.loads(path.read_text())
    cost = float(profiles.load(copy.profile).expected_nelbo(np.array(other)))
    write_json(path, plan | {"sizes": other, "name": "mine", "origin": plan["origin"] | {"expected_nelbo_nats": cost}})
    asked = "sample", copy.path, "--rows", 1, "--steps", 4
    first = said(capsys, *asked, *ORDER).out.splitlines()[0]
    assert first == "surest by margin, plan mine (plans/margin-4.json), 4 steps"
    drawn = json.loads(said(capsys, *asked, *ORDER, "--json").out)
    assert np.bincount(drawn["samples"][0]["reveal_step"]).tolist() == other
    for words in ([], ["--order", "probability"], ["--preset", "best"]):
        assert "plans/margin" not in said(capsys, *asked, *words).out
    write_json(path, plan | {"sizes": other})
    assert main(["sample", str(copy.path), "--steps", "4", *ORDER]) == 2
    assert capsys.readouterr().err.startswith(f"mdm-jax: {path} is not the plan that mdm-jax tune writes there")


def test_a_plan_of_an_older_profile_gives_way_and_that_is_said(copy, capsys):
    profiles.from_values(np.linspace(3.0, 2.9, 16), profiles.load(copy.profile).provenance).save(copy.profile)
    out, err = said(capsys, "sample", copy.path, "--rows", 1, "--steps", 4, *ORDER)
    assert "plan optimal (computed from profile.json)" in out
    assert f"mdm-jax tune '{copy.path}' --order margin makes the files anew" in err


def test_the_report_has_what_the_command_printed(copy, told):
    result = told[1]
    page = report.render(copy)
    start = page.index("In an order that looks")
    rows = re.findall(r"<tr><td>margin</td>.*?</tr>", page[start:])
    assert len(rows) == len(result["budgets"])
    for one, row in zip(result["budgets"], rows, strict=True):
        cells = [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
        assert cells[:4] == ["margin", str(one["steps"]), one["plan"]["name"], "16"]
        assert cells[4].startswith(f"{one['test']['mean'] / np.log(2):.4f} (")
        for rival, cell in zip(one["above"], cells[5:], strict=True):
            unseen = "none seen: " if rival["low"] <= 0 <= rival["high"] else ""
            mean = f"{rival['mean'] / np.log(2):+.4f}".replace("-", "\N{MINUS SIGN}")
            assert cell == "the same plan" if rival["same_plan"] else cell.startswith(unseen + mean)
    assert "nothing takes these any more" not in page
    taken = f"mdm-jax sample '{copy.path}' --order margin --steps 4</code> takes the first."
    assert taken in html.unescape(page)
    profiles.from_values(np.linspace(3.0, 2.9, 16), profiles.load(copy.profile).provenance).save(copy.profile)
    page = html.unescape(report.render(copy))
    assert "nothing takes these any more: <code>margin-4.json</code>, <code>margin-8.json</code>. <code>" in page
    assert f"mdm-jax tune '{copy.path}' --order margin</code> makes them anew." in page
    assert "takes the first" not in page


def test_the_report_shows_no_plan_that_nobody_judged_and_refuses_a_damaged_one(copy):
    path = copy.plan("margin", 4)
    plan = json.loads(path.read_text())
    judged = plan["origin"].pop("judged")
    write_json(path, plan)
    assert report.render(copy).count("<tr><td>margin</td>") == 1
    write_json(path, plan | {"origin": plan["origin"] | {"judged": judged | {"rows": "many"}}})
    with pytest.raises(InputError, match=f"{path} is not a plan of mdm-jax tune --order: judged.rows must be a whole"):
        report.render(copy)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["--grid", "8"], "--grid cannot be given beside --order"),
        (["--by-law", "kl"], "--by-law cannot be given beside --order"),
        (["--check-rows", "1"], "--check-rows must be 2 or more beside --order, for an interval; got 1."),
        (["--budgets", "40"], "--budgets must be numbers of steps from 1 to 16"),
    ],
)
def test_what_does_nothing_or_cannot_be_is_refused(words, start, tuned, capsys):
    capsys.readouterr()
    assert main(["tune", str(tuned.path), *ORDER, *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"mdm-jax: {start}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("source", ["oracle:polya:0.5,8", "profile.json", "nowhere"])
def test_it_needs_a_run(source, tuned, capsys):
    source = str(tuned.profile) if source == "profile.json" else source
    assert main(["tune", source, *ORDER]) == 2
    assert capsys.readouterr().err == (
        f"mdm-jax: --order needs a run directory, whose rows are measured in that order; got {source}.\n"
    )

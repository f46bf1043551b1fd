import functools
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax.app.report import gallery, page, run_files, style
from mdm_jax.app.report import writing as report
from mdm_jax.plot import charts, cost_landscapes, drawing, report_charts
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_json
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.schedules import text as schedule_text
from mdm_jax.training.runs import RunDirectory

LENGTH = 128
STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
TEXT = """The "if" statement is used for conditional execution:

   if_stmt ::= "if" assignment_expression ":" suite
               ("elif" assignment_expression ":" suite)*
It selects exactly one of the suites by evaluating the expressions one by one until one is found to be true."""
COMMANDS = {
    "log.jsonl": "train",
    "held_out.json": "profile",
    "profile.json": "profile",
    "tuning.json": "tune",
    "samples.json": "sample",
}


def measured_profile():
    """A profile as training on text gives one: a steep fall, then a long slope, measured at some counts with errors."""
    counts = np.unique(np.rint(np.concatenate([np.arange(8), np.geomspace(8, LENGTH - 1, 20)])).astype(int))
    means = 0.9 + 1.5 * np.exp(-counts / 18) + 0.75 * (1 - counts / LENGTH)
    spread = 0.022 * np.sqrt(means)
    covariance = np.outer(spread, spread) * (0.3 + 0.7 * np.eye(len(counts)))
    means = means + 0.5 * np.random.default_rng(1).normal(size=len(counts)) * spread
    return profiles.Profile(LENGTH, counts, means, covariance, {"rows": 182, "seed": 0})


def cost(profile, plan):
    return float(profile.expected_nelbo(plan.sizes[None])[0])


def spread(profile, plan):
    return float(profile.standard_error(plan.sizes[None])[0])


@functools.cache
def hand_crafted():
    """The plans of every hand-crafted schedule, from its values at the finest knots: one shape for JAX to compile."""
    made = {}
    for name in schedule_text.HAND_CRAFTED:
        alpha = np.asarray(schedule_text.parse(name).alpha(jnp.linspace(0.0, 1.0, LENGTH + 1)), dtype=np.float64)
        sizes = [plans.round_sizes(alpha[:: LENGTH // k], LENGTH) for k in STEPS]
        made[name] = [plans.Plan(each[each > 0], name=name, origin={"rule": "schedule"}) for each in sizes]
    return made


def tuning_of(profile, budgets):
    best = plans.optimal_for_every_budget(profile)
    steps, crafted = list(STEPS), hand_crafted()
    few = [schedules.beta(a, b) for a in (0.3, 0.5, 0.7, 0.9, 1.0) for b in (0.3, 0.5, 0.7, 0.9, 1.0)]
    tried = [[plans.from_schedule(schedule, LENGTH, k) for schedule in few] for k in steps]
    betas = [min(made, key=lambda plan: cost(profile, plan)) for made in tried]
    families = {"optimal": [float(best.nelbo[k - 1]) for k in steps]}
    for name, made in {"best beta": betas, **crafted}.items():
        families[name] = [cost(profile, plan) for plan in made]
    generator = np.random.default_rng(2)

    def entry(role, plan):
        expected, error = cost(profile, plan), spread(profile, plan)
        z, sampling = float(generator.normal()), 5.0
        checked = {
            "rows": 64,
            "nelbo_nats": expected + z * float(np.hypot(sampling, error)),
            "standard_error": sampling,
            "apart_nats": 0.1 * z,
            "apart_standard_error": 0.1,
            "z": z,
        }
        return {
            "role": role, "plan": plan.to_json(), "expected_nelbo_nats": expected, "standard_error": error,
            "checked": checked if plan.steps < 32 else None,
        }  # fmt: skip

    made, judged = [], []
    for k in budgets:
        i = steps.index(k)
        hand = min((crafted[name][i] for name in crafted), key=lambda plan: cost(profile, plan))
        named = {"optimal": best.plan(k), "best beta": betas[i], "best hand-crafted": hand}
        bounds = {"level": 0.95, "regret_nats": 8.0 / k, "excess_nats": 200.0 / k}
        made.append({"steps": k, "plans": [entry(role, plan) for role, plan in named.items()], "certificate": bounds})
        for role in ("best beta", "best hand-crafted"):
            nats = cost(profile, named[role]) - cost(profile, named["optimal"])
            seen = k < 16 and role == "best hand-crafted" and nats > 1e-9
            judged.append({
                "steps": k, "over": named[role].name, "role": role, "nats": nats, "rows": 64,
                "low": nats / 2 if seen else nats - 9.0, "high": 2 * nats if seen else nats + 9.0,
                "judged_on": "test half", "steps_saved": [0.9, 0.2, 1.6] if seen else None,
            })  # fmt: skip
    check = {"rows": 64, "judged_on": "test half", "offset_nats": 2.0}
    check |= {"offset_standard_error": 1.0, "offset_z": 2.0}
    return {
        "format": "mdm_jax tuning 2", "check": check, "advantages": judged, "falls": True,
        "length": LENGTH, "profile_digest": profile.digest, "nelbo_nats": profile.nelbo(),
        "steps": steps, "families": families, "best_beta": [plan.name for plan in betas], "budgets": made,
    }  # fmt: skip


def samples_of(tuning):
    generator = np.random.default_rng(3)
    panels = []
    for budget in tuning["budgets"]:
        for entry in reversed(budget["plans"]):
            if entry["role"] == "best beta":
                continue
            rows = []
            for start in (0, len(TEXT) - LENGTH):
                order = generator.permutation(LENGTH)
                reveal = np.empty(LENGTH, dtype=int)
                reveal[order] = np.repeat(np.arange(len(entry["plan"]["sizes"])), entry["plan"]["sizes"])
                reveal[:12] = -1 if start == 0 else reveal[:12]
                pieces = list(TEXT[start : start + LENGTH])
                for place in generator.choice(LENGTH, 90 // budget["steps"], replace=False):
                    pieces[place] = "aeionst \n<&"[place % 11]
                score = 3.0 + 3.0 / budget["steps"] + 0.1 * float(generator.normal())
                rows.append({"pieces": pieces, "reveal_step": reveal.tolist(), "nfe": budget["steps"], "score": score})
            scores = [row["score"] for row in rows]
            panels.append({
                "role": entry["role"], "plan": entry["plan"]["name"], "budget": budget["steps"],
                "steps": len(entry["plan"]["sizes"]), "rows": rows, "scored_rows": 64,
                "mean_score": float(np.mean(scores)) + 0.07, "score_standard_error": 0.031,
            })  # fmt: skip
    return {
        "format": "mdm_jax samples 1", "temperature": 1.0, "seed": 0, "score_name": "trigram bits per character",
        "lower_is_better": True, "reference_score": 2.941, "panels": panels,
    }  # fmt: skip


def log_of(steps=2000):
    lines = []
    generator = np.random.default_rng(0)
    for step in range(steps // 40, steps + 1, steps // 40):
        held = 2.72 + 3.4 * np.exp(-step / 170) + 0.9 * np.exp(-step / 900)
        train = held - 0.06 * step / steps + 0.03 * generator.normal()
        lines.append({
            "step": step, "seconds": 0.19 * step, "train_bits_per_token": train, "held_out_bits_per_token": held,
            "held_out_standard_error": 0.033, "tokens_per_second": 21_500 + 300 * generator.normal(),
        })  # fmt: skip
    return lines


def fill(path: Path, budgets, profile=None) -> RunDirectory:
    """A run directory with every file that the report reads."""
    task = {"spec": "text", "length": LENGTH, "vocab_size": 97, "digest": "3f" * 32, "vocabulary": "\n !abc"}
    settings = {"steps": 2000, "batch": 32, "length": LENGTH, "learning_rate": 3e-3, "optimizer": "adamw", "seed": 0}
    model = {"family": "transformer", "vocab_size": 97, "width": 128, "depth": 4}
    versions = {"python": "3.11.9", "jax": "0.8.0", "mdm-jax": "0.1.0"}
    config = {"format": "mdm_jax run 1", "task": task, "model": model, "settings": settings, "versions": versions}
    profile = profile or measured_profile()
    tuning = tuning_of(profile, budgets)
    baselines = [("unigram", 4.731), ("bigram", 3.702), ("trigram", 2.943), ("4-gram", 2.571)]
    held_out = {
        "format": "mdm_jax held-out 1", "rows": 182, "bits_per_token": 2.8132, "standard_error": 0.0337,
        "parameters": 823_553, "baselines": [{"name": name, "bits_per_token": value} for name, value in baselines],
    }  # fmt: skip
    write_json(path / "config.json", config)
    (path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log_of()))
    write_json(path / "held_out.json", held_out)
    profile.save(path / "profile.json")
    write_json(path / "tuning.json", tuning)
    write_json(path / "samples.json", samples_of(tuning))
    values = np.geomspace(0.1, 10, 24)
    above = 0.01 + np.log(values[:, None] / 0.8) ** 2 + np.log(values / 0.4) ** 2
    panels = [
        cost_landscapes.CostLandscape(f"{k} steps", values, values, above / k, (0.8, 0.4, 0.01 / k)) for k in budgets
    ]
    picture = cost_landscapes.side_by_side(panels, "bits per token")
    drawing.save(picture, str(path / "landscape.png"))
    drawing.save_themed(picture, path / "landscape.svg")
    return RunDirectory(path)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run directory with every file, and its report: rendered once, for the tests that only read it."""
    run = fill(tmp_path_factory.mktemp("full") / "text", budgets=(4, 8, 16, 32))
    return run, report.render(run)


@pytest.fixture(scope="module")
def brief(tmp_path_factory):
    """The same with one budget, which has half as many charts to draw."""
    run = fill(tmp_path_factory.mktemp("brief") / "text", budgets=(8,))
    return run, report.render(run)


@pytest.fixture
def copy(brief, tmp_path):
    """A run directory of its own with the files of ``brief``, for tests that change them."""
    shutil.copytree(brief[0].path, tmp_path / "text")
    return RunDirectory(tmp_path / "text")


def change(path, edit):
    """Rewrite a JSON file after ``edit(content)``, which changes it in place."""
    content = json.loads(path.read_text())
    edit(content)
    write_json(path, content)


class Balance(HTMLParser):
    """Every element is closed in order, every id is unique, and everything that is named can be found in the page."""

    VOID = ("meta", "br", "hr", "img", "link", "input")

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.links, self.tags = [], [], [], set()
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                self.links.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def plain(page):
    """The text of the page, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<(style|svg).*?</\1>|<[^>]*>", "", page, flags=re.DOTALL)))


def test_page_is_one_well_formed_document_without_anything_from_outside(full):
    page = Balance(full[1])
    assert len(page.ids) == len(set(page.ids))
    assert page.links
    outside = [link for link in page.links if not link.startswith("data:image/svg+xml;base64,")]
    assert len(page.links) - len(outside) == 1  # the landscape
    assert all(link.startswith("#") and link[1:] in page.ids for link in outside)
    assert not page.tags & {"script", "link", "iframe", "object", "base"}
    assert not re.search(r"@import|url\((?!#)", full[1])
    assert set(re.findall(r"https?://[^\"' <]*", full[1])) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert len(full[1].encode()) < 2_000_000


def test_write_puts_the_page_into_the_run_directory_and_the_same_files_give_the_same_bytes(full):
    run, shown = full
    path = report.write(run)
    assert path == run.report
    assert path.read_bytes() == shown.encode()


@pytest.mark.core
def test_figures_on_the_page_are_those_of_the_files(full):
    run, shown = full
    text = plain(shown)
    held_out, tuning = (json.loads(path.read_text()) for path in (run.held_out, run.tuning))
    samples, profile = json.loads(run.samples.read_text()), profiles.load(run.profile)
    scale = 1 / (LENGTH * np.log(2))
    assert f"{held_out['bits_per_token']:.2f}" in text
    assert "182 sequences" in text
    assert "824 k" in text
    assert "6.3 min" in text  # 0.19 s a step
    assert "beats the unigram, bigram and trigram; it does not beat the 4-gram" in text
    for baseline in held_out["baselines"]:
        assert f">{baseline['bits_per_token']:.2f}</text>" in shown
    assert f"{profile.values[0]:.2f} nats" in text
    assert f"{profile.bits_per_token():.3f} ± {spread(profile, plans.uniform(LENGTH, LENGTH)) * scale:.3f}" in text
    for budget in tuning["budgets"]:
        optimum = budget["plans"][0]["expected_nelbo_nats"]
        for entry in budget["plans"]:
            cost, error = entry["expected_nelbo_nats"] * scale, entry["standard_error"] * scale
            assert f"{cost:.3f} ± {error:.3f}" in text
            assert entry["role"] == "optimal" or f"{cost - optimum * scale:+.4f}" in text
            assert " ".join(map(str, entry["plan"]["sizes"])) in text
            if entry["checked"]:
                assert f"{entry['checked']['z']:+.1f}".replace("-", "\N{MINUS SIGN}") in text
    assert "Held-out text (test half) scores 2.94 on average" in text
    for panel in samples["panels"]:
        assert f"mean score {panel['mean_score']:.2f} ± 0.03 over 64 samples" in text
        for row in panel["rows"]:
            assert f"trigram bits per character: {row['score']:.2f} · {row['nfe']} model calls" in text


def test_of_advantages_the_page_says_what_was_judged(full, copy):
    text = plain(full[1])
    named = next(entry for entry in json.loads(full[0].tuning.read_text())["advantages"] if entry["steps"] == 8)
    assert named["role"] == "best beta"
    saved = "At 4 steps the best plan saves 0.9 steps (0.2 to 1.6) over "
    assert text.count(saved) == 2  # in short, and beside its table
    assert text.count("at 16 and 32 steps no difference is seen") == 2
    assert text.count("At 4, 8, 16 and 32 steps no difference from the best Beta schedule is seen") == 2
    assert text.count("Judged by 64 rows of the test half") == 2
    assert text.count("no difference seen") == 6  # in the table
    assert "takes" not in "".join(re.findall(r"In short.*?Training", text))

    def unseen(tuning):
        for one in tuning["advantages"]:
            one |= {"low": -1.0, "high": 30.0, "steps_saved": None}

    change(copy.tuning, unseen)
    assert "saves 0.9 steps" not in plain(report.render(copy))
    change(copy.tuning, lambda tuning: tuning.update(advantages=None))
    text = plain(report.render(copy))
    assert "Nothing is said of what plans save, for nothing judged it" in text
    assert "no difference" not in text


def test_the_offset_is_one_fact_and_said_once_in_each_place(copy, brief):
    told = "The test half costs 0.023 ± 0.011 bits per token more than the profile of the validation half says"
    text = plain(brief[1])
    assert text.count(told) == 2  # in short, and above the table
    assert text.count("that is one fact, not one for each plan") == 1

    def not_checked(tuning):
        tuning["check"] = None
        for entry in tuning["budgets"][0]["plans"]:
            entry["checked"] = None

    change(copy.tuning, not_checked)
    text = plain(report.render(copy))
    assert "The test half costs" not in text
    assert "not checked" in text


def test_certificates_stand_in_a_table(full):
    text = plain(full[1])
    assert "A certificate says what the optimal plan costs at most, with probability 0.95 each" in text
    for steps in (4, 8, 16, 32):
        regret, excess = (nats / steps / (LENGTH * np.log(2)) for nats in (8.0, 200.0))
        assert f"{steps}{regret:.3f}{excess:.3f}" in text.replace(" ", "")


def test_judged_differences_are_points_with_bars(full):
    tuning = json.loads(full[0].tuning.read_text())
    axes = report_charts.above_optimal(tuning)
    assert len(axes.containers) == len(tuning["advantages"])
    scale = 1 / (LENGTH * np.log(2))
    for one, drawn in zip(tuning["advantages"], axes.containers):
        ends = drawn.lines[2][0].get_segments()[0][:, 1]
        np.testing.assert_allclose(ends, [one["low"] * scale, one["high"] * scale])
    assert axes.get_ylim()[0] < min(one["low"] for one in tuning["advantages"]) * scale
    without = report_charts.above_optimal(tuning | {"advantages": None})
    assert not without.containers


def test_the_tuning_of_an_earlier_version_is_to_be_made_anew(copy):
    change(copy.tuning, lambda tuning: tuning.update(format="mdm_jax tuning 1"))
    with pytest.raises(InputError, match=r"tuning\.json is a tuning file of another version .*mdm-jax tune "):
        report.render(copy)


class Page(HTMLParser):
    """Every element with its attributes, and the classes of what it stands in."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.around = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), [name for names in self.around for name in names]))
        if tag not in Balance.VOID:
            self.around.append((dict(attrs).get("class") or "").split())

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        self.around.pop()


@pytest.mark.core
def test_what_is_wide_scrolls_in_a_named_region_and_pictures_are_described(full):
    page = Page(full[1]).elements
    wide = [around for tag, _, around in page if tag in ("table", "img")]
    assert len(wide) > 5
    assert all("scroll" in around for around in wide)
    for tag, attributes, around in page:
        classes = (attributes.get("class") or "").split()
        if "scroll" in classes:
            assert attributes["aria-label"]
            assert (attributes["role"], attributes["tabindex"]) == ("region", "0")  # by keys too
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["aria-label"]
            assert "figure" not in attributes["aria-label"]
        if tag == "th":
            assert attributes["scope"] in ("col", "row")
        assert "width" not in attributes or tag in ("rect", "image"), (tag, around)


@pytest.mark.core
def test_the_style_lets_nothing_be_wider_than_a_phone_and_two_charts_do_not_grow():
    """Widths of a phone's 390 pixels and more belong to what scrolls, or are the most that something takes."""
    rules = style.sheet()
    assert ".scroll {\n  overflow-x: auto" in rules
    for selector in ("figure svg", "img.drawn"):
        assert re.search(re.escape(selector) + r" \{[^}]*width: 100%", rules)
    for selector in (".sample", "pre.shell"):
        assert re.search(
            r"\n" + re.escape(selector) + r" \{[^}]*white-space: pre-wrap;[^}]*overflow-wrap: anywhere", rules
        )
    assert all(float(rem) < 24 for rem in re.findall(r"(?<![-\w])(?:min-)?width: ([\d.]+)rem", rules))
    assert all(float(rem) <= 20 for rem in re.findall(r"minmax\((?:min\(100%, )?([\d.]+)rem", rules))
    assert rules.count("auto-fill") - rules.count("auto-fill:") == 2  # small charts, and drawings
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page.document("a", "")


@pytest.mark.core
def test_few_budgets_stand_in_the_column_of_the_text(brief, full):
    assert full[1].count('<div class="wide multiples">') == 2
    assert brief[1].count('<div class="multiples">') == 2
    assert "max-width:26rem" in brief[1]
    assert "max-width:43rem" in full[1]


@pytest.mark.core
def test_each_held_out_figure_says_which_half_it_is_of_and_files_have_names_without_folders(copy):
    def elsewhere(config):
        config["task"]["spec"] = "text:/home/somebody/data/story.txt?lines"

    change(copy.config, elsewhere)
    profile = profiles.load(copy.profile)
    profiles.Profile(
        LENGTH, profile.counts, profile.means, profile.covariance, {**profile.provenance, "rows_of": "validation"}
    ).save(copy.profile)
    text = plain(report.render(copy))
    assert "± 0.03 bits per token, test half, 182 sequences" in text
    assert "At 2.81 bits per token (test half) the model beats" in text
    assert "Held-out data are the validation half of what training never saw" in text
    assert "Bits per token on the test half, 2.813 ± 0.034 for the model" in text
    assert "measured on the validation half of the held-out sequences" in text
    assert "text:story.txt?lines" in text
    assert "somebody" not in text
    copy.held_out.unlink()
    assert "bits per token, validation half, from the log" in plain(report.render(copy))


@pytest.mark.core
@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("text", "text"),
        ("text:story.txt", "text:story.txt"),
        ("text:/a/b c/what?.txt", "text:what?.txt"),
        ("fasta:../x/proteins.fasta", "fasta:proteins.fasta"),
        ("npy:/a/rows.npy?shape=14x14&labels=/b/labels.npy", "npy:rows.npy?shape=14x14&labels=labels.npy"),
        ("pairs:0.9", "pairs:0.9"),
        ("digits?labels", "digits?labels"),
    ],
)
def test_specs_are_shown_without_folders(spec, shown):
    assert run_files.without_folders(spec) == shown


@pytest.mark.core
def test_figures_of_sequences_of_different_lengths_are_given_the_length(copy):
    def ragged(config):
        config["task"]["lengths"] = [0] * 20 + [5] * (LENGTH - 19)

    change(copy.config, ragged)
    change(copy.held_out, lambda held: held.update(length_bits_per_row=6.75, length_standard_error=0.05, tokens=9000))
    text = plain(report.render(copy))
    assert f"sequences of 20 to {LENGTH} tokens" in text
    assert "Figures are given the length of a sequence, and count real tokens: no padding is in them." in text
    assert "The length itself costs 6.750 ± 0.050 bits per sequence more, the same with every model." in text
    assert f"i counts {LENGTH}ths of a sequence" in text
    change(copy.held_out, lambda held: held.update(behind_prompts=True, of_rows=400))
    text = plain(report.render(copy))
    assert "What a prompt gives is shown to the model and not counted" in text
    assert "182 of 400 sequences" in text


@pytest.mark.core
def test_label_dropout_is_no_figure_and_what_was_measured_at_an_earlier_step_is_said_to_be(copy):
    dropping = {"name": "label dropout", "rate": 0.1, "objective": {"name": "masked NELBO"}, "is_bound": True}
    change(copy.config, lambda config: config.update(objective=dropping))
    profile = profiles.load(copy.profile)
    step = json.loads(copy.log.read_text().splitlines()[-1])["step"]
    for measured in (step, 7):
        profiles.Profile(
            LENGTH, profile.counts, profile.means, profile.covariance, {**profile.provenance, "run_step": measured}
        ).save(copy.profile)
        text = plain(report.render(copy))
        assert "The loss is" not in text  # it is the NELBO, as the page says before
        assert "label dropout" not in text
        assert (f"measured at step 7 of the training, which is at {step:,} now" in text) == (measured == 7)
    copy.profile.unlink()
    said = f"The held-out figures were measured at step 7 of the training, which is at {step:,} now"
    assert said not in plain(report.render(copy))
    change(copy.held_out, lambda held_out: held_out.update(run_step=7))
    assert said in plain(report.render(copy))


@pytest.mark.core
def test_what_is_known_of_the_data_is_said_and_settings_that_are_off_are_not(copy):
    note = "3 of 20 test rows also stand among the training rows: figures on them say <little>."
    change(copy.held_out, lambda held_out: held_out.update(data_notes=[note]))
    change(copy.config, lambda config: config["settings"].update(mean_tokens=0.0, begin=0, anneal_steps=7))
    text = plain(report.render(copy))
    assert note in text
    assert "anneal_steps" in text
    assert "seed" in text
    assert "mean_tokens" not in text
    assert "begin 0" not in re.sub(r"\W+", " ", text)


@pytest.mark.core
def test_what_the_model_is_told_of_labels_and_others_are_not_is_said(copy):
    said = "The model is told the label of each sequence, and the others are not."
    assert said not in plain(report.render(copy))
    change(copy.held_out, lambda held_out: held_out.update(given_labels=True))
    assert plain(report.render(copy)).count(said) == 2  # in short, and below the chart


@pytest.mark.core
def test_what_next_says_where_the_command_is_found(brief):
    assert "is found after . .venv/bin/activate" in plain(brief[1])


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_a_section_without_its_file_names_the_command_that_makes_it(copy, brief, name, command):
    (copy.path / name).unlink()
    page = report.render(copy)
    sentence = f"Make it with <code>mdm-jax {command}"
    assert sentence in page
    assert sentence not in brief[1]
    assert ('id="plans"' in page) == (name != "tuning.json")
    Balance(page)


def test_a_landscape_that_is_no_picture_gives_one_sentence(copy):
    """The SVG follows the light and the dark; runs of earlier versions have the PNG alone."""
    themed = copy.landscape.with_suffix(".svg")
    themed.write_text("hills")
    with pytest.raises(InputError, match=r"landscape.svg is not an SVG picture; make it anew with mdm-jax tune"):
        report.render(copy)
    themed.unlink()
    assert "data:image/png;base64," in report.render(copy)
    copy.landscape.write_text("hills")
    with pytest.raises(InputError, match=r"landscape.png is not a PNG picture; make it anew with mdm-jax tune"):
        report.render(copy)
    copy.landscape.unlink()
    assert "All Beta schedules" not in report.render(copy)


@pytest.mark.core
def test_a_run_that_has_only_begun_has_a_report(copy):
    for name in COMMANDS:
        (copy.path / name).unlink()
    page = report.render(copy)
    assert page.count("Make it with") + page.count("Begin with") == len(COMMANDS)
    assert set(re.findall("with <code>mdm-jax ([a-z]+)", page)) == {"train", "profile"}  # the others would refuse
    assert "<svg" not in page


@pytest.mark.core
def test_what_users_wrote_is_escaped(copy):
    bad = "<script>alert('1')</script>&\"$x_1$"
    paths = (copy.config, copy.held_out, copy.tuning, copy.samples)
    config, held_out, tuning, samples = (json.loads(path.read_text()) for path in paths)
    config["task"] |= {"vocabulary": bad, "spec": f"text:/{bad}"}
    config["model"]["family"] = bad
    config["settings"][bad] = bad
    held_out["baselines"][0]["name"] = bad
    tuning["families"][bad] = tuning["families"]["linear"]
    tuning["budgets"][0]["plans"][1]["plan"]["name"] = bad
    samples["score_name"] = bad
    samples["panels"][0] |= {"role": bad, "plan": bad}
    samples["panels"][0]["rows"][0]["pieces"][:2] = [bad, '"><b>']
    for path, value in zip(paths, (config, held_out, tuning, samples)):
        write_json(path, value)
    page = report.render(copy)
    assert "script" not in Balance(page).tags
    assert plain(page).count(bad) >= 8


@pytest.mark.core
@pytest.mark.parametrize(
    ("name", "place", "value", "said"),
    [
        ("held_out.json", ["format"], "other", "its format must be 'mdm_jax held-out 1'"),
        ("held_out.json", ["bits_per_token"], "three", "bits_per_token must be a finite number; got 'three'"),
        ("held_out.json", ["bits_per_token"], 10**400, "bits_per_token must be a finite number; got 1000"),
        ("held_out.json", ["parameters"], 0.5, "parameters must be a whole number; got 0.5"),
        ("held_out.json", ["baselines", 1, "name"], None, "baselines[1].name must be text; got None"),
        ("profile.json", ["nats_per_token"], "x", "is not a profile: nats_per_token must be a list of numbers"),
        ("tuning.json", ["length"], 0, "length must be at least 1; got 0"),
        ("tuning.json", ["families"], {}, "families must be of at least one entry"),
        ("tuning.json", ["steps"], [], "steps must be of at least one entry"),
        ("tuning.json", ["steps"], [0, 2, 4, 8, 16, 32, 64, 128], "steps must be at least 1 each"),
        ("tuning.json", ["steps"], "all", "steps must be a list; got 'all'"),
        ("tuning.json", ["families", "linear"], [1.0], "families.linear must be of 8 numbers"),
        ("tuning.json", ["budgets", 0, "plans", 0, "plan", "sizes"], [0, 128], "sizes must be"),
        ("tuning.json", ["budgets", 0, "plans", 0, "plan", "sizes"], [1, 2], "the sum of sizes must be the length 128"),
        ("tuning.json", ["budgets", 0, "plans", 0, "checked"], 3, "checked must be an object; got 3"),
        ("samples.json", ["panels", 0, "rows", 0, "reveal_step"], [1], "one entry for each position; got 128 and 1"),
        ("samples.json", ["panels", 0, "steps"], True, "panels[0].steps must be a whole number; got True"),
        ("held_out.json", ["standard_error"], -1, "standard_error must be at least 0; got -1"),
        ("held_out.json", ["bits_per_token"], -0.5, "bits_per_token must be at least 0; got -0.5"),
        ("held_out.json", ["rows"], 0, "rows must be at least 1; got 0"),
        ("held_out.json", ["baselines", 1, "name"], "unigram", "baselines must be of different names"),
        ("held_out.json", ["more"], 3, "entries must be rows, bits_per_token, standard_error"),
        ("held_out.json", ["baselines", 1, "more"], 3, "baselines[1].entries must be name, bits_per_token"),
        ("tuning.json", ["more"], 3, "entries must be length, profile_digest"),
        ("tuning.json", ["budgets", 0, "plans", 0, "standard_error"], -1, "standard_error must be at least 0; got -1"),
        ("tuning.json", ["budgets", 0, "plans", 0, "role"], "worst", "role must be one of best beta"),
        ("tuning.json", ["budgets", 0, "steps"], 2, "the plan 'optimal' must be one of at most 2 steps, its budget"),
        ("samples.json", ["panels", 0, "rows", 0, "nfe"], -1, "rows[0].nfe must be at least 0; got -1"),
        ("samples.json", ["panels", 0, "steps"], -1, "panels[0].steps must be at least 1; got -1"),
        ("samples.json", ["panels", 0, "scored_rows"], -1, "panels[0].scored_rows must be at least 0; got -1"),
        ("samples.json", ["panels", 0, "score_standard_error"], -1, "score_standard_error must be at least 0; got -1"),
        ("samples.json", ["panels", 0, "rows", 0, "log_prob"], "x", "log_prob must be a finite number; got 'x'"),
        ("samples.json", ["panels", 0, "rows", 0, "remaining"], "x", "remaining must be a whole number; got 'x'"),
        ("config.json", ["task", "length"], "long", "task.length must be a whole number"),
        ("config.json", ["task"], {"spec": "text"}, "task has no length"),
    ],
)
def test_malformed_files_give_one_sentence(copy, name, place, value, said):
    def put(content):
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = value

    change(copy.path / name, put)
    with pytest.raises(InputError) as caught:
        report.render(copy)
    sentence = str(caught.value)
    assert said in sentence
    assert sentence.startswith(str(copy.path / name))
    assert "\n" not in sentence
    assert sentence.endswith(".")


@pytest.mark.core
def test_the_profile_of_another_length_gives_one_sentence(copy):
    profiles.from_values(np.linspace(3.0, 1.0, 64)).save(copy.profile)
    with pytest.raises(InputError, match=r"profile\.json is not a profile of this run: its length must be 128; got 64"):
        report.render(copy)


@pytest.mark.core
@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "mdm_jax samples 1"}'])
@pytest.mark.parametrize("name", ["held_out.json", "profile.json", "tuning.json", "samples.json", "config.json"])
def test_files_that_are_something_else_give_one_sentence(copy, name, text):
    (copy.path / name).write_text(text)
    with pytest.raises(InputError, match=re.escape(name)):
        report.render(copy)


@pytest.mark.core
def test_a_malformed_log_gives_one_sentence_and_a_cut_one_a_page(copy):
    good = copy.log.read_text()
    copy.tuning.unlink()  # what is left is quick to draw
    whole = report.render(copy)
    copy.log.write_text(good + '{"step": 3')
    assert report.render(copy) == whole
    copy.log.write_text(good + '{"step": 3}\n')
    with pytest.raises(InputError, match=r"line 41 has no seconds"):
        report.render(copy)


@pytest.mark.core
def test_a_diverged_run_has_a_report(copy):
    lines = log_of()
    for line in lines[5:]:
        line["train_bits_per_token"] = line["held_out_bits_per_token"] = line["held_out_standard_error"] = float("nan")
    copy.log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    copy.held_out.unlink()
    assert "not a number" in report.render(copy)


def test_a_profile_that_rises_is_explained(tmp_path):
    values = 3.0 + 0.2 * np.cos(np.arange(LENGTH) / 20)
    run = fill(tmp_path / "text", budgets=(8,), profile=profiles.from_values(values))
    page = report.render(run)
    assert "Some plans seem cheaper than one token per step" in page


@pytest.mark.core
def test_tuning_with_another_profile_is_pointed_out(copy, brief):
    profiles.from_values(measured_profile().values).save(copy.profile)
    assert "The profile has changed since" in report.render(copy)
    assert "The profile has changed since" not in brief[1]


@pytest.mark.core
def test_files_of_older_runs_have_a_report(copy):
    for path in (copy.log, copy.profile, copy.tuning):  # what is left is quick to draw
        path.unlink()
    assert "Parameters" in report.render(copy)
    change(copy.held_out, lambda held_out: held_out.pop("parameters"))

    def as_before(samples):
        for panel in samples["panels"]:
            for name in ("budget", "scored_rows", "mean_score", "score_standard_error"):
                del panel[name]

    change(copy.samples, as_before)
    shown = report.render(copy)
    assert "Parameters" not in shown
    assert "<h3>8 steps</h3>" in shown
    for panel in json.loads(copy.samples.read_text())["panels"]:
        mean = np.mean([row["score"] for row in panel["rows"]])
        assert f"mean score {mean:.2f} over 2 samples" in plain(shown)


@pytest.mark.core
def test_a_plan_that_needs_fewer_steps_stands_under_its_budget(copy):
    change(copy.samples, lambda samples: samples["panels"][0].update(steps=7))
    shown = gallery.samples(run_files.read(copy))
    assert re.findall(r"<h3>(.*?)</h3>", shown) == ["8 steps"]
    assert shown.count('<div class="panel">') == 2


def test_the_mean_of_a_score_of_one_s_own_has_its_name(copy):
    change(copy.samples, lambda samples: samples["panels"][0].update(score_name="<rings>", mean_score=0.5))
    shown = gallery.samples(run_files.read(copy))
    assert shown.count("mean &lt;rings&gt; <strong>0.50") == 1
    assert shown.count("mean score <strong>") == 1


def test_a_sample_of_a_class_says_which(copy):
    change(copy.samples, lambda samples: samples["panels"][0]["rows"][0].update(label=3))
    assert gallery.samples(run_files.read(copy)).count("<p>label 3 · ") == 1


def test_a_run_that_is_not_tuned_is_not_sent_to_costs_above(copy, brief):
    assert "read off the cost above" in brief[1]
    copy.tuning.unlink()
    copy.log.unlink()  # what is left is quick to draw
    shown = report.render(copy)
    assert "read off the cost above" not in shown
    assert "compare schedules again" not in shown
    assert "# compare schedules" in shown


@pytest.mark.core
def test_samples_show_steps_given_characters_and_line_breaks():
    shown = page.sample(["a", "b", "\n", "<"], [-1, 0, 0, 15], steps=16, most=100)
    assert '<u class="given" title="given">a</u>' in shown
    assert '<i class="r0" title="step 1">b<b>⏎</b>\n</i>' in shown
    assert '<i class="r15" title="step 16">&lt;</i>' in shown
    assert page.sample(["a"] * 9, [0] * 9, steps=1, most=4).count("aaaa") == 1


@pytest.mark.core
def test_the_first_sample_of_each_plan_is_written_step_by_step(brief):
    """Pieces know their step, the style makes a delay of it; where nothing may move the page is as it always was."""
    shown = gallery.samples(run_files.read(brief[0]))
    assert shown.count('<pre class="sample play" style="--d:0.5s">') == 2  # 4 seconds, 8 steps, two plans side by side
    assert shown.count('<pre class="sample">') == 2
    assert shown.count('<button type="button" class="again">') == 1
    moving, standing = (part.partition("</pre>")[0] for part in re.split('<pre class="sample[^>]*>', shown)[1:3])
    timed = re.findall(r'<i class="r\d+" style="--s:(\d+)" title="step (\d+)">', moving)
    assert {(int(s) + 1, int(step)) for s, step in timed} == {(step, step) for step in range(1, 9)}
    assert moving.count("<i ") == len(timed)
    assert "--s" not in standing
    before, _, rest = style.sheet().partition("@media screen and (prefers-reduced-motion: no-preference) {")
    inside = rest.partition("@keyframes")[0]
    assert "animation" not in before
    assert ".again { display: none }" in before
    assert inside.count("{") == inside.count("}") - 1
    assert rest.count("animation") == inside.count("animation") == 3


@pytest.mark.core
def test_a_picture_is_uncovered_step_by_step():
    standing = page.picture([0, 8, 16, 8], [-1, 0, 1, 1], 2, 16, 4)
    moving = page.picture([0, 8, 16, 8], [-1, 0, 1, 1], 2, 16, 4, seconds=2.0)
    covers = (
        '<path class="cover" d="M1 0h1v1h-1z" style="--s:0"/>'
        '<path class="cover" d="M2 0h1v1h-1zM3 0h1v1h-1z" style="--s:1"/>'
    )
    assert moving.count(covers) == 2
    plain = moving.replace(covers, "").replace('class="picture play" style="--d:2s"', 'class="picture"')
    assert plain == standing


@pytest.mark.core
def test_what_lies_behind_the_end_of_a_sequence_is_neither_given_nor_revealed():
    shown = page.sample(["a", "b", "c"], [-1, 0, -2], steps=1, most=9, seconds=1.0)
    assert '<u class="filled" title="behind the end">c</u>' in shown
    assert '<u class="given" title="given">a</u>' in shown
    assert "<title>behind the end</title>" in page.picture([1, 1], [0, -2], 1, 1, 2)


def test_many_long_samples_stay_below_two_megabytes(copy):
    samples = json.loads(copy.samples.read_text())
    row = {"pieces": ["x"] * 2048, "reveal_step": list(range(2048)), "nfe": 2048, "score": None}
    samples["panels"] = [{"role": "optimal", "plan": "p", "steps": 2048, "rows": [row] * 2}] * 16
    write_json(copy.samples, samples)
    assert len(report.render(copy).encode()) < 2_000_000


@pytest.mark.core
@pytest.mark.parametrize("dark", [False, True])
def test_text_is_readable_on_every_colour_of_a_sample(dark):
    theme = dict(re.findall(r"--([\w-]+): (#\w{6})", style.theme(dark)))

    def luminance(colour):
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(one, two):
        low, high = sorted((luminance(one), luminance(two)))
        return (high + 0.05) / (low + 0.05)

    assert all(contrast(theme["on"], theme[f"r{level}"]) >= 4.5 for level in range(style.LEVELS))
    assert all(contrast(theme[name], theme["page"]) >= 4.5 for name in ("ink", "muted", "optimal", "beta", "hand"))


@pytest.mark.core
@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (3.10437, 0.0291, "3.104 ± 0.029"),
        (3.1, 0.0, "3.100"),
        (412.2, 12.3, "412 ± 12"),
        (1.0, 1e-7, "1.0000 ± 0.0000"),
    ],
)
def test_errors_decide_how_many_digits_are_shown(value, error, shown):
    assert page.with_error(value, error) == shown


@pytest.mark.core
def test_pictures_are_deterministic_and_save_as_png(tmp_path):
    profile = measured_profile()
    plan = plans.optimal(profile, 8)
    figures = [
        lambda: report_charts.loss_curve(log_of(), [("bigram", 3.7)]),
        lambda: report_charts.loss_curve(log_of()[:1]),
        lambda: charts.profile(profile, plan, axes=drawing.wide(3.0)),
        lambda: report_charts.plan_curves([("optimal", plan), ("linear", plans.uniform(LENGTH, 8))]),
        lambda: report_charts.plan_sizes([("optimal", plan)]),
        lambda: report_charts.baselines(("this model", 2.8, 0.03), [("bigram", 3.7)]),
    ]
    for make in figures:
        assert drawing.svg(make(), "x") == drawing.svg(make(), "x")
    one, two = (drawing.save_png(figures[2](), tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two
    assert one.startswith(b"\x89PNG")


@pytest.mark.core
def test_the_report_of_a_flat_profile(tmp_path):
    run = fill(tmp_path / "text", budgets=(8,), profile=profiles.from_values(np.full(LENGTH, 2.0)))
    page = plain(report.render(run))
    assert "All at zero, for the profile is flat" in page
    assert "Zigzags" not in page

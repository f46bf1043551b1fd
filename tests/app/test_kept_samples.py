"""What commands leave for the report: which drawings stay, which go, and how they are shown."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from mdm_jax import models, tasks
from mdm_jax.app.report import gallery, kept, run_files, sample_file
from mdm_jax.evaluation import Evaluation
from mdm_jax.support.files import write_json
from mdm_jax.support.ragged import ABSENT
from mdm_jax.tasks import Numbers
from mdm_jax.training import Run, RunDirectory, Settings

LENGTH = 6
pytestmark = pytest.mark.core


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A run as far as leaving samples looks at it; its data are a file."""
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", np.random.default_rng(0).integers(0, 3, (200, LENGTH)))
    return run_of(tasks.from_spec("npy:rows.npy"))


def run_of(task):
    place, description = RunDirectory(Path("run")), task.describe()
    config = {"format": "mdm_jax run 1", "task": description, "model": {"family": "transformer"}, "settings": {}}
    place.path.mkdir(exist_ok=True)
    write_json(place.config, config)
    model = models.transformer(task.vocab_size, length=LENGTH, width=8, depth=1, heads=1)
    return Run(model, None, place, Settings(), 4, description)


def row(first="0", steps=(0, 0, 1, 1, 2, 2), **more):
    pieces = [first, " 1", " 2", " 0", " 1", " 2"]
    return {"pieces": pieces, "reveal_step": list(steps), "nfe": 3, **more}


def left(trained):
    samples = sample_file.read(trained.place.samples)
    assert samples is not None
    return samples


def roles(trained):
    return [panel["role"] for panel in left(trained)["panels"]]


def shown(trained):
    return gallery.samples(run_files.read(trained.place))


def test_samples_stand_most_steps_first_beside_real_rows_with_the_command_that_drew_them(trained):
    for steps in (2, 16, 4):
        line = f"mdm-jax sample run --steps {steps} --prompt '<b>'"
        kept.leave(trained, line, [kept.panel([row()], "random order", steps, temperature=1.0, seed=3)])
    assert left(trained)["real"] is None  # `sample` reads no data
    assert "real" not in re.findall("<h4>([a-z]+)", shown(trained))
    kept.complete(trained.place)
    page = shown(trained)
    assert re.findall("<h3>(.*?)</h3>", page) == ["16 steps", "4 steps", "2 steps"]
    assert re.findall("<h4>([a-z]+)", page) == ["real", "random"] * 3
    assert page.index("--steps 16 --prompt &#x27;&lt;b&gt;&#x27;") < page.index("--steps 4 --prompt")
    task = tasks.restore(trained.description)
    real = left(trained)["real"]
    assert [[int(piece) for piece in one["pieces"]] for one in real] == task.test[: kept.REAL].tolist()
    assert [one["score"] for one in real] == task.score(task.test)[: kept.REAL].tolist()
    assert f"(test half) scores {task.score(task.test).mean():.2f} on average" in page
    before = trained.place.samples.read_bytes()
    kept.complete(trained.place)
    assert trained.place.samples.read_bytes() == before


def test_a_command_replaces_its_own_drawings_and_tuned_plans_theirs(trained):
    def leave(line, *names):
        kept.leave(trained, line, [kept.panel([row()], name, 4) for name in names])

    leave("tuned", "best hand-crafted", "optimal")
    leave("one", "a")
    leave("two", "b", "c")
    leave("one", "d")
    assert roles(trained) == ["best hand-crafted", "optimal", "b", "c", "d"]
    leave("tuned anew", "optimal")
    assert roles(trained) == ["b", "c", "d", "optimal"]
    for i in range(kept.MOST_PANELS):
        leave(f"number {i}", f"panel {i}")
    assert roles(trained) == ["optimal", *(f"panel {i}" for i in range(kept.MOST_PANELS))]
    leave("many", *(f"one of {i}" for i in range(kept.MOST_PANELS + 3)))
    assert roles(trained) == ["optimal", *(f"one of {i}" for i in range(kept.MOST_PANELS))]


def test_few_rows_are_kept_of_many(trained):
    kept.leave(trained, "many", [kept.panel([row(score=None)] * 50, "a", 4)])
    assert len(left(trained)["panels"][0]["rows"]) == kept.SENTENCES


def test_what_cannot_be_kept_costs_a_note(trained, capsys, monkeypatch):
    trained.place.samples.write_text("mine")
    kept.leave(trained, "one", [kept.panel([row()], "a", 4)])
    assert "the report will not show these samples: run/samples.json" in capsys.readouterr().err
    assert trained.place.samples.read_text() == "mine"
    trained.place.samples.unlink()

    def full(path, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "write_json", full)
    kept.leave(trained, "one", [kept.panel([row()], "a", 4)])
    assert "the report will not show these samples: [Errno 28]" in capsys.readouterr().err


def test_without_the_data_there_are_no_real_rows_and_a_note_says_why(trained, capsys):
    kept.leave(trained, "one", [kept.panel([row()], "a", 4)])
    Path("rows.npy").unlink()
    kept.complete(trained.place)
    assert re.search(
        r"shows no held-out row beside the samples: The task .* cannot be restored", capsys.readouterr().err
    )
    assert "real" not in re.findall("<h4>([a-z]+)", shown(trained))


def test_schedules_have_their_names_and_roles_are_explained(trained):
    panels = [
        kept.panel([row()], role, 4, plan) for role, plan in (("best hand-crafted", "sine"), ("optimal", "optimal"))
    ]
    kept.leave(trained, "mdm-jax report run --samples", panels)
    page = shown(trained)
    assert "<h4>sine <small>the cheapest of the named schedules</small></h4>" in page
    assert "hand-crafted" not in page
    assert "mdm-jax report" not in page  # said once, where the figures come from


def test_a_sample_stops_where_its_text_does_and_a_short_one_says_its_length(trained):
    rows = [row(text="0 1 2"), row(steps=(0, 0, 1, 1, -2, -2)), row()]
    kept.leave(trained, "one", [kept.panel(rows[:2], "a", 4)])
    samples = re.findall(r"<pre.*?</pre><p>(.*?)</p>", shown(trained), re.DOTALL)
    assert samples == ["3 tokens · 3 model calls", "4 tokens · 3 model calls"]
    kept.leave(trained, "one", [kept.panel(rows[2:], "a", 4)])
    assert re.findall(r"<pre.*?</pre><p>(.*?)</p>", shown(trained), re.DOTALL) == ["3 model calls"]


def test_pictures_are_drawn_side_by_side_the_real_ones_without_steps(trained):
    task = tasks.from_spec("npy:rows.npy")
    pictures = run_of(dataclasses.replace(task, vocabulary=Numbers(task.vocab_size, (2, 3))))
    drawn = {"pieces": list("012012"), "reveal_step": [0, 0, 0, 1, 1, 1], "nfe": 2, "score": 1.5}
    vars(pictures)["task"] = task
    kept.leave(pictures, "one", [kept.panel([drawn] * 9, "a", 2)])
    page = shown(pictures)
    real, sampled = page.split('<div class="shots">')[1:]
    assert real.count("<svg") == kept.PICTURES
    assert sampled.count("<svg") == 2 * kept.PICTURES
    assert "step that revealed" in sampled
    assert "step that revealed" not in real
    assert sampled.count("score: 1.50 · 2 calls") == kept.PICTURES


def test_samples_of_an_evaluation_are_kept_up_to_their_ends_with_their_mean(trained):
    tokens = np.array([[[2, 0, 1, 2, 1, ABSENT], [0, 1, 0, 2, 2, 2]], [[0] * 6, [1] * 6]], np.int32)
    found = Evaluation(
        ("sine, 4 steps", "plans/mine.json, 3 steps"),
        {"own score": np.array([[1.0, 3.0], [5.0, np.nan]])},
        np.array([[4, 4], [3, 3]], np.int32),
        np.zeros((2, 2), np.int32),
        np.zeros((2, 2), np.float32),
        tokens,
    )
    canvas = np.full((2, 6), 3, np.int32)
    canvas[0, 0] = 2  # given, and no end
    panels = kept.judged(trained, found, canvas, 2, {"sine, 4 steps": 5}, temperature=1.0, seed=0)
    assert [(one["role"], one["budget"]) for one in panels] == [("sine, 4 steps", 5), ("mine.json, 3 steps", 3)]
    assert [one["pieces"] for one in panels[0]["rows"]] == [["2", " 0", " 1", " 2"], ["0", " 1", " 0", " 2"]]
    assert (panels[0]["mean_score"], panels[0]["score_standard_error"]) == (2.0, 1.0)
    assert panels[1]["mean_score"] is None
    kept.leave(trained, "mdm-jax evaluate run", panels)
    page = shown(trained)
    assert "own score: 3.00 · 4 tokens · 4 model calls" in page
    assert page.count("<code>mdm-jax evaluate run</code>") == page.count("by the same command") == 1
    assert left(trained)["score_name"] is None  # that of the task is not known

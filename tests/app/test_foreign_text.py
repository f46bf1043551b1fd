"""Names and texts from elsewhere, in every place where they can stand, reach no terminal raw: commands x places."""

import json
import re
import shlex
import shutil

import pytest
import stories

from mdm_jax.app.cli import main
from mdm_jax.support.text import is_obeyed
from mdm_jax.theory import plans, schedules
from mdm_jax.theory.plans import grids
from mdm_jax.theory.schedules import text as schedule_text

TITLE, CURSOR, TURNED, DELETE, LINES = "\x1b]0;PWNED\x07", "\x9b2J", "\u202eexe", "\x7f\x08", "\u2028\x85"
BAD = f"{TITLE}\x1b[31m{CURSOR}{TURNED}{DELETE}{LINES}\r"
"""A title, a colour, C1 controls, another direction, and what ends a line or goes back in it."""
NAME = BAD.replace("/", "") + "<script>$x_1$</script>".replace("/", "")
BAR = re.compile(r"\r(?=[a-zA-Z -]+:? |\s*\r|\s*$)")
"""A progress bar goes back to the beginning of its line by itself."""


def obeyed(text):
    """What a terminal would obey in ``text``, but for line ends and tabs."""
    return {character for character in BAR.sub("", text) if is_obeyed(character)} - {"\n", "\t"}


def is_clean(text):
    found = obeyed(text)
    assert not found, (found, text)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run on a text of such characters, in a folder of such a name, with plans, grids and schedules named so."""
    place = tmp_path_factory.mktemp("foreign") / f"a {NAME}"
    place.mkdir()
    story = place / f"story {BAD}.txt"
    # No \r: text files are read with their line ends made equal, which is not what this is about.
    text = stories.story(["the cat", BAD[:-1], "sat", "on", "the", "mat\t.\n"])
    story.write_text(text, encoding="utf-8", newline="")
    run = place / f"run {NAME}"
    assert main(["train", str(run), "--task", f"text:{story}", *stories.TINY]) == 0
    assert main(["profile", str(run), *stories.ENCODINGS]) == 0
    assert main(["tune", str(run), *stories.TUNING]) == 0
    plans.Plan(plans.uniform(16, 4).sizes, NAME, {"rule": BAD}).save(place / f"plan {NAME}.json")
    grid = grids.uniform(3).to_json() | {"name": NAME, "origin": {"rule": BAD}}
    (place / f"grid {NAME}.json").write_text(json.dumps(grid))
    schedule_text.save(schedules.tabulate(schedules.beta(0.9, 0.3), 8), place / f"schedule {NAME}.json")
    return place


def path(place, kind):
    return str(place / f"{kind} {NAME}.json")


SAMPLE = ["sample", "RUN", "--rows", "2"]
SINE = ["--schedule", "sine", "--steps", "2"]
SMALL_RACE = ["--budgets", "2", "--grid", "2", "--samples", "2", "--final-samples", "2", "--finalists", "1"]
WORK = [
    ["train", "RUN"],
    ["profile", "RUN", *stories.ENCODINGS],
    ["profile", "RUN", "--encodings", "64", "--prompt", TITLE, "--output", "NEW"],
    ["tune", "RUN", *stories.TUNING],
    ["tune", "NEW", "--budgets", "2", "--output", "OUT", "--grid", "4"],
    [*SAMPLE, "--steps", "2"],
    [*SAMPLE, "--plan", "PLAN"],
    [*SAMPLE, "--plan", "GRID"],
    [*SAMPLE, "--schedule", "tabulated:SCHEDULE", "--steps", "2"],
    [*SAMPLE, *SINE, "--prompt", TITLE],
    [*SAMPLE, *SINE, "--infill", f"{CURSOR}?{TURNED}", "--blank", "?"],
    [*SAMPLE, *SINE, "--infill", f"a{DELETE[1]}\r", "--blank", "\r"],
    [*SAMPLE, *SINE, "--order", "margin", "--end", "\x1b"],
    [*SAMPLE, *SINE, "--temperature", "0"],
    [*SAMPLE, *SINE, "--replay"],
    ["evaluate", "RUN", "linear", "tabulated:SCHEDULE", "--plan", "PLAN", "--budgets", "2", "--samples", "2", "--store",
     "STORE", "--picture", "PICTURE"],
    ["race", "RUN", *SMALL_RACE],
    ["energy", "tabulated:SCHEDULE", "linear", "--weight", "linear", "--picture", "PICTURE"],
    ["footprint", "--model", "RUN", "--no-compile"],
    ["report", "RUN"],
    ["report", "RUN", "--samples"],
]  # fmt: skip
QUICK = [
    ["train", "RUN"],
    ["tune", "RUN", *stories.TUNING],
    [*SAMPLE, "--plan", "PLAN"],
    [*SAMPLE, "--plan", "PLAN", "--replay"],
    ["footprint", "--model", "RUN", "--no-compile"],
    ["report", "RUN"],
]
"""What compiles no more than one sampler."""
REFUSED = [
    [BAD],
    ["sample", "RUN", BAD],
    ["sample", "RUN", f"--{BAD}"],
    ["sample", "RUN", "--preset", BAD],
    ["sample", "RUN", "--steps", BAD],
    ["sample", "RUN", "--checkpoint", BAD],
    ["sample", BAD],
    ["train", "nowhere", "--task", BAD],
    ["train", "nowhere", "--task", f"text:{BAD}"],
    ["train", "nowhere", "--optimizer", BAD],
    ["train", "nowhere", "--mesh", BAD],
    ["train", "RUN", "--seed", "3"],
    ["profile", "RUN", "--output", "STORY"],
    ["tune", BAD],
    ["tune", f"oracle:{BAD}"],
    ["tune", f"oracle:polya:{BAD},8"],
    ["tune", "oracle:polya:0.5,8", "--output", "STORY"],
    ["tune", "RUN", "--budgets", BAD],
    [*SAMPLE, "--plan", "STORY"],
    [*SAMPLE, "--plan", BAD],
    [*SAMPLE, "--schedule", BAD],
    [*SAMPLE, "--schedule", f"tabulated:{BAD}"],
    [*SAMPLE, *SINE, "--prompt", "\U0001d7d9\u202d"],
    [*SAMPLE, *SINE, "--infill", "?", "--blank", "\x1b"],
    [*SAMPLE, *SINE, "--end", BAD],
    ["evaluate", "RUN", BAD],
    ["evaluate", "RUN", "linear", "--baseline", BAD, "--samples", "2", "--budgets", "2"],
    ["evaluate", "RUN", "linear", "--store", BAD],
    ["evaluate", "RUN", "linear", "--store", "STORE", "--samples", "2", "--budgets", "2", "--plan", "GRID"],
    ["race", "RUN", "--store", "PLANL", *SMALL_RACE],
    ["energy", BAD],
    ["energy", "linear", "--weight", BAD],
    ["energy", "linear", "--picture", BAD],
    ["footprint", "--model", BAD],
    ["footprint", "--model", "1b", "--mesh", BAD],
    ["report", BAD],
    ["report", "PLAN"],
]


def filled(words, place, new):
    """The words with what they stand for put in."""
    places = {
        "RUN": str(place / f"run {NAME}"),
        "STORY": str(place / f"story {BAD}.txt"),
        "STORE": str(new / f"store {NAME}.jsonl"),
        "PICTURE": str(new / f"picture {NAME}.svg"),
        "NEW": str(new / f"profile {NAME}.json"),
        "OUT": str(new / f"out {NAME}"),
        "PLAN": path(place, "plan"),
        "GRID": path(place, "grid"),
        "SCHEDULE": path(place, "schedule"),
        "PLANL": str(new / f"mine {NAME}.jsonl"),
    }
    made = []
    for word in words:
        kind, colon, name = word.partition(":")
        made.append(f"{kind}:{places[name]}" if colon and name in places else places.get(word, word))
    return made


def status(words):
    try:
        return main(words)
    except SystemExit as error:
        return error.code


@pytest.mark.parametrize("as_json", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["text", "json"])
@pytest.mark.parametrize("work", [QUICK, pytest.param(WORK, marks=pytest.mark.thorough)], ids=["some", "all"])
@pytest.mark.thorough
def test_what_commands_print_of_foreign_names_is_seen_and_not_obeyed(work, as_json, world, tmp_path, capfd):
    """Every command that works, on names of every kind; what they write for browsers is clean as well."""
    for words in work:
        if as_json and "--replay" in words:
            continue
        asked = [*filled(words, world, tmp_path), *(["--json"] if as_json else [])]
        capfd.readouterr()
        assert status(asked) == 0, (words, capfd.readouterr().err)
        out, err = capfd.readouterr()
        assert out.strip(), words
        for text in (out, err):
            is_clean(text)
        if as_json:
            json.loads(out)
        assert "Glyph" not in err, "a picture was asked to draw what has no shape"
    for picture in (*tmp_path.glob("*.svg"), world / f"run {NAME}" / "report.html"):
        text = picture.read_text(encoding="utf-8")
        is_clean(text)
        assert "<script" not in text


@pytest.mark.thorough
def test_refusals_repeat_foreign_names_on_one_clean_line(world, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"mine {NAME}.jsonl").write_text("mine")
    for words in REFUSED:
        capfd.readouterr()
        assert status(filled(words, world, tmp_path)) == 2, words
        out, err = capfd.readouterr()
        assert out == "", words
        is_clean(err)
        said = [line for line in err.splitlines() if "mdm-jax: " in line or ": error: " in line]
        assert len(said) == 1, (words, err)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == [f"mine {NAME}.jsonl"]


@pytest.mark.core
def test_json_keeps_the_name_and_text_shows_it(tmp_path, capfd, monkeypatch):
    """``energy`` needs no run: the name as JSON has it is the name, and in the table every character can be read."""
    monkeypatch.chdir(tmp_path)
    file = schedule_text.save(schedules.tabulate(schedules.beta(0.9, 0.3), 8), tmp_path / f"{TITLE}{CURSOR}.json")
    words = ["energy", f"tabulated:{file}", "--weight", "linear", "--no-picture"]
    assert main(words) == 0
    out, _ = capfd.readouterr()
    assert r"\x1b]0;PWNED\x07\x9b2J.json" in out
    is_clean(out)


@pytest.fixture(scope="module")
def spaced(world, tmp_path_factory):
    """The same run where the path has spaces and quotes."""
    place = tmp_path_factory.mktemp("spaced") / 'it\'s a "run" $HOME `x`; #1'
    shutil.copytree(world / f"run {NAME}", place)
    return place


def suggested(text):
    """The command at the end of a text, as a shell takes it apart."""
    return shlex.split(text[text.rindex("mdm-jax ") :].strip())


def test_suggested_lines_can_be_pasted(spaced, tmp_path, capfd):
    """What follows "Next:" and the like names the run for a shell, whatever its path is."""
    assert main(["train", str(spaced)]) == 0
    *_, after, further = capfd.readouterr().out.splitlines()
    assert suggested(after) == ["mdm-jax", "profile", str(spaced)]
    assert suggested(further)[:4] == ["mdm-jax", "train", str(spaced), "--steps"]
    profile = spaced / "profile it's.json"
    assert main(["profile", str(spaced), "--encodings", "64", "--given", "4", "--output", str(profile)]) == 0
    assert suggested(capfd.readouterr().out) == ["mdm-jax", "tune", str(profile)]
    stale = json.loads((spaced / "profile.json").read_text())
    stale["provenance"]["run_step"] = 3
    (spaced / "old.json").write_text(json.dumps(stale))
    assert main(["tune", str(spaced / "old.json")]) == 2
    assert suggested(capfd.readouterr().err) == ["mdm-jax", "profile", str(spaced)]

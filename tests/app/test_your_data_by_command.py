"""Rows of different lengths, prompts, labels, ends and scores of one's own in ``sample``, ``evaluate``, ``race``,
``profile``. The models have not been trained.
"""

import argparse
import dataclasses
import json
import random
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mdm_jax
from mdm_jax import models, tasks
from mdm_jax.app.cli import main
from mdm_jax.app.options import lengths
from mdm_jax.app.options.budgets import llada_steps
from mdm_jax.app.options.ends import cut_behind
from mdm_jax.app.work import measured, remarks, sample_files, sampling
from mdm_jax.app.work.collapse import told_collapse
from mdm_jax.app.work.rows import as_rows
from mdm_jax.evaluation import Evaluation, Halving, Raced, own_entropy
from mdm_jax.sampling import Sampled, rules, sample
from mdm_jax.support.errors import InputError
from mdm_jax.support.keys import key_of
from mdm_jax.support.ragged import ABSENT
from mdm_jax.support.ragged import lengths as lengths_of_rows
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.training import RunDirectory, Settings, contexts
from mdm_jax.training.checkpoints import Checkpoints
from mdm_jax.training.runs import claim, configuration
from mdm_jax.training.step import initial_state
from mdm_jax.training.ways import Job

TINY = {"width": 16, "depth": 1, "heads": 2}
FEW = ["--samples", "6", "--batch", "6", "--budgets", "3"]
SCORES = """
import numpy as np

def tokens(rows):
    return (rows >= 0).sum(axis=1)

tokens.score_name, tokens.lower_is_better = "tokens of a row", True

def first(rows):
    return rows[:, 0]

def wrong_shape(rows):
    return rows

def not_finite(rows):
    return np.where(np.arange(len(rows)) == 1, np.nan, 1.0)

def failing(rows):
    return {}["nothing"]

def words(rows):
    return ["1"] * len(rows)

def odd(rows):
    return rows[:, 0]

odd.lower_is_better = "yes"
number = 3
"""


def untrained(directory, task, model):
    """A run directory as training leaves it at step 0, with a profile of the training."""
    place = RunDirectory(directory)
    settings = Settings(steps=1, length=task.length)
    state = jax.jit(lambda: initial_state(model, settings))()
    given = tasks.given_of(task, "train")
    more = {} if given is None else {"given": contexts.digest((given, None))}
    claim(place, configuration(task, Job(model, settings), state, None, None, more))
    with Checkpoints(place.checkpoints) as checkpoints:
        checkpoints.save(state)
    about = {"run_step": 0, "run": mdm_jax.load(directory).identity}
    profiles.from_values(np.linspace(2.0, 1.0, task.length), about).save(place.training_profile)
    return directory


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def run(folder):
    """Sequences of 2 to 12 letters, every one a row."""
    choice = random.Random(0)
    texts = ["".join(choice.choice("ACDE") for _ in range(choice.randint(2, 12))) for _ in range(120)]
    (folder / "letters.txt").write_text("\n".join(texts) + "\n")
    task = tasks.from_spec(f"text:{folder / 'letters.txt'}?lines")
    return untrained(folder / "letters", task, models.transformer(4, length=12, **TINY, ragged=True))


@pytest.fixture(scope="module")
def prompted(folder):
    """Numbers, and behind an equals sign the same backwards."""
    numbers = [str(random.Random(i).randint(1, 9999)) for i in range(100)]
    (folder / "backwards.txt").write_text("".join(f"{one}={one[::-1]}\n" for one in numbers))
    task = tasks.from_spec(f"text:{folder / 'backwards.txt'}?lines&prompt==")
    return untrained(folder / "backwards", task, models.transformer(task.vocab_size, length=9, **TINY, ragged=True))


@pytest.fixture(scope="module")
def labelled(folder):
    """Rows of numbers of three classes."""
    rows = np.random.RandomState(0).randint(0, 4, (300, 6))
    np.save(folder / "rows.npy", rows)
    np.save(folder / "classes.npy", np.arange(300) % 3)
    task = tasks.from_spec(f"npy:{folder / 'rows.npy'}?labels={folder / 'classes.npy'}")
    return untrained(folder / "classes", task, models.transformer(task.vocab_size, length=6, **TINY, classes=3))


@pytest.fixture
def said(capsys):
    """``mdm-jax COMMAND ...``: what it printed, or the JSON of it, and what it said on standard error."""

    def call(*words, refused=False):
        capsys.readouterr()
        assert main([*map(str, words)]) == (2 if refused else 0)
        out, err = capsys.readouterr()
        if refused:
            assert out == ""
            assert err.count("\n") == 1, err
            return err
        return (json.loads(out) if "--json" in words else out), err

    return call


@pytest.fixture
def scores(tmp_path, monkeypatch):
    """A module of one's own in the working directory, under a name that no other test has imported."""
    name = f"scores_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SCORES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


# ------------------------------------------------------------------------------------------------ lengths and prompts


@pytest.mark.thorough
def test_samples_have_the_lengths_of_the_training_rows_and_no_padding(run, said):
    found, err = said("sample", run, "--rows", 8, "--steps", 3, "--json", "--seed", 5)
    counts = tasks.lengths_of(mdm_jax.load(run).description)
    assert [len(row["tokens"]) for row in found["samples"]] == tasks.draw_lengths(counts, 8, 5).tolist()
    letters = mdm_jax.load(run).vocabulary
    for row in found["samples"]:
        assert len(row["tokens"]) == len(row["pieces"]) == len(row["reveal_step"]) == len(row["text"])
        assert min(row["tokens"]) >= 0
        assert letters.decode(np.array(row["tokens"])) == "".join(row["pieces"]) == row["text"]
        assert row["nfe"] <= 3
    assert found["sampler"]["plan_from"] == "training_profile.json"
    assert "has no profile yet, so the plan was computed from training_profile.json: the training loss" in err
    text, _ = said("sample", run, "--rows", 8, "--steps", 3, "--seed", 5)
    assert f"── sample 0: {len(found['samples'][0]['tokens'])} tokens, nfe" in text


@pytest.mark.thorough
def test_a_length_that_is_asked_for_a_prompt_and_blanks_say_how_long_rows_are(run, said):
    found, _ = said("sample", run, "--length", 5, "--rows", 8, "--steps", 3, "--json")
    assert {len(row["tokens"]) for row in found["samples"]} == {5}
    found, _ = said("sample", run, "--prompt", "ACDE", "--rows", 8, "--steps", 3, "--json")
    assert {row["text"][:4] for row in found["samples"]} == {"ACDE"}
    assert min(len(row["tokens"]) for row in found["samples"]) > 4
    found, _ = said("sample", run, "--infill", "A□C□", "--rows", 8, "--steps", 3, "--json")
    assert {row["text"][::2] for row in found["samples"]} == {"AC"}
    assert {len(row["tokens"]) for row in found["samples"]} == {4}
    found, _ = said("sample", run, "--infill", "A□", "--length", 6, "--rows", 8, "--steps", 3, "--json")
    assert {len(row["tokens"]) for row in found["samples"]} == {6}


def test_the_law_of_lengths_behind_a_prompt_is_that_of_longer_rows(run):
    """A million quantiles spread evenly: shares of the conditional law to four digits, whatever stands between."""
    trained = mdm_jax.load(run)
    counts = tasks.lengths_of(trained.description)
    begun = np.arange(10**6) % 3 * 2
    found = lengths.row_lengths(trained, None, 7, begun)
    for given in (0, 2, 4):
        law = np.where(np.arange(13) > given, counts, 0) / counts[given + 1 :].sum()
        shares = np.bincount(found[begun == given], minlength=13) / (begun == given).sum()
        assert np.abs(shares - law).max() < 1e-3
    same, mixed = (lengths.row_lengths(trained, None, 7, np.array(begun)) for begun in ([4, 4, 4], [0, 4, 2]))
    assert mixed[1] == same[1]  # the same quantile, whatever the other rows are


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--length", "0"], "--length must be from 1 to 12, the length of the longest rows; got 0"),
        (["--length", "13"], "--length must be from 1 to 12"),
        (["--length", "3", "--prompt", "ACDE"], "--length must be at least 4, the length of --prompt; got 3"),
        (["--length", "4", "--prompt", "ACDE"], "--length must be more than 4, for so many tokens are given; got 4"),
        (["--prompt", "A" * 12], "what is given must leave something to be drawn: it has 12 tokens"),
        (["--prompt", "A" * 13], "--prompt must be at most 12 characters long, as the model is; got 13"),
        (["--infill", "ACDE"], "--infill must be a text with a blank: nothing is left to be drawn; got 'ACDE'"),
        (["--output", "x.csv"], "--output must be a .npy, .txt or .fasta file; got 'x.csv'"),
        (["--force"], "--force must be given beside --output"),
        (["--label", "1"], "--label needs a run whose data have labels"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_drawn(run, said, words, says):
    assert says in said("sample", run, *words, refused=True)


def test_a_run_of_one_length_takes_no_other_and_a_prompt_leaves_something(labelled, said):
    assert "--length needs a run of rows of different lengths; all rows of this one have 6" in said(
        "sample", labelled, "--length", 3, refused=True
    )
    wanted = "shorter than the 6 numbers of the model: nothing is left to be drawn; got '0 1 2 3 0 1'"
    assert f"--prompt must be {wanted}" in said("sample", labelled, "--prompt", "0 1 2 3 0 1", refused=True)
    wanted = f"--infill must be a text with a blank, or {wanted}"
    assert wanted in said("sample", labelled, "--infill", "0 1 2 3 0 1", refused=True)


# -------------------------------------------------------------------------------------------------------------- files


@pytest.mark.thorough
def test_samples_become_arrays_lines_and_sequences_and_nothing_is_overwritten(run, said, tmp_path):
    words = ["sample", run, "--rows", 8, "--steps", 3]
    found, _ = said(*words, "--json")
    tokens, texts = ([row[name] for row in found["samples"]] for name in ("tokens", "text"))
    for suffix in ("npy", "txt", "fasta"):
        text, _ = said(*words, "--output", tmp_path / f"a.{suffix}")
        assert text.splitlines()[1].startswith(f"8 samples are in {tmp_path}/a.{suffix}")
        assert "──" not in text
    array = np.load(tmp_path / "a.npy")
    assert (array.dtype, array.shape) == (np.int32, (8, 12))
    assert [row[row != ABSENT].tolist() for row in array] == tokens
    assert (tmp_path / "a.txt").read_text().splitlines() == texts
    records = (tmp_path / "a.fasta").read_text().split(">")[1:]
    assert [record.split("\n", 1)[1].replace("\n", "") for record in records] == texts
    before = (tmp_path / "a.npy").read_bytes()
    refusal = said(*words, "--seed", 1, "--output", tmp_path / "a.npy", refused=True)
    assert "--output must be a new file, or one that --force replaces; this one is there" in refusal
    assert (tmp_path / "a.npy").read_bytes() == before
    found, _ = said(*words, "--seed", 1, "--output", tmp_path / "a.npy", "--force", "--json")
    assert found["output"] == str(tmp_path / "a.npy")
    assert (tmp_path / "a.npy").read_bytes() != before
    said(*words, "--end", "A", "--output", tmp_path / "b.npy")
    cut = np.load(tmp_path / "b.npy")
    assert all((row[:-1] != 0).all() for row in (row[row != ABSENT] for row in cut))  # an A is the last, or none


def test_files_have_lines_without_their_ends_and_pictures_in_their_shape(labelled, tmp_path):
    def saved(known, end, ids, file):
        about = {"vocabulary": known.to_json(), "end": end, "length": 4}
        trained = dataclasses.replace(mdm_jax.load(labelled), description=about)
        tokens, zero, none = jnp.array(ids, jnp.int32), jnp.int32(0), jnp.zeros(2, jnp.int32)
        drawn = Sampled(tokens, none, zero, none, jnp.zeros_like(tokens), jnp.zeros(2), zero)
        file = tmp_path / file
        options = argparse.Namespace(output=str(file))
        return file, sample_files.save(trained, drawn, as_rows(trained, drawn), options, None)

    file, _ = saved(tasks.Vocabulary("ab⏎"), 2, [[0, 1, 2, 2], [2, 2, 2, 2]], "a.txt")
    assert file.read_text() == "ab\n\n"
    file, said_ = saved(tasks.Numbers(5, (2, 2)), None, [[0, 1, 2, 3], [4, 5, 0, 0]], "a.npy")
    assert np.load(file).tolist() == [[[0, 1], [2, 3]], [[4, 5], [0, 0]]]
    assert said_.endswith("a.npy, token ids.")


def test_a_file_of_letters_is_for_letters(labelled, said, tmp_path):
    said_ = said("sample", labelled, "--output", tmp_path / "a.fasta", refused=True)
    assert "--output must be a .npy or .txt file: this run's tokens are not all letters, * or -" in said_


# ------------------------------------------------------------------------------------- scores, ends and held-out rows


@pytest.mark.thorough
def test_held_out_rows_stand_beside_samples_and_ends_cut_both(run, said, scores):
    """The samples are drawn anew by the library, and everything is counted by hand."""
    trained = mdm_jax.load(run)
    words = ["evaluate", run, "linear", *FEW, "--seed", 3, "--json"]
    plain, _ = said(*words)
    assert plain["held_out_rows"]["rows"] == 6
    name = trained.task.score_name
    assert plain["held_out_rows"][name]["mean"] == pytest.approx(trained.task.score(trained.task.test[:6]).mean())
    (entropy,) = (key for key in plain["held_out_rows"] if "entropy" in key)
    by_hand = own_entropy(trained.task.test[:6], 4).mean()
    assert plain["held_out_rows"][entropy]["mean"] == pytest.approx(by_hand)
    own, _ = said(*words, "--score", f"{scores}:tokens", "--end", "A")
    assert (own["score"], own["own_score"]) == ("tokens of a row", f"{scores}:tokens")
    assert (own["lower_is_better"], own["end"]) == (True, "A")
    seed = int(np.random.SeedSequence([3, 2]).generate_state(1)[0])
    many = tasks.draw_lengths(tasks.lengths_of(trained.description), 6, seed)
    canvas = np.where(np.arange(12) < many[:, None], 4, ABSENT)
    rule = rules.at_random(plans.from_schedule(schedules.linear(), 12, 3)).replace(end=0)
    drawn = sample(trained.denoiser, trained.params, rule, 6, key=key_of(3), canvas=canvas)
    cut = cut_behind(np.asarray(drawn.tokens), 0, np.zeros(12, bool))
    assert own["samplers"][0]["tokens of a row"]["mean"] == pytest.approx(lengths_of_rows(cut).mean())
    assert own["samplers"][0]["nfe"]["mean"] == pytest.approx(np.asarray(drawn.nfe).mean())
    real = lengths_of_rows(cut_behind(trained.task.test[:6], 0, np.zeros(12, bool))).mean()
    assert own["held_out_rows"]["tokens of a row"]["mean"] == pytest.approx(real)
    again, _ = said(*words, "--score", f"{scores}:first", "--end", "A")
    assert (again["drawn"], again["score"]) == (
        0,
        f"{scores}:first",
    )  # the store keeps rows, whatever they are scored by
    text, _ = said(*words[:-1], "--score", f"{scores}:tokens", "--end", "A")
    assert text.splitlines()[3].startswith("held-out rows (test half)  ")
    assert "They stop at 'A', and scores see what stands before that and it." in text
    assert "Their lengths are drawn as those of the training rows are." in text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere:f", "--score names the module nowhere, which is neither in the working directory nor installed."),
        ("f", "--score must be MODULE:NAME, as in my_module:my_function; got 'f'."),
        ("{}:missing", "--score names 'missing', which the module {} does not have."),
        (
            "{}:number",
            "--score must be MODULE:FUNCTION, a function from int[rows, length] to float[rows]; got {}:number",
        ),
        (
            "{}:wrong_shape",
            "what --score {}:wrong_shape returns must be a number for each of 6 rows; got int32 of shape",
        ),
        ("{}:words", "what --score {}:words returns must be a number for each of 6 rows; got <U1 of shape"),
        ("{}:not_finite", "--score {}:not_finite must be finite for every row; row 1 has nan."),
        ("{}:failing", "--score {}:failing fails on 6 rows of samples: KeyError: 'nothing' ({}.py, line "),
        ("{}:odd", "--score {}:odd: its lower_is_better must be True or False; got 'yes'."),
    ],
)
def test_a_score_that_is_none_is_refused_in_one_sentence_before_anything_is_drawn(run, said, scores, name, says):
    words = ["evaluate", run, *FEW, "--store", "none.jsonl"]
    refusal = said(*words, "--score", name.replace("{}", scores), refused=True)
    assert says.replace("{}", scores) in refusal
    assert not Path("none.jsonl").exists()


def test_a_module_that_fails_is_told_with_its_place(run, said, tmp_path, monkeypatch):
    (tmp_path / "failing_module.py").write_text("\nraise ValueError('not today')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    refusal = said("race", run, "--score", "failing_module:f", refused=True)
    assert "failing_module:f cannot be imported: ValueError: not today (failing_module.py, line 2)." in refusal


@pytest.mark.thorough
def test_an_own_score_needs_no_data_and_a_race_keeps_it_apart(folder, said, scores):
    """The data of the run are gone: the task's score cannot be had, and there is nothing to compare with."""
    (folder / "gone.txt").write_text("\n".join("ACDE"[i % 4] * (2 + i % 5) for i in range(60)) + "\n")
    task = tasks.from_spec(f"text:{folder / 'gone.txt'}?lines")
    gone = untrained(folder / "gone", task, models.transformer(4, length=6, **TINY, ragged=True))
    (folder / "gone.txt").unlink()
    race = ["race", gone, "--order", "random", "--budgets", 2, "--grid", 2, "--samples", 2, "--final-samples", 4]
    assert "gone.txt" in said(*race, refused=True)
    text, _ = said(*race, "--score", f"{scores}:tokens")
    assert "held-out rows (test half)" not in text
    assert "There are no held-out rows to compare with: " in text
    (place,) = (gone / "races").iterdir()
    assert f"-score-{scores}-tokens-" in place.name
    kept = json.loads((place / "race-2.json").read_text())
    assert (kept["score"], kept["own_score"], kept["lower_is_better"]) == ("tokens of a row", f"{scores}:tokens", True)
    said(*race, "--score", f"{scores}:first")
    assert len(list((gone / "races").iterdir())) == 2  # another score is another race


def test_a_winner_that_writes_less_is_told_of():
    """Two schedules by hand: the winner scores better on every sample, and has less entropy."""
    names, zeros = ("winner", "linear"), np.zeros((2, 8), np.int32)
    noise = np.random.RandomState(0).normal(size=(2, 8)) / 10

    def raced(entropy):
        scored = {"score": np.array([[1.0], [2.0]]) + noise, remarks.OWN_ENTROPY: np.array([[entropy], [2.0]]) + noise}
        test = Evaluation(names, scored, zeros, zeros, zeros.astype(np.float32), np.zeros((2, 8, 4), np.int32))
        both = {"winner": plans.uniform(4, 1), "linear": plans.uniform(4, 2)}
        grid = np.ones(1)
        return Raced(both, (), grid, grid, np.ones((1, 1)), np.ones((1, 1), int), test, test, "winner", True)

    (told,) = remarks.told_of_entropy(raced(1.0))
    assert told.startswith("But the samples of winner have less entropy of their own than those of linear (-0.956 bits")
    assert remarks.told_of_entropy(raced(2.0)) == []
    assert remarks.told_of_entropy(raced(3.0)) == []


@pytest.mark.thorough
def test_a_conditional_run_is_judged_from_the_prompts_of_held_out_rows(prompted, said, tmp_path):
    trained, store = mdm_jax.load(prompted), tmp_path / "rows.jsonl"
    text, _ = said("evaluate", prompted, "linear", *FEW, "--store", store)
    assert "Each went on from the prompt of a held-out sequence." in text
    rows = {row[1]: row[-1] for line in store.read_text().splitlines()[1:] for row in json.loads(line)["rows"]}
    given = tasks.given_of(trained.task, "test")
    for i, row in rows.items():
        many = given[i].sum()
        assert row[:many] == trained.task.test[i][:many].tolist()
        assert sum(token >= 0 for token in row) > many
    found, _ = said("evaluate", prompted, "linear", *FEW, "--given", 0, "--json")
    assert found["given"] is None
    found, _ = said("evaluate", prompted, "linear", *FEW, "--given", 2, "--end", "=", "--json")
    assert found["given"] == 2
    _, err = said("sample", prompted, "--prompt", "12", "--rows", 1, "--steps", 2)
    assert "this run learned to go on behind '=', which --prompt does not have." in err
    assert "learned to go on" not in said("sample", prompted, "--prompt", "12=", "--rows", 1, "--steps", 2)[1]
    told = "this run learned only what follows a prompt; without --prompt it also writes what it never learned."
    assert told in said("sample", prompted, "--rows", 1, "--steps", 2)[1]
    assert told not in said("sample", prompted, "--infill", "12=□□", "--rows", 1, "--steps", 2)[1]


def test_prompts_are_for_data_that_has_them(run, said):
    refusal = said("evaluate", run, *FEW, "--given", "prompts", refused=True)
    assert "--given prompts needs a run whose data has prompts" in refusal
    assert "--given must be a number of tokens, or prompts; got -1." in said(
        "evaluate", run, *FEW, "--given=-1", refused=True
    )
    assert "--end cannot be given beside --order left_to_right" in said(
        "evaluate", run, "--end", "A", "--order", "left_to_right", refused=True
    )
    assert "--guidance needs --label or --given" in said("evaluate", run, *FEW, "--guidance", 1, refused=True)
    assert "--guidance must be given beside --label" in said("race", run, "--guidance", 1, refused=True)


@pytest.mark.thorough
def test_samples_of_a_class_stand_beside_held_out_rows_of_it(labelled, said):
    task = mdm_jax.load(labelled).task
    found, _ = said("evaluate", labelled, "linear", *FEW[:-1], 2, "--label", 1, "--guidance", 1, "--json")
    mine = task.test[task.context("test")["label"] == 1][:6]
    assert found["held_out_rows"]["rows"] == len(mine)
    assert found["held_out_rows"][task.score_name]["mean"] == pytest.approx(task.score(mine).mean())
    assert (found["label"], found["guidance"], found["samplers"][0]["nfe"]["mean"]) == ([1], 1.0, 4.0)
    drawn, err = said("sample", labelled, "--label", "2,0", "--rows", 3, "--steps", 2, "--json")
    assert "label dropout" not in err
    told = "this run was trained without label dropout: without --label it writes what it never learned."
    assert told in said("sample", labelled, "--rows", 1, "--steps", 2)[1]
    assert [row["label"] for row in drawn["samples"]] == [2, 0, 2]
    told = "--label must be one class where samples go on from held-out sequences"
    assert told in said("evaluate", labelled, "linear", *FEW, "--label", "0,1", "--given", 2, refused=True)
    race = ["race", labelled, "--label", 1, "--order", "random", "--budgets", 2, "--grid", 2, "--samples", 2]
    raced, _ = said(*race, "--final-samples", 4, "--json")
    assert (raced["label"], raced["races"][0]["test"]["held_out_rows"]["rows"]) == ([1], min(4, len(mine)))
    profile, _ = said("profile", labelled, "--label", 1, "--encodings", 64, "--json")
    assert profile["profile"]["provenance"]["label"] == [1]
    text, _ = said("profile", labelled, "--encodings", 64, "--held-out-rows", 5)
    (labelled / "profile.json").unlink()
    assert "The model is told the label of each row; the models beside it are not." in text
    assert "--label must be from 0 to 2, a class of this run; got 3" in said(
        "profile", labelled, "--label", 3, refused=True
    )


@pytest.mark.thorough
def test_labels_that_the_data_do_not_tell_are_not_made_up(labelled, said, tmp_path):
    """A run whose labels were given to ``fit``: samples have them, held-out rows are of no known class."""
    task = tasks.from_spec(mdm_jax.load(labelled).task.spec.partition("?")[0])
    bare = untrained(tmp_path / "bare", task, models.transformer(task.vocab_size, length=6, **TINY, classes=3))
    text, _ = said("evaluate", bare, "linear", *FEW, "--label", 1)
    assert "They are of class 1; the data do not tell of which the held-out rows are." in text
    assert "the data do not tell their labels" in said("evaluate", bare, *FEW, "--label", 1, "--given", 2, refused=True)
    assert "--label needs data that tell the labels" in said("profile", bare, "--label", 1, refused=True)
    assert "all was measured without labels" in said("profile", bare, "--encodings", 64)[1]


def test_a_race_needs_as_much_context_as_samples(labelled):
    trained, search = mdm_jax.load(labelled), Halving(grid=2, samples=2, final_samples=4)
    wanted = "context must be a pytree of arrays whose leading axis is [0-9]+ or more, as many as samples of a round"
    with pytest.raises(InputError, match=wanted):
        mdm_jax.race(
            trained.denoiser, trained.params, lengths_of_rows, 6, 2, key=key_of(0), lower_is_better=True, search=search,
            context={"label": np.zeros(3, np.int32)},
        )  # fmt: skip


# ------------------------------------------------------------------------------------------ profiles, steps, collapse


@pytest.mark.thorough
def test_a_profile_says_which_rows_it_judged_and_what_their_lengths_cost(run, said):
    text, _ = said("profile", run, "--encodings", 64, "--held-out-rows", 5, "--output", run / "other.json")
    assert "held-out" not in text
    text, _ = said("profile", run, "--encodings", 64, "--held-out-rows", 5)
    (run / "profile.json").unlink()
    held_out = json.loads((run / "held_out.json").read_text())
    assert (held_out["run_step"], held_out["given_labels"]) == (0, False)
    assert held_out["data_notes"] == list(mdm_jax.load(run).task.notes)
    assert "bits per token given the length" in text
    assert "\nOf 5 rows of the test half's 12.\nThe length itself: " in text
    assert "bits per row, by the lengths of the training rows." in text
    told = said("profile", run, "--held-out-rows", 1, refused=True)
    assert "--held-out-rows must be from 2 (for a standard error) to 2,147,483,647; got 1" in told
    assert "--length must be given beside --prompt for a run" in said("profile", run, "--prompt", "A", refused=True)
    found, _ = said("profile", run, "--prompt", "A", "--length", 4, "--encodings", 64, "--json")
    assert found["profile"]["length"] == 3


def test_a_profile_goes_on_until_it_is_known_well_enough(run, said):
    """An untrained model, to which all letters cost the same: the words and the JSON; refusals name options."""
    once = ("profile", run, "--encodings", 96, "--output", run / "other.json", "--most-encodings", 9_600)
    text, remarks_made = said(*once, "--until", 2, "--certify", "2,4")
    assert re.search("encodings, as asked .at most 2.\\.\nCertificate.12 tokens, each with probability 0.95;", text)
    assert "95% interval" in text
    assert (text + remarks_made).count("Plans of 2 and 4 steps certified to") == 1
    found, _ = said(*once, "--until", 1e-5, "--json")
    came = found["profile"]["provenance"]["until"]
    assert (came["ended"], came["rounds"], came["most_encodings"]) == ("enough", 1, 9_600)
    found, _ = said(*once[:-2], "--certify", 4, "--json")
    assert (found["certificate"]["steps"], "until" in found["profile"]["provenance"]) == ([4], False)
    for words, told in (
        (("--until", 0), "--until must be a positive number of bits per token; got 0.0"),
        (("--until", "nan"), "--until must be a positive number of bits per token; got nan"),
        (("--until", -1), "--until must be a positive number of bits per token; got -1.0"),
        (
            ("--most-encodings", 10**6),
            "--most-encodings must be given beside --until, which alone goes on; got 1000000",
        ),
        (
            ("--until", 1, "--most-encodings", 100),
            "--most-encodings must be from 4,096, the first round, to 2,147,483,",
        ),
        (("--certify", "a"), "--certify must be whole numbers separated by commas, as in 4,8,16; got 'a'"),
        (("--certify", "4,13"), "--certify must be numbers of steps from 1 to 12; got '4,13'"),
        (("--certify", "0"), "--certify must be numbers of steps from 1; got '0'"),
    ):
        assert told in said("profile", run, *words, refused=True)


def test_what_was_judged_is_said_of_every_kind_of_rows():
    held_out = {"bits_per_token": 1.0, "standard_error": 0.1, "baselines": [], "rows": 7, "of_rows": 7}
    profile = profiles.from_values(np.ones(4))
    assert measured.describe(profile, held_out).endswith("\nOf 7 rows, all of the test half.")
    more = held_out | {"of_rows": 12_345, "behind_prompts": True}
    text = measured.describe(profile, more | {"length_bits_per_row": 3.0, "length_standard_error": 0.5})
    assert text.endswith(
        "\nOf 7 rows of the test half's 12,345. What the data gives of a row, its prompt, is not counted."
        "\nThe length itself: 3.000 ± 0.500 bits per row, by the lengths of the training rows."
    )
    assert "bits per token given the length" in text
    text = measured.describe(profile, held_out | {"given_labels": True})
    assert text.endswith("test half.\nThe model is told the label of each row; the models beside it are not.")


def test_steps_that_are_rounded_are_those_that_are_taken():
    """By brute force: every block gives its masks away in equal shares, one at least in each step."""

    def taken(free, steps, block):
        where = np.flatnonzero(free)
        blocks = [where[(where - where[0]) // block == b] for b in range(len(free))]
        busy = [one for one in blocks if len(one)]
        share = -(-steps // len(busy))
        return sum(len([part for part in np.array_split(one, share) if len(part)]) for one in busy)

    choice = np.random.RandomState(0)
    for _ in range(50):
        free, steps, block = choice.rand(16) < 0.7, choice.randint(1, 17), choice.randint(1, 17)
        if free.any():
            assert llada_steps(free[None], steps, block) == taken(free, steps, block)
    assert llada_steps(np.ones((1, 128), bool), 30, 32) == 32
    assert llada_steps(np.ones((1, 128), bool), 30, 32, in_all=False) == 30


@pytest.mark.thorough
def test_rounded_steps_are_said(labelled, said):
    text, err = said("sample", labelled, "--preset", "llada", "--block", 2, "--steps", 4, "--rows", 1)
    assert text.startswith("llada, 6 steps, block 2")
    assert "--steps 4 come to 6: each block takes equally many, and each step reveals a token." in err
    text, err = said("sample", labelled, "--schedule", "maskgit", "--steps", 6, "--rows", 1)
    if "6 steps" not in text.splitlines()[0]:
        assert "by this plan the others would reveal nothing." in err


def test_samples_that_are_the_same_row_are_told():
    letters = tasks.Vocabulary("ab")
    rows = np.tile(np.arange(10) % 2, (4, 1))
    drawn = np.ones(rows.shape, bool)
    assert told_collapse(rows, drawn, letters) == "4 of 4 samples are the same row."
    assert told_collapse(rows[:1], drawn[:1], letters) is None
    other = rows.copy()
    other[1] = 1 - other[1]
    assert told_collapse(other, drawn, letters) is None
    assert told_collapse(rows, drawn & (np.arange(10) < 7), letters) is None  # too few tokens to tell
    blank = np.where(np.arange(4)[:, None] < 1, 0, other)
    assert told_collapse(blank, drawn, letters) == "almost all that was drawn in 1 of 4 samples is one token, 'a'."
    assert told_collapse(blank, drawn, letters, least=0.5) is None


def test_a_picture_that_is_mostly_background_is_no_collapse():
    pictures = np.zeros((3, 100), int)
    pictures[0, 5], pictures[1, 6] = 3, 2
    drawn = np.ones(pictures.shape, bool)
    told = "almost all that was drawn in {} is one token, '0'."
    assert told_collapse(pictures, drawn, tasks.Numbers(4)) == told.format("3 of 3 samples")
    assert told_collapse(pictures[:2], drawn[:2], tasks.Numbers(4, (10, 10))) is None
    assert told_collapse(pictures, drawn, tasks.Numbers(4, (10, 10))) == told.format("1 of 3 samples")


@pytest.mark.thorough
def test_what_fills_up_a_row_behind_its_end_is_no_collapse(folder, said):
    """Short lines in long rows: nearly all tokens are ends, which the data has too; texts stop at the first."""
    (folder / "short.txt").write_text("".join(f"{'ACDE'[i % 4]}{'EDCA'[i // 4 % 4]}\n" for i in range(60)))
    task = tasks.from_spec(f"text:{folder / 'short.txt'}?lines&end", length=16)
    short = untrained(folder / "short", task, models.transformer(task.vocab_size, length=16, **TINY))
    found, _ = said("sample", short, "--rows", 4, "--steps", 3, "--json")
    for row in found["samples"]:
        end = row["pieces"].index("⏎") if "⏎" in row["pieces"] else 15
        assert row["text"] == "".join(row["pieces"][: end + 1])
    said("evaluate", short, "linear", *FEW, "--end", "⏎")
    trained = mdm_jax.load(short)
    tokens = np.full((2, 16), trained.description["end"], np.int32)
    tokens[:, :2] = 0
    zero, none = jnp.int32(0), jnp.zeros(2, jnp.int32)
    drawn = Sampled(jnp.asarray(tokens), none, zero, none, jnp.zeros((2, 16), jnp.int32), jnp.zeros(2), zero)
    assert sampling.monotony(trained, drawn) is None


def test_a_row_is_cut_behind_its_first_end_that_was_drawn():
    rows = np.array([[9, 1, 9, 9], [1, 2, 3, 4], [9, 9, ABSENT, ABSENT]])
    given = np.array([True, False, False, False])
    assert cut_behind(rows, 9, given).tolist() == [[9, 1, 9, -1], [1, 2, 3, 4], [9, 9, -1, -1]]
    assert cut_behind(rows, 9, ~given).tolist() == [[9, -1, -1, -1], [1, 2, 3, 4], [9, -1, -1, -1]]


def test_the_law_must_have_rows_that_are_long_enough(run):
    trained = mdm_jax.load(run)
    with pytest.raises(InputError, match="it has 12 tokens, and no row that the run learned from has more; --length"):
        lengths.row_lengths(trained, None, 0, np.array([12]))

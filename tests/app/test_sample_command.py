"""``mdm-jax sample``: which options go together, and what comes out. The model has not been trained."""

import json
import shutil

import jax
import numpy as np
import pytest
from toys import PatternTask

from mdm_jax import models
from mdm_jax.app.cli import main
from mdm_jax.sampling import FILLED, GIVEN
from mdm_jax.tasks.notations import Vocabulary
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import grids
from mdm_jax.training import RunDirectory, Settings
from mdm_jax.training.checkpoints import Checkpoints
from mdm_jax.training.runs import claim, configuration
from mdm_jax.training.step import initial_state
from mdm_jax.training.ways import Job

LENGTH = 16
LETTERS = Vocabulary(" abcdefgh")
LINEAR = ["--schedule", "linear"]


class Letters(PatternTask):
    """A task of letters, of which only the description is needed."""

    def describe(self):
        size, letters = LETTERS.size, LETTERS.characters
        return {"spec": "text", "length": LENGTH, "vocab_size": size, "digest": "0" * 64, "vocabulary": letters}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory as training leaves it at step 0, and a profile."""
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "letters")
    settings = Settings(steps=1, length=LENGTH)
    model = models.transformer(LETTERS.size, length=LENGTH, width=16, depth=1, heads=2)
    state = jax.jit(lambda: initial_state(model, settings))()
    claim(directory, configuration(Letters(), Job(model, settings), state, None, None))
    with Checkpoints(directory.checkpoints) as checkpoints:
        checkpoints.save(state)
    profiles.from_values(np.linspace(2.0, 1.0, LENGTH)).save(directory.profile)
    return directory.path


@pytest.fixture
def sampled(run, capsys):
    """``mdm-jax sample RUN ...``: what it printed."""

    def call(*arguments):
        capsys.readouterr()
        assert main(["sample", str(run), *map(str, arguments)]) == 0
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in arguments else out

    return call


AS_IT_TAKES = "it takes as many steps as the model's certainty allows."


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--preset", "mdlm", "--order", "random"], "--order cannot be given beside --preset: a preset is a whole"),
        (["--preset", "eb", "--threshold", ".5"], "--threshold cannot be given beside --preset: a preset is a whole"),
        (["--preset", "eb", "--entropy-bound", ".5"], "--entropy-bound cannot be given beside --preset"),
        (["--preset", "best", "--plan", "x.json"], "--plan cannot be given beside --preset"),
        (["--preset", "llada", *LINEAR], "--schedule cannot be given beside --preset"),
        (["--preset", "eb", "--steps", "4"], f"--steps cannot be given beside --preset eb: {AS_IT_TAKES}"),
        (["--preset", "best", "--block", "4"], "--block cannot be given beside --preset best: its plan is made for"),
        (["--threshold", ".5", "--steps", "4"], f"--steps cannot be given beside --threshold: {AS_IT_TAKES}"),
        (["--threshold", ".5", *LINEAR], f"--schedule cannot be given beside --threshold: {AS_IT_TAKES}"),
        (["--entropy-bound", "1", "--plan", "p"], f"--plan cannot be given beside --entropy-bound: {AS_IT_TAKES}"),
        (["--threshold", ".5", "--entropy-bound", "1"], "--entropy-bound cannot be given beside --threshold: each"),
        (["--threshold", ".5", "--order", "random"], "--order must be one of probability, margin, entropy beside --th"),
        (["--entropy-bound", "1", "--order", "left_to_right"], "beside --entropy-bound; got 'left_to_right'"),
        (["--order-temperature", "1", *LINEAR], "--order-temperature needs an order that looks at the model"),
        (["--order-temperature", "1", "--preset", "remdm"], "--order-temperature needs an order that looks at the mod"),
        (["--order", "left_to_right", "--block", "4"], "--block cannot be given beside --order left_to_right"),
        (["--order", "left_to_right", "--end", "a"], "--end cannot be given beside --order left_to_right; --block 1"),
        (["--guidance", "1"], "--guidance needs --label, --prompt or --infill: it"),
        (["--guidance", "inf", "--prompt", "a"], "--guidance must be a finite number, up to 1e+30 in size; got inf"),
        (["--threshold", "1.5"], "--threshold must be a probability from 0 to 1; got 1.5"),
        (["--entropy-bound", "-1"], "--entropy-bound must be 0 or more (nats), and finite; got -1.0"),
        (
            ["--order", "margin", "--order-temperature", "nan"],
            "--order-temperature must be 0 or more, and at most 1e+36; got",
        ),
        (["--top-p", "0"], "--top-p must be above 0 and at most 1; got 0.0"),
        (["--top-k", "0"], "--top-k must be at least 1; got 0"),
        (["--top-k", "10", *LINEAR], "--top-k must be from 1 to 9, the size of the vocabulary; got 10"),
        (["--block", "0"], "--block must be at least 1; got 0"),
        (["--block", "17"], "--block must be at most 16, the model's length; got 17"),
        (["--block", "4", "--steps", "5"], "--steps must be from 1 to 4, the length of a block; got 5"),
        (["--preset", "mdlm", "--steps", "65537"], "--steps must be from 1 to 65536; got 65537"),
        (["--preset", "llada", "--steps", "17"], "--steps must be from 1 to 16; got 17"),
        (["--end", "ab", *LINEAR], "--end must be one token of this run's vocabulary; got 'ab'"),
        (["--end", "", *LINEAR], "--end must be one token of this run's vocabulary; got ''"),
        (["--end", "z", *LINEAR], "--end must be one token of this run's vocabulary; got 'z'"),
        (["--replay", "--json"], "--replay cannot be given beside --json: it is for eyes"),
        (["--replay-seconds", "1"], "--replay-seconds must be given beside --replay"),
        (["--replay", "--replay-seconds", "nan"], "--replay-seconds must be from 0 to 3600; got nan"),
    ],
)
def test_options_that_do_not_go_together_are_refused_in_one_sentence(arguments, says, run, capsys):
    assert main(["sample", str(run), *arguments]) == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.core
def test_a_plan_for_blocks_is_one_of_their_length_and_the_best_plan_needs_a_profile(run, tmp_path, capsys):
    plan = plans.uniform(LENGTH, 4).save(tmp_path / "plan.json")
    assert main(["sample", str(run), "--plan", str(plan), "--block", "8"]) == 2
    assert "of length 16' " not in (said := capsys.readouterr().err)
    assert "--plan must be a plan of length 8, that of one block; got" in said
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "profile.json").unlink()
    for arguments in (["--preset", "best"], ["--order", "margin"]):
        assert main(["sample", str(tmp_path / "copy"), *arguments]) == 2
        said = capsys.readouterr().err
        assert "has no profile yet, by which the sizes of steps are chosen: measure it with mdm-jax profile " in said
        assert "or say the sizes, as in mdm-jax sample " in said
        assert "copy --schedule linear --steps 16 (--plan takes a file)." in said


@pytest.mark.core
def test_choices_that_do_not_exist_are_refused_and_help_has_groups(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["sample", "run", "--preset", "maskgit"])
    assert caught.value.code == 2
    assert "invalid choice: 'maskgit'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    text = capsys.readouterr().out
    groups = ("how tokens are revealed:", "what is given:", "the law that tokens are drawn from:", "output:")
    assert [text.index(group) for group in groups] == sorted(text.index(group) for group in groups)


@pytest.mark.core
def test_the_surest_first_in_blocks_up_to_an_end(sampled):
    asked = [*LINEAR, "--order", "margin", "--block", 8, "--steps", 4, "--end", "a", "--order-temperature", 0.5]
    result = sampled(*asked, "--rows", 16, "--prompt", "bc", "--json")
    assert result["sampler"] == {
        "name": "surest", "order": "margin", "plan": "linear", "steps": 4, "block": 8, "order_temperature": 0.5,
        "end": "a",
    }  # fmt: skip
    assert result["plan"]["sizes"] == [2] * 4
    ended = 0
    for row in result["samples"]:
        steps, pieces = np.array(row["reveal_step"]), row["pieces"]
        assert steps[:2].tolist() == [GIVEN, GIVEN]
        assert row["remaining"] == 0
        assert row["nfe"] == len(np.unique(steps[steps >= 0])) <= 8
        drawn = steps >= 0
        assert steps[2:10].max() < (steps[10:][drawn[10:]].min() if drawn[10:].any() else 99)  # block by block
        behind = np.flatnonzero(steps == FILLED)
        assert set(np.array(pieces)[behind]) <= {"a"}
        after = "".join(pieces[2:])
        assert row["text"] == "".join(pieces[:2]) + (after[: after.index("a") + 1] if "a" in after else after)
        ended += len(behind) > 0
    assert ended > 2
    assert max(row["nfe"] for row in result["samples"]) <= result["batch_nfe"] <= 8


@pytest.mark.core
def test_guidance_and_cuts_change_the_law(sampled):
    asked = ["--order", "left_to_right", *LINEAR, "--prompt", "bc", "--guidance", 1.5, "--top-p", 0.9, "--top-k", 1]
    text = sampled(*asked, "--rows", 2)
    head, first, *_ = text.splitlines()
    assert head == "left to right order, plan linear, 16 steps (the default), top-k 1, top-p 0.9, guidance 1.5"
    assert first == "── sample 0: nfe 28, log-probability along its path 0.0 nats"  # two for each of 14 tokens
    result = sampled(*asked, "--rows", 2, "--json")
    assert (result["top_k"], result["top_p"], result["guidance"], result["temperature"]) == (1, 0.9, 1.5, 1.0)
    assert result["sampler"] == {"name": "left_to_right", "plan": "linear", "steps": 16}
    assert result["samples"][0]["reveal_step"][:2] == [GIVEN, GIVEN]
    assert result["samples"][0]["text"] == result["samples"][1]["text"]  # nothing is left to chance


@pytest.mark.core
@pytest.mark.thorough
def test_llada_has_no_log_probability_and_a_replay_is_printed_where_there_is_no_terminal(sampled):
    """Three steps for each of two blocks; two positions of the first are free, which take two: five in all."""
    out = sampled("--preset", "llada", "--steps", 6, "--block", 8, "--infill", "bc□abcdeb□", "--rows", 2, "--replay")
    *replayed, result = out.split("\n\n")
    assert len(replayed) == 2 * 6
    assert [block.splitlines()[0].split("  ")[0] for block in replayed[:6]] == [
        f"sample 0 · step {k} of 5 · nfe {k} · {share}% revealed" for k, share in enumerate((0, 12, 25, 50, 75, 100))
    ]
    assert replayed[0].splitlines()[1] == "bc·abcdeb·" + "·" * 6
    head, first, text, *_ = result.splitlines()
    assert head == "llada, 5 steps, block 8, temperature 0"
    assert first == "── sample 0: nfe 5, log-probability along its path not defined"
    assert replayed[5].splitlines()[1] == text


@pytest.mark.thorough
def test_a_grid_file_is_ancestral_sampling(run, sampled, tmp_path, capsys):
    path = grids.uniform(5).save(tmp_path / "grid.json")
    result = sampled("--plan", path, "--json")
    assert result["sampler"] == {"name": "ancestral", "plan": "uniform", "steps": 5}
    assert result["plan"] == grids.uniform(5).to_json()
    assert all(max(row["reveal_step"]) < 5 for row in result["samples"])
    assert main(["sample", str(run), "--plan", str(path), "--order", "margin"]) == 2
    assert "a plan beside --order or --block: a grid's order is random" in capsys.readouterr().err


WAYS = [
    ["--preset", "mdlm"],
    ["--preset", "mdlm", "--steps", "40", "--end", "a"],
    ["--preset", "mdlm", "--steps", "12", "--block", "8"],
    ["--preset", "eb"],
    ["--preset", "eb", "--block", "4", "--order-temperature", "1"],
    ["--preset", "remdm", "--steps", "40"],
    ["--preset", "remdm", "--steps", "9", "--block", "5", "--end", "a"],
    ["--preset", "llada", "--block", "3", "--steps", "16", "--temperature", "1", "--order-temperature", ".1"],
    ["--preset", "best", "--steps", "5"],
    ["--preset", "best", "--steps", "5", "--end", "a"],
    ["--threshold", "0"],
    ["--threshold", "1", "--order", "entropy", "--end", "a", "--block", "6"],
    ["--entropy-bound", "4", "--order", "margin"],
    ["--order", "probability"],
    ["--order", "entropy", "--steps", "16", "--schedule", "sine"],
    ["--prompt", "bc "],
    ["--order", "random", "--block", "5"],
    ["--block", "5", "--steps", "3", "--end", "a"],
    ["--block", "5", "--steps", "2", "--guidance", "-.5", "--infill", "ab□□cd"],
]


@pytest.mark.thorough
@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_every_way_of_sampling_is_replayed_to_its_end(way, sampled):
    """The trajectory has room for all steps: the last frame is the sample, and its nfe is the sample's."""
    *replayed, result = sampled(*way, "--rows", 3, "--replay").split("\n\n")
    _, *lines = result.splitlines()
    for i, (head, text) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        last = [block for block in replayed if block.startswith(f"sample {i} ")][-1].splitlines()
        assert " 100% revealed" in last[0]
        assert last[1].startswith(text)  # a text that has ended is cut there
        assert last[1] == text or "--end" in way
        nfe = last[0].split(" · ")[2]
        assert head.startswith(f"── sample {i}: {nfe}, ")

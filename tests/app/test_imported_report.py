"""The report of an imported run: where the model is from, and no word of a training that there was not."""

import re

import pytest
from golden_cases import golden
from llada_folders import save_folder
from made_tensors import checkpoint

from experiments.tools.made_checkpoints import made_up
from mdm_jax.app import cli
from mdm_jax.app.report import run_files
from mdm_jax.support.files import read_json, write_json
from mdm_jax.training.runs import RunDirectory

pytestmark = pytest.mark.core


def said(capsys, *words):
    assert cli.main([*map(str, words), "--quiet"]) == 0
    return capsys.readouterr().out


def page_of(capsys, run):
    said(capsys, "report", run)
    text = re.sub(r"<(style|svg).*?</\1>", "", (run / "report.html").read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


@pytest.fixture
def place(tmp_path):
    lines = [f"{'abcd'[i % 4]}{'abcd'[i // 4 % 4]}{'abcd'[i // 16 % 4]}cd" for i in range(64)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    return tmp_path


def test_the_page_says_where_the_model_is_from_and_of_no_training(place, capsys):
    folder, run = made_up("bert", "abcd", 8, place / "published"), place / "run"
    said(capsys, "import", folder, run, "--task", f"text:{place / 'lines.txt'}?lines")
    bare = page_of(capsys, run)
    assert "Where the model is from BERT, imported from config.json and model.safetensors as it was published" in bare
    assert f"There are no samples yet. Begin with mdm-jax profile {run}" in bare
    said(capsys, "profile", run, "--encodings", 64)
    said(capsys, "sample", run, "--steps", 2)
    text = page_of(capsys, run)
    assert (
        "A published model, BERT, as a masked diffusion model of text:lines.txt?lines : sequences of 5 tokens" in text
    )
    assert "on text that is held out: the negative evidence lower bound" in text
    assert "Whether the model saw some of it where it was trained, no file tells." in text
    assert "its parameters in float32. Nothing was trained here, so there is no curve" in text
    assert "beside n-gram models fitted to the training part of these data." in text
    assert "Real rows of the test half stand first." in text
    assert "The profile is of 6 sequences: more of these would tell more than more encodings of the same." in text
    assert f"mdm-jax train NEW --from {run} --steps 1000" in text
    for word in (
        "training never saw",
        "training log",
        "Training settings",
        "learning_rate",
        "train longer",
        "framed for",
    ):
        assert word not in text
    assert "16384" not in text
    source = read_json(run / "config.json", "a configuration")["source"]
    assert all(digest in text for digest in source["files"].values())


def test_what_cannot_be_trained_on_is_not_offered_and_temperatures_are_told(place, capsys):
    folder, run = made_up("bert", "abcd", 8, place / "published"), place / "run"
    said(capsys, "import", folder, run, "--task", f"text:{place / 'lines.txt'}?lines")
    config = read_json(run / "config.json", "a configuration")
    for array in config["source"]["parameters"].values():
        array["type"] = "bfloat16"
    config["source"]["calibration"] = {"rows": 49}
    write_json(run / "config.json", config)
    text = page_of(capsys, run)
    assert "its parameters in bfloat16." in text
    assert "a temperature for each share of masks, found on 49 rows of the training part." in text
    assert "train NEW" not in text
    config["source"]["parameters"] = 3
    write_json(run / "config.json", config)
    assert cli.main(["report", str(run)]) == cli.BAD_INPUT
    assert "config.json is not the configuration of a run: source.parameters must be an object; got 3." in (
        capsys.readouterr().err
    )


def test_a_published_model_by_blocks_has_the_profile_of_a_block(place, capsys):
    case, run = golden("decoders")["SDAR"], place / "run"
    save_folder(place / "published", checkpoint(case["tensors"]), case["config"])
    words = ["--task", f"text:{place / 'lines.txt'}?lines", "--ids", "0,1,2,3"]
    said(capsys, "import", place / "published", run, *words)
    block = run_files.read(RunDirectory(run)).block
    assert block is not None
    assert 1 < block < 5
    said(capsys, "profile", run, "--encodings", 64)
    assert f"in blocks of {block} positions, and a block sees itself and those before it." in page_of(capsys, run)

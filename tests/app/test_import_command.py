"""``mdm-jax import``: from a folder to a run, and what is wrong with either in one sentence."""

import json

import pytest
from llada_folders import LLADA, llada_arrays, save_folder

from experiments.tools.wheels import unpacked, wheel_of
from mdm_jax.app import cli
from mdm_jax.training import load

pytestmark = pytest.mark.core

LINES = "".join(f"{'abcd'[i % 4]}{'abcd'[i // 4 % 4]}{'abcd'[i // 16 % 4]}cd\n" for i in range(64))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = save_folder(tmp_path / "published", llada_arrays(), LLADA)
    (made / "vocab.txt").write_text("\n".join([*"<>?_", *"dcba", *"+-/", "<mask>"]))
    (tmp_path / "lines.txt").write_text(LINES)
    return made


def test_a_folder_becomes_a_run(folder, capsys):
    words = ["import", "published", "run", "--task", "text:lines.txt?lines", "--prefix", "0", "--shift", "--json"]
    assert cli.main([*words, "--quiet"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["family"], told["vocab_size"], told["length"], told["types"]) == ("LLaDA", 4, 5, ["float32"])
    run = load("run")
    assert (run.denoiser.ids, run.denoiser.prefix, run.denoiser.suffix) == ((7, 6, 5, 4), (0,), ())
    assert run.place.read_config()["source"]["settings"] == {"shift": True, "prefix": [0]}
    assert cli.main(["import", "published", "run", "--task", "text:lines.txt?lines"]) == cli.BAD_INPUT
    assert "holds a run that differs in" in capsys.readouterr().err


def test_samples_are_cut_behind_the_end_that_is_given(folder, capsys):
    words = ["import", "published", "run", "--task", "text:lines.txt?lines", "--end-id", "7"]
    assert cli.main([*words, "--quiet"]) == 0
    capsys.readouterr()
    assert cli.main(["sample", "run", "--schedule", "linear", "--steps", "2", "--rows", "16", "--json"]) == 0
    texts = [row["text"] if isinstance(row, dict) else row for row in json.loads(capsys.readouterr().out)["samples"]]
    assert any("a" in text for text in texts)
    assert all("a" not in text[:-1] for text in texts)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["import", "no", "run", "--task", "text:lines.txt?lines"], "folder must be a folder with config.json"),
        (["import", "published", "run", "--task", "text:none.txt"], "none.txt"),
        (["import", "published", "run", "--task", "text:lines.txt?lines", "--ids", "1,2"], "ids must be as many"),
        (["import", "published", ".", "--task", "text:lines.txt?lines"], "must be new, empty or a run directory"),
        (["train", "run", "--steps", "4"], "which is not trained where it lies"),
        (["footprint", "--model", "run", "--kind", "any_order"], "--kind must be given beside a size by name"),
    ],
)
def test_what_cannot_be_is_one_sentence(folder, capsys, words, wanted):
    if words[0] != "import":
        assert cli.main(["import", "published", "run", "--task", "text:lines.txt?lines", "--quiet"]) == 0
        capsys.readouterr()
    assert cli.main([*words, "--quiet"]) == cli.BAD_INPUT
    told = capsys.readouterr().err.strip()
    assert wanted in told
    assert "\n" not in told


def test_ids_that_are_none_are_answered_with_the_usage(folder, capsys):
    with pytest.raises(SystemExit):
        cli.main(["import", "published", "run", "--task", "text", "--banned", "1,x"])
    assert "must be ids with commas between, as in 0,1,2; got '1,x'" in capsys.readouterr().err


@pytest.mark.thorough
def test_the_three_commands_on_the_weights_of_a_package(tmp_path, monkeypatch, capsys):
    """ALBERT of rxnmapper (MIT, 0.9 million parameters), read from the wheel that MDM_JAX_WHEELS has; 48 esters."""
    if wheel_of("rxnmapper") is None:
        pytest.skip("MDM_JAX_WHEELS names no folder with a wheel of rxnmapper")
    model = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k"
    unpacked("rxnmapper", [f"{model}/{name}" for name in ("config.json", "pytorch_model.bin", "vocab.txt")], tmp_path)
    acids, alcohols = [f"{'C' * i}C(=O)O" for i in range(1, 9)], [f"O{'C' * i}" for i in range(1, 7)]
    lines = [f"{acid}.{alcohol}>>{acid}{alcohol[1:]}" for acid in acids for alcohol in alcohols]
    (tmp_path / "reactions.txt").write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    task = "tokens:reactions.txt?tokenizer=vocab.txt&lines"
    assert cli.main(["import", ".", "runs/published", "--task", task, "--quiet"]) == 0
    assert cli.main(["profile", "runs/published", "--encodings", "64", "--quiet"]) == 0
    assert cli.main(["tune", "runs/published", "--budgets", "2,4", "--check-rows", "4", "--quiet"]) == 0
    assert cli.main(["sample", "runs/published", "--steps", "4", "--rows", "2", "--json", "--quiet"]) == 0
    assert capsys.readouterr().out.count('"remaining": 0') == 2
    run = load("runs/published")
    assert run.profile.nelbo() / run.settings.length < 3.0  # of 500 tokens; the unigram law of these takes less than 2

"""``mdm-jax footprint`` of published models: a folder before its weights are there, a folder with them, a run."""

import json

import jax
import ml_dtypes
import pytest
from llada_folders import LLADA, LLADA_8B, llada_arrays, save_folder

from mdm_jax.app import cli
from mdm_jax.training import Settings, initial_state, load

LINES = "".join(f"{'abcd'[i % 4]}{'abcd'[i // 4 % 4]}{'abcd'[i // 16 % 4]}cd\n" for i in range(64))


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """What the command says, of names in the test's own folder."""
    monkeypatch.chdir(tmp_path)

    def command(*words):
        status = cli.main(["footprint", "--quiet", "--model", *words])
        out, err = capsys.readouterr()
        return status, out or err

    return command


@pytest.mark.core
def test_a_config_alone_tells_what_a_download_would_take(told, tmp_path):
    (tmp_path / "llada").mkdir()
    (tmp_path / "llada" / "config.json").write_text(json.dumps({**LLADA_8B, "torch_dtype": "bfloat16"}))
    _, text = told("llada", "--mesh", "data=1,model=8")  # no compiler is asked where nothing is trained
    assert "llada: LLaDA, 8,015,581,184 parameters (bfloat16 14.93 GiB: as config.json says, for weights that" in text
    assert "Parameters: 1.87 GiB (2,003,902,464 bytes) on every device. Exact." in text
    assert "Training: not counted, since bfloat16 weights are measured and sampled, and not trained." in text
    _, found = told("llada", "--mesh", "data=1,model=8", "--json")
    found = json.loads(found)
    assert found["parameter_bytes"] == {"bfloat16": 2 * 8_015_581_184}
    assert sum(line["bytes"] for line in found["arrays"]) == found["parameter_bytes_per_device"] == 2_003_902_464
    assert "state" not in found


def test_a_run_of_a_published_model_is_counted_as_it_would_be_trained(told, tmp_path):
    made = save_folder(tmp_path / "published", llada_arrays(), LLADA)
    (made / "vocab.txt").write_text("\n".join([*"<>?_", *"dcba", *"+-/", "<mask>"]))
    (tmp_path / "lines.txt").write_text(LINES)
    words = ["published", "run", "--task", "text:lines.txt?lines", "--prefix", "0"]
    assert cli.main(["import", *words, "--quiet"]) == 0
    _, found = told("run", "--no-compile", "--optimizer", "adamw", "--batch", "2", "--json")
    found, run = json.loads(found[found.index("{") :]), load("run")
    settings = Settings(batch=2, length=5, optimizer="adamw")
    real = jax.jit(initial_state, static_argnums=(0, 1))(run.denoiser, settings, run.params)
    assert found["state_bytes_per_device"] == sum(leaf.nbytes for leaf in jax.tree.leaves(real))
    assert found["length"] == 5
    # "<" before every row is encoded with it, and only rows are read out.
    assert found["flops_per_step"]["forward"] == 2 * (found["flops_per_encoding"] + found["flops_per_readout"])
    count = 4 * (2 * 16 * 16 + 2 * 8 * 16 + 3 * 16 * 24 + 2 * 16) + 2 * 16 * 16 + 16
    assert found["parameter_bytes"] == {"float32": 4 * count}
    words = f"run: LLaDA, {count:,} parameters (float32 32.56 KiB: the weights' own types)"
    text = told("run", "--no-compile")[1]
    assert words in text
    assert "adamw, float32, 8 x 5 = 40 tokens per step" in text  # as train --from does
    assert cli.main(["train", "further", "--from", "run", "--steps", "1", "--quiet"]) == 0
    _, found = told("further", "--no-compile", "--json")
    found, further = json.loads(found[found.index("{") :]), load("further")
    before = json.loads(told("run", "--no-compile", "--json")[1])
    assert further.settings.optimizer == before["settings"]["optimizer"]
    assert further.settings.learning_rate == before["settings"]["learning_rate"]
    same = ("parameters", "state_bytes_per_device", "flops_per_step", "tokens_per_step", "length")
    assert [found[name] for name in same] == [before[name] for name in same]
    words = f"further: pretrained decoder, {count:,} parameters (float32 32.56 KiB: as they are trained)"
    assert words in told("further", "--no-compile")[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("narrow", "--batch", "4"), "--batch must be left out: weights of bfloat16 are measured and sampled, and not"),
        (("narrow", "--length", "9"), "--length must be at most 8, as the model is; got 9"),
        (("narrow", "--kind", "any_order"), "--kind must be given beside a size by name; narrow is a published model"),
        (("10m", "--shift"), "--shift must be given beside a published model; 10m is a size by name"),
        (("moe",), "a model_type of 'llada_moe' is a mixture of experts (num_experts 64)"),
        (("list",), "is not the configuration of a run"),
        (("nothing",), "--model must be one of 10m, 100m, 1b, llada-8b, or a run directory, or the folder of a publ"),
    ],
)
def test_what_cannot_be_is_one_sentence(told, words, sentence, tmp_path):
    save_folder(tmp_path / "narrow", llada_arrays(dtype=ml_dtypes.bfloat16), LLADA)
    for name, config in (("moe", {"model_type": "llada_moe", "num_experts": 64}), ("list", [])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    status, text = told(*words, "--no-compile")
    assert status == cli.BAD_INPUT
    assert sentence in text
    assert "\n" not in text.strip()


@pytest.mark.processes
@pytest.mark.thorough
def test_the_compiler_finds_the_bytes_of_a_published_model_in_float32(told, tmp_path):
    save_folder(tmp_path / "published", llada_arrays(), LLADA)
    _, found = told("published", "--mesh", "data=2,model=2", "--json")
    found = json.loads(found)
    compiled = found["compiled_for_cpu"]
    assert compiled["arguments"] - compiled["data"] == found["state_bytes_per_device"]
    assert compiled["blocks"] == []

"""``mdm-jax footprint`` in process; what it counts is tested in tests/footprint/test_footprint.py."""

import argparse
import itertools
import json

import pytest

from mdm_jax import models
from mdm_jax.app.commands import footprint
from mdm_jax.app.options import common
from mdm_jax.support.errors import InputError
from mdm_jax.training import LatentSurrogate, MaskedNelbo


def run(*words):
    parser = argparse.ArgumentParser()
    footprint.arguments(parser)
    common.everywhere(parser)
    footprint.run(parser.parse_args(words))


def test_text_leads_every_byte_to_its_sum(capsys):
    run("--model", "llada-8b", "--mesh", "data=16,model=16", "--batch", "256", "--no-compile")
    text = capsys.readouterr().out
    assert "8,016,904,192 parameters" in text
    assert "State: 502.00 MiB (526,385,420 bytes) on every device. Exact." in text
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("----")) + 1
    table = [line.split() for line in itertools.takewhile(lambda line: not line.startswith("State:"), lines[start:])]
    listed = [int(words[-3].replace(",", "")) for words in table]  # ... bytes, sum so far, its unit
    assert sum(listed) == 526_385_420


def test_json_and_options(capsys):
    run("--model", "10M", "--devices", "4", "--length", "64", "--accumulate", "2", "--no-compile", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["tokens_per_step"] == 4 * 2 * 64  # a row for every share
    assert found["devices"] == 4
    assert found["mesh"] is None
    assert sum(line["bytes"] for line in found["state"]) == found["state_bytes_per_device"]
    assert found["compiled_for_cpu"] is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--model", "7b"),
            "--model must be one of 10m, 100m, 1b, llada-8b, or a run directory, or the folder of a published",
        ),
        (("--model", "10m", "--mesh", "rows=2"), "--mesh must be axes and sizes"),
        (("--model", "10m", "--devices", "0"), "--devices must be at least 1"),
        (("--model", "10m", "--devices", "3", "--batch", "4"), "batch must be a multiple of 3"),
        (("--model", "10m", "--length", "1"), "length must be a whole number from 2"),
        (("--model", "10m", "--optimizer", "sgd"), "optimizer must be adamw or muon; got 'sgd'"),
        (
            ("--model", "10m", "--optimizer", "own"),
            "--optimizer must be adamw or muon, whose state is known; got 'own'",
        ),
        (("--model", "10m", "--time-limit", "nan"), "--time-limit must be more than 0 seconds"),
        (("--model", "10m", "--time-limit", "inf"), "--time-limit must be more than 0 seconds, at most 86400"),
        (("--model", "10m", "--mesh", "data=8192"), "--mesh must be at most 4,096 devices in all; 1,000,000 with"),
        (("--model", "10m", "--mesh", "data=9999,model=9999", "--no-compile"), "at most 1,000,000 devices in all"),
        (("--model", "10m", "--accumulate", "0"), "accumulate must be a divisor of the batch"),
    ],
)
def test_bad_input_is_one_sentence(words, sentence):
    with pytest.raises(InputError, match=sentence):
        run(*words)


CONTEXT = {"shown": {"shape": [7], "dtype": "float32"}, "context": "0" * 64}


def a_run(directory, **change):
    """The ``config.json`` of a run, and no more than that."""
    model = models.describe(models.transformer(7, length=8, width=8, depth=1, heads=1))
    settings = {"steps": 6, "batch": 8, "length": 8, "optimizer": "adamw"}
    config = {"format": "mdm_jax run 1", "task": {}, "model": model, "settings": settings}
    (directory / "config.json").write_text(json.dumps(config | change))
    return str(directory)


@pytest.mark.core
def test_a_run_is_counted_with_its_context(tmp_path, capsys):
    """The fault: a model without the weights by which a context modulates its three norms, 7 x 16 each."""
    bare, found = ({}, {})
    for into, change in ((bare, {}), (found, CONTEXT)):
        run("--model", a_run(tmp_path, **change), "--no-compile", "--json")
        into |= json.loads(capsys.readouterr().out)
    assert (bare["parameters"], found["parameters"]) == (1008, 1008 + 3 * 7 * 16)
    assert "context" not in bare
    assert found["context"] == {"shape": [7], "dtype": "float32"}
    run("--model", a_run(tmp_path, **CONTEXT), "--no-compile")
    assert "1,344 parameters (width 8, depth 1, heads 1, vocab_size 7, context 7, feed-" in capsys.readouterr().out


@pytest.mark.core
@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"model": None}, "a model"),
        ({"settings": {"steps": 7, "length": 8, "optimizer": "own"}}, "an optimizer"),
        ({"objective": {"name": "mine", "is_bound": False}}, "an objective"),
    ],
)
def test_what_python_gave_to_fit_is_not_counted_as_ours(change, part, tmp_path):
    with pytest.raises(InputError, match=f"was trained with {part} of your own, which no command can make anew"):
        run("--model", a_run(tmp_path, **change), "--no-compile")


def test_the_objective_that_a_run_names_is_compared_whole(tmp_path, capsys):
    usual = MaskedNelbo()
    for described in (usual.describe() | {"is_bound": usual.is_bound}, None):
        change = {} if described is None else {"objective": described}
        run("--model", a_run(tmp_path, **change), "--no-compile")
        assert "1,008 parameters" in capsys.readouterr().out


def test_a_run_with_latents_is_counted_with_its_objective(tmp_path, capsys):
    model = models.latent_transformer(7, length=8, width=8, depth=1, heads=1, latent_size=3)
    found = {}
    for draws in (1, 3):
        objective = LatentSurrogate(draws=draws)
        told = objective.describe() | {"is_bound": objective.is_bound}
        run("--model", a_run(tmp_path, model=models.describe(model), objective=told), "--no-compile", "--json")
        found[draws] = json.loads(capsys.readouterr().out)
    assert found[3]["objective"] == LatentSurrogate(draws=3).describe()
    assert found[3]["parameters"] == found[1]["parameters"] > 1008
    forward = [found[draws]["flops_per_step"]["forward"] for draws in (1, 3)]
    assert forward[0] < forward[1] < 3 * forward[0]
    told = LatentSurrogate().describe() | {"is_bound": False}
    run("--model", a_run(tmp_path, model=models.describe(model), objective=told), "--no-compile")
    assert "vocab_size 7, latents of 3, feed-" in capsys.readouterr().out


@pytest.mark.processes
@pytest.mark.thorough
def test_the_compiler_is_asked_unless_told_not_to(capsys):
    run("--model", "10m", "--mesh", "data=2", "--length", "32")
    told = capsys.readouterr()
    assert "XLA's estimate for CPU, from a straight line through 2 and 4 blocks" in told.out
    assert "all-gather" in told.out
    assert "compiling a step of 2 blocks for 2 virtual CPU devices" in told.err

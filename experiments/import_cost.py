"""What loading a published checkpoint takes in time and in memory, beside ``transformers``.

A checkpoint of 1.2 GB in float32 is made up, with the names of a Llama (20 layers of 1,024 features, a vocabulary of
32,000). Processes of their own (:mod:`experiments.tools.loading_ways`) load it, in turns, until every weight has been
read: *ours* (``models.load_pretrained``, which takes the digest of the file besides), *mapped* (``from_pretrained`` as
it is: it maps the file and reads what is touched, so every parameter is summed up) and *copied*
(``from_pretrained(..., disable_mmap=True)``). The file lies in the page cache: no disk is measured. Seconds are from
the first call to the last byte, without imports; the peak is the resident memory of the whole process, with PyTorch or
JAX in it.

Two more processes say what ours cannot go below. The *floor* reads every byte once into one small buffer and takes the
digest: what names a file by its content takes so long at least, and a mapped file, which need not be read at all, takes
a fraction of it. So the time of the mapped load is out of reach as long as a run knows the SHA-256 of what it is of.
It also owns nothing: who writes to a mapped file changes the weights. *Nothing* is the process of ours that loads
nothing.

Where ``transformers`` is not installed, the quick form loads with ours alone.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax.support.progress import remark

CLAIM = Claim(
    "a checkpoint of 1.2 GB is loaded in at most the time that transformers takes, and the process holds at most 1.2 "
    "times the file at its peak",
    source="ours",
    minutes=4,
    needs={"safetensors": "test"},
    full_needs=("transformers", "torch"),
)
WIDTH, LAYERS, HIDDEN, VOCAB, HEADS = 1024, 20, 2816, 32000, 16
QUICK = {"WIDTH": 64, "LAYERS": 2, "HIDDEN": 96, "VOCAB": 256, "HEADS": 4}
ROUNDS = 7
MOST_MEMORY = 1.2
THEIRS = ("mapped", "copied")
WAYS = ("ours", *THEIRS, "floor", "nothing")


def run(experiment: Experiment) -> Run:
    """The checkpoint, then every way in turns."""
    sizes = QUICK if experiment.quick else {name: globals()[name] for name in QUICK}
    there = importlib.util.find_spec("transformers") is not None
    if not there:
        remark("import_cost: transformers is not installed; ours is loaded alone.")
    ways = tuple(way for way in WAYS if there or way not in THEIRS)
    with tempfile.TemporaryDirectory() as name:
        size = made(Path(name), **sizes)
        rounds = 1 if experiment.quick else ROUNDS
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for number in range(rounds):
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                found[way].append(loaded(way, name))
    results = {"bytes": size, "rounds": rounds, "ways": found}
    return Run(results, picture(results))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Time against every other way, by the medians of rounds; memory by the greatest peak."""
    ways, size = results["ways"], results["bytes"]
    figures: dict[str, Any] = {"file, GB": size / 1e9}
    for way in ways:
        figures[f"{way}: seconds"] = float(np.median([one["seconds"] for one in ways[way]]))
        figures[f"{way}: processor seconds"] = float(np.median([one["processor"] for one in ways[way]]))
        figures[f"{way}: peak / file"] = max(one["peak"] for one in ways[way]) / size
    ratios: dict[str, list[float]] = {}
    for way in (*THEIRS, "floor"):
        if way in ways:
            every = [ours["seconds"] / other["seconds"] for ours, other in zip(ways["ours"], ways[way])]
            ratios[way] = figures[f"seconds, ours / {way}"] = [float(np.median(every)), min(every), max(every)]
    peak = figures["ours: peak / file"]
    theirs = [ratios[way][0] for way in THEIRS if way in ratios]
    parts = [peak <= MOST_MEMORY, *(ratio <= 1 for ratio in theirs)]
    said = ", ".join(f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f}) of {way}" for way, ratio in ratios.items())
    return Conclusion(
        "not tested" if not theirs else "holds" if all(parts) else "partly" if any(parts) else "does not",
        f"{size / 1e9:.2f} GB are loaded in {figures['ours: seconds']:.2f} s, {said}; the process holds {peak:.2f} "
        f"times the file at its peak, {figures['nothing: peak / file']:.2f} of it with nothing loaded",
        figures,
        f"{results['rounds']} rounds of a process each",
    )


def made(folder: Path, WIDTH: int, LAYERS: int, HIDDEN: int, VOCAB: int, HEADS: int) -> int:
    """A Llama's folder of random numbers; returns the bytes of its weights."""
    from safetensors.numpy import save_file

    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "intermediate_size": HIDDEN, "vocab_size": VOCAB,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "max_position_embeddings": 4096, "tie_word_embeddings": False,
        "hidden_act": "silu", "torch_dtype": "float32", "attention_bias": False, "mlp_bias": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    draw = np.random.default_rng(0)

    def of(*shape: int) -> np.ndarray:
        return draw.standard_normal(shape, np.float32) * np.float32(0.02)

    tensors = {"model.embed_tokens.weight": of(VOCAB, WIDTH), "lm_head.weight": of(VOCAB, WIDTH)}
    tensors["model.norm.weight"] = np.ones(WIDTH, np.float32)
    for layer in range(LAYERS):
        start = f"model.layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{start}{name}.weight"] = np.ones(WIDTH, np.float32)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            tensors[f"{start}self_attn.{name}.weight"] = of(WIDTH, WIDTH)
        for name, shape in {
            "gate_proj": (HIDDEN, WIDTH),
            "up_proj": (HIDDEN, WIDTH),
            "down_proj": (WIDTH, HIDDEN),
        }.items():
            tensors[f"{start}mlp.{name}.weight"] = of(*shape)
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    return path.stat().st_size


def loaded(way: str, folder: str) -> dict[str, float]:
    """What a process of its own says of loading."""
    command = [sys.executable, "-m", "experiments.tools.loading_ways", way, folder]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def picture(results: Mapping[str, Any]) -> Figure:
    """Seconds and peak of every way."""
    figure = Figure(figsize=(6, 1.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(results["ways"])
    left.barh(
        names, [float(np.median([one["seconds"] for one in results["ways"][way]])) for way in names], color="#4c72b0"
    )
    left.set_xlabel("seconds (median)")
    right.barh(
        names, [max(one["peak"] for one in results["ways"][way]) / results["bytes"] for way in names], color="#c2410c"
    )
    right.set_xlabel("peak of the process / file")
    return figure

"""What loading a published checkpoint takes in time and in memory, beside ``transformers``.

A checkpoint of 1.2 GB in float32 is made up, with the names of a Llama (20 layers of 1,024 features, a vocabulary of
32,000). Processes of their own load it, in turns, until every weight has been read: *ours*
(``models.load_pretrained``, which takes the digest of the file besides), *mapped* (``from_pretrained`` as it is: it
maps the file and reads what is touched, so every parameter is summed up) and *copied*
(``from_pretrained(..., disable_mmap=True)``). The file lies in the page cache: no disk is measured. Seconds are from
the first call to the last byte, without imports; the peak is the resident memory of the whole process, with PyTorch or
JAX in it.

Where ``transformers`` is not installed, the quick form loads with ours alone, and a full run stops with a sentence.
"""

import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax import models
from mdm_jax.support.errors import InputError
from mdm_jax.support.progress import remark

CLAIM = Claim(
    "a checkpoint of 1.2 GB is loaded in at most the time that transformers takes, and the process holds at most 1.2 "
    "times the file at its peak",
    source="ours",
    minutes=3,
    needs={"safetensors": "pretrained"},
    full_needs=("transformers", "torch"),
)
WIDTH, LAYERS, HIDDEN, VOCAB, HEADS = 1024, 20, 2816, 32000, 16
QUICK = {"WIDTH": 64, "LAYERS": 2, "HIDDEN": 96, "VOCAB": 256, "HEADS": 4}
ROUNDS = 7
MOST_MEMORY = 1.2
WAYS = ("ours", "mapped", "copied")
_CHILD = "from experiments import import_cost; import sys; import_cost.child(*sys.argv[1:])"


def run(experiment: Experiment) -> Run:
    """The checkpoint, then every way in turns."""
    sizes = QUICK if experiment.quick else {name: globals()[name] for name in QUICK}
    there = importlib.util.find_spec("transformers") is not None
    if not there and not experiment.quick:
        raise InputError("import_cost needs transformers and torch (pip install transformers torch).")
    if not there:
        remark("import_cost: transformers is not installed; ours is loaded alone.")
    ways = WAYS if there else WAYS[:1]
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
    """Time against each of the two ways, by the medians of rounds; memory by the greatest peak."""
    ways, size = results["ways"], results["bytes"]
    peak = max(one["peak"] for one in ways["ours"]) / size
    figures: dict[str, Any] = {"file, GB": size / 1e9, "peak / file": peak}
    ratios: dict[str, list[float]] = {}
    for way in ways:
        figures[f"{way}: seconds"] = float(np.median([one["seconds"] for one in ways[way]]))
        figures[f"{way}: processor seconds"] = float(np.median([one["processor"] for one in ways[way]]))
        figures[f"{way}: peak / file"] = max(one["peak"] for one in ways[way]) / size
        if way != "ours":
            every = [ours["seconds"] / other["seconds"] for ours, other in zip(ways["ours"], ways[way])]
            ratios[way] = figures[f"seconds, ours / {way}"] = [float(np.median(every)), min(every), max(every)]
    parts = [peak <= MOST_MEMORY, *(ratio[0] <= 1 for ratio in ratios.values())]
    said = ", ".join(f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f}) of {way}" for way, ratio in ratios.items())
    return Conclusion(
        "not tested" if not ratios else "holds" if all(parts) else "partly" if any(parts) else "does not",
        f"{size / 1e9:.2f} GB are loaded in {figures['ours: seconds']:.2f} s, {said or 'alone'}; the process holds "
        f"{peak:.2f} times the file at its peak",
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
    told = subprocess.run([sys.executable, "-c", _CHILD, way, folder], capture_output=True, text=True, check=True)
    return json.loads(told.stdout.splitlines()[-1])


def child(way: str, folder: str) -> None:
    """Load in this process, and print the seconds, the processor's seconds and the peak in bytes."""
    if way == "ours":
        jax.block_until_ready(jax.numpy.zeros(1))  # JAX itself has begun

        def load() -> None:
            jax.block_until_ready(models.load_pretrained(folder, mask_id=5, shift=False).params)

    else:
        from transformers import LlamaForCausalLM  # pyright: ignore[reportMissingImports]

        def load() -> None:
            options = {"disable_mmap": True} if way == "copied" else {}
            model = LlamaForCausalLM.from_pretrained(folder, dtype="auto", **options)
            for parameter in model.parameters():
                float(parameter.detach().sum())

    begin, processor = time.perf_counter(), time.process_time()
    load()
    seconds, used = time.perf_counter() - begin, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "processor": used, "peak": peak}))


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

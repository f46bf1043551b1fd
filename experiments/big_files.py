"""Training from a token file of 20 GB: what it takes in memory and in time, and who reads what.

* *Memory*: two processes of their own take the same steps, one on the large file (a sparse one, all zeros), one on a
  stream of 400,000 tokens in memory. Compared are the peaks of their resident memory.
* *Time*: on 80 million tokens, blocks of ten steps whose rows a thread reads from the file, and blocks that draw them
  from memory, take turns. The file has just been written, so what is measured is the reading, not a disk. Both start
  from one state, and the parameters are compared bitwise in the end. Rounds are short and many: first runs beside ten
  other busy processes, of 15 and of 120 rounds, found medians of .95 and .97 with wide intervals.
* *Processes*: two train together on the large file, over a mesh, and say which places they read.

Claimed before measuring.
"""

import contextlib
import itertools
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.timing import alternate, as_figure, said
from mdm_jax import models, tasks
from mdm_jax.support.devices import join_processes, make_mesh
from mdm_jax.training import Settings, feeding, fit, ways
from mdm_jax.training.objective import Examples
from mdm_jax.training.step import BLOCK
from mdm_jax.training.ways import Job

CLAIM = Claim(
    "training from a sparse token file of 20 GB takes less than 1 GB of memory more than from a small stream in "
    "memory; from a file it reaches at least 0.95 of the tokens per second that the same data in memory allow (median "
    "of alternating rounds), with the same parameters bitwise; of two processes each reads its own rows alone",
    source="ours",
    minutes=5,
)
VOCAB, LENGTH, BATCH = 1024, 128, 16
LARGE, QUICK_LARGE = 20 * 10**9, 2 * 10**8
"""Bytes of the sparse file."""
MANY, FEW = 80_000_000, 400_000
"""Tokens of the file whose speed is compared, and of the stream in memory."""
MEMORY_LIMIT, SPEED_LIMIT = 10**9, 0.95
ROUNDS, BLOCKS = 200, 1
_CHILD = "from experiments import big_files; import sys; big_files.child(*sys.argv[1:])"


def run(experiment: Experiment) -> Run:
    """Memory, time, processes; the files are made and removed here."""
    quick = experiment.quick
    steps = 20 if quick else 400
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, many, few = folder / "large.bin", folder / "many.bin", folder / "few.bin"
        with large.open("wb") as file:
            file.truncate(QUICK_LARGE if quick else LARGE)
        ids = np.random.default_rng(0).integers(0, VOCAB, MANY, dtype=np.uint16)
        ids.tofile(many)
        ids[:FEW].tofile(few)
        del ids

        def memory() -> dict[str, int]:
            started = [started_child("alone", path, steps, quick) for path in (large, few)]
            return dict(zip(("large", "few"), (finished(one)["peak"] for one in started)))

        results = {
            "bytes": large.stat().st_size,
            "steps": steps,
            "peak_bytes": experiment.part("memory", memory),
            **experiment.part("time", lambda: speed(many, quick)),
            "processes": experiment.part("processes", lambda: two_processes(large, 2 * BLOCK, quick)),
        }
    figure = Figure(figsize=(6, 2.0), layout="constrained")
    axes = figure.subplots()
    speeds = results["tokens_per_second"]
    axes.barh(list(speeds), list(speeds.values()), color="#4c72b0")
    axes.set_xlabel("training tokens per second (median)")
    return Run(results, figure)


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Each part of the claim by itself; the interval of the speed is that of its median."""
    more = (results["peak_bytes"]["large"] - results["peak_bytes"]["few"]) / 1e9
    ratio, pair = results["memory_over_file"], results["processes"]
    parts = {
        "memory": more < MEMORY_LIMIT / 1e9,
        "speed": ratio["median"] >= SPEED_LIMIT,
        "the same parameters": results["same_parameters"],
        "processes": pair["own"] == pair["wanted"] and pair["shared"] == 0,
    }
    held = [name for name, good in parts.items() if good]
    return Conclusion(
        "holds" if len(held) == len(parts) else "partly" if held else "does not",
        f"{results['bytes'] / 1e9:,.1f} GB train with {more:.3f} GB of memory more; tokens per second are "
        f"{said(ratio)} of those from memory, and reading takes {results['reading_share']:.1%} of the time of "
        f"training; two processes read {pair['own']:,} of {pair['wanted']:,} rows as they should, {pair['shared']:,} "
        "of the other's",
        {
            "memory more, GB": more,
            "tokens per second over those from memory": as_figure(ratio),
            "reading a block over training on it": results["reading_share"],
            "rows read by their own process": pair["own"],
            "rows of the other's read": pair["shared"],
        },
        f"{results['steps']} steps for memory; {results['rounds']} rounds of {results['blocks'] * BLOCK} steps "
        f"for time; {pair['wanted']:,} rows for processes; batches of {BATCH} x {LENGTH} tokens",
    )


def model(quick: bool) -> tuple[models.Denoiser, Any]:
    """A small one: the less a step takes, the more its rows weigh. And its parameters, if it cannot make its own."""
    if quick:
        return models.from_function(by_neighbour, VOCAB), {"table": np.zeros((VOCAB + 1, VOCAB), np.float32)}
    return models.transformer(VOCAB, length=LENGTH, width=64, depth=2, heads=2), None


def by_neighbour(params: Any, ids: jax.Array) -> jax.Array:
    """Logits of each token by the one before it: a model that compiles at once."""
    return params["table"][jnp.roll(ids, 1, axis=-1)]


def settings(steps: int) -> Settings:
    return Settings(steps=steps, batch=BATCH, length=LENGTH, optimizer="adamw", learning_rate=1e-3)


def speed(path: Path, quick: bool) -> dict[str, Any]:
    """The two ways in turns, and how long the thread reads for one block."""
    denoiser, params = model(quick)
    job, way = Job(denoiser, settings(10**6)), ways.OnOneDevice()
    train = Examples(tasks.tokens(path, LENGTH, VOCAB, "uint16").train)
    held = Examples(np.asarray(train.tokens, np.int32))
    blocks, rounds = BLOCKS, 2 if quick else ROUNDS
    with contextlib.ExitStack() as stack:
        variants, states = {}, {}
        for name, data in (("from the file", train), ("from memory", held)):
            spans = ((first, BLOCK) for first in itertools.count(0, BLOCK))
            following = stack.enter_context(feeding.fed(job, way, data, spans))
            states[name] = way.initial(job, params)

            def take(name: str = name, following: Any = following) -> None:
                for _ in range(blocks):
                    states[name], metrics = way.steps(job, states[name], following(), BLOCK)
                    np.asarray(metrics.loss)  # as the loop does

            variants[name] = take
        seconds = alternate(variants, rounds)
        leaves = (jax.tree.leaves(ways.fetch(state.params)) for state in states.values())
        same = all(one.tobytes() == two.tobytes() for one, two in zip(*leaves, strict=True))
        read = stack.enter_context(feeding.reading(train.tokens, VOCAB))
        begun = time.perf_counter()
        for number in range(10):
            feeding.block(job.settings, way, train, read, number * BLOCK, BLOCK)
        reading = (time.perf_counter() - begun) / 10
    training = statistics.median(seconds["from memory"]) / blocks
    return {
        "rounds": rounds,
        "blocks": blocks,
        "seconds": seconds,
        "tokens_per_second": {
            name: round(blocks * BLOCK * BATCH * LENGTH / statistics.median(values)) for name, values in seconds.items()
        },
        "memory_over_file": median_ratio(seconds["from memory"], seconds["from the file"]),
        "reading_share": reading / training,
        "same_parameters": same,
    }


def median_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> dict[str, float]:
    """The median ratio of rounds, and its 95% interval by order statistics, which asks nothing of their law."""
    ratios = sorted(a / b for a, b in zip(numerator, denominator, strict=True))
    most = len(ratios) - 1
    low = max(0, int(len(ratios) / 2 - 0.98 * len(ratios) ** 0.5))
    return {"median": statistics.median(ratios), "min": ratios[low], "max": ratios[most - low]}


def two_processes(path: Path, steps: int, quick: bool) -> dict[str, int]:
    """How many rows each of two processes read: of its own half of the batches, and of the other's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    common = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    each = [started_child("together", path, steps, quick, {**common, "JAX_PROCESS_ID": str(i)}) for i in range(2)]
    read = [np.concatenate(finished(one)["read"]) for one in each]
    tokens = tasks.tokens(path, LENGTH, VOCAB, "uint16").train
    wanted = np.concatenate([feeding.places(settings(steps), tokens.shape, first) for first in range(0, steps, BLOCK)])
    halves = wanted[:, : BATCH // 2], wanted[:, BATCH // 2 :]
    own = sum(int(np.sum(mine == half)) for mine, half in zip(read, halves) if mine.shape == half.shape)
    shared = sum(int(np.isin(mine, other).sum()) for mine, other in zip(read, reversed(halves)))
    return {"own": own, "shared": shared, "wanted": wanted.size}


def child(kind: str, path: str, steps: str, quick: str) -> None:
    """What a process of its own does: it trains, and says what it took and read."""
    if kind == "together":
        join_processes()
    mesh, read = make_mesh({"data": 2}) if kind == "together" else None, []
    feeding.reading = recording(read) if kind == "together" else feeding.reading
    (denoiser, params), task = model(quick == "True"), tasks.tokens(path, LENGTH, VOCAB, "uint16")
    given = {"settings": settings(int(steps)), "params": params, "mesh": mesh}
    fit(denoiser, task, report_every=BLOCK * 10, progress=False, **given)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"peak": peak, "read": read}))


def recording(read: list[Any]) -> Any:
    """``feeding.reading`` that keeps the places that it reads."""
    original = feeding.reading

    @contextlib.contextmanager
    def reading(tokens: np.memmap, vocab_size: int) -> Iterator[feeding.Read]:
        with original(tokens, vocab_size) as inner:

            def outer(chosen: np.ndarray, length: int) -> np.ndarray:
                read.append(chosen.tolist())
                return inner(chosen, length)

            yield outer

    return reading


def started_child(
    kind: str, path: Path, steps: int, quick: bool, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    words: Sequence[str] = (sys.executable, "-c", _CHILD, kind, str(path), str(steps), str(quick))
    environment = {**os.environ, **(environment or {})}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a child has printed."""
    out, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(errors[-3000:])
    return json.loads(out.strip().splitlines()[-1])

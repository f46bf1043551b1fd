"""What ``test_ways`` runs on eight virtual devices, in a process of its own: prints what came out as JSON.

Arguments: "few", what is thorough and core; or "more", besides the ways that are named the two under Muon, whose steps
are slow to compile, and a run that goes on by them. Then the ways to compare with one device under AdamW, as in pmap:4
mesh:data=4,model=2 accumulate:2 pmap:2,accumulate:2.
"""

import contextlib
import dataclasses
import itertools
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import numpy as np
from toys import LENGTH, SETTINGS, VOCAB, PatternTask, tiny_transformer

from mdm_jax import models
from mdm_jax.support.devices import make_mesh, parse_mesh
from mdm_jax.tasks.array_files import token_maps
from mdm_jax.training import LabelDropout, RunDirectory, fit, ways
from mdm_jax.training.checkpoints import Checkpoints
from mdm_jax.training.step import batch_of
from mdm_jax.training.ways import Job

STEPS = 20
CLASSES = ("pmap:4", "mesh:data=4,model=2", "pmap:2,accumulate:2")
MUON = dataclasses.replace(SETTINGS, steps=30)
"""Of the comparison under Muon and of the run that goes on: one program for both, each way."""


def largest(one, two):
    """The largest difference between two trees of arrays."""
    pairs = zip(jax.tree.leaves(ways.fetch(one)), jax.tree.leaves(ways.fetch(two)), strict=True)
    return max(float(np.max(np.abs(np.float64(a) - np.float64(b)))) for a, b in pairs)


def read(name):
    """A way and the settings for it."""
    kind, _, rest = name.partition(":")
    rest, _, parts = rest.partition(",accumulate:")
    changes = {"accumulate": int(parts)} if parts else {}
    if kind == "accumulate":
        return ways.OnOneDevice(), {"accumulate": int(rest)}
    if kind == "pmap":
        return ways.OnDevices(int(rest)), changes
    return ways.OnAMesh(make_mesh(parse_mesh(rest))), changes


def compare(base, names):
    """Twenty steps each way: losses and states beside those of one device; and where the rows of a batch go."""
    denoiser, task = tiny_transformer(), PatternTask()
    found = {}
    for name in ["accumulate:1", *names]:
        way, changes = read(name)
        settings = dataclasses.replace(base, **changes)
        job = Job(denoiser, settings)
        state, train, losses = way.initial(job), way.put(task.train), []
        for _ in range(STEPS // 10):
            state, metrics = way.steps(job, state, train, 10)
            losses += np.asarray(metrics.loss).tolist()
        if name == "accumulate:1":
            first, reference = losses, ways.fetch(state)
        found[name] = {
            "loss": float(np.max(np.abs(np.array(losses) - first))),
            "params": largest(state.params, reference.params),
            "ema_params": largest(state.ema_params, reference.ema_params),
            "tally": largest(state.tally, reference.tally),
            "step": int(state.step),
            "rows": rows_of(way, denoiser, settings, train),
        }
    return found


def rows_of(way, denoiser, settings, train):
    """Which rows of the first batch each device works on; ``None`` if it is not divided.

    It asks ``rows.take_share`` alone. That the step works on no other rows is what its equal states say
    (:func:`compare`).
    """
    tokens = batch_of(denoiser, settings, 0, train)[0].tokens
    numbers = jax.numpy.arange(len(tokens))
    if isinstance(way, ways.OnDevices):
        zeros = np.zeros(way.rows.parts, np.int32)
        shared = jax.pmap(lambda _: way.rows.take_share(numbers), way.rows.axis, devices=way.devices)(zeros)
        return np.asarray(shared).tolist()
    if isinstance(way, ways.OnAMesh):
        shared = jax.jit(way.rows.take_share)(numbers)
        return sorted({tuple(np.asarray(shard.data).tolist()) for shard in shared.addressable_shards})
    return None


def checkpoints_travel():
    """A checkpoint written on one mesh, read on one device, under pmap and on another mesh: bit for bit the same."""
    job, places = Job(tiny_transformer(), SETTINGS), [
        ways.OnAMesh(make_mesh({"data": 4, "model": 2})),
        ways.OnDevices(4),
        ways.OnAMesh(make_mesh({"data": 2, "model": 4})),
        ways.OnOneDevice(),
        ways.OnDevices(2),
        ways.OnAMesh(make_mesh({"data": 8})),
    ]  # fmt: skip
    state, found = places[0].initial(job), []
    original = ways.fetch(state)
    for before, after in itertools.pairwise(places):
        with tempfile.TemporaryDirectory() as folder:
            with Checkpoints(folder) as checkpoints:
                checkpoints.save(state)
            like = after.abstract(job)
            with Checkpoints(folder) as checkpoints:
                state = checkpoints.restore(like)
        wanted = [leaf.sharding for leaf in jax.tree.leaves(like)]
        right = all(leaf.sharding == place for leaf, place in zip(jax.tree.leaves(state), wanted, strict=True))
        found.append([type(before).__name__, type(after).__name__, largest(state, original), right])
    return found


def class_conditional():
    """A class with every row, drawn and divided with it: parameters beside those of one device, and what is learnt."""
    task = PatternTask()
    classes = tuple({"class": rows[:, 0]} for rows in (task.train, task.validation))  # the first token tells the row
    settings = dataclasses.replace(SETTINGS, steps=40, optimizer="adamw", learning_rate=0.1)
    denoiser, params = models.from_function(by_class, VOCAB), {"table": np.zeros((VOCAB, LENGTH, VOCAB), np.float32)}
    found, figures, reference, files = {}, [], None, {}
    for name in ("accumulate:1", *CLASSES):
        way, changes = read(name)
        where = {"mesh": way.rows.mesh} if isinstance(way, ways.OnAMesh) else {}
        where |= {"devices": way.rows.parts} if isinstance(way, ways.OnDevices) else {}
        arguments = {
            "settings": dataclasses.replace(settings, **changes),
            "params": params,
            "context": classes,
            **where,
        }
        run = fit(
            denoiser, task, on_report=lambda _, of: figures.append(of["held_out_bits_per_token"]), progress=False,
            **arguments,
        )  # fmt: skip
        reference = ways.fetch(run.params) if reference is None else reference
        found[name] = [largest(run.params, reference), figures[-1]]
        if where and not changes:
            files[name] = largest(left_in_a_file(denoiser, task, arguments).params, run.params)
    return found, files


def left_in_a_file(denoiser, task, arguments):
    """The same training, of rows that a thread reads from a file."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "rows.npy", task.train)
        task = PatternTask()
        task.train, most = np.load(Path(folder) / "rows.npy", mmap_mode="r"), token_maps.MOST_IN_MEMORY
        token_maps.MOST_IN_MEMORY = 100
        try:
            assert token_maps.stays_in_file(task.train)
            return fit(denoiser, task, progress=False, **arguments)
        finally:
            token_maps.MOST_IN_MEMORY = most


def labels_dropped():
    """Ten steps under label dropout, on four devices beside one: how far parameters are apart, and have moved."""
    task, settings = PatternTask(), dataclasses.replace(SETTINGS, steps=10, optimizer="adamw")
    context = tuple({"label": rows[:, 0]} for rows in (task.train, task.validation))
    model = models.transformer(VOCAB, length=LENGTH, width=8, depth=1, heads=2, classes=VOCAB)
    how = {"settings": settings, "objective": LabelDropout(rate=0.25), "context": context, "progress": False}
    one, four = (fit(model, task, **how, **where).params for where in ({}, {"devices": 4}))
    return [largest(four, one), largest(one, model.init(jax.random.key(settings.seed), LENGTH))]


def by_class(params, tokens, context):
    """Logits by class and position, whatever the tokens."""
    del tokens
    return params["table"][context["class"]]


def a_run_goes_on():
    """Begun on a mesh, continued by pmap, finished on one device."""
    with tempfile.TemporaryDirectory() as folder:
        whole = fit(tiny_transformer(), PatternTask(), settings=MUON, progress=False)
        run = None
        for stop, how in ((10, {"mesh": make_mesh({"data": 2, "model": 2})}), (20, {"devices": 4}), (30, {})):
            with contextlib.suppress(Stop):
                run = fit(
                    tiny_transformer(), PatternTask(), settings=MUON, directory=folder, report_every=10,
                    on_report=stopping(stop), progress=False, **how,
                )  # fmt: skip
        steps = [line["step"] for line in RunDirectory(Path(folder)).read_log()]
    return {
        "params": largest(run.params, whole.params),
        "steps": steps,
        "on": str(jax.tree.leaves(run.params)[0].device),
    }


class Stop(Exception):
    """The end of a training before its end."""


def stopping(at):
    """What ends a training at the report of a step, unless it is the last one."""

    def on_report(step, _):
        if step == at < 30:
            raise Stop

    return on_report


if __name__ == "__main__":
    which, *names = sys.argv[1:]
    what = {"steps": compare(dataclasses.replace(SETTINGS, optimizer="adamw"), names)}
    if which == "more":
        what |= {"muon": compare(MUON, ["pmap:4", "mesh:data=2,model=2"]), "run": a_run_goes_on()}
    else:
        what |= {
            "checkpoints": checkpoints_travel(),
            "labels": labels_dropped(),
            **dict(zip(("classes", "files"), class_conditional())),
        }
    print(json.dumps(what))

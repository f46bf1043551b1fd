"""One step, three ways to run it: on eight virtual devices and in two real processes, beside the plain step."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiler_flags import with_devices
from toys import LENGTH, SETTINGS, PatternTask, tiny_transformer

from mdm_jax.support import devices
from mdm_jax.support.errors import InputError
from mdm_jax.training import RunDirectory, Settings, feeding, fit, load, ways
from mdm_jax.training.step import batch_of, initial_state, loss_and_gradient
from mdm_jax.training.ways import Job

HERE = Path(__file__).parent
LOSS, PARAMS = 1e-4, 2e-3
"""Nats per token, and largest difference of a parameter, after twenty steps of Muon at full rate: every way rounds
differently, and orthogonalised updates (of size .02 each) magnify it."""
FEW = ("pmap:4", "mesh:data=4,model=2")
MORE = (
    "pmap:8", "mesh:data=8", "mesh:model=2", "accumulate:4", "pmap:2,accumulate:2", "mesh:data=2,model=2,accumulate:2",
)  # fmt: skip


def on_eight_devices(which, *names):
    environment = {**os.environ, "XLA_FLAGS": with_devices(8), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(HERE / "many_devices.py"), which, *names]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def few():
    return on_eight_devices("few", *FEW)


def check_steps(steps, names):
    for name in names:
        seen = steps[name]
        assert seen["step"] == 20
        assert seen["loss"] < LOSS, name
        assert seen["params"] < PARAMS, name
        assert seen["ema_params"] < PARAMS, name
        assert seen["tally"] < 20 * LOSS, name
        if seen["rows"] is not None:
            together = [row for part in seen["rows"] for row in part]
            assert sorted(together) == list(range(SETTINGS.batch)), name
            parts = [int(piece.split("=")[-1]) for piece in name.split(",")[0].split(":")[1:] if "model" not in piece]
            assert len(seen["rows"]) == (parts or [1])[0], name


@pytest.mark.processes
@pytest.mark.thorough
@pytest.mark.core
def test_pmap_and_mesh_take_the_steps_of_one_device_on_rows_divided_without_overlap_or_loss(few):
    check_steps(few["steps"], FEW)


@pytest.mark.processes
@pytest.mark.thorough
def test_every_number_of_devices_every_mesh_and_accumulation_and_a_run_that_goes_on_in_another_way():
    """Each under AdamW; one of each kind under Muon, whose steps compile slowly, and the run that goes on."""
    found = on_eight_devices("more", *MORE)
    check_steps(found["steps"], MORE)
    check_steps(found["muon"], ("pmap:4", "mesh:data=2,model=2"))
    assert found["run"]["params"] < PARAMS
    assert found["run"]["steps"] == sorted(set(found["run"]["steps"]))
    assert found["run"]["steps"][-1] == 30


@pytest.mark.processes
@pytest.mark.thorough
@pytest.mark.core
def test_checkpoints_travel_between_meshes_pmap_and_one_device_bit_for_bit(few):
    assert len(few["checkpoints"]) == 5
    for before, after, difference, placed in few["checkpoints"]:
        assert difference == 0, (before, after)
        assert placed, (before, after)


@pytest.mark.thorough
@pytest.mark.core
def test_contexts_are_divided_with_their_rows(few):
    """The class tells everything: 0 bits per token where it is seen, log2(6) where it is not or is another row's."""
    assert len(few["classes"]) == 4
    for name, (difference, bits) in few["classes"].items():
        assert difference < PARAMS, name
        assert bits < 0.5, name


@pytest.mark.processes
@pytest.mark.thorough
def test_the_rows_that_lose_their_label_are_the_same_on_many_devices(few):
    difference, moved = few["labels"]
    assert difference < PARAMS
    assert moved > 10 * PARAMS


@pytest.mark.processes
@pytest.mark.thorough
def test_rows_that_are_read_from_a_file_teach_on_many_devices_what_rows_in_memory_do(few):
    """With their classes, under pmap and on a mesh."""
    assert few["files"].keys() == {"pmap:4", "mesh:data=4,model=2"}
    assert max(few["files"].values()) < 1e-6


def processes(directory, mesh, each=1, cases=("",)):
    """The two processes' reports, by case."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
        "XLA_FLAGS": with_devices(each),
    }
    command = [sys.executable, str(HERE / "two_processes.py"), str(directory), mesh, *cases]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / str(i) for i in range(2)]
        started = []
        for i, output in enumerate(outputs):
            # Files, not pipes: one that waits to print would keep the other waiting.
            with output.open("w") as stream:
                environment = {**common, "JAX_PROCESS_ID": str(i)}
                started.append(subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT))
        end = time.monotonic() + 500
        while any(process.poll() is None for process in started) and time.monotonic() < end:
            if any(process.poll() for process in started):
                end = min(end, time.monotonic() + 5)  # the other one waits in vain
            time.sleep(0.2)
        for process in started:
            process.kill()  # one that waits for the other does not heed SIGTERM
            process.wait()
        texts = [output.read_text() for output in outputs]
    for process, text in zip(started, texts):
        assert process.returncode == 0, text[-3000:]
    told = [json.loads(text.strip().splitlines()[-1]) for text in texts]
    return {case: [one[case] for one in told] for case in cases}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two processes of one device: what they saw of a training, of all that fails in one, and of rows in a file."""
    folder = tmp_path_factory.mktemp("pair")
    np.save(folder / "rows.npy", PatternTask().train)
    return folder, processes(folder / "two", "data=2", cases=("", *WRONG, "file"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The directory of the same training in one process, and its result."""
    place = tmp_path_factory.mktemp("alone") / "one"
    settings = dataclasses.replace(SETTINGS, steps=20)
    return place, fit(tiny_transformer(), PatternTask(), settings=settings, directory=place, progress=False)


WRONG = {
    "unshared": (
        "another process of this run has stopped", "two unshared1 must be a directory that all processes see"
    ),
    "log": ("some file could not be written: No space left on device", "another process of this run has stopped"),
    "manifest": ("could not be written: No space left on device", "another process of this run has stopped"),
    "id": ("rows.npy must hold token ids from 0 to 5; token ", "another process of this run has"),
}  # fmt: skip
"""What fails in process 0, or in each, and what both say."""


@pytest.mark.processes
@pytest.mark.thorough
@pytest.mark.parametrize(("mesh", "each"), [("data=2", 1), ("data=2,model=2", 2)])
def test_two_processes_train_one_model_and_one_of_them_writes(tmp_path, request, alone, mesh, each):
    """Over loopback, against the same training in one process; then that process goes on alone with the result."""
    if each == 1:
        folder, told = request.getfixturevalue("pair")
        directory, seen = folder / "two", told[""]
    else:
        directory = tmp_path / "two"
        seen = processes(directory, mesh, each)[""]
    assert [report["writer"] for report in seen] == [True, False]
    assert [report["devices"] for report in seen] == [[each, 2 * each]] * 2
    assert sorted(seen[0]["rows"] + seen[1]["rows"]) == list(range(SETTINGS.batch))
    other, run = alone
    for report in seen:
        for mine, leaf in zip(report["params"], jax.tree.leaves(run.params), strict=True):
            np.testing.assert_allclose(mine, np.asarray(leaf).ravel(), atol=PARAMS)
    logs = [RunDirectory(place).read_log() for place in (other, directory)]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    for one, two in zip(*logs):
        assert one["train_bits_per_token"] == pytest.approx(two["train_bits_per_token"], abs=LOSS)
        assert one["held_out_bits_per_token"] == pytest.approx(two["held_out_bits_per_token"], abs=LOSS)
    for mine, leaf in zip(seen[0]["params"], jax.tree.leaves(load(directory, tiny_transformer()).params)):
        np.testing.assert_array_equal(np.asarray(mine, np.float32), np.asarray(leaf).ravel())


@pytest.mark.processes
@pytest.mark.thorough
@pytest.mark.parametrize("wrong", WRONG)
def test_what_fails_in_one_process_stops_both(pair, wrong):
    """None is left waiting: both say why, and train again (``processes`` kills who waits, and fails)."""
    for report, says in zip(pair[1][wrong], WRONG[wrong], strict=True):
        assert says in report["refused"]


@pytest.mark.processes
@pytest.mark.thorough
def test_two_processes_read_their_own_rows_of_a_file_and_no_others(pair, alone):
    """Each has one half of every batch: the places of both together are those of the batches, none is read twice."""
    seen, settings = pair[1]["file"], dataclasses.replace(SETTINGS, steps=20)
    wanted = np.concatenate([feeding.places(settings, (24, LENGTH), first) for first in (0, 10)])
    half = SETTINGS.batch // 2
    for report, part in zip(seen, (wanted[:, :half], wanted[:, half:])):
        np.testing.assert_array_equal(np.asarray(report["read"]), part * LENGTH)
    for report in seen:
        for mine, leaf in zip(report["params"], jax.tree.leaves(alone[1].params), strict=True):
            np.testing.assert_allclose(mine, np.asarray(leaf).ravel(), atol=PARAMS)


@pytest.fixture(scope="module")
def gradients():
    """One batch's loss and gradient, plain, accumulated and in bfloat16."""
    denoiser, train = tiny_transformer(), jnp.asarray(PatternTask().train)
    state = initial_state(denoiser, SETTINGS)
    # Away from the start, where the outputs are zero and most gradients with them.
    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(state.params)))
    leaves, tree = jax.tree.flatten(state.params)
    params = tree.unflatten([leaf + 0.1 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves)])
    batch = batch_of(denoiser, SETTINGS, jnp.int32(0), train)

    def gradient(**changes):
        settings = dataclasses.replace(SETTINGS, **changes)
        return jax.jit(lambda params: loss_and_gradient(denoiser, settings, params, *batch))(params)

    return {"plain": gradient(), "accumulated": gradient(accumulate=4), "bfloat16": gradient(compute="bfloat16")}


@pytest.mark.core
def test_accumulated_gradients_are_the_gradient(gradients):
    (value, losses, gradient), (other, others, summed) = gradients["plain"], gradients["accumulated"]
    np.testing.assert_allclose(other, value, rtol=1e-5)
    np.testing.assert_allclose(others.loss, losses.loss, rtol=1e-4)  # in the batch's order
    for one, two in zip(jax.tree.leaves(gradient), jax.tree.leaves(summed), strict=True):
        np.testing.assert_allclose(two, one, atol=1e-5 * float(jnp.max(jnp.abs(one))) + 1e-7)


@pytest.mark.core
def test_bfloat16_gives_the_gradient_to_its_precision_in_float32(gradients):
    """Eight bits of mantissa: half a per cent at each operation, some per cent after all of them."""
    (value, _, gradient), (other, _, rough) = gradients["plain"], gradients["bfloat16"]
    assert abs(float(other) - float(value)) < 0.01 * float(value)
    assert float(other) != float(value)
    one, two = (jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in (gradient, rough))
    assert two.dtype == jnp.float32
    assert float(jnp.linalg.norm(one - two)) < 0.05 * float(jnp.linalg.norm(one))


def test_a_step_that_is_not_finite_is_not_taken():
    """The state comes back as it was, the steps before it are kept and those after it not begun."""
    job, task = Job(tiny_transformer(), SETTINGS), PatternTask()
    way = ways.OnOneDevice()
    train = way.put(task.train)
    state, _ = way.steps(job, way.initial(job), train, 3)
    before = ways.fetch(state)
    bad = dataclasses.replace(state, params=jax.tree.map(lambda leaf: leaf.at[...].set(jnp.inf), state.params))
    spoilt = ways.fetch(bad)
    after, metrics = way.steps(job, bad, train, 4)
    assert int(after.step) == 3
    assert not np.isfinite(metrics.loss[0])
    for one, two in zip(jax.tree.leaves(ways.fetch(after)), jax.tree.leaves(spoilt), strict=True):
        np.testing.assert_array_equal(one, two)
    assert int(before.step) == 3


@pytest.mark.core
def test_what_cannot_be_divided_is_refused():
    way = ways.OnDevices(1)
    way.rows = dataclasses.replace(way.rows, parts=3)
    with pytest.raises(InputError, match=r"batch must be a multiple of 3: 3 shares of rows, 1 accumulated parts"):
        ways.check(way, SETTINGS)
    with pytest.raises(InputError, match=r"accumulate must be a divisor of the batch, 8; got 3"):
        Settings(accumulate=3)
    with pytest.raises(InputError, match="compute must be one of bfloat16, float32; got 'float16'"):
        Settings(compute="float16")
    with pytest.raises(InputError, match=r"devices must be from 1 to 1, the number of devices .*; got 9"):
        fit(tiny_transformer(), PatternTask(), settings=SETTINGS, devices=9)
    with pytest.raises(InputError, match="devices and mesh cannot both be given"):
        fit(tiny_transformer(), PatternTask(), settings=SETTINGS, devices=1, mesh=devices.make_mesh({"data": 1}))
    with pytest.raises(
        InputError, match=r"mesh must be at most 1, the number of devices .*; got data=4,model=2, 8 dev"
    ):
        devices.make_mesh({"data": 4, "model": 2})
    with pytest.raises(InputError, match="mesh must be sizes of at least 1 for axes among data and model"):
        devices.make_mesh({"rows": 1})


@pytest.mark.core
def test_meshes_as_text():
    assert devices.parse_mesh("data=4,model=2") == {"data": 4, "model": 2}
    assert devices.parse_mesh(" model = 2 ") == {"model": 2}
    for text in ("", "4", "data", "data=", "data=0", "data=-1", "data=2,data=2", "rows=2", "data=2;model=2", "data=²",
                 "data=1e3", "data=99999999999", "data=4,"):  # fmt: skip
        with pytest.raises(InputError, match="--mesh must be axes and sizes, as in data=4,model=2; got"):
            devices.parse_mesh(text)


@pytest.mark.core
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1"}, "JAX_NUM_PROCESSES, JAX_PROCESS_ID must be set where"),
        ({"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1", "JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"},
         "JAX_NUM_PROCESSES must be a whole number of at least 1; got 'two'"),
        ({"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"},
         "JAX_PROCESS_ID must be from 0 to 1, since JAX_NUM_PROCESSES is 2; got 2"),
    ],
)  # fmt: skip
def test_an_environment_that_names_other_processes_wrongly_is_refused(monkeypatch, given, says):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=says):
        devices.join_processes()


def test_no_other_processes_is_no_matter(monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    devices.join_processes()
    assert jax.process_count() == 1

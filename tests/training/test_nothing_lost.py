"""Nothing is lost: checkpoints are verified and offered; signals, bad steps and full disks stop with a sentence."""

import argparse
import dataclasses
import errno
import hashlib
import json
import logging
import os
import resource
import shutil
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.experimental import multihost_utils
from toys import SETTINGS, PatternTask, tiny_transformer

import mdm_jax
from mdm_jax import models
from mdm_jax.app import cli
from mdm_jax.support import processes
from mdm_jax.support.errors import InputError
from mdm_jax.support.locks import exclusive
from mdm_jax.support.stops import Interrupted, NonFinite, listening
from mdm_jax.training import RunDirectory, fit, ways
from mdm_jax.training.checkpoints import Checkpoints, catalogue, manifest
from mdm_jax.training.directory import identity
from mdm_jax.training.losses import stratified_nelbo
from mdm_jax.training.step import batch_of, initial_state

EVERY = 40


def train(directory, **arguments):
    arguments = {"settings": SETTINGS, "checkpoint_every": EVERY, "report_every": EVERY, "progress": False} | arguments
    return fit(tiny_transformer(), PatternTask(), directory=directory, **arguments)


def same(one, two):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in leaves)


def state_of(directory, step=None):
    with RunDirectory(directory).open_checkpoints() as checkpoints:
        return checkpoints.restore(jax.eval_shape(lambda: initial_state(tiny_transformer(), SETTINGS)), step)


def kept(directory):
    return sorted(int(path.name) for path in (directory / "checkpoints").iterdir())


def patched_steps(monkeypatch, before):
    """Call ``before(step)`` ahead of every block of steps."""
    original = ways.OnOneDevice.steps

    def steps(way, job, state, train, count):
        before(int(state.step))
        return original(way, job, state, train, count)

    monkeypatch.setattr(ways.OnOneDevice, "steps", steps)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "whole"
    return directory, train(directory)


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.core
def test_a_manifest_names_every_file_with_its_digest(finished):
    directory, _ = finished
    folder = directory / "checkpoints" / "160"
    said = json.loads((folder / "manifest.json").read_text())
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    del files["manifest.json"]
    assert said["files"] == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    assert any("/d/" in name for name in files)
    assert (said["step"], said["run"]) == (160, identity(RunDirectory(directory)))
    assert said["figure"] == RunDirectory(directory).read_log()[-1]["held_out_bits_per_token"]


@pytest.mark.core
def test_the_newest_and_the_best_are_kept(finished, tmp_path):
    """Two newest; the best besides, while there is one that is better than they are."""
    assert kept(finished[0]) == [120, 160]
    with RunDirectory(finished[0]).open_checkpoints() as checkpoints:
        state = checkpoints.restore(jax.eval_shape(lambda: initial_state(tiny_transformer(), SETTINGS)))
    folder = tmp_path / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step, figure in ((1, 3.0), (2, 1.5), (3, None), (4, 2.0), (5, 2.5), (6, None)):
            checkpoints.save(dataclasses.replace(state, step=jnp.int32(step)), figure)
            checkpoints.wait()
            assert checkpoints.latest() == step
        assert [checkpoints.choose(which) for which in ("newest", "best", 5)] == [6, 2, 5]
        assert kept(tmp_path) == [2, 5, 6]
        with pytest.raises(
            InputError, match=r"checkpoint must be newest, best or one of the steps 2, 5, 6 kept in .*; got 4"
        ):
            checkpoints.choose(4)
        with pytest.raises(InputError, match="got 'worst'"):
            checkpoints.choose("worst")
    assert same(mdm_jax.load(finished[0], checkpoint="best").params, finished[1].params)  # the last is the best here


@pytest.mark.core
def test_every_checkpoint_is_measured_whether_it_is_reported_or_not(tmp_path):
    """And the log is of the steps it was asked for, no more."""
    run = train(tmp_path / "run", checkpoint_every=50)
    assert [line["step"] for line in RunDirectory(tmp_path / "run").read_log()] == [40, 80, 120, 160]
    said = {step: manifest.read(tmp_path / "run" / "checkpoints" / str(step)).figure for step in (150, 160)}
    rows = PatternTask().validation
    for step in said:
        params = mdm_jax.load(tmp_path / "run", checkpoint=step).params
        nelbo = stratified_nelbo(run.denoiser, params, rows, key=jax.random.key(0))
        assert said[step] == pytest.approx(float(np.mean(nelbo)) / np.log(2) / rows.shape[1], rel=1e-5)
    assert said[150] != said[160]


def _flip(folder):
    path = max((folder / "ema_params").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    return "another digest than when it was written"


def _cut(folder):
    path = next((folder / "training").rglob("d/*"))
    path.write_bytes(path.read_bytes()[:-1])
    return rf"training/.* has {path.stat().st_size} bytes, not the {path.stat().st_size + 1} that were written"


def _lose(folder):
    (folder / "tally" / "_METADATA").unlink()
    return "tally/_METADATA is missing"


def _add(folder):
    (folder / "ema_params" / "more").write_text("")
    return "ema_params/more was not there when it was written"


def _link(folder):
    path = folder / "ema_params" / "_METADATA"
    path.rename(folder.parents[1] / "elsewhere")
    path.symlink_to(folder.parents[1] / "elsewhere")
    return "ema_params/_METADATA is neither a file nor a folder"


def _edit(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"figure": ', '"figure": 1'))
    return "manifest.json has another digest"


def _empty(folder):
    (folder / "manifest.json").write_bytes(b"")
    return r"manifest.json cannot be read \(.*not valid JSON"


def _rename(folder):
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "120", folder)
    return "it was written as checkpoint 120"


@pytest.mark.core
@pytest.mark.parametrize("damage", [_flip, _cut, _lose, _add, _link, _edit, _empty, _rename])
def test_a_damaged_checkpoint_is_refused_and_the_newest_good_one_offered(damage, finished, copy):
    says = damage(copy / "checkpoints" / "160")
    offer = r"; the newest good one is 120: go on from it with --checkpoint 120 \(load\(..., checkpoint=120\)"
    for use in (mdm_jax.load, train):
        with pytest.raises(InputError, match=rf"^checkpoint 160 in .* is damaged: .*{says}.*{offer}"):
            use(copy)
    assert kept(copy) == [120, 160]
    assert mdm_jax.load(copy, checkpoint=120).step == 120


def test_going_on_from_the_newest_good_one_ends_bitwise_where_it_should(finished, copy):
    _flip(copy / "checkpoints" / "160")
    run = train(copy, checkpoint=120)
    assert same(run.params, finished[1].params)
    assert same(state_of(copy), state_of(finished[0]))
    assert kept(copy) == [120, 160]
    assert (copy / "damaged-checkpoints" / "160" / "manifest.json").exists()
    assert [line["step"] for line in RunDirectory(copy).read_log()] == [40, 80, 120, 160]
    train(copy, checkpoint=120)  # nothing is wrong with this one
    assert (copy / "later-checkpoints" / "160" / "manifest.json").exists()


def test_sampling_reads_a_model_whose_optimiser_is_damaged(finished, copy):
    """Only what is read is hashed; but sizes are compared, and training is refused."""
    path = max((copy / "checkpoints" / "160" / "training").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert same(mdm_jax.load(copy).params, finished[1].params)
    with pytest.raises(InputError, match=r"checkpoint 160 in .* is damaged: training/"):
        train(copy)


def test_when_no_checkpoint_is_good_that_is_said(copy):
    for step in (120, 160):
        _flip(copy / "checkpoints" / str(step))
    with pytest.raises(InputError, match=r"checkpoint 160 .* is damaged: .*; no other checkpoint there is good\."):
        mdm_jax.load(copy)


def test_a_checkpoint_of_another_configuration_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    config["settings"]["seed"] = 1
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"checkpoint 160 in .* belongs to a run of another configuration than"):
        mdm_jax.load(copy)


@pytest.mark.core
def test_what_an_interrupted_save_left_is_passed_over_and_replaced(finished, copy):
    """Committed by Orbax, but killed before the manifest; and a folder half-written, one half-deleted."""
    (copy / "checkpoints" / "160" / "manifest.json").unlink()
    (copy / "checkpoints" / "160.orbax-checkpoint-tmp").mkdir()
    (copy / "checkpoints" / "80.deleting").mkdir()
    assert mdm_jax.load(copy).step == 120
    assert same(train(copy).params, finished[1].params)
    assert kept(copy) == [120, 160]
    assert manifest.present(copy / "checkpoints" / "160")


def test_manifests_that_are_all_gone_are_not_trained_over(finished, copy):
    """One folder is what a kill before the first manifest leaves; several are not."""
    for step in (120, 160):
        (copy / "checkpoints" / str(step) / "manifest.json").unlink()
    log = RunDirectory(copy).log.read_text()
    with pytest.raises(InputError, match=r"^the checkpoints 120, 160 in .* have lost their manifest.json, so that"):
        train(copy)
    assert RunDirectory(copy).log.read_text() == log
    assert kept(copy) == [120, 160]
    shutil.rmtree(copy / "checkpoints" / "120")
    assert same(train(copy).params, finished[1].params)
    assert os.listdir(copy / "damaged-checkpoints") == ["160"]
    assert kept(copy) == [120, 160]


def _fail(*_, **__):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ((), r"checkpoint 7 could not be written: Input/output error; which checkpoints are left cannot be seen"),
        ((catalogue.Catalogue, "discard"), "checkpoint 7 could not be written: Input/output error; which"),
        ((catalogue.Catalogue, "prune"), "old checkpoints in .* cannot be deleted: Input/output error"),
    ],
)
def test_a_save_that_fails_says_so_whatever_else_fails(where, says, finished, tmp_path, monkeypatch):
    """On a disk that answers nothing any more, reading fails as well as writing."""
    state = state_of(finished[0])
    with Checkpoints(tmp_path / "checkpoints") as saved, monkeypatch.context() as patch:
        if where:
            patch.setattr(*where, _fail)
        if "old" not in says:
            patch.setattr(manifest, "write", _fail)
            patch.setattr(catalogue.Catalogue, "latest", _fail)
        saved.save(dataclasses.replace(state, step=jnp.int32(7)))
        with pytest.raises(InputError, match=says):
            saved.wait()


def test_leaving_one_reader_keeps_the_other_quiet(tmp_path):
    log = logging.getLogger("absl")
    before = len(log.filters)
    with Checkpoints(tmp_path / "a"):
        with Checkpoints(tmp_path / "b"):
            assert len(log.filters) == before + 2
        assert len(log.filters) == before + 1
    assert len(log.filters) == before


def test_what_process_0_says_is_heard_whole_however_long(monkeypatch):
    sent, asked = [], []

    def broadcast(piece):
        sent.append(piece)
        return piece

    def agree(index, value, send):
        monkeypatch.setattr(jax, "process_index", lambda: index)
        monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", send)
        return processes.agreed(lambda: asked.append(index) or value)

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    agree(0, "", broadcast)
    piece, around = len(sent[0]) - 1, len(json.dumps({"value": ""}))  # a piece begins with the size of all of them
    sizes = (0, 1, piece - around - 1, piece - around, piece - around + 1, 2 * piece - around, 5 * piece + 3)
    for size in sizes:
        value = "".join(np.random.default_rng(size).choice(list("abcdef"), size))
        sent.clear()
        assert agree(0, value, broadcast) == value
        assert len(sent) == max(1, -(-(size + around) // piece))
        assert agree(1, "another", lambda _, told=list(sent): told.pop(0)) == value
    assert set(asked) == {0}  # the other process has nothing to say


def test_runs_of_earlier_versions_are_read_and_go_on(finished, copy):
    """Neither manifests nor the newer settings in config.json; the identity of the run stays what it was."""
    path = copy / "config.json"
    config = json.loads(path.read_text())
    for name in ("accumulate", "compute"):
        del config["settings"][name]
    del config["manifests"]
    path.write_text(json.dumps(config))
    for step in (120, 160):
        (copy / "checkpoints" / str(step) / "manifest.json").unlink()
    shutil.rmtree(copy / "checkpoints" / "160")
    before = identity(RunDirectory(copy))
    assert mdm_jax.load(copy).step == 120
    with pytest.raises(InputError, match="has a held-out figure to tell the best by"):
        mdm_jax.load(copy, checkpoint="best")
    assert same(train(copy).params, finished[1].params)
    assert json.loads(path.read_text()) == config
    assert identity(RunDirectory(copy)) == before != identity(RunDirectory(finished[0]))
    assert manifest.present(copy / "checkpoints" / "160")
    with pytest.raises(InputError, match=r"differs in accumulate \(1, not 2\)"):
        train(copy, settings=dataclasses.replace(SETTINGS, accumulate=2))


@pytest.mark.parametrize("manifests", [True, False])
def test_runs_that_call_the_ema_by_its_former_name_are_read_and_go_on_bitwise(finished, copy, manifests):
    """``average`` in config.json, an item ``average`` in checkpoints, and ``None`` in its former place."""
    path, place = copy / "config.json", RunDirectory(copy)
    config = json.loads(path.read_text())
    config["settings"] = {{"ema_decay": "average"}.get(name, name): value for name, value in config["settings"].items()}
    config["manifests"] = manifests
    state, folder = vars(state_of(copy, 120)), copy / "checkpoints" / "120"
    path.write_text(json.dumps(config))
    shutil.rmtree(copy / "checkpoints")
    training = {"step": state["step"], "params": state["params"], "average": None, "optimizer": state["optimizer"]}
    items = {"average": state["ema_params"], "tally": vars(state["tally"]), "training": training}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as orbax:
        orbax.save(folder, ocp.args.Composite(**{name: ocp.args.StandardSave(item) for name, item in items.items()}))
    if manifests:
        manifest.write(folder, 120, identity(place), 2.5)
    before = identity(place)
    assert place.settings(place.read_config()) == SETTINGS
    assert same(mdm_jax.load(copy).params, state["ema_params"])
    run = train(copy)
    assert same(run.params, finished[1].params)
    assert same(state_of(copy), state_of(finished[0]))
    assert identity(place) == before
    assert not (copy / "checkpoints" / "160" / "average").exists()
    with pytest.raises(InputError, match=r"differs in ema_decay \(0.8, not 0.9\)"):
        train(copy, settings=dataclasses.replace(SETTINGS, ema_decay=0.9))
    path.write_text(json.dumps(config | {"settings": config["settings"] | {"ema_decay": 0.8}}))
    with pytest.raises(InputError, match="settings of another version"):
        mdm_jax.load(copy)


@pytest.mark.core
def test_one_run_one_writer(copy, tmp_path):
    with exclusive(RunDirectory(copy).lock, "the run"):
        with pytest.raises(InputError, match=rf"the run in .*copy is in use by process {os.getpid()} on "):
            train(copy)
        assert mdm_jax.load(copy).step == 160  # reading needs no lock
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "to_mother.txt").write_text("dear")
    with pytest.raises(InputError, match="new, empty or a run directory"):
        train(tmp_path / "letters")
    assert os.listdir(tmp_path / "letters") == ["to_mother.txt"]


@pytest.mark.core
def test_the_log_and_the_profile_are_cut_back_to_the_checkpoint(copy):
    place = RunDirectory(copy)
    profile = json.loads(place.training_profile.read_text())
    with place.log.open("a") as stream:
        stream.write('{"step": 170, "seconds": 9}\n{"step": 1')
    assert [line["step"] for line in place.cut_back(160)] == [40, 80, 120, 160]
    assert place.log.read_text().endswith("}\n")
    assert profile["provenance"]["run_step"] == 160
    assert place.training_profile.exists()
    assert [line["step"] for line in place.cut_back(120)] == [40, 80, 120]
    assert not place.training_profile.exists()


@pytest.mark.core
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_command_says_so(number, status, finished, tmp_path, monkeypatch, capsys):
    directory = tmp_path / "stopped"
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patched_steps(patch, lambda step: os.kill(os.getpid(), number) if step == 50 else None)
        patch.setattr("mdm_jax.app.work.training.run", lambda _: train(directory))
        assert cli.main(["train", str(directory)]) == status
    assert signal.getsignal(number) == before
    says = f"mdm-jax: stopped at step 60 of 160, saved in {directory}; the same command goes on from there.\n"
    assert capsys.readouterr().err.endswith(says)
    assert mdm_jax.load(directory).step == 60
    assert manifest.read(directory / "checkpoints" / "60").figure is None  # measuring would have taken time
    if number == signal.SIGTERM:
        assert same(train(directory).params, finished[1].params)


@pytest.mark.core
def test_a_second_ctrl_c_acts_at_once():
    def ask(*_):
        raise KeyboardInterrupt("at once")

    def press_twice():
        with listening() as notice:
            os.kill(os.getpid(), signal.SIGINT)
            assert notice.signal == signal.SIGINT
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, ask)
    try:
        with pytest.raises(KeyboardInterrupt, match="at once"):
            press_twice()
        assert signal.getsignal(signal.SIGINT) is ask
    finally:
        signal.signal(signal.SIGINT, before)


class Poisoned(PatternTask):
    """One row in 480 is all fives, for which the model below has no finite logits."""

    def __init__(self):
        super().__init__()
        self.train = np.tile(self.train, (20, 1))
        self.train[7] = 5


def _table(params, tokens):
    """Logits by what the first position shows, if it shows: infinite where everything shown is a five."""
    fives = jnp.all((tokens == 5) | (tokens == 6), axis=1) & (jnp.sum(tokens == 5, axis=1) > 2)
    scores = params["table"][tokens]
    return scores + jnp.where(fives, jnp.inf, 0.0)[:, None, None]


def test_a_step_that_is_not_finite_stops_and_keeps_state_and_batch(tmp_path, monkeypatch, capsys):
    directory, params = tmp_path / "run", {"table": jax.random.normal(jax.random.key(1), (7, 6))}
    denoiser = models.from_function(_table, 6)
    arguments = {"directory": directory, "params": params, "settings": SETTINGS, "progress": False}
    with pytest.raises(NonFinite) as caught:
        fit(denoiser, Poisoned(), **arguments)
    with RunDirectory(directory).open_checkpoints() as checkpoints:
        done = checkpoints.latest()
        state = checkpoints.restore(jax.eval_shape(lambda: initial_state(denoiser, SETTINGS, params)))
    assert int(state.step) == done > 0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state))
    path = RunDirectory(directory).non_finite(done + 1)
    assert str(caught.value).startswith(
        f"step {done + 1} of 160 is not finite (its loss is nan): the state before it is saved in {directory}, its "
        f"batch in {path}. Start anew"
    )
    with np.load(path, allow_pickle=False) as saved:
        batch = dict(saved)
    bad = ~np.isfinite(batch["losses"])
    assert 0 < bad.sum() < SETTINGS.batch
    assert np.all(batch["tokens"][bad] == 5)
    examples, corrupted = batch_of(denoiser, SETTINGS, state.step, jnp.asarray(Poisoned().train))
    np.testing.assert_array_equal(batch["tokens"], examples.tokens)
    np.testing.assert_array_equal(batch["corrupted_masked"], corrupted.masked)
    assert int(batch["step"]) == done + 1

    # No earlier step was bad: independently of the loop, look at the batches before it.
    rows, batch_at = jnp.asarray(Poisoned().train), jax.jit(batch_of, static_argnums=(0, 1))
    for step in range(done):
        examples, corrupted = batch_at(denoiser, SETTINGS, jnp.int32(step), rows)
        shown = np.where(corrupted.masked, 6, examples.tokens)
        assert not np.any(np.all(shown >= 5, axis=1) & ((shown == 5).sum(axis=1) > 2))

    monkeypatch.setattr("mdm_jax.app.work.training.run", lambda _: fit(denoiser, Poisoned(), **arguments))
    assert cli.main(["train", str(directory)]) == 1  # it goes on from there, and meets the same batch
    assert capsys.readouterr().err == f"\nmdm-jax: {caught.value}\n"
    with pytest.raises(NonFinite, match="nothing was saved, since no directory was given"):
        fit(denoiser, Poisoned(), **arguments | {"directory": None})


@pytest.mark.core
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax's other writers, late
def test_a_disk_that_takes_no_more_keeps_the_last_good_checkpoint(finished, tmp_path, monkeypatch, capsys, caplog):
    """A real refusal by the system, in Orbax's own threads: files may not grow beyond 2,000 bytes (Python ignores the
    signal that goes with it)."""
    directory = tmp_path / "full"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = directory / "checkpoints"

    def limit(step):
        if step == 50:
            while not manifest.present(folder / "40"):  # it is written meanwhile
                time.sleep(0.01)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))

    try:
        with monkeypatch.context() as patch:
            patched_steps(patch, limit)
            with pytest.raises(InputError) as caught:
                train(directory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "Traceback" not in caplog.text + capsys.readouterr().err
    assert str(caught.value) == (
        f"checkpoint 80 could not be written: File too large; the last good one is 40 in {folder}."
    )
    # A writer of Orbax's that comes late may leave a folder of another name; the next save removes it.
    assert catalogue.Catalogue(folder, None, manifests=True).steps() == [40]
    assert mdm_jax.load(directory).step == 40
    assert same(train(directory).params, finished[1].params)
    assert kept(directory) == [120, 160]


def test_a_log_that_cannot_grow_is_left_as_it_was(finished, tmp_path, monkeypatch):
    directory = tmp_path / "full"
    written = []

    def full(path, text):
        if len(written) == 2:
            raise OSError(28, "No space left on device", str(path))
        written.append(text)
        with path.open("a") as stream:
            stream.write(text)

    with monkeypatch.context() as patch:
        patch.setattr("mdm_jax.training.reports.append_text", full)
        with pytest.raises(InputError) as caught:
            train(directory)
    assert str(caught.value) == (
        f"{directory / 'log.jsonl'} could not be written: No space left on device; "
        f"of the checkpoints the last good one is 80 in {directory / 'checkpoints'}."
    )
    assert same(train(directory).params, finished[1].params)
    assert [line["step"] for line in RunDirectory(directory).read_log()] == [40, 80, 120, 160]


def test_names_in_a_manifest_lead_nowhere(tmp_path):
    """A forged manifest, its own digest right: its names are compared with those in the folder, and never opened."""
    folder = tmp_path / "7"
    folder.mkdir()
    (folder / "file").write_text("content")
    (tmp_path / "secret").write_text("secret")
    manifest.write(folder, 7, None, None)
    manifest.check(folder, manifest.read(folder))
    for name in ("../secret", str(tmp_path / "secret"), "file/../../secret"):
        entry = manifest.Entry(6, hashlib.sha256(b"secret").hexdigest())
        said = dataclasses.replace(manifest.read(folder), files={**manifest.read(folder).files, name: entry})
        with pytest.raises(manifest.Damaged, match="secret is missing"):
            manifest.check(folder, said)


@pytest.mark.parametrize("figure", ["1e999", '"\\ud800"', "[" * 500 + "]" * 500, "[" * 9999, "null,,"])
def test_odd_manifests_are_refused_with_a_sentence(figure, tmp_path):
    folder = tmp_path / "7"
    folder.mkdir()
    manifest.write(folder, 7, None, None)
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"figure": null', f'"figure": {figure}'))
    with pytest.raises(manifest.Damaged, match=r"manifest.json (cannot be read|has another digest)"):
        manifest.read(folder)


@pytest.mark.core
def test_only_names_of_steps_are_checkpoints(tmp_path):
    for name in ("7", "007", "-7", "7.5", "७", "9" * 30, "8.deleting"):
        (tmp_path / name).mkdir()
        manifest.write(tmp_path / name, 7, None, None)
    (tmp_path / "9").symlink_to(tmp_path / "7")
    assert catalogue.Catalogue(tmp_path, None, manifests=True).steps() == [7]


def test_what_no_manifest_vouches_for_goes_when_it_is_older_and_links_are_left_alone(tmp_path):
    folder = tmp_path / "checkpoints"
    for step in (1, 2, 3, 4, 9):
        (folder / str(step)).mkdir(parents=True)
        if step in (2, 4):
            manifest.write(folder / str(step), step, None, None)
    (tmp_path / "elsewhere").mkdir()
    (folder / "5.deleting").symlink_to(tmp_path / "elsewhere")
    found = catalogue.Catalogue(folder, None, manifests=True)
    found.tidy()
    found.prune()
    assert sorted(os.listdir(folder)) == ["2", "4", "5.deleting", "9"]
    assert (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("seconds", ['"long"', "-1", "1" + "0" * 400])
def test_a_log_with_impossible_seconds_is_refused(seconds, copy):
    with RunDirectory(copy).log.open("a") as stream:
        stream.write(f'{{"step": 160, "seconds": {seconds}}}\n')
    with pytest.raises(InputError, match="is not the log of a run: line 5 has impossible seconds"):
        train(copy)


def test_sizes_are_compared_before_anything_is_read(tmp_path, monkeypatch):
    folder = tmp_path / "7"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text("content")
    manifest.write(folder, 7, None, 1.5)
    (folder / "b").write_text("more content")
    monkeypatch.setattr(manifest, "sha256", lambda _: pytest.fail("read"))
    with pytest.raises(manifest.Damaged, match="b has 12 bytes, not the 7 that were written"):
        manifest.check(folder, manifest.read(folder))


def test_the_exit_status_of_other_interruptions_is_that_of_ctrl_c(monkeypatch):
    def interrupted(_: argparse.Namespace):
        raise KeyboardInterrupt

    monkeypatch.setattr("mdm_jax.app.work.training.run", interrupted)
    assert cli.main(["train", "somewhere"]) == 130
    assert Interrupted("said").signal == signal.SIGINT
    assert catalogue.KEPT == 2

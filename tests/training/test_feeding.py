"""Training from a file that is never read whole: the same rows as from memory, and its errors in words."""

import dataclasses
import itertools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import programs

from mdm_jax import models
from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Numbers
from mdm_jax.tasks.array_files import TokensTask, token_maps, tokens
from mdm_jax.training import Examples, RunDirectory, Settings, batches, feeding, fit, ways
from mdm_jax.training.step import BLOCK

VOCAB, LENGTH = 6, 8
SETTINGS = Settings(steps=40, batch=4, length=LENGTH, optimizer="adamw", seed=5)


def by_position(params, tokens, context=None):
    """Logits of each token by its place and its neighbour, and of the row's class if it has one."""
    table = params["table"][jnp.minimum(jnp.roll(tokens, 1, axis=-1), VOCAB)] + params["place"][None]
    return table if context is None else table + params["class"][context["class"]][:, None]


MODEL = models.from_function(by_position, VOCAB)
PARAMS = {
    "table": np.zeros((VOCAB + 1, VOCAB), np.float32),
    "place": np.zeros((LENGTH, VOCAB), np.float32),
    "class": np.zeros((3, VOCAB), np.float32),
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A stream of 2,000 tokens; every file counts as a large one."""
    path = tmp_path / "stream.bin"
    np.random.default_rng(0).integers(0, VOCAB, 2000).astype("<u2").tofile(path)
    monkeypatch.setattr(token_maps, "MOST_IN_MEMORY", 100)
    return path


def from_file(path, **changes):
    return fitted(tokens(path, LENGTH, VOCAB, "uint16"), **changes)


def fitted(task, **changes):
    settings = dataclasses.replace(SETTINGS, **changes.pop("settings", {}))
    given = {"params": PARAMS, "settings": settings, "report_every": 7, "progress": False, **changes}
    return fit(MODEL, task, **given)


def in_memory(monkeypatch, run):
    """``run()`` where nothing counts as large."""
    with monkeypatch.context() as patch:
        patch.setattr(token_maps, "MOST_IN_MEMORY", 2**30)
        return run()


def same(one, two):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


@pytest.mark.core
@pytest.mark.parametrize("shape", [(1000,), (300, LENGTH)])
def test_the_host_draws_the_places_that_the_step_draws(shape):
    """At each step of two blocks, of which the second begins anywhere; each place is the first number of its row."""
    ids = np.arange(shape[0]) if len(shape) == 1 else np.arange(shape[0])[:, None].repeat(LENGTH, axis=1)
    drawn = jax.jit(lambda step: batches.draw(batches.keys(5, step)[0], Examples(jnp.asarray(ids)), 4, LENGTH).tokens)
    for first in (0, 17):
        found = feeding.places(SETTINGS, shape, first)
        assert found.shape == (BLOCK, 4)
        for step, places in enumerate(found):
            np.testing.assert_array_equal(places, drawn(first + step)[:, 0])


def test_places_beyond_32_bits_are_those_of_whole_numbers_without_a_limit():
    """And uniform: 40,000 of them, in 16 equal parts, each within 4.5 standard errors of a sixteenth."""
    count = 10**10 + 7
    words = np.asarray(batches.words(jax.random.key(1), 40_000))
    found = batches.far_places(words, count)
    exact = [(int(high) * 2**32 + int(low)) % count for high, low in words]
    assert found.tolist() == exact
    assert found.dtype == np.int64
    shares = np.bincount(found * 16 // count, minlength=16) / len(found)
    assert len(shares) == 16
    np.testing.assert_allclose(shares, 1 / 16, atol=4.5 * np.sqrt(15) / 16 / np.sqrt(len(found)))


def test_a_stream_beyond_32_bits_has_places_all_over_it_and_none_that_a_window_would_leave():
    settings = dataclasses.replace(SETTINGS, batch=64)
    found = np.stack([feeding.places(settings, (10**10,), first) for first in (0, 10)])
    assert found.min() >= 0
    assert 2**31 < found.max() <= 10**10 - LENGTH
    assert len(np.unique(found)) == found.size
    least = feeding.places(settings, (batches.LARGEST + LENGTH,), 0)  # one place too many for int32
    assert least.max() <= batches.LARGEST


@pytest.mark.core
def test_a_block_holds_rows_contexts_and_masks_as_the_step_draws_them(file):
    """The tokens come from the file, in its type; what is known and given of the rows from memory."""
    path = file.with_suffix(".npy")
    rows = np.random.default_rng(1).integers(0, VOCAB, (100, LENGTH)).astype(np.uint8)
    np.save(path, rows)
    ids, known = np.load(path, mmap_mode="r"), {"class": np.arange(100, dtype=np.int32)}
    given = np.random.default_rng(2).random((100, LENGTH)) < 0.2
    assert token_maps.stays_in_file(ids)
    with feeding.reading(ids, VOCAB) as read:
        found = feeding.block(SETTINGS, ways.OnOneDevice(), Examples(ids, known, given), read, 30, 7)
    whole = Examples(*jax.tree.map(jnp.asarray, (rows.astype(np.int32), known, given)))
    for step in range(7):
        wanted = batches.draw(batches.keys(SETTINGS.seed, 30 + step)[0], whole, 4, LENGTH)
        assert same(batches.at(found, step).examples, wanted)
    assert found.examples.tokens.shape == (BLOCK, 4, LENGTH)


def test_a_stream_in_a_file_teaches_what_it_teaches_in_memory(file, monkeypatch, capsys):
    """Bitwise, log included; and it is said where the tokens come from."""
    reports = []
    run = from_file(file, on_report=lambda step, of: reports.append((step, of["train_bits_per_token"])), progress=True)
    assert f"{file}: its 1,800 training tokens stay in the file; a thread reads" in capsys.readouterr().err
    told = list(reports)
    reports.clear()
    again = in_memory(
        monkeypatch,
        lambda: from_file(file, on_report=lambda step, of: reports.append((step, of["train_bits_per_token"]))),
    )
    assert same(run.params, again.params)
    assert not same(run.params, PARAMS)
    assert told == reports
    assert [step for step, _ in told] == [7, 14, 21, 28, 35, 40]
    assert readers() == []


@pytest.mark.thorough
def test_rows_in_a_file_teach_with_their_classes_what_they_teach_in_memory(file, monkeypatch):
    """Of a task by hand, whose training rows are any map."""
    path = file.with_suffix(".npy")
    rows = np.random.default_rng(1).integers(0, VOCAB, (300, LENGTH))
    np.save(path, rows)
    ids = np.load(path, mmap_mode="r")

    parts = (ids[:200], rows[200:250].astype(np.int32), rows[250:].astype(np.int32))
    task = TokensTask("rows", LENGTH, Numbers(VOCAB), *parts, "0", (), parts)
    classes = tuple({"class": np.arange(len(part)) % 3} for part in (task.train, task.validation))
    run = fitted(task, context=classes)
    again = in_memory(monkeypatch, lambda: fitted(task, context=classes))
    assert same(run.params, again.params)
    assert np.asarray(run.params["class"]).any()


@pytest.mark.core
def test_a_run_from_a_file_goes_on_bitwise(file, tmp_path):
    """Stopped in the middle of a block of ten steps; the thread ends with the training."""

    class Stop(Exception):
        pass

    def stop(step, _):
        if step == 14:
            raise Stop

    whole = from_file(file)
    with pytest.raises(Stop):
        from_file(file, directory=tmp_path / "run", on_report=stop)
    assert readers() == []
    assert RunDirectory(tmp_path / "run").read_log()[-1]["step"] == 14
    run = from_file(file, directory=tmp_path / "run")
    assert same(run.params, whole.params)
    assert same(run.tally, whole.tally)


def test_blocks_of_any_number_of_steps_are_one_program(file):
    from_file(file)
    with programs() as made:
        from_file(file, report_every=5, checkpoint_every=3)
    assert made == []


@pytest.mark.parametrize("broken", ["id", "short"])
def test_a_file_that_spoils_under_way_ends_the_training_in_a_sentence_with_the_state_saved(file, tmp_path, broken):
    """What was read ahead is used up first: so the step is known only roughly, the sentence and the checkpoint not."""
    good = file.read_bytes()

    def spoil(step, _):
        if step == 7:
            file.write_bytes(np.full(2000, VOCAB + 3, "<u2").tobytes() if broken == "id" else good[:1000])

    told = {
        "id": r"stream\.bin must hold token ids from 0 to 5; token \d+ of the training part, at byte \d+ of the file, "
        r"is 9; stopped at step (\d+) of 40, saved in .*; the same command goes on from there\.$",
        "short": r"stream\.bin was cut short: it has no token \d+ any more; stopped at step (\d+) of 40, saved in .*",
    }
    with pytest.raises(InputError, match=told[broken]) as caught:
        from_file(file, directory=tmp_path / "run", on_report=spoil)
    assert readers() == []
    assert f"saved in {tmp_path / 'run'}" in str(caught.value)
    file.write_bytes(good)
    assert same(from_file(file, directory=tmp_path / "run").params, from_file(file).params)


def test_a_wrong_id_is_found_where_it_stands(file):
    """The sentence names the place in the training part and the byte in the file: past a header, and a part's start."""
    ids = np.zeros(500, np.int64)
    ids[321] = -7
    path = file.with_suffix(".npy")
    np.save(path, ids)
    part = np.load(path, mmap_mode="r")[100:]
    with feeding.reading(part, VOCAB) as read:
        assert read(np.array([[0, 213], [222, 392]]), LENGTH).shape == (2, 2, LENGTH)
        with pytest.raises(
            InputError, match=r"token 221 of the training part, at byte (\d+) of the file, is -7"
        ) as caught:
            read(np.array([[0, 1], [220, 2]]), LENGTH)
    byte = int(str(caught.value).split("at byte ")[1].split()[0])
    assert np.frombuffer(path.read_bytes()[byte : byte + 8], "<i8") == [-7]


def test_a_file_that_is_gone_is_said_in_a_sentence(file):
    task = tokens(file, LENGTH, VOCAB, "uint16")
    file.unlink()
    with pytest.raises(InputError, match=r"stream\.bin could not be read: No such file or directory"):
        fitted(task)
    assert readers() == []


def test_what_stays_in_its_file(file, tmp_path):
    """Maps of one piece, and their parts; nothing of which the file may not tell what the array does."""
    ids = np.memmap(file, "<u2", "r")
    assert token_maps.stays_in_file(ids)
    assert token_maps.stays_in_file(ids[5:1005])
    assert token_maps.first_byte(ids[5:1005]) == 10
    assert token_maps.stays_in_file(ids[:1600].reshape(200, 8))
    for other in (ids[:50], ids[::2], np.asarray(ids), np.memmap(file, "<u2", "c"), ids + 1, list(ids)):
        assert not token_maps.stays_in_file(other)


def test_rows_in_a_file_with_a_mask_of_what_is_given_are_refused(file):
    class Prompted(TokensTask):
        def given(self, part):
            return np.zeros(getattr(self, part).shape, bool)

    with pytest.raises(InputError, match=r"task\.given\('train'\) must be None, since these rows stay in their file"):
        fitted(Prompted(**vars(tokens(file, LENGTH, VOCAB, "uint16"))))


def test_blocks_end_where_something_is_reported_or_saved():
    """Against counting one by one."""
    from mdm_jax.training.loop import Pace, blocks

    for report, save, done in itertools.product((3, 7, 100), (4, 10), (0, 5)):
        found = list(blocks(Pace(report, save, False), done, 41))
        steps = [first + number for first, count in found for number in range(count)]
        assert steps == list(range(done, 41))
        assert all(1 <= count <= BLOCK for _, count in found)
        ends = {first + count for first, count in found}
        assert all(step in ends for step in range(done + 1, 42) if step % report == 0 or step % save == 0 or step == 41)

"""The folder in which bad input is tried: a small run, and all that may lie around it (see ``bad_input``)."""

import contextlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.app.cli import main

TINY = ["--length", "8", "--width", "8", "--depth", "1", "--heads", "2", "--batch", "2", "--steps", "2"]
TINY += ["--model", "bidirectional"]


class World:
    """A folder to be mistreated in, which is put right after every case.

    Args:
        root: an empty folder; the current one of the cases is ``here`` in it.
        bare: without a trained run: ``run`` has every file but checkpoints.
    """

    def __init__(self, root: Path, bare: bool) -> None:
        self.root, self.here, self.bare = root, root / "here", bare
        self.here.mkdir()
        with contextlib.chdir(self.here):
            _furnish(bare)
        self.before = snapshot(root)
        self.files = {name.removeprefix("here/"): content for name, (_, content) in self.before.items()}

    def changed(self) -> list[str]:
        """What is not as it was, by path in the world."""
        now = snapshot(self.root)
        return sorted(name for name in self.before.keys() | now.keys() if self.before.get(name) != now.get(name))

    def mend(self) -> None:
        """Put everything right."""
        for name in reversed(self.changed()):  # what is in a folder before the folder
            _remove(self.root / name)
        for name in self.changed():
            kind, content = self.before[name]
            path = self.root / name
            if kind == "folder":
                path.mkdir()
            elif kind == "link":
                path.symlink_to(content.decode())
            elif kind == "pipe":
                os.mkfifo(path)
            else:
                path.write_bytes(content)


def _furnish(bare: bool) -> None:
    """Everything in the current folder."""
    from mdm_jax.evaluation import tuning
    from mdm_jax.evaluation.samples.store import Row, Store
    from mdm_jax.support.files import write_json
    from mdm_jax.theory import plans, profiles, schedules
    from mdm_jax.theory.plans import grids
    from mdm_jax.theory.schedules import text as schedule_text
    from mdm_jax.training import RunDirectory
    from mdm_jax.training.checkpoints import manifest

    np.save("rows.npy", np.random.default_rng(0).integers(0, 6, (60, 8)).astype(np.int32))
    Path("story.txt").write_text("the cat sat on the mat and the dog on the log. " * 40)
    Path("notes.txt").write_text("mine, and not to be overwritten\n")
    Path("folder").mkdir()
    Path("folder/mine.txt").write_text("mine too\n")
    Path("empty").mkdir()
    os.mkfifo("pipe")
    os.symlink("loop", "loop")
    os.symlink("../outside/secret.json", "away")
    Path("../outside").mkdir()
    Path("../outside/secret.json").write_text('{"secret": true}\n')

    counts = np.arange(8)
    profile = profiles.Profile(8, counts, np.linspace(1.7, 0.4, 8), np.eye(8) * 1e-4, {"run": "0" * 64, "seed": 0})
    profile.save("profile.json")
    plans.optimal(profile, 3).save("plan.json")
    grids.uniform(3).save("grid.json")
    schedule_text.save(schedules.tabulate(schedules.beta(0.9, 0.3), 8), "schedule.json")
    Path("checkpoint/average").mkdir(parents=True)
    Path("checkpoint/average/numbers").write_bytes(bytes(range(256)))
    manifest.write(Path("checkpoint"), 2, "0" * 64, 2.5)
    store = Store(Path("store.jsonl"), {"model": "0" * 64}, 8, 6)
    store.add({("a" * 64, i): Row(np.arange(8, dtype=np.int32) % 6, 3, 0, -7.5) for i in range(4)})

    if bare:
        _untrained(profile)
    else:
        assert main(["train", "run", "--task", "npy:rows.npy", *TINY]) == 0
        assert main(["profile", "run", "--encodings", "64"]) == 0
        assert main(["tune", "run", "--budgets", "2,4", "--check-rows", "2", "--grid", "4"]) == 0
        shutil.copy("run/profile.json", "profile.json")
    place = RunDirectory(Path("run"))
    row = {"pieces": list("01234501"), "reveal_step": [0, 0, 1, 1, 2, 2, 3, 3], "nfe": 4}
    panel = {"role": "optimal", "plan": "optimal", "budget": 4, "steps": 4, "rows": [{**row, "score": 2.5}]}
    panel |= {"scored_rows": 1, "mean_score": 2.5, "score_standard_error": None}
    about = {"format": "mdm_jax samples 1", "temperature": 1.0, "seed": 0, "score_name": "bits"}
    write_json(place.samples, {**about, "lower_is_better": True, "reference_score": 2.6, "panels": [panel]})
    if bare:
        write_json(place.tuning, tuning.tune(profile, [2, 4], grid=4).result)


def _untrained(profile: Any) -> None:
    """A run directory without a checkpoint."""
    import jax

    from mdm_jax import models
    from mdm_jax.support.files import write_json
    from mdm_jax.tasks import from_spec
    from mdm_jax.training import RunDirectory, Settings
    from mdm_jax.training.runs import claim, configuration
    from mdm_jax.training.step import initial_state
    from mdm_jax.training.ways import Job

    task, place = from_spec("npy:rows.npy"), RunDirectory(Path("run"))
    denoiser = models.transformer(task.vocab_size, length=8, width=8, depth=1, heads=2)
    settings = Settings(steps=2, batch=2, length=8)
    state = jax.eval_shape(lambda: initial_state(denoiser, settings))
    claim(place, configuration(task, Job(denoiser, settings), state, None, None))
    line = {"seconds": 1.5, "train_bits_per_token": 2.6, "held_out_bits_per_token": 2.5}
    line |= {"held_out_standard_error": 0.1, "tokens_per_second": 100.0}
    place.log.write_text("".join(json.dumps({"step": step, **line}) + "\n" for step in (1, 2)))
    baseline = {"name": "unigram", "bits_per_token": 2.58, "margin": 0.1, "margin_standard_error": 0.05}
    about = {"format": "mdm_jax held_out 1", "rows": 6, "bits_per_token": 2.5, "standard_error": 0.1}
    write_json(place.held_out, {**about, "parameters": 1000, "baselines": [baseline]})
    profile.save(place.profile)


def snapshot(root: Path) -> dict[str, tuple[str, bytes]]:
    """Kind and content of everything under ``root``; folders before what is in them."""
    found = {}
    for place, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(place) / name
            kind = path.lstat().st_mode
            if stat.S_ISLNK(kind):
                value = ("link", os.fsencode(os.readlink(path)))
            elif stat.S_ISDIR(kind):
                value = ("folder", b"")
            elif stat.S_ISREG(kind):
                value = ("file", path.read_bytes())
            else:
                value = ("pipe", b"")
            found[str(path.relative_to(root))] = value
    return dict(sorted(found.items()))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

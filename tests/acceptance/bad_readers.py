"""What reads every format: functions of the library and commands."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def _read_store(path: str) -> None:
    from mdm_jax.evaluation.samples.store import Store

    list(Store(Path(path), {"model": "0" * 64}, 8, 6).read())


def _read_profile(path: str) -> None:
    from mdm_jax.theory import plans, profiles

    profile = profiles.load(path)
    plan = plans.uniform(profile.length, min(2, profile.length))
    assert np.isfinite(profile.values).all()
    assert profile.expected_nelbo(plan.sizes).shape == ()
    assert len(profile.digest) == 64
    assert profile.standard_error(plan.sizes).shape == ()


def _read_plan(path: str) -> None:
    from mdm_jax.support.files import to_json
    from mdm_jax.theory import plans
    from mdm_jax.theory.plans import grids

    plan = plans.load(path)
    assert min(plan.sizes) >= 1
    assert sum(plan.sizes.tolist()) == plan.length
    to_json(plan.to_json())
    del grids


def _read_grid(path: str) -> None:
    from mdm_jax.support.files import to_json
    from mdm_jax.theory.plans import grids

    grid = grids.load(path)
    assert grid.fractions[0] == 0 < grid.fractions[1] <= grid.fractions[-1] == 1
    to_json(grid.to_json())


def _read_schedule(path: str) -> None:
    from mdm_jax.theory import plans
    from mdm_jax.theory.schedules import text as schedule_text

    schedule = schedule_text.load(path)
    assert sum(plans.from_schedule(schedule, 8, 3).sizes) == 8
    schedule_text.to_json(schedule)


def _read_manifest(path: str) -> None:
    from mdm_jax.training.checkpoints import manifest

    folder = Path(path).parent
    manifest.check(folder, manifest.read(folder))


def _read_task(kind: str) -> Callable[[str], None]:
    def read(path: str) -> None:
        from mdm_jax.tasks import from_spec

        task = from_spec(f"{kind}:{path}", 8 if kind == "text" else None)
        assert 0 <= task.train.min() <= task.train.max() < task.vocab_size
        assert task.validation.shape[1] == task.length

    return read


def _read_log(path: str) -> None:
    from mdm_jax.training import RunDirectory

    RunDirectory(Path(path).parent).read_log()


def _read_files(path: str) -> None:
    from mdm_jax.app.report import run_files
    from mdm_jax.training import RunDirectory

    run_files.read(RunDirectory(Path(path).parent))


def _load(path: str) -> None:
    import mdm_jax

    run = mdm_jax.load(Path(path).parent)
    run.vocabulary.decode(run.task.test[0])


READERS: dict[str, Callable[[str], None]] = {
    "plan": _read_plan, "grid": _read_grid, "schedule": _read_schedule, "profile": _read_profile, "store": _read_store,
    "manifest": _read_manifest, "npy": _read_task("npy"), "text": _read_task("text"), "log": _read_log,
    "files": _read_files, "load": _load,
}  # fmt: skip

_ENERGY = ("energy", "tabulated:schedule.json", "--weight", "linear", "--no-picture", "--json")
FILES: dict[str, tuple[str | tuple[str, ...], ...]] = {
    "plan.json": ("plan",), "grid.json": ("grid",), "schedule.json": ("schedule", "schedule", _ENERGY),
    "profile.json": ("profile",), "store.jsonl": ("store",), "checkpoint/manifest.json": ("manifest",),
    "rows.npy": ("npy",), "story.txt": ("text",), "run/log.jsonl": ("log", "files"),
    "run/config.json": ("files", "load"), "run/held_out.json": ("files",), "run/tuning.json": ("files",),
    "run/samples.json": ("files",), "run/profile.json": ("files",),
}  # fmt: skip
"""Every format that is read, and what reads it."""

_TUNE = ("--budgets", "2", "--grid", "4", "--json")
_REPORT, _SAMPLE = ("report", "run", "--json"), ("sample", "run", "--steps", "2", "--rows", "1", "--json")
FILES_OF_A_RUN: dict[str, tuple[str | tuple[str, ...], ...]] = {
    **FILES,
    "plan.json": ("plan", ("sample", "run", "--plan", "plan.json", "--rows", "1", "--json")),
    "grid.json": ("grid", ("sample", "run", "--plan", "grid.json", "--rows", "1", "--json")),
    "profile.json": ("profile", ("tune", "profile.json", "--output", "out", *_TUNE)),
    "run/log.jsonl": ("log", "files", _REPORT, ("train", "run", "--json")),
    "run/config.json": ("files", "load", _SAMPLE, ("train", "run"), _REPORT),
    "run/held_out.json": ("files", _REPORT), "run/tuning.json": ("files", _REPORT),
    "run/samples.json": ("files", _REPORT), "run/landscape.png": (_REPORT,),
    "run/profile.json": ("files", _SAMPLE, ("tune", "run", "--check-rows", "0", *_TUNE)),
    "run/checkpoints/2/manifest.json": ("load", _SAMPLE, ("train", "run")),
}  # fmt: skip

"""Running one experiment here, or many in processes of their own."""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import NamedTuple

from experiments.tools import recording, records
from experiments.tools.agenda import agenda, told
from experiments.tools.catalogue import Places, claims, fingerprint
from experiments.tools.experiment import Experiment, plain, spoken
from experiments.tools.page import write_page
from experiments.tools.took import now
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_json
from mdm_jax.support.progress import bar, remark


def run_one(places: Places, name: str, quick: bool, again: bool) -> None:
    """Run an experiment, write what came out and say it.

    Raises:
        InputError: something that it needs is missing.
    """
    claim = claims(places)[name]
    if lacks := claim.lacks(quick):
        raise InputError(f"{name} needs {lacks}.")
    module = importlib.import_module(f"experiments.{name}")
    folder = places.folder(name, quick)
    experiment = Experiment(name, folder, quick, fingerprint(places, name))
    if again:
        experiment.forget()
    begun = now()
    run = module.run(experiment)
    results = plain(run.results)
    write_json(folder / "results.json", results)
    conclusion = module.conclude(results)
    took = now().since(begun).plus(experiment.kept)
    made = recording.record(module, claim, experiment, results, conclusion, took, places)
    recording.write(places, made, run.picture, folder, quick)
    print(f"{name}: {claim.text} ({claim.source}).")
    print(conclusion.headline)
    print(f"verdict: {conclusion.verdict}{' (quick run: not to be quoted)' if quick else ''}")
    if not quick:
        write_page(places)
        kept = f", all results in {folder / 'results.json'}" if made["left_out"] else ""
        print(f"written to {places.results / f'{name}.json'}{kept}, and to {places.page}")


def conclude_again(places: Places) -> None:
    """Draw the conclusions of all records that hold their results anew, after a change of a function that concludes."""
    for name in claims(places):
        made = records.read(places, name)
        if made is not None and made["results"] and not made["left_out"]:
            conclusion = importlib.import_module(f"experiments.{name}").conclude(made["results"])
            now = recording.concluded(conclusion)
            if now != {entry: made[entry] for entry in now}:
                write_json(places.results / f"{name}.json", made | now)


class Ended(NamedTuple):
    """How one of many ended."""

    name: str
    status: int
    seconds: float
    said: str


def run_many(places: Places, names: Sequence[str], quick: bool, again: bool, processes: int) -> int:
    """Say what is to be done, and do it, each in a process of its own; the exit status is 1 if one of them failed.

    A full run leaves out what is recorded of the present code, unless ``again``, and an interrupted one goes on from
    its last finished part. One that fails stops no other. One that needs what is not there (a package, a wheel) is not
    tested, which is no failure.
    """
    planned = agenda(places, names, quick, again)
    print(told(planned, quick, processes), flush=True)
    left = [one.name for one in planned.runs]
    running: dict[str, subprocess.Popen[bytes]] = {}
    stopping = False

    def one(name: str) -> Ended:
        folder = places.folder(name, quick)
        folder.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "experiments", name]
        words += [*["--quick"] * quick, *["--again"] * again]
        begun = time.perf_counter()
        with (folder / "log.txt").open("wb") as log:
            if stopping:
                return Ended(name, 130, 0.0, "")
            running[name] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=places.root,
                start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
            status = running[name].wait()
        said = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        return Ended(name, status, time.perf_counter() - begun, said)

    failed: list[str] = []
    begun = time.perf_counter()
    with ThreadPoolExecutor(processes) as pool, bar(len(left), "experiments", "experiment") as advance:
        waited = [pool.submit(one, name) for name in left]
        try:
            for future in as_completed(waited):
                ended = future.result()
                advance(1)
                print(_line(ended), flush=True)
                if ended.status:
                    failed.append(ended.name)
                    print(_end(ended.said), file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            stopping = True
            for process in running.values():
                if process.poll() is None:
                    process.terminate()  # heard even where SIGINT is ignored, as behind a shell's &
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if not quick:
        write_page(places)
    print(f"{len(left)} experiments: {spoken(time.perf_counter() - begun)}")
    if planned.untested:
        remark(f"{len(planned.untested)} not tested, since what they need is missing: {', '.join(planned.untested)}.")
    if failed:
        remark(f"{len(failed)} of {len(left)} experiments failed: {', '.join(sorted(failed))}.")
    return 1 if failed else 0


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Within it SIGTERM does what Ctrl-C does: what runs is stopped as well, and does not go on alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _line(ended: Ended) -> str:
    verdicts = [line for line in ended.said.splitlines() if line.startswith("verdict: ")]
    outcome = f"failed with status {ended.status}" if ended.status else verdicts[-1].removeprefix("verdict: ")
    return f"{ended.name}: {outcome}; {spoken(ended.seconds)}"


def _end(said: str) -> str:
    """The last lines of a log: where a failure is explained."""
    return "\n".join(f"    {line}" for line in said.splitlines()[-25:])

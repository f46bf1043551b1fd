"""``mdm-jax tune``: the best schedules for several step budgets, from a profile alone."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from mdm_jax import models
from mdm_jax.app.options.budgets import budgets_of
from mdm_jax.app.options.latents import caution
from mdm_jax.app.options.lengths import is_ragged
from mdm_jax.app.options.results import check_grid, folder, oracle_folder, oracle_of
from mdm_jax.app.report import told
from mdm_jax.app.terminal.output import note, show
from mdm_jax.app.work.doors import door_hint
from mdm_jax.app.work.held_out_rows import shown_rows
from mdm_jax.evaluation import advantages, check, cross_fitted, plan_costs, tune
from mdm_jax.evaluation.inputs import per_token
from mdm_jax.evaluation.judging import CROSS_FITTED, LEAST_ROWS
from mdm_jax.plot import cost_landscapes, drawing
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.support.files import write_json
from mdm_jax.support.keys import key_of
from mdm_jax.support.ragged import present
from mdm_jax.support.text import printable, table
from mdm_jax.theory import profiles
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.plans.beta_search import GRID
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Run, RunDirectory, load

CHECK_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is tuned.

    Attributes:
        profile: of a run, from a file, or an oracle's exact one.
        place: where results go; a run's own directory, or a folder laid out like one.
        trained: the run, if it is one: then predictions can be checked.
        oracle: as the command line names it, if it is one.
    """

    profile: Profile
    place: RunDirectory
    trained: Run | None = None
    oracle: str | None = None


def run(options: argparse.Namespace) -> None:
    """Tune, check, draw, print a table."""
    require_seed("--seed", options.seed)
    check_grid(options.grid)
    subject = find(options)
    budgets = budgets_of(options.budgets, subject.profile.length)
    rows = 0 if subject.trained is None else CHECK_ROWS
    rows = rows if options.check_rows is None else options.check_rows
    require(rows == 0 or rows >= 2, "--check-rows", rows, "0 (no check), or 2 or more")
    if rows and subject.trained is None:
        raise InputError("--check-rows needs a run: a profile alone has no sequences to check on.")
    result = make_plans(subject, budgets, rows, options.seed, options.grid)
    place = subject.place
    text = describe(result, subject.trained, subject.oracle)
    text += f"\nPlans are in {place.plans}, the landscape of Beta schedules in {place.landscape}."
    show(result, text, options.json)
    if subject.trained is not None and (warning := caution(subject.trained, subject.profile)) is not None:
        note(warning)


def find(options: argparse.Namespace) -> Subject:
    """The run, profile file or oracle that ``options`` name."""
    source, output = options.source, options.output
    oracle = oracle_of(source)
    if oracle is not None:
        return Subject(
            profiles.from_values(oracle.entropies(), {"oracle": source}), oracle_folder(source, output), oracle=source
        )
    path = Path(source)
    if path.is_file():
        if output is None and path.suffix == "":
            raise InputError(f"--output must say where results go, since {source} has no suffix to leave out.")
        profile = profiles.load(path)
        if RunDirectory(path.parent).config.exists():
            load(path.parent).check_origin(profile, path, f"measure it with: {command('profile', path.parent)}")
        return Subject(profile, folder(output or path.with_suffix("")))
    if not path.exists():
        raise InputError(f"{source} is neither a run directory nor a profile file: there is no such file or folder.")
    trained = load(source, checkpoint=options.checkpoint)
    return Subject(trained.profile, trained.place if output is None else folder(output), trained)


def make_plans(
    subject: Subject, budgets: list[int], check_rows: int, seed: int, grid: int | None = None
) -> dict[str, Any]:
    """Write ``tuning.json``, one plan file per budget and role, and the landscape; returns the first.

    ``grid x grid`` Beta schedules are tried; as many as :func:`mdm_jax.evaluation.tune` tries if left out. The check
    compares each plan's predicted cost with the teacher-forced ``-log q`` of ``check_rows`` sequences of the test half,
    which the profile has not seen. They judge what plans save, too; without a check the profile's own sequences do,
    cross-fitted.
    """
    place, trained = subject.place, subject.trained
    rows = np.zeros((0, 0), np.int32)
    if trained is not None and check_rows:
        rows = trained.task.test[:check_rows]
        wanted = f"0 (no check): the data has {len(rows)} held-out sequences to check on"
        require(len(rows) >= 2, "--check-rows", check_rows, wanted)
    tuned = tune(subject.profile, budgets, grid=GRID if grid is None else grid, progress=True)
    result = tuned.result
    if trained is not None and check_rows:
        plans = [
            tuned.plans[budget["steps"]][entry["role"]] for budget in result["budgets"] for entry in budget["plans"]
        ]
        check(result, subject.profile, _path_costs(trained, subject.profile, rows, plans, seed))
    else:
        result["advantages"] = _own_advantages(result, subject.profile, budgets)
    picture = cost_landscapes.of_budgets(tuned, budgets)  # all is known before anything is written
    for budget, plans_of_budget in tuned.plans.items():
        for role, plan in plans_of_budget.items():
            plan.save(place.plan(role, budget))
    write_json(place.tuning, result)
    drawing.save(picture, str(place.landscape))
    drawing.save_themed(picture, place.landscape.with_suffix(".svg"))  # for the report, which has a dark side
    return result


def _own_advantages(result: dict[str, Any], profile: Profile, budgets: list[int]) -> list[dict[str, Any]] | None:
    """What plans save by the profile's own sequences, cross-fitted; exactly where it is exact, ``None`` without any."""
    if profile.exact:
        costs = {
            budget["steps"]: {entry["role"]: np.full(2, entry["expected_nelbo_nats"]) for entry in budget["plans"]}
            for budget in result["budgets"]
        }
        return [{**one, "rows": None} for one in advantages(result, costs, told.EXACT)]
    if profile.shares is None or len(profile.shares) < LEAST_ROWS:
        return None
    rows = profile.provenance.get("rows")
    costs = cross_fitted(profile, budgets, progress=True)
    return advantages(result, costs, CROSS_FITTED, rows if isinstance(rows, int) else None)


def _path_costs(
    trained: Run, profile: Profile, rows: Int32[np.ndarray, "rows length"], plans: Sequence[Plan], seed: int
) -> Float[np.ndarray, "plans rows"]:
    """What each plan costs each sequence, by what the profile was measured of: with latents of the
    sequences, with their average, or without. With blocks it is the mean over whole ones. What the data gives of a
    sequence costs nothing, and what is known of it is shown to the model.
    """
    key = key_of(seed)
    denoiser, (_, context, given) = shown_rows(trained, profile, "test", np.arange(len(rows), dtype=np.int32), key)
    costs = plan_costs(denoiser, trained.params, rows, plans, key=key, context=context, given=given, progress=True)
    free = present(rows) if given is None else present(rows) & ~given
    return costs if free.all() else profile.length * per_token(costs, free.sum(axis=1))


def describe(result: dict[str, Any], trained: Run | None = None, oracle: str | None = None) -> str:
    """One line per budget and plan, then what they are worth, and what to do next. With a latent for each sequence a
    plan's cost is that given the latent; of a model that goes by blocks all is that of one block.
    """
    bits = 1 / (np.log(2) * result["length"])
    checked_any = any(entry["checked"] for budget in result["budgets"] for entry in budget["plans"])
    rows = []
    for budget in result["budgets"]:
        least = min(entry["expected_nelbo_nats"] for entry in budget["plans"])
        for entry in budget["plans"]:
            checked = entry["checked"]
            row = [
                f"{budget['steps']} step{'' if budget['steps'] == 1 else 's'}",
                printable(entry["plan"]["name"]),
                f"{entry['expected_nelbo_nats'] * bits:.4f} ± {entry['standard_error'] * bits:.4f}",
                f"{(entry['expected_nelbo_nats'] - least) * bits:+.4f}",
            ]
            if checked is not None:
                row.append(f"{checked['nelbo_nats'] * bits:.4f} ± {checked['standard_error'] * bits:.4f}")
                row.append(f"{checked['z']:+.2f}")
            rows.append(row)
    given = "kl_nats" in result
    heading = ["budget", "plan", f"{'cost given latents' if given else 'expected NELBO'} (bits/token)", "above optimum"]
    heading += [f"held-out -log q{' given latents' if given else ''} (bits/token)", "z apart"] if checked_any else []
    floor = result["nelbo_nats"] * bits
    text = f"{table(heading, rows)}\nOne token per step: {floor:.4f} bits per token."
    if result["check"] is not None:
        text += f" Checked on {result['check']['rows']:,} rows of the test half; z apart is what is left of a plan's "
        text += "difference without the offset that all share, in standard errors."
    if trained is not None and is_ragged(trained):
        text += f" Plans are for {result['length']} tokens, and scaled to each row; costs are given the rows' lengths."
    if trained is not None and models.block_length(trained.denoiser) is not None:
        text += f"\nPlans, steps and costs are those of one block of {result['length']} tokens."
    if given:
        kl, error = result["kl_nats"], result["kl_standard_error"]
        text += (
            f"\nThe latents' KL, {kl:.3f} ± {error:.3f} nats per sequence, adds {kl * bits:.4f} bits per token "
            "to each cost. The sums are bounds for sampling with one latent."
        )
    elif "latent" in result:
        text += "\nCosts are those of the average over latents."
    return "\n".join([text, "", *_told(result, trained, oracle)])


def _told(result: dict[str, Any], trained: Run | None, oracle: str | None) -> list[str]:
    """What was found, in sentences: the offset, advantages, certificates, and the door to take."""
    offset, said = told.told_of_offset(result), told.told_in_short(result)
    if not said:
        again = command("profile", trained.place.path if trained is not None else "RUN")
        said = [
            "Nothing is said of what plans save: the profile keeps no shares of at least "
            f"{LEAST_ROWS} sequences. Measure it anew with: {again}"
        ]
    lines = [*([] if offset is None else [offset]), *said, *told.told_of_certificates(result)]
    return [*lines, door_hint(result, trained, oracle)]

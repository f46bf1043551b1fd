"""``mdm-jax report``: the page that explains a run, and samples by the plans of ``tuning.json`` for it."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32

from mdm_jax import tasks
from mdm_jax.app.options.comparing import PROMPTS, Basis
from mdm_jax.app.options.ends import cut_behind, own_end
from mdm_jax.app.options.lengths import cut, row_lengths
from mdm_jax.app.report import kept, run_files, writing
from mdm_jax.app.terminal.output import show
from mdm_jax.app.work.rows import as_rows
from mdm_jax.models import LatentModel, begun
from mdm_jax.sampling import GIVEN, Sampled, sample
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError
from mdm_jax.support.keys import key_of
from mdm_jax.support.statistics import standard_error
from mdm_jax.theory.plans import Plan
from mdm_jax.training import Run, RunDirectory, load

SHOWN_ROLES = ("best hand-crafted", "optimal")
SCORED_ROWS = 16
SEED = 0
LATENTS, ROWS_EACH = 16, 16
"""Latents that are compared, and samples of each: few would agree by chance, all latents having the same numbers."""
SHOWN_LATENTS, SHOWN_EACH = 5, 4
"""Of these on the page."""


def run(options: argparse.Namespace) -> None:
    """Write ``report.html`` from whatever the run directory holds."""
    place = RunDirectory(Path(options.directory))
    if options.samples:
        draw(load(place.path))
    else:
        run_files.read(place)  # refuses what cannot be shown, before anything is written
        kept.complete(place)
    path = writing.write(place)
    show({"report": str(path)}, f"{path} is written; open it in a browser.", options.json)


def draw(trained: Run) -> None:
    """Draw samples by the tuned plans, side by side, into the run directory.

    Raises:
        InputError: nothing has been tuned, or from another profile than the run has now.
    """
    place = trained.place
    tuning, again = run_files.read(place).tuning, command("tune", place.path)
    if tuning is None:
        raise InputError(f"{place.path} has no plans to sample with yet; make them with: {again}")
    if tuning["profile_digest"] != trained.profile.digest:
        raise InputError(
            f"{place.tuning} was made from another profile than {place.profile} is now; tune with: {again}"
        )
    panels = drawn(trained, tuning)
    kept.leave(trained, command("report", place.path, "--samples"), panels, latents_of(trained, tuning))


def drawn(trained: Run, tuning: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A panel per budget and role; equal seeds, so equal orders and noise."""
    task, canvas, panels = trained.task, begun_canvas(trained), []
    for budget in tuning["budgets"]:
        of_role: dict[str, Plan] = {entry["role"]: entry["plan"] for entry in budget["plans"]}
        for role, plan in ((role, of_role[role]) for role in SHOWN_ROLES if role in of_role):
            if not panels:
                timed(trained, plan, canvas)  # which compiles what all plans share
            out, seconds = timed(trained, plan, canvas)
            scores = task.score(written(trained, out))
            rows = [{**row, "score": float(score)} for row, score in zip(as_rows(trained, out), scores)]
            about = {"temperature": 1.0, "seed": SEED, "seconds": seconds}
            about |= {"scored_rows": len(scores), "mean_score": float(scores.mean())}
            about |= {"score_standard_error": standard_error(scores)}
            panels.append(kept.panel(rows, role, budget["steps"], plan.name, **about, steps=plan.steps))
    return panels


def latents_of(trained: Run, tuning: Mapping[str, Any]) -> dict[str, Any] | None:
    """What samples of one latent share, by the optimal plan of the fewest steps; ``None`` for a run without latents."""
    least = min(tuning["budgets"], key=lambda budget: budget["steps"], default={"plans": []})
    optimal = [entry["plan"] for entry in least["plans"] if entry["role"] == "optimal"]
    with_latents = isinstance(trained.denoiser, LatentModel) and len(optimal) == 1
    return by_latent(trained, optimal[0]) if with_latents else None


def begun_canvas(trained: Run) -> Int32[np.ndarray, "rows length"]:
    """What samples go on from: nothing, or the prompts of held-out rows where a run was trained on prompts.

    Of rows of different lengths they have lengths of the data, the same for all plans.
    """
    if tasks.given_of(trained.task, "test") is not None:
        canvas = Basis(trained, trained.task, PROMPTS, None, SEED).canvases("test", SCORED_ROWS)
        assert canvas is not None
        return canvas
    canvas = np.full((SCORED_ROWS, trained.settings.length), trained.denoiser.mask_id, np.int32)
    return cut(canvas, row_lengths(trained, None, SEED, np.zeros(SCORED_ROWS, np.int32)))


def timed(trained: Run, plan: Plan, canvas: Int32[np.ndarray, "rows length"]) -> tuple[Sampled, float]:
    """Samples by a plan, and the seconds that drawing them took, compiling included where that was to be done."""
    begun_at = time.perf_counter()
    out = sample(trained.denoiser, trained.params, plan, len(canvas), key=key_of(SEED), canvas=canvas)
    return jax.block_until_ready(out), time.perf_counter() - begun_at


def written(trained: Run, drawn: Sampled) -> Int32[np.ndarray, "rows length"]:
    """The samples with nothing behind their ends, as they are scored."""
    tokens, end = np.asarray(drawn.tokens), own_end(trained)
    return tokens if end is None else cut_behind(tokens, end, np.asarray(drawn.reveal_step) == GIVEN)


def by_latent(trained: Run, plan: Plan) -> dict[str, Any]:
    """Samples of several latents, the same random numbers under each.

    ``equal_under_one`` is the mean share of positions in which two samples of one latent agree, ``equal_under_two``
    that of two latents; random numbers are different in both.
    """
    latent_key, key = jax.random.split(key_of(SEED))
    latents = begun(trained.denoiser, trained.params, jax.random.split(latent_key, LATENTS))

    def under(which: int) -> Sampled:
        context = jax.tree.map(lambda leaf: jnp.repeat(leaf[which : which + 1], ROWS_EACH, axis=0), latents)
        return sample(trained.denoiser, trained.params, plan, ROWS_EACH, key=key, context=context)

    outs = [under(which) for which in range(LATENTS)]
    tokens = np.stack([np.asarray(out.tokens) for out in outs])
    equal = (tokens[:, :, None, None] == tokens[None, None]).mean(axis=-1)  # [latent, row, latent, row]
    other_numbers = ~np.eye(ROWS_EACH, dtype=bool)
    one = np.eye(LATENTS, dtype=bool)
    pairs = equal.transpose(0, 2, 1, 3)  # [latent, latent, row, row]
    return {
        "plan": plan.name,
        "steps": plan.steps,
        "latents": LATENTS,
        "rows_each": ROWS_EACH,
        "equal_under_one": float(pairs[one][:, other_numbers].mean()),
        "equal_under_two": float(pairs[~one][:, other_numbers].mean()),
        "groups": [as_rows(trained, out)[:SHOWN_EACH] for out in outs[:SHOWN_LATENTS]],
    }

"""``mdm-jax profile``: measure the information profile, and the held-out loss beside the baselines."""

import argparse
import shlex
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mdm_jax.app.canvas import make_canvas
from mdm_jax.app.output import show, table
from mdm_jax.evaluation import estimate_profile, estimate_prompted_profile, judge
from mdm_jax.support.errors import require, require_seed
from mdm_jax.support.files import write_json
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Run, load


def run(options: argparse.Namespace) -> None:
    """Measure and print; the profile of what follows something given goes to a file of its own."""
    require_seed("--seed", options.seed)
    trained = load(options.directory)
    if options.given is None and options.prompt is None:
        profile, held_out = measure(trained, options.passes, options.seed, options.estimator or "loss", options.output)
        result = {"profile": profile.to_json(), "held_out": held_out}
        show(result, describe(profile, held_out), options.json)
        return
    profile = measure_given(trained, options)
    path = Path(trained.place.profile_given if options.output is None else options.output)
    profile.save(path)
    after = f"Plans for it: mdm-jax tune {shlex.quote(str(path))}"
    show({"profile": profile.to_json(), "file": str(path)}, f"{points(profile)}\n{path}\n{after}", options.json)


def measure(
    trained: Run, passes: int, seed: int, estimator: str = "loss", output: str | None = None
) -> tuple[Profile, dict[str, Any]]:
    """The profile on the validation half and the loss on the test half; both are written to the run directory.

    Args:
        trained: the run.
        passes: as for ``estimate_profile``.
        seed: of the orders and masks.
        estimator: as for ``estimate_profile``.
        output: where to put the profile, if not into the run directory.
    """
    place, task = trained.place, trained.task
    profile_key, test_key = jax.random.split(jax.random.key(seed))
    profile = estimate_profile(
        trained.denoiser,
        trained.params,
        task.validation,
        passes,
        key=profile_key,
        estimator=estimator,
        progress=True,
        provenance={**_provenance(trained, seed), "rows_of": "validation"},
    )
    held_out = judge(trained.denoiser, trained.params, task, key=test_key, progress=True)
    held_out["parameters"] = parameter_count(trained)
    profile.save(place.profile if output is None else output)
    write_json(place.held_out, held_out)
    return profile, held_out


def measure_given(trained: Run, options: argparse.Namespace) -> Profile:
    """The profile of what follows the first ``--given`` tokens of held-out sequences, or a prompt."""
    key, about = jax.random.key(options.seed), _provenance(trained, options.seed)
    if options.prompt is not None:
        canvas = make_canvas(trained, "--prompt", options.prompt)
        require(bool((canvas == trained.denoiser.mask_id).any()), "--prompt", options.prompt,
                f"shorter than the {trained.settings.length} tokens of the model")  # fmt: skip
        return estimate_prompted_profile(
            trained.denoiser,
            trained.params,
            canvas,
            options.passes,
            key=key,
            estimator=options.estimator or "increments",
            progress=True,
            provenance={**about, "prompt": options.prompt},
        )
    length, given = trained.settings.length, options.given
    require(1 <= given < length, "--given", given, f"from 1 to {length - 1}, the model's length less one")
    return estimate_profile(
        trained.denoiser,
        trained.params,
        trained.task.validation,
        options.passes,
        key=key,
        estimator=options.estimator or "loss",
        given=np.arange(length) < given,
        progress=True,
        provenance={**about, "rows_of": "validation"},
    )


def _provenance(trained: Run, seed: int) -> dict[str, Any]:
    digest = trained.description.get("digest")
    return {"run": trained.identity, "run_step": trained.step, "data_digest": digest, "seed": seed}


def parameter_count(trained: Run) -> int:
    """Numbers in the model."""
    return sum(leaf.size for leaf in jax.tree.leaves(trained.params))


def describe(profile: Profile, held_out: dict[str, Any]) -> str:
    """A few points of the profile and the comparison with the baselines."""
    rivals = table(
        ["held-out (test half)", "bits per token", "behind the model by"],
        [
            ["model (NELBO)", f"{held_out['bits_per_token']:.3f} ± {held_out['standard_error']:.3f}", ""],
            *(
                [
                    row["name"],
                    f"{row['bits_per_token']:.3f}",
                    f"{row['margin']:+.3f} ± {row['margin_standard_error']:.3f}",
                ]
                for row in held_out["baselines"]
            ),
        ],
    )
    return f"{points(profile)}\n\n{rivals}"


def points(profile: Profile) -> str:
    """A few points of the profile as a table."""
    shown = np.unique(np.linspace(0, len(profile.counts) - 1, 9).round().astype(int))
    return table(
        ["revealed", "nats per token", "standard error"],
        [[str(profile.counts[i]), f"{profile.means[i]:.4f}", f"{profile.standard_errors[i]:.4f}"] for i in shown],
    )

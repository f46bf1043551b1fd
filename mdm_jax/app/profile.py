"""``mdm-jax profile``: measure the information profile, and the held-out loss beside the baselines."""

import argparse
from typing import Any

import jax
import numpy as np

from mdm_jax.app.output import show, table
from mdm_jax.evaluation import estimate_profile, judge
from mdm_jax.support.errors import require_seed
from mdm_jax.support.files import write_json
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Run, load


def run(options: argparse.Namespace) -> None:
    """Measure and print both."""
    require_seed("--seed", options.seed)
    trained = load(options.directory)
    profile, held_out = measure(trained, options.passes, options.seed)
    result = {"profile": profile.to_json(), "held_out": held_out}
    show(result, describe(profile, held_out), options.json)


def measure(trained: Run, passes: int, seed: int) -> tuple[Profile, dict[str, Any]]:
    """The profile on the validation half and the loss on the test half; both are written to the run directory."""
    place, task = trained.place, trained.task
    profile_key, test_key = jax.random.split(jax.random.key(seed))
    profile = estimate_profile(
        trained.denoiser,
        trained.params,
        task.validation,
        passes,
        key=profile_key,
        progress=True,
        provenance={
            "run": trained.identity,
            "run_step": trained.step,
            "data_digest": task.digest,
            "rows_of": "validation",
            "seed": seed,
        },
    )
    held_out = judge(trained.denoiser, trained.params, task, key=test_key, progress=True)
    held_out["parameters"] = parameter_count(trained)
    profile.save(place.profile)
    write_json(place.held_out, held_out)
    return profile, held_out


def parameter_count(trained: Run) -> int:
    """Numbers in the model."""
    return sum(leaf.size for leaf in jax.tree.leaves(trained.params))


def describe(profile: Profile, held_out: dict[str, Any]) -> str:
    """A few points of the profile and the comparison with the baselines."""
    shown = np.unique(np.linspace(0, len(profile.counts) - 1, 9).round().astype(int))
    points = table(
        ["revealed", "nats per token", "standard error"],
        [[str(profile.counts[i]), f"{profile.means[i]:.4f}", f"{profile.standard_errors[i]:.4f}"] for i in shown],
    )
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
    return f"{points}\n\n{rivals}"

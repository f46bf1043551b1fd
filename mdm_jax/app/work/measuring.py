"""``mdm-jax profile``: measure the information profile, and the held-out loss beside the baselines."""

import argparse
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Bool, PRNGKeyArray

from mdm_jax import models
from mdm_jax.app.options.canvas import make_canvas
from mdm_jax.app.options.latents import caution, choose_predictor, own_bound
from mdm_jax.app.terminal.output import note, show
from mdm_jax.evaluation import estimate_profile, estimate_prompted_profile, judge, latent_profile
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.support.files import write_json
from mdm_jax.support.keys import key_of
from mdm_jax.support.text import printable, table
from mdm_jax.theory import profiles
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Run, RunDirectory, load

MOST_ENCODINGS = 2**40
"""More are taken for a slip of the hand."""


def run(options: argparse.Namespace) -> None:
    """Measure and print; the profile of what follows something given goes to a file of its own."""
    require_seed("--seed", options.seed)
    require(options.encodings <= MOST_ENCODINGS, "--encodings", options.encodings, f"at most {MOST_ENCODINGS}")
    trained = load(options.directory, checkpoint=options.checkpoint)
    predictor = choose_predictor(trained, options.predictor)
    given = options.given is not None or options.prompt is not None
    if options.output is not None:
        check_output(Path(options.output), trained.place, given)
    if not given and options.output is None:
        profile, held_out = measure(trained, options.encodings, options.seed, options.estimator or "loss", predictor)
        result = {"profile": profile.to_json(), "held_out": held_out}
        show(result, describe(profile, held_out), options.json)
        _warn(trained, profile)
        return
    if given:
        profile = measure_given(trained, options, predictor)
    else:
        profile = held_out_profile(
            trained, options.encodings, key_of(options.seed), options.seed, options.estimator or "loss", predictor
        )
    path = Path(options.output or trained.place.profile_given)
    profile.save(path)
    after = f"Plans for it: {command('tune', path)}"
    show(
        {"profile": profile.to_json(), "file": str(path)},
        f"{points(profile)}\n{printable(str(path))}\n{after}",
        options.json,
    )
    _warn(trained, profile)


def _warn(trained: Run, profile: Profile) -> None:
    if (told := caution(trained, profile)) is not None:
        note(told)


def check_output(path: Path, place: RunDirectory, given: bool) -> None:
    """Refuse what is not a new file or a profile, before anything is measured."""
    wanted = "a new file, or a profile to replace"
    require(not path.is_dir(), "--output", str(path), f"{wanted}, not a folder")
    own = os.path.realpath(path) == os.path.realpath(place.profile)  # Path.resolve raises where links go round
    require(not (own and given), "--output", str(path), f"{wanted}; this is the run's own, which is given nothing")
    if os.path.lexists(path):
        try:
            profiles.load(path)
        except InputError:
            raise InputError(f"--output must be {wanted}; got {str(path)!r}, which holds something else.") from None


def measure(
    trained: Run, encodings: int, seed: int, estimator: str = "loss", predictor: str | None = None
) -> tuple[Profile, dict[str, Any]]:
    """The profile on the validation half and the loss on the test half; both are written to the run directory.

    ``predictor`` is that of a run with latents; "fixed" if left out.
    """
    place, judged_by, predictor = trained.place, own_bound(trained), choose_predictor(trained, predictor)
    profile_key, test_key = jax.random.split(key_of(seed))
    profile = held_out_profile(trained, encodings, profile_key, seed, estimator, predictor)
    held_out = judge(trained.denoiser, trained.params, trained.task, key=test_key, objective=judged_by, progress=True)
    held_out["parameters"] = optax.tree.size(trained.params)
    profile.save(place.profile)
    write_json(place.held_out, held_out)
    return profile, held_out


def held_out_profile(
    trained: Run, encodings: int, key: PRNGKeyArray, seed: int, estimator: str, predictor: str | None = None
) -> Profile:
    """The profile on the validation half; ``seed`` is what its provenance says."""
    return _held_out(trained, encodings, key, estimator, predictor, seed)


def _held_out(
    trained: Run,
    encodings: int,
    key: PRNGKeyArray,
    estimator: str,
    predictor: str | None,
    seed: int,
    given: Bool[np.ndarray, " length"] | None = None,
) -> Profile:
    """Of a run with latents by its predictor, of any other by its model."""
    measured = trained.denoiser, trained.params, trained.task.validation, encodings
    about = {**_provenance(trained, seed), "rows_of": "validation"}
    how: dict[str, Any] = {"estimator": estimator, "given": given, "progress": True, "provenance": about}
    if predictor is None:
        return estimate_profile(*measured, key=key, **how)
    return latent_profile(*measured, key=key, predictor=predictor, **how)


def measure_given(trained: Run, options: argparse.Namespace, predictor: str | None = None) -> Profile:
    """The profile of what follows the first ``--given`` tokens of held-out sequences, or a prompt."""
    key, about = key_of(options.seed), _provenance(trained, options.seed)
    if options.prompt is not None:
        require(options.prompt != "", "--prompt", options.prompt, "a text of at least one token")
        canvas = make_canvas(trained, "--prompt", options.prompt)
        require(bool((canvas == trained.denoiser.mask_id).any()), "--prompt", options.prompt,
                f"shorter than the {trained.settings.length} tokens of the model")  # fmt: skip
        return estimate_prompted_profile(
            models.marginal(trained.denoiser) if predictor == "marginal" else trained.denoiser,
            trained.params,
            canvas,
            options.encodings,
            key=key,
            estimator=options.estimator or "increments",
            progress=True,
            provenance={**about, "prompt": options.prompt},
        )
    length, given = trained.settings.length, options.given
    require(1 <= given < length, "--given", given, f"from 1 to {length - 1}, the model's length less one")
    estimator, known = options.estimator or "loss", np.arange(length) < given
    return _held_out(trained, options.encodings, key, estimator, predictor, options.seed, known)


def _provenance(trained: Run, seed: int) -> dict[str, Any]:
    digest = trained.description.get("digest")
    return {"run": trained.identity, "run_step": trained.step, "data_digest": digest, "seed": seed}


def describe(profile: Profile, held_out: dict[str, Any]) -> str:
    """A few points of the profile and the comparison with the baselines."""
    rivals = table(
        ["held-out (test half)", "bits per token", "behind the model by"],
        [
            [
                f"model ({held_out.get('bound', 'NELBO')})",
                f"{held_out['bits_per_token']:.3f} ± {held_out['standard_error']:.3f}",
                "",
            ],
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
    told = table(
        ["revealed", "nats per token", "standard error"],
        [[str(profile.counts[i]), f"{profile.means[i]:.4f}", f"{profile.standard_errors[i]:.4f}"] for i in shown],
    )
    latent, about = profile.provenance.get("latent"), profile.provenance
    if latent == "fixed":
        return (
            f"{told}\nEach sequence with a latent of its own, whose KL is {about['kl_nats']:.3f} ± "
            f"{about['kl_standard_error']:.3f} nats: it is added once to the cost of every plan."
        )
    return told if latent is None else f"{told}\nOf the average over {about['latents']} latents: nothing is added."

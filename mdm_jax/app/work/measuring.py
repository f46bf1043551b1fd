"""``mdm-jax profile``: measure the information profile, and the held-out loss beside the baselines."""

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Bool, Int32, PRNGKeyArray

from mdm_jax import models, tasks
from mdm_jax.app.options.canvas import make_canvas, require_free
from mdm_jax.app.options.labels import labels_of_rows
from mdm_jax.app.options.latents import caution, choose_predictor, own_bound
from mdm_jax.app.options.lengths import check_length, cut, is_ragged
from mdm_jax.app.options.models import planned, refuse_measuring
from mdm_jax.app.terminal.output import note, show
from mdm_jax.app.work.measured import certified, describe, points
from mdm_jax.evaluation import Until, estimate_profile, estimate_prompted_profile, judge, latent_profile
from mdm_jax.evaluation.baselines import ROWS
from mdm_jax.evaluation.measuring import MOST_ENCODINGS
from mdm_jax.models.classes import LABEL, classes_of
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError, require, require_seed, verbatim
from mdm_jax.support.files import write_json
from mdm_jax.support.keys import key_of
from mdm_jax.support.ragged import present
from mdm_jax.support.text import printable
from mdm_jax.theory import profiles
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Run, RunDirectory, load

_SLIP = 2**40
"""More encodings are taken for a slip of the hand."""


def run(options: argparse.Namespace) -> None:
    """Measure and print; the profile of what follows something given goes to a file of its own."""
    require_seed("--seed", options.seed)
    require(options.encodings <= _SLIP, "--encodings", options.encodings, f"at most {_SLIP}")
    rows = options.held_out_rows
    require(
        rows is None or 2 <= rows < 2**31, "--held-out-rows", rows, f"from 2 (for a standard error) to {2**31 - 1:,}"
    )
    steps = steps_of(options.certify)
    until = until_of(options, steps)
    trained = load(options.directory, checkpoint=options.checkpoint)
    predictor = choose_predictor(trained, options.predictor)
    refuse_measuring(trained, options)
    given = not (options.given is None and options.prompt is None and options.label is None)
    check_given(trained, options)
    longest = planned(trained) - (options.given or 0)
    require(max(steps, default=1) <= longest, "--certify", options.certify, f"numbers of steps from 1 to {longest}")
    if options.output is not None:
        check_output(Path(options.output), trained.place, given)
    if not given and options.output is None:
        profile, held_out = measure(
            trained, options.encodings, options.seed, options.estimator or "loss", predictor, rows or ROWS, until
        )
        certificate = certified(profile, steps)
        result = {"profile": profile.to_json(), "held_out": held_out, **certificate.result}
        show(result, describe(profile, held_out) + certificate.text, options.json)
        _warn(trained, profile)
        return
    if given:
        profile = measure_given(trained, options, predictor, until)
    else:
        how = options.encodings, key_of(options.seed), options.estimator or "loss", predictor, options.seed
        profile = _held_out(trained, *how, until=until)
    path = Path(options.output or trained.place.profile_given)
    profile.save(path)
    after = f"Plans for it: {command('tune', path)}"
    certificate = certified(profile, steps)
    show(
        {"profile": profile.to_json(), "file": str(path), **certificate.result},
        f"{points(profile)}{certificate.text}\n{printable(str(path))}\n{after}",
        options.json,
    )
    _warn(trained, profile)


def _warn(trained: Run, profile: Profile) -> None:
    if (told := caution(trained, profile)) is not None:
        note(told)
    if classes_of(trained.denoiser) > 0 and tasks.context_of(trained.task, "validation") is None:
        note("the labels of this run's rows were given in Python, so all was measured without labels.")


def steps_of(text: str | None) -> tuple[int, ...]:
    """The numbers of steps to certify, rising; none if that was not asked for.

    Raises:
        InputError: one sentence that names the option.
    """
    if text is None:
        return ()
    try:
        steps = sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise InputError(f"--certify must be whole numbers separated by commas, as in 4,8,16; got {text!r}.") from None
    require(steps[0] >= 1, "--certify", text, "numbers of steps from 1")
    return tuple(steps)


def until_of(options: argparse.Namespace, steps: tuple[int, ...]) -> Until | None:
    """How well the profile is to be known, if that was asked for.

    Raises:
        InputError: one sentence that names the option.
    """
    bits, most = options.until, options.most_encodings
    if bits is None:
        require(most is None, "--most-encodings", most, "given beside --until, which alone goes on")
        return None
    require(0 < bits < math.inf, "--until", bits, "a positive number of bits per token")
    most, least = MOST_ENCODINGS if most is None else most, options.encodings
    require(least <= most < 2**31, "--most-encodings", most, f"from {least:,}, the first round, to {2**31 - 1:,}")
    return Until(bits, most, steps)


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
    trained: Run,
    encodings: int,
    seed: int,
    estimator: str = "loss",
    predictor: str | None = None,
    rows: int = ROWS,
    until: Until | None = None,
) -> tuple[Profile, dict[str, Any]]:
    """The profile on the validation half and the loss on the test half; both are written to the run directory.

    Args:
        trained: the run.
        encodings: sequences to encode for the profile.
        seed: of both.
        estimator: of the profile.
        predictor: that of a run with latents; "fixed" if left out.
        rows: at most so many sequences of the test half are judged.
        until: how well the profile is to be known; then ``encodings`` are the first round.
    """
    place, judged_by, predictor = trained.place, own_bound(trained), choose_predictor(trained, predictor)
    profile_key, test_key = jax.random.split(key_of(seed))
    profile = _held_out(trained, encodings, profile_key, estimator, predictor, seed, until=until)
    about = trained.denoiser, trained.params, trained.task
    held_out = judge(*about, key=test_key, objective=judged_by, rows=rows, progress=True)
    held_out["run_step"], context = trained.step, tasks.context_of(trained.task, "test")
    held_out["data_notes"] = list(tasks.notes_of(trained.task))
    held_out["behind_prompts"] = tasks.given_of(trained.task, "test") is not None
    held_out["given_labels"] = isinstance(context, dict) and LABEL in context
    held_out["parameters"] = optax.tree.size(trained.params)
    profile.save(place.profile)
    write_json(place.held_out, held_out)
    return profile, held_out


def _held_out(
    trained: Run,
    encodings: int,
    key: PRNGKeyArray,
    estimator: str,
    predictor: str | None,
    seed: int,
    given: int = 0,
    label: Sequence[int] | None = None,
    until: Until | None = None,
) -> Profile:
    """The profile on the validation half: of a run with latents by its predictor, of any other by its model.

    What the data gives of a row is given, and what is known of it is shown to the model.

    Args:
        trained: the run.
        encodings: sequences to encode.
        key: of the random orders.
        estimator: of the profile.
        predictor: that of a run with latents.
        seed: what the provenance says.
        given: so many tokens at the beginning of each row are given too.
        label: rows of these classes alone.
        until: how well it is to be known.
    """
    rows, known, context = validation_rows(trained, given, label)
    about = {**_provenance(trained, seed), "rows_of": "validation"} | ({} if label is None else {"label": list(label)})
    how: dict[str, Any] = {"estimator": estimator, "given": known, "until": until}
    how |= {"progress": True, "provenance": about}
    measured = trained.denoiser, trained.params, rows, encodings
    if predictor is not None:
        return latent_profile(*measured, key=key, predictor=predictor, **how)
    if not given and (known is not None or is_ragged(trained)):
        how["length"] = trained.settings.length  # whatever is left free of these rows, the run's plans are for that
    return estimate_profile(*measured, key=key, context=context, **how)


def validation_rows(
    trained: Run, given: int, label: Sequence[int] | None
) -> tuple[Int32[np.ndarray, "rows length"], Bool[np.ndarray, "rows length"] | None, Any]:
    """Rows of the validation half, what is given of each, and what is known of it.

    Raises:
        InputError: there are not two of these classes, or not two that go on behind so many given tokens.
    """
    task, part = trained.task, "validation"
    rows: Int32[np.ndarray, "rows length"] = np.asarray(task.validation)
    known, context = tasks.given_of(task, part), tasks.context_of(task, part)
    if given:
        begun = np.broadcast_to(np.arange(rows.shape[1]) < given, rows.shape)
        known = begun if known is None else known | begun
    chosen = np.ones(len(rows), bool) if known is None else (~known & present(rows)).any(axis=1)
    require(
        int(chosen.sum()) >= 2, "--given", given, "so few that two rows or more of the validation half have more tokens"
    )
    if label is not None:
        if context is None:
            raise InputError("--label needs data that tell the labels; those of this run were given in Python.")
        chosen &= np.isin(context[LABEL], label)
        told = verbatim(f"{','.join(map(str, label))}, of which there are {chosen.sum()}")
        require(int(chosen.sum()) >= 2, "--label", told, "a class of which the validation half has two rows or more")
    return jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], (rows, known, context))


def check_given(trained: Run, options: argparse.Namespace) -> None:
    """Refuse what cannot be given, before anything is measured.

    Raises:
        InputError: one sentence that names the option.
    """
    length, given = trained.settings.length, options.given
    require(
        given is None or 1 <= given < length, "--given", given, f"from 1 to {length - 1}, the model's length less one"
    )
    if options.label is not None:
        labels_of_rows(trained, options, 1)
        if options.prompt is not None:
            raise InputError("--label cannot be given beside --prompt: completions are written without a label.")
    check_length(trained, options.length)
    if options.prompt is None:
        if options.length is not None:
            raise InputError("--length must be given beside --prompt: held-out rows have lengths of their own.")
    elif is_ragged(trained) and options.length is None:
        raise InputError(
            "--length must be given beside --prompt for a run of rows of different lengths: the profile is that of so "
            "many tokens."
        )


def measure_given(
    trained: Run, options: argparse.Namespace, predictor: str | None = None, until: Until | None = None
) -> Profile:
    """The profile of what follows the first ``--given`` tokens of held-out sequences, of a class, or of a prompt."""
    key, about = key_of(options.seed), _provenance(trained, options.seed)
    if options.prompt is not None:
        require(options.prompt != "", "--prompt", options.prompt, "a text of at least one token")
        canvas = make_canvas(trained, "--prompt", options.prompt)
        if options.length is not None:
            canvas = cut(canvas[None], np.array([options.length]))[0]
        require_free(trained, "--prompt", options.prompt, canvas)
        return estimate_prompted_profile(
            models.marginal(trained.denoiser) if predictor == "marginal" else trained.denoiser,
            trained.params,
            canvas,
            options.encodings,
            key=key,
            estimator=options.estimator,
            until=until,
            progress=True,
            provenance={**about, "prompt": options.prompt},
        )
    how = options.encodings, key, options.estimator or "loss", predictor, options.seed
    return _held_out(trained, *how, options.given or 0, options.label, until)


def _provenance(trained: Run, seed: int) -> dict[str, Any]:
    digest = trained.description.get("digest")
    return {"run": trained.identity, "run_step": trained.step, "data_digest": digest, "seed": seed}

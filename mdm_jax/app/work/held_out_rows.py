"""Rows of a run's halves that choose plans or judge them, with what its model is shown of them."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int32, PRNGKeyArray

from mdm_jax import models, tasks
from mdm_jax.app.terminal.output import note
from mdm_jax.evaluation import HeldOut, posterior_latents
from mdm_jax.models import Denoiser
from mdm_jax.theory.profiles import Profile
from mdm_jax.training import Run


class Shown(NamedTuple):
    """What plans are measured with.

    Attributes:
        denoiser: the run's, or its average over latents.
        rows: what is told, and what the denoiser is shown of it.
    """

    denoiser: Denoiser
    rows: HeldOut


def shown_rows(
    trained: Run, profile: Profile, part: str, places: Int32[np.ndarray, " rows"], key: PRNGKeyArray
) -> Shown:
    """Rows of ``part`` by what the profile was measured of: with latents of the sequences, with their average, or
    without. What the data gives of a sequence is given, and its label is shown.

    Args:
        trained: the run.
        profile: its profile.
        part: "validation" or "test".
        places: which rows.
        key: of latents.
    """
    denoiser, tokens = trained.denoiser, np.asarray(getattr(trained.task, part), np.int32)[places]
    known: Any = tasks.context_of(trained.task, part)
    context = None if known is None else jax.tree.map(lambda leaf: np.asarray(leaf)[places], known)
    if known is None and models.classes_of(denoiser) > 0:
        note(f"the labels of this run's {part} rows were given in Python, so plans are measured without labels.")
    given = tasks.given_of(trained.task, part)
    given = None if given is None else np.asarray(given)[places]
    if profile.provenance.get("latent") == "fixed":
        context = posterior_latents(denoiser, trained.params, tokens, key=key).latents
    elif profile.provenance.get("latent") == "marginal":
        denoiser = models.marginal(denoiser, profile.provenance["latents"])
    return Shown(denoiser, HeldOut(tokens, context, given))

"""One profile for each class: of rows of that class, by a model that is told so."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import sequences
from mdm_jax.evaluation.measuring.estimation import estimate_profile
from mdm_jax.models.classes import LABEL, check_labels, require_classes
from mdm_jax.models.denoiser import Denoiser, Params, require_model
from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.theory.profiles import Profile


@usual()
def profiles_by_class(
    denoiser: Denoiser,
    params: Params,
    tokens: Int[np.ndarray, "rows length"],
    labels: Int[Any, " labels"],
    encodings: int = 4096,
    *,
    key: PRNGKeyArray,
    counts: Int[np.ndarray, " m"] | None = None,
    estimator: str = "loss",
    given: Bool[np.ndarray, "*rows length"] | None = None,
    length: int | None = None,
    progress: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> dict[int, Profile]:
    """The profile of each class that is among the labels (:func:`estimate_profile` of its rows, with their label).

    A plan for a class is made of its own profile. Their means, weighed by the classes' tokens, are the profile of all
    rows with their labels.

    Args:
        denoiser: a model with classes.
        params: its parameters.
        tokens: int32[rows, length], held-out sequences, at least two of each class that is there.
        labels: int[rows], the class of each.
        encodings: number of sequences to encode for each class.
        key: a typed PRNG key; each class has one of its own, which does not depend on the others.
        counts: as for :func:`estimate_profile`.
        estimator: likewise.
        given: likewise.
        length: likewise.
        progress: show progress bars.
        provenance: JSON to store with the profiles, to which each adds its "label".

    Returns:
        Profiles by class, in rising order.

    Raises:
        InputError: a model without classes, labels that are none, a class with a single row; and as
            :func:`estimate_profile`.

    Example:
        >>> import numpy as np
        >>> import mdm_jax as mdm
        >>> model = mdm.models.transformer(4, length=8, width=16, depth=1, heads=2, classes=3)
        >>> params, rows = model.init(mdm.key(0), length=8), np.ones((6, 8), int)
        >>> labels = np.array([0, 2, 0, 2, 2, 0])
        >>> found = mdm.evaluation.profiles_by_class(model, params, rows, labels, encodings=24, key=mdm.key(1))
        >>> list(found), found[2].provenance["label"]
        ([0, 2], [2])
    """
    require_model(denoiser, params)
    require_classes(denoiser)
    tokens, key = sequences(denoiser, tokens, least=2), threefry(key)
    values = as_array(labels)
    shown = verbatim(f"shape {values.shape}")
    require(values.shape == (len(tokens),), "labels", shown, f"one for each of the {len(tokens)} rows")
    check_labels(denoiser, {LABEL: values}, "labels")
    known = None if given is None else np.broadcast_to(as_array(given), tokens.shape)
    found: dict[int, Profile] = {}
    for label in np.unique(values).tolist():
        mine = values == label
        told = verbatim(f"one row of label {label}")
        require(int(mine.sum()) >= 2, "labels", told, "two rows of each class that is there, or more")
        found[label] = estimate_profile(
            denoiser,
            params,
            tokens[mine],
            encodings,
            key=jax.random.fold_in(key, label),
            counts=counts,
            estimator=estimator,
            given=None if known is None else known[mine],
            length=length,
            context={LABEL: np.full(1, label, np.int32)},
            progress=progress,
            provenance={**(provenance or {}), "label": [label]},
        )
    return found

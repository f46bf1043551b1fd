"""The profile of what follows a prompt, for which there are no held-out sequences: the model writes them itself."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, PRNGKeyArray

from mdm_jax.evaluation.inputs import LARGEST, require_not_redrawn
from mdm_jax.evaluation.measuring.counts import chosen_counts
from mdm_jax.evaluation.measuring.estimation import estimate_profile, require_estimator
from mdm_jax.evaluation.measuring.until import Until, checked_until
from mdm_jax.models.denoiser import Denoiser, Params, begun, checked_tokens
from mdm_jax.models.extending import block_length, by_rank
from mdm_jax.sampling import sample
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.support.progress import bar
from mdm_jax.theory import plans
from mdm_jax.theory.profiles import Profile

_TOGETHER = 32


@usual()
def estimate_prompted_profile(
    denoiser: Denoiser,
    params: Params,
    canvas: Int[np.ndarray, " length"],
    encodings: int = 4096,
    *,
    key: PRNGKeyArray,
    completions: int = 64,
    estimator: str | None = None,
    until: float | int | Until | None = None,
    progress: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> Profile:
    """The profile of the free positions of ``canvas``, given the others.

    The model completes the canvas ``completions`` times, one token per step in random order, which is its own law, and
    the profile is measured on these (:func:`~mdm_jax.evaluation.measuring.estimation.estimate_profile`). It says how
    fast to reveal what *this model* writes after *this* prompt, not how good that is. Of a model with latents each
    completion is measured with the latent that it was written with: the plan then reveals under one latent, and
    nothing is added.

    Args:
        denoiser: the model.
        params: its parameters.
        canvas: int32[length], what is given, ``denoiser.mask_id`` where it is not (as ``sampling.sample`` takes it).
        encodings: of the measurement; writing the completions takes ``completions`` x free positions more.
        key: a typed PRNG key.
        completions: sequences to write, at least two.
        estimator: as for ``estimate_profile``. If left out, "increments", or of a model that goes by ranks "loss".
        until: as for ``estimate_profile``; the completions stay as many as they are.
        progress: show a progress bar.
        provenance: JSON to store with the profile.

    Returns:
        A profile whose ``length`` is the number of free positions: plans for it fit this prompt.

    Raises:
        InputError: nothing free, an id that is no token's, too few completions, a model that goes by blocks, or one
            that leaves masks in completions because its logits are no law.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> canvas = mdm.sampling.canvas_of([[1]], length=5, mask_id=2)[0]  # one is given
        >>> estimate = mdm.evaluation.estimate_prompted_profile
        >>> profile = estimate(world.denoiser, world.params, canvas, 64, key=mdm.key(0), completions=4)
        >>> profile.means  # nothing is left to learn: one step will do
        array([0., 0., 0., 0.])
    """
    canvas, key = np.asarray(checked_tokens(denoiser, canvas, "canvas", masks=True)), threefry(key)
    require(
        canvas.ndim == 1, "canvas", verbatim(f"shape {canvas.shape}"), "one row of tokens and masks, of shape [length]"
    )
    free = int((canvas == denoiser.mask_id).sum())
    require(free >= 1, "canvas", verbatim("no masked position"), "with at least one position to fill")
    completions = require_whole("completions", completions, 2, LARGEST // len(canvas))
    shown, wanted = verbatim("one that goes by blocks"), "one without blocks: with them a profile is that of a block"
    require(block_length(denoiser) is None, "denoiser", shown, wanted)
    ranked = by_rank(denoiser)
    estimator = ("loss" if ranked else "increments") if estimator is None else estimator
    require_estimator(denoiser, estimator)
    checked_until(until, free, encodings)  # these refuse what cannot be before anything is written
    chosen_counts(encodings, free, ranked=ranked)
    write_key, measure_key = jax.random.split(key)
    plan = plans.uniform(free, free)
    written, contexts = [], []
    require_not_redrawn(denoiser)
    with bar(completions, "completions", "sequence", progress) as advance:
        for start in range(0, completions, _TOGETHER):
            rows = min(_TOGETHER, completions)  # one shape: the last batch is cut, not compiled anew
            batch_key = jax.random.fold_in(write_key, start)
            latents = begun(denoiser, params, jax.random.split(jax.random.fold_in(batch_key, 1), rows))
            batch = sample(denoiser, params, plan, rows, key=batch_key, canvas=canvas, context=latents)
            left = int(np.asarray(batch.remaining).sum())
            require(left == 0, "denoiser", verbatim(f"{left} positions without a law"), "one whose logits are a law")
            written.append(np.asarray(batch.tokens)[: completions - start])
            contexts.append(jax.tree.map(lambda leaf, least=completions - start: np.asarray(leaf)[:least], latents))
            advance(len(written[-1]))
    return estimate_profile(
        denoiser,
        params,
        np.concatenate(written),
        encodings,
        key=measure_key,
        estimator=estimator,
        given=canvas != denoiser.mask_id,
        context=jax.tree.map(lambda *parts: np.concatenate(parts), *contexts),
        until=until,
        progress=progress,
        provenance={"rows_of": "completions by the model", "completions": completions, **(provenance or {})},
    )

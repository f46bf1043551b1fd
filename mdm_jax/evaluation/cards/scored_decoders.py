"""The second table of a card: samplers by scores of what they write, those without a probability among them."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from mdm_jax.evaluation.cards.decoders import Setting, told_steps
from mdm_jax.evaluation.samples import Execution, Score, evaluate
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.extending import can_extend
from mdm_jax.sampling import Sampler, presets
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.intervals import mean_interval

REMASKING = "remasking"


def scored(
    denoiser: Denoiser,
    params: Params,
    chosen: Mapping[int, Mapping[str, Setting | None]],
    score: Score | Mapping[str, Score],
    samples: int,
    length: int,
    key: PRNGKeyArray,
    context: Context,
    progress: bool,
) -> list[dict[str, Any]]:
    """Scores of samples of what was chosen for each number of passes, and of remasking in as many steps (not with a
    cache, which cannot mask again).

    Args:
        denoiser: the model.
        params: its parameters.
        chosen: for each number of steps the setting of each family; ``None`` where it has none.
        score: as :func:`~mdm_jax.evaluation.evaluate` takes it.
        samples: of each sampler.
        length: of the rows.
        key: of all draws.
        context: passed to the denoiser, leading axis 1.
        progress: show a progress bar.

    Raises:
        InputError: a sample that has no score.
    """
    named: dict[tuple[str, int], tuple[str, Sampler]] = {}
    for steps, families in chosen.items():
        for family, setting in families.items():
            if setting is not None:
                named[family, steps] = setting.name, setting.sampler
        if not can_extend(denoiser):  # what a model with a cache made of a token cannot be taken back
            named[REMASKING, steps] = f"ReMDM, {told_steps(steps)}", presets.remdm(steps)
    found = evaluate(
        denoiser,
        params,
        {f"{family}, {steps}": sampler for (family, steps), (_, sampler) in named.items()},
        samples,
        score,
        key=key,
        length=length,
        context=jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), samples, axis=0), context),
        execution=Execution(progress=progress),
    )
    families = dict.fromkeys(family for family, _ in named)
    return [
        {
            "name": family,
            "kind": "sampler" if family == REMASKING else "chosen above",
            "points": [
                {
                    "setting": setting,
                    "passes": float(found.means("nfe")[at]),
                    "samples": samples,
                    "scores": {name: _told(found.values(name)[at], family) for name in found.scores},
                }
                for at, ((own, _), (setting, _)) in enumerate(named.items())
                if own == family
            ],
        }
        for family in families
    ]


def _told(values: np.ndarray, family: str) -> dict[str, float]:
    """The mean score and its 95 % interval."""
    none = int((~np.isfinite(values)).sum())
    require(none == 0, "score", verbatim(f"none for {none} samples of {family}"), "a finite number for every sample")
    return mean_interval(values)._asdict()

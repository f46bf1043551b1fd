"""The second table of a card: samplers by scores of what they write, those without a probability among them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from mdm_jax.evaluation.cards.decoders import Setting, told_steps
from mdm_jax.evaluation.samples import Evaluation, Execution, Score, evaluate
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.models.extending import can_extend
from mdm_jax.sampling import Sampler, presets
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.intervals import mean_interval

REMASKING = "remasking"
STRENGTHS = (0.01, 0.02, 0.04, 0.08, 0.16)
"""Of ReMDM's ``cap`` strategy, tried where the direction of the score is told; else the middle one is taken."""
_USUAL = STRENGTHS[2]


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
    lower_is_better: bool | None = None,
) -> list[dict[str, Any]]:
    """Scores of samples of what was chosen for each number of passes, and of remasking in as many steps (not with a
    cache, which cannot mask again).

    How strongly remasking masks again is chosen by the first score of samples of its own, of which none is judged.

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
        lower_is_better: the direction of the first score; nothing is chosen where it is not told.

    Raises:
        InputError: a sample that has no score.
    """
    context = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), samples, axis=0), context)

    def evaluated(samplers: Mapping[str, Sampler], key: PRNGKeyArray) -> Evaluation:
        return evaluate(
            denoiser, params, samplers, samples, score, key=key, length=length, context=context,
            execution=Execution(progress=progress),
        )  # fmt: skip

    remasking = not can_extend(denoiser)  # what a model with a cache made of a token cannot be taken back
    strengths = dict.fromkeys(chosen, _USUAL)
    if remasking and lower_is_better is not None:
        strengths = _strengths(evaluated, list(chosen), jax.random.fold_in(key, 1), lower_is_better)
    named: dict[tuple[str, int], tuple[str, Sampler]] = {}
    for steps, families in chosen.items():
        for family, setting in families.items():
            if setting is not None:
                named[family, steps] = setting.name, setting.sampler
        if remasking:
            strength = strengths[steps]
            named[REMASKING, steps] = f"ReMDM {strength:g}, {told_steps(steps)}", presets.remdm(steps, strength)
    found = evaluated({f"{family}, {steps}": sampler for (family, steps), (_, sampler) in named.items()}, key)
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


def _strengths(
    evaluated: Callable[[Mapping[str, Sampler], PRNGKeyArray], Evaluation],
    steps: Sequence[int],
    key: PRNGKeyArray,
    lower_is_better: bool,
) -> dict[int, float]:
    """For each number of steps the strength whose samples score best on average."""
    tried = [(many, strength) for many in steps for strength in STRENGTHS]
    found = evaluated({f"{many}, {strength:g}": presets.remdm(many, strength) for many, strength in tried}, key)
    means = found.means()
    means = np.where(np.isfinite(means), means if lower_is_better else -means, np.inf)
    places = np.argmin(means.reshape(len(steps), len(STRENGTHS)), axis=1)
    return {many: STRENGTHS[place] for many, place in zip(steps, places, strict=True)}


def _told(values: np.ndarray, family: str) -> dict[str, float]:
    """The mean score and its 95 % interval."""
    none = int((~np.isfinite(values)).sum())
    require(none == 0, "score", verbatim(f"none for {none} samples of {family}"), "a finite number for every sample")
    return mean_interval(values)._asdict()

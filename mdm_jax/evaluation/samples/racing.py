"""Tuning by sampling, for any order and any score: successive halving over schedules, judged on fresh seeds.

The profile tells what schedules of random order cost without a sample (:mod:`mdm_jax.evaluation.tuning`); for an order
that looks at the data it does not. Here schedules race: all draw a few samples, the best go on to draw more (successive
halving, arXiv 1502.07943). The best of many noisy means is too good to be true, so nothing is judged by what it was
chosen by: the search, the choice among finalists and the final comparison draw with keys of their own, and go on from
prompts of their own where there are prompts.
"""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int32, PRNGKeyArray

from mdm_jax.evaluation.samples.evaluating import Score, evaluate
from mdm_jax.evaluation.samples.execution import USUAL, Execution, require_execution
from mdm_jax.evaluation.samples.halving import USUAL as USUAL_SEARCH
from mdm_jax.evaluation.samples.halving import Halving, plans_of, representatives
from mdm_jax.evaluation.samples.race_results import Raced, Rung
from mdm_jax.evaluation.samples.results import Evaluation
from mdm_jax.models.denoiser import Context, Denoiser, Params, checked_tokens, require_model
from mdm_jax.models.extending import block_length
from mdm_jax.sampling import Sampler, rules
from mdm_jax.support.errors import require, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.theory import schedules
from mdm_jax.theory.numerics.given import check_budget
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.schedules import Schedule
from mdm_jax.theory.schedules import text as schedule_text

JUDGED = ("linear", "sine", "sine_squared")
"""Hand-crafted schedules that the winner is compared with."""
SPREAD = 0.3
"""Standard deviation of what free schedules add to the logarithms of the winner's steps in angle."""
_SEARCH, _VALIDATION, _TEST, _CHANGES = range(4)


class Prompts(NamedTuple):
    """What samples go on from, int32[rows, length] each, masked where tokens are to be drawn; of disjoint data."""

    search: Int32[np.ndarray, "search_rows length"]
    validation: Int32[np.ndarray, "validation_rows length"]
    test: Int32[np.ndarray, "test_rows length"]


@usual()
def race(
    denoiser: Denoiser,
    params: Params,
    score: Score | Mapping[str, Score],
    length: int,
    steps: int,
    *,
    key: PRNGKeyArray,
    lower_is_better: bool,
    order: Callable[[Plan], Sampler] = rules.surest,
    search: Halving = USUAL_SEARCH,
    prompts: Prompts | None = None,
    temperature: float | int = 1.0,
    context: Context = None,
    execution: Execution = USUAL,
) -> Raced:
    """The best schedule of ``steps`` steps in some order, by a score of samples.

    Args:
        denoiser: the model.
        params: its parameters.
        score: as in :func:`~mdm_jax.evaluation.evaluate`; the first decides.
        length: of the sequences.
        steps: that each schedule may take; with a model that goes by blocks, in each block.
        key: of all draws; search, validation and test use streams of their own.
        lower_is_better: the direction of the score.
        order: from a plan to a sampler that follows it (:func:`mdm_jax.sampling.rules.surest`, ``Blind``).
        search: which schedules race, and with how many samples (those of :data:`JUDGED` are compared with the winner).
        prompts: what samples go on from, apart for search, validation and test; all is masked if left out.
        temperature: as in :func:`~mdm_jax.evaluation.evaluate`.
        context: passed to the denoiser; its leading axis is at least as long as the samples of any round, each of which
            takes the first.
        execution: likewise. A ``store`` lets a race that was cut off go on where it was (a temporary file if left out);
            ``name`` goes with a model or an order of your own; ``progress`` shows a bar for each round.

    Returns:
        What was found, a :class:`~mdm_jax.evaluation.samples.race_results.Raced`.

    Raises:
        InputError: a budget that cannot be, prompts that are none of the model's, or fewer of them (or of a context's
            rows) than samples; before anything is drawn.

    Source: successive halving, arXiv 1502.07943.

    Example:
        >>> import mdm_jax as mdm
        >>> world = mdm.oracles.toy_left()  # five equal tokens: one tells the others
        >>> def breaks(tokens):  # neighbours that differ
        ...     return (tokens[:, 1:] != tokens[:, :-1]).sum(axis=1)
        >>> search = mdm.evaluation.Halving(grid=3, named=("linear",), finalists=2, final_samples=16)
        >>> found = mdm.race(
        ...     world.denoiser, world.params, breaks, length=5, steps=2, key=mdm.key(0),
        ...     lower_is_better=True, order=mdm.sampling.Blind, search=search)
        >>> found.plan.sizes.tolist(), float(found.test.means()[0])
        ([1, 4], 0.0)
        >>> found.conclusions()[0]
        'beta:0.7071,0.25 is better than linear (..., 95 % interval ... to ...).'
    """
    require_model(denoiser, params)
    wanted = "True or False (which way the first score goes)"
    require(isinstance(lower_is_better, bool | np.bool_), "lower_is_better", lower_is_better, wanted)
    require(callable(order), "order", order, "a function from a plan to a sampler")
    planned = min(length, block_length(denoiser) or length)  # what each plan is for
    check_budget(planned, steps)
    require_execution(execution)
    require(isinstance(search, Halving), "search", search, "a Halving, as in evaluation.Halving(grid=4)")
    key = threefry(key)
    starting, cells, values = search.starting(), search.cells, search.values
    everyone = plans_of(starting, planned, steps)
    same = representatives(everyone)
    canvases: list[np.ndarray | None] = [None] * 3
    needed = search.search_samples(planned, steps), search.final_samples, search.final_samples
    sizes = [len(leaf) for leaf in jax.tree.leaves(context)]
    wanted = f"a pytree of arrays whose leading axis is {max(needed)} or more, as many as samples of a round"
    require(all(size >= max(needed) for size in sizes), "context", verbatim(f"with axes of {sizes}"), wanted)
    if prompts is not None:
        canvases = [_prompts(denoiser, prompts, part, count, length) for part, count in enumerate(needed)]

    with contextlib.ExitStack() as stack:
        where = execution
        if execution.store is None:  # a file of this race's own, so that nothing is drawn twice
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            where = dataclasses.replace(execution, store=folder / "rows.jsonl", name="one race")

        def drawn(taking_part: Mapping[str, Plan], count: int, part: int) -> Evaluation:
            canvas = canvases[part]
            return evaluate(
                denoiser,
                params,
                {name: order(plan) for name, plan in taking_part.items()},
                count,
                score,
                key=jax.random.fold_in(key, part),
                temperature=temperature,
                canvas=None if canvas is None else canvas[:count],
                length=length,
                context=jax.tree.map(lambda leaf: leaf[:count], context),
                execution=where,
            )

        def halve(names: Sequence[str]) -> list[str]:
            """Successive halving; the names that are left, the best first."""
            ahead = list(names)
            for rung in search.rounds(len(ahead)):
                found = drawn({name: everyone[name] for name in ahead}, rung.samples, _SEARCH)
                means = found.means()
                _require_some(means)
                rungs.append(Rung(tuple(ahead), rung.samples, means))
                ahead = [ahead[i] for i in _best_first(means, lower_is_better)[: rung.left]]
            return ahead

        rungs: list[Rung] = []
        ahead = halve(list(dict.fromkeys(same.values())))
        if search.free:
            changed = _changed(starting[ahead[0]], steps, search.free, jax.random.fold_in(key, _CHANGES))
            more = plans_of(changed, planned, steps)
            everyone |= more
            same = representatives(everyone)
            new = [name for name in more if same[name] == name]
            ahead += halve(new) if new else []

        validation = drawn({name: everyone[name] for name in ahead}, search.final_samples, _VALIDATION)
        _require_some(validation.means())
        winner = ahead[_best_first(validation.means(), lower_is_better)[0]]
        everyone |= plans_of({name: schedule_text.parse(name) for name in JUDGED}, planned, steps)
        judged = dict.fromkeys((winner, *JUDGED))
        test = drawn({name: everyone[name] for name in judged}, search.final_samples, _TEST)

    landscape, counts = np.full((len(values),) * 2, np.nan), np.zeros((len(values),) * 2, np.int64)
    for rung in rungs:
        for cell, name in cells.items():
            if same[name] in rung.names and rung.samples > counts[cell]:
                landscape[cell], counts[cell] = rung.means[rung.names.index(same[name])], rung.samples
    return Raced(
        plans=everyone,
        rungs=tuple(rungs),
        a=values,
        b=values,
        landscape=landscape,
        counts=counts,
        validation=validation,
        test=test,
        winner=winner,
        lower_is_better=lower_is_better,
    )


def _prompts(denoiser: Denoiser, prompts: Prompts, part: int, count: int, length: int) -> np.ndarray:
    """What the samples of one part go on from, checked before anything is drawn."""
    argument = f"prompts.{Prompts._fields[part]}"
    rows = np.asarray(checked_tokens(denoiser, prompts[part], argument, masks=True))
    good = rows.ndim == 2 and len(rows) >= count and rows.shape[1] == length
    shape = verbatim(f"shape {rows.shape}")
    require(good, argument, shape, f"of shape [rows, {length}] with at least {count} rows, as many as samples")
    return rows


def _require_some(means: np.ndarray) -> None:
    """Refuse to name the best of schedules none of which has a mean score."""
    given = verbatim(f"none for any of {len(means)} schedules (a sample without a score makes its mean undefined)")
    require(not np.isnan(means).all(), "score", given, "a number for every sample of at least one schedule")


def _best_first(means: np.ndarray, lower_is_better: bool) -> list[int]:
    """Places from the best mean to the worst; what has none comes last, equals in their order."""
    return np.argsort(means if lower_is_better else -means, kind="stable").tolist()  # NaN sorts last


def _changed(schedule: Schedule, steps: int, count: int, key: PRNGKeyArray) -> dict[str, Schedule]:
    """``schedule`` in ``steps`` straight pieces of its angle, their rises times ``exp`` of normal numbers."""
    times = np.arange(steps + 1) / steps
    rises = np.maximum(np.diff(np.asarray(schedule.theta(jnp.asarray(times, float)), np.float64)), 1e-4)
    noise = np.asarray(jax.random.normal(key, (count, steps)), np.float64)
    changed = rises * np.exp(SPREAD * noise)
    angles = np.cumsum(changed, axis=1) / changed.sum(axis=1, keepdims=True)
    found: dict[str, Schedule] = {}
    for i, row in enumerate(angles):
        found[f"free {i + 1}"] = schedules.tabulated(times, np.concatenate([[0.0], row[:-1], [1.0]]))
    return found

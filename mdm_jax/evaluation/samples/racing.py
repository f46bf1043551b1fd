"""Tuning by sampling, for any order and any score: successive halving over schedules, judged on fresh seeds.

The profile tells what schedules of random order cost without a sample (:mod:`mdm_jax.evaluation.tuning`); for an order
that looks at the data it does not. Here schedules race: all draw a few samples, the best go on to draw more (successive
halving, arXiv 1502.07943). The best of many noisy means is too good to be true, so nothing is judged by what it was
chosen by: the search, the choice among finalists and the final comparison draw with keys of their own, and go on from
prompts of their own where there are prompts.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int32, PRNGKeyArray

from mdm_jax.evaluation.inputs import LARGEST
from mdm_jax.evaluation.samples.evaluating import Score, evaluate
from mdm_jax.evaluation.samples.race_results import Raced, Rung
from mdm_jax.evaluation.samples.results import Evaluation
from mdm_jax.models.denoiser import Denoiser, Params, checked_tokens, require_model
from mdm_jax.sampling import Sampler, rules
from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.flags import usual
from mdm_jax.support.keys import threefry
from mdm_jax.theory import plans, schedules
from mdm_jax.theory.numerics.given import check_budget
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.schedules import Schedule
from mdm_jax.theory.schedules import text as schedule_text

JUDGED = ("linear", "sine", "sine_squared")
"""Hand-crafted schedules that the winner is compared with."""
LEAST, MOST = 0.25, 2.0
"""The range of ``a`` and ``b``: with 4, 7, 10, ... values, linear (.5, .5) and sine squared (1, 1) are among them."""
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
    key: PRNGKeyArray,
    *,
    lower_is_better: bool,
    order: Callable[[Plan], Sampler] = rules.surest,
    grid: int = 7,
    named: Sequence[str] = schedule_text.HAND_CRAFTED,
    free: int = 0,
    samples: int = 4,
    eta: int = 3,
    finalists: int = 4,
    final_samples: int = 128,
    prompts: Prompts | None = None,
    temperature: float | int = 1.0,
    batch: int | None = None,
    devices: int | None = None,
    mesh: Mesh | None = None,
    store: str | Path | None = None,
    name: str | None = None,
    progress: bool = False,
) -> Raced:
    """The best schedule of ``steps`` steps in some order, by a score of samples.

    Args:
        denoiser: the model.
        params: its parameters.
        score: as in :func:`~mdm_jax.evaluation.evaluate`; the first decides.
        length: of the sequences.
        steps: that each schedule may take.
        key: of all draws; search, validation and test use streams of their own.
        lower_is_better: the direction of the score.
        order: from a plan to a sampler that follows it (:func:`mdm_jax.sampling.rules.surest`, ``Blind``).
        grid: ``grid`` x ``grid`` Beta(a, b) schedules start.
        named: and these.
        free: after the search, so many random changes of its winner (its steps in angle, each times ``exp`` of a normal
            number) race each other likewise, and those that come through are finalists too.
        samples: of each schedule in the first round.
        eta: each round has so many times the samples of the one before, and ``1/eta`` of the schedules (rounded up).
        finalists: so many come through each search.
        final_samples: of each finalist on validation seeds, and of the winner and :data:`JUDGED` on test seeds.
        prompts: what samples go on from, apart for search, validation and test; all is masked if left out.
        temperature: as in :func:`~mdm_jax.evaluation.evaluate`; also the rest.
        batch: rows drawn together.
        devices: draw on so many devices.
        mesh: or on a mesh.
        store: keeps what was drawn, so that a race that was cut off goes on where it was; a temporary file if left out.
        name: beside ``store``, as in :func:`~mdm_jax.evaluation.evaluate`: of a model or an order of your own.
        progress: show a progress bar for each round.

    Raises:
        InputError: numbers that cannot be, prompts that are none of the model's, or fewer of them than samples; before
            anything is drawn.
    """
    require_model(denoiser, params)
    wanted = "True or False (which way the first score goes)"
    require(isinstance(lower_is_better, bool | np.bool_), "lower_is_better", lower_is_better, wanted)
    texts = isinstance(named, Sequence) and not isinstance(named, str) and all(isinstance(one, str) for one in named)
    require(texts, "named", named, "a sequence of the texts of schedules")
    require(callable(order), "order", order, "a function from a plan to a sampler")
    check_budget(length, steps)
    for argument, value, least in (
        ("grid", grid, 0), ("free", free, 0), ("samples", samples, 1), ("eta", eta, 2), ("finalists", finalists, 1),
        ("final_samples", final_samples, 2),
    ):  # fmt: skip
        require_whole(argument, value, least, LARGEST)
    key = threefry(key)
    require(grid > 0 or len(named) > 0, "grid", grid, "at least 1 where no schedules are named")
    values, cells = _cells(grid)
    starting = {text: schedule_text.parse(text) for text in dict.fromkeys([*named, *cells.values()])}
    everyone = {name: _plan(schedule, length, steps, name) for name, schedule in starting.items()}
    same = _representatives(everyone)
    searched = _most(len(set(same.values())), free, samples, eta, finalists)
    canvases: list[np.ndarray | None] = [None] * 3
    if prompts is not None:
        needed = searched, final_samples, final_samples
        canvases = [_prompts(denoiser, prompts, part, count, length) for part, count in enumerate(needed)]

    with contextlib.ExitStack() as stack:
        kept = store if store is not None else Path(stack.enter_context(tempfile.TemporaryDirectory())) / "rows.jsonl"

        def drawn(taking_part: Mapping[str, Plan], count: int, part: int) -> Evaluation:
            canvas = canvases[part]
            return evaluate(
                denoiser,
                params,
                {name: order(plan) for name, plan in taking_part.items()},
                count,
                score,
                jax.random.fold_in(key, part),
                temperature=temperature,
                canvas=None if canvas is None else canvas[:count],
                length=length,
                batch=batch,
                devices=devices,
                mesh=mesh,
                store=kept,
                name=name if store is not None else "one race",  # the file is this race's own
                progress=progress,
            )

        def search(names: Sequence[str]) -> list[str]:
            """Successive halving; the names that are left, the best first."""
            ahead = list(names)
            for rung in halving(ahead, samples, eta, finalists):
                found = drawn({name: everyone[name] for name in ahead}, rung.samples, _SEARCH)
                means = found.means()
                _require_some(means)
                rungs.append(Rung(tuple(ahead), rung.samples, means))
                ahead = [ahead[i] for i in _best_first(means, lower_is_better)[: rung.left]]
            return ahead

        rungs: list[Rung] = []
        ahead = search(list(dict.fromkeys(same.values())))
        if free:
            changed = _changed(starting[ahead[0]], steps, free, jax.random.fold_in(key, _CHANGES))
            more = {name: _plan(schedule, length, steps, name) for name, schedule in changed.items()}
            everyone |= more
            same = _representatives(everyone)
            new = [name for name in more if same[name] == name]
            ahead += search(new) if new else []

        validation = drawn({name: everyone[name] for name in ahead}, final_samples, _VALIDATION)
        _require_some(validation.means())
        winner = ahead[_best_first(validation.means(), lower_is_better)[0]]
        everyone |= {name: _plan(schedule_text.parse(name), length, steps, name) for name in JUDGED}
        judged = dict.fromkeys((winner, *JUDGED))
        test = drawn({name: everyone[name] for name in judged}, final_samples, _TEST)

    landscape, counts = np.full((grid, grid), np.nan), np.zeros((grid, grid), np.int64)
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


class Round(NamedTuple):
    """So many samples of each schedule, after which so many are left."""

    samples: int
    left: int


def halving(schedules_: Sequence[str], samples: int, eta: int, finalists: int) -> Iterator[Round]:
    """The rounds of successive halving; one of as many samples if there are no more schedules than finalists."""
    count = len(schedules_)
    while True:
        left = max(-(-count // eta), min(finalists, count))
        yield Round(samples, left)
        if left <= finalists:
            return
        count, samples = left, samples * eta


def search_samples(
    length: int,
    steps: int,
    *,
    grid: int = 7,
    named: Sequence[str] = schedule_text.HAND_CRAFTED,
    free: int = 0,
    samples: int = 4,
    eta: int = 3,
    finalists: int = 4,
) -> int:
    """How many samples of a schedule the last round of a search draws, and so how many prompts it needs.

    Arguments as in :func:`race`. With ``free`` schedules it is the number if no two of them have equal sizes.
    """
    texts = dict.fromkeys([*named, *_cells(grid)[1].values()])
    everyone = {text: _plan(schedule_text.parse(text), length, steps, text) for text in texts}
    return _most(len(set(_representatives(everyone).values())), free, samples, eta, finalists)


def _most(started: int, free: int, samples: int, eta: int, finalists: int) -> int:
    """Samples of the last round, of ``started`` schedules or of ``free`` ones: the more start, the more rounds."""
    return [one.samples for one in halving([""] * max(started, free), samples, eta, finalists)][-1]


def _cells(grid: int) -> tuple[Float[np.ndarray, " grid"], dict[tuple[int, int], str]]:
    """The values of ``a`` and ``b``, and the Beta schedule of each cell."""
    values = np.geomspace(LEAST, MOST, grid) if grid > 1 else np.ones(grid)
    return values, {(i, j): f"beta:{a:.4g},{b:.4g}" for i, a in enumerate(values) for j, b in enumerate(values)}


def _plan(schedule: Schedule, length: int, steps: int, name: str) -> Plan:
    return plans.from_schedule(schedule, length, steps, name=name)


def _representatives(everyone: Mapping[str, Plan]) -> dict[str, str]:
    """For each name the first one whose plan has the same sizes: what is the same is drawn once."""
    first: dict[bytes, str] = {}
    return {name: first.setdefault(plan.sizes.tobytes(), name) for name, plan in everyone.items()}


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

"""Beta schedules chosen on validation data and judged on test data, cell by cell: an order, drawn or greedy, K steps.

What arXiv 2509.13866 does after training (section 3.3, Tables 2 to 7): each Beta(a, b) of a grid draws samples on
validation data, and the best of them is compared with linear, sine and sine squared on test data. Linear is of that
grid; where several are best, linear is chosen if it is one of them. Every candidate has as many validation samples, so
that their means can also be held against what is predicted without sampling.

A *world* is a model with its score and what is given. What is random in a cell depends on the cell and on the part
(validation or test) alone: all candidates have the same prompts and random numbers. Where prompts depend on each other
in groups, standard errors count groups.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.stats
from jaxtyping import Bool, Int

from experiments.tools.grouped import by_group
from mdm_jax.evaluation import Execution, evaluate, own_entropy
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.sampling import Sampler, rules
from mdm_jax.theory import plans, schedules
from mdm_jax.theory.plans import Plan

ORDERS = ("random", "max-probability")
CHOICES = {"drawn": 1.0, "greedy": 0.0}
"""How tokens are chosen, and the temperature of that."""
NAMED = {"linear": schedules.linear(), "sine": schedules.sine(), "sine squared": schedules.sine_squared()}
VALUES = (0.25, 0.5, 1.0, 2.0)
"""Of a and b: linear is (.5, .5), sine squared (1, 1)."""
VALIDATION, TEST = range(2)
SCORE, ENTROPY, WHOLE, WINNER = "score", "own entropy", "whole", "winner"
FRACTIONS = (32, 16, 8, 4, 2)
"""Steps are the free tokens divided by these."""


@dataclasses.dataclass(frozen=True, eq=False)
class World:
    """A model, what its samples are worth, and the prompts that they go on from.

    Attributes:
        denoiser: the model.
        params: its parameters.
        score: float[rows] of int32[rows, length]; where ``whole`` is given of samples and the rows that they stand for.
        better: 1 where higher scores are better, -1 where lower ones are.
        canvases: int32[prompts, length] to choose by and to judge by, masked where tokens are drawn; as many masks in
            every row.
        costs: what a plan is predicted to cost, by the name of what predicts.
        orders: those of :data:`ORDERS` that are tried.
        choices: those of :data:`CHOICES` that are tried.
        whole: int32[prompts, length], what the prompts were made of, if the score asks for it.
        groups: of each prompt that judges, if some depend on each other: each group counts the same.
        besides: plans for so many steps that are no candidates and are judged with them, by name.
    """

    denoiser: Denoiser
    params: Params
    score: Callable[..., np.ndarray]
    better: int
    canvases: tuple[Int[np.ndarray, "prompts length"], Int[np.ndarray, "prompts length"]]
    costs: Mapping[str, Callable[[Plan], float]]
    orders: tuple[str, ...] = ORDERS
    choices: tuple[str, ...] = tuple(CHOICES)
    whole: tuple[np.ndarray, np.ndarray] | None = None
    groups: Sequence[str] | None = None
    besides: Callable[[int], Mapping[str, Plan]] | None = None

    @property
    def free(self) -> int:
        """Tokens that are drawn in a row."""
        return int((self.canvases[VALIDATION][0] == self.denoiser.mask_id).sum())


class Sizes(NamedTuple):
    """How much is drawn: samples of each candidate to choose by, and of each of the four that are judged."""

    validation: int
    test: int


def given_at_random(shape: tuple[int, ...], number: int, seed: int) -> Bool[np.ndarray, "rows length"]:
    """So many positions of each row, uniformly drawn.

    Example:
        >>> given_at_random((2, 4), 3, seed=0).sum(axis=1)
        array([3, 3])
    """
    return np.random.RandomState(seed).random_sample(shape).argsort(axis=1) < number


def canvases_of(
    denoiser: Denoiser,
    parts: Sequence[Int[np.ndarray, "rows length"]],
    given: Sequence[Bool[np.ndarray, "rows length"]],
) -> tuple[Int[np.ndarray, "rows length"], Int[np.ndarray, "rows length"]]:
    """The rows of both parts as prompts: masked where they are not given."""
    made = [np.where(known, rows, denoiser.mask_id).astype(np.int32) for rows, known in zip(parts, given, strict=True)]
    return made[VALIDATION], made[TEST]


def steps_of(free: int) -> list[int]:
    """The numbers of steps: from a 32nd of the free tokens to half of them, two at least.

    Example:
        >>> steps_of(96), steps_of(33)
        ([3, 6, 12, 24, 48], [2, 4, 8, 16])
    """
    return sorted({max(2, round(free / part)) for part in FRACTIONS})


def candidates(free: int, steps: int) -> dict[str, Plan]:
    """The named schedules and 16 Beta schedules, as plans.

    Example:
        >>> made = candidates(32, 4)
        >>> len(made), made["linear"].sizes.tolist() == made["beta:0.5,0.5"].sizes.tolist()
        (19, True)
    """
    made: dict[str, Plan] = {name: plans.from_schedule(one, free, steps) for name, one in NAMED.items()}
    for a, b in itertools.product(VALUES, VALUES):
        made[f"beta:{a},{b}"] = plans.from_schedule(schedules.beta(a, b), free, steps)
    return made


def chosen(scores: Mapping[str, float], betas: Iterable[str], better: int) -> str:
    """The best by its score; of several that are, linear if it is one of them, else the first.

    Example:
        >>> scores = {"linear": 0.5, "beta:1.0,0.5": 0.5, "beta:2.0,0.5": 0.4}
        >>> chosen(scores, ["beta:1.0,0.5", "linear", "beta:2.0,0.5"], better=1)
        'linear'
    """
    return max(betas, key=lambda name: (better * scores[name], name == "linear"))


def agreement(predicted: Sequence[float], found: Sequence[float]) -> float | None:
    """The rank correlation of two orders, 1 where they are the same; ``None`` where one of them is none.

    Example:
        >>> round(agreement([1, 2, 3], [10, 20, 40]), 6), agreement([1, 1, 1], [1, 2, 3])
        (1.0, None)
    """
    if len(predicted) < 3 or np.ptp(predicted) == 0 or np.ptp(found) == 0:
        return None
    return float(np.corrcoef(scipy.stats.rankdata(predicted), scipy.stats.rankdata(found))[0, 1])


def measured(world: World, sizes: Sizes, seed: int, steps: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Every cell of a world.

    Args:
        world: the model.
        sizes: how much is drawn.
        seed: of all draws.
        steps: :func:`steps_of` the free tokens if left out.

    Returns:
        Of each cell: what was ``chosen``; the means of all ``candidates`` on validation samples, plans that are equal
        once; the ``agreement`` of these with what is predicted, and between their halves; on test samples the mean
        ``scores`` and ``entropies`` of the chosen one ("winner"), of the named ones and of those besides, and its
        ``gains`` over these with their standard errors, paired. Where there are groups, the gains in each, ``grouped``;
        where the rows are known, how many samples are them, ``whole``.
    """
    cells = itertools.product(world.orders, world.choices, steps or steps_of(world.free))
    return [_cell(world, sizes, jax.random.fold_in(jax.random.key(seed), n), *cell) for n, cell in enumerate(cells)]


def _cell(world: World, sizes: Sizes, key: jax.Array, order: str, choice: str, steps: int) -> dict[str, Any]:
    made = candidates(world.free, steps)
    first: dict[tuple[int, ...], str] = {}
    same = {name: first.setdefault(tuple(plan.sizes.tolist()), name) for name, plan in made.items()}
    distinct = {name: made[name] for name in first.values()}
    found = _drawn(world, distinct, order, choice, sizes.validation, VALIDATION, key)[SCORE]
    means = {name: float(values.mean()) for name, values in found.items()}
    costs = [-world.better * one for one in means.values()]
    predicted = {what: [cost(plan) for plan in distinct.values()] for what, cost in world.costs.items()}
    halves = [[float(part.mean()) for part in np.array_split(found[name], 2)] for name in distinct]
    winner = chosen(means, [same[name] for name in made if name.startswith("beta")], world.better)
    plan_of = {WINNER: winner, **{name: same[name] for name in NAMED}}
    besides = {} if world.besides is None else dict(world.besides(steps))
    judged = {name: made[name] for name in plan_of.values()} | besides
    plan_of |= {name: name for name in besides}
    tested = _drawn(world, judged, order, choice, sizes.test, TEST, key)
    values = {name: tested[SCORE][of] for name, of in plan_of.items()}
    gains = {rival: world.better * (values[WINNER] - values[rival]) for rival in (*NAMED, *besides)}
    if world.groups is not None:
        of_samples = [world.groups[sample % len(world.groups)] for sample in range(sizes.test)]
        gains = {rival: by_group(one[None], of_samples)[0] for rival, one in gains.items()}
    return {
        "order": order,
        "choice": choice,
        "steps": steps,
        "chosen": winner,
        "candidates": means,
        "agreement": {
            **{what: agreement(one, costs) for what, one in predicted.items()},
            "other half": agreement(*zip(*halves)),
        },
        **{
            plural: {name: float(tested[what][of].mean()) for name, of in plan_of.items()}
            for what, plural in ((SCORE, "scores"), (ENTROPY, "entropies"), (WHOLE, "whole")) if what in tested
        },
        "gains": {rival: [float(one.mean()), float(scipy.stats.sem(one))] for rival, one in gains.items()},
        **({} if world.groups is None else {"grouped": {rival: one.round(6) for rival, one in gains.items()}}),
    }  # fmt: skip


def _drawn(
    world: World, made: Mapping[str, Plan], order: str, choice: str, samples: int, part: int, key: jax.Array
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of samples by every plan: the same prompts and random numbers for all."""
    samplers: dict[str, Sampler] = {
        name: plan if order == "random" else rules.surest(plan) for name, plan in made.items()
    }
    prompts = world.canvases[part]
    places = np.arange(samples) % len(prompts)
    scores = {SCORE: world.score, ENTROPY: lambda tokens: own_entropy(tokens, world.denoiser.vocab_size)}
    if world.whole is not None:
        whole = world.whole[part][places]
        scores |= {
            SCORE: lambda tokens: world.score(tokens, whole),
            WHOLE: lambda tokens: (tokens == whole).all(axis=1),
        }
    found = evaluate(
        world.denoiser,
        world.params,
        samplers,
        samples,
        scores,
        key=jax.random.fold_in(key, part),
        temperature=CHOICES[choice],
        canvas=prompts[places],
        execution=Execution(progress=False),
    )
    return {what: dict(zip(found.names, found.values(what))) for what in scores}

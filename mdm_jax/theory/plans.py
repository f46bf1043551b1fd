"""Plans: how many tokens to reveal at each of K steps.

A plan is what a sampler runs and what tuning produces. It comes from a schedule and a rounding rule, or, best of
all, from a model's profile by dynamic programming, for every budget at once.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Float, Int

from mdm_jax.support.errors import InputError, require
from mdm_jax.support.files import read_json, write_json
from mdm_jax.theory import schedule_text
from mdm_jax.theory.profiles import Profile
from mdm_jax.theory.schedules import Beta, Schedule, beta

FORMAT = "mdm_jax plan 1"
BETA_GRID = tuple(round(0.05 * i, 2) for i in range(2, 41))
"""0.1, 0.15, ..., 2.0: the values of ``a`` and of ``b`` that :func:`best_beta` tries; linear and sin^2 are on it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The number of tokens to reveal at each step.

    Attributes:
        sizes: int64[steps], each at least 1, summing to the length. Idle steps of a schedule are dropped when the
            plan is made, so ``steps`` is the number of forward passes.
        name: what to call it in tables and pictures.
        origin: where it came from, as JSON (schedule, rounding, profile digest, expected NELBO).
    """

    sizes: Int[np.ndarray, " steps"]
    name: str
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = np.asarray(self.sizes)
        good = sizes.ndim == 1 and len(sizes) > 0 and sizes.dtype.kind in "iu" and bool((sizes >= 1).all())
        require(good, "sizes", sizes.tolist(), "a non-empty list of whole numbers of at least 1")
        object.__setattr__(self, "sizes", sizes.astype(np.int64))

    @property
    def length(self) -> int:
        """Number of positions that the plan reveals."""
        return int(self.sizes.sum())

    @property
    def steps(self) -> int:
        """Number of steps, that is of forward passes."""
        return len(self.sizes)

    @property
    def knots(self) -> Int[np.ndarray, " knots"]:
        """Tokens revealed before each step and at the end: ``0 = N_0 < ... < N_K = length``."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def to_json(self) -> dict[str, Any]:
        """The content of a plan file."""
        return {
            "format": FORMAT,
            "name": self.name,
            "length": self.length,
            "steps": self.steps,
            "sizes": self.sizes.tolist(),
            "origin": dict(self.origin),
        }

    def save(self, path: str | Path) -> Path:
        """Write the plan as JSON, atomically; ``sizes`` is all that a reader needs."""
        return write_json(path, self.to_json())


def load(path: str | Path) -> Plan:
    """Read a plan file.

    Raises:
        InputError: no such file, not a plan, or sizes that make no plan.
    """
    value = read_json(path, "a plan")
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise InputError(f"{path} is not a plan: its format must be {FORMAT!r}.")
    try:
        sizes = np.asarray(value["sizes"])
        plan = Plan(sizes=sizes, name=str(value.get("name", Path(path).stem)), origin=dict(value.get("origin", {})))
    except InputError as error:
        raise InputError(f"{path} is not a plan: {error}") from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is not a plan: {type(error).__name__} {error}.") from None
    return plan


def uniform(length: int, steps: int) -> Plan:
    """Equal sizes; where ``steps`` does not divide ``length``, the first steps reveal one token more."""
    _check_budget(length, steps)
    base, more = divmod(length, steps)
    return Plan(np.full(steps, base) + (np.arange(steps) < more), name="uniform", origin={"rule": "uniform"})


def from_schedule(schedule: Schedule, length: int, steps: int, name: str | None = None) -> Plan:
    """The sizes by which ``schedule`` reveals ``length`` tokens in ``steps`` equal time steps.

    Rounding is by largest remainder: step ``k`` gets the whole part of ``length (alpha(k/K) - alpha((k-1)/K))``, and
    the tokens left over go to the steps with the largest fractional parts, earlier steps first. Steps that get
    nothing are dropped.
    """
    _check_budget(length, steps)
    sizes = round_sizes(_fractions(schedule, steps), length)
    definition = schedule_text.definition(schedule)
    more = {} if definition is None else {"definition": definition}
    return _rounded_plan(sizes, schedule_text.label(schedule), steps, name=name, **more)


def round_sizes(knots: Float[np.ndarray, "*stack knots"], length: int) -> Int[np.ndarray, "*stack steps"]:
    """Whole sizes that sum to ``length`` from the revealed fractions at the knots, by largest remainder.

    Args:
        knots: ``alpha`` at the ``K + 1`` times, from 0 to 1 along the last axis.
        length: number of tokens.

    Returns:
        int64[*stack, K]; steps may be empty.
    """
    shares = np.maximum(np.diff(knots, axis=-1), 0.0)
    shares = length * shares / shares.sum(-1, keepdims=True)
    whole = np.floor(shares + 1e-6)
    remainders = shares - whole
    left = (length - whole.sum(-1, keepdims=True)).astype(np.int64)
    # Remainders that differ by rounding errors alone count as equal, so that ties go to the earlier step.
    order = np.argsort(-remainders, axis=-1, kind="stable")
    ordered = np.take_along_axis(remainders, order, axis=-1)
    falls = np.diff(ordered, axis=-1, prepend=ordered[..., :1]).astype(np.float64) < -1e-4
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.cumsum(falls, axis=-1), axis=-1)
    rank = np.argsort(np.argsort(place, axis=-1, kind="stable"), axis=-1)
    return whole.astype(np.int64) + (rank < left)


def optimal(profile: Profile, steps: int) -> Plan:
    """The sizes with the smallest expected NELBO among all sizes of at most ``steps`` steps."""
    _check_budget(profile.length, steps)
    return optimal_for_every_budget(profile, steps).plan(steps)


@dataclasses.dataclass(frozen=True, eq=False)
class OptimalPlans:
    """The answer of the dynamic programme for every budget ``K = 1 .. most_steps``.

    Attributes:
        profile: the profile that was optimised.
        nelbo: float64[most_steps]; entry ``K - 1`` is the smallest expected NELBO with at most ``K`` steps, nats.
    """

    profile: Profile
    nelbo: Float[np.ndarray, " most_steps"]
    _previous: Int[np.ndarray, "most_steps knots"] = dataclasses.field(repr=False)

    def sizes(self, steps: int) -> Int[np.ndarray, " used"]:
        """The optimal sizes for a budget of ``steps``; fewer steps where another could not help."""
        _check_budget(len(self.nelbo), steps)
        knot, sizes = self.profile.length, []
        for step in range(steps - 1, -1, -1):
            before = int(self._previous[step, knot])
            sizes.append(knot - before)
            knot = before
        return np.array([n for n in reversed(sizes) if n > 0])

    def plan(self, steps: int) -> Plan:
        """The optimal plan for a budget of ``steps``."""
        sizes = self.sizes(steps)
        origin = {
            "rule": "optimal",
            "steps_asked": steps,
            "expected_nelbo_nats": float(self.nelbo[steps - 1]),
            "profile_digest": self.profile.digest,
        }
        return Plan(sizes, name="optimal", origin=origin)


def optimal_for_every_budget(profile: Profile, most_steps: int | None = None) -> OptimalPlans:
    """Exact optimal sizes for every budget at once, by dynamic programming in float64.

    ``D_k(m) = min_{m' <= m} D_{k-1}(m') + (m - m') g(m')`` is the least expected NELBO of revealing ``m`` tokens in at
    most ``k`` steps. O(K length^2) time, no assumption on ``g`` (it may rise somewhere: learning error, noise).

    Args:
        profile: the model's profile.
        most_steps: the largest budget wanted; ``length`` if left out.

    Source: arXiv 2511.04647; checked against all compositions in tests/theory.
    """
    length = profile.length
    most_steps = length if most_steps is None else most_steps
    _check_budget(length, most_steps)
    start, end = np.arange(length + 1)[:, None], np.arange(length + 1)[None, :]
    g = np.append(profile.values, 0.0)
    cost = np.where(end >= start, (end - start) * g[:, None], np.inf)
    best = np.where(np.arange(length + 1) == 0, 0.0, np.inf)
    nelbo = np.empty(most_steps)
    previous = np.empty((most_steps, length + 1), dtype=np.int32)
    for k in range(most_steps):
        through = best[:, None] + cost
        previous[k] = np.argmin(through, axis=0)
        best = np.take_along_axis(through, previous[k][None, :], axis=0)[0]
        nelbo[k] = best[length]
    return OptimalPlans(profile, nelbo, previous)


def best_beta(profile: Profile, steps: int, grid: Sequence[float] = BETA_GRID) -> tuple[Plan, Float[np.ndarray, "a b"]]:
    """The Beta(a, b) schedule with the smallest expected NELBO at ``steps`` steps, among ``a, b`` in ``grid``.

    Returns:
        The plan, and the landscape: float64[len(grid), len(grid)], expected NELBO in nats at every (a, b).
    """
    _check_budget(profile.length, steps)
    a, b = (x.ravel()[:, None] for x in np.meshgrid(grid, grid, indexing="ij"))
    sizes = round_sizes(_beta_fractions(a, b, steps), profile.length)
    nelbo = profile.expected_nelbo(sizes)
    best = int(np.argmin(nelbo))
    text = schedule_text.text_of(beta(a[best, 0], b[best, 0]))
    searched = {"least": float(min(grid)), "most": float(max(grid)), "values_per_axis": len(grid)}
    plan = _rounded_plan(sizes[best], text, steps, searched=searched, profile_digest=profile.digest)
    return plan, nelbo.reshape(len(grid), len(grid))


def _rounded_plan(sizes: np.ndarray, schedule: str, steps: int, name: str | None = None, **more: Any) -> Plan:
    """The plan of a schedule's rounded sizes, idle steps dropped, with its origin."""
    origin = {"rule": "schedule", "schedule": schedule, "steps_asked": steps, "rounding": "largest remainder", **more}
    return Plan(sizes[sizes > 0], name=name or schedule, origin=origin)


def _fractions(schedule: Schedule, steps: int) -> Float[np.ndarray, " knots"]:
    """``alpha`` at the ``steps + 1`` knots of equal time steps."""
    if isinstance(schedule, Beta):
        return _beta_fractions(np.asarray(schedule.a), np.asarray(schedule.b), steps)
    return np.asarray(schedule.alpha(jnp.asarray(np.arange(steps + 1) / steps, float)), dtype=np.float64)


def _beta_fractions(a: np.ndarray, b: np.ndarray, steps: int) -> Float[np.ndarray, "*stack knots"]:
    """``alpha`` of Beta schedules at the knots, on the host in float64.

    Thousands of schedules take milliseconds, and rounding sees no noise (JAX's ``betainc`` errs by 1e-5 in float32).
    """
    theta = scipy.special.betainc(a, b, np.arange(steps + 1) / steps)
    return np.square(np.sin(0.5 * np.pi * theta))


def _check_budget(length: int, steps: int) -> None:
    whole = isinstance(steps, int | np.integer) and isinstance(length, int | np.integer)
    require(whole and 1 <= steps <= length, "steps", steps, f"a whole number from 1 to {length}")

"""The search for the best Beta schedules of a profile: what is asked, what is looked at, what comes out."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from jaxtyping import Float, Int

from mdm_jax.support.arrays import as_array
from mdm_jax.support.errors import is_list, require, require_whole, verbatim
from mdm_jax.support.progress import bar
from mdm_jax.theory.numerics.given import check_budget
from mdm_jax.theory.plans import rules as plan_rules
from mdm_jax.theory.plans.beta_search.judging import Judge, starts_of
from mdm_jax.theory.plans.beta_search.refining import knots_of, refined
from mdm_jax.theory.plans.beta_search.scoring import Table, scores, single, table_of
from mdm_jax.theory.plans.plan import Plan
from mdm_jax.theory.plans.rounding import round_sizes
from mdm_jax.theory.profiles import Profile, checked_profile
from mdm_jax.theory.schedules import beta
from mdm_jax.theory.schedules import text as schedule_text

LEAST, MOST = 0.05, 50.0
"""Of ``a`` and ``b``."""
GRID = 256
"""Values of ``a`` and of ``b`` that are tried unless others are asked for."""
EVERY_BUDGET = 128
"""Up to this length every budget is searched by default."""
MOST_STEPS = 1024
MOST_VALUES = 1024
"""A finer grid tells nothing that gradients do not find."""
CHUNK = 256
"""Schedules scored together."""


def beta_values(points: int) -> Float[np.ndarray, " points"]:
    """The values of ``a`` and of ``b`` in a search: evenly spaced logarithms, exactly 1/2 and 1 among them.

    At 256 points ``2 ** ((i - 128) / 36)``, from 0.085 to 11.5; fewer points span about as much, more coarsely. So
    linear, Beta(1/2, 1/2), and sine squared, Beta(1, 1), are always on the grid. Float32 holds the values exactly.

    Example:
        >>> from mdm_jax.theory.plans.beta_search import beta_values
        >>> beta_values(8).tolist()
        [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    """
    points = require_whole("points", points, 2)
    exponents = (np.arange(points) - points // 2) / max(1, round(points * 36 / 256))
    return (2.0**exponents).astype(np.float32).astype(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class BetaSearch:
    """The best Beta schedule for each of several budgets, and all that was tried on the grid.

    Attributes:
        profile: the profile that was optimised.
        budgets: numbers of steps, rising.
        values: float64[n], the values of ``a`` and of ``b`` on the grid, rising; float32 holds them exactly.
        landscape: float32[budgets, n, n], the excess NELBO in nats at ``(budget, a, b)``: what the expected NELBO is
            above ``profile.nelbo()``, that of one token per step. Right to 1e-6 of itself, but for cells that rounding
            takes for ties or not for ties; not those that might be the best, which are looked at in float64.
        best: float64[budgets, 2], the best ``(a, b)`` seen, on the grid or off it; float32 holds them exactly.
        nelbo: float64[budgets], the expected NELBO of their plans in nats, as ``profile.expected_nelbo`` has it.
        gradient_steps: steps of refinement that were taken.
    """

    profile: Profile
    budgets: tuple[int, ...]
    values: Float[np.ndarray, " n"]
    landscape: Float[np.ndarray, "budgets n n"] = dataclasses.field(repr=False)
    best: Float[np.ndarray, "budgets 2"]
    nelbo: Float[np.ndarray, " budgets"]
    gradient_steps: int

    def __repr__(self) -> str:
        """How much was searched, and the best of a few budgets."""
        few = [self.budgets[i] for i in np.unique(np.linspace(0, len(self.budgets) - 1, 4).round().astype(int))]
        best = ", ".join(f"{steps} steps {self.plan(steps).name}" for steps in few)
        size = len(self.values)
        return f"BetaSearch({size} x {size} schedules at {_brief(self.budgets)} steps; best: {best})"

    def _repr_html_(self) -> str:
        from mdm_jax.plot import cost_landscapes, drawing  # a notebook alone pays for Matplotlib

        return drawing.fragment(cost_landscapes.of_budgets(self, self.budgets, 4), repr(self))

    def place(self, steps: int) -> int:
        """The index of the budget ``steps``."""
        require(steps in self.budgets, "steps", steps, f"a budget that was searched ({_brief(self.budgets)})")
        return self.budgets.index(steps)

    def plan(self, steps: int) -> Plan:
        """The plan of the best schedule for a budget of ``steps``; named as ``schedule_text.parse`` reads it.

        ``plans.from_schedule`` of that name and budget is the same plan.

        Raises:
            InputError: a budget that was not searched.
        """
        place = self.place(steps)
        a, b = map(np.asarray, self.best[place])
        searched = {
            "least": float(self.values[0]),
            "most": float(self.values[-1]),
            "values_per_axis": len(self.values),
            "gradient_steps": self.gradient_steps,
        }
        more = {"expected_nelbo_nats": float(self.nelbo[place]), "profile_digest": self.profile.measured_digest}
        sizes = round_sizes(plan_rules.beta_fractions(a, b, steps), self.profile.length)
        text = schedule_text.text_of(beta(a, b))
        return plan_rules.rounded_plan(sizes, text, steps, searched=searched, **more)


def default_budgets(length: int) -> tuple[int, ...]:
    """Every number of steps up to a length of 128; for longer ones 1, 2, 3, 4, 6, 8, 12, ... up to 1024."""
    length = require_whole("length", length, 1)
    if length <= EVERY_BUDGET:
        return tuple(range(1, length + 1))
    most = min(length, MOST_STEPS)
    powers = [2**k for k in range(most.bit_length())]
    return tuple(sorted({n for power in powers for n in (power, power * 3 // 2) if n <= most} | {most}))


def asked_budgets(length: int, budgets: Sequence[int] | None) -> tuple[int, ...]:
    """The budgets of a search, rising; :func:`default_budgets` if none are given.

    Raises:
        InputError: no budget, or one that is not from 1 to the length.
    """
    budgets = default_budgets(length) if budgets is None else budgets
    require(is_list(budgets), "budgets", budgets, "a list of numbers of steps")
    require(len(budgets) > 0, "budgets", verbatim("none"), "at least one number of steps")
    for steps in budgets:
        check_budget(length, steps)
    return tuple(sorted({int(steps) for steps in budgets}))


def search(
    profile: Profile,
    budgets: Sequence[int] | None = None,
    *,
    grid: int | Sequence[float] = GRID,
    starts: int = 4,
    gradient_steps: int = 32,
    chunk: int = CHUNK,
    progress: bool = False,
) -> BetaSearch:
    """The Beta(a, b) schedule of least expected NELBO for every budget.

    Every ``a`` and ``b`` of the grid is scored at every budget, then gradients start from the best cells of each.
    One executable serves all profiles of a length (with the same budgets, chunk, starts and gradient steps).

    Args:
        profile: the model's profile.
        budgets: numbers of steps; :func:`default_budgets` if left out.
        grid: how many values of ``a`` and of ``b`` to try (:func:`beta_values`: N x N schedules), or the values
            themselves, rising, from 0.05 to 50; rounded to float32.
        starts: cells per budget to refine, at least six cells apart; 0 for the grid alone.
        gradient_steps: per start.
        chunk: schedules scored together, as many chunks at once as there are processors; memory is about
            ``10 chunk * fractions`` bytes for each of these, with ``0.3 K^2`` fractions for all budgets up to ``K``.
            The result does not depend on it.
        progress: show a progress bar.

    Raises:
        InputError: no budget, one that is not from 1 to the length, or numbers out of range.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(8, 0.5).entropies())
        >>> found = mdm.plans.search_beta(profile, [2, 4], grid=8, gradient_steps=0)
        >>> found.landscape.shape, found.plan(2).sizes.tolist(), mdm.plans.optimal(profile, 2).sizes.tolist()
        ((2, 8, 8), [2, 6], [2, 6])
    """
    length = checked_profile(profile).length
    asked, values = asked_budgets(length, budgets), grid_values(grid)
    starts, gradient_steps = require_whole("starts", starts, 0), require_whole("gradient_steps", gradient_steps, 0)
    chunk = require_whole("chunk", chunk, 1)

    table, refine = table_of(profile), None
    with _workers() as pool:
        if starts and gradient_steps:
            refine = _refiner(pool, np.repeat(asked, starts), values, table, length, gradient_steps)
        landscape = _landscape(pool, values, table, length, asked, chunk, progress)
        judges = [Judge(profile, steps, values, landscape[i]) for i, steps in enumerate(asked)]
        for judge in judges:
            judge.settle()
        if refine is not None:
            cells = np.stack([starts_of(landscape[i], starts) for i in range(len(asked))])  # [budgets, starts, 2]
            visited = refine(values[cells.reshape(-1, 2)])
            for judge, points in zip(judges, visited.reshape(len(asked), -1, 2)):
                judge.hear(points)
    for judge in judges:
        judge.shorten()
    return BetaSearch(
        profile=profile,
        budgets=asked,
        values=values,
        landscape=landscape,
        best=np.array([judge.best for judge in judges]),
        nelbo=np.array([judge.nelbo for judge in judges]),
        gradient_steps=gradient_steps if refine else 0,
    )


@contextlib.contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """A thread for each processor; whatever still waits for one is dropped at the end."""
    mine = getattr(os, "sched_getaffinity", None)
    pool = ThreadPoolExecutor((len(mine(0)) if mine else os.cpu_count()) or 1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _landscape(
    pool: ThreadPoolExecutor,
    values: Float[np.ndarray, " n"],
    table: Table,
    length: int,
    budgets: tuple[int, ...],
    chunk: int,
    progress: bool,
) -> Float[np.ndarray, "budgets n n"]:
    """The excess NELBO of every schedule at every budget; XLA gives a chunk one processor, so that several run at once.

    The program is made here: in a thread of its own JAX would not have the settings of the caller's.
    """
    a, b = (x.ravel().astype(np.float32) for x in np.meshgrid(values, values, indexing="ij"))
    count = len(a)
    chunk = min(chunk, count)
    padded = np.pad(np.arange(count), (0, -count % chunk), mode="edge").reshape(-1, chunk)
    landscape = np.empty((len(budgets), padded.size), np.float32)
    program = scores.lower(a[padded[0]], b[padded[0]], table, length, budgets).compile()

    def excess(cells: np.ndarray) -> np.ndarray:
        return np.asarray(program(a[cells], b[cells], table))

    with bar(count * len(budgets), "search", "pair", progress) as advance:
        for i, scored in enumerate(pool.map(excess, padded)):
            landscape[:, i * chunk : (i + 1) * chunk] = scored
            advance(min(chunk, count - i * chunk) * len(budgets))
    return landscape[:, :count].reshape(len(budgets), len(values), len(values))


def _refiner(
    pool: ThreadPoolExecutor,
    steps: Int[np.ndarray, " points"],
    values: Float[np.ndarray, " n"],
    table: Table,
    length: int,
    gradient_steps: int,
) -> Callable[[np.ndarray], np.ndarray]:
    """From where points start to where gradients lead them; its program is compiled while schedules are scored."""
    knots, bounds = knots_of(steps), single(np.log([values[0], values[-1]]))
    begin = jax.ShapeDtypeStruct((len(steps), 2), np.float32)
    program = pool.submit(refined.lower(begin, knots, table, bounds, length, gradient_steps).compile)

    def refine(points: np.ndarray) -> np.ndarray:
        found = program.result()(single(np.log(points)), knots, table, bounds)
        return np.clip(np.asarray(found), values[0], values[-1]).astype(np.float64)

    return refine


def grid_values(grid: int | Sequence[float]) -> Float[np.ndarray, " n"]:
    """The values of ``a`` and ``b`` that ``grid`` asks for, checked; float32 holds them exactly."""
    if isinstance(grid, int | np.integer) and not isinstance(grid, bool):
        values = beta_values(require_whole("grid", grid, 2, MOST_VALUES))
        return values[values >= LEAST]  # of all grids, that of ten values begins lower
    given = as_array(grid)
    numbers = given.ndim == 1 and len(given) > 0 and given.dtype.kind in "fiu"
    values = given.astype(np.float32).astype(np.float64) if numbers else np.zeros(0)
    good = numbers and bool(np.all(np.diff(values) > 0) and values[0] >= np.float32(LEAST) and values[-1] <= MOST)
    wanted = f"a number of values, 2 to {MOST_VALUES}, or rising numbers from {LEAST:g} to {MOST:g}"
    require(good, "grid", given.tolist() if numbers else grid, wanted)
    return values


def _brief(budgets: Sequence[int]) -> str:
    return ", ".join(map(str, budgets)) if len(budgets) <= 12 else f"{len(budgets)} from {budgets[0]} to {budgets[-1]}"

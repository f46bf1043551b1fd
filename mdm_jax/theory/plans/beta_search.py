r"""The best Beta(a, b) schedules of a profile, for many budgets at once: a compiled search, then gradients.

A budget of ``K`` steps and a schedule ``alpha(t) = sin^2(pi/2 I_t(a, b))`` make sizes by largest remainder
(:func:`mdm_jax.theory.plans.round_sizes`), and these the expected NELBO ``sum_k n_k g(N_{k-1})``. That is a number
for every ``(a, b, K)``: 256 x 256 schedules at every ``K`` from 1 to 128 are 8.4 million of them.

**Scoring.** All budgets ask for ``alpha`` at the same fractions ``k / K``, of which only some 5,000 are distinct up to
``K = 128``. One pass along the sorted union of these fractions and a base grid gives a schedule's ``I_t`` at all of
them: two-point Gauss quadrature of the density in every interval, a series beyond the outermost nodes, running sums,
divided by the total. Rounding needs no sorting: the smallest remainder that still earns a token is found by
bisection, and whoever ties with it is served in order. Schedules go through one executable in chunks; the profile is an
argument of it.

**Refining.** Sizes are whole, so the cost is piecewise constant. Gradients follow a smooth one instead, the left
Riemann sum of the interpolated ``g`` at unrounded knots, in ``log a`` and ``log b``; every point on the way is rounded,
and the best one kept.

**What is reported** is computed again on the host in float64. In float32 a remainder within about 1e-5 of what
counts as a tie may fall on the other side of it, which moves one token. The landscape has such cells
(``tests/theory/test_beta_search.py`` counts them); its winners are not among them.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence, Set
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.progress import bar
from mdm_jax.theory.numerics.beta_function import incomplete_beta
from mdm_jax.theory.numerics.given import check_budget
from mdm_jax.theory.plans import rules as plan_rules
from mdm_jax.theory.plans.plan import Plan
from mdm_jax.theory.plans.rounding import TIE, round_sizes
from mdm_jax.theory.profiles import Profile, checked_profile
from mdm_jax.theory.schedules import HALF_PI, beta
from mdm_jax.theory.schedules import text as schedule_text

LEAST, MOST = 0.05, 50.0
"""Of ``a`` and ``b``."""
EVERY_BUDGET = 128
"""Up to this length every budget is searched by default."""
MOST_STEPS = 1024
CHUNK = 256
"""Schedules scored together."""
_BASE, _FIRST, _SERIES = 512, 1 / 256, 12
"""Intervals of the base grid, equal in log-odds from 1/256 on; terms of the series beyond."""
_BLOCK = 16
_APART = 6
_RATE = (0.03, 0.002)
"""Of the gradient steps, first and last, in log a and log b (cells of the default grid are 0.02 apart)."""
_VERIFIED = 16
_NOISE = 1e-6
"""Of an excess in float32, relative; and a thousandth of it per token and nat of the profile's range, absolute."""
# sin(pi x) / x in x^2 for |x| <= 1/2, to 7e-9: XLA's sine reduces its argument first, which costs twenty times as much.
_SINE = (3.14159264, -5.167710084, 2.550077523, -0.5982912856, 0.07765766031)


def beta_values(points: int) -> Float[np.ndarray, " points"]:
    """The values of ``a`` and of ``b`` in a search: evenly spaced logarithms, exactly 1/2 and 1 among them.

    At 256 points ``2 ** ((i - 128) / 36)``, from 0.085 to 11.5; fewer points span about as much, more coarsely. So
    linear, Beta(1/2, 1/2), and sine squared, Beta(1, 1), are always on the grid. Float32 holds the values exactly.

    >>> beta_values(8).tolist()
    [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    """
    points = require_whole("points", points, 2)
    exponents = (np.arange(points) - points // 2) / max(1, round(points * 36 / 256))
    return (2.0**exponents).astype(np.float32).astype(np.float64)


VALUES = tuple(beta_values(256).tolist())
"""0.085 to 11.5: what :func:`search` tries."""


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
        more = {"expected_nelbo_nats": float(self.nelbo[place]), "profile_digest": self.profile.digest}
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


def search(
    profile: Profile,
    budgets: Sequence[int] | None = None,
    *,
    values: Sequence[float] | None = None,
    starts: int = 4,
    gradient_steps: int = 32,
    chunk: int = CHUNK,
    progress: bool = False,
) -> BetaSearch:
    """The Beta(a, b) schedule of least expected NELBO for every budget.

    Every ``a`` and ``b`` in ``values`` is scored at every budget, then gradients start from the best cells of each.
    One executable serves all profiles of a length (with the same budgets, chunk, starts and gradient steps).

    Args:
        profile: the model's profile.
        budgets: numbers of steps; :func:`default_budgets` if left out.
        values: of ``a`` and of ``b``, rising, from 0.05 to 50; rounded to float32. :data:`VALUES` if left out.
        starts: cells per budget to refine, at least six cells apart; 0 for the grid alone.
        gradient_steps: per start.
        chunk: schedules scored together; memory is about ``40 chunk * fractions`` bytes, with ``0.3 K^2`` fractions for
            all budgets up to ``K``. The result does not depend on it.
        progress: show a progress bar.

    Raises:
        InputError: no budget, one that is not from 1 to the length, or numbers out of range.
    """
    length = checked_profile(profile).length
    budgets = default_budgets(length) if budgets is None else budgets
    listed = np.ndim(budgets) == 1 if hasattr(budgets, "shape") else isinstance(budgets, Sequence | Set)
    require(listed and not isinstance(budgets, str), "budgets", budgets, "a list of numbers of steps")
    require(len(budgets) > 0, "budgets", verbatim("none"), "at least one number of steps")
    for steps in budgets:
        check_budget(length, steps)
    asked = tuple(sorted({int(steps) for steps in budgets}))
    values = VALUES if values is None else values
    grid = np.asarray(values, np.float32).astype(np.float64)
    good = grid.ndim == 1 and len(grid) > 0 and bool(np.all(np.diff(grid) > 0))
    inside = good and bool(grid[0] >= np.float32(LEAST) and grid[-1] <= MOST)
    require(inside, "values", list(values), f"rising numbers from {LEAST:g} to {MOST:g}")
    starts, gradient_steps = require_whole("starts", starts, 0), require_whole("gradient_steps", gradient_steps, 0)
    chunk = require_whole("chunk", chunk, 1)

    table = _table(profile)
    size = len(grid)
    a, b = (x.ravel() for x in np.meshgrid(grid, grid, indexing="ij"))
    chunk = min(chunk, len(a))
    landscape = np.empty((len(asked), len(a)), np.float32)
    padded = np.pad(np.arange(len(a)), (0, -len(a) % chunk), mode="edge").reshape(-1, chunk)
    refining = starts > 0 and gradient_steps > 0
    with bar(len(a) * len(asked), "search", "pair", progress) as advance:
        for i, cells in enumerate(padded):
            excess = _scores(_single(a[cells]), _single(b[cells]), table, length, asked)
            done = min(chunk, len(a) - i * chunk)
            landscape[:, i * chunk : i * chunk + done] = np.asarray(excess)[:, :done]
            advance(done * len(asked))
    landscape = landscape.reshape(len(asked), size, size)

    judges = [_Judge(profile, steps, grid, landscape[i]) for i, steps in enumerate(asked)]
    for judge in judges:
        judge.settle()
    if refining:
        cells = np.stack([_starts(landscape[i], starts) for i in range(len(asked))])  # [budgets, starts, 2]
        knots = _knots(np.repeat(asked, starts))
        begin, bounds = _single(np.log(grid[cells.reshape(-1, 2)])), _single(np.log([grid[0], grid[-1]]))
        found = _refined(begin, knots, table, bounds, length, gradient_steps)
        visited = np.clip(np.asarray(found), grid[0], grid[-1]).astype(np.float64)
        for judge, points in zip(judges, visited.reshape(len(asked), -1, 2)):
            judge.hear(points)
    for judge in judges:
        judge.shorten()
    return BetaSearch(
        profile=profile,
        budgets=asked,
        values=grid,
        landscape=landscape,
        best=np.array([judge.best for judge in judges]),
        nelbo=np.array([judge.nelbo for judge in judges]),
        gradient_steps=gradient_steps if refining else 0,
    )


# ------------------------------------------------------------------------------------------------- on the host


class _Judge:
    """Keeps the best schedule of one budget; its costs are exact."""

    def __init__(self, profile: Profile, steps: int, grid: np.ndarray, landscape: np.ndarray) -> None:
        self.profile, self.steps, self.grid, self.landscape = profile, steps, grid, landscape
        self.floor = profile.nelbo()
        self.noise = 1e-3 * _NOISE * profile.length * float(np.ptp(profile.values))
        # Where nothing is better (one step, say, or one token per step), linear.
        near = grid[np.argmin(np.abs(np.log(grid / 0.5)))]
        self.best, self.nelbo, self.least = np.array([near, near]), math.inf, math.inf
        self.hear(self.best[None])

    def costs(self, points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, " points"]:
        """Expected NELBO in nats, float64."""
        knots = plan_rules.beta_fractions(points[:, :1], points[:, 1:], self.steps)
        return self.profile.expected_nelbo(round_sizes(knots, self.profile.length))

    def hear(self, points: Float[np.ndarray, "points 2"], ties: bool = False) -> Float[np.ndarray, " points"]:
        """Keep the best of ``points`` if it is better than what was (or, with ``ties``, as good); all their costs."""
        costs = self.costs(points)
        i = int(np.argmin(costs))
        noise = 1e-13 * abs(costs[i])
        if costs[i] <= self.nelbo + noise if ties else costs[i] < self.nelbo - noise:
            self.best, self.nelbo = points[i], float(costs[i])
        return costs

    def settle(self) -> None:
        """Look at the best cells of the landscape until no other can be better; put right those that are wrong."""
        left = self.landscape.copy()
        few = min(_VERIFIED, left.size)
        while np.isfinite(left.min()) and (left.min() < self.least or np.isinf(self.least)):
            i, j = np.unravel_index(np.argpartition(left, few - 1, axis=None)[:few], left.shape)
            excess = self.hear(self.grid[np.stack([i, j], axis=1)]) - self.floor
            wrong = np.abs(self.landscape[i, j] - excess) > _NOISE * np.abs(excess) + self.noise
            self.landscape[i[wrong], j[wrong]] = excess[wrong]
            left[i, j] = np.inf
            self.least = self.nelbo - self.floor - _NOISE * abs(self.nelbo - self.floor) - self.noise

    def shorten(self) -> None:
        """Take two, three or four digits of ``a`` and ``b`` where they do as well."""
        for digits in (2, 3, 4):
            short = np.array([float(f"{x:.{digits - 1}e}") for x in self.best]).astype(np.float32).astype(np.float64)
            if self.grid[0] <= short.min() and short.max() <= self.grid[-1]:
                self.hear(short[None], ties=True)
            if np.array_equal(self.best, short):
                return


def _starts(landscape: Float[np.ndarray, "n n"], starts: int) -> Int[np.ndarray, "starts 2"]:
    """The best cells, each at least ``_APART`` cells from the others (fewer of them repeat the last)."""
    left, cells = landscape.copy(), []
    for _ in range(starts):
        i, j = (int(x) for x in np.unravel_index(np.argmin(left), left.shape))
        cells.append((i, j) if np.isfinite(left[i, j]) else cells[-1])
        left[max(i - _APART + 1, 0) : i + _APART, max(j - _APART + 1, 0) : j + _APART] = np.inf
    return np.array(cells)


class _Table(NamedTuple):
    """``g`` less its last value, in two whole numbers: ``unit * (ticks + fine / scale)``.

    The excess is a small difference of large sums; those of whole numbers are exact, and fast.

    Attributes:
        ticks: int32[length + 1], 0 at the length.
        fine: int32[length + 1].
        unit: float32[], nats.
        scale: float32[].
        heights: float32[length + 1], all of it, in nats.
    """

    ticks: Int[Array, " knots"]
    fine: Int[Array, " knots"]
    unit: Float[Array, ""]
    scale: Float[Array, ""]
    heights: Float[Array, " knots"]


def _table(profile: Profile) -> _Table:
    above_last = np.append(profile.values - profile.values[-1], 0.0)
    unit = float(np.float32(profile.length * np.abs(above_last).max() / 2**29)) or 1.0
    scale = 2.0 ** (30 - profile.length.bit_length())
    ticks = np.rint(above_last / unit)
    fine = np.rint((above_last / unit - ticks) * scale)
    whole = (jnp.asarray(x, jnp.int32) for x in (ticks, fine))
    return _Table(*whole, *(_single(x) for x in (unit, scale, above_last)))


def _single(x: np.ndarray | float) -> Array:
    return jnp.asarray(x, jnp.float32)


def _brief(budgets: Sequence[int]) -> str:
    return ", ".join(map(str, budgets)) if len(budgets) <= 12 else f"{len(budgets)} from {budgets[0]} to {budgets[-1]}"


# ------------------------------------------------------------------------------------------- scoring, compiled


class _Fractions(NamedTuple):
    """Where the density is integrated; NumPy arrays, constants of the executable.

    Attributes:
        first: the outermost nodes are ``first`` and ``1 - first``.
        logs: float64[2, 2, nodes - 1]: ``log t`` and ``log(1 - t)`` at the two Gauss points of every interval.
        log_halves: float64[nodes - 1], logarithms of half the intervals.
        places: for every budget int32[K - 1], the nodes that are ``1/K .. (K - 1)/K``.
    """

    first: float
    logs: Float[np.ndarray, "2 2 intervals"]
    log_halves: Float[np.ndarray, " intervals"]
    places: tuple[Int[np.ndarray, " inside"], ...]


@functools.lru_cache(maxsize=8)
def _fractions(budgets: tuple[int, ...]) -> _Fractions:
    inside = [np.arange(1, steps) / steps for steps in budgets]  # equal ratios are equal floats
    asked = np.unique(np.concatenate([*inside, [0.5]]))
    first = min(_FIRST, float(asked[0]))
    end = math.log(first) - math.log1p(-first)
    odds = np.linspace(end, -end, _BASE + 1)
    base = 1 / (1 + np.exp(-odds))
    base[0], base[-1] = first, 1 - first
    nodes = np.unique(np.concatenate([asked, base]))
    nodes = nodes[np.append(True, np.diff(nodes) > 1e-12) | np.isin(nodes, asked)]
    middle, half = (nodes[1:] + nodes[:-1]) / 2, np.diff(nodes) / 2
    points = np.stack([middle - half / math.sqrt(3), middle + half / math.sqrt(3)])
    places = tuple(np.searchsorted(nodes, fractions).astype(np.int32) for fractions in inside)
    return _Fractions(float(nodes[0]), np.stack([np.log(points), np.log1p(-points)]), np.log(half), places)


@functools.partial(jax.jit, static_argnames=("length", "budgets"))
def _scores(
    a: Float[Array, " chunk"],
    b: Float[Array, " chunk"],
    table: _Table,
    length: int,
    budgets: tuple[int, ...],
) -> Float[Array, "budgets chunk"]:
    """The excess NELBO in nats of every schedule at every budget."""
    fractions = _fractions(budgets)
    alpha = _alpha(a, b, fractions).T  # nodes first: picking rows is several times as fast as picking columns
    groups: dict[int, list[int]] = {}
    for i, steps in enumerate(budgets):
        groups.setdefault(_padded(steps, max(budgets)), []).append(i)
    order, costs = [], []
    for width, members in groups.items():
        places = np.zeros((len(members), width + 1), np.int32)
        for row, i in enumerate(members):
            places[row, 1 : budgets[i]] = fractions.places[i]
        steps = np.array([budgets[i] for i in members], np.int32)

        def of_budget(at: tuple[Array, Array], width: int = width) -> Array:
            steps, places = at
            k = jnp.arange(width + 1, dtype=steps.dtype)[:, None]
            inside = alpha.at[places].get(mode="promise_in_bounds")
            knots = jnp.where(k == 0, 0.0, jnp.where(k >= steps, 1.0, inside))
            return _excess(knots.T, jnp.broadcast_to(steps, a.shape), table, length)

        costs.append(jax.lax.map(of_budget, (jnp.asarray(steps), jnp.asarray(places))))
        order += members
    return jnp.concatenate(costs)[np.argsort(order)]


def _padded(steps: int, most: int) -> int:
    """The next of 4, 6, 8, 12, 16, 24, 32, ...: budgets that share a shape, little of which is padding.

    Nothing below an eighth of the largest: such budgets cost little, and every shape takes time to compile.
    """
    width = 4
    while width < max(steps, most // 8):
        width = width * 3 // 2 if width & (width - 1) == 0 else width * 4 // 3
    return width


def _alpha(a: Float[Array, " chunk"], b: Float[Array, " chunk"], at: _Fractions) -> Float[Array, "chunk nodes"]:
    """``sin^2(pi/2 I_t(a, b))`` at the nodes, with an absolute error of about 3e-7."""
    p, q = jnp.maximum(a - 1, 0.0), jnp.maximum(b - 1, 0.0)
    # the peak of t^p (1-t)^q: nothing overflows, and what underflows weighs nothing
    whole = jnp.maximum(p + q, 1e-30)
    peak = p * jnp.log(jnp.maximum(p / whole, 1e-30)) + q * jnp.log(jnp.maximum(q / whole, 1e-30))
    log_t, log_u = (jnp.asarray(x, jnp.float32) for x in at.logs)
    halves = jnp.asarray(at.log_halves, jnp.float32)

    def mass(point: int) -> Array:
        powers = (a - 1)[:, None] * log_t[point][None, :] + (b - 1)[:, None] * log_u[point][None, :]
        return jnp.exp(powers + (halves[None, :] - peak[:, None]))

    masses = mass(0) + mass(1)
    left, right = _end_mass(a, b, at.first, peak), _end_mass(b, a, at.first, peak)
    sums = _running_sums(jnp.concatenate([left[:, None], masses], axis=1))
    theta = sums / (sums[:, -1:] + right[:, None])
    x = theta - 0.5
    square = x * x
    sine = jnp.full_like(x, _SINE[-1])
    for coefficient in _SINE[-2::-1]:
        sine = sine * square + coefficient
    return 0.5 + 0.5 * sine * x


def _end_mass(a: Array, b: Array, first: float, peak: Array) -> Array:
    """The density's integral from 0 to ``first``: ``x^a (1-x)^b / a sum_n (a+b)_n / (a+1)_n x^n`` (DLMF 8.17.8)."""
    term, series = jnp.ones_like(a), jnp.ones_like(a)
    for n in range(_SERIES):
        term = term * (a + b + n) / (a + 1 + n) * first
        series = series + term
    return jnp.exp(a * math.log(first) + b * math.log1p(-first) - peak) * series / a


def _running_sums(x: Float[Array, "rows n"]) -> Float[Array, "rows n"]:
    """Inclusive sums along the rows, by small triangular products: exact for whole numbers below 2^24.

    XLA's own on CPU takes two to four times as long.
    """
    rows, n = x.shape
    if n <= _BLOCK:
        return _product(x, np.triu(np.ones((n, n))))
    blocks = jnp.pad(x, ((0, 0), (0, -n % _BLOCK))).reshape(rows, -1, _BLOCK)
    inside = _product(blocks, np.triu(np.ones((_BLOCK, _BLOCK))))
    ends = inside[:, :, -1]
    before = _running_sums(ends) - ends
    return (inside + before[:, :, None]).reshape(rows, -1)[:, :n]


def _product(x: Array, matrix: np.ndarray) -> Array:
    return jnp.matmul(x, jnp.asarray(matrix, x.dtype), precision=jax.lax.Precision.HIGHEST)


def _excess(
    knots: Float[Array, "rows knots"], steps: Int[Array, " rows"], table: _Table, length: int
) -> Float[Array, " rows"]:
    """The excess ``sum_k n_k g(N_{k-1}) - sum_i g(i)`` in nats, for sizes that ``rounding.round_sizes`` would make.

    Args:
        knots: ``alpha`` at ``k / steps``; 1 from ``k = steps`` on.
        steps: what of a row is not padding.
        table: of the profile.
        length: number of tokens.
    """
    width = knots.shape[1] - 1
    shares = length * jnp.maximum(knots[:, 1:] - knots[:, :-1], 0.0)
    whole = jnp.floor(shares + 1e-5).astype(jnp.int32)
    left = length - jnp.sum(whole, axis=1, dtype=jnp.int32)
    # Remainders in whole numbers: XLA's minima and sums of floats on CPU go one number at a time.
    rest = jnp.maximum((shares - whole.astype(shares.dtype)) * 2**24, 0.0).astype(jnp.int32)
    rest = jnp.where(jnp.arange(width, dtype=steps.dtype)[None, :] < steps[:, None], rest, -(2**24))

    # The `left`-th largest remainder is found to 15 bits, and among those that agree so far the least is taken.
    # (16-bit numbers, because twice as many of them are compared at once.)
    count = jnp.int16 if width < 2**15 else jnp.int32
    coarse, wanted = (rest >> 9).astype(count), left.astype(count)

    def halve(i: Array, low: Array) -> Array:
        middle = low + (1 << (14 - i)).astype(count)
        enough = jnp.sum(coarse >= middle[:, None], axis=1, dtype=count) >= wanted
        return jnp.where(enough, middle, low)

    low = jax.lax.fori_loop(0, 15, halve, jnp.zeros_like(wanted))
    least = jnp.min(jnp.where(coarse >= low[:, None], rest, 2**25), axis=1, keepdims=True)
    tie = round(TIE * 2**24)
    exceeds = rest > least + tie
    above, tied = exceeds.astype(jnp.int32), ((rest >= least - tie) & ~exceeds).astype(jnp.int32)
    room = left - jnp.sum(above, axis=1, dtype=jnp.int32)
    # Two running sums in one: tokens dealt out, and steps that share what is left, earlier ones first.
    bits = width.bit_length()
    if (length + 1) << bits < 2**24:
        both = _running_sums((((whole + above) << bits) + tied).astype(jnp.float32)).astype(jnp.int32)
        dealt, ties = both >> bits, both & ((1 << bits) - 1)
    else:
        dealt, ties = jnp.cumsum(whole + above, axis=1, dtype=jnp.int32), jnp.cumsum(tied, axis=1, dtype=jnp.int32)
    ends = dealt + jnp.minimum(ties, room[:, None])
    begins = jnp.pad(ends[:, :-1], ((0, 0), (1, 0)))
    ticks, fine = (
        jnp.sum((ends - begins) * x.at[begins].get(mode="clip"), axis=1, dtype=x.dtype) - jnp.sum(x, dtype=x.dtype)
        for x in (table.ticks, table.fine)
    )
    return table.unit * (ticks.astype(jnp.float32) + fine.astype(jnp.float32) / table.scale)


# ------------------------------------------------------------------------------------------ refining, compiled


class _Knots(NamedTuple):
    """The times at which points on the way are looked at, one after the other: no padding where time is spent.

    Attributes:
        steps: int32[points], the budget of each point.
        owner: int32[pairs], the point of each time.
        times: float32[2, pairs], ``t = k / K`` and ``1 - t``.
        spread: int32[points, most + 1], where among the pairs ``k = 0 .. K`` of a point are; then ``K`` again.
    """

    steps: Int[Array, " points"]
    owner: Int[Array, " pairs"]
    times: Float[Array, "2 pairs"]
    spread: Int[Array, "points knots"]


def _knots(steps: Int[np.ndarray, " points"]) -> _Knots:
    owner = np.repeat(np.arange(len(steps)), steps + 1)
    before = np.cumsum(steps + 1) - (steps + 1)
    k = np.arange(len(owner)) - before[owner]
    times = np.stack([k, steps[owner] - k]) / steps[owner]
    spread = before[:, None] + np.minimum(np.arange(steps.max() + 1), steps[:, None])
    whole = {"steps": steps, "owner": owner, "spread": spread}
    return _Knots(times=_single(times), **{name: jnp.asarray(x, jnp.int32) for name, x in whole.items()})


def _smooth(
    logs: Float[Array, "points 2"], knots: _Knots, heights: Float[Array, " heights"], length: int
) -> tuple[Float[Array, " points"], Float[Array, "points 2"], Float[Array, "points knots"]]:
    """The cost of unrounded knots, ``sum_k (N_k - N_{k-1}) heights(N_{k-1})``, straight between whole numbers.

    Args:
        logs: ``log a`` and ``log b``.
        knots: of the points' budgets.
        heights: of :class:`_Table`.
        length: number of tokens.

    Returns:
        The cost, its gradient in ``logs``, and ``alpha`` at the knots.
    """

    def angle(both: Array) -> Array:
        a, b = jnp.exp(both)
        return incomplete_beta(a, b, knots.times[0], knots.times[1])[0]

    def angle_and_slope(direction: Array) -> tuple[Array, Array]:
        return jax.jvp(angle, (both,), (jnp.broadcast_to(direction[:, None], both.shape),))

    def cost(theta: Array) -> tuple[Array, Array]:
        alpha = jnp.square(jnp.sin(HALF_PI * theta))
        revealed = length * alpha
        cell = jnp.clip(jax.lax.stop_gradient(revealed).astype(jnp.int32), 0, length - 1)
        height = heights[cell] + (revealed - cell.astype(revealed.dtype)) * (heights[cell + 1] - heights[cell])
        return jnp.sum((revealed[:, 1:] - revealed[:, :-1]) * height[:, :-1], axis=1), alpha

    both = logs[knots.owner].T
    theta, slopes = jax.vmap(angle_and_slope, out_axes=(None, 0))(jnp.eye(2, dtype=both.dtype))
    value, pull, alpha = jax.vjp(cost, theta[knots.spread], has_aux=True)
    slope = pull(jnp.ones_like(value))[0]
    gradient = jnp.stack([jnp.sum(slope * by[knots.spread], axis=1) for by in slopes], axis=1)
    return value, gradient, alpha


@functools.partial(jax.jit, static_argnames=("length", "gradient_steps"))
def _refined(
    begin: Float[Array, "points 2"],
    knots: _Knots,
    table: _Table,
    bounds: Float[Array, " 2"],
    length: int,
    gradient_steps: int,
) -> Float[Array, "points 2"]:
    """The ``(a, b)`` of least rounded cost on the way down from each start."""
    descent = optax.adam(optax.exponential_decay(_RATE[0], max(gradient_steps, 1), _RATE[1] / _RATE[0]), b1=0.7, b2=0.9)

    def step(state: tuple, _: None) -> tuple[tuple, None]:
        logs, memory, best, least = state
        gradient, alpha = _smooth(logs, knots, table.heights, length)[1:]
        cost = _excess(alpha, knots.steps, table, length)
        better = cost < least
        best, least = jnp.where(better[:, None], logs, best), jnp.where(better, cost, least)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes types
            change, memory = descent.update(gradient.astype(logs.dtype), memory)
        logs = jnp.clip(logs + change, bounds[0], bounds[1]).astype(logs.dtype)
        return (logs, memory, best, least), None

    state = (begin, descent.init(begin), begin, jnp.full(len(begin), jnp.inf, begin.dtype))
    (_, _, best, _), _ = jax.lax.scan(step, state, None, length=gradient_steps + 1)
    return jnp.exp(best)

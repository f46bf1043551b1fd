"""Scoring, compiled: the excess NELBO of many Beta schedules at many budgets, in float32 and whole numbers."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mdm_jax.theory.plans.rounding import TIE
from mdm_jax.theory.profiles import Profile

_BASE, _FIRST, _SERIES = 512, 1 / 256, 12
"""Intervals of the base grid, equal in log-odds from 1/256 on; terms of the series beyond."""
_BLOCK = 16
# sin(pi x) / x in x^2 for |x| <= 1/2, to 7e-9: XLA's sine reduces its argument first, which costs twenty times as much.
_SINE = (3.14159264, -5.167710084, 2.550077523, -0.5982912856, 0.07765766031)


class Table(NamedTuple):
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


def table_of(profile: Profile) -> Table:
    above_last = np.append(profile.values - profile.values[-1], 0.0)
    unit = float(np.float32(profile.length * np.abs(above_last).max() / 2**29)) or 1.0
    scale = 2.0 ** (30 - profile.length.bit_length())
    ticks = np.rint(above_last / unit)
    fine = np.rint((above_last / unit - ticks) * scale)
    whole = (jnp.asarray(x, jnp.int32) for x in (ticks, fine))
    return Table(*whole, *(single(x) for x in (unit, scale, above_last)))


def single(x: np.ndarray | float) -> Array:
    return jnp.asarray(x, jnp.float32)


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
def scores(
    a: Float[Array, " chunk"],
    b: Float[Array, " chunk"],
    table: Table,
    length: int,
    budgets: tuple[int, ...],
) -> Float[Array, "budgets chunk"]:
    """The excess NELBO in nats of every schedule at every budget."""
    fractions = _fractions(budgets)
    # Nodes first, and 0 and 1 among them: knots are rows of it, picked as they are. (Picking columns, writing the ends
    # over them or transposing is done anew in every loop that reads them, which cost three times as much.)
    ends = jnp.asarray([[0.0], [1.0]], jnp.float32)
    alpha = jnp.concatenate([_alpha(a, b, fractions).T, jnp.broadcast_to(ends, (2, len(a)))])
    zero, one = alpha.shape[0] - 2, alpha.shape[0] - 1
    groups: dict[int, list[int]] = {}
    for i, steps in enumerate(budgets):
        groups.setdefault(_padded(steps, max(budgets)), []).append(i)
    order, costs = [], []
    for width, members in groups.items():
        places = np.full((len(members), width + 1), one, np.int32)
        places[:, 0] = zero
        for row, i in enumerate(members):
            places[row, 1 : budgets[i]] = fractions.places[i]
        steps = np.array([budgets[i] for i in members], np.int32)

        def of_budget(at: tuple[Array, Array]) -> Array:
            steps, places = at
            knots = alpha.at[places].get(mode="promise_in_bounds")
            return excess_of(knots, jnp.broadcast_to(steps, a.shape), table, length)

        costs.append(jax.lax.map(of_budget, (jnp.asarray(steps), jnp.asarray(places))))
        order += members
    return jnp.concatenate(costs)[np.argsort(order)]


def _padded(steps: int, most: int) -> int:
    """The next of 4, 6, 8, 12, 16, 24, 32, ...: budgets that share a shape, little of which is padding.

    Nothing below a quarter of the largest: such budgets cost little, and every shape takes time to compile.
    """
    width = 4
    while width < max(steps, most // 4):
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


def excess_of(
    knots: Float[Array, "knots schedules"], steps: Int[Array, " schedules"], table: Table, length: int
) -> Float[Array, " schedules"]:
    """The excess ``sum_k n_k g(N_{k-1}) - sum_i g(i)`` in nats, for sizes that ``rounding.round_sizes`` would make.

    Args:
        knots: ``alpha`` at ``k / steps``; 1 from ``k = steps`` on.
        steps: what of a schedule is not padding.
        table: of the profile.
        length: number of tokens.
    """
    width = knots.shape[0] - 1
    shares = length * jnp.maximum(knots[1:] - knots[:-1], 0.0)
    whole = jnp.floor(shares + 1e-5).astype(jnp.int32)
    left = length - jnp.sum(whole, axis=0, dtype=jnp.int32)
    # Remainders in whole numbers, whose sums and minima are exact.
    rest = jnp.maximum((shares - whole.astype(shares.dtype)) * 2**24, 0.0).astype(jnp.int32)
    rest = jnp.where(jnp.arange(width, dtype=steps.dtype)[:, None] < steps[None, :], rest, -(2**24))

    # The `left`-th largest remainder is found to 15 bits, and among those that agree so far the least is taken.
    # (16-bit numbers, because twice as many of them are compared at once.)
    count = jnp.int16 if width < 2**15 else jnp.int32
    coarse, wanted = (rest >> 9).astype(count), left.astype(count)

    def halve(i: Array, low: Array) -> Array:
        middle = low + (1 << (14 - i)).astype(count)
        enough = jnp.sum(coarse >= middle[None, :], axis=0, dtype=count) >= wanted
        return jnp.where(enough, middle, low)

    low = jax.lax.fori_loop(0, 15, halve, jnp.zeros_like(wanted))
    least = jnp.min(jnp.where(coarse >= low[None, :], rest, 2**25), axis=0, keepdims=True)
    tie = round(TIE * 2**24)
    exceeds = rest > least + tie
    above, tied = exceeds.astype(jnp.int32), ((rest >= least - tie) & ~exceeds).astype(jnp.int32)
    room = left - jnp.sum(above, axis=0, dtype=jnp.int32)
    # Tokens dealt out, and steps that share what is left, earlier ones first: two running sums, in one where they fit.
    bits = width.bit_length()
    if (length + 1) << bits < 2**31:
        both = jnp.cumsum(((whole + above) << bits) + tied, axis=0, dtype=jnp.int32)
        dealt, ties = both >> bits, both & ((1 << bits) - 1)
    else:
        dealt, ties = jnp.cumsum(whole + above, axis=0, dtype=jnp.int32), jnp.cumsum(tied, axis=0, dtype=jnp.int32)
    ends = dealt + jnp.minimum(ties, room[None, :])
    begins = jnp.pad(ends[:-1], ((1, 0), (0, 0)))
    ticks, fine = (
        jnp.sum((ends - begins) * x.at[begins].get(mode="clip"), axis=0, dtype=x.dtype) - jnp.sum(x, dtype=x.dtype)
        for x in (table.ticks, table.fine)
    )
    return table.unit * (ticks.astype(jnp.float32) + fine.astype(jnp.float32) / table.scale)

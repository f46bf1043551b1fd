r"""The three energies of a masked diffusion by brute force: every state, every rate, from the definitions.

``energies.kinetic`` uses the theorem of arXiv 2509.13866; this module does not. It lists the ``(vocab_size+1)^length``
states of a small joint law, writes down the path and the rates of the paper's definitions, and adds up, so that what
the theorem claims can be seen, and also what it does not (``THEOREM.md``, beside this file). NumPy in float64, on the
host; numbers in brackets below are the paper's equations.

Throughout, ``target`` is a joint law of the clean tokens, ``float64[(vocab_size,) * length]``, whose zeros restrict
its support; ``alpha`` is the probability that a token is *revealed*, ``alpha_rate`` its derivative per unit of time.
States are the rows of :func:`all_states`, with ``mask_id = vocab_size``. Bad arguments raise ``InputError``.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Complex, Float, Int

from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.theory.numerics.given import require_array
from mdm_jax.theory.schedules import Schedule, SineSquared, checked_schedule

MOST_STATES = 4096
"""The largest ``(vocab_size + 1)^length`` that is enumerated: arrays of its square are built."""
_STEP = 1e-30
_DIGITS = 1e-10
"""An ``alpha`` below this, or so near 1, has few digits where ``1 - alpha`` is computed from it."""


class Instantaneous(NamedTuple):
    """Integrands of the energies at one time with ``gamma' = 1``, per unit of time squared."""

    kinetic: float
    conditional_kinetic: float
    geodesic: float
    fisher: float
    """The Fisher information about time in the joint marginal, ``sum_z p'(z)^2 / p(z)``."""


class Energies(NamedTuple):
    """The three energies of one schedule under one weight."""

    kinetic: float
    conditional_kinetic: float
    geodesic: float
    change: float
    """The largest relative change of the three from half as many nodes: an estimate of the error, not a bound."""


class Constants(NamedTuple):
    """What :func:`constants` counts: energy of the sequence over energy per token, of each energy."""

    kinetic: int
    conditional_kinetic: int
    geodesic: int


def all_states(length: int, vocab_size: int, most: int = MOST_STATES) -> Int[np.ndarray, "states length"]:
    """Every state, ``int64[(vocab_size + 1)^length, length]``, in lexicographic order; the mask is ``vocab_size``.

    Example:
        >>> from mdm_jax.theory.energies import enumeration
        >>> enumeration.all_states(2, 2)[-3:].tolist()  # 2 is the mask
        [[2, 0], [2, 1], [2, 2]]
    """
    wanted = f"at least 1 each, with (vocab_size + 1)^length at most {most}"
    few = length >= 1 and vocab_size >= 1 and (vocab_size + 1) ** length <= most
    require(few, "length and vocab_size", (length, vocab_size), wanted)
    return np.indices((vocab_size + 1,) * length, dtype=np.int64).reshape(length, -1).T


def one_token_changes(length: int, vocab_size: int) -> Bool[np.ndarray, "states states"]:
    """Whether states ``z`` (row) and ``x`` (column) differ in exactly one token, masks included.

    Example:
        >>> from mdm_jax.theory.energies import enumeration
        >>> enumeration.one_token_changes(1, 2).astype(int).tolist()
        [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    """
    columns = all_states(length, vocab_size).T
    return np.sum([np.not_equal.outer(column, column) for column in columns], axis=0) == 1


def unmaskings(length: int, vocab_size: int) -> Bool[np.ndarray, "states states"]:
    """Whether state ``x`` (column) is ``z`` (row) with exactly one mask replaced by a token.

    Example:
        >>> from mdm_jax.theory.energies import enumeration
        >>> enumeration.unmaskings(1, 2).astype(int).tolist()  # from the mask, the last state, to either token
        [[0, 0, 0], [0, 0, 0], [1, 1, 0]]
    """
    masks = np.sum(all_states(length, vocab_size) == vocab_size, axis=1)
    return one_token_changes(length, vocab_size) & (masks[:, None] == masks[None, :] + 1)


def instantaneous(target: Float[np.ndarray, "*axes"], alpha: float, alpha_rate: float) -> Instantaneous:
    """The integrands of (5), (7) and (9) with ``gamma' = 1``, for ``0 < alpha < 1`` and ``alpha_rate >= 0``.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.theory.energies import enumeration
        >>> enumeration.instantaneous(np.array([[0.5, 0.0], [0.0, 0.5]]), alpha=0.5, alpha_rate=1.0)
        Instantaneous(kinetic=24.0, conditional_kinetic=16.0, geodesic=8.0, fisher=8.0)
    """
    return _World(target).instantaneous(_checked(alpha, 1 - alpha, alpha_rate))


def energies(
    target: Float[np.ndarray, "*axes"],
    schedule: Schedule,
    weight: Schedule | None = None,
    *,
    nodes: int = 64,
    tolerance: float = 1e-4,
) -> Energies:
    """The energies (5), (7), (9) of ``schedule``: :func:`instantaneous` over ``gamma'``, integrated over time.

    A Gauss-Legendre rule in ``s`` with ``t = I_s(4, 4)``, which soothes the ends. Schedules are evaluated in float64.

    Args:
        target: the joint law of the clean tokens.
        schedule: one schedule, by its ``alpha``, ``one_minus_alpha`` and ``derivative``.
        weight: the schedule whose angle is ``gamma``; ``sine_squared()``, that is ``gamma(t) = t``, if left out.
        nodes: number of times at which states are enumerated; half as many are used again to estimate the error.
        tolerance: the largest relative change between the two; one that changes by more is refused as infinite or slow.

    Raises:
        InputError: no joint law, too many states, no schedule, or a pair whose energy does not settle.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> found = mdm.energies.enumeration.energies(np.array([[0.5, 0.0], [0.0, 0.5]]), mdm.schedules.sine_squared())
        >>> found.kinetic / np.pi**2, found.conditional_kinetic / np.pi**2, found.geodesic / np.pi**2
        (6.0, 4.0, 2.0)
    """
    require_whole("nodes", nodes, 4, 128)  # more of them would round to the ends
    checked_schedule(schedule)
    world, weight = _World(target), SineSquared() if weight is None else checked_schedule(weight, "weight")
    fine, coarse = (_integrate(world, schedule, weight, count) for count in (nodes, nodes // 2))
    change = float(np.max(np.abs(fine - coarse) / fine))
    wanted = f"a pair whose energy is finite and settles to {tolerance:g} with {nodes} nodes"
    shown = verbatim(f"a relative change of {change:.2g} from {nodes // 2} nodes")
    require(change <= tolerance, "schedule and weight", shown, wanted)
    return Energies(float(fine[0]), float(fine[1]), float(fine[2]), change)


def constants(target: Float[np.ndarray, "*axes"]) -> Constants:
    """The constants of theorems 3.1 and 3.2, counted: energy = constant * one-token energy.

    ``kinetic`` is the number of masks summed over every state that the path can visit, which depends on the support
    of ``target``; ``conditional_kinetic`` the same over the states that can become one given clean sequence;
    ``geodesic`` the length.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.theory.energies import enumeration
        >>> enumeration.constants(np.array([[0.5, 0.0], [0.0, 0.5]]))
        Constants(kinetic=6, conditional_kinetic=4, geodesic=2)
    """
    world = _World(target)
    masks = np.sum(world.states == world.mask_id, axis=1)
    return Constants(int(masks[world.becomes.any(axis=0)].sum()), int(masks[world.becomes[0]].sum()), target.ndim)


def path(
    target: Float[np.ndarray, "*axes"], alpha: float, alpha_rate: float
) -> tuple[Float[np.ndarray, " states"], Float[np.ndarray, " states"]]:
    """The joint marginal ``p_t`` and its derivative; ``p_{t|1}`` is that of a ``target`` of one clean sequence.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.theory.energies import enumeration
        >>> probabilities, rates = enumeration.path(np.array([[0.5, 0.0], [0.0, 0.5]]), alpha=0.5, alpha_rate=1.0)
        >>> float(probabilities[-1]), float(rates[-1])  # all masked: (1 - alpha)^2, and its derivative
        (0.25, -1.0)
    """
    world = _World(target)
    moved = world.prior @ world.conditional(_checked(alpha, 1 - alpha, alpha_rate))
    return np.real(moved), np.imag(moved) / _STEP


def marginal_rates(
    target: Float[np.ndarray, "*axes"], alpha: float, alpha_rate: float
) -> Float[np.ndarray, "states states"]:
    """The generator of the masked diffusion, ``Q_t(z, x)`` by (6), per unit of time: rows sum to zero, ``p' = p Q``.

    Example:
        >>> import numpy as np
        >>> from mdm_jax.theory.energies import enumeration
        >>> rates = enumeration.marginal_rates(np.array([[0.5, 0.0], [0.0, 0.5]]), alpha=0.5, alpha_rate=1.0)
        >>> rates.shape, float(rates[-1, -1])  # two masks, each revealed at the rate alpha' / (1 - alpha) = 2
        ((9, 9), -4.0)
    """
    world, token = _World(target), _checked(alpha, 1 - alpha, alpha_rate)
    rates = np.zeros((len(world.states),) * 2)
    rates[world.source, world.sink] = world.rates(token, np.real(world.conditional(token)))
    return rates - np.diag(rates.sum(axis=1))


class _Token(NamedTuple):
    revealed: float
    masked: float
    rate: float


def _checked(alpha: float, masked: float, alpha_rate: float) -> _Token:
    require(0 < alpha <= 1 and masked > 0, "alpha", alpha, "strictly between 0 and 1")
    require(0 <= alpha_rate < np.inf, "alpha_rate", alpha_rate, "finite and not negative")
    return _Token(float(alpha), float(masked), float(alpha_rate))


class _World:
    """The states, the clean sequences of the support and their law ``prior``, and the moves that unmask one token.

    ``becomes[x1, z]`` says whether the revealed tokens of ``z`` are those of ``x1`` (the paper's ``z => x1``). What is
    called *moved* is complex: the value a moment ``i _STEP`` later, so that its imaginary part holds its derivative.
    """

    def __init__(self, target: np.ndarray) -> None:
        table = require_array("target", target)
        require(table.dtype.kind in "fiu", "target", verbatim(f"{table.dtype} numbers"), "a table of probabilities")
        square = table.ndim >= 1 and table.size > 0 and len(set(table.shape)) == 1
        require(square, "target", verbatim(f"shape {table.shape}"), "of shape (vocab_size,) * length")
        law = bool(np.isfinite(table).all() and (table >= 0).all() and abs(table.sum() - 1) <= 1e-9)
        given = verbatim(f"entries from {table.min():g} to {table.max():g} that sum to {table.sum()}")
        require(law, "target", given, "a table of probabilities, not negative and summing to 1")
        self.mask_id = table.shape[0]
        self.states = all_states(table.ndim, self.mask_id)
        self.clean, self.prior = np.argwhere(table > 0), table[table > 0]
        self.becomes = np.ones((len(self.clean), len(self.states)), dtype=bool)
        for mine, theirs in zip(self.states.T, self.clean.T):
            self.becomes &= (mine[None, :] == self.mask_id) | (mine[None, :] == theirs[:, None])
        self.source, self.sink = np.nonzero(unmaskings(table.ndim, self.mask_id))

    def token_laws(self, token: _Token) -> Complex[np.ndarray, "clean length values"]:
        """One token's factor of (3), moved, for every clean sequence, position and value."""
        step, values = 1j * _STEP * token.rate, np.arange(self.mask_id + 1)
        reveals, masks = values == self.clean[..., None], values == self.mask_id
        return (token.revealed + step) * reveals + (token.masked - step) * masks

    def conditional(self, token: _Token) -> Complex[np.ndarray, "clean states"]:
        """(3), ``p_{t|1}(z | x1)`` as a product over tokens, moved."""
        laws = self.token_laws(token)
        return functools.reduce(np.multiply, (laws[:, i, values] for i, values in enumerate(self.states.T)))

    def conditional_rates(self, token: _Token) -> Iterator[Float[np.ndarray, " moves"]]:
        """(C.3) for each ``x1``: ``alpha' / (1 - alpha)`` for every unmasking whose result can become it, else 0."""
        return (token.rate / token.masked * becomes[self.sink] for becomes in self.becomes)

    def rates(self, token: _Token, conditional: Float[np.ndarray, "clean states"]) -> Float[np.ndarray, " moves"]:
        """(6): conditional rates averaged over the posterior of the clean sequence, by Bayes."""
        joint = self.prior[:, None] * conditional
        marginal = joint.sum(axis=0)
        posterior = np.divide(joint, marginal, out=np.zeros_like(joint), where=marginal > 0)
        parts = (rates * mine[self.source] for rates, mine in zip(self.conditional_rates(token), posterior))
        return functools.reduce(np.add, parts)

    def instantaneous(self, token: _Token) -> Instantaneous:
        moved = self.conditional(token)
        conditional, marginal = np.real(moved), np.real(self.prior @ moved)
        each = [self.moving(*pair) for pair in zip(conditional, self.conditional_rates(token))]
        root_rates = np.imag(np.sqrt(self.token_laws(token))) / _STEP
        geodesic = self.prior @ np.sum(4 * root_rates**2, axis=(1, 2))
        fisher = np.sum((np.imag(self.prior @ moved) / _STEP)[marginal > 0] ** 2 / marginal[marginal > 0])
        kinetic = self.moving(marginal, self.rates(token, conditional))
        return Instantaneous(kinetic, float(self.prior @ each), float(geodesic), float(fisher))

    def moving(self, law: Float[np.ndarray, " states"], rates: Float[np.ndarray, " moves"]) -> float:
        """The sum in (5) and (7), ``p(z) / p(x) Q(z, x)^2``, over the moves that happen."""
        used = rates > 0
        return float(np.sum(law[self.source[used]] / law[self.sink[used]] * rates[used] ** 2))


def _integrate(world: _World, schedule: Schedule, weight: Schedule, nodes: int) -> Float[np.ndarray, " three"]:
    places, masses = np.polynomial.legendre.leggauss(nodes)
    s = 0.5 * (1 + places)
    near = np.minimum(s, 1 - s)
    grade = near**4 * (35 - 84 * near + 70 * near**2 - 20 * near**3)
    t = np.where(s < 0.5, grade, 1 - grade)
    with jax.enable_x64(True):
        ours, theirs = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), (schedule, weight))
        methods = (
            ours.alpha,
            ours.one_minus_alpha,
            ours.derivative,
            theirs.theta_rate,
            theirs.alpha,
            theirs.one_minus_alpha,
        )
        values = [np.asarray(jax.vmap(method)(t), dtype=np.float64) for method in methods]
    require(all(x.shape == t.shape for x in values), "schedule and weight", (schedule, weight), "one each, not a stack")
    at, speed, ends = np.stack(values[:3], axis=1), values[3], np.stack([*values[:2], *values[4:]])
    kept: np.ndarray = np.all(ends > 0, axis=0)
    if not kept.all():  # where 1 - alpha rounds to nothing, it has no digits before
        kept = np.all(ends > np.array([[_cut(one)] for one in (schedule, schedule, weight, weight)]), axis=0)
    require(bool(kept.any()), "schedule and weight", (schedule, weight), "a pair that moves at the same time")
    kept = np.logical_or.accumulate(kept) & np.logical_or.accumulate(kept[::-1])[::-1]
    require(
        bool(np.all((speed > 0) & (speed < np.inf), where=kept)),
        "weight",
        weight,
        "one whose angle rises at a finite rate",
    )
    tokens = (_checked(*numbers) for numbers in at[kept].tolist())
    three = np.array([world.instantaneous(token)[:3] for token in tokens]) / speed[kept, None]
    return (70 * masses * (s * (1 - s)) ** 3) @ _continued(three, kept, t, np.where(s < 0.5, 1 - grade, grade))


def _cut(schedule: Schedule) -> float:
    """What ``alpha`` and ``1 - alpha`` must exceed to have their digits: a lot, where one is made of the other."""
    return _DIGITS if type(schedule).one_minus_alpha is Schedule.one_minus_alpha else 0.0


def _continued(values: np.ndarray, kept: np.ndarray, t: np.ndarray, u: np.ndarray) -> np.ndarray:
    """``values`` at the times that are ``kept``, and beyond the first and the last of them as the power laws there."""
    whole = np.zeros((len(t), values.shape[1]))
    whole[kept] = values
    first, last = np.flatnonzero(kept)[[0, -1]]
    for end, inward, beyond, log_t in (
        (first, first + 1, np.arange(first), np.log(t)),
        (last, last - 1, np.arange(last + 1, len(t)), np.log(u)),
    ):
        power = np.log(whole[end] / whole[inward]) / (log_t[end] - log_t[inward])
        whole[beyond] = whole[end] * np.exp(power[None, :] * (log_t[beyond] - log_t[end])[:, None])
    return whole

r"""Time grids of the ancestral sampler, scored and optimised by a profile.

The usual sampler of masked diffusion does not fix how many tokens a step reveals: each token falls into step ``k``
with probability ``a_k - a_{k-1}``, independently, where ``a_k`` is the revealed fraction that the schedule has reached.
Its expected NELBO is a left Riemann sum of the Bernstein curve (:func:`mdm_jax.theory.profiles.bernstein`),

    d sum_k (a_k - a_{k-1}) gb(a_{k-1}),

exactly (``DERIVATIONS.md``, "The cost of a grid"); at infinitely many steps it is the NELBO. So the grid too can be
tuned by the profile alone. Random sizes cost about ``(g(0) - g(d - 1)) / 2`` nats more than fixed ones at as many
steps, and some steps come out empty.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float

from mdm_jax.support.errors import require, require_whole, verbatim
from mdm_jax.support.files import known, listed, made_from, read_json, stated, told, write_json
from mdm_jax.support.text import printable, shortened
from mdm_jax.theory.numerics.given import as_json, brief, require_array, require_path, require_text
from mdm_jax.theory.plans.plan import GRID_FORMAT as FORMAT
from mdm_jax.theory.plans.plan import MOST_SHOWN
from mdm_jax.theory.profiles import Profile, checked_profile
from mdm_jax.theory.profiles.curves import bernstein_weights, falling
from mdm_jax.theory.schedules import text as schedule_text
from mdm_jax.theory.schedules.base import HALF_PI, Schedule, checked_schedule
from mdm_jax.theory.schedules.checks import check_values

_CELLS = 2048


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """The revealed fractions ``0 = a_0 < ... < a_K = 1`` between the steps of an ancestral sampler.

    Attributes:
        fractions: float64[knots].
        name: what to call it in tables and pictures.
        origin: where it came from, as JSON.

    Raises:
        InputError: fractions that do not rise from 0 to 1, no text, or an ``origin`` that JSON does not have.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> mdm.grids.Grid(np.array([0.0, 0.2, 1.0]), name="mine").steps
        2
    """

    fractions: Float[np.ndarray, " knots"]
    name: str
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_text("name", self.name)
        given = require_array("fractions", self.fractions)
        require(given.dtype.kind in "fiu", "fractions", self.fractions, "numbers that rise from 0 to 1")
        a = given.astype(np.float64)
        good = a.ndim == 1 and len(a) > 1 and a[0] == 0 and a[-1] == 1 and np.all(np.diff(a) > 0)
        require(bool(good), "fractions", a.tolist(), "rising from 0 to 1")
        object.__setattr__(self, "fractions", a)
        require(isinstance(self.origin, Mapping), "origin", self.origin, "a mapping")
        object.__setattr__(self, "origin", as_json("origin", self.origin))

    def __repr__(self) -> str:
        """Its name and its fractions, or the first of them."""
        shown = [f"{x:.4g}" for x in self.fractions[:MOST_SHOWN].tolist()]
        shown += ["..."] if len(self.fractions) > MOST_SHOWN else []
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        return f"Grid('{shortened(printable(self.name), 48)}', {steps}: {' '.join(shown)})"

    def _repr_html_(self) -> str:
        from mdm_jax.plot import charts, drawing  # a notebook alone pays for Matplotlib

        return drawing.fragment(charts.plan(self, axes=drawing.wide(1.8)), repr(self))

    @property
    def steps(self) -> int:
        """Number of steps, empty ones among them."""
        return len(self.fractions) - 1

    def expected_steps(self, length: int) -> float:
        """How many steps reveal something, on average: ``sum_k 1 - (1 - (a_k - a_{k-1}))^length``.

        An empty step needs no model call, so this is what to hold against the steps of a plan.
        """
        length = require_whole("length", length, 1)
        return float(np.sum(1 - (1 - np.diff(self.fractions)) ** length))

    def to_json(self) -> dict[str, Any]:
        """The content of a grid file."""
        return {
            "format": FORMAT,
            "name": self.name,
            "steps": self.steps,
            "fractions": self.fractions.tolist(),
            "origin": dict(self.origin),
        }

    def save(self, path: str | Path) -> Path:
        """Write the grid as JSON, atomically; ``fractions`` is all that a reader needs."""
        require_path("path", path)
        return write_json(path, self.to_json())


def load(path: str | Path) -> Grid:
    """Read a grid file.

    Raises:
        InputError: no such file, not a grid, or fractions that make no grid.

    Example:
        >>> import mdm_jax as mdm
        >>> path = mdm.grids.uniform(2).save("grid.json")
        >>> mdm.grids.load("grid.json").fractions.tolist()
        [0.0, 0.5, 1.0]
    """
    require_path("path", path)
    name = Path(path).stem

    def grid(value: dict[str, Any]) -> Grid:
        fractions = np.array(listed(value, "fractions", float))
        require_text("name", value.get("name", name))
        made = Grid(fractions, name=value.get("name", name), origin=told(value, "origin"))
        stated(value, "steps", made.steps, "fractions")
        known(value, made.to_json())
        return made

    return made_from(path, read_json(path, "a grid"), "a grid", FORMAT, grid)


def checked_grid(grid: Any, argument: str = "grid") -> Grid:
    """``grid``, if it is one.

    Args:
        grid: what was given.
        argument: its name, for the sentence.

    Raises:
        InputError: it is none.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.grids.checked_grid(mdm.plans.uniform(8, 2))
        Traceback (most recent call last):
        mdm_jax.support.errors.InputError: grid must be a Grid (... grids.load ...); got a Plan.
    """
    require(
        isinstance(grid, Grid),
        argument,
        verbatim(brief(grid)),
        "a Grid (grids.from_schedule, grids.optimal, grids.load ...)",
    )
    return grid


def uniform(steps: int) -> Grid:
    """Equal steps in the revealed fraction: what the linear schedule does. ``steps`` may exceed the length.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.grids.uniform(4).fractions.tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    _check(steps)
    return Grid(np.arange(steps + 1) / steps, name="uniform", origin={"rule": "uniform"})


def from_schedule(schedule: Schedule, steps: int, name: str | None = None) -> Grid:
    """The fractions that ``schedule`` reaches in ``steps`` equal time steps.

    Raises:
        InputError: no schedule, or two knots that float32 cannot tell apart.

    Example:
        >>> import mdm_jax as mdm
        >>> mdm.grids.from_schedule(mdm.schedules.polynomial(2), 4).fractions.tolist()
        [0.0, 0.0625, 0.25, 0.5625, 1.0]
    """
    _check(steps)
    checked_schedule(schedule)
    a = np.array(schedule.alpha(np.arange(steps + 1) / steps), dtype=np.float64)
    check_values(schedule, np.arange(steps + 1) / steps, a, "schedule")
    a[0], a[-1] = 0.0, 1.0
    label = schedule_text.label(schedule)
    require(bool(np.all(np.diff(a) > 0)), "schedule", label, f"one whose {steps} equal time steps are distinct")
    return Grid(a, name=name or label, origin={"rule": "schedule", "schedule": label})


def geodesic(profile: Profile, steps: int) -> Grid:
    """Equal steps in arc length under :func:`mdm_jax.theory.profiles.information_metric`: the optimum of many steps.

    The grid of ``from_schedule(geodesics.geodesic(information_metric(profile)), steps)``, in float64 on the host. Equal
    steps where the profile falls nowhere.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(8, 0.5).entropies())
        >>> mdm.grids.geodesic(profile, 3).fractions.tolist()  # small steps where the profile falls fast
        [0.0, 0.1897, 0.4798, 1.0]
    """
    _check(steps)
    values = falling(checked_profile(profile)).values
    theta = (np.arange(_CELLS) + 0.5) / _CELLS
    falls = bernstein_weights(max(profile.length - 1, 1), np.square(np.sin(HALF_PI * theta)))[:, : len(values) - 1]
    speed = np.sqrt(falls @ -np.diff(values)) * np.sin(2 * HALF_PI * theta)
    arc = np.append(0.0, np.cumsum(speed))
    if arc[-1] == 0:
        return uniform(steps)
    # What all but vanishes still counts for something, so that no two knots meet.
    arc = arc / arc[-1] + 1e-9 * np.arange(_CELLS + 1)
    at = np.interp(np.arange(steps + 1) / steps * arc[-1], arc, np.arange(_CELLS + 1) / _CELLS)
    a = np.square(np.sin(HALF_PI * at))
    a[0], a[-1] = 0.0, 1.0
    return Grid(a, name="geodesic", origin={"rule": "geodesic", "profile_digest": profile.measured_digest})


def ancestral_nelbo(profile: Profile, grid: Grid) -> float:
    """Expected NELBO ``d sum_k (a_k - a_{k-1}) gb(a_{k-1})`` of ancestral sampling with ``grid``, nats per sequence.

    Less the entropy of the data's law it is the expected divergence of the sampler, factorisation and learning; less
    ``profile.nelbo()``, what the finite number of steps costs.

    Source: ``DERIVATIONS.md``, "The cost of a grid".

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values([1.0, 0.5])  # gb(a) = 1 - a / 2
        >>> mdm.grids.ancestral_nelbo(profile, mdm.grids.uniform(2))  # 2 (0.5 gb(0) + 0.5 gb(0.5))
        1.75
    """
    return float(_weights(checked_profile(profile).length, checked_grid(grid)) @ profile.values)


def ancestral_standard_error(profile: Profile, grid: Grid) -> float:
    """Standard error of :func:`ancestral_nelbo` from the measurement of the profile, nats per sequence.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> profile = mdm.profiles.Profile(2, np.arange(2), np.array([1.0, 0.5]), np.diag([0.01, 0.0]))  # g(0) +- 0.1
        >>> mdm.grids.ancestral_standard_error(profile, mdm.grids.uniform(2))  # 2 (0.5 + 0.25) 0.1
        0.15
    """
    return checked_profile(profile).standard_error_of(_weights(profile.length, checked_grid(grid)))


def cost_and_slope(
    profile: Profile, fractions: Float[np.ndarray, " knots"]
) -> tuple[float, Float[np.ndarray, " knots"]]:
    """The expected NELBO of a grid and its derivative by every fraction (the ends included), nats per sequence.

    ``d [gb(a_{k-1}) - gb(a_k) + (a_{k+1} - a_k) gb'(a_k)]`` is the derivative by an ``a_k`` inside. On the host, in
    float64; nothing is checked.

    Example:
        >>> import numpy as np, mdm_jax as mdm
        >>> cost, slope = mdm.grids.cost_and_slope(mdm.profiles.from_values([1.0, 0.5]), np.array([0.0, 0.5, 1.0]))
        >>> cost, float(slope[1])  # equal steps are best where a profile falls evenly
        (1.75, 0.0)
    """
    length, a = profile.length, np.asarray(fractions, dtype=np.float64)
    curve = bernstein_weights(length, a) @ profile.values
    tilt = np.zeros_like(a)
    if length > 1:
        tilt = (length - 1) * (bernstein_weights(length - 1, a) @ np.diff(profile.values))
    shares = np.diff(a)
    slope = np.append(0.0, curve[:-1])
    slope[:-1] += shares * tilt[:-1] - curve[:-1]
    return float(length * (shares @ curve[:-1])), length * slope


def optimal(profile: Profile, steps: int, start: Grid | None = None, most_iterations: int = 2000) -> Grid:
    """The grid of least expected NELBO, by gradients through the Bernstein curve.

    The increments are a softmax of free numbers, optimised by L-BFGS in float64 on the host: from ``start``, or from
    the better of the geodesic of the information metric (where many steps lead) and equal steps.

    Args:
        profile: the model's profile.
        steps: number of steps; it may exceed the length.
        start: where to start; its number of steps must be ``steps``.
        most_iterations: of L-BFGS.

    Raises:
        InputError: a number of steps below 1, or a start of another number of steps.

    Example:
        >>> import mdm_jax as mdm
        >>> profile = mdm.profiles.from_values(mdm.oracles.polya(8, 0.5).entropies())
        >>> best = mdm.grids.optimal(profile, 3)
        >>> mdm.grids.ancestral_nelbo(profile, best), mdm.grids.ancestral_nelbo(profile, mdm.grids.uniform(3))
        (4.3892, 4.4566)
    """
    _check(steps)
    checked_profile(profile)
    require(start is None or checked_grid(start, "start").steps == steps, "start", start, f"a grid of {steps} steps")
    if start is None:
        start = min(uniform(steps), geodesic(profile, steps), key=lambda grid: ancestral_nelbo(profile, grid))
    scale = max(ancestral_nelbo(profile, start) - profile.nelbo(), 1e-9)

    def objective(logits: np.ndarray) -> tuple[float, np.ndarray]:
        shares = scipy.special.softmax(logits)
        cost, slope = cost_and_slope(profile, _fractions(shares))
        by_share = np.append(np.cumsum(slope[1:-1][::-1])[::-1], 0.0)  # a_k is the sum of the first k increments
        return (cost - profile.nelbo()) / scale, shares * (by_share - shares @ by_share) / scale

    options = {"maxiter": most_iterations, "maxfun": 2 * most_iterations, "ftol": 1e-15, "gtol": 1e-9}
    found = scipy.optimize.minimize(
        objective, np.log(np.diff(start.fractions)), jac=True, method="L-BFGS-B", options={**options, "maxcor": 30}
    )
    a = _fractions(scipy.special.softmax(found.x))
    if bool(np.all(np.diff(a) > 0)):
        best = min((start, Grid(a, name="optimal")), key=lambda grid: ancestral_nelbo(profile, grid))
    else:  # steps that nothing gains: they shrank to nothing
        best = start
    origin = {
        "rule": "optimal",
        "started_from": start.name,
        "expected_nelbo_nats": ancestral_nelbo(profile, best),
        "profile_digest": profile.measured_digest,
    }
    return Grid(best.fractions, name="optimal", origin=origin)


def _weights(length: int, grid: Grid) -> Float[np.ndarray, " length"]:
    """What ``g(i)`` weighs in the expected NELBO: how many tokens are drawn, on average, with ``i`` revealed."""
    shares = np.diff(grid.fractions)
    return length * (shares @ bernstein_weights(length, grid.fractions[:-1]))


def _fractions(shares: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " knots"]:
    return np.concatenate([[0.0], np.minimum(np.cumsum(shares)[:-1], 1.0), [1.0]])


def _check(steps: int) -> None:
    require_whole("steps", steps, 1)

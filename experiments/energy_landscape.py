"""The one-token energy over the schedules Beta(a', b'), for several gammas: least at gamma's own parameters.

This is what the paper's Figure 2 is about (a landscape for each of several gammas, a star at the optimum; we have the
paper's text, not its images). Energies come from the quadrature, not from the closed form; SciPy checks them on the
definition (equation 14 of arXiv 2509.13866) at random places, and that they are infinite exactly where the integral
diverges. A table shows how many digits both forms of ours keep in float32 where divergence is near.
"""

import importlib.util
import itertools
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from scipy.integrate import quad
from scipy.special import betainc, betaincc, betaln

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax.theory import energies, schedules
from mdm_jax.theory.energies import actions

CLAIM = Claim(
    "the one-token energy over Beta schedules is least at gamma's own (a, b), where it is pi^2, and infinite exactly "
    "where the integral diverges",
    source="arXiv 2509.13866, Figure 2 and equation 14",
    minutes=0.1,
    seeds=(0, 1, 2, 3, 4, 5),
)
WEIGHTS = ((0.5, 0.5), (1.0, 1.0), (0.9, 0.3), (0.3, 0.9), (1.0, 0.2), (1.3, 1.3))
NEAR_DIVERGENCE = (
    (0.51, 0.8, 1.0, 1.0), (0.505, 0.8, 1.0, 1.0), (0.5005, 0.8, 1.0, 1.0), (0.6, 0.8, 1.0, 1.0),
    (0.8, 0.51, 1.0, 1.0), (0.8, 0.505, 1.0, 1.0), (0.8, 0.5005, 1.0, 1.0), (0.8, 0.6, 1.0, 1.0),
    (0.51, 0.51, 1.0, 1.0), (0.51, 1.0, 1.0, 1.0), (0.455, 0.2, 0.9, 0.3), (0.455, 0.1505, 0.9, 0.3),
)  # fmt: skip
"""``(a', b', a, b)``; the energy is finite where ``2a' > a`` and ``2b' > b``."""
CLOSE, FLAT = 1e-5, 1e-4
"""Bounds: on the relative error of finite energies, and on the gradient at the optimum over the energy."""
FAR = (1e-4, 1e-8, 1e-12)


def by_quadrature(schedule: schedules.Schedule, weight: schedules.Schedule) -> jax.Array:
    """The kinetic energy by quadrature, also where a closed form exists."""
    return actions.action(schedule, actions.fisher, weight)


def run(experiment: Experiment) -> Run:
    """Landscapes, checks against SciPy, and the table near divergence."""
    step, spots = (0.05, 4) if experiment.quick else (0.025, 40)
    grid = (step * np.arange(1, round(2.0 / step) + 1)).round(4)
    a, b = (x.ravel() for x in np.meshgrid(grid, grid, indexing="ij"))
    stack = schedules.beta(a, b)
    landscapes, rows = {}, []
    for number, (c, d) in enumerate(WEIGHTS):
        weight = schedules.beta(c, d)
        landscape = np.asarray(energies.batch(stack, weight, by_quadrature), np.float64) / np.pi**2
        landscapes[c, d] = landscape.reshape(len(grid), len(grid))
        row = check(landscape, a, b, (c, d), spots, np.random.default_rng(number))
        rows.append(row)
        print(
            f"gamma Beta({c:g}, {d:g}): least at {row['argmin']} ({row['least'] - 1:+.0e} from pi^2, slope "
            f"{row['slope_at_own']:.0e}); SciPy differs by {row['from_scipy']:.0e} at {spots} places; infinite: "
            f"{row['infinite']} of {len(a)}; wrongly so or not: {row['wrongly_finite_or_infinite']} by 2a' > a and "
            f"2b' > b, {row['wrong_by_scipy']} of {row['places_by_scipy']} looked at by SciPy"
        )
    table, source = near_divergence()
    print(f"\nrelative errors in float32 near divergence (truth: {source}, at the float32 numbers)")
    print(f"{'schedule':>15} {'gamma':>9} {'energy/pi^2':>12} {'action':>8} {'closed form':>12}")
    for row in table:
        (a_, b_), (c, d) = row["schedule"], row["gamma"]
        print(
            f"{f'{a_:g}, {b_:g}':>15} {f'{c:g}, {d:g}':>9} {row['energy_over_pi_squared']:12.4f} "
            f"{row['error_of_action']:8.1e} {row['error_of_closed_form']:12.1e}"
        )
    results = {"landscapes": rows, "grid": [grid[0], grid[-1], step], "near_divergence": table, "truth": source}
    return Run(results, picture(grid, landscapes))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Least at the weight's own parameters, as SciPy has it, infinite where it must be."""
    rows, near = results["landscapes"], results["near_divergence"]
    at_own = all(row["argmin"] == list(row["own"]) and row["slope_at_own"] < FLAT for row in rows)
    off, above = max(row["from_scipy"] for row in rows), max(abs(row["least"] - 1) for row in rows)
    wrong = sum(row["wrongly_finite_or_infinite"] + row["wrong_by_scipy"] for row in rows)
    exact, diverges = off < CLOSE and above < CLOSE, wrong == 0
    places = sum(row["places_by_scipy"] for row in rows)
    return Conclusion(
        "holds" if at_own and exact and diverges else "partly" if at_own else "does not",
        f"under {len(rows)} weights the least energy is at their own parameters, {above:.0e} from pi^2; SciPy differs "
        f"by at most {off:.0e}; {wrong} schedules are wrongly finite or infinite",
        {
            "least energy from pi^2, relative": above,
            "largest difference from SciPy, relative": off,
            "wrongly finite or infinite": wrong,
            "places looked at by SciPy for divergence": places,
            "largest error in float32 near divergence, quadrature": max(row["error_of_action"] for row in near),
            "largest error in float32 near divergence, closed form": max(row["error_of_closed_form"] for row in near),
        },
        f"{len(rows)} weights, {round(results['grid'][1] / results['grid'][2]) ** 2:,} schedules each",
    )


def check(
    landscape: np.ndarray, a: np.ndarray, b: np.ndarray, own: tuple[float, float], spots: int, rng: np.random.Generator
) -> dict[str, Any]:
    """What one landscape (over pi^2) says about its minimum, and what SciPy says about the landscape."""
    c, d = own
    best = int(np.argmin(landscape))
    weight = schedules.beta(c, d)
    slopes = [jax.grad(energy)(weight, weight) for energy in (by_quadrature, energies.closed_form)]
    slope = max(float(np.hypot(s.a, s.b)) / np.pi**2 for s in slopes)
    finite = np.isfinite(landscape)
    exact = np.array([float(c), float(d)], np.float32)
    should = (2 * a.astype(np.float32) > exact[0]) & (2 * b.astype(np.float32) > exact[1])
    chosen = rng.choice(np.flatnonzero(finite), spots, replace=False)
    truth = np.array([definition(float(a[i]), float(b[i]), c, d) for i in chosen]) / np.pi**2
    # Where divergence is decided: the grid's points next to either bound, and the bound itself.
    near = np.flatnonzero((np.abs(2 * a - c) < 0.11) | (np.abs(2 * b - d) < 0.11))
    near = rng.choice(near, min(5 * spots, len(near)), replace=False)
    settled = np.array([settles(float(a[i]), float(b[i]), c, d) for i in near])
    return {
        "own": [c, d],
        "argmin": [float(a[best]), float(b[best])],
        "least": float(landscape[best]),
        "slope_at_own": slope,
        "from_scipy": float(np.max(np.abs(landscape[chosen] / truth - 1))),
        "infinite": int(np.sum(~finite)),
        "wrongly_finite_or_infinite": int(np.sum(finite != should)),
        "places_by_scipy": len(near),
        "wrong_by_scipy": int(np.sum(settled != finite[near])),
    }


def integrand(y: float, a: float, b: float, c: float, d: float) -> float:
    """``alpha'^2 / (gamma' alpha (1 - alpha)) dt/dy`` at the log-odds ``y`` of ``t``, from ``alpha`` itself."""
    log_t, log_u = -np.logaddexp(0, -y), -np.logaddexp(0, y)
    t, u = math.exp(log_t), math.exp(log_u)
    revealed = math.sin(math.pi / 2 * (betainc(a, b, t) if y < 0 else betaincc(b, a, u)))
    masked = math.sin(math.pi / 2 * (betaincc(a, b, t) if y < 0 else betainc(b, a, u)))
    pace = math.pi * revealed * masked * math.exp((a - 1) * log_t + (b - 1) * log_u - betaln(a, b))  # alpha'
    gamma = math.exp((c - 1) * log_t + (d - 1) * log_u - betaln(c, d))
    return (pace / (revealed * masked)) ** 2 / gamma * t * u


def definition(a: float, b: float, c: float, d: float) -> float:
    """Equation 14 by ``scipy.integrate.quad``; beyond ``|y| = far`` the integrand is an exponential of known rate."""
    far = 25.0
    numbers = tuple(float(np.float32(x)) for x in (a, b, c, d))
    early, late = 2 * numbers[0] - numbers[2], 2 * numbers[1] - numbers[3]
    body = sum(
        quad(integrand, *ends, args=numbers, epsabs=0, epsrel=1e-10, limit=200)[0]
        for ends in ((-far, -8.0), (-8.0, 0.0), (0.0, 8.0), (8.0, far))
    )
    return body + integrand(-far, *numbers) / early + integrand(far, *numbers) / late


def settles(a: float, b: float, c: float, d: float) -> bool:
    """Whether the integral from ``eps`` to ``1 - eps`` gains ever less at both ends: 1e-4 to 1e-8, then to 1e-12."""
    numbers = tuple(float(np.float32(x)) for x in (a, b, c, d))
    marks = [math.log(eps / (1 - eps)) for eps in FAR]
    for sign in (1, -1):
        first, second = (
            abs(quad(integrand, sign * near, sign * far, args=numbers, epsabs=0, epsrel=1e-10)[0])
            for near, far in itertools.pairwise(marks)
        )
        if second > 0.99 * first:
            return False
    return True


def near_divergence() -> tuple[list[dict[str, Any]], str]:
    """Relative errors of both forms in float32, where the energy is about to diverge."""
    found = importlib.util.find_spec("mpmath") is not None
    truth = by_mpmath if found else by_betaln
    rows = []
    for numbers in NEAR_DIVERGENCE:
        a, b, c, d = (float(np.float32(x)) for x in numbers)
        true = truth(a, b, c, d)
        pair = schedules.beta(a, b), schedules.beta(c, d)
        quadrature, closed = (float(energy(*pair)) for energy in (jax.jit(by_quadrature), energies.closed_form))
        rows.append(
            {
                "schedule": list(numbers[:2]),
                "gamma": list(numbers[2:]),
                "energy_over_pi_squared": true / math.pi**2,
                "error_of_action": abs(quadrature / true - 1),
                "error_of_closed_form": abs(closed / true - 1),
            }
        )
    return rows, "mpmath, 30 digits, closed form and quadrature" if found else "SciPy's betaln in float64"


def by_betaln(a: float, b: float, c: float, d: float) -> float:
    return math.pi**2 * math.exp(betaln(c, d) + betaln(2 * a - c, 2 * b - d) - 2 * betaln(a, b))


def by_mpmath(a: float, b: float, c: float, d: float) -> float:
    """The closed form in 30 digits, and the integral itself, which must agree with it."""
    import mpmath as mp  # pyright: ignore[reportMissingImports]

    with mp.workdps(30):
        left, right = 2 * mp.mpf(a) - c, 2 * mp.mpf(b) - d
        scale = mp.pi**2 * mp.beta(c, d) / mp.beta(a, b) ** 2
        value = scale * mp.beta(left, right)

        def side(power: Any, other: Any) -> Any:
            """``integral_0^(1/2) t^(power-1) (1-t)^(other-1) dt``, with ``t^power`` for the variable."""
            end = mp.mpf(0.5) ** power
            cuts = [0, *(end * mp.mpf(x) ** power for x in (1e-24, 1e-12, 1e-6, 1e-3, 0.1)), end]
            return mp.quad(lambda s: (1 - s ** (1 / power)) ** (other - 1), cuts) / power

        summed = scale * (side(left, right) + side(right, left))
        if abs(summed / value - 1) > 1e-15:
            raise ArithmeticError(f"mpmath's quadrature and the closed form differ by {float(abs(summed / value - 1))}")
        return float(value)


def picture(grid: np.ndarray, landscapes: Mapping[tuple[float, float], np.ndarray]) -> Figure:
    """One panel per gamma; grey where the energy is infinite, a star at gamma's own place."""
    figure = Figure(figsize=(8.6, 5.6), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    norm, levels = LogNorm(1, 20), (1.01, 1.05, 1.2, 2, 5)
    image = None
    for panel, ((c, d), landscape) in zip(panels.ravel(), landscapes.items(), strict=True):
        panel.set_facecolor("#c9cdd2")
        shown = np.ma.masked_invalid(landscape.T)
        image = panel.pcolormesh(grid, grid, shown, norm=norm, cmap="viridis_r", shading="nearest", rasterized=True)
        lines = panel.contour(grid, grid, shown, levels=levels, colors="#1d2730", linewidths=0.5)
        panel.clabel(lines, levels[2:], fmt="%g", fontsize=7)
        panel.plot(c, d, "*", ms=13, mfc="#ff7a1a", mec="#1d2730", mew=0.6, clip_on=False)
        panel.set_title(f"gamma = Beta({c:g}, {d:g})", fontsize=9)
        panel.tick_params(labelsize=8)
        panel.set_xlim(0, 2)
        panel.set_ylim(0, 2)
    for panel in panels[-1]:
        panel.set_xlabel("a of the schedule", fontsize=8)
    for panel in panels[:, 0]:
        panel.set_ylabel("b of the schedule", fontsize=8)
    if image is not None:
        bar = figure.colorbar(image, ax=panels, shrink=0.8, extend="max", ticks=[1, 2, 5, 10, 20], format="%g")
        bar.minorticks_off()
        bar.set_label("energy / π² (lines: 1.01, 1.05, 1.2, 2, 5; grey: infinite; star: gamma's own a, b)", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    return figure

"""Energy and gradient of 100,000 Beta schedules in one call, against NumPy and SciPy with finite differences.

Ours is the general quadrature (``actions.action``, any schedule, automatic gradient) in JAX's default float32, and,
separately, the closed form to which ``energies.kinetic`` dispatches. The others get every advantage but a gradient:

* NumPy, the same double-exponential rule in float64, written for Beta schedules alone (its exponents are a matrix
  product, the rest is one ``exp`` and one sum, in chunks that stay in cache), five evaluations for central differences;
* NumPy, the closed form by ``scipy.special.betaln``, five evaluations;
* SciPy, one ``scipy.integrate.quad`` per evaluation, five per schedule, on a subsample that is scaled up.

NumPy works in one thread, JAX in as many as there are cores: processor time is given beside wall time.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.integrate import quad
from scipy.special import betaln, digamma

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.timing import alternate, paired_ratio
from mdm_jax.theory import energies, schedules
from mdm_jax.theory.energies import actions

CLAIM = Claim(
    "energy and gradient of 100,000 Beta schedules by quadrature take at most 1/2 of the time of the same quadrature "
    "in NumPy with finite differences",
    source="ours",
    minutes=0.2,
)
WEIGHT = (0.9, 0.6)
STEP = 1e-5
"""Of the central differences, relative to the parameter."""
CHUNK = 2048
"""Schedules per chunk of NumPy's quadrature: 129 nodes each, two megabytes (the fastest of 64 to 8192)."""
TIMES_FASTER, CLOSE = 2.0, 1e-4

Answer = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Energies, and their derivatives in a and in b."""


def by_quadrature(schedule: schedules.Schedule, weight: schedules.Schedule) -> jax.Array:
    """The kinetic energy by quadrature, also where a closed form exists."""
    return actions.action(schedule, actions.fisher, weight)


def run(experiment: Experiment) -> Run:
    """Check that all agree, then let them take turns."""
    count, few, rounds = (20_000, 10, 2) if experiment.quick else (100_000, 200, 9)
    rng = np.random.default_rng(0)
    # Equal for all: numbers that float32 holds exactly.
    a, b = np.exp(rng.uniform(np.log(0.6), np.log(3.0), (2, count))).astype(np.float32).astype(np.float64)
    stack, weight = schedules.beta(a, b), schedules.beta(*WEIGHT)
    c, d = float(np.float32(WEIGHT[0])), float(np.float32(WEIGHT[1]))
    rule = double_exponential()

    def ours(energy: Callable[..., jax.Array]) -> Answer:
        values, slopes = jax.block_until_ready(energies.batch(stack, weight, energy, gradient=True))
        return values, slopes.a, slopes.b

    def numpy_quadrature() -> Answer:
        parts = (slice(start, start + CHUNK) for start in range(0, count, CHUNK))
        energy = lambda a, b: quadrature(a, b, c, d, rule)  # noqa: E731
        each = [differences(energy, a[part], b[part]) for part in parts]
        values, by_a, by_b = (np.concatenate(column) for column in zip(*each, strict=True))
        return values, by_a, by_b

    ours_by_quadrature, ours_closed = "ours, quadrature", "ours, closed form"
    numpy_, numpy_closed, scipy_ = "NumPy, the same quadrature", "NumPy, closed form", "SciPy quad, a loop"
    variants: dict[str, Callable[[], Answer]] = {
        ours_by_quadrature: lambda: ours(by_quadrature),
        ours_closed: lambda: ours(energies.kinetic),
        numpy_: numpy_quadrature,
        numpy_closed: lambda: differences(lambda a, b: closed_form(a, b, c, d), a, b),
        scipy_: lambda: differences(lambda a, b: loop(a, b, c, d), a[:few], b[:few]),
    }
    exact = closed_form(a, b, c, d), *closed_form_slopes(a, b, c, d)
    agreement = {name: disagreement(variant(), exact) for name, variant in variants.items()}

    processor: dict[str, list[float]] = {name: [] for name in variants}

    def metered(name: str) -> Callable[[], object]:
        def variant() -> None:
            start = time.process_time()
            variants[name]()
            processor[name].append(time.process_time() - start)

        return variant

    seconds = alternate({name: metered(name) for name in variants}, rounds)
    size = {name: few if name == scipy_ else count for name in variants}
    per_schedule = {name: [s / size[name] * 1e9 for s in values] for name, values in seconds.items()}
    on_processor = {name: statistics.median(values[1:]) / size[name] * 1e9 for name, values in processor.items()}
    ratios = {
        "numpy_over_ours_both_by_quadrature": paired_ratio(per_schedule[numpy_], per_schedule[ours_by_quadrature]),
        "numpy_over_ours_both_by_closed_form": paired_ratio(per_schedule[numpy_closed], per_schedule[ours_closed]),
        "scipy_over_ours_by_quadrature": paired_ratio(per_schedule[scipy_], per_schedule[ours_by_quadrature]),
        "numpy_quadrature_over_our_closed_form": paired_ratio(per_schedule[numpy_], per_schedule[ours_closed]),
    }
    print(f"{count} schedules, float32 (ours) and float64, errors against the closed form and its digamma gradient")
    print(f"{'':28} {'ns per schedule':>16} {'of processor':>13} {'error of energy':>16} {'of gradient':>12}")
    for name, values in per_schedule.items():
        error = agreement[name]
        print(
            f"{name:28} {statistics.median(values):16,.0f} {on_processor[name]:13,.0f} "
            f"{error['energy']:16.1e} {error['gradient_over_its_length']:12.1e}"
        )
    for name, ratio in ratios.items():
        print(f"{name}: {ratio['median']:.1f} ({ratio['min']:.1f} to {ratio['max']:.1f})")
    results: dict[str, Any] = {
        "schedules": count,
        "schedules_of_the_scipy_loop": few,
        "rounds": rounds,
        "weight": f"beta:{WEIGHT[0]},{WEIGHT[1]}",
        "ratios": ratios,
        "nanoseconds_per_schedule": {name: statistics.median(values) for name, values in per_schedule.items()},
        "nanoseconds_of_processor_per_schedule": on_processor,
        "largest_errors": agreement,
        "seconds": seconds,
    }
    return Run(results, picture(per_schedule))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Like against like: both by quadrature. They must agree, too."""
    ratios = {name: [one["median"], one["min"], one["max"]] for name, one in results["ratios"].items()}
    main, least, greatest = ratios["numpy_over_ours_both_by_quadrature"]
    errors = [max(one["energy"], one["gradient_over_energy"]) for one in results["largest_errors"].values()]
    agree, taken = max(errors) < CLOSE, results["nanoseconds_per_schedule"]
    return Conclusion(
        "holds" if agree and main >= TIMES_FASTER else "partly" if agree and main > 1 else "does not",
        f"NumPy takes {main:.1f} times as long by the same quadrature ({least:.1f} to {greatest:.1f})",
        {
            **{name.replace("_", " "): ratio for name, ratio in ratios.items()},
            **{f"nanoseconds per schedule, {name}": value for name, value in taken.items()},
            "largest error of an energy or gradient over the energy": max(errors),
        },
        f"{results['schedules']:,} schedules, {len(next(iter(results['seconds'].values())))} rounds",
    )


def double_exponential() -> tuple[np.ndarray, np.ndarray]:
    """The library's rule in float64: ``[log t, log(1-t)]`` and the logarithm of the mass at 129 nodes."""
    s = np.linspace(-4.0, 4.0, 129)
    odds = np.pi * np.sinh(s)
    log_t, log_u = -np.logaddexp(0, -odds), -np.logaddexp(0, odds)
    return np.stack([log_t, log_u]), np.log(np.pi * np.cosh(s) * (s[1] - s[0])) + log_t + log_u


def quadrature(a: np.ndarray, b: np.ndarray, c: float, d: float, rule: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """``pi^2 integral theta'^2 / gamma'`` of Beta(a, b) under Beta(c, d); nothing is left beyond the last nodes."""
    logs, log_mass = rule
    powers = np.stack([2 * a - c - 1, 2 * b - d - 1], axis=1) @ logs
    powers += log_mass
    np.exp(powers, out=powers)
    return np.pi**2 * powers.sum(axis=1) * np.exp(betaln(c, d) - 2 * betaln(a, b))


def closed_form(a: np.ndarray, b: np.ndarray, c: float, d: float) -> np.ndarray:
    return np.pi**2 * np.exp(betaln(c, d) + betaln(2 * a - c, 2 * b - d) - 2 * betaln(a, b))


def closed_form_slopes(a: np.ndarray, b: np.ndarray, c: float, d: float) -> tuple[np.ndarray, np.ndarray]:
    common = digamma(a + b) - digamma(2 * (a + b) - c - d)
    value = closed_form(a, b, c, d)
    return (
        2 * value * (digamma(2 * a - c) - digamma(a) + common),
        2 * value * (digamma(2 * b - d) - digamma(b) + common),
    )


def loop(a: np.ndarray, b: np.ndarray, c: float, d: float) -> np.ndarray:
    """One ``scipy.integrate.quad`` after the other, of equation 14 in the angle."""

    def energy(a: float, b: float) -> float:
        scale = math.pi**2 * math.exp(betaln(c, d) - 2 * betaln(a, b))
        early, late = 2 * a - c - 1, 2 * b - d - 1
        return scale * quad(lambda t: t**early * (1 - t) ** late, 0, 1, epsabs=0, epsrel=1e-9, limit=200)[0]

    return np.array([energy(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)])


def differences(energy: Callable[[np.ndarray, np.ndarray], np.ndarray], a: np.ndarray, b: np.ndarray) -> Answer:
    """The energy and its central differences in ``a`` and ``b``."""
    h, k = STEP * a, STEP * b
    by_a = (energy(a + h, b) - energy(a - h, b)) / (2 * h)
    by_b = (energy(a, b + k) - energy(a, b - k)) / (2 * k)
    return energy(a, b), by_a, by_b


def disagreement(answer: Answer, exact: Answer) -> dict[str, float]:
    """Largest errors: of the energy, relative; of the gradient, relative to the energy and to its own length."""
    value, by_a, by_b = (np.asarray(x, np.float64) for x in answer)
    true, true_a, true_b = (x[: len(value)] for x in exact)
    off, length = np.hypot(by_a - true_a, by_b - true_b), np.hypot(true_a, true_b)
    return {
        "energy": float(np.max(np.abs(value / true - 1))),
        "gradient_over_energy": float(np.max(off / true)),
        "gradient_over_its_length": float(np.max(off / length)),
    }


def picture(per_schedule: dict[str, list[float]]) -> Figure:
    """Time per schedule, whiskers from the fastest to the slowest round."""
    figure = Figure(figsize=(6.6, 2.6))
    axes = figure.subplots()
    names = list(per_schedule)[::-1]
    middle = [statistics.median(per_schedule[name]) for name in names]
    spread = [
        [m - min(per_schedule[n]) for m, n in zip(middle, names)],
        [max(per_schedule[n]) - m for m, n in zip(middle, names)],
    ]
    colours = ["#c2410c" if name.startswith("ours") else "#8a949e" for name in names]
    axes.barh(names, middle, xerr=spread, color=colours, error_kw={"lw": 1, "capsize": 2, "ecolor": "#1d2730"})
    for place, name in enumerate(names):
        label = f" {middle[place]:,.0f} ns"
        axes.text(max(per_schedule[name]) * 1.12, place, label, va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(right=10 * max(map(max, per_schedule.values())))
    axes.set_xlabel("nanoseconds per schedule, energy and gradient (whiskers: fastest to slowest round)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure

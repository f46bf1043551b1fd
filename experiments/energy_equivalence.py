"""The three energies of arXiv 2509.13866 are one function of the schedule, up to constants; so one schedule is best.

This is what the paper's Figure 1 is about. We have its text, not its images: what is drawn here follows the text
(theorems 3.1, 3.2 and 3.6). Kinetic, conditional kinetic and geodesic energy are added up state by state and rate by
rate from their definitions (:mod:`mdm_jax.theory.energies.enumeration`), for several laws of the clean tokens,
possible and impossible sentences among them, and compared with one another and with the one-token energy by quadrature.

The paper says more: that the constants depend on the length ``n`` and the vocabulary ``d`` only. That is measured too.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize_scalar

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from mdm_jax.theory import energies, schedules
from mdm_jax.theory.energies import actions, enumeration

CLAIM = Claim(
    "kinetic, conditional kinetic and geodesic energy are one function of the schedule up to constants that depend on "
    "n and d only, and the same schedule minimises all three",
    source="arXiv 2509.13866, Figure 1 and Theorems 3.1, 3.2, 3.6",
    minutes=4,
)
NAMES = ("kinetic", "conditional kinetic", "geodesic")
WEIGHTS = {"gamma = t": (1.0, 1.0), "gamma = Beta(0.9, 0.3)": (0.9, 0.3)}
SAME, CLOSE, NEAR = 1e-9, 1e-4, 0.02
"""Bounds: of ratios between energies, of brute force against quadrature (64 times), of a minimum's place."""


def run(experiment: Experiment) -> Run:
    """Constants, then whole energies along families of schedules, then the place of the minima."""
    laws = targets()
    rows = [constants(name, law) for name, law in laws.items()]
    print(
        f"{'target':24} {'n':>2} {'d':>2}  {'kinetic':>12} {'conditional':>12} {'geodesic':>9}   n(d+1)^(n-1)   spread"
    )
    for row in rows:
        k, c, g = row["measured"]
        agrees = "=" if row["kinetic_as_in_the_paper"] else "not"
        print(
            f"{row['target']:24} {row['n']:2} {row['d']:2}  {k:12.6f} {c:12.6f} {g:9.6f}   "
            f"{agrees:>3} {row['paper'][0]:<8} {row['spread']:.0e}"
        )
    chosen = ["3 tokens of 2, random", "aaa or bbb"]
    chosen += [] if experiment.quick else ["3 tokens of 3, random", "aaaaa or bbbbb"]
    pairs, places = (dict(list(WEIGHTS.items())[1:]), 3) if experiment.quick else (WEIGHTS, 13)
    some = {law: laws[law] for law in chosen}
    sweeps = {
        name: experiment.part(f"sweep under {name}", lambda pair=pair: sweep(pair, some, places))
        for name, pair in pairs.items()
    }
    for name, found in sweeps.items():
        print(
            f"{name}, schedules Beta(a, {found['b']}): ratios constant to {found['ratio_spread']:.0e}, "
            f"brute force = quadrature to {found['from_quadrature']:.0e}; least at a = {found['a'][found['argmin']]} "
            f"of the grid for {found['same_argmin']} of {found['curves']} curves"
        )
        for energy, place in found["continuous_argmin"].items():
            print(f"  {energy:20} least at a = {place:.4f} by search (gamma's own: {found['own']})")
    if not all(row["kinetic_as_in_the_paper"] for row in rows):
        print("The kinetic constant is not a function of n and d: where sentences are impossible it is smaller.")
    return Run({"constants": rows, "sweeps": sweeps}, picture(sweeps))


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """One function up to constants, one minimum, and constants of size alone."""
    rows, sweeps = results["constants"], results["sweeps"]
    proportional = all(
        row["spread"] < SAME and row["conditional_and_geodesic_as_in_the_paper"] for row in rows
    ) and all(found["ratio_spread"] < SAME and found["from_quadrature"] < CLOSE for found in sweeps.values())
    away = [abs(place - found["own"]) for found in sweeps.values() for place in found["continuous_argmin"].values()]
    one_minimum = max(away) < NEAR and all(
        found["same_argmin"] == found["curves"] and found["a"][found["argmin"]] == found["own"]
        for found in sweeps.values()
    )
    by_size_alone = sum(row["kinetic_as_in_the_paper"] for row in rows)
    spread = max(found["ratio_spread"] for found in sweeps.values())
    return Conclusion(
        "does not" if not (proportional and one_minimum) else "holds" if by_size_alone == len(rows) else "partly",
        f"the ratios of the three energies are constant to {spread:.0e} and all are least within {max(away):.0e} of "
        f"the weight's own parameter; the kinetic constant is the paper's for {by_size_alone} of {len(rows)} laws, and "
        "smaller where sentences are impossible",
        {
            "spread of ratios": spread,
            "brute force against quadrature": max(found["from_quadrature"] for found in sweeps.values()),
            "farthest minimum from the weight's own parameter": max(away),
            "laws": len(rows),
            "laws with the paper's kinetic constant": by_size_alone,
            **{f"kinetic constant, {row['target']}": row["measured"][0] for row in rows},
            **{f"kinetic constant of the paper, {row['target']}": row["paper"][0] for row in rows},
        },
        f"{len(rows)} laws, {sum(found['curves'] for found in sweeps.values())} curves of energies",
    )


def targets() -> dict[str, np.ndarray]:
    """Laws of the clean tokens: random ones on all sentences, and some on few (the last two are the paper's)."""
    rng = np.random.default_rng(0)

    def random(n: int, d: int) -> np.ndarray:
        return rng.dirichlet(np.ones(d**n)).reshape((d,) * n)

    def on(*sentences: str) -> np.ndarray:
        table = np.zeros((2,) * len(sentences[0]))
        for sentence in sentences:
            table[tuple("ab".index(letter) for letter in sentence)] = 1 / len(sentences)
        return table

    five = ["".join(letters) for letters in itertools.product("ab", repeat=5)]
    return {
        "1 token of 3, random": random(1, 3),
        "2 tokens of 2, random": random(2, 2),
        "2 tokens of 4, random": random(2, 4),
        "3 tokens of 2, random": random(3, 2),
        "3 tokens of 3, random": random(3, 3),
        "5 tokens of 2, random": random(5, 2),
        "aaa or bbb": on("aaa", "bbb"),
        "aaaaa or bbbbb": on("aaaaa", "bbbbb"),
        "5 letters, 2 or 3 a's": on(*(sentence for sentence in five if sentence.count("a") in (2, 3))),
    }


def constants(name: str, law: np.ndarray) -> dict[str, Any]:
    """Energies over the one-token energy at several times: equal at all of them, and to what."""
    n, d = law.ndim, law.shape[0]
    measured = np.array(
        [
            np.array(enumeration.instantaneous(law, alpha, rate)[:3]) * alpha * (1 - alpha) / rate**2
            for alpha, rate in [(0.02, 0.3), (0.2, 1.0), (0.5, 1.5), (0.8, 0.7), (0.98, 4.0)]
        ]
    )
    middle = np.median(measured, axis=0)
    paper = (n * (d + 1) ** (n - 1), n * 2 ** (n - 1), n)
    same = [math.isclose(value, wanted, rel_tol=SAME) for value, wanted in zip(middle, paper, strict=True)]
    return {
        "target": name,
        "n": n,
        "d": d,
        "sentences": int(np.count_nonzero(law)),
        "measured": middle.tolist(),
        "paper": list(paper),
        "spread": float(np.max(np.abs(measured / middle - 1))),
        "kinetic_as_in_the_paper": same[0],
        "conditional_and_geodesic_as_in_the_paper": same[1] and same[2],
    }


def sweep(pair: tuple[float, float], laws: Mapping[str, np.ndarray], count: int) -> dict[str, Any]:
    """All three energies of Beta(a, b) under the weight Beta(own, b), for ``a`` around ``own``, for every law."""
    own, b = pair
    weight = schedules.beta(own, b)
    a = (own * np.unique(np.append(np.geomspace(0.72, 2.4, count - 1), 1.0))).round(4)
    brute = np.array([[brute_force(law, x, b, weight) for x in a] for law in laws.values()])
    counted = np.array([enumeration.constants(law) for law in laws.values()])
    scaled = brute / counted[:, None, :] / np.pi**2  # law, a, energy
    fine = np.linspace(0.64 * own, 2.5 * own, 90)
    both = np.concatenate([a, fine])
    by_quadrature = energies.batch(schedules.beta(both, np.full_like(both, b)), weight, one_token_energy)
    one_token, curve = np.split(np.asarray(by_quadrature, np.float64) / np.pi**2, [len(a)])
    lowest = np.argmin(scaled, axis=1)

    @functools.cache  # the three searches nearly always try the same places
    def restricted(x: float) -> tuple[float, float, float]:
        return brute_force(laws["aaa or bbb"], x, b, weight)

    places = {
        name: least_place(lambda x, which=which: restricted(round(x, 6))[which], 0.75 * own, 2 * own)
        for which, name in enumerate(NAMES)
    }
    return {
        "own": own,
        "b": b,
        "a": a.tolist(),
        "laws": list(laws),
        "energies_over_constants": scaled.tolist(),
        "ratio_spread": float(np.max(np.abs(scaled / scaled[:1, :, :1] - 1))),
        "from_quadrature": float(np.max(np.abs(scaled / one_token[None, :, None] - 1))),
        "argmin": int(lowest[0, 0]),
        "same_argmin": int(np.sum(lowest == lowest[0, 0])),
        "curves": int(lowest.size),
        "continuous_argmin": places,
        "curve": {"a": fine.tolist(), "energy": curve.tolist()},
    }


def least_place(function: Callable[[float], float], low: float, high: float) -> float:
    found: Any = minimize_scalar(
        lambda x: function(float(x)), bounds=(low, high), method="bounded", options={"xatol": 1e-3}
    )
    return float(found.x)


def one_token_energy(schedule: schedules.Schedule, weight: schedules.Schedule) -> jax.Array:
    return actions.action(schedule, actions.fisher, weight)


def brute_force(law: np.ndarray, a: float, b: float, weight: schedules.Schedule) -> tuple[float, float, float]:
    found = enumeration.energies(law, schedules.beta(a, b), weight, tolerance=1e-3)
    return found.kinetic, found.conditional_kinetic, found.geodesic


def picture(sweeps: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Left: energies over their constants along each family. Right: the angle of each best schedule against gamma."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    *panels, last = figure.subplots(1, len(sweeps) + 1)
    colours, marks = ("#c2410c", "#1d6fb8", "#2e8059"), (("o", 9), ("s", 5.5), ("x", 5))
    t = np.linspace(0, 1, 201)
    for panel, (name, found) in zip(panels, sweeps.items(), strict=True):
        panel.plot(found["curve"]["a"], found["curve"]["energy"], color="#5d6974", lw=1, label="one token, quadrature")
        scaled = np.array(found["energies_over_constants"])
        for which, (energy, colour, (mark, size)) in enumerate(zip(NAMES, colours, marks, strict=True)):
            for law, row in enumerate(scaled):
                panel.plot(
                    found["a"], row[:, which], mark, ms=size, mfc="none", color=colour, ls="",
                    label=f"{energy}, every state" if law == 0 else None,
                )  # fmt: skip
        panel.axvline(found["own"], color="#1d2730", lw=0.8, ls=":")
        panel.annotate(
            f"all least at a = {found['own']:g}", (found["own"], 1), (6, -13), textcoords="offset points", fontsize=8
        )
        panel.set_title(name, fontsize=9)
        panel.set_xlabel(f"a, of the schedule Beta(a, {found['b']:g})", fontsize=8)
        _, highest = panel.get_ylim()
        panel.set_ylim(1 - 0.13 * (highest - 1), min(highest, 1.05 * scaled.max()))
    panels[0].set_ylabel("energy / (its constant · π²)", fontsize=8)
    panels[0].legend(fontsize=7.5, frameon=False, loc="upper center")
    for (name, found), colour in zip(sweeps.items(), colours):
        gamma = np.asarray(schedules.beta(found["own"], found["b"]).theta(t))
        last.plot(t, gamma, color=colour, lw=1.2, label=name)
        places = found["continuous_argmin"]
        spread = np.linspace(0, 1, 16)
        for energy, (mark, size) in zip(NAMES, marks, strict=True):
            best = np.asarray(schedules.beta(places[energy], found["b"]).theta(spread))
            last.plot(spread, best, mark, ms=size, mfc="none", color=colour, ls="")
    last.plot([], [], "o", mfc="none", color="#5d6974", ls="", label="θ of the best schedules found")
    last.set_title("the best angle θ(t) is gamma(t)", fontsize=9)
    last.set_xlabel("time t", fontsize=8)
    last.legend(fontsize=7.5, frameon=False, loc="upper left")
    for axes in (*panels, last):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure

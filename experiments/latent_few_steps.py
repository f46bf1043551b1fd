"""Do latents help at few steps, and where several solutions exist? Two tasks whose truth is known.

* Binsaw: 64 bits that share a hidden shift. Samples are judged by their exact negative log-likelihood, less that of
  held-out rows. Rows that all have one shift would have a good one: so the shifts of the samples are looked at as well
  (the KL of their pooled posterior from the uniform law, 0 where they are spread as they should be).
* Sudoku of 4 x 4 cells. From nothing: the share of samples that are valid grids, and how many of these are different.
  As completion: the share of puzzles that are solved, of puzzles with several solutions and of others with one.

Plans of equal sizes in random order, 1 to 16 steps. Four ways:

* MDM: no latent, as deep as the denoiser and the recognition network of the others together, its feed-forward layers a
  quarter wider in place of what the latents' modulation takes.
* VMD: a latent, trained on the surrogate, whose KL warms up over the whole training, and drawn once for each sample.
  VADD: the same model, the latent drawn anew at each step.
* stepwise: the bound for samplers of two steps, the latent drawn anew at each, as the bound wants it.

All have as many parameters within 1%, and as many floating-point operations of training (by the compiler's count; the
figures have them, and the processor seconds). All are told where positions lie by a learned vector for each: of nothing
but masks a model without it sees no places but the ends, and a latent for the whole row could not say what is where.

Seen before: pilots of seed 99, in which the latent collapsed with a warm-up of .3 (Binsaw) and .7 (Sudoku); and a whole
run of this experiment on seeds 0 to 2, a quarter as long, with a warm-up of .5 and free bits against collapse (its
record is in commit 50d831c). There VMD made more valid grids than MDM in 2 and 4 steps, and was far behind in
completion, VADD everywhere: with free bits a latent may depend on what is revealed at no cost, and one drawn from the
prior then contradicts it. So free bits were given up for a slow warm-up, the trainings made longer, Sudoku of 6 x 6
cells added (one seed, outside of the claim: its latents collapsed), and other seeds taken. All of it was trained
before Muon left to Adam what a latent goes through.

For one step KL(data || samples) is computed: over all 288 grids, or over held-out rows of Binsaw; that of latent models
by a mean over latents, which errs upwards where latents that explain a row are rare.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.latents import learned_together, over_seeds, placed, step_flops
from mdm_jax import models, sample, tasks
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.models.latent import LatentDenoiser
from mdm_jax.tasks.grids.sudoku import SudokuTask
from mdm_jax.tasks.toys.saws import BinsawTask, chance_of_one
from mdm_jax.theory import plans
from mdm_jax.training import LatentSurrogate, Settings, StepwiseLatentBound
from mdm_jax.training.objective import MASKED_NELBO, Examples, Objective

CLAIM = Claim(
    "latents help most at the fewest steps and where several solutions exist: on Binsaw and Sudoku of 4 x 4 cells VMD "
    "beats MDM at 1 to 4 steps, by more than at 8 and 16, and on puzzles with several solutions by more than on those "
    "with one (equal parameters and training operations; intervals over three seeds)",
    source="arXiv 2510.23606, arXiv 2505.17384; pilots of one other seed were known",
    minutes=40,
    seeds=(3, 4, 5),
)
BUDGETS = (1, 2, 4, 8, 16)
FEW, MANY = (1, 2, 4), (8, 16)
SIZES = {
    "binsaw": {"width": 32, "depth": 1, "heads": 2},
    "sudoku4": {"width": 32, "depth": 1, "heads": 2},
    "sudoku6": {"width": 48, "depth": 2, "heads": 2},
}
STEPS = {"binsaw": 4000, "sudoku4": 8000, "sudoku6": 2500}
BATCH = {"binsaw": 32, "sudoku4": 64, "sudoku6": 64}
CLAIMED = ("binsaw", "sudoku4")
"""The tasks that the claim names; on the others one seed is looked at."""
WARMUP = 1.0
LATENT_SIZE = 8
MDM, VMD, VADD, STEPWISE = "MDM", "VMD", "VADD", "stepwise"
WAYS = (MDM, VMD, STEPWISE)
ROWS = 512
LATENTS = 4096
SHIFTS = 64


def model_of(way: str, spec: str) -> LatentDenoiser | Any:
    """The denoiser of a way on a task."""
    task, size = tasks.from_spec(spec), SIZES[spec]
    base: dict[str, Any] = {"vocab_size": task.vocab_size, "length": task.length, **size}
    if way == MDM:
        wider = 4 + 1 / size["depth"] if spec == "sudoku6" else 5
        return placed(models.transformer(**{**base, "depth": size["depth"] + 1, "expansion": wider}))
    return placed(models.latent_transformer(**base, latent_size=LATENT_SIZE))


def objective_of(way: str) -> Objective:
    """What a way is trained on."""
    if way == MDM:
        return MASKED_NELBO
    if way == VMD:
        return LatentSurrogate(warmup=WARMUP)
    return StepwiseLatentBound(steps=2, warmup=WARMUP)


def settings_of(way: str, spec: str, quick: bool) -> Settings:
    """Of a training: as many steps as cost what those of VMD cost."""
    length = tasks.from_spec(spec).length
    if quick:
        return Settings(steps=3, batch=4, length=length, optimizer="adamw")  # which compiles sooner
    one = Settings(batch=BATCH[spec], length=length)
    cost = {name: step_flops(model_of(name, spec), one, objective_of(name)) for name in (way, VMD)}
    return Settings(steps=round(STEPS[spec] * cost[VMD] / cost[way]), batch=BATCH[spec], length=length)


def measured(way: str, spec: str, seeds: tuple[int, ...], quick: bool) -> list[dict[str, Any]]:
    """Train one way on one task and judge its samples, by seed."""
    task, denoiser, settings = tasks.from_spec(spec), model_of(way, spec), settings_of(way, spec, quick)
    trained = learned_together(denoiser, [(task, seed) for seed in seeds], settings, objective_of(way))
    cost = {
        "parameters": trained.parameters,
        "seconds": trained.seconds,
        "steps": settings.steps,
        "operations": trained.step_flops * settings.steps,
    }
    if way == MDM:
        samplers = {MDM: denoiser}
    else:
        samplers = {VMD: denoiser, VADD: models.redrawn(denoiser)} if way == VMD else {way: models.redrawn(denoiser)}
    found = []
    for seed, params in zip(seeds, trained.params, strict=True):
        made: dict[str, Any] = {"cost": cost, "one step": one_step(denoiser, params, task, 64 if quick else LATENTS)}
        if way != MDM:
            held_out = Examples(jnp.asarray(task.validation[:ROWS]))
            objective: Any = objective_of(way)
            seen = objective.monitor(denoiser, params, held_out, jax.random.key(seed))
            made["latent"] = {name: float(value) for name, value in seen.items()}
        made["samples"] = {name: judged(one, params, task, seed, quick) for name, one in samplers.items()}
        found.append(made)
    return found


def judged(denoiser: Denoiser, params: Params, task: Any, seed: int, quick: bool) -> dict[str, Any]:
    """What its samples are worth, by number of steps."""
    rows, budgets = (8, (1, 2)) if quick else (ROWS, BUDGETS)

    def drawn(canvas: np.ndarray, steps: int) -> np.ndarray:
        plan = plans.uniform(task.length, steps)
        return np.asarray(sample(denoiser, params, plan, canvas=canvas, key=jax.random.key(100 + seed)).tokens)

    nothing = np.full((rows, task.length), task.vocab_size, np.int32)
    generated = {steps: drawn(nothing, steps) for steps in budgets}
    if isinstance(task, BinsawTask):
        truth = float(task.log_prob(task.test).mean())
        return {
            "excess": {steps: truth - float(task.log_prob(rows).mean()) for steps, rows in generated.items()},
            "shifts": {steps: uneven_shifts(rows) for steps, rows in generated.items()},
        }
    assert isinstance(task, SudokuTask)
    made: dict[str, Any] = {"valid": {}, "different": {}}
    for steps, grids in generated.items():
        valid = grids[task.is_valid(grids)]
        made["valid"][steps] = len(valid) / rows
        made["different"][steps] = len(np.unique(valid, axis=0)) / max(len(valid), 1)
    for name, unique in (("several", False), ("one", True)):
        puzzles = task.puzzles(rows, seed=seed, unique=unique)
        solved = {steps: task.solves(puzzles.canvas, drawn(puzzles.canvas, steps)) for steps in budgets}
        made[name] = {steps: float(one.mean()) for steps, one in solved.items()}
    return made


def uneven_shifts(rows: np.ndarray) -> float:
    """KL of the rows' pooled posterior over shifts from the uniform law, nats."""
    one = chance_of_one(np.arange(SHIFTS)[:, None] / (2 * SHIFTS))  # one period
    joint = rows @ np.log(one).T + (1 - rows) @ np.log1p(-one).T
    posterior = np.exp(joint - joint.max(axis=1, keepdims=True))
    pooled = (posterior / posterior.sum(axis=1, keepdims=True)).mean(axis=0)
    return float(np.log(SHIFTS) + np.sum(pooled * np.log(np.maximum(pooled, 1e-300))))


def one_step(denoiser: Denoiser, params: Params, task: Any, latents: int) -> float:
    """KL(data || samples of one step), nats a row; of latent models by a mean over latents."""
    rows = np.unique(task.train, axis=0) if task.spec == "sudoku4" else task.test[:ROWS]
    many = latents if isinstance(denoiser, LatentDenoiser) else 1

    @jax.jit
    def log_prob(rows: Array) -> Array:
        masks = jnp.full((many, task.length), task.vocab_size, jnp.int32)
        context = None
        if isinstance(denoiser, LatentDenoiser):
            context = denoiser.draw_latents(params, jax.random.split(jax.random.key(0), many))
        law = jax.nn.log_softmax(models.logits(denoiser, params, masks, context), axis=-1)
        shown = jax.nn.one_hot(rows, task.vocab_size).reshape(len(rows), -1)
        return jax.nn.logsumexp(shown @ law.reshape(many, -1).T, axis=-1) - jnp.log(many)

    return float((task.log_prob(rows) - np.asarray(log_prob(jnp.asarray(rows)), np.float64)).mean())


def run(experiment: Experiment) -> Run:
    """Train and judge, task by task."""
    quick = experiment.quick
    specs, ways = (("sudoku4",), (MDM, VMD)) if quick else (tuple(SIZES), WAYS)
    found: dict[str, dict[str, Any]] = {}
    for spec in specs:
        found[spec] = {}
        for way in ways:
            seeds = CLAIM.seeds if spec in CLAIMED else CLAIM.seeds[:1]
            part = experiment.part(
                f"{spec}, {way}", lambda way=way, spec=spec, seeds=seeds: measured(way, spec, seeds, quick)
            )
            found[spec][way] = part
    return Run({"tasks": found}, picture(found))


def by_seed(found: Mapping[str, Any], sampler: str, what: str, steps: int) -> np.ndarray:
    """One figure of a sampler's samples, seed by seed."""
    way = VMD if sampler == VADD else sampler
    return np.array([seed["samples"][sampler][what][str(steps)] for seed in found[way]])


def gain(found: Mapping[str, Any], sampler: str, what: str, budgets: tuple[int, ...]) -> np.ndarray:
    """By how much a sampler's figure is better than MDM's, a mean over budgets, seed by seed."""
    sign = -1 if what == "excess" else 1
    each = [sign * (by_seed(found, sampler, what, k) - by_seed(found, MDM, what, k)) for k in budgets]
    return np.mean(each, axis=0)


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """Gains of VMD over MDM, with intervals over seeds: at few steps, beside many, and by the number of solutions."""
    figures: dict[str, Any] = {}
    held: dict[str, list[bool]] = {}

    def tell(name: str, values: np.ndarray, part: str | None = None) -> None:
        figures[name] = one = over_seeds(values.tolist())
        if part is not None:
            held.setdefault(part, []).append(isinstance(one, list) and one[1] > 0)

    for spec, found in results["tasks"].items():
        what = "excess" if spec == "binsaw" else "valid"
        budgets = [int(steps) for steps in found[MDM][0]["samples"][MDM][what]]
        few, many = (tuple(k for k in group if k in budgets) for group in (FEW, MANY))
        for sampler in (VMD, VADD, STEPWISE):
            if spec not in CLAIMED or (sampler == STEPWISE and STEPWISE not in found):
                continue
            steps, puzzles = (f"{spec}, steps", f"{spec}, puzzles") if sampler == VMD else (None, None)
            tell(f"{spec}: gain of {sampler} at few steps", gain(found, sampler, what, few), steps)
            for k in () if sampler == VADD else budgets:
                tell(f"{spec}: gain of {sampler}, steps: {k}", gain(found, sampler, what, (k,)))
            if many:
                more = gain(found, sampler, what, few) - gain(found, sampler, what, many)
                tell(f"{spec}: gain of {sampler} at few steps less at many", more, steps)
            if what == "valid":
                several, one = (gain(found, sampler, kind, few) for kind in ("several", "one"))
                tell(f"{spec}: gain of {sampler} on puzzles with several solutions", several, puzzles)
                tell(f"{spec}: gain of {sampler} on puzzles with one solution", one)
                tell(f"{spec}: gain of {sampler} with several solutions less one", several - one, puzzles)
        kinds = ("excess", "shifts") if what == "excess" else ("valid", "several", "one", "different")
        kinds = kinds if spec in CLAIMED else kinds[:3]
        for sampler in (MDM, VMD, VADD, STEPWISE):
            if (VMD if sampler == VADD else sampler) in found:
                for kind, k in ((kind, k) for kind in kinds for k in budgets):
                    if kind == "different" and not np.all(by_seed(found, sampler, "valid", k)):
                        continue  # a share of none
                    each = by_seed(found, sampler, kind, k).tolist()
                    figures[f"{spec}: {kind}, {sampler}, steps: {k}"] = over_seeds(each)
        for way, seeds in found.items():
            cost = seeds[0]["cost"]
            figures |= {
                f"{spec}: {name}, {way}": cost[name] for name in ("parameters", "steps", "seconds", "operations")
            }
            figures[f"{spec}: KL of one step, {way}"] = over_seeds([seed["one step"] for seed in seeds])
            figures[f"{spec}: KL of one step, {way}, the best seed"] = min(seed["one step"] for seed in seeds)
            if "latent" in seeds[0]:
                for name in ("kl_nats", "active_units"):
                    figures[f"{spec}: {name}, {way}"] = over_seeds([seed["latent"][name] for seed in seeds])
    passed = [name for name, good in held.items() if all(good)]
    verdict = "holds" if len(passed) == len(held) else "partly" if passed else "does not"
    told = []
    for spec in results["tasks"]:
        if spec not in CLAIMED:
            continue
        mean, low, high = figures[f"{spec}: gain of VMD at few steps"]
        unit = " nats" if spec == "binsaw" else ""
        told.append(f"{spec} {mean:+.3g}{unit} ({low:.3g} to {high:.3g})")
    return Conclusion(
        verdict,
        f"gain of VMD over MDM, the mean over 1, 2 and 4 steps: {'; '.join(told)}; what holds of the "
        f"claim's {len(held)} parts: {'; '.join(passed) or 'nothing'}",
        figures,
        f"{len(CLAIM.seeds)} seeds of each way, {ROWS} samples and {ROWS} puzzles of each kind for each",
    )


def picture(found: Mapping[str, Any]) -> Figure:
    """Every figure of merit against the number of steps: means over seeds, from the least to the greatest."""
    panels = []
    for spec in found:
        if spec == "binsaw":
            panels.append((spec, "excess", "Binsaw: nats above held-out rows"))
        else:
            panels.append((spec, "valid", f"{spec}: valid grids"))
            panels.append((spec, "several", f"{spec}: puzzles, several solutions"))
            panels.append((spec, "one", f"{spec}: puzzles, one solution"))
    figure = Figure(figsize=(12, 5.4) if len(panels) > 4 else (10, 2.8), layout="constrained")
    axes = np.atleast_1d(figure.subplots(2 if len(panels) > 4 else 1, 4 if len(panels) > 4 else len(panels))).reshape(
        -1
    )
    looks = {MDM: ("#c2410c", "o"), VMD: ("#1d6fb8", "s"), VADD: ("#2e8059", "^"), STEPWISE: ("#6d4fa4", "v")}
    for one, (spec, what, title) in zip(axes, panels):
        budgets = [int(k) for k in found[spec][MDM][0]["samples"][MDM][what]]
        for sampler, (colour, marker) in looks.items():
            ways = found[spec]
            if (VMD if sampler == VADD else sampler) not in ways:
                continue
            values = np.array([by_seed(ways, sampler, what, k) for k in budgets])
            mean = values.mean(axis=1)
            one.errorbar(
                budgets, mean, (mean - values.min(axis=1), values.max(axis=1) - mean),
                fmt=marker + "-", color=colour, markersize=4, capsize=2, linewidth=1, label=sampler,
            )  # fmt: skip
        one.set_xscale("log", base=2)
        one.set_xticks(budgets, [str(k) for k in budgets])
        one.set_title(title, fontsize=9)
        one.set_xlabel("steps", fontsize=8)
        one.tick_params(labelsize=7)
        one.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8, frameon=False)
    for one in axes[len(panels) :]:
        one.set_axis_off()
    return figure

"""Can we say in advance which Beta schedule wins, in orders that look at the model's confidence?

Small models, trained here on five tasks. For 20 Beta schedules and budgets of L/16, L/8 and L/4 steps, three ways to
predict on validation rows are held against what the plans cost on test rows, teacher-forced along the order's own path,
and against the task's score of samples:

* ``profile``: the random-order profile (the posterior's mean), which in random order decides, up to noise;
* ``table``: the cost of the next ``s`` surest tokens after ``i``, of one path of the order itself
  (``experiments/tools/own_paths.py``), from as many encodings;
* ``64 rows``: what every schedule itself costs on 64 validation rows.

Ranks are compared by Spearman's correlation over schedules; where all samples score alike there is none, and the cell
is left out. Choosing is judged on test rows, against the best of the 20 *in hindsight* on the same rows, which chance
favours: the best Beta by the profile, by the table, equal steps, and the *shortlist*: the profile's optimal plan, equal
steps and its six best Betas, of which 64 validation rows choose. Random order stands beside them: there the table is
the profile.

Known before: a pilot on text, digits and sudoku4 of other seeds, after which the shortlist was composed. Its models are
not used here. What is pooled counts tasks as independent.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from jaxtyping import Float

import mdm_jax as mdm
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.grouped import interval
from experiments.tools.own_paths import forced_costs, table, told
from experiments.tools.winner_told import concluded, picture
from mdm_jax import models, tasks
from mdm_jax.evaluation import order_shortlist, own_entropy, plan_costs
from mdm_jax.evaluation.order_tuning import BETAS
from mdm_jax.models.denoiser import Denoiser, Params
from mdm_jax.sampling import Sampler, rules
from mdm_jax.sampling.readings import margin, max_probability
from mdm_jax.tasks import Task
from mdm_jax.theory import plans, profiles, schedules
from mdm_jax.theory.plans import Plan
from mdm_jax.training import Settings, fit

CLAIM = Claim(
    "in confidence orders a profile measured along the order's own path ranks 20 Beta schedules by their samples' "
    "scores better than the random-order profile does (mean over cells higher, the 95 % interval over tasks above 0), "
    "and costs of 64 validation rows rank them better still; choosing from a shortlist of eight by these costs no more "
    "than .01 of the cost above the best Beta in hindsight in the mean",
    source="ours, after arXiv 2509.13866; a pilot on other tasks and seeds was known",
    minutes=25,
    seeds=(21,),
)
SEED = 21
TRAINED = {
    "sudoku4": {"steps": 1500, "batch": 8},
    "arithmetic": {"steps": 800, "batch": 32},
    "brackets": {"steps": 2000, "batch": 32},
    "text": {"steps": 2000, "batch": 8},
    "code": {"steps": 2000, "batch": 8},
}
LENGTH, WIDTH, DEPTH = 64, 64, 3
ENCODINGS, COUNTS = 4096, 12
CHOOSING, JUDGING, SAMPLES = 64, 128, 128
QUICK_ROWS = 8
WITHIN = 0.01
MEASURES = {"max probability": max_probability, "margin": margin}
ORDERS = (*MEASURES, "random")
PREDICTORS = ("profile", "table", "64 rows")
WAYS = ("best by profile", "best by table", "equal steps", "shortlist")


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A trained model and rows that chose nothing of it: validation rows in a random order, and test rows."""

    task: Task
    denoiser: Denoiser
    params: Params
    rows: dict[str, np.ndarray]
    given: dict[str, np.ndarray]
    few: int | None

    @property
    def free(self) -> int:
        """Tokens of a row that are to be found."""
        return int((~self.given["test"][0]).sum())

    @property
    def samples(self) -> int:
        """Of every plan."""
        return self.few or SAMPLES

    @functools.cached_property
    def profile(self) -> profiles.Profile:
        """The random-order profile of validation rows: the posterior's mean."""
        rows, given = self.rows["validation"], self.given["validation"]
        encodings = self.few * self.free if self.few else ENCODINGS
        found = mdm.estimate_profile(self.denoiser, self.params, rows, encodings, given=given, key=mdm.key(SEED))
        return profiles.posterior_profile(found).profile

    def budgets(self) -> tuple[int, ...]:
        """L/16, L/8 and L/4 steps; at least 2, 3 and 4, since one step has no schedule."""
        return tuple(max(least, self.free // part) for least, part in ((2, 16), (3, 8), (4, 4)))


def run(experiment: Experiment) -> Run:
    """Task by task: the model, then the cells of each order."""
    cells = []
    for name in ("brackets", "arithmetic") if experiment.quick else TRAINED:
        subject = functools.cache(lambda name=name: trained(experiment, name))
        for order in ORDERS[1:] if experiment.quick else ORDERS:
            mine = experiment.part(f"{name}, {order}", lambda order=order, subject=subject: cells_of(subject(), order))
            for cell in mine:
                ranks = ", ".join(f"{way} {cell['score'][way]} (cost {cell['cost'][way]})" for way in PREDICTORS)
                print(f"{name}, {order}, {cell['steps']} steps: rank correlation with the score: {ranks}")
            cells += [{"task": name, "order": order, **cell} for cell in mine]
    results = columns(cells)
    return Run(results, picture(results, PREDICTORS, WAYS))


def columns(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The cells as lists, one for each thing told of them: small in a file."""

    def of(kind: str) -> dict[str, list[Any]]:
        return {name: [cell[kind][name] for cell in cells] for name in cells[0][kind]}

    plain = ("task", "order", "steps", "different", "best", "spread")
    named = ("cost", "score", "above", "low", "high", "worse score", "more entropy")
    return {name: [cell[name] for cell in cells] for name in plain} | {name: of(name) for name in named}


def trained(experiment: Experiment, name: str) -> Subject:
    """The subject of a task; briefly trained and short in a quick run."""
    quick = experiment.quick
    if name in ("text", "code"):
        task: Task = getattr(tasks, name)(length=LENGTH)
    elif name == "brackets":
        task = tasks.brackets(16) if quick else tasks.brackets()
    else:
        task = (tasks.arithmetic(8) if quick else tasks.arithmetic()) if name == "arithmetic" else tasks.sudoku4()
    size = {"width": 16, "depth": 1} if quick else {"width": WIDTH, "depth": DEPTH}
    denoiser = models.transformer(task.vocab_size, length=task.length, **size)
    settings = Settings(steps=10, batch=8, seed=SEED) if quick else Settings(seed=SEED, **TRAINED[name])  # pyright: ignore[reportArgumentType]
    folder = None if quick else experiment.folder / "models" / name
    params = fit(denoiser, task, settings=settings, directory=folder, progress=False).params
    rows, given, few = {}, {}, QUICK_ROWS if quick else None
    for part, most in (("validation", few), ("test", few or JUDGING)):
        every = np.asarray(getattr(task, part))
        chosen = np.random.default_rng(SEED).permutation(len(every))[:most]
        known = tasks.given_of(task, part)
        rows[part] = every[chosen]
        given[part] = np.zeros(rows[part].shape, bool) if known is None else known[chosen]
    return Subject(task, denoiser, params, rows, given, few)


def cells_of(subject: Subject, order: str) -> list[dict[str, Any]]:
    """A cell for each budget."""
    made = None if order == "random" else own_table(subject, order)
    return [cell_of(subject, order, steps, made) for steps in subject.budgets()]


def own_table(subject: Subject, order: str) -> Float[np.ndarray, "free free_and_one"]:
    """The table of the order's own path, from as many encodings as the profile."""
    counts = profiles.default_counts(subject.free, COUNTS).tolist()
    rows, given = (every["validation"][: ENCODINGS // len(counts)] for every in (subject.rows, subject.given))
    return table(subject.denoiser, subject.params, rows, given, counts, MEASURES[order])


def cell_of(subject: Subject, order: str, steps: int, made: np.ndarray | None) -> dict[str, Any]:
    """How three predictions rank 20 Betas, and what four ways to choose cost; nats a row, of test rows."""
    betas = [plans.from_schedule(schedules.beta(a, b), subject.free, steps) for a, b in BETAS]
    equal, optimum = plans.uniform(subject.free, steps), plans.optimal(subject.profile, steps)
    every = list({plan.sizes.tobytes(): plan for plan in (*betas, equal, optimum)}.values())
    place = {plan.sizes.tobytes(): i for i, plan in enumerate(every)}
    of = np.array([place[plan.sizes.tobytes()] for plan in betas])  # several schedules may round to one plan
    choosing, judging = costs(subject, order, every, "validation"), costs(subject, order, every, "test")
    drawn = evaluated(subject, order, every)
    worth = drawn.means() * (1 if subject.task.lower_is_better else -1)
    entropies = np.array([own_entropy(tokens, subject.task.vocab_size).mean() for tokens in drawn.tokens])

    told_by = {"profile": np.array([float(subject.profile.expected_nelbo(plan.sizes)) for plan in every])}
    told_by["table"] = told_by["profile"] if made is None else np.array([told(made, plan) for plan in every])
    told_by["64 rows"], truth = choosing.mean(axis=1), judging.mean(axis=1)
    best = of[truth[of].argmin()]
    short = [place[plan.sizes.tobytes()] for plan in order_shortlist(subject.profile, steps)]
    chosen = [of[told_by[name][of].argmin()] for name in ("profile", "table")]
    chosen += [place[equal.sizes.tobytes()], short[int(told_by["64 rows"][short].argmin())]]
    above = [interval(judging[i] - judging[best]) for i in chosen]
    return {
        "steps": steps,
        "different": len(set(of.tolist())),
        "best": tidy(truth[best]),
        "spread": tidy(np.ptp(truth[of])),
        "cost": {name: ranked(values[of], truth[of]) for name, values in told_by.items()},
        "score": {name: ranked(values[of], worth[of]) for name, values in told_by.items()}
        | {"test costs": ranked(truth[of], worth[of]), "entropy": ranked(entropies[of], worth[of])},
        **{
            name: {way: tidy(one[i]) for way, one in zip(WAYS, above)}
            for i, name in enumerate(("above", "low", "high"))
        },
        "worse score": {way: tidy(worth[i] - worth[best]) for way, i in zip(WAYS, chosen)},  # pyright: ignore[reportArgumentType]
        "more entropy": {way: tidy(entropies[i] - entropies[best]) for way, i in zip(WAYS, chosen)},  # pyright: ignore[reportArgumentType]
    }


def ranked(predicted: Float[np.ndarray, " plans"], truth: Float[np.ndarray, " plans"]) -> float | None:
    """Spearman's correlation; ``None`` where one of the two is the same for all."""
    alike = np.ptp(predicted) == 0 or np.ptp(truth) == 0
    return None if alike else tidy(scipy.stats.spearmanr(predicted, truth).statistic)  # pyright: ignore[reportAttributeAccessIssue]


def tidy(value: float) -> float:
    """To what is worth keeping."""
    return round(float(value), 4)


def costs(subject: Subject, order: str, every: Sequence[Plan], part: str) -> Float[np.ndarray, "plans rows"]:
    """What plans cost on test rows, or on the first validation rows, in an order; nats."""
    rows, given = (each[part][: CHOOSING if part == "validation" else None] for each in (subject.rows, subject.given))
    model = subject.denoiser, subject.params
    if order != "random":
        return forced_costs(*model, rows, given, every, MEASURES[order])
    whole = [stretched(plan, rows.shape[1]) for plan in every]
    return plan_costs(*model, rows, whole, key=mdm.key(SEED), given=given if given.any() else None)


def stretched(plan: Plan, length: int) -> Plan:
    """The plan for ``length`` tokens that is ``plan`` where it is scaled to what is left of a prompt's row."""
    return Plan(np.diff(np.rint(plan.knots * (length / plan.length)).astype(int)), plan.name)


def evaluated(subject: Subject, order: str, every: Sequence[Plan]) -> mdm.evaluation.Evaluation:
    """Samples of every plan in an order, paired, judged by the task; prompts are those of test rows."""
    ids = np.arange(subject.samples) % len(subject.rows["test"])
    canvas = np.where(subject.given["test"], subject.rows["test"], subject.denoiser.mask_id)[ids]
    named: dict[str, Sampler] = {
        str(i): plan if order == "random" else rules.surest(plan, score=MEASURES[order]) for i, plan in enumerate(every)
    }
    model, score = (subject.denoiser, subject.params), subject.task.score
    quiet = mdm.evaluation.Execution(progress=False)
    return mdm.evaluate(*model, named, subject.samples, score, key=mdm.key(SEED), canvas=canvas, execution=quiet)


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """The three parts of the claim; tasks count as independent."""
    sizes = f"{CHOOSING} rows choose, {JUDGING} judge, {SAMPLES} samples"
    return concluded(results, PREDICTORS, WAYS, WITHIN, f"{len(BETAS)} schedules; for each {sizes}")

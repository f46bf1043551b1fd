"""Does a Beta schedule searched after training beat the usual ones on models that others published? (2509.13866)

Three models that are given, none trained here, and what ``tools/schedule_cells.py`` does in a cell: rxnmapper's ALBERT
on made reactions of 83 tokens (:mod:`experiments.reactions`), AntiBERTy on the first 91 residues of human V regions
(:mod:`experiments.antibodies`), and Sapiens' model of light chains (MIT; RoBERTa, .6 million parameters) on those of
light chains alone: they have twice as many families as heavy ones. All rows of a model are equally long, half of the
positions are given, drawn at random for each prompt, and the others are filled in: as many in every row. The score is
the share of these that is found again. No temperatures: half of each row is known.

Reactions of half of the rings choose, of the other half judge, and no ring is in two reactions. Every other family of V
regions chooses, the rest judges. Prompts of a family take turns in its genes, each with positions of its own; they
depend on each other, so intervals count families (or reactions), with equal weight. Germlines resemble what both models
of antibodies were trained on: held out is a family from the search, not from the training.

The profile of the choosing prompts predicts the cost of every candidate in random order. Its optimal sizes are judged
besides, in both orders: they take no part in the search.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from experiments import antibodies, reactions
from experiments.tools import made_reactions, schedule_tables
from experiments.tools.experiment import Claim, Conclusion, Experiment, Run
from experiments.tools.germlines import RESIDUES, genes_of_families, germlines, halves_of, made_up_germlines
from experiments.tools.published_models import made_up, of_real_tokens, real_tokens, required_wheel, unpacked
from experiments.tools.schedule_cells import (
    CHOICES,
    ORDERS,
    WINNER,
    Sizes,
    World,
    canvases_of,
    given_at_random,
    measured,
    steps_of,
)
from mdm_jax import models
from mdm_jax.evaluation import estimate_profile
from mdm_jax.models import Denoiser
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import Plan

CLAIM = Claim(
    "on light chains (Sapiens), reactions (rxnmapper) and V regions (AntiBERTy, greedily) of which half is given, the "
    "best of 16 Beta schedules by validation prompts beats linear, sine and sine squared in masked test tokens that "
    "are found again, at each of the two smallest numbers of steps (2 and 3), in the mean over orders and choices, and "
    "gains more over linear at the fewest steps than at the most",
    source="arXiv 2509.13866, Tables 2 to 7; of brackets and sums, and of equal sizes here, results were known",
    minutes=25,
    seeds=(0,),
    wheels=("rxnmapper", "antiberty", "sapiens", "anarci"),
)
REACTIONS, REGIONS, LIGHT = "reactions", "V regions", "light chains"
MADE_REACTIONS, GENES = (32, 64), 8
CHOOSING = {REACTIONS: 1, REGIONS: 2, LIGHT: 9}
"""Prompts of each reaction or family that choose."""
JUDGING = {REACTIONS: 1, REGIONS: 4, LIGHT: 20}
"""Prompts of each reaction or family that judge."""
BUDGETS = {REACTIONS: 3, REGIONS: 3, LIGHT: 4}
"""Of the numbers of steps of ``steps_of``, the fewest."""
WAYS = {REACTIONS: ("drawn", "greedy"), REGIONS: ("greedy",), LIGHT: ("drawn", "greedy")}
"""How tokens are chosen. The larger models are slow: fewer steps, and AntiBERTy in one way."""
ENCODINGS = {REACTIONS: 1024, REGIONS: 512, LIGHT: 4096}
SAPIENS = ("sapiens/models/v1/checkpoint_vl.pt", "sapiens/models/v1/dict.txt")
OPTIMAL = "optimal sizes"
QUICK_REACTIONS, QUICK_BUDGETS, QUICK_ENCODINGS = 3, 2, 64


class Prompts(NamedTuple):
    """Rows of which half is given, and the group of each: its family, or its reaction."""

    rows: Int[np.ndarray, "prompts length"]
    given: Bool[np.ndarray, "prompts length"]
    groups: list[str]


class Published(NamedTuple):
    """A model that somebody published, and what chooses and judges schedules of it."""

    denoiser: Denoiser
    params: Any
    choosing: Prompts
    judging: Prompts


def run(experiment: Experiment) -> Run:
    """Search and judge: a part for each model and each way to choose tokens."""
    worlds, groups = {}, {}
    for number, (name, load) in enumerate({LIGHT: light_chains, REACTIONS: of_reactions, REGIONS: v_regions}.items()):
        model, cells = load(experiment), []
        for choice in WAYS[name]:
            seed = 10 * number + list(CHOICES).index(choice)
            cells += experiment.part(
                f"{name} {choice}",
                lambda name=name, model=model, choice=choice, seed=seed: searched(
                    name, model, choice, seed, experiment.quick
                ),
            )
        worlds[name] = {"better": 1, "unit": "found again", "trainings": [cells]}
        groups[name] = [len(set(part.groups)) for part in (model.choosing, model.judging)]
    return Run({"groups": groups, "worlds": worlds}, schedule_tables.picture(worlds))


def searched(name: str, model: Published, choice: str, seed: int, quick: bool) -> list[dict[str, Any]]:
    """The cells of a model and a way to choose tokens."""
    encodings = QUICK_ENCODINGS if quick else ENCODINGS[name]
    rows, given, _ = model.choosing
    profile = estimate_profile(model.denoiser, model.params, rows, encodings, key=jax.random.key(100), given=given)
    believed = profiles.posterior_profile(profile).profile
    parts = model.choosing, model.judging
    world = World(
        model.denoiser,
        model.params,
        lambda tokens, whole: found_again(tokens, whole, profile.length),
        better=1,
        canvases=canvases_of(model.denoiser, [one.rows for one in parts], [one.given for one in parts]),
        costs={"profile": lambda plan: float(profile.expected_nelbo(plan.sizes))},
        choices=(choice,),
        whole=(model.choosing.rows, model.judging.rows),
        groups=model.judging.groups,
        besides=lambda steps: {OPTIMAL: Plan(plans.optimal(believed, steps).sizes, OPTIMAL)},
    )
    budgets = steps_of(world.free)[: QUICK_BUDGETS if quick else BUDGETS[name]]
    return measured(world, Sizes(len(model.choosing.rows), len(model.judging.rows)), seed, budgets)


def found_again(
    tokens: Int[np.ndarray, "rows length"], whole: Int[np.ndarray, "rows length"], free: int
) -> Float[np.ndarray, " rows"]:
    """The share of so many masked tokens that is as in the rows that prompts were made of.

    Example:
        >>> import numpy as np
        >>> from experiments.beta_published import found_again
        >>> found_again(np.array([[0, 1, 2, 3]]), np.array([[0, 1, 2, 0]]), free=2)
        array([0.5])
    """
    return 1 - (tokens != whole).sum(axis=1) / free


def prompts_of(groups: Mapping[str, Sequence[Sequence[int]]], each: int, seed: int) -> Prompts:
    """So many prompts of each group, whose rows take turns; each has its own half of the positions given.

    Example:
        >>> from experiments.beta_published import prompts_of
        >>> found = prompts_of({"one": [[0, 0], [1, 1]], "other": [[2, 2]]}, each=2, seed=0)
        >>> found.rows[:, 0].tolist(), found.groups, found.given.sum(axis=1).tolist()
        ([0, 2, 1, 2], ['one', 'other', 'one', 'other'], [1, 1, 1, 1])
    """
    rows = np.array([rows[turn % len(rows)] for turn in range(each) for rows in groups.values()], np.int32)
    return Prompts(rows, given_at_random(rows.shape, rows.shape[1] // 2, seed), list(groups) * each)


def of_reactions(experiment: Experiment) -> Published:
    """rxnmapper's model with reactions of two halves of the rings."""
    rings = made_reactions.rings()
    order = np.random.default_rng(0).permutation(len(rings))
    halves = [[rings[i] for i in order[half::2]] for half in (0, 1)]
    sizes = (QUICK_REACTIONS,) * 2 if experiment.quick else MADE_REACTIONS
    made = [
        [tokens for _, tokens in made_reactions.reactions(half, size, reactions.LENGTH, seed)]
        for half, size, seed in zip(halves, sizes, (1, 2))
    ]
    folder = experiment.folder / "rxnmapper"
    if experiment.quick:
        source = made_up("albert", sorted({one for half in made for row in half for one in row}), 90, folder)
    else:
        source = unpacked("rxnmapper", [reactions.FOLDER + name for name in reactions.FILES], folder)
    loaded = models.load_pretrained(source)
    tokens = real_tokens(loaded)
    number = {token: i for i, token in enumerate(tokens)}
    groups = [{f"{i:03}": [[number[one] for one in row]] for i, row in enumerate(half)} for half in made]
    return Published(of_real_tokens(loaded, tokens), loaded.params, *both(REACTIONS, groups, experiment.quick))


def v_regions(experiment: Experiment) -> Published:
    """AntiBERTy with V regions of all loci."""
    return of_germlines(experiment, REGIONS, "antiberty", antibodies.FILES, "IG")


def light_chains(experiment: Experiment) -> Published:
    """Sapiens' model of light chains with V regions of these."""
    return of_germlines(experiment, LIGHT, "sapiens", SAPIENS, ("IGK", "IGL"))


def of_germlines(
    experiment: Experiment, name: str, package: str, files: Sequence[str], loci: str | tuple[str, ...]
) -> Published:
    """A model of antibodies with V regions of two halves of the families."""
    folder = experiment.folder / package
    if experiment.quick:
        alleles, source = made_up_germlines(0), made_up("bert", RESIDUES, antibodies.LENGTH, folder)
    else:
        alleles, source = germlines(required_wheel("anarci")), unpacked(package, files, folder)
    loaded = models.load_pretrained(source)
    families = genes_of_families(alleles, antibodies.LENGTH, GENES)
    groups = [
        {family: antibodies.tokens_of(list(families[family].values())).tolist() for family in half}
        for half in halves_of([family for family in families if family.startswith(loci)])
    ]
    return Published(of_real_tokens(loaded, RESIDUES), loaded.params, *both(name, groups, experiment.quick))


def both(name: str, groups: Sequence[Mapping[str, Any]], quick: bool) -> tuple[Prompts, Prompts]:
    """The prompts that choose and those that judge."""
    each = (1, 1) if quick else (CHOOSING[name], JUDGING[name])
    first, second = (prompts_of(some, number, seed) for some, number, seed in zip(groups, each, (17, 18)))
    return first, second


def conclude(results: Mapping[str, Any]) -> Conclusion:
    """As :func:`~experiments.tools.schedule_tables.concluded` says, and what the profile's optimal sizes are worth."""
    worlds = results["worlds"]
    told = schedule_tables.concluded(worlds, sample_size(results["groups"]))
    more: dict[str, Any] = {}
    for name, world in worlds.items():
        cells = list(schedule_tables.cells_of(world))
        for order in ORDERS:
            mine = {**world, "trainings": [[one for one in world["trainings"][0] if one["order"] == order]]}
            steps = schedule_tables.steps_in(mine)
            for rival in schedule_tables.rivals_in(mine):
                more[f"{name}, {order}: mean gain over {rival}"] = schedule_tables.averaged(mine, rival, steps)
            ahead = [cell.grouped("linear") - cell.grouped(OPTIMAL) for cell in schedule_tables.cells_of(mine)]
            more[f"{name}, {order}: {OPTIMAL} over linear"] = schedule_tables.interval(np.mean(ahead, axis=0).tolist())
        tried = [cell.trainings[0]["candidates"] for cell in cells]
        best, worst = (np.mean([extreme(one.values()) - one["linear"] for one in tried]) for extreme in (max, min))
        more[f"{name}: best schedule over linear, on validation prompts"] = float(best)
        more[f"{name}: linear over the worst, on validation prompts"] = -float(worst)
        for what in (WINNER, "linear", OPTIMAL):
            whole = [cell.trainings[0]["whole"][what] for cell in cells]
            more[f"{name}: rows found whole, {what}"] = float(np.mean(whole))
            more[f"{name}: mean score, {what}"] = float(np.mean([cell.score(what) for cell in cells]))
    said = ", ".join(
        f"{mean:+.3f} ({low:+.3f} to {high:+.3f}) on {name}"
        for name in worlds
        for mean, low, high in [more[f"{name}, random: mean gain over {OPTIMAL}"]]
    )
    figures = {name: np.round(value, 5).tolist() for name, value in {**told.figures, **more}.items()}
    return told._replace(
        headline=f"{told.headline}; over the profile's optimal sizes the chosen gain, in random order, {said}",
        figures=figures,
    )


def sample_size(groups: Mapping[str, Sequence[int]]) -> str:
    """What was counted, in words."""
    each = "; ".join(
        f"{name}: {first} choose with {CHOOSING[name]} prompt{'s' * (CHOOSING[name] > 1)} each, {second} judge with "
        f"{JUDGING[name]}"
        for name, (first, second) in groups.items()
    )
    return f"{each}; intervals over the reactions, or the families, that judge"

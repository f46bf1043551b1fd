"""``mdm-jax card``: families of samplers side by side on held-out rows, and what is said of them."""

import argparse
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from mdm_jax import models
from mdm_jax.app.options.cards import passes_of, refuse_card
from mdm_jax.app.options.comparing import Basis, scoring_to_end
from mdm_jax.app.options.ends import own_end
from mdm_jax.app.options.results import folder, oracle_folder, oracle_of
from mdm_jax.app.options.scoring import Scoring, own_function, scoring_of
from mdm_jax.app.report import carded
from mdm_jax.app.report.carded import BITS
from mdm_jax.app.terminal.output import show
from mdm_jax.evaluation import Card, card
from mdm_jax.oracles import Oracle
from mdm_jax.plot import cards, drawing
from mdm_jax.support.errors import InputError, require, require_seed
from mdm_jax.support.files import write_json
from mdm_jax.support.keys import key_of
from mdm_jax.support.text import printable, table
from mdm_jax.theory import profiles
from mdm_jax.training import Run, RunDirectory, load

MOST = 100_000
"""Rows that judge, and samples of each sampler."""
MOST_LISTED = 4096
"""Rows of an oracle up to which all are listed: costs are then exact."""


def run(options: argparse.Namespace) -> None:
    """Measure, draw, write, print tables and sentences."""
    require_seed("--seed", options.seed)
    require(2 <= options.rows <= MOST, "--rows", options.rows, f"from 2 (for an interval) to {MOST:,}")
    samples = options.samples
    require(samples == 0 or 2 <= samples <= MOST, "--samples", samples, f"0 (no scores), or from 2 to {MOST:,}")
    oracle = oracle_of(options.source)
    found, place, about = _of_run(options) if oracle is None else _of_oracle(oracle, options)
    result = found.to_json() | {"command": options.line, "seed": options.seed, **about}
    picture = cards.picture(result)
    write_json(place.card, result)
    drawing.save(picture, place.card.with_suffix(".png"))
    show(result, f"{describe(result)}\nThe picture is {place.card.with_suffix('.png')}.", options.json)


def _of_run(options: argparse.Namespace) -> tuple[Card, RunDirectory, dict[str, Any]]:
    """The card of a run: settings are chosen on its validation half and judged on its test half."""
    if options.score is not None:
        require(options.samples > 0, "--score", options.score, "given beside --samples: it is of samples")
        own_function(options.score)
    if not Path(options.source).exists():
        raise InputError(f"{options.source} is neither a run directory nor an oracle: there is no such folder.")
    trained = load(options.source, checkpoint=options.checkpoint)
    refuse_card(trained)
    place = trained.place if options.output is None else folder(options.output)
    profile = trained.profile
    block = models.block_length(trained.denoiser)
    passes = passes_of(options.passes, trained.settings.length, block)
    scoring = _scoring(trained, options) if options.samples else None
    validation, test = (np.asarray(getattr(trained.task, part), np.int32) for part in ("validation", "test"))
    found = card(
        trained.denoiser,
        trained.params,
        validation,
        _spread(test, options.rows),
        key=key_of(options.seed),
        profile=profile,
        passes=passes,
        hindsight=options.hindsight,
        score=None if scoring is None else scoring.functions,
        lower_is_better=None if scoring is None else scoring.lower_is_better,
        samples=max(options.samples, 2),
        progress=True,
    )
    return found, place, {"run": trained.identity, "run_step": trained.step, "score": _told_of_score(scoring)}


def _scoring(trained: Run, options: argparse.Namespace) -> Scoring:
    """The scores, of what stands before the end where rows have one."""
    basis = Basis(trained, trained.task, None, None, options.seed)
    return scoring_to_end(scoring_of(trained, options.score), basis, own_end(trained), [])


def _of_oracle(oracle: Oracle, options: argparse.Namespace) -> tuple[Card, RunDirectory, dict[str, Any]]:
    """The card of an exact law: all of its rows where they are few, or else rows drawn from it."""
    for name in ("score", "samples"):
        if getattr(options, name):
            raise InputError(f"--{name} needs a run: an oracle has no score.")
    passes, place = passes_of(options.passes, oracle.length), oracle_folder(options.source, options.output)
    choosing_key, judging_key, key = jax.random.split(key_of(options.seed), 3)
    chosen = np.asarray(oracle.sample(choosing_key, max(options.rows, 64)), np.int32)
    rows, law = _listed(oracle)
    found = card(
        oracle.denoiser,
        oracle.params,
        chosen,
        np.asarray(oracle.sample(judging_key, options.rows), np.int32) if rows is None else rows,
        key=key,
        profile=profiles.from_values(oracle.entropies(), {"oracle": options.source}),
        passes=passes,
        law=law,
        hindsight=options.hindsight,
        progress=True,
    )
    return found, place, {"oracle": options.source}


def _listed(oracle: Oracle) -> tuple[Int[np.ndarray, "rows length"] | None, np.ndarray | None]:
    """Every row that the law can draw, with its probability, where there are not too many."""
    if oracle.length * np.log(oracle.vocab_size) > np.log(MOST_LISTED) + 1e-9:
        return None, None
    every = np.array(list(itertools.product(range(oracle.vocab_size), repeat=oracle.length)), np.int32)
    law = np.exp(oracle.log_prob(every))
    return every, law / law.sum()


def _spread(rows: Int[np.ndarray, "rows length"], most: int) -> Int[np.ndarray, "some length"]:
    """At most so many rows, evenly spread over all: neighbours may be of one text."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]


def _told_of_score(scoring: Scoring | None) -> dict[str, Any] | None:
    """What results record of the score of samples."""
    return None if scoring is None else {"name": scoring.name, **scoring.to_json()}


def describe(result: Mapping[str, Any]) -> str:
    """The table of costs, what was seen in it, and the table of scores where there is one."""
    compared = {(one["passes"], one["family"]): one for one in result["comparisons"]}
    rows = []
    for passes in result["passes"]:
        for family in result["families"]:
            for one in (point for point in family["points"] if point["asked"] == passes):
                apart = compared.get((passes, family["name"]))
                rows.append(
                    [
                        carded.passes_in_words(passes),
                        printable(family["name"]),
                        printable(one["setting"]),
                        f"{one['passes']:.1f}",
                        _figure(one, "cost_nats", result["exact"]),
                        "" if apart is None else _figure(apart, "nats", result["exact"], "+"),
                    ]
                )
    heading = ["budget", "sampler", "setting", "takes", "cost (bits/token)", "above the optimal plan"]
    parts = [table(heading, rows), _judged(result), *carded.told(result)]
    choosing = carded.told_of_choosing(result)
    parts += [choosing] if choosing is not None else []
    parts.append(carded.CAUTION)
    if result["scored"]:
        parts += ["", _scores(result)]
    return "\n".join(parts)


def _figure(told: Mapping[str, Any], name: str, exact: bool, sign: str = "") -> str:
    """A figure in bits per token, with its interval unless it is exact; no zero has a minus."""
    mean, low, high = (f"{told[end] * BITS:{sign}z.4f}" for end in (name, "low", "high"))
    return mean if exact else f"{mean} ({low} to {high})"


def _judged(result: Mapping[str, Any]) -> str:
    """On which rows all this is."""
    rows = result["rows"]
    if result["exact"]:
        return (
            f"Costs are exact, over all {rows['judged_on']:,} rows that there are; settings were chosen on "
            f"{rows['chosen_on']} drawn ones."
        )
    drawn = "drawn rows" if "oracle" in result else "rows of the test half"
    return (
        f"Settings were chosen on {rows['chosen_on']} rows and judged on {rows['judged_on']} {drawn}; "
        "in brackets 95% intervals, those of differences paired; each holds by itself."
    )


def _scores(result: Mapping[str, Any]) -> str:
    """The second table: scores of samples, those of samplers without a probability among them."""
    score = result["score"]
    names = list(result["scored"][0]["points"][0]["scores"])
    rows = [
        [
            printable(family["name"]),
            printable(point["setting"]),
            f"{point['passes']:.1f}",
            *(_score(point["scores"][name]) for name in names),
        ]
        for family in result["scored"]
        for point in family["points"]
    ]
    better = "lower" if score["lower_is_better"] else "higher"
    samples = result["scored"][0]["points"][0]["samples"]
    return (
        f"{table(['sampler', 'setting', 'takes', *map(printable, names)], rows)}\n"
        f"{printable(score['name'])}: {better} is better, but not if the samples' own entropy falls with it. "
        f"{samples} samples of each, on common random numbers; of a mixture of two settings by the likelier one."
    )


def _score(told: Mapping[str, float]) -> str:
    return f"{told['mean']:.3f} ({told['low']:.3f} to {told['high']:.3f})"

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax import models
from mdm_jax.evaluation.samples import racing
from mdm_jax.evaluation.samples.execution import Execution
from mdm_jax.evaluation.samples.halving import Halving
from mdm_jax.evaluation.samples.racing import JUDGED, Prompts, race
from mdm_jax.sampling import Blind
from mdm_jax.support.errors import InputError
from mdm_jax.theory import plans
from mdm_jax.theory.schedules import text as schedule_text

LENGTH, STEPS = 16, 3
VOCAB = LENGTH + 1
MASK = VOCAB


def counts_revealed(params, tokens):
    """At temperature 0 every position takes the number of tokens that were known when it was revealed."""
    known = jnp.sum(tokens != MASK, axis=-1)
    return params * jax.nn.one_hot(jnp.broadcast_to(known[:, None], tokens.shape), VOCAB)


MODEL = models.from_function(counts_revealed, VOCAB), jnp.float32(9.0)
NAMED = ("linear", "sine", "sine_squared", "polynomial:2")


def cost(sizes):
    """What :func:`score` is for a plan, computed from its sizes."""
    before = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return abs(float(np.dot(sizes, before)) - 60.0)


def score(tokens):
    return np.abs(tokens.sum(axis=1) - 60.0)


def run(**more):
    search = {"grid": 4, "named": NAMED, "samples": 1, "final_samples": 2}
    search |= {field.name: more.pop(field.name) for field in dataclasses.fields(Halving) if field.name in more}
    where = Execution(batch=8, store=more.pop("store", None), name=more.pop("name", None))
    settings = {"order": Blind, "temperature": 0, "lower_is_better": True} | more
    settings |= {"search": Halving(**search), "execution": where}
    return race(*MODEL, settings.pop("score", score), LENGTH, STEPS, key=jax.random.key(5), **settings)


@pytest.fixture(scope="module")
def raced():
    return run()


def candidates():
    values = np.geomspace(0.25, 2, 4)
    texts = [*NAMED, *(f"beta:{a:.4g},{b:.4g}" for a, b in itertools.product(values, values))]
    return {text: cost(plans.from_schedule(schedule_text.parse(text), LENGTH, STEPS).sizes) for text in texts}


@pytest.mark.core
def test_the_winner_is_the_best_of_all_by_brute_force(raced):
    costs = candidates()
    assert cost(raced.plan.sizes) == min(costs.values())
    assert raced.validation.means().min() == min(costs.values())
    assert raced.test.names == tuple(dict.fromkeys((raced.winner, *JUDGED)))
    for one, text in zip(raced.differences(), raced.test.names[1:]):
        assert (one.mean, one.standard_error) == (cost(raced.plan.sizes) - costs[text], 0)
        said = next(line for line in raced.conclusions() if text in line)
        assert said.startswith(f"{raced.winner} is better") == (one.mean < 0)


def test_the_landscape_is_each_cells_score(raced):
    for (i, a), (j, b) in itertools.product(enumerate(raced.a), enumerate(raced.b)):
        assert raced.landscape[i, j] == candidates()[f"beta:{a:.4g},{b:.4g}"]
    assert raced.counts.min() == 1
    assert raced.counts.max() == raced.rungs[-1].samples > 1
    written = raced.to_json()
    assert written["landscape"]["samples"] == raced.counts.tolist()
    for part in ("test", "validation"):  # files of races are as they always were
        assert written[part]["format"] == "mdm_jax evaluation 1"
        assert list(written[part]) == ["format", "samples", "score", "drawn", "schedules"]


def test_it_prints_in_a_line(raced):
    assert repr(raced.test) == (
        f"Evaluation({len(raced.test.names)} samplers x 2 samples of 16 tokens; means: 'score' "
        f"from {raced.test.means().min():g} to {raced.test.means().max():g}, 'nfe' of 3)"
    )
    assert repr(raced).startswith(f"Raced(winner={raced.winner!r}, 3 steps of 16 tokens; ")
    assert repr(raced).endswith(f" of {len(raced.validation.names)}; test={raced.test!r})")
    assert len(repr(raced)) < 300


def test_the_other_direction(raced):
    opposite = run(score=lambda tokens: -score(tokens), lower_is_better=False)
    assert opposite.winner == raced.winner
    assert opposite.conclusions()[0].split("(")[0] == raced.conclusions()[0].split("(")[0]


def test_halving_grows_samples_as_schedules_fall():
    assert list(Halving().rounds(50)) == [(4, 17), (12, 6), (36, 4)]
    assert list(Halving().rounds(3)) == [(4, 3)]
    assert list(Halving(samples=1, eta=2, finalists=1).rounds(9)) == [(1, 5), (2, 3), (4, 2), (8, 1)]


@pytest.mark.thorough
def test_free_schedules_race_the_survivors(raced):
    freed = run(free=6)
    changed = {name: plan for name, plan in freed.plans.items() if name.startswith("free")}
    assert len(changed) == 6
    assert cost(freed.plan.sizes) == min(cost(raced.plan.sizes), *(cost(plan.sizes) for plan in changed.values()))
    assert all(plan.length == LENGTH and plan.steps <= STEPS for plan in changed.values())


def without_drawn(raced):
    """As JSON, but for how many rows were drawn and not kept."""
    found = raced.to_json()
    for part in ("test", "validation"):
        del found[part]["drawn"]
    return found


def test_search_validation_and_test_draw_apart_and_a_store_is_not_drawn_twice(tmp_path, monkeypatch):
    calls = []

    def recorded(denoiser, params, samplers, samples, score, *, key, **more):
        found = evaluate(denoiser, params, samplers, samples, score, key=key, **more)
        calls.append((jax.random.key_data(key).tolist(), more["canvas"].tolist(), samples, found.drawn))
        return found

    evaluate = racing.evaluate
    monkeypatch.setattr(racing, "evaluate", recorded)
    canvas = np.full((3, 9, LENGTH), MASK, np.int32)
    canvas[:, :, 0] = np.arange(3)[:, None]
    prompts = Prompts(*canvas)
    first = run(temperature=1.0, samples=1, prompts=prompts, store=tmp_path / "rows.jsonl", name="mine")
    search, validation, test = calls[:-2], calls[-2], calls[-1]
    assert len({str(key) for key, *_ in search}) == 1
    assert len({str(key) for key, *_ in calls}) == 3
    for place, call in ((0, search[-1]), (1, validation), (2, test)):
        assert {row[0] for row in call[1]} == {place}
    assert [rung.samples for rung in first.rungs] == [samples for _, _, samples, _ in search] == [1, 3]
    drawn = sum(call[3] for call in calls)
    alive = [len(rung.names) for rung in first.rungs]
    assert drawn == alive[0] + 2 * alive[1] + 2 * len(first.validation.names) + 2 * len(first.test.names)
    calls.clear()
    again = run(temperature=1.0, samples=1, prompts=prompts, store=tmp_path / "rows.jsonl", name="mine")
    assert sum(call[3] for call in calls) == 0
    assert without_drawn(again) == without_drawn(first)
    calls.clear()
    for few, (part, count) in enumerate((("search", 3), ("validation", 2), ("test", 2))):
        parts = [rows[:1] if i == few else rows for i, rows in enumerate(canvas)]
        with pytest.raises(InputError, match=rf"prompts\.{part} must be .* with at least {count} rows, as many as"):
            run(prompts=Prompts(*parts), samples=1)
    assert not calls  # refused before anything is drawn


def test_an_undecided_race_says_so():
    undecided = run(temperature=1.0, score=lambda tokens: tokens[:, 0] * 1.0, final_samples=4)
    for one, said in zip(undecided.differences(), undecided.conclusions()):
        assert ("Not decided" in said) == (one.low <= 0 <= one.high and one.standard_error > 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": 1}, "eta must be a whole number from 2"),
        ({"finalists": 0}, "finalists must be a whole number from 1"),
        ({"final_samples": 1}, "final_samples must be a whole number from 2"),
        ({"grid": 0, "named": ()}, "grid must be at least 1 where no schedules are named"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        run(**arguments)

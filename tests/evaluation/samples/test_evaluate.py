import functools
import itertools
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from compiled import programs
from compiler_flags import with_devices
from worlds import exact_world

import mdm_jax
from mdm_jax import models, oracles
from mdm_jax.evaluation import Execution, evaluate, own_entropy
from mdm_jax.evaluation.samples import store as stores
from mdm_jax.evaluation.samples.fingerprints import fingerprint
from mdm_jax.sampling import Blind, adaptive_loop, blind_loop, plan_knots, random_order, rules, sample
from mdm_jax.sampling.rule import joined, ready
from mdm_jax.support.errors import InputError
from mdm_jax.support.locks import exclusive
from mdm_jax.theory import plans
from mdm_jax.theory.plans import grids

LENGTH, SAMPLES, BATCH = 3, 5, 5
KEY = jax.random.key(3)
ALL = {
    "one step": plans.uniform(LENGTH, 1),
    "two steps": plans.uniform(LENGTH, 2),
    "grid": grids.uniform(2),
    "left to right": Blind(plans.uniform(LENGTH, 3), "left_to_right"),
    "surest": rules.surest(plans.uniform(LENGTH, 3)),
    "surest, two": rules.surest(plans.uniform(LENGTH, 2)),
}
OTHERS = {
    "last first": Blind(plans.uniform(LENGTH, 2), np.array([2, 0, 1])),
    "blocks": Blind(plans.uniform(2, 2), block=2),
    "above .2": rules.confident(0.2),
    "above .6": rules.confident(0.6),
    "with coins": rules.remasked(grids.uniform(3), 0.5),
    "with memory": rules.remasked(grids.uniform(3), 0.5, "confidence"),
    "corrected": rules.self_corrected(plans.uniform(LENGTH, 2)),
}


def total(tokens):
    return tokens.sum(axis=1)


@functools.cache
def world():
    return exact_world(LENGTH)[1:]


def run(samplers=ALL, samples=SAMPLES, score=total, *, devices=None, mesh=None, batch=BATCH, store=None, **more):
    where = Execution(devices, mesh, batch, store, "an exact world")
    return evaluate(*world(), samplers, samples, score, key=KEY, length=LENGTH, execution=where, **more)


@functools.cache
def whole():
    return run(baseline="one step")


@pytest.mark.core
@pytest.mark.parametrize(
    "samplers",
    [
        {name: ALL[name] for name in ("two steps", "surest")},
        pytest.param(ALL | OTHERS, marks=pytest.mark.thorough),
    ],
    ids=["two", "all"],
)
def test_every_row_is_what_sample_draws_for_it_alone(samplers):
    found = run(samplers)
    assert found.names == tuple(samplers)
    assert found.drawn == len(samplers) * SAMPLES
    for i, (name, sampler) in enumerate(samplers.items()):
        if name == "surest":  # the executable that evaluate uses
            sampler = rules.surest([plans.uniform(LENGTH, 3)] * SAMPLES)
        drawn = sample(*world(), sampler, SAMPLES, key=KEY, length=LENGTH, row_ids=range(SAMPLES))
        np.testing.assert_array_equal(found.tokens[i], drawn.tokens)
        np.testing.assert_array_equal(found.nfe[i], drawn.nfe)
        np.testing.assert_allclose(found.log_prob[i], drawn.log_prob, rtol=1e-6)
        np.testing.assert_array_equal(found.values()[i], np.asarray(drawn.tokens).sum(axis=1))
    assert not found.remaining.any()


def test_rows_are_the_same_whatever_stands_beside_them():
    few = run({name: ALL[name] for name in ("surest", "two steps", "grid")}, samples=2)
    for name in few.names:
        np.testing.assert_array_equal(few.tokens[few.index(name)], whole().tokens[whole().index(name), :2])


@pytest.mark.thorough
@pytest.mark.parametrize("batch", [1, 64])
def test_rows_are_the_same_in_batches_of_another_size(batch):
    found = run(batch=batch)
    np.testing.assert_array_equal(found.tokens, whole().tokens)
    np.testing.assert_array_equal(found.nfe, whole().nfe)


def test_hundreds_of_plans_share_one_executable():
    whole()
    many = {f"{i}": plans.Plan(np.array(sizes), "") for i, sizes in enumerate([[1, 2], [2, 1], [1, 1, 1], [3]] * 30)}
    with programs() as made:
        found = run(many | {f"surest {i}": rules.surest(plan) for i, plan in many.items()}, samples=2)
    assert found.drawn == 480
    assert not [name for name in made if "loop" in name]
    np.testing.assert_array_equal(found.tokens[0], found.tokens[116])


def test_means_errors_and_paired_differences_are_those_of_a_paired_t_test():
    found = whole()
    values = found.values()
    np.testing.assert_allclose(found.means(), values.mean(axis=1))
    np.testing.assert_allclose(found.standard_errors(), scipy.stats.sem(values, axis=1))
    for i, one in enumerate(found.differences()):
        if one.name in ("surest", "two steps", "grid"):
            tested = scipy.stats.ttest_rel(values[i], values[0])
            low, high = tested.confidence_interval()
            np.testing.assert_allclose((one.low, one.high), (low, high))
            assert one.decided == (tested.pvalue < 0.05)
    assert found.difference("surest", "surest").mean == 0
    by_name = dict.fromkeys(found.names, "grid")
    assert found.differences(by_name)[0].mean == -found.difference("grid", "one step").mean
    entry = json.loads(json.dumps(found.to_json(), allow_nan=False))["samplers"][4]
    assert entry["name"] == "surest"
    assert entry["less_baseline"]["baseline"] == "one step"
    assert entry["score"]["mean"] == pytest.approx(values[4].mean())
    lines = found.table().splitlines()
    assert len(lines) == 2 + len(ALL)
    assert lines[0].startswith("sampler ")
    assert lines[0].endswith("less one step")
    assert "±" in lines[3]


def nan_for_zeros(tokens):
    return np.where(tokens[:, 0] == 0, np.nan, 1.0)


def test_rows_without_a_score_are_counted_not_averaged_over():
    found = run({"one step": ALL["one step"]}, samples=8, score={"odd": nan_for_zeros, "total": total})
    zeros = int((found.tokens[0, :, 0] == 0).sum())
    assert 0 < zeros < 8
    assert found.incomplete().tolist() == [zeros]
    assert math.isnan(found.means()[0])
    assert found.means("total")[0] >= 0
    assert f"{zeros} of 8" in found.table()
    assert "undefined" in found.table()
    assert found.to_json()["samplers"][0]["odd"]["mean"] is None


def no_law(params, tokens):
    return jnp.full((*tokens.shape, 2), jnp.nan) + params


@pytest.mark.thorough
def test_masks_that_are_left_are_not_scored():
    denoiser = models.from_function(no_law, 2)
    found = evaluate(denoiser, jnp.float32(0), [plans.uniform(3, 2)], 4, total, key=KEY, execution=Execution(batch=4))
    assert (found.remaining == 3).all()
    assert np.isnan(found.values()).all()
    assert "4 of 4" in found.table()


def test_prompts_by_sample_and_context():
    mask = world()[0].mask_id
    canvas = np.full((SAMPLES, LENGTH), mask, np.int32)
    canvas[:, 0] = np.arange(SAMPLES) % 3
    where = Execution(batch=BATCH)
    found = evaluate(*world(), {"surest": ALL["surest"]}, SAMPLES, total, key=KEY, canvas=canvas, execution=where)
    sampler = rules.surest([plans.uniform(LENGTH, 3)] * SAMPLES)
    drawn = sample(*world(), sampler, SAMPLES, key=KEY, canvas=canvas, row_ids=range(SAMPLES))
    np.testing.assert_array_equal(found.tokens[0], drawn.tokens)
    np.testing.assert_array_equal(found.tokens[0, :, 0], canvas[:, 0])


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.core
def test_a_store_gives_back_what_it_has_and_only_the_rest_is_drawn(tmp_path):
    path = tmp_path / "rows.jsonl"
    first = run({name: ALL[name] for name in ("surest", "grid")}, samples=3, store=path)
    assert first.drawn == 6
    more = run(store=path, batch=BATCH)
    assert more.drawn == len(ALL) * SAMPLES - 6
    np.testing.assert_array_equal(more.tokens, whole().tokens)
    np.testing.assert_array_equal(more.nfe, whole().nfe)
    size = path.stat().st_size
    path.with_suffix(".lock").write_text("a stranger's")  # no lock of the store's
    again = run(store=path, score=nan_for_zeros, batch=2)  # another score, another batch: nothing to draw
    assert again.drawn == 0
    assert path.stat().st_size == size
    assert path.with_suffix(".lock").read_text() == "a stranger's"
    np.testing.assert_array_equal(again.tokens, whole().tokens)
    np.testing.assert_array_equal(again.log_prob, more.log_prob)
    others = run({"a plan of another name": ALL["two steps"]}, store=path)
    assert others.drawn == 0
    assert run({"grid": ALL["grid"]}, store=path, temperature=0.5).drawn == SAMPLES


def test_a_crash_costs_one_batch_at_most(tmp_path):
    path = tmp_path / "rows.jsonl"
    run(store=path)
    whole_lines = lines_of(path)
    assert len(whole_lines) > 4
    for cut in (len(whole_lines[-1]) // 2, 1, 0):
        path.write_bytes(b"".join(whole_lines[:-1]) + whole_lines[-1][:cut])
        found = run(store=path)
        assert 0 < found.drawn <= BATCH
        np.testing.assert_array_equal(found.tokens, whole().tokens)
        assert run(store=path).drawn == 0
    path.write_bytes(whole_lines[0][:20])
    assert run(store=path).drawn == whole().drawn


def test_stores_of_others_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    plan = {"one step": ALL["one step"]}
    run(plan, store=path, batch=BATCH)
    denoiser, params = world()
    where = Execution(batch=BATCH, store=path, name="an exact world")
    with pytest.raises(InputError, match="another model: its parameters is"):
        evaluate(denoiser, params + 1, plan, 2, total, key=KEY, execution=where)
    with (
        exclusive(path.with_name(f".{path.name}.lock"), "it"),
        pytest.raises(InputError, match=r"the store .* is in use"),
    ):
        run(plan, store=path)
    good = lines_of(path)
    for bad in (
        b"[1]\n", b'{"rows": 3}\n', b'{"rows": [["a", 0, 1, 0, null, [0, 1]]]}\n',
        b'{"rows": [["a", 0, 1, 0, "nan", [0, 1, 2]]]}\n', b'{"rows": [["a", 0, 1, 0, null, [0, 1, 2]]]}\n',
        b'{"rows": [["a", 0, 1, 0, null, [0, 1, 9]]]}\n', b'{"rows": [["a", 0, true, 0, null, [0, 1, 2]]]}\n',
        b"not json\n",
    ):  # fmt: skip
        path.write_bytes(good[0] + bad + good[1])
        with pytest.raises(InputError, match="is not a store of evaluated rows: line 2"):
            run(plan, store=path)
    token = good[1].index(b"]]]") - 1
    path.write_bytes(good[0] + good[1][:token] + b"%d" % (good[1][token : token + 1] == b"0") + good[1][token + 1 :])
    with pytest.raises(InputError, match="line 2 is damaged: its digest is not that of its rows"):
        run(plan, store=path)
    for strange in (
        b'{"my results": [1,2,3]}',
        b"my only notes\n",
        b"notes",
        good[0][:-1].replace(b"mdm", b"mdn"),
        b"\n",
    ):
        path.write_bytes(strange)
        with pytest.raises(InputError, match="first line is not that of one"):
            run(plan, store=path)
        assert path.read_bytes() == strange
    path.write_text('{"format": "mine"}\n{}\n')
    with pytest.raises(InputError, match="first line must have the format"):
        run(plan, store=path)
    assert path.read_text() == '{"format": "mine"}\n{}\n'
    with pytest.raises(InputError, match=r"store must be the path of a \.jsonl file"):
        run(plan, store=tmp_path / "rows.txt")


OLD_STORE = """\
{"format":"mdm_jax rows 2","mdm_jax":"0.1.0","denoiser":"11f7df6cc560ae503bbcef081b82bf90",\
"parameters":"88d0206d817c7584a3afff1ff8daf175","length":3}
{"rows":[["f6c9a47c375674b8752ddd7f6a045a72",0,2,0,-1.5686159133911133,[1,1,1]],\
["f6c9a47c375674b8752ddd7f6a045a72",1,2,0,-2.079441547393799,[1,1,0]]],\
"digest":"f2bda8fd6bc4f7a8cadef1ecb1f12fa9646eb4c41dc524596943831008af91e1"}
"""
"""What mdm_jax 0.1.0 wrote for two samples of ``oracles.from_spec("polya:0.5,3")`` by ``plans.uniform(3, 2)``."""


def test_a_store_of_another_version_is_refused_in_a_sentence_that_says_what_to_do(tmp_path):
    path, urn = tmp_path / "rows.jsonl", oracles.from_spec("polya:0.5,3")
    path.write_text(OLD_STORE)
    where = Execution(batch=2, store=path)
    with pytest.raises(InputError) as caught:
        evaluate(urn.denoiser, urn.params, plans.uniform(3, 2), 2, total, key=jax.random.key(0), execution=where)
    assert str(caught.value) == (
        f'{path} holds rows drawn by mdm_jax "0.1.0", and this is "{mdm_jax.__version__}", which may draw others: name '
        "another file, or delete this one, and the rows are drawn anew."
    )
    assert path.read_text() == OLD_STORE


def test_a_store_keeps_every_log_probability_and_splits_long_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "LARGEST_JSON", 500)
    values = [-math.inf, math.inf, math.nan, -1 / 3, 0.0] * 4
    rows = {("name", i): stores.Row(np.array([i, 1, 2], np.int32), 2, 0, x) for i, x in enumerate(values)}
    first, second = (stores.Store(tmp_path / "rows.jsonl", {}, 3, 20) for _ in range(2))
    assert not list(first.read())
    first.add(rows)
    assert 3 < len(lines_of(first.path)) < len(rows)
    found = dict(second.read())
    assert list(found) == list(rows)
    np.testing.assert_array_equal([row.log_prob for row in found.values()], values)
    assert [row.tokens[0] for row in found.values()] == list(range(20))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samplers": {}}, "samplers must be at least one"),
        ({"samplers": [Blind([plans.uniform(LENGTH, 1)] * 2)]}, "for one row"),
        ({"samples": 0}, "samples must be a whole number from 1 to 2147483647; got 0"),
        ({"baseline": "none"}, "baseline must be one of the samplers, as in 'one step'; got 'none'"),
        ({"baseline": {}}, "baseline must be one for every sampler"),
        ({"temperature": math.inf}, "temperature must be 0 or more"),
        ({"batch": 0}, "batch must be a whole number, 1 or more; got 0"),
        ({"batch": 2**30}, "batch must be so small"),
        ({"samples": 2**30}, "samples must be so few that all tokens"),
        ({"devices": 99}, "devices must be from 1 to"),
        ({"canvas": np.zeros((2, LENGTH), np.int32)}, r"of shape \[length\] or \[5, length\]"),
        ({"canvas": np.full(LENGTH, 9)}, "token ids from 0 to 2, or mask_id 3"),
        ({"score": lambda tokens: np.zeros(1)}, r"score 'score' must be a function .* got shape \(1,\)"),
        ({"samplers": [ALL["surest"].replace(end=7)]}, "end must be a real token"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message):
    with pytest.raises(InputError, match=message):
        run(**({"samplers": {"one step": ALL["one step"]}} | arguments))


def test_a_length_that_nothing_tells():
    with pytest.raises(InputError, match="length must be given"):
        evaluate(*world(), [ALL["surest"]], 1, total, key=KEY)
    with pytest.raises(InputError, match="plans of one length"):
        evaluate(*world(), [plans.uniform(2, 1), plans.uniform(3, 1)], 1, total, key=KEY)


def test_joined_rules_must_be_alike():
    one, two = ALL["surest"], ALL["surest, two"]
    assert joined([one, two, one]).rows == 3
    with pytest.raises(InputError, match="rules must be alike"):
        joined([one, rules.confident(0.5)])
    with pytest.raises(InputError, match="rules must be alike"):
        joined([one, two.replace(block=2)])
    with pytest.raises(InputError, match="at least one"):
        joined([])
    with pytest.raises(InputError, match="for any rows or for one"):
        joined([rules.surest([plans.uniform(3, 1)] * 2)])


@pytest.mark.thorough
def test_vmap_over_plans_and_over_rules_draws_the_same():
    denoiser, params = world()
    chosen = [plans.uniform(LENGTH, k) for k in (1, 2, 3)]
    order_key, token_key = jax.random.split(KEY)
    canvas = jnp.full((SAMPLES, LENGTH), denoiser.mask_id, jnp.int32)

    def blind(knots):
        steps = random_order(order_key, jnp.broadcast_to(knots, (SAMPLES, LENGTH + 1)), canvas == denoiser.mask_id)
        return blind_loop(denoiser, params, canvas, steps, key=token_key).tokens

    wanted = run({str(k): plan for k, plan in enumerate(chosen)}).tokens
    np.testing.assert_array_equal(jax.vmap(blind)(jnp.asarray(plan_knots(chosen, 3))), wanted)
    each = [rules.surest(plan) for plan in chosen]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(ready, each))
    drawn = jax.vmap(lambda rule: adaptive_loop(denoiser, params, canvas, rule, key=token_key).tokens)(stacked)
    np.testing.assert_array_equal(drawn, run({str(k): rule for k, rule in enumerate(each)}).tokens)


def closed_over(number):
    def inner(tokens, scale=2):
        return tokens * number * scale

    return inner


def known():
    """Fingerprints that must not depend on the process."""
    things = {
        "plan": plans.uniform(5, 2).sizes,
        "rule": rules.remasked(grids.uniform(4), 0.3, "confidence"),
        "surest": rules.surest(plans.uniform(5, 2)),
        "function": closed_over,
        "lambda": lambda x: x in {"a", "b", "c"},
        "closure": closed_over(3),
        "other closure": closed_over(4),
        "jitted": jax.jit(closed_over),
        "key": jax.random.key(0),
        "nested": {"a": [1, 2.0, None, (True, b"x")], "b": {3, "x"}},
        "denoiser": exact_world()[1],
    }
    return {name: fingerprint(thing, owner=("mine",)) for name, thing in things.items()}


SCRIPT = """
import json, sys
import jax, numpy as np
sys.path.insert(0, {tests!r})
import test_evaluate as here
from mdm_jax.evaluation.samples import batches
from mdm_jax.support.devices import make_mesh

placed = batches.runner(*here.world(), here.KEY, 1.0, 8, None).params
found = {{"known": here.known(), "devices": jax.device_count(), "placed": len(placed.sharding.device_set)}}
ways = {{f"pmap {{n}}": {{"devices": n}} for n in (2, 4, 8)}}
ways["mesh"] = {{"mesh": make_mesh({{"data": 4, "model": 2}})}}
for name in {ways!r}:
    e = here.run({samplers}, batch=2, **ways[name])
    found[name] = [e.tokens.tolist(), e.nfe.tolist(), e.log_prob.tolist()]
print(json.dumps(found))
"""


def in_another_process(script):
    environment = os.environ | {
        "XLA_FLAGS": with_devices(8),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), str(Path(__file__).parents[2])]),
        "PYTHONHASHSEED": "7",
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def script(ways, samplers):
    return SCRIPT.format(tests=str(Path(__file__).parent), ways=ways, samplers=samplers)


@pytest.fixture(scope="module")
def elsewhere():
    return in_another_process(script(["pmap 8"], "{'two steps': here.ALL['two steps'], 'grid': here.ALL['grid']}"))


def check_rows(found, way, names):
    places = [whole().index(name) for name in names]
    tokens, nfe, log_prob = found[way]
    np.testing.assert_array_equal(tokens, whole().tokens[places])
    np.testing.assert_array_equal(nfe, whole().nfe[places])
    np.testing.assert_allclose(log_prob, whole().log_prob[places], rtol=1e-6)


@pytest.mark.processes
@pytest.mark.thorough
def test_eight_devices_draw_the_same_rows(elsewhere):
    assert elsewhere["devices"] == elsewhere["placed"] == 8  # parameters too: once, and not at every launch
    check_rows(elsewhere, "pmap 8", ("two steps", "grid"))


@pytest.mark.processes
@pytest.mark.thorough
def test_any_number_of_devices_and_a_mesh_draw_the_same_rows():
    found = in_another_process(script(["pmap 2", "pmap 4", "pmap 8", "mesh"], "here.ALL"))
    for way in ("pmap 2", "pmap 4", "pmap 8", "mesh"):
        check_rows(found, way, ALL)


DIVIDED = """
import json
import jax, numpy as np
from mdm_jax import models
from mdm_jax.evaluation import Execution, evaluate
from mdm_jax.sampling import rules
from mdm_jax.support.devices import make_mesh
from mdm_jax.theory import plans
from mdm_jax.training.devices import shardings

model = models.transformer(6, length=8, width=32, depth=1, heads=2)
params = model.init(jax.random.key(1), 8)
params = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(2), leaf.shape), params)
mesh = make_mesh({"data": 4, "model": 2})
divided = jax.device_put(params, shardings(mesh, params))
samplers = {"random": plans.uniform(8, 3), "surest": rules.surest(plans.uniform(8, 4))}
found = {"parts": sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(divided))}
for name, of, more in (("plain", params, {}), ("mesh", divided, {"mesh": mesh})):
    where = Execution(batch=2, **more)
    e = evaluate(model, of, samplers, 6, lambda x: x.sum(axis=1), key=jax.random.key(0), length=8, execution=where)
    found[name] = e.tokens.tolist()
print(json.dumps(found))
"""


@pytest.mark.processes
@pytest.mark.thorough
def test_parameters_that_are_divided_over_the_mesh_draw_the_same_tokens():
    found = in_another_process(DIVIDED)
    assert found["parts"] > 3
    assert found["mesh"] == found["plain"]


PROCESS = """
import json, sys
import jax
jax.distributed.initialize("localhost:{port}", 2, int(sys.argv[1]))
sys.path.insert(0, {tests!r})
import test_evaluate as here
from mdm_jax.support.devices import make_mesh

found = []
for samplers in ({{"grid": here.ALL["grid"]}}, here.ALL):
    e = here.run(samplers, batch=2, mesh=make_mesh({{"data": 2}}), store={store!r})
    found.append([e.drawn, e.tokens.tolist()])
print(json.dumps(found))
"""

REFUSED = """
import json, sys
import jax
jax.distributed.initialize("localhost:{port}", 2, int(sys.argv[1]))
sys.path.insert(0, {tests!r})
import test_evaluate as here
from mdm_jax.evaluation.samples import store
from mdm_jax.support.devices import make_mesh

def full(*_):
    raise OSError(28, "No space left on device")

found = []
for name in ("strange", "damaged", "new"):
    if name == "new":
        store.Store.add = full
    path = {store!r} + name + ".jsonl"
    try:
        here.run({{"grid": here.ALL["grid"]}}, batch=2, mesh=make_mesh({{"data": 2}}), store=path)
    except (here.InputError, OSError) as error:
        found.append(str(error))
print(json.dumps(found))
"""


def in_two_processes(script, store):
    """What each of them prints as its last line."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
    script = script.format(port=port, tests=str(Path(__file__).parent), store=str(store))
    path = os.pathsep.join([str(Path(__file__).parents[3]), str(Path(__file__).parents[2])])
    environment = os.environ | {"XLA_FLAGS": with_devices(1), "PYTHONPATH": path}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    commands = [[sys.executable, "-c", script, str(i)] for i in range(2)]
    started = [subprocess.Popen(command, env=environment, **pipes) for command in commands]
    try:
        said = [one.communicate(timeout=300) for one in started]
    finally:
        for one in started:
            one.kill()
    for (_, error), one in zip(said, started):
        assert one.returncode == 0, error[-3000:]
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


@pytest.mark.processes
@pytest.mark.thorough
def test_two_processes_share_the_work_and_one_writes(tmp_path):
    said = in_two_processes(PROCESS, tmp_path / "rows.jsonl")
    for first, second in said:
        assert (first[0], second[0]) == (SAMPLES, (len(ALL) - 1) * SAMPLES)
        np.testing.assert_array_equal(second[1], whole().tokens)
    rows = [row for line in lines_of(tmp_path / "rows.jsonl")[1:] for row in json.loads(line)["rows"]]
    assert len(rows) == len({(row[0], row[1]) for row in rows}) == len(ALL) * SAMPLES


@pytest.mark.processes
@pytest.mark.thorough
def test_what_fails_in_one_process_leaves_none_waiting(tmp_path):
    (tmp_path / "strange.jsonl").write_text("notes")
    run({"grid": ALL["grid"]}, store=tmp_path / "damaged.jsonl")
    lines = lines_of(tmp_path / "damaged.jsonl")
    (tmp_path / "damaged.jsonl").write_bytes(lines[0] + b"{}\n" + lines[1])
    first, second = in_two_processes(REFUSED, str(tmp_path) + os.sep)
    assert [part in told for part, told in zip(("not that of one", "line 2 has no rows", "No space"), first)] == [
        True
    ] * 3
    assert second == ["another process of this run has stopped; its message says why."] * 3


@pytest.mark.processes
@pytest.mark.thorough
def test_fingerprints_are_the_same_in_another_process(elsewhere):
    mine = known()
    assert elsewhere["known"] == mine
    assert len(set(mine.values())) == len(mine) - 1  # a jitted function is the function
    assert mine["jitted"] != mine["closure"]


def test_own_entropy_by_brute_force():
    tokens = np.random.default_rng(0).integers(0, 4, size=(6, 12))

    def conditional(rows):
        pairs, firsts = {}, {}
        for row in rows.tolist():
            for a, b in itertools.pairwise(row):
                pairs[a, b] = pairs.get((a, b), 0) + 1
                firsts[a] = firsts.get(a, 0) + 1
        count = sum(pairs.values())
        return -sum(n / count * math.log2(n / firsts[a]) for (a, _), n in pairs.items())

    values = own_entropy(tokens, 4)
    assert values.mean() == pytest.approx(conditional(tokens))
    left_out = np.array([conditional(np.delete(tokens, i, axis=0)) for i in range(6)])
    jackknife = math.sqrt(5 / 6 * np.sum((left_out - left_out.mean()) ** 2))
    assert scipy.stats.sem(values) == pytest.approx(jackknife)

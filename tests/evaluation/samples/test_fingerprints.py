"""What a store takes for the same and for another: rows of another model are never given back."""

import functools
import json
import os
import subprocess
import sys
import types
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.tree_util import Partial
from worlds import exact_world, lookup_logits

from mdm_jax import models
from mdm_jax.evaluation import Execution, Halving, estimate_profile, evaluate, held_out_nelbo, race
from mdm_jax.evaluation.samples.fingerprints import fingerprint
from mdm_jax.sampling import rules, sample
from mdm_jax.sampling.rule import Rule
from mdm_jax.support.errors import InputError
from mdm_jax.support.version import VERSION
from mdm_jax.theory import plans

KEY = jax.random.key(3)
PLAN = {"two steps": plans.uniform(3, 2)}
SAMPLES = 8


def total(tokens):
    return tokens.sum(axis=1)


def draw(denoiser, params, store=None, name=None, samplers=PLAN):
    where = Execution(batch=SAMPLES, store=store, name=name)
    return evaluate(denoiser, params, samplers, SAMPLES, total, key=KEY, length=3, execution=where)


def of_sign(sign):
    """Linen's ``Net`` twice: one name, one set of parameters, and laws that are each other's opposite."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            weights = self.param("weights", nn.initializers.ones, (4, 3))
            return sign * 8.0 * weights[tokens] * jnp.arange(3.0)[None, None, :]

    return Net


class Unnamed:
    pass


class Printing:
    def __init__(self, content):
        self.content = content

    def __repr__(self):
        return f"Printing({self.content})"


@jax.tree_util.register_pytree_node_class
class Holding:
    """A pytree whose static data is ``static``."""

    def __init__(self, static):
        self.static = static

    def tree_flatten(self):
        return (), self.static

    @classmethod
    def tree_unflatten(cls, static, _):
        return cls(static)


@pytest.fixture(scope="module")
def nets():
    up, down = (models.from_linen(of_sign(sign)(), 3) for sign in (1, -1))
    return up, down, up.init(jax.random.key(0), 3)


@pytest.mark.thorough
def test_two_classes_of_one_name_are_two_models_everywhere(nets, tmp_path):
    """One draws the last token nearly always, the other the first: no compiled function and no store takes one for
    the other (8 logits apart: a wrong token has a probability of 3e-4)."""
    up, down, params = nets
    assert up != down
    for net, token in ((up, 2), (down, 0), (up, 2)):
        assert (sample(net, params, plans.uniform(3, 2), SAMPLES, key=KEY).tokens == token).all()
        assert (draw(net, params).tokens == token).all()
        rows = np.full((4, 3), token, np.int32)
        assert estimate_profile(net, params, rows, 32, key=KEY).means.max() < 1e-3
        assert held_out_nelbo(net, params, rows, key=KEY).max() < 1e-2
    path = tmp_path / "rows.jsonl"
    with pytest.raises(InputError, match=r"class .*Net cannot be told from others of its name .* name=\.\.\."):
        draw(up, params, path)
    assert not path.exists()
    assert draw(up, params, path, "rising").drawn == SAMPLES
    again = draw(up, params, path, "rising")
    assert again.drawn == 0
    assert (again.tokens == 2).all()
    size = path.stat().st_size
    with pytest.raises(InputError, match='holds rows of another model: its name is "rising", not "falling"'):
        draw(down, params, path, "falling")
    with pytest.raises(InputError, match="cannot be told from others"):
        draw(down, params, path)
    assert path.stat().st_size == size
    assert (draw(down, params, tmp_path / "down.jsonl", "falling").tokens == 0).all()


@pytest.mark.thorough
def test_one_name_for_two_classes_whose_code_differs_is_noticed(tmp_path):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, tokens):
            return self.param("weights", nn.initializers.ones, (4, 3))[tokens] * 3

    def other():
        class Net(nn.Module):
            @nn.compact
            def __call__(self, tokens):
                return -self.param("weights", nn.initializers.ones, (4, 3))[tokens] * 3

        Net.__qualname__ = first.__qualname__
        return Net

    first = Net
    one, two = (models.from_linen(net(), 3) for net in (first, other()))
    params = one.init(jax.random.key(0), 3)
    path = tmp_path / "rows.jsonl"
    draw(one, params, path, "mine")
    with pytest.raises(InputError, match="holds rows of another model: its denoiser is"):
        draw(two, params, path, "mine")


def module_of(name, text):
    module = types.ModuleType(name)
    exec(text, vars(module))
    return module


def test_globals_decide_and_bytecode_does_not_show_them(tmp_path):
    """Two functions of one name and one bytecode that look up another number."""
    text = "def model(params, tokens):\n    return (params + scale * (tokens * 0)[..., None] + scale)\n"
    one, two = (module_of("users", f"scale = {scale}.\n{text}").model for scale in (1, 2))
    assert one.__code__ == two.__code__
    for thing in (one, functools.partial(one, 1), {"a": [one]}, Partial(two), jax.jit(one), jax.grad(one)):
        with pytest.raises(InputError, match=r"function users\.model cannot be told from others"):
            fingerprint(thing)
    assert fingerprint(one, owner=("a",)) != fingerprint(two, owner=("b",))


def test_what_this_library_and_those_below_it_define_needs_no_name(tmp_path):
    things = [
        models.transformer(5, length=4, width=16, depth=1, heads=2),
        models.banned(models.transformer(5, length=4, width=16, depth=1, heads=2), (1,)),
        models.from_linen(nn.Sequential((nn.Embed(6, 5), nn.Dense(5))), 5),
        models.from_linen(nn.Sequential((nn.Embed(6, 5), nn.relu)), 5),
        models.from_nnx(nnx.Embed(6, 5, rngs=nnx.Rngs(0)), 5)[0],
        rules.surest(plans.uniform(5, 2)),
        rules.surest(plans.uniform(5, 3)),
        jax.nn.relu,
        jnp.sin,
        np.sin,
        optax.adam,
        optax.adam(1e-3),
        optax.adam(1e-4),
        nn.initializers.variance_scaling(1.0, "fan_in", "normal"),
        nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
        len,
        functools.partial(jnp.sin),
        plans.Plan,
    ]
    found = [fingerprint(thing) for thing in things]
    assert found == [fingerprint(thing) for thing in things]
    assert len(set(found)) == len(found)


def test_what_only_bears_a_known_name_is_not_known():
    @functools.wraps(jax.nn.silu)
    def function(x):
        return -x

    assert function.__module__.startswith("jax")

    class Dense(nn.Dense):
        def __call__(self, x):
            return -super().__call__(x)

    Dense.__module__, Dense.__qualname__ = nn.Dense.__module__, nn.Dense.__qualname__
    for thing in (function, Dense, Dense(3), models.from_linen(Dense(3), 3)):
        with pytest.raises(InputError, match="cannot be told from others of its name"):
            fingerprint(thing)


@pytest.mark.parametrize("value", [
    Unnamed(), Holding(Unnamed()), Printing(Unnamed()), lambda x: x, Unnamed().__init__, type("int", (int,), {})(3),
    type("array", (np.ndarray,), {})((2,)), [Printing(3)],
])  # fmt: skip
def test_what_is_the_users_has_no_fingerprint_without_a_name(value):
    with pytest.raises(InputError, match="cannot be told from others of its name"):
        fingerprint(value)
    assert fingerprint(value, owner=("a",)) != fingerprint(value, owner=("b",))


def test_objects_of_numbers_that_lie_elsewhere_each_time():
    with pytest.raises(InputError, match="an array of object cannot be told"):
        fingerprint(np.array([1, "a"], object), owner=("a",))
    endless = []
    endless.append(endless)
    with pytest.raises(InputError, match="an object that holds itself cannot be told"):
        fingerprint(endless)


def test_what_differs_in_sight_has_another_fingerprint_beneath_a_name():
    long, other = np.arange(5000.0), np.arange(5000.0)
    other[2000] += 1e-9
    static = jax.tree_util.register_static(Printing)
    for one, two in (
        (Holding(lambda x: x), Holding(lambda x: x + 1)),
        (Holding((1, long)), Holding((1, other))),
        (static(long), static(other)),
    ):
        assert fingerprint(one, owner=("a",)) == fingerprint(one, owner=("a",))
        assert fingerprint(one, owner=("a",)) != fingerprint(two, owner=("a",))
    structures = [[jax.tree.structure({name: 1})] for name in ("a", "b")]
    assert fingerprint(structures[0]) != fingerprint(structures[1])


def times(c, how):
    """Linen's ``M`` with a number that it takes from elsewhere, in one of the ways that there are."""

    def decorated(call):
        @functools.wraps(call)
        def scaled(self, x):
            return call(self, x) * c

        return scaled

    class Closed(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(5)(nn.Embed(6, 8)(x)) * c

    class Default(nn.Module):
        @nn.compact
        def __call__(self, x, scale=c, *, more=0):
            return nn.Dense(5)(nn.Embed(6, 8)(x)) * scale + more

    class Keyword(nn.Module):
        @nn.compact
        def __call__(self, x, *, scale=c):
            return nn.Dense(5)(nn.Embed(6, 8)(x)) * scale

    class Attribute(nn.Module):
        TABLE: ClassVar = {"scale": c}

        def setup(self):
            self.layers = nn.Sequential([nn.Embed(6, 8), nn.Dense(5)])

        def __call__(self, x):
            return self.layers(x) * type(self).TABLE["scale"]

    class Property(nn.Module):
        @property
        def scale(self):
            return c

        @nn.compact
        def __call__(self, x):
            return nn.Dense(5)(nn.Embed(6, 8)(x)) * self.scale

    class Static(nn.Module):
        @staticmethod
        def scaled(x):
            return c * x

        @nn.compact
        def __call__(self, x):
            return self.scaled(nn.Dense(5)(nn.Embed(6, 8)(x)))

    class Decorated(nn.Module):
        @decorated
        @nn.compact
        def __call__(self, x):
            return nn.Dense(5)(nn.Embed(6, 8)(x))

    class Inheriting(Closed):
        @nn.compact
        def __call__(self, x):
            assert Inheriting is not None  # a method that closes over its class
            return super().__call__(x)

    class Unbound(nnx.Module):
        def __init__(self, rngs=c):
            self.rngs = None

    return locals()[how]


WAYS = ("Closed", "Default", "Keyword", "Attribute", "Property", "Static", "Decorated", "Inheriting", "Unbound")


@pytest.mark.parametrize("how", WAYS)
def test_what_a_class_closes_over_is_looked_at(how):
    found = [fingerprint(times(c, how), owner=("mine",)) for c in (2.0, -2.0, 2.0)]
    assert found[0] == found[2] != found[1]


@pytest.mark.thorough
def test_two_classes_under_one_name_do_not_share_rows(tmp_path):
    two, minus_two = (models.from_linen(times(c, "Closed")(), 5) for c in (2.0, -2.0))
    params = two.init(KEY, 3)
    path = tmp_path / "rows.jsonl"
    assert draw(two, params, path, "mine").drawn == SAMPLES
    assert draw(models.from_linen(times(2.0, "Closed")(), 5), params, path, "mine").drawn == 0
    with pytest.raises(InputError, match="holds rows of another model: its denoiser"):
        draw(minus_two, params, path, "mine")


STABLE = """
import dataclasses, enum, typing
from mdm_jax.evaluation.samples.fingerprints import fingerprint
import flax.linen as nn
from flax import nnx

def mk(c):
    @dataclasses.dataclass(frozen=True)
    class D:
        a: typing.Callable = max
        b: dict = dataclasses.field(default_factory=dict)
        KINDS = frozenset({"x", "y", "z", c})

    class E(enum.Enum):
        A = 1
        B = c

    class M(nn.Module):
        d: D = D()
        e: typing.Any = E.B

        @nn.compact
        def __call__(self, x):
            return nn.Dense(5)(nn.Embed(6, 8)(x)) * c

    class N(nnx.Module):
        kinds = {"x", "y", c}

        def __init__(self, *, rngs):
            self.layer = nnx.Linear(2, 3, rngs=rngs)

    return M, N

print(fingerprint(mk("2")[0](), mk("2")[1], owner=("mine",)))
"""


@pytest.mark.processes
@pytest.mark.thorough
def test_a_users_class_has_the_same_fingerprint_in_another_process():
    found = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", STABLE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found.add(done.stdout)
    assert len(found) == 1


def test_an_edited_function_of_a_users_module_has_another_fingerprint(monkeypatch):
    found = []
    for name in ("users", "mdm_jax.users"):
        for text in ("x + 1", "x + 2", "x + 1"):
            module = module_of(name, f"def model(params, x): return {text}")
            monkeypatch.setitem(sys.modules, name, module)
            found.append(fingerprint(module.model, owner=("mine",)))
    assert found[0] == found[2] != found[1]
    assert found[3] == found[4] == found[5]  # known by its name, and by the version in the store's first line


def first_open(view):
    """Reveals the first open position of each row."""
    from mdm_jax.sampling.rule import Choice

    return Choice(view.open & (jnp.cumsum(view.open, axis=1) == 1))


@pytest.mark.thorough
def test_a_rule_of_ones_own_needs_a_name_and_keeps_its_own_rows(tmp_path):
    chain = models.from_function(lookup_logits, 3)
    params = exact_world(3)[2]
    samplers = {"mine": Rule(choose=Partial(first_open))}
    path = tmp_path / "rows.jsonl"
    with pytest.raises(InputError, match="cannot be told from others"):
        draw(chain, params, path, samplers=samplers)
    found = draw(chain, params, path, "exact", samplers)
    assert found.drawn == SAMPLES
    assert draw(chain, params, path, "exact", samplers).drawn == 0
    assert draw(chain, params, path, "exact", {"another": samplers["mine"]}).drawn == SAMPLES
    assert draw(chain, params, path, "exact", PLAN | samplers).drawn == SAMPLES  # the plan's


@pytest.mark.thorough
def test_a_race_needs_a_name_only_for_a_store_that_stays(tmp_path):
    chain, params = models.from_function(lookup_logits, 3), exact_world(3)[2]

    def raced(**where):
        search = Halving(grid=1, named=("linear",), samples=2, final_samples=2)
        more = {"lower_is_better": True, "search": search, "execution": Execution(batch=4, **where)}
        return race(chain, params, lambda tokens: total(tokens) + 0.0, 3, 2, key=KEY, **more)

    plain = raced()
    with pytest.raises(InputError, match="cannot be told from others"):
        raced(store=tmp_path / "rows.jsonl")
    kept = raced(store=tmp_path / "r.jsonl", name="a")
    assert kept.winner == plain.winner
    np.testing.assert_array_equal(kept.test.tokens, plain.test.tokens)


def test_fingerprints_hold_within_a_version():
    """Stores name the version: code that says 0.2.0 gives models and plans of the library these fingerprints."""
    assert VERSION == "0.2.0"
    model = models.transformer(6, length=8, width=32, depth=1, heads=2)
    assert fingerprint(model) == "d0dc704bed9aa667058ee29343ac1bf9"
    assert fingerprint(models.banned(model, (1,))) == "5ab35c5b421182858c6372b4a0e714b3"
    from mdm_jax.evaluation.samples.keeping import identity
    from mdm_jax.sampling import Blind

    assert identity(Blind(plans.uniform(5, 2))) == "f99697e0e7b2c6b2198ba8975dce91e5"


SCRIPT = """
import jax, jax.numpy as jnp
import flax.linen as nn
from mdm_jax import models
from mdm_jax.evaluation import Execution, evaluate
from mdm_jax.theory import plans

class Net(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        return {sign} * self.param("weights", nn.initializers.ones, (4, 3))[tokens] * 3

model = models.from_linen(Net(), 3)
params = model.init(jax.random.key(0), 3)
try:
    found = evaluate(model, params, [plans.uniform(3, 2)], 4, lambda x: x.sum(axis=1), key=jax.random.key(0), length=3,
                     execution=Execution(batch=4, store={store!r}, name={name!r}))
    print(found.drawn)
except ValueError as error:
    print(error)
"""


@pytest.mark.processes
@pytest.mark.thorough
def test_in_two_scripts_one_after_the_other(tmp_path):
    def said(sign, name):
        script = SCRIPT.format(sign=sign, store=str(tmp_path / "rows.jsonl"), name=name)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip().splitlines()[-1]

    assert "the class __main__.Net cannot be told" in said(1, None)
    assert said(1, "one") == "4"
    assert said(1, "one") == "0"
    assert "another model: its name" in said(-1, "two")
    assert "another model: its denoiser" in said(-1, "one")  # the class's code is looked at too
    header = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0])
    assert header["name"] == "one"

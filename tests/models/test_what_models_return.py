"""A model that returns something else than logits for every position, or that cannot be called: one sentence."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mdm_jax import models
from mdm_jax.models.denoiser import checked_hidden, layers
from mdm_jax.support.errors import InputError

pytestmark = pytest.mark.core

TABLE = {"e": jnp.arange(30.0).reshape(6, 5)}
TOKENS = jnp.array([[0, 5, 2], [1, 5, 5]])


def call(make, *arguments, **more):
    """Without jaxtyping's own checks, which only tests have."""
    return getattr(make, "__wrapped__", make)(*arguments, **more)


def returning(change):
    return models.from_function(lambda params, tokens: change(params["e"][tokens]), 5)


def test_what_is_right_stays_what_it_was():
    np.testing.assert_array_equal(models.logits(returning(lambda x: x), TABLE, TOKENS), TABLE["e"][TOKENS])
    whole = models.logits(returning(lambda x: x.astype(jnp.int32)), TABLE, TOKENS)
    assert whole.dtype == jnp.float32
    np.testing.assert_array_equal(whole, TABLE["e"][TOKENS])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x[:, :1], r"logits of shape \(2, 3, 5\), a row of them for each of \(2, 3\); got shape \(2, 1, 5\)"),
        (lambda x: x[:1], r"logits of shape \(2, 3, 5\).*; got shape \(1, 3, 5\)"),
        (lambda x: x.mean(1), r"logits of shape \(2, 3, 5\).*; got shape \(2, 5\)"),
        (lambda x: x[0, 0], r"logits of shape \(2, 3, 5\).*; got shape \(5,\)"),
        (lambda x: x[None], r"logits of shape \(2, 3, 5\).*; got shape \(1, 2, 3, 5\)"),
        (lambda x: x.sum(), r"logits over vocab_size = 5 tokens; got shape \(\)"),
        (lambda x: x[..., :1], r"logits over vocab_size = 5 tokens; got shape \(2, 3, 1\)"),
        (lambda x: (x, None), r"one array, logits of shape \(2, 3, 5\); got something of type tuple"),
        (lambda x: {"logits": x}, r"one array, logits of shape \(2, 3, 5\); got something of type dict"),
        (lambda x: None, r"one array, .*; got something of type NoneType"),
        (lambda x: x + 1j, "real numbers; got complex64"),
        (lambda x: x > 0, "real numbers; got bool"),
    ],
)
def test_logits_of_another_kind_are_refused(change, says):
    """The fault: one position, or one row, spread over all of them, and plausible numbers."""
    for denoiser in (returning(change), models.tempered(returning(change), 0.5)):
        with pytest.raises(InputError, match=says):
            call(models.logits, denoiser, TABLE, TOKENS)


class Halves(nn.Module):
    hidden: Any = staticmethod(lambda x: x)
    logits: Any = staticmethod(lambda x: x)

    def setup(self):
        self.embed = nn.Embed(6, 5)

    def encode(self, tokens):
        return self.hidden(self.embed(tokens))

    def readout(self, hidden):
        return self.logits(hidden)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (
            Halves(hidden=lambda x: x[:, :1]),
            r"encode must return hidden vectors of shape \(2, 3, d\); got .*\(2, 1, 5\)",
        ),
        (Halves(hidden=lambda x: x[0]), r"encode must return hidden vectors of shape \(2, 3, d\); got shape \(3, 5\)"),
        (
            Halves(hidden=lambda x: (x, x)),
            r"one array, hidden vectors of shape \(2, 3, d\); got something of type tuple",
        ),
        (Halves(logits=lambda x: x[:1]), r"logits of shape \(2, 3, 5\).*; got shape \(1, 3, 5\)"),
        (Halves(logits=lambda x: x.mean(0)), r"logits of shape \(2, 3, 5\).*; got shape \(3, 5\)"),
    ],
)
def test_halves_are_refused_likewise(module, says):
    denoiser = models.from_linen(module, 5)
    params = models.from_linen(Halves(), 5).init(jax.random.key(0), 3)
    with pytest.raises(InputError, match=says):
        call(models.logits, denoiser, params, TOKENS)


def test_a_denoiser_of_ones_own_is_looked_at_too():
    class Own:
        vocab_size, mask_id, passes = 5, 5, 1

        def encode(self, params, tokens, context=None):
            return params["e"][tokens][:1]

        def readout(self, params, hidden):
            return hidden

    with pytest.raises(InputError, match=r"the denoiser's logits must be of shape \(2, 3, 5\); got shape \(1, 3, 5\)"):
        call(models.logits, Own(), TABLE, TOKENS)
    assert [type(layer).__name__ for layer in layers(models.tempered(Own(), 0.5))] == ["Ruled", "Own"]
    assert call(checked_hidden, jnp.zeros((2, 3, 1)), (2, 3)).shape == (2, 3, 1)


class Flagged(nn.Module):
    @nn.compact
    def __call__(self, tokens, train):
        return nn.Embed(6, 5)(tokens)


class FlaggedNNX(nnx.Module):
    def __init__(self):
        self.table = nnx.Param(jnp.zeros((6, 5)))

    def __call__(self, tokens, *, train):
        return self.table[...][tokens]


def test_a_module_that_wants_more_than_tokens_is_told():
    denoiser = models.from_linen(Flagged(), 5)
    for act in (
        lambda: denoiser.init(jax.random.key(0), 3),
        lambda: denoiser.encode({"params": {"Embed_0": {"embedding": TABLE["e"]}}}, TOKENS),
    ):
        with pytest.raises(InputError, match=r"called with tokens .* its __call__ takes \(tokens, train\).* 'train'"):
            act()
    flagged, state = models.from_nnx(FlaggedNNX(), 5)
    with pytest.raises(InputError, match=r"called with tokens .* its __call__ takes \(tokens, \*, train\).* 'train'"):
        flagged.encode(state, TOKENS)
    with pytest.raises(InputError, match=r"called with tokens and a context and nothing else"):
        flagged.encode(state, TOKENS, jnp.zeros((2, 1)))


class Listed(nnx.Module):
    def __init__(self, sizes=(6, 5)):
        self.sizes = sizes
        self.table = nnx.Param(jnp.zeros((6, 5)))

    def __call__(self, tokens):
        return self.table[...][tokens]


class Unhashable:
    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __call__(self, params, tokens):
        return params["e"][tokens]


class DrawingNNX(nnx.Module):
    """Draws from a stream of its own, evaluation or not."""

    def __init__(self):
        self.table, self.rngs = nnx.Param(jnp.zeros((6, 5))), nnx.Rngs(0)

    def __call__(self, tokens):
        return self.table[...][tokens] + jax.random.normal(self.rngs.noise(), (5,))[None, None, :]


class ArrayNNX(nnx.Module):
    def __init__(self):
        self.table, self.scale = nnx.Param(jnp.zeros((6, 5))), nnx.data(jnp.ones((1, 5)))

    def __call__(self, tokens):
        return (self.table[...] * self.scale)[tokens]


def test_nnx_modules_of_other_kinds_are_told_what_would_be_right():
    denoiser, state = models.from_nnx(DrawingNNX(), 5)
    with pytest.raises(
        InputError, match=r"call module.eval\(\) .*, and let the module draw nothing from its own nnx.R"
    ):
        denoiser.encode(state, TOKENS)
    denoiser, state = models.from_nnx(ArrayNNX(), 5)
    assert denoiser.encode(state, TOKENS).shape == (2, 3, 5)
    with pytest.raises(
        InputError, match=r"make an array that is an attribute of the module an nnx.Param .* nnx.Variab"
    ):
        models.parted(denoiser, state)
    denoiser, state = models.from_nnx(Listed(), 5)
    with pytest.raises(InputError, match="put a pure dict back into the state with nnx"):
        models.parted(denoiser, nnx.to_pure_dict(state))
    for sizes in ([6, 5], {"a": 1}, np.zeros(2)):
        try:  # Flax itself refuses some, as the attribute is set
            module = Listed(sizes)
        except ValueError:
            continue
        try:
            denoiser, state = models.from_nnx(module, 5)
        except InputError as error:
            assert "the Listed must be hashable" in str(error)  # noqa: PT017
        else:
            assert jax.jit(denoiser.encode)(state, TOKENS).shape == (2, 3, 5)


@pytest.mark.parametrize("bad", [2.5, np.inf, 1e300, True, 10**30, "3", 2.0, np.array([3, 4]), -1])
def test_sizes_are_whole_numbers(bad):
    for make in (
        lambda **sizes: call(models.from_function, lambda params, tokens: params, **sizes),
        lambda **sizes: call(models.from_linen, Flagged(), **sizes),
        lambda **sizes: call(models.from_nnx, FlaggedNNX(), **sizes),
    ):
        with pytest.raises(InputError, match="vocab_size must be a whole number from 2"):
            make(vocab_size=bad)
        with pytest.raises(InputError, match="mask_id must be a whole number from 0"):
            make(vocab_size=5, mask_id=bad)
    with pytest.raises(InputError, match="vocab_size must be a whole number from 2"):
        call(models.from_function, lambda params, tokens: params, None)


def test_numpys_whole_numbers_become_pythons():
    denoiser = call(models.from_function, look_up, np.int64(5), np.uint8(4))
    assert denoiser == models.from_function(look_up, 5, 4)
    assert (type(denoiser.vocab_size), type(denoiser.mask_id)) == (int, int)
    sizes = {"vocab_size": 5, "length": 4, "width": 8, "depth": 1, "heads": 2}
    one, other = (call(models.transformer, **{k: kind(v) for k, v in sizes.items()}) for kind in (int, np.int64))
    assert one == other
    assert models.describe(one) == models.describe(other)
    assert not any(type(value) is np.int64 for value in (models.describe(other) or {}).values())


def look_up(params, tokens):
    return params["e"][tokens]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: call(models.from_linen, 3, 5), "module must be an instance of a flax.linen.Module; got 3"),
        (lambda: call(models.from_linen, Flagged, 5), "module must be an instance of a flax.linen.Module; got <class"),
        (lambda: call(models.from_linen, FlaggedNNX(), 5), "module must be an instance of a flax.linen.Module"),
        (lambda: call(models.from_nnx, "a", 5), "module must be an instance of a flax.nnx.Module; got 'a'"),
        (lambda: call(models.from_nnx, FlaggedNNX, 5), "module must be an instance of a flax.nnx.Module; got <class"),
        (lambda: call(models.from_nnx, Flagged(), 5), "module must be an instance of a flax.nnx.Module"),
        (lambda: call(models.from_function, 3, 5), "function must be a function of"),
        (lambda: call(models.from_function, lambda params, tokens, *, train: 0, 5), "function must be a function of"),
        (lambda: call(models.from_function, Unhashable(), 5), "the Unhashable must be hashable"),
        (lambda: call(models.from_linen, Halves(hidden=Unhashable()), 5), "the Halves must be hashable"),
    ],
)
def test_what_is_no_model_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()

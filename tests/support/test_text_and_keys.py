"""What is printed of foreign text, and keys of one implementation."""

import json
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdm_jax.support.errors import InputError
from mdm_jax.support.keys import key, key_of, threefry
from mdm_jax.support.statistics import standard_error, standard_errors
from mdm_jax.support.text import printable, printable_json

pytestmark = pytest.mark.core


def words(key):
    return np.asarray(jax.random.key_data(key)).tolist()


@pytest.mark.parametrize("obeyed", ["\x1b", "\x07", "\x00", "\x7f", "\x9b", "\u202e", "\u2028", "\ud800", "\U000e0001"])
def test_what_a_terminal_obeys_is_escaped(obeyed):
    shown = printable(f"a{obeyed}b")
    assert obeyed not in shown
    assert shown == "a" + obeyed.encode("unicode_escape").decode() + "b"


def test_what_people_write_stays():
    text = "Grüße, 中文\u3000नमस्ते می\u200cخواهم 👩\u200d👧"  # noqa: RUF001
    assert printable(text) == text
    assert printable("a\n\tb") == "a\\n\\tb"
    assert printable("a\n\tb\r", lines=True) == "a\n\tb\\r"


def test_json_keeps_its_value():
    value = {"name": "\x1b[31m \x9b \u202e \U000e0001 中", "list": [1, "\n"]}
    text = json.dumps(value, indent=2, ensure_ascii=False)
    shown = printable_json(text)
    assert json.loads(shown) == value
    assert not set("\x1b\x9b\u202e\U000e0001") & set(shown)
    assert "中" in shown
    assert shown.count("\n") == text.count("\n")


@pytest.mark.parametrize("change", [lambda k: k, lambda k: jax.random.split(k)[1], lambda k: jax.random.fold_in(k, 7)])
def test_an_rbg_key_gives_what_the_threefry_key_of_its_seed_gives(change):
    converted = threefry(change(jax.random.key(3, impl="rbg")))
    assert words(converted) == words(change(key_of(3)))
    assert words(jax.jit(threefry)(change(jax.random.key(3, impl="rbg")))) == words(converted)


def test_keys_that_differ_stay_different():
    keys = [
        jax.random.wrap_key_data(jnp.asarray([1, 2, *rest], jnp.uint32), impl="rbg")
        for rest in ([1, 2], [3, 4], [3, 5])
    ]
    assert len({tuple(words(threefry(key))) for key in keys}) == 3


def test_a_seed_gives_one_key_whatever_the_default():
    with jax.default_prng_impl("rbg"):
        assert words(key_of(5)) == words(jax.random.key(5, impl="threefry2x32"))


@pytest.mark.parametrize("bad", [5, None, "key", np.zeros(3, np.uint32), np.zeros(2), jnp.zeros(2, jnp.int32)])
def test_what_is_no_key_is_refused(bad):
    with pytest.raises(InputError, match=r"^key must be one PRNG key"):
        threefry(bad)
    with pytest.raises(InputError, match=r"got keys of shape \(2,\)"):
        threefry(jax.random.split(jax.random.key(0)))


@pytest.mark.parametrize("default", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("kind", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_a_raw_key_is_refused_in_a_sentence_whose_advice_works(kind, default):
    """Of two words or of four, whatever the default is where the advice is followed; traced too."""
    with jax.default_prng_impl(kind):
        raw = jax.random.PRNGKey(3)
    said = r"^key must be one PRNG key, .* \(of this raw one, (.*) makes it\); got uint32 of shape "
    with jax.default_prng_impl(default):
        for refuse, one in ((threefry, raw), (threefry, np.asarray(raw)), (jax.jit(threefry), raw)):
            with pytest.raises(InputError, match=said) as caught:
                refuse(one)
            advice = re.match(said, str(caught.value))[1]
            advised = eval(advice, {"jax": jax, "key": one})  # what the sentence says, word for word
            assert words(threefry(advised)) == words(jax.random.key(3, impl="threefry2x32"))


@pytest.mark.parametrize("seed", [0, 1, 7, 2**16, 2**31 - 1])
def test_a_seeds_key_is_jaxs_own_whatever_the_offset(seed):
    right = words(jax.random.key(seed, impl="threefry2x32"))
    assert words(key_of(seed)) == words(jax.jit(lambda: key_of(seed))()) == right
    before = jax.config.jax_random_seed_offset  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_random_seed_offset", 5)
    try:
        assert words(key_of(seed)) == right
        assert seed > 7 or words(jax.random.key(seed, impl="threefry2x32")) != right
    finally:
        jax.config.update("jax_random_seed_offset", before)


def test_standard_error_of_infinite_values_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(standard_error([1.0, np.inf, 2.0]))
        found = standard_errors(np.array([[1.0, 2.0], [np.inf, 4.0], [3.0, 6.0]]))
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(2 / 3**0.5)


def test_standard_error_of_the_mean():
    values = [1.0, 2.0, 4.0, 9.0]  # mean 4, squared deviations 9, 4, 0, 25
    assert standard_error(values) == pytest.approx((38 / 3) ** 0.5 / 2)
    assert np.isnan(standard_error([1.0]))
    assert standard_errors(np.array([values, values[::-1]]), axis=1) == pytest.approx([standard_error(values)] * 2)


def test_a_key_of_a_seed():
    assert (jax.random.key_data(key(7)) == jax.random.key_data(jax.random.key(7))).all()
    for seed in (-1, 2**31):
        with pytest.raises(InputError, match=r"^seed must be .*from 0"):
            key(seed)

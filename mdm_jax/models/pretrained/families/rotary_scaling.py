"""Rotary positions as config.json tells them: plain, or scaled to longer sequences than a model was first trained on.

Where a wavelength is long against that first length, its frequency is divided by a factor; where it is short, it stays;
between the two is a ramp. "linear" divides all of them. Kinds whose frequencies depend on the length of what is read
("dynamic", "longrope") are refused.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mdm_jax.models.pretrained.families.configurations import Config, must_be, number, whole
from mdm_jax.support.errors import InputError, require
from mdm_jax.support.text import shortened

_FIRST = "original_max_position_embeddings"
_COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}


def rotary_of(config: Config, features: int) -> dict[str, Any]:
    """The fields of a :class:`~mdm_jax.models.pretrained.decoder.Decoder` that tell how queries and keys are turned.

    Args:
        config: config.json's content: "rope_theta" and "rope_scaling", or "rope_parameters" with both.
        features: of each head.

    Raises:
        InputError: a kind of scaling that is not here, or one of which a number is missing, odd or not known here.

    Source: Llama 3.1 ("llama3"), YaRN (arXiv 2309.00071); equal to ``modeling_rope_utils.py`` of ``transformers``.

    Example:
        >>> from mdm_jax.models.pretrained.families.rotary_scaling import rotary_of
        >>> config = {"rope_theta": 10000.0, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}
        >>> rotary_of(config, features=4)
        {'rotary_base': 10000.0, 'rotary_scales': (0.25, 0.25), 'rotary_gain': 1.0}
    """
    newer, older = config.get("rope_parameters"), config.get("rope_scaling")
    require(newer is None or older is None, "config.json's rope_scaling", older, "absent beside rope_parameters")
    told = {"rope_type": "default"} if newer is None and older is None else older if newer is None else newer
    if not isinstance(told, Mapping):
        raise InputError(f"config.json's rope_scaling must be a dictionary; got {shortened(repr(told))}.")
    for one in (config, told):
        must_be(one, "partial_rotary_factor", 1.0, 1, None, absent=1.0)
    kind = told.get("rope_type", told.get("type", "default"))
    known = isinstance(kind, str) and (kind == "default" or kind in _KINDS)
    require(known, "config.json's rope_scaling", kind, f"absent, or of type {' or '.join(map(repr, _KINDS))}")
    base = number(config if newer is None else told, "rope_theta")
    if kind == "default":
        return {"rotary_base": base}
    kept_of, keys = _KINDS[kind]
    odd = sorted(map(str, told.keys() - keys - _COMMON))
    require(not odd, "config.json's rope_scaling", odd, f"without keys that {kind!r} does not have here")
    kept, factor = kept_of(told, base, features), number(told, "factor")
    scales = (1.0 - kept) / factor + kept
    gain = _gain(told, factor) if kind == "yarn" else 1.0
    return {"rotary_base": base, "rotary_scales": tuple(scales.tolist()), "rotary_gain": gain}


def _linear(told: Config, base: float, features: int) -> np.ndarray:
    """Which part of each frequency is kept as it is: none."""
    del told, base
    return np.zeros(features // 2)


def _llama3(told: Config, base: float, features: int) -> np.ndarray:
    """A ramp over how often a wavelength fits into the first length, from "low_freq_factor" to "high_freq_factor"."""
    low, high = number(told, "low_freq_factor"), number(told, "high_freq_factor")
    require(low < high, "config.json's low_freq_factor", low, f"less than its high_freq_factor = {high}")
    times = whole(told, _FIRST) * base ** (-np.arange(0, features, 2) / features) / (2 * math.pi)
    return np.clip((times - low) / (high - low), 0.0, 1.0)


def _yarn(told: Config, base: float, features: int) -> np.ndarray:
    """A ramp over the features, between those whose wavelengths fit "beta_fast" and "beta_slow" times."""
    must_be(told, "truncate", True, False, absent=True)
    first = whole(told, _FIRST)
    require(base > 1, "config.json's rope_theta", base, "above 1 for 'yarn'")

    def place(key: str, usual: float) -> float:
        times = usual if told.get(key) is None else number(told, key)
        return features * math.log(first / (times * 2 * math.pi)) / (2 * math.log(base))

    begin, end = place("beta_fast", 32.0), place("beta_slow", 1.0)
    if told.get("truncate", True):
        begin, end = math.floor(begin), math.ceil(end)
    begin, end = max(begin, 0), min(end, features - 1)
    ramp = (np.arange(features // 2) - begin) / (end - begin if end != begin else 0.001)
    return 1.0 - np.clip(ramp, 0.0, 1.0)


def _gain(told: Config, factor: float) -> float:
    """What YaRN multiplies queries and keys by."""

    def of(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if told.get("attention_factor") is not None:
        return number(told, "attention_factor")
    if told.get("mscale") and told.get("mscale_all_dim"):
        return of(number(told, "mscale")) / of(number(told, "mscale_all_dim"))
    return of(1.0)


_YARN = {"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"}
_KINDS: dict[str, tuple[Callable[[Config, float, int], np.ndarray], set[str]]] = {
    "linear": (_linear, {"factor"}),
    "llama3": (_llama3, {"factor", "low_freq_factor", "high_freq_factor", _FIRST}),
    "yarn": (_yarn, {"factor", _FIRST, *_YARN}),
}
"""Of each kind which part of the frequencies is kept, and the keys that it is told by."""

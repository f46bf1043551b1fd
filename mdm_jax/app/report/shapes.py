"""What the files of a run must hold, declared, and the functions that read and check it."""

import numbers
import sys
from pathlib import Path
from typing import Any

from mdm_jax.support.errors import InputError
from mdm_jax.support.files import read_json
from mdm_jax.support.text import shortened

# What the files must hold, as read by checked: a type, [each], {key: value}, {str: each value}, or (shape, None) for
# what may be null or left out. More keys are allowed. numbers.Real also takes NaN: a diverged run has a report too.
_TASK = {"spec": str, "length": int, "vocab_size": int, "digest": str}
_OBJECTIVE = {"name": (str, None), "is_bound": bool}
_SOURCE = {"family": str, "files": {str: str}, "ignored": [str], "settings": dict, "parameters": {str: {"type": str}}}
CONFIG = {"task": _TASK, "model": (dict, None), "settings": dict, "versions": (dict, None),
           "objective": (_OBJECTIVE, None), "source": (_SOURCE, None)}  # fmt: skip
_LOG_FIGURES = ("train_bits_per_token", "held_out_bits_per_token", "held_out_standard_error", "tokens_per_second")
MONITORS = ("held_out_kl_nats", "held_out_active_units", "held_out_pair_information_nats")
"""What the log says of a run's latents."""
LOG = [{"step": int, "seconds": float, **dict.fromkeys(_LOG_FIGURES, numbers.Real),
         **dict.fromkeys(MONITORS, (numbers.Real, None))}]  # fmt: skip
BASELINE = {"name": str, "bits_per_token": float, "margin": (float, None), "margin_standard_error": (float, None),
            "margin_interval": ([float], None)}  # fmt: skip
HELD_OUT = {"rows": int, "bits_per_token": float, "standard_error": float, "parameters": (int, None),
             "interval": ([float], None),
             "baselines": [BASELINE], "bound": (str, None), "of_rows": (int, None), "tokens": (int, None),
             "length_bits_per_row": (float, None), "length_standard_error": (float, None),
             "bits_per_byte": (float, None), "bits_per_byte_standard_error": (float, None), "bytes": (int, None),
             "behind_prompts": (bool, None), "given_labels": (bool, None), "run_step": (int, None),
             "data_notes": ([str], None)}  # fmt: skip
_CHECKED = {"rows": int, "nelbo_nats": float, "standard_error": float, "apart_nats": float,
            "apart_standard_error": float, "z": float}  # fmt: skip
TUNED_PLAN = {"role": str, "plan": {"name": str, "sizes": [int], "origin": dict}, "expected_nelbo_nats": float,
               "standard_error": float, "checked": (_CHECKED, None)}  # fmt: skip
_CERTIFICATE = {"level": float, "regret_nats": float, "excess_nats": float, "regret_nats_at_once": (float, None),
                "excess_nats_at_once": (float, None)}  # fmt: skip
_CHECK = {"rows": int, "judged_on": str, "offset_nats": float, "offset_standard_error": float, "offset_z": float}
_ADVANTAGE = {"steps": int, "over": str, "role": str, "nats": float, "low": float, "high": float, "rows": (int, None),
              "judged_on": str, "steps_saved": ([float], None)}  # fmt: skip
TUNING = {"length": int, "profile_digest": str, "nelbo_nats": float, "falls": (bool, None), "steps": [int],
           "families": {str: [float]}, "optimal_nats": ([float], None), "best_beta": [str],
           "budgets": [{"steps": int, "plans": [TUNED_PLAN], "certificate": (_CERTIFICATE, None)}],
           "check": (_CHECK, None), "advantages": ([_ADVANTAGE], None),
           "latent": (str, None), "kl_nats": (float, None), "kl_standard_error": (float, None)}  # fmt: skip
JUDGED = {"rows": int, "test": {"mean": float, "low": float, "high": float},
          "above": [{"rival": str, "same_plan": bool, "mean": float, "low": float, "high": float}]}  # fmt: skip
"""Of a plan for an order that looks."""
_SAMPLE = {"pieces": [str], "reveal_step": ([int], None), "nfe": int, "score": (float, None), "text": (str, None),
           "log_prob": (float, None), "remaining": (int, None), "label": (int, None)}  # fmt: skip
_PANEL = {"role": str, "plan": str, "steps": int, "budget": (int, None), "rows": [_SAMPLE], "scored_rows": (int, None),
          "mean_score": (float, None), "score_standard_error": (float, None), "seconds": (float, None),
          "temperature": (float, None), "seed": (int, None), "command": (str, None),
          "run_step": (int, None), "score_name": (str, None)}  # fmt: skip
_LATENTS = {"plan": str, "steps": int, "latents": int, "rows_each": int, "equal_under_one": float,
            "equal_under_two": float, "groups": [[_SAMPLE]]}  # fmt: skip
_REAL = {"pieces": [str], "score": (float, None)}
SAMPLES = {"temperature": (float, None), "seed": (int, None), "score_name": (str, None),
            "lower_is_better": (bool, None), "reference_score": (float, None), "reference_rows": (int, None),
            "real": ([_REAL], None), "panels": [_PANEL], "latents": (_LATENTS, None)}  # fmt: skip
# Numbers that are never less, wherever they stand.
_LEAST = {
    **dict.fromkeys(("length", "vocab_size", "rows", "steps", "budget", "rows_each"), 1),
    **dict.fromkeys(("bits_per_token", "nelbo_nats", "expected_nelbo_nats", "standard_error", "parameters"), 0),
    **dict.fromkeys(("apart_standard_error", "offset_standard_error", "level"), 0),
    **dict.fromkeys(("margin_standard_error", "score_standard_error", "scored_rows", "nfe", "temperature"), 0),
    "seconds": 0,
    **dict.fromkeys(("kl_standard_error", "equal_under_one", "equal_under_two"), 0),
    **dict.fromkeys(("length_bits_per_row", "length_standard_error", "run_step"), 0),
}
_WORDS = {float: "a finite number", numbers.Real: "a number", int: "a whole number", str: "text", bool: "true or false",
          dict: "an object", list: "a list"}  # fmt: skip


def checked(value: Any, shape: Any, what: str, where: str = "") -> Any:
    """``value`` if it has ``shape`` (see above ``_TASK``), with ``None`` for what may be left out and is.

    Raises:
        InputError: "``what``: ``where`` must be ...".
    """
    if isinstance(shape, tuple):
        return None if value is None else checked(value, shape[0], what, where)
    kind = type(shape) if isinstance(shape, dict | list) else shape
    if not _is(value, kind):
        said = shortened(repr(value), 60)
        raise InputError(f"{what}: {where or 'its content'} must be {_WORDS[kind]}; got {said}.")
    if isinstance(shape, list):
        if shape[0] in (int, str) and set(map(type, value)) <= {shape[0]}:
            return value  # at once: samples are long
        places = (f"{where}[{i}]" if where else f"line {i + 1}" for i in range(len(value)))
        return [checked(item, shape[0], what, place) for item, place in zip(value, places)]
    if not isinstance(shape, dict):
        least = _LEAST.get(where.rpartition(".")[2])
        if least is not None and isinstance(value, int | float) and value < least:
            raise InputError(f"{what}: {where} must be at least {least}; got {value!r}.")
        return value
    shapes = dict.fromkeys(value, shape[str]) if str in shape else shape
    for name, item_shape in shapes.items():
        if name not in value and not isinstance(item_shape, tuple):
            raise InputError(f"{what}: {where + ' ' if where else 'it '}has no {name}.")
    before = f"{where}." if where else ""
    return value | {name: checked(value.get(name), item, what, before + name) for name, item in shapes.items()}


def read(path: Path, shape: Any, form: str, remake: str = "") -> Any:
    """The content of a file of ``"format": form`` ("mdm_jax <kind> 1"), checked; ``None`` if there is no such file.

    One of an earlier format can be made anew, where ``remake`` says how.
    """
    if not path.exists():
        return None
    kind = form.split()[1]
    value = read_json(path, f"a {kind} file")
    earlier = isinstance(value, dict) and str(value.get("format")).rpartition(" ")[0] == form.rpartition(" ")[0]
    if remake and earlier and value["format"] != form:
        raise InputError(f"{path} is a {kind} file of another version ({value['format']!r}); {remake}")
    if not isinstance(value, dict) or value.get("format") != form:
        raise InputError(f"{path} is not a {kind} file: its format must be {form!r}.")
    return checked(value, shape, f"{path} is not a {kind} file")


def _is(value: Any, kind: type) -> bool:
    """Whether ``value`` is of ``kind``, where ``float`` means any finite number and a truth value is no number."""
    if kind in (int, float, numbers.Real):
        right = isinstance(value, int) or (kind is not int and isinstance(value, float))
        return right and not isinstance(value, bool) and (kind is not float or abs(value) <= sys.float_info.max)
    return isinstance(value, kind)

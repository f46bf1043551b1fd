"""The files of a run directory as the report reads them: their shapes, declared, and one function that checks them.

What has been read holds no surprises: every declared key is there, with ``None`` for what a file may leave out.
"""

import dataclasses
import math
import numbers
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdm_jax.evaluation.held_out import FORMAT as HELD_OUT_FORMAT
from mdm_jax.evaluation.tuning import FORMAT as TUNING_FORMAT
from mdm_jax.evaluation.tuning import ROLES
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError, require, require_choice, verbatim
from mdm_jax.support.files import read_json
from mdm_jax.support.text import shortened
from mdm_jax.tasks import Grid, Numbers
from mdm_jax.tasks.notation import from_json
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile
from mdm_jax.training.runs import RunDirectory

# What the files must hold, as read by _checked: a type, [each], {key: value}, {str: each value}, or (shape, None) for
# what may be null or left out. More keys are allowed. numbers.Real also takes NaN: a diverged run has a report too.
_TASK = {"spec": str, "length": int, "vocab_size": int, "digest": str}
_OBJECTIVE = {"name": (str, None), "is_bound": bool}
_CONFIG = {"task": _TASK, "model": (dict, None), "settings": dict, "versions": (dict, None),
           "objective": (_OBJECTIVE, None)}  # fmt: skip
_LOG_FIGURES = ("train_bits_per_token", "held_out_bits_per_token", "held_out_standard_error", "tokens_per_second")
MONITORS = ("held_out_kl_nats", "held_out_active_units", "held_out_pair_information_nats")
"""What the log says of a run's latents."""
_LOG = [{"step": int, "seconds": float, **dict.fromkeys(_LOG_FIGURES, numbers.Real),
         **dict.fromkeys(MONITORS, (numbers.Real, None))}]  # fmt: skip
_BASELINE = {"name": str, "bits_per_token": float, "margin": (float, None), "margin_standard_error": (float, None)}
_HELD_OUT = {"rows": int, "bits_per_token": float, "standard_error": float, "parameters": (int, None),
             "baselines": [_BASELINE], "bound": (str, None)}  # fmt: skip
_CHECK = {"rows": int, "nelbo_nats": float, "standard_error": float, "z": float}
_TUNED_PLAN = {"role": str, "plan": {"name": str, "sizes": [int], "origin": dict}, "expected_nelbo_nats": float,
               "standard_error": float, "checked": (_CHECK, None)}  # fmt: skip
_TUNING = {"length": int, "profile_digest": str, "nelbo_nats": float, "steps": [int], "families": {str: [float]},
           "best_beta": [str], "budgets": [{"steps": int, "plans": [_TUNED_PLAN]}],
           "latent": (str, None), "kl_nats": (float, None), "kl_standard_error": (float, None)}  # fmt: skip
_SAMPLE = {"pieces": [str], "reveal_step": [int], "nfe": int, "score": (float, None),
           "log_prob": (float, None), "remaining": (int, None)}  # fmt: skip
_PANEL = {"role": str, "plan": str, "steps": int, "budget": (int, None), "rows": [_SAMPLE], "scored_rows": (int, None),
          "mean_score": (float, None), "score_standard_error": (float, None)}  # fmt: skip
_LATENTS = {"plan": str, "steps": int, "latents": int, "rows_each": int, "equal_under_one": float,
            "equal_under_two": float, "groups": [[_SAMPLE]]}  # fmt: skip
_SAMPLES = {"temperature": float, "seed": int, "score_name": str, "lower_is_better": bool,
            "reference_score": (float, None), "panels": [_PANEL], "latents": (_LATENTS, None)}  # fmt: skip
# Numbers that are never less, wherever they stand.
_LEAST = {
    **dict.fromkeys(("length", "vocab_size", "rows", "steps", "budget", "rows_each"), 1),
    **dict.fromkeys(("bits_per_token", "nelbo_nats", "expected_nelbo_nats", "standard_error", "parameters"), 0),
    **dict.fromkeys(("margin_standard_error", "score_standard_error", "scored_rows", "nfe", "temperature"), 0),
    **dict.fromkeys(("kl_standard_error", "equal_under_one", "equal_under_two"), 0),
}
_ALSO = {"format", "searched"}
"""What complete files hold beside what the report reads."""
SAMPLES_FORMAT = "mdm_jax samples 1"
_WORDS = {float: "a finite number", numbers.Real: "a number", int: "a whole number", str: "text", bool: "true or false",
          dict: "an object", list: "a list"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The content of the files of a run; ``None`` for a file that is not there.

    Attributes:
        directory: where they are.
        config: ``config.json``.
        log: the lines of ``log.jsonl``; none before training.
        held_out: ``held_out.json``.
        profile: ``profile.json``.
        tuning: ``tuning.json``, with a :class:`Plan` as the "plan" of every entry.
        samples: ``samples.json``, with what files of older runs lack worked out from the rows.
        other_plans: names of plan files that are not, or no longer, the plans of ``tuning.json``.
    """

    directory: RunDirectory
    config: dict[str, Any]
    log: list[dict[str, Any]]
    held_out: dict[str, Any] | None
    profile: Profile | None
    tuning: dict[str, Any] | None
    samples: dict[str, Any] | None
    other_plans: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The name of the run: that of its directory."""
        return self.directory.path.resolve().name

    @property
    def own_model(self) -> bool:
        """Whether the model is the user's, which no command can load."""
        return self.config["model"] is None

    @property
    def has_latents(self) -> bool:
        """Whether the model is one of the library's with latents."""
        return (self.config["model"] or {}).get("family") in ("latent transformer", "diffusion prior")

    @property
    def figure(self) -> str:
        """What the held-out figures of the log are: the masked NELBO, another bound, or a surrogate."""
        objective = self.config["objective"]
        if objective is None or objective["name"] == "masked NELBO":
            return "NELBO"
        name = objective["name"] or "objective"
        return name if name.endswith("bound") else f"{name} ({'a' if objective['is_bound'] else 'no'} bound)"

    @property
    def figure_is_bound(self) -> bool:
        """Whether they bound the likelihood."""
        return self.config["objective"] is None or self.config["objective"]["is_bound"]

    def command(self, name: str, *more: str) -> str:
        """A command about this run, to be pasted into a shell."""
        return command(name, self.directory.path, *more)

    @property
    def notation(self) -> Numbers | Grid | None:
        """How the tokens are written where they are no characters, as the task stored it."""
        stored = self.config["task"].get("vocabulary")
        return from_json(stored) if isinstance(stored, dict) else None

    @property
    def kind(self) -> str:
        """What the data are: "text", or "data" where tokens are no characters."""
        return "text" if self.notation is None else "data"


def read(directory: RunDirectory) -> RunFiles:
    """Everything in the directory that the report shows.

    Raises:
        InputError: no run there, or a file that does not hold what it should.
    """
    config = _checked(directory.read_config(), _CONFIG, f"{directory.config} is not the configuration of a run")
    tuning = _read_tuning(directory.tuning)
    return RunFiles(
        directory,
        config=config,
        log=_checked(directory.read_log(), _LOG, f"{directory.log} is not the log of a run"),
        held_out=_read_held_out(directory.held_out),
        profile=_read_profile(directory.profile, config["task"]["length"]),
        tuning=tuning,
        samples=_read_samples(directory.samples),
        other_plans=() if tuning is None else _other_plans(directory, tuning),
    )


def _read(path: Path, shape: Any, form: str) -> Any:
    """The content of a file of ``"format": form`` ("mdm_jax <kind> 1"), checked; ``None`` if there is no such file."""
    if not path.exists():
        return None
    kind = form.split()[1]
    value = read_json(path, f"a {kind} file")
    if not isinstance(value, dict) or value.get("format") != form:
        raise InputError(f"{path} is not a {kind} file: its format must be {form!r}.")
    return _checked(value, shape, f"{path} is not a {kind} file")


def _read_held_out(path: Path) -> dict[str, Any] | None:
    held_out = _read(path, _HELD_OUT, HELD_OUT_FORMAT)
    if held_out is None:
        return None
    try:
        _refuse_more(held_out, _HELD_OUT)
        names = [
            _refuse_more(one, _BASELINE, f"baselines[{i}].")["name"] for i, one in enumerate(held_out["baselines"])
        ]
        require(len(set(names)) == len(names), "baselines", names, "of different names")
    except InputError as error:
        raise InputError(f"{path} is not a held-out file: {error}") from None
    return held_out


def _refuse_more(value: dict[str, Any], shape: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Refuse an entry that nobody writes: it may be meant for something."""
    more = sorted(set(value) - set(shape) - _ALSO)
    require(not more, f"{where}entries", more, f"{', '.join(shape)}")
    return value


def _read_profile(path: Path, length: int) -> Profile | None:
    """The profile, of the length that the run has."""
    profile = profiles.load(path) if path.exists() else None
    if profile is not None and profile.length != length:
        raise InputError(f"{path} is not a profile of this run: its length must be {length}; got {profile.length}.")
    return profile


def _read_tuning(path: Path) -> dict[str, Any] | None:
    tuning = _read(path, _TUNING, TUNING_FORMAT)
    if tuning is None:
        return None
    points, length = len(tuning["steps"]), tuning["length"]
    try:
        _refuse_more(tuning, _TUNING)
        for name in ("steps", "families"):
            require(len(tuning[name]) > 0, name, tuning[name], "of at least one entry")
        require(min(tuning["steps"]) >= 1, "steps", tuning["steps"], "at least 1 each")
        for family, nats in tuning["families"].items():
            given, wanted = verbatim(f"{len(nats)}"), f"of {points} numbers, as steps"
            require(len(nats) == points, f"families.{family}", given, wanted)
        for most, entry in ((budget["steps"], entry) for budget in tuning["budgets"] for entry in budget["plans"]):
            _refuse_more(entry, _TUNED_PLAN)
            require_choice("role", entry["role"], ROLES)
            stored = entry["plan"]
            plan = Plan(np.asarray(stored["sizes"]), name=stored["name"], origin=stored["origin"])
            require(plan.length == length, "the sum of sizes", plan.length, f"the length {length}")
            given, wanted = verbatim(f"{plan.steps} steps"), f"one of at most {most} steps, its budget"
            require(plan.steps <= most, f"the plan {entry['role']!r}", given, wanted)
            entry["plan"] = plan
    except InputError as error:
        raise InputError(f"{path} is not a tuning file: {error}") from None
    return tuning


def _other_plans(directory: RunDirectory, tuning: dict[str, Any]) -> list[str]:
    """The plan files of ``tune`` that hold something else than what ``tuning.json`` says it found."""
    found = []
    for budget in tuning["budgets"]:
        for role, plan in ((entry["role"], entry["plan"]) for entry in budget["plans"] if entry["role"] in ROLES):
            path = directory.plan(role, budget["steps"])
            try:
                same = not os.path.lexists(path) or np.array_equal(plans.load(path).sizes, plan.sizes)
            except InputError:
                same = False
            found += [] if same else [path.name]
    return found


def _read_samples(path: Path) -> dict[str, Any] | None:
    samples = _read(path, _SAMPLES, SAMPLES_FORMAT)
    if samples is None:
        return None
    shown = [row for panel in samples["panels"] for row in panel["rows"]]
    shown += [row for group in (samples["latents"] or {"groups": []})["groups"] for row in group]
    for row in shown:
        if len(row["pieces"]) != len(row["reveal_step"]):
            raise InputError(
                f"{path} is not a samples file: pieces and reveal_step must have one entry for each position; "
                f"got {len(row['pieces'])} and {len(row['reveal_step'])}."
            )
    return samples | {"panels": [_completed(panel) for panel in samples["panels"]]}


def _completed(panel: dict[str, Any]) -> dict[str, Any]:
    """A panel of samples with what older files lack: the budget, and the mean score over the rows in the file."""
    scores = [row["score"] for row in panel["rows"] if row["score"] is not None]
    mean = math.fsum(scores) / len(scores) if scores else None
    older = {"budget": panel["steps"], "scored_rows": len(panel["rows"]), "mean_score": mean}
    return panel | {name: value for name, value in older.items() if panel[name] is None}


def _checked(value: Any, shape: Any, what: str, where: str = "") -> Any:
    """``value`` if it has ``shape`` (see above ``_TASK``), with ``None`` for what may be left out and is.

    Raises:
        InputError: "``what``: ``where`` must be ...".
    """
    if isinstance(shape, tuple):
        return None if value is None else _checked(value, shape[0], what, where)
    kind = type(shape) if isinstance(shape, dict | list) else shape
    if not _is(value, kind):
        said = shortened(repr(value), 60)
        raise InputError(f"{what}: {where or 'its content'} must be {_WORDS[kind]}; got {said}.")
    if isinstance(shape, list):
        if shape[0] in (int, str) and set(map(type, value)) <= {shape[0]}:
            return value  # at once: samples are long
        places = (f"{where}[{i}]" if where else f"line {i + 1}" for i in range(len(value)))
        return [_checked(item, shape[0], what, place) for item, place in zip(value, places)]
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
    return value | {name: _checked(value.get(name), item, what, before + name) for name, item in shapes.items()}


def _is(value: Any, kind: type) -> bool:
    """Whether ``value`` is of ``kind``, where ``float`` means any finite number and a truth value is no number."""
    if kind in (int, float, numbers.Real):
        right = isinstance(value, int) or (kind is not int and isinstance(value, float))
        return right and not isinstance(value, bool) and (kind is not float or abs(value) <= sys.float_info.max)
    return isinstance(value, kind)

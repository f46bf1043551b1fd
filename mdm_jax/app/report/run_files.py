"""The files of a run directory as the report reads them, checked by the shapes that they must have.

What has been read holds no surprises: every declared key is there, with ``None`` for what a file may leave out.
"""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mdm_jax.app.report import sample_file, shapes
from mdm_jax.evaluation.baselines import FORMAT as HELD_OUT_FORMAT
from mdm_jax.evaluation.order_tuning import MEASURES
from mdm_jax.evaluation.tuning import FORMAT as TUNING_FORMAT
from mdm_jax.evaluation.tuning import ROLES
from mdm_jax.support.commands import command
from mdm_jax.support.errors import InputError, require, require_choice, verbatim
from mdm_jax.tasks import Grid, Numbers, lengths_of
from mdm_jax.tasks.notations import from_json
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import Plan
from mdm_jax.theory.profiles import Profile
from mdm_jax.training.runs import RunDirectory

_BUDGET = re.compile(r"-([1-9][0-9]*)")
_ALSO = {"format", "searched"}
"""What complete files hold beside what the report reads."""


class OrderPlan(NamedTuple):
    """A plan for an order that looks at the model.

    Attributes:
        order: its name.
        budget: steps at most.
        plan: chosen by measuring.
        judged: what it costs on rows that chose nothing, and how much more than its rivals: ``shapes.JUDGED``.
    """

    order: str
    budget: int
    plan: Plan
    judged: dict[str, Any]


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
        order_plans: what ``tune --order`` measured, by order and budget.
    """

    directory: RunDirectory
    config: dict[str, Any]
    log: list[dict[str, Any]]
    held_out: dict[str, Any] | None
    profile: Profile | None
    tuning: dict[str, Any] | None
    samples: dict[str, Any] | None
    other_plans: Sequence[str] = ()
    order_plans: Sequence[OrderPlan] = ()

    @property
    def name(self) -> str:
        """The name of the run: that of its directory."""
        return self.directory.path.resolve().name

    @property
    def own_model(self) -> bool:
        """Whether the model is the user's, which no command can load."""
        return self.config["model"] is None

    @property
    def source(self) -> dict[str, Any] | None:
        """Where an imported model is from; ``None`` of a run that was trained here."""
        return self.config["source"]

    @property
    def family(self) -> str | None:
        """What the model is: a published one by its own name, another by its network; ``None``: the user's own."""
        if self.source is not None:
            return self.source["family"]
        family = _network(self.config).get("family")
        return None if family is None else str(family)

    @property
    def has_latents(self) -> bool:
        """Whether the model is one of the library's with latents."""
        return (self.config["model"] or {}).get("family") in ("latent transformer", "diffusion prior")

    @property
    def has_cache(self) -> bool:
        """Whether the model is one of the library's that keeps what it made of revealed tokens."""
        return (self.config["model"] or {}).get("family") == "any-order transformer" or self.block is not None

    @property
    def block(self) -> int | None:
        """Positions of a block of a model that goes block by block: profile and plans are of one."""
        return _block(self.config)

    @property
    def figure(self) -> str:
        """What the held-out figures of the log are: the masked NELBO, another bound, or a surrogate."""
        objective = self.config["objective"] or {"name": "masked NELBO"}
        within = objective.get("objective")  # of label dropout, which changes no held-out figure
        name = str((within if isinstance(within, dict) else objective).get("name") or "objective")
        if name == "masked NELBO":
            return "NELBO"
        return name if name.endswith(("bound", "NELBO")) else f"{name} ({'a' if self.figure_is_bound else 'no'} bound)"

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
        found = from_json(stored) if isinstance(stored, dict) else None
        return found if isinstance(found, Numbers | Grid) else None

    @property
    def shape(self) -> tuple[int, int] | None:
        """Rows and columns of the pictures that a row of tokens is, if it is one."""
        notation = self.notation
        return notation.shape if isinstance(notation, Numbers) else None

    @property
    def kind(self) -> str:
        """What the data are: "text", or "data" where tokens are no characters."""
        other = self.config["task"]["spec"].partition(":")[0] in ("fasta", "npy", "bin")
        return "data" if other or self.notation is not None else "text"

    @property
    def data(self) -> str:
        """The task as it was named, with names of files for their paths."""
        return without_folders(self.config["task"]["spec"])

    @property
    def lengths(self) -> tuple[int, int] | None:
        """The fewest and the most tokens of a training row, where they differ in length."""
        counts = lengths_of(self.config["task"])
        if counts is None:
            return None
        there = np.flatnonzero(counts)
        return int(there[0]), int(there[-1])


def read(directory: RunDirectory) -> RunFiles:
    """Everything in the directory that the report shows.

    Raises:
        InputError: no run there, or a file that does not hold what it should.
    """
    config = shapes.checked(
        directory.read_config(), shapes.CONFIG, f"{directory.config} is not the configuration of a run"
    )
    tuning = _read_tuning(directory.tuning)
    return RunFiles(
        directory,
        config=config,
        log=shapes.checked(directory.read_log(), shapes.LOG, f"{directory.log} is not the log of a run"),
        held_out=_read_held_out(directory.held_out),
        profile=_read_profile(directory.profile, config),
        tuning=tuning,
        samples=sample_file.read(directory.samples),
        other_plans=() if tuning is None else _other_plans(directory, tuning),
        order_plans=_order_plans(directory),
    )


def _network(config: dict[str, Any]) -> dict[str, Any]:
    """What a model is inside of what stands around it."""
    model = config["model"] or {}
    while isinstance(model.get("denoiser"), dict):
        model = model["denoiser"]
    return model


def _block(config: dict[str, Any]) -> int | None:
    """Positions of a block, of the library's own block-causal models and of published ones."""
    model = _network(config)
    sizes = model if model.get("family") == "block-causal transformer" else model.get("network")
    block = sizes.get("block") if isinstance(sizes, dict) else None
    return block if isinstance(block, int) else None


def without_folders(spec: str) -> str:
    """A task's name with names of files for their paths.

    Example:
        >>> from mdm_jax.app.report.run_files import without_folders
        >>> without_folders("npy:/data/digits/rows.npy?shape=14x14&labels=/data/digits/labels.npy")
        'npy:rows.npy?shape=14x14&labels=labels.npy'
    """
    kind, colon, rest = spec.partition(":")
    path, mark, settings = rest.rpartition("?")
    if not mark:
        path, settings = rest, ""
    shown = [re.sub(r"=.*/", "=", setting) for setting in settings.split("&")]
    return f"{kind}{colon}{path.rpartition('/')[2] or path}{mark}{'&'.join(shown)}"


def _read_held_out(path: Path) -> dict[str, Any] | None:
    held_out = shapes.read(path, shapes.HELD_OUT, HELD_OUT_FORMAT)
    if held_out is None:
        return None
    try:
        _refuse_more(held_out, shapes.HELD_OUT)
        names = [
            _refuse_more(one, shapes.BASELINE, f"baselines[{i}].")["name"]
            for i, one in enumerate(held_out["baselines"])
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


def _read_profile(path: Path, config: dict[str, Any]) -> Profile | None:
    """The profile, of the length that the run has, or its model's blocks."""
    profile = profiles.load(path) if path.exists() else None
    length = min(config["task"]["length"], _block(config) or config["task"]["length"])
    if profile is not None and profile.length != length:
        raise InputError(f"{path} is not a profile of this run: its length must be {length}; got {profile.length}.")
    return profile


def _read_tuning(path: Path) -> dict[str, Any] | None:
    remake = f"make it anew with: {command('tune', path.parent)}"
    tuning = shapes.read(path, shapes.TUNING, TUNING_FORMAT, remake)
    if tuning is None:
        return None
    points, length = len(tuning["steps"]), tuning["length"]
    try:
        _refuse_more(tuning, shapes.TUNING)
        for name in ("steps", "families"):
            require(len(tuning[name]) > 0, name, tuning[name], "of at least one entry")
        require(min(tuning["steps"]) >= 1, "steps", tuning["steps"], "at least 1 each")
        for family, nats in tuning["families"].items():
            given, wanted = verbatim(f"{len(nats)}"), f"of {points} numbers, as steps"
            require(len(nats) == points, f"families.{family}", given, wanted)
        for one in tuning["advantages"] or ():
            saved, none = one["steps_saved"], one["low"] <= 0 <= one["high"]
            good = saved is None if none else saved is not None and len(saved) == 3
            require(good, "steps_saved", saved, "three numbers, or null exactly where the interval contains 0")
        for most, entry in ((budget["steps"], entry) for budget in tuning["budgets"] for entry in budget["plans"]):
            _refuse_more(entry, shapes.TUNED_PLAN)
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


def _order_plans(directory: RunDirectory) -> list[OrderPlan]:
    """The plan files of ``tune --order`` that say who judged them; those of an earlier version do not."""
    found = []
    for order in MEASURES:
        named = {path: _BUDGET.fullmatch(path.stem[len(order) :]) for path in directory.plans.glob(f"{order}-*.json")}
        budgets = {int(match[1]): path for path, match in named.items() if match}
        for budget, path in sorted(budgets.items()):
            plan = plans.load(path)
            judged = plan.origin.get("judged")
            if judged is not None:
                what = f"{path} is not a plan of mdm-jax tune --order"
                found.append(OrderPlan(order, budget, plan, shapes.checked(judged, shapes.JUDGED, what, "judged")))
    return found

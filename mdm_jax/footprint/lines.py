"""A training state line by line: arrays of one name, shape and division together."""

import dataclasses
import re
from typing import Any

from mdm_jax.training.devices import Part


@dataclasses.dataclass(frozen=True)
class Line:
    """Arrays of one name, shape and division; blocks are counted together.

    Attributes:
        section: "params", "ema_params", "optimizer/mu" and the like.
        name: inside the section; ``*`` stands for the number of a block.
        count: how many arrays.
        shape: of each, whole.
        spec: which mesh axes divide which of its axes, as text.
        bytes: on every device, of all of them.
        reason: why they are divided so.
    """

    section: str
    name: str
    count: int
    shape: tuple[int, ...]
    spec: str
    bytes: int
    reason: str


def grouped(parts: list[Part]) -> tuple[Line, ...]:
    """Parts of a training state as lines, in order of section, blocks counted together."""
    lines: dict[tuple[str, str, tuple[int, ...], str, str], list[int]] = {}
    for part in parts:
        section, name = _section(part.path)
        key = (section, re.sub(r"_\d+(?=/)", "_*", name), part.shape, _text(part.spec), part.reason)
        lines.setdefault(key, []).append(part.bytes)
    order = {section: i for i, section in enumerate(dict.fromkeys(key[0] for key in lines))}
    listed = [Line(key[0], key[1], len(sizes), key[2], key[3], sum(sizes), key[4]) for key, sizes in lines.items()]
    return tuple(sorted(listed, key=lambda line: order[line.section]))


def _section(path: str) -> tuple[str, str]:
    """A leaf's section and its name there: the optimiser's moments are named as the parameters they belong to."""
    first, *rest = path.split("/")
    if first != "optimizer":
        return (first, "/".join(_inside(rest))) if rest else ("step", first)
    kept = [name for name in rest if not name.isdigit() and name not in ("inner_states", "inner_state")]
    if "params" not in kept:
        return "optimizer/counters", "/".join(kept)
    at = kept.index("params")
    return "/".join(["optimizer", *kept[:at]]), "/".join(kept[at + 1 :])


def _inside(names: list[str]) -> list[str]:
    return names[1:] if names[0] == "params" else names


def _text(spec: Any) -> str:
    """A spec as people write it: ``data, model``, ``-, model+data``; ``whole`` if nothing is divided."""
    if not any(spec):
        return "whole"
    return ", ".join("-" if entry is None else entry if isinstance(entry, str) else "+".join(entry) for entry in spec)

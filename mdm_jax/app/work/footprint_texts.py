"""What ``mdm-jax footprint`` says of what it counted: first the answer, then where every byte comes from."""

from collections.abc import Sequence
from typing import NamedTuple

import jax

from mdm_jax import models
from mdm_jax.footprint import CacheLine, Footprint, Inference, Line
from mdm_jax.models.denoiser import Context, Denoiser, Params
from mdm_jax.support.text import in_words, printable, table
from mdm_jax.training import Objective, Settings


class Asked(NamedTuple):
    """What is to be counted.

    Attributes:
        denoiser: the model.
        settings: how it would be trained.
        context: the shape of one row of what it gets, if it gets any.
        objective: what it would learn.
        params: the shapes of its parameters, of a published model; the library's own make theirs.
        family: what a published model is called.
        typed_by: what says the types of its parameters.
    """

    denoiser: Denoiser
    settings: Settings
    context: Context
    objective: Objective
    params: Params = None
    family: str = ""
    typed_by: str = ""

    @property
    def narrow(self) -> list[str]:
        """The types of parameters that are not trained as they are."""
        leaves = jax.tree.leaves(self.params)
        return sorted({leaf.dtype.name for leaf in leaves if leaf.dtype.itemsize < 4})


def describe(name: str, asked: Asked, held: Inference, trained: Footprint | None) -> str:
    """What was counted as text: first the answer, then where every byte comes from."""
    parts = [f"{_head(name, asked, held)}\n{_where(held, trained)}"]
    if trained is None:
        parts.append(_parameters_text(held))
    else:
        parts += [_state_table(trained), _step_text(trained)]
    parts.append(_inference_text(asked, held))
    parts += [_cache_text(held.cache, held.length)] if held.cache else []
    if trained is not None and trained.compiled is not None and trained.compiled.collectives:
        parts.append(_messages(trained))
    return "\n\n".join(parts)


def size(count: int) -> str:
    """Bytes for people: ``1.25 GiB``."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            return f"{count / (1 << power):,.2f} {unit}"
    return f"{count} B"


def _head(name: str, asked: Asked, held: Inference) -> str:
    told = f"{held.parameters:,} parameters"
    if asked.family:
        kinds = ", ".join(f"{kind} {size(count)}" for kind, count in held.types.items())
        return f"{printable(name)}: {printable(asked.family)}, {told} ({kinds}: {asked.typed_by})"
    described = models.describe(asked.denoiser) or {}
    shape = ", ".join(f"{key} {described[key]:,}" for key in ("width", "depth", "heads", "vocab_size"))
    shape += f", blocks of {described['block']:,}" if described.get("family") == "block-causal transformer" else ""
    shape += f", latents of {described['latent_size']:,}" if "latent_size" in described else ""
    shape += f", {described['classes']:,} classes" if "classes" in described else ""
    shape += f", context {asked.context.shape[-1]:,}" if hasattr(asked.context, "shape") else ""
    inner = round(described["expansion"] * described["width"])
    return f"{printable(name)}: {described['family']}, {told} ({shape}, feed-forward {inner:,})"


def _where(held: Inference, trained: Footprint | None) -> str:
    what = "parameters" if trained is None else "state"
    if held.mesh is not None:
        where = "mesh " + ", ".join(f"{axis} = {n}" for axis, n in held.mesh.items()) + f": {what} divided over all"
        where += " devices"
    else:
        where = "everything on every device" if held.devices > 1 else "one device"
    devices = f"{held.devices:,} device{'' if held.devices == 1 else 's'} ({where})"
    if trained is None:
        return devices
    settings = trained.settings
    parts = f" in {settings.accumulate} parts" if settings.accumulate > 1 else ""
    return (
        f"{devices}; {settings.optimizer}, {settings.compute}, "
        f"{settings.batch:,} x {settings.length:,} = {trained.tokens:,} tokens per step{parts}"
    )


def _lines_table(heading: str, lines: Sequence[Line]) -> str:
    """Every array, and the sum so far."""
    rows, running, before = [], 0, ""
    for line in lines:
        running += line.bytes
        section = line.section if line.section != before else ""
        before = line.section
        shape = " x ".join(f"{n:,}" for n in line.shape) or "1"
        many = f"{line.count} of " if line.count > 1 else ""
        rows.append([f"{section:<20}{line.name}", f"{many}{shape}", line.spec, f"{line.bytes:,}", size(running)])
    return table([f"{heading:<20}array", "shape", "divided by", "bytes", "sum so far"], rows)


def _reasons(lines: Sequence[Line], divided: bool) -> str:
    return "".join(f"\n  {reason}" for reason in dict.fromkeys(line.reason for line in lines if divided))


def _parameters_text(held: Inference) -> str:
    """Every array of the parameters."""
    count = held.parameter_bytes
    return (
        f"{_lines_table('per device', held.arrays)}\n"
        f"Parameters: {size(count)} ({count:,} bytes) on every device. Exact."
        f"{_reasons(held.arrays, held.mesh is not None)}"
    )


def _state_table(of: Footprint) -> str:
    """Every array of the state."""
    sections = [(name, sum(x.bytes for x in of.state if x.section == name)) for name in _sections(of)]
    sums = "; ".join(f"{name} {size(count)}" for name, count in sections)
    return (
        f"{_lines_table('state, per device', of.state)}\n"
        f"State: {size(of.state_bytes)} ({of.state_bytes:,} bytes) on every device. Exact.\n{sums}."
        f"{_reasons(of.state, of.mesh is not None)}"
    )


def _sections(of: Footprint) -> list[str]:
    return list(dict.fromkeys(line.section for line in of.state))


def _step_text(of: Footprint) -> str:
    """What lives during a step only, and its operations."""
    flops = of.flops
    lines = [f"Gradients: {size(of.gradients)} ({of.gradients:,} bytes) on every device, divided as the parameters."]
    if of.compiled is None:
        lines.append(
            f"State and gradients: {size(of.state_bytes + of.gradients)} on every device; activations come on top."
        )
    else:
        found = of.compiled
        how = (
            f"the whole step, {found.seconds:.0f} s of compiling"
            if len(found.blocks) < 2
            else f"a straight line through {found.blocks[0]} and {found.blocks[1]} blocks, {found.seconds:.0f} s"
        )
        peak = of.state_bytes + found.temporaries
        lines += [
            f"Activations, gradients and all else that a step needs: {size(found.temporaries)} "
            f"({found.temporaries:,} bytes) on every device.",
            f"Together: {size(peak)} ({peak:,} bytes) on every device.",
            f"(The second figure is XLA's estimate for CPU, from {how}; a GPU or TPU needs another amount.)",
        ]
    lines += [
        f"Operations per step: {flops.total:.3e} (forward {flops.forward:.3e}, backward {flops.backward:.3e}, "
        f"optimiser {flops.optimizer:.3e}); {flops.total / of.tokens:.3e} per token, "
        f"{flops.total / of.devices:.3e} per device.",
        "(Matrix products one by one, the optimiser by hand; softmax, norms and the loss add a few per cent.)",
    ]
    return "\n".join(lines)


def _inference_text(asked: Asked, held: Inference) -> str:
    """What it takes without training."""
    each = held.encoding / held.length
    lines = [
        f"Encoding {held.length:,} tokens: {held.encoding:.3e} operations, {each:.3e} per token.",
        f"Logits: {held.readout / held.length:.3e} operations for each position that is read out.",
    ]
    if asked.narrow:
        kinds = in_words(asked.narrow)
        lines.append(f"Training: not counted, since {kinds} weights are measured and sampled, and not trained.")
    return "\n".join(lines)


def _cache_text(cache: tuple[CacheLine, ...], length: int) -> str:
    """What sampling keeps from step to step, array by array."""
    rows = []
    for line in cache:
        many = f"{line.count} of " if line.count > 1 else ""
        rows.append([line.name, f"{many}{' x '.join(f'{n:,}' for n in line.shape)}", line.dtype, f"{line.bytes:,}"])
    whole = sum(line.bytes for line in cache)
    return (
        f"{table(['cache of one sequence', 'shape', 'type', 'bytes'], rows)}\nSampling keeps {size(whole)} "
        f"({whole:,} bytes) for each sequence of {length:,} tokens that is drawn. Exact."
    )


def _messages(of: Footprint) -> str:
    assert of.compiled is not None
    rows = [[one.kind, f"{one.count:,}", f"{one.bytes:,}", size(one.bytes)] for one in of.compiled.collectives]
    text = table(["messages per step, for CPU", "how many", "bytes left on each device", ""], rows)
    return text

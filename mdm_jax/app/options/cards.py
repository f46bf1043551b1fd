"""What ``mdm-jax card`` is told: which numbers of passes, and of which runs there is a card."""

from collections.abc import Sequence

from mdm_jax import tasks
from mdm_jax.app.options.latents import own_objective
from mdm_jax.app.options.lengths import is_ragged
from mdm_jax.models import LatentModel, block_length
from mdm_jax.models.classes import classes_of
from mdm_jax.support.errors import InputError, require
from mdm_jax.training import HybridNoise, Run

PASSES: Sequence[int] = (4, 8, 16, 32)
"""Unless others are asked for: those that fit."""


def not_for_cards(trained: Run) -> str | None:
    """Why there is no card of a run, as the end of a sentence; ``None`` where there is one."""
    if isinstance(trained.denoiser, LatentModel):
        return "with a latent a sequence has no cost along one path, only a bound that belongs to its sampler"
    if isinstance(own_objective(trained), HybridNoise):
        return "under hybrid noise tokens are replaced, so that a sequence has no cost along one path"
    if is_ragged(trained):
        return "its rows have different lengths, and a card is of rows of one length"
    if _has_prompts(trained):
        return "parts of its rows are given as prompts, and a card is of whole rows"
    block = block_length(trained.denoiser) or 1
    if trained.settings.length > block and trained.settings.length % block:
        return f"its rows of {trained.settings.length} tokens are not whole blocks of {block}"
    if classes_of(trained.denoiser) > 0:
        return "its rows have labels, and a card is of rows without"
    return None


def _has_prompts(trained: Run) -> bool:
    try:
        return tasks.given_of(trained.task, "test") is not None
    except InputError:  # without the data nothing is known of prompts, and a card has no rows anyway
        return False


def refuse_card(trained: Run) -> None:
    """Refuse a run of which there is no card.

    Raises:
        InputError: a run with latents, of hybrid noise, of rows of different lengths, with prompts or with labels, or
            of rows that are not whole blocks.
    """
    why = not_for_cards(trained)
    if why is not None:
        raise InputError(
            f"{trained.place.path} can have no card: {why}. Compare samplers by their samples (mdm-jax evaluate)."
        )


def passes_of(text: str | None, length: int, block: int | None = None) -> list[int]:
    """``--passes``, sorted; if left out those of the usual ones that fit.

    Args:
        text: whole numbers separated by commas.
        length: of the rows.
        block: positions of a block of a model that goes by blocks: each block then takes as many passes as another.

    Raises:
        InputError: something else, or numbers that no sampler of this model can take.
    """
    each = 1 if block is None else -(-length // block)
    if text is None:
        return [passes for passes in PASSES if passes <= length and passes % each == 0] or [each]
    try:
        passes = sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise InputError(f"--passes must be whole numbers separated by commas, as in 4,8,16; got {text!r}.") from None
    wanted = f"numbers of model calls from {each} to {length}" + (
        f", multiples of {each}: so many blocks has a row of this run" if each > 1 else ""
    )
    require(
        passes[0] >= each and passes[-1] <= length and all(one % each == 0 for one in passes), "--passes", text, wanted
    )
    return passes

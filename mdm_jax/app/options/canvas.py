"""What is given to a sampler, from the text that a user gave."""

import argparse

import numpy as np
from jaxtyping import Int32

from mdm_jax.app.options.lengths import cut, is_ragged, row_lengths
from mdm_jax.support.errors import InputError, require
from mdm_jax.tasks import Notation
from mdm_jax.tasks.spelling import parsed
from mdm_jax.tasks.text_files import SETTINGS
from mdm_jax.training import Run

BLANK = "\N{WHITE SQUARE}"
"""Stands for a blank in ``--infill`` unless another character is asked for."""


def choose_canvas(trained: Run, options: argparse.Namespace) -> Int32[np.ndarray, "... length"]:
    """What is given to the samples of ``mdm-jax sample``: a prompt, a text with blanks, or nothing.

    One row for all samples; of a run of rows of different lengths a row for each, absent behind its length. That is
    ``--length``, or the length of the text with blanks, or else drawn (:mod:`mdm_jax.app.options.lengths`).

    Raises:
        InputError: as :func:`make_canvas`, or nothing is left to be drawn.
    """
    argument, text, blank = "--prompt", options.prompt, None
    if options.infill is not None:
        argument, text, blank = "--infill", options.infill, BLANK if options.blank is None else options.blank
    if not is_ragged(trained):
        canvas = make_canvas(trained, argument, text, blank)
        require_free(trained, argument, text, canvas)
        return canvas
    given = given_tokens(trained, argument, text, blank)
    asked = options.length
    if asked is not None:
        require(len(given) <= asked, "--length", asked, f"at least {len(given)}, the length of {argument}")
    elif options.infill is not None:
        asked = max(len(given), 1)
    canvas = np.full((options.rows, trained.settings.length), trained.denoiser.mask_id, np.int32)
    canvas[:, : len(given)] = given
    begun = 0 if options.infill is not None else len(given)
    canvas = cut(canvas, row_lengths(trained, asked, options.seed, np.full(options.rows, begun)))
    require_free(trained, argument, text, canvas)
    return canvas


def make_canvas(
    trained: Run, argument: str, text: str | None, blank: str | None = None
) -> Int32[np.ndarray, " length"]:
    """The run's length of tokens: ``text`` first (blanks in it masked), then masks.

    Args:
        trained: the run, which knows how text is written in tokens.
        argument: what to call ``text`` in error messages.
        text: what is given; nothing if ``None``.
        blank: the character that stands for a masked position in ``text``.

    Raises:
        InputError: a text that is too long, or cannot be written in the run's tokens.
    """
    given = given_tokens(trained, argument, text, blank)
    canvas = np.full(trained.settings.length, trained.denoiser.mask_id, np.int32)
    canvas[: len(given)] = given
    return canvas


def prompt_note(trained: Run, options: argparse.Namespace) -> str | None:
    """What to say where samples go on from no prompt, or from one that does not end as those of the run's data do.

    ``None`` where there is nothing to say.
    """
    prompt = options.prompt
    if prompt is None:
        if options.infill is not None or trained.directory is None or "given" not in trained.directory.read_config():
            return None
        return "this run learned only what follows a prompt; without --prompt it also writes what it never learned."
    kind, _, rest = str(trained.description.get("spec")).partition(":")
    if kind != "text":
        return None
    try:
        separator = parsed(kind, rest, SETTINGS)[1].get("prompt")
    except InputError:
        return None  # of a file that is no longer there, or is written otherwise
    if separator is None or separator in prompt:
        return None
    return f"this run learned to go on behind {separator!r}, which --prompt does not have."


def given_tokens(trained: Run, argument: str, text: str | None, blank: str | None) -> Int32[np.ndarray, " given"]:
    """What :func:`make_canvas` begins with."""
    length, vocabulary = trained.settings.length, trained.vocabulary
    given = np.zeros(0, np.int32) if text is None else _encoded(vocabulary, argument, text, blank)
    if len(given) > length:
        raise InputError(
            f"{argument} must be at most {length} {vocabulary.unit} long, as the model is; got {len(given)}."
        )
    return given


def require_free(trained: Run, argument: str, text: str | None, canvas: Int32[np.ndarray, "... length"]) -> None:
    """Refuse a canvas in which nothing is left to be drawn."""
    if (canvas == trained.denoiser.mask_id).any(axis=-1).all():
        return
    length = trained.settings.length
    wanted = f"shorter than the {length} {trained.vocabulary.unit} of the model"
    if argument == "--infill":
        wanted = "a text with a blank" if is_ragged(trained) else f"a text with a blank, or {wanted}"
    require(False, argument, text, f"{wanted}: nothing is left to be drawn")


def _encoded(vocabulary: Notation, argument: str, text: str, blank: str | None) -> Int32[np.ndarray, " given"]:
    """The ids of ``text``; what is wrong is told of ``--blank`` or of ``argument``, as the user knows them."""
    if blank is not None:
        try:
            vocabulary.encode("", mask=blank)  # of an empty text only the blank can be wrong
        except InputError as error:
            raise InputError(f"--blank {str(error).removeprefix('mask ')}") from None
    try:
        return vocabulary.encode(text, mask=blank)
    except InputError as error:
        raise InputError(f"{argument} {str(error).removeprefix('text ')}") from None

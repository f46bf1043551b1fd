"""What is given to a sampler, from the text that a user gave."""

import numpy as np
from jaxtyping import Int32

from mdm_jax.support.errors import InputError
from mdm_jax.tasks import Notation
from mdm_jax.training import Run


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
    length, vocabulary = trained.settings.length, trained.vocabulary
    given = np.zeros(0, np.int32) if text is None else _encoded(vocabulary, argument, text, blank)
    if len(given) > length:
        raise InputError(
            f"{argument} must be at most {length} {vocabulary.unit} long, as the model is; got {len(given)}."
        )
    canvas = np.full(length, trained.denoiser.mask_id, np.int32)
    canvas[: len(given)] = given
    return canvas


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

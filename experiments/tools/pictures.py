"""Pictures as they are committed: small."""

import io

from PIL import Image  # Matplotlib brings it

_COLOURS = 128


def small(picture: bytes) -> bytes:
    """A PNG in few colours, which are enough for lines and bars, and without the version of what drew it."""
    written = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(_COLOURS).save(written, format="PNG", optimize=True)
    return written.getvalue()

"""``mdm-jax import``: a published model as a run directory, for every other command."""

import argparse

import optax

from mdm_jax import tasks
from mdm_jax.app.terminal.output import note, show
from mdm_jax.support.commands import command
from mdm_jax.support.text import in_words, printable, shortened
from mdm_jax.training import import_pretrained
from mdm_jax.training.sources import KEY

_GIVEN = ("shift", "mask_id", "end_id", "banned", "prefix", "suffix", "block", "vocabulary")


def run(options: argparse.Namespace) -> None:
    """Import, then print what it is."""
    task = tasks.from_spec(options.task, options.length)
    given = {name: getattr(options, name) for name in _GIVEN if getattr(options, name) is not None}
    imported = import_pretrained(options.folder, options.directory, task, ids=options.ids, **given)
    for told in tasks.notes_of(task):
        note(told)
    place = imported.place
    source = place.read_config()[KEY]
    size = optax.tree.size(imported.params)
    kinds = sorted({array["type"] for array in source["parameters"].values()})
    result = {
        "directory": str(place.path),
        "family": source["family"],
        "parameters": size,
        "types": kinds,
        "vocab_size": imported.denoiser.vocab_size,
        "length": imported.settings.length,
        "files": source["files"],
        "ignored": source["ignored"],
    }
    averaged = [name for name in source["ignored"] if name.endswith(" (averaged weights)")]
    if averaged:
        note(
            f"The weights as trained were taken, and not their average, which lies beside them as {in_words(averaged)}."
        )
    ignored = ""
    if source["ignored"]:
        ignored = f"Not needed, and not taken: {shortened(in_words(source['ignored']), 300)}.\n"
    text = (
        f"{printable(str(place.path))}: {source['family']}, {size:,} parameters in {in_words(kinds)}, "
        f"{result['vocab_size']} tokens, rows of {result['length']}.\n{ignored}"
        f"Next: {command('profile', place.path)}"
    )
    show(result, text, options.json)

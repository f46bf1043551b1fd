"""A world of two classes, solved exactly: its model, with labels and without, and a task of its rows."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mdm_jax import models

LENGTH, VOCAB, CLASSES = 4, 2, 2
ONES = np.array([0.1, 0.8])
"""The probability of a 1 at each position, by class; positions are independent given it."""
ALL = np.array(list(itertools.product(range(VOCAB), repeat=LENGTH)), np.int32)
LAWS = np.stack([np.prod(np.where(ALL == 1, p, 1 - p), axis=1) for p in ONES])
MIXED = LAWS.mean(axis=0)
GIVEN = -np.sum(LAWS * np.log(LAWS)) / CLASSES  # entropy given the class, nats
ALONE = -np.sum(MIXED * np.log(MIXED))


@dataclasses.dataclass(frozen=True)
class Exact:
    """Knows the two classes: given one its law, given none the posterior mixture of both."""

    vocab_size: int = VOCAB
    mask_id: int = VOCAB
    passes: int = 1
    label_classes: int = CLASSES

    def encode(self, params, tokens, context=None):
        label = models.no_label(self, len(tokens))["label"] if context is None else context["label"]
        shown, ones = jnp.asarray(tokens)[None], params[:, None, None]
        seen = jnp.where(shown == 1, jnp.log(ones), jnp.log1p(-ones))
        evidence = jnp.sum(jnp.where(shown == VOCAB, 0.0, seen), axis=-1)  # [classes, rows]
        label = jnp.asarray(label)[None]
        share = jnp.where(label < CLASSES, jnp.arange(CLASSES)[:, None] == label, jax.nn.softmax(evidence, axis=0))
        one = jnp.einsum("cr,c->r", share, params)
        logits = jnp.stack([jnp.log1p(-one), jnp.log(one)], axis=-1)
        return jnp.broadcast_to(logits[:, None], (*tokens.shape, VOCAB))

    def readout(self, params, hidden):
        return hidden


EXACT, PARAMS = Exact(), jnp.asarray(ONES, jnp.float32)


class TwoClasses:
    """Rows of both classes, in their own proportions: every row, as often as it is likely."""

    spec, length, vocab_size, digest = "two classes", LENGTH, VOCAB, "0" * 64
    score_name, lower_is_better, classes = "ones", True, CLASSES

    def __init__(self, repeats=2000):
        counts = np.round(LAWS * repeats).astype(int)
        rows = np.concatenate([np.repeat(ALL, count, axis=0) for count in counts])
        labels = np.repeat(np.arange(CLASSES, dtype=np.int32), counts.sum(axis=1))
        shuffled = np.random.default_rng(0).permutation(len(rows))
        self.train = self.validation = self.test = rows[shuffled]
        self._labels = labels[shuffled]

    def context(self, part):
        return {"label": self._labels}

    def show(self, tokens):
        return "".join(map(str, np.asarray(tokens)))

    def score(self, tokens):
        return np.asarray(tokens).sum(axis=1).astype(np.float64)

    def baselines(self, tokens):
        return {"uniform": np.ones(len(tokens))}

    def describe(self):
        return {"spec": self.spec, "length": LENGTH, "vocab_size": VOCAB, "digest": self.digest, "vocabulary": "01"}

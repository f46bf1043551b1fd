"""A toy task and model for tests of training: eight tokens that count up from a random start."""

import numpy as np

from mdm_jax import models
from mdm_jax.training import Settings

VOCAB, LENGTH = 6, 8
SETTINGS = Settings(steps=160, batch=16, length=LENGTH, ema_decay=0.8, weight_decay=0.01)


class PatternTask:
    """Rows ``s, s + 1, s + 2, ... (mod 6)``: one token tells all the others."""

    spec, length, vocab_size, digest = "pattern", LENGTH, VOCAB, "0" * 64
    score_name, lower_is_better = "breaks", True

    def __init__(self):
        rows = ((np.arange(VOCAB)[:, None] + np.arange(LENGTH)) % VOCAB).astype(np.int32)
        self.train, self.validation, self.test = np.tile(rows, (4, 1)), np.tile(rows, (3, 1)), rows

    def show(self, tokens):
        return "".join(map(str, np.asarray(tokens)))

    def score(self, tokens):
        tokens = np.asarray(tokens)
        return ((tokens[:, 1:] - tokens[:, :-1]) % VOCAB != 1).sum(axis=1).astype(np.float64)

    def baselines(self, tokens):
        return {"uniform": np.full(len(tokens), np.log2(VOCAB))}

    def describe(self):
        return {"spec": self.spec, "length": LENGTH, "vocab_size": VOCAB, "digest": self.digest, "vocabulary": "012345"}


def tiny_transformer():
    return models.transformer(VOCAB, length=LENGTH, width=16, depth=1, heads=2)

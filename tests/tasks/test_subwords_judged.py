"""Bits per byte beside bits per token, where a model's cost is known: the uniform law."""

import jax.numpy as jnp
import numpy as np
import pytest

import mdm_jax as mdm
from mdm_jax.app.report import sections
from mdm_jax.app.work import measured

pytest.importorskip("tokenizers")
pytestmark = pytest.mark.core

TEXT = "Bits per token depend on the vocabulary; über bytes, 北京, not so much. " * 60


def uniform(params, tokens):
    return params + jnp.zeros((*tokens.shape, 300))


def test_bits_per_byte_are_those_of_the_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    task = mdm.tasks.tokenized(path, 300, length=8)
    model = mdm.models.from_function(uniform, task.vocab_size)
    assert task.vocab_size == 300
    held_out = mdm.evaluation.judge(model, jnp.zeros(()), task, key=mdm.key(0))
    written = sum(len(task.show(row).encode()) for row in task.test)  # windows that end between characters
    assert held_out["bytes"] == task.bytes_of(task.test).sum() == written
    assert held_out["bits_per_token"] == pytest.approx(np.log2(300), rel=1e-5)
    assert held_out["bits_per_byte"] == pytest.approx(task.test.size * np.log2(300) / written, rel=1e-5)
    told = measured.describe(mdm.profiles.from_values(np.full(8, np.log(300))), held_out)
    assert f"Per byte of text the model has {held_out['bits_per_byte']:.3f} ±" in told
    assert f"it has {held_out['bits_per_byte']:.2f} ±" in sections._byte_bits(held_out)
    assert sections._byte_bits({"bits_per_byte": None, "bits_per_byte_standard_error": None}) == ""


def test_other_tasks_have_no_bits_per_byte(tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(400).reshape(100, 4) % 3)
    task = mdm.tasks.npy(tmp_path / "rows.npy")
    law = mdm.models.from_function(lambda params, tokens: params + jnp.zeros((*tokens.shape, 3)), 3)
    assert "bits_per_byte" not in mdm.evaluation.judge(law, jnp.zeros(()), task, key=mdm.key(0))

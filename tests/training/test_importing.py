"""Published models as runs: what was imported is loaded again bit for bit, and what takes runs takes them."""

import json
import random

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from golden_cases import golden
from llada_folders import LLADA, llada_arrays, save_folder, stacked
from made_tensors import checkpoint

import mdm_jax as mdm
from mdm_jax.app.options.ends import own_end
from mdm_jax.support.errors import InputError
from mdm_jax.training import import_pretrained

pytestmark = pytest.mark.core

LETTERS = "abcdefgh"
VOCABULARY = ["<pad>", "<s>", "h", "g", "f", "e", "d", "c", "b", "a", "</s>", "<mask>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = save_folder(tmp_path_factory.mktemp("published") / "llada", llada_arrays(dtype=ml_dtypes.bfloat16), LLADA)
    (made / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return made


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path, draw = tmp_path_factory.mktemp("data") / "lines.txt", random.Random(0)
    path.write_text("".join("".join(draw.choices(LETTERS, k=6)) + "\n" for _ in range(60)))
    return mdm.tasks.from_spec(f"text:{path}?lines")


@pytest.fixture(scope="module")
def run(folder, task, tmp_path_factory):
    return import_pretrained(folder, tmp_path_factory.mktemp("run") / "imported", task, prefix=[1], suffix=[10])


def test_it_is_loaded_again_bit_for_bit_and_in_its_type(run, folder):
    again = mdm.load(run.place.path)
    assert again.denoiser == run.denoiser
    assert (again.step, again.task.length) == (0, 6)
    right = stacked(llada_arrays(dtype=ml_dtypes.bfloat16), 4)
    found = jax.tree_util.tree_leaves_with_path(again.params["params"])
    assert len(found) == len(right)
    for path, leaf in found:
        value = right[jax.tree_util.keystr(path, simple=True, separator="/")]
        assert leaf.dtype == value.dtype
        assert np.asarray(leaf).tobytes() == value.tobytes()


def test_tokens_are_found_by_their_texts_and_framed(run):
    tokens = np.full((1, 6), run.denoiser.mask_id, np.int32)
    tokens[0, 2] = LETTERS.index("c")
    found = jax.jit(mdm.models.logits, static_argnums=0)(run.denoiser, run.params, tokens)
    inner = run.denoiser.denoiser
    theirs = np.array([[1, 11, 11, VOCABULARY.index("c"), 11, 11, 11, 10]], np.int32)
    whole = jax.jit(mdm.models.logits, static_argnums=0)(inner, run.params, theirs)
    columns = [VOCABULARY.index(letter) for letter in LETTERS]
    np.testing.assert_array_equal(np.asarray(found), np.asarray(whole)[:, 1:7][..., columns])


def test_its_configuration_says_what_it_is_from(run, folder):
    source = run.place.read_config()["source"]
    assert source["family"] == "LLaDA"
    assert sorted(source["files"]) == ["config.json", "model.safetensors"]
    assert source["settings"] == {"prefix": [1], "suffix": [10]}
    assert str(folder) not in run.place.config.read_text()


def test_it_is_measured_and_sampled_as_any_run(run):
    again = mdm.load(run.place.path)
    profile = mdm.estimate_profile(again.denoiser, again.params, again.task.validation, key=mdm.key(0), encodings=64)
    best = mdm.plans.optimal(profile, steps=2)
    out = mdm.sample(again.denoiser, again.params, best, rows=2, key=mdm.key(1))
    assert out.tokens.shape == (2, 6)
    assert out.tokens.max() < 8


def test_the_same_import_again_is_the_same_run_and_another_is_refused(run, folder, task, tmp_path):
    before = run.place.config.read_bytes()
    again = import_pretrained(folder, run.place.path, task, prefix=[1], suffix=[10])
    assert again.denoiser == run.denoiser
    assert run.place.config.read_bytes() == before
    with pytest.raises(InputError, match="holds a run that differs in"):
        import_pretrained(folder, run.place.path, task, prefix=[1])
    (tmp_path / "something").write_text("else")
    with pytest.raises(InputError, match="directory must be new, empty or a run directory"):
        import_pretrained(folder, tmp_path, task)


def test_an_adapted_model_is_the_runs_and_what_is_said_of_it_is_kept(run, folder, task, tmp_path):
    def tempered(denoiser, params):
        assert denoiser == run.denoiser
        return mdm.models.calibrated(denoiser, [0.5, 1.0], [1.0, 2.0]), {"calibration": {"rows": 3}}

    how = {"prefix": [1], "suffix": [10], "adapt": tempered}
    found = import_pretrained(folder, tmp_path / "run", task, **how)
    again = mdm.load(tmp_path / "run")
    assert again.denoiser == found.denoiser == mdm.models.calibrated(run.denoiser, [0.5, 1.0], [1.0, 2.0])
    assert again.place.read_config()["source"] == {
        **run.place.read_config()["source"],
        "calibration": {"rows": 3},
    }
    before = found.place.config.read_bytes()
    import_pretrained(folder, tmp_path / "run", task, **how)
    assert found.place.config.read_bytes() == before
    with pytest.raises(InputError, match="holds a run that differs in"):
        import_pretrained(folder, tmp_path / "run", task, prefix=[1], suffix=[10])


@pytest.mark.parametrize(
    ("adapt", "wanted"),
    [
        (lambda model, params: model, "adapt must be a function that returns a model and a dictionary; got Framed"),
        (lambda model, params: (model.denoiser, {}), "adapt must be a function that returns a model of the same 8 tok"),
        (lambda model, params: (mdm.models.tempered(model, 2.0), {}), "ids and adapt must make a model that config"),
        (lambda model, params: (model, {"files": {}}), "adapt must be a function that says of the model what is not"),
        (lambda model, params: (8, {}), "denoiser must be a denoiser"),
    ],
)
def test_what_no_model_can_be_adapted_to_is_one_sentence_and_writes_nothing(folder, task, tmp_path, adapt, wanted):
    with pytest.raises(InputError, match=wanted):
        import_pretrained(folder, tmp_path / "run", task, adapt=adapt)
    assert not (tmp_path / "run").exists()


def test_an_import_that_was_interrupted_is_done_again(folder, task, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("mdm_jax.training.importing._save", killed)
        with pytest.raises(KeyboardInterrupt):
            import_pretrained(folder, tmp_path / "run", task)
    with pytest.raises(InputError, match="no checkpoint yet"):
        mdm.load(tmp_path / "run")
    import_pretrained(folder, tmp_path / "run", task)
    assert mdm.load(tmp_path / "run").step == 0


def test_a_damaged_checkpoint_of_it_is_refused(folder, task, tmp_path):
    place = import_pretrained(folder, tmp_path / "run", task).place
    largest = max(
        (path for path in place.checkpoints.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged|is not what was written"):
        mdm.load(place.path)


@pytest.mark.thorough
def test_training_goes_on_in_another_run(run, folder, task, tmp_path):
    wide = save_folder(tmp_path / "wide", llada_arrays(), LLADA)
    (wide / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    begun = import_pretrained(wide, tmp_path / "imported", task, prefix=[1])
    with pytest.raises(InputError, match="holds a published model, which is not trained where it lies"):
        mdm.fit(begun.denoiser, task, steps=2, directory=tmp_path / "imported", params=begun, progress=False)
    settings = mdm.training.Settings(batch=4, optimizer="adamw", learning_rate=1e-3)
    on = {"settings": settings, "directory": tmp_path / "on", "progress": False}
    trained = mdm.fit(begun.denoiser, task, steps=2, params=begun, **on)
    assert trained.place.read_config()["origin"]["run"] == begun.identity
    assert mdm.load(tmp_path / "on").denoiser == begun.denoiser
    assert mdm.fit(begun.denoiser, task, steps=3, **on).step == 3  # resumed: the wrapped network makes its own
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), trained.params, begun.params)
    assert any(jax.tree.leaves(moved))


def test_a_task_of_the_checkpoints_own_ids_needs_no_frame(folder, tmp_path):
    rows = np.random.default_rng(0).integers(0, 11, (60, 6))
    rows[0, 0] = 15
    np.save(tmp_path / "rows.npy", rows)
    found = import_pretrained(folder, tmp_path / "run", mdm.tasks.npy(tmp_path / "rows.npy"))
    assert (found.denoiser.vocab_size, found.denoiser.mask_id) == (16, 11)
    assert mdm.load(tmp_path / "run").denoiser == found.denoiser
    with pytest.raises(InputError, match="prefix must be left out with a task of the checkpoint's own ids"):
        import_pretrained(folder, tmp_path / "other", mdm.tasks.npy(tmp_path / "rows.npy"), prefix=[1])


def test_a_task_in_subwords_must_have_the_checkpoints_tokenizer(folder, tmp_path):
    (tmp_path / "text.txt").write_text("abcd\nhgfe\n" * 40)
    task = mdm.tasks.tokenized_lines(tmp_path / "text.txt", folder / "vocab.txt")
    found = import_pretrained(folder, tmp_path / "run", task)
    assert [VOCABULARY[one] for one in found.denoiser.ids] == list("hgfedcba")
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(VOCABULARY)))
    other = mdm.tasks.tokenized_lines(tmp_path / "text.txt", tmp_path / "vocab.txt")
    with pytest.raises(
        InputError, match=r"task must be tokenized as the checkpoint is .* token 'a' has id 4, and 9 in"
    ):
        import_pretrained(folder, tmp_path / "other", other)
    chosen = [VOCABULARY.index(one) for one in other.vocabulary.names]
    assert import_pretrained(folder, tmp_path / "other", other, ids=chosen).denoiser.ids == tuple(chosen)


def lines(path, text):
    path.write_text(text)
    return mdm.tasks.from_spec(f"text:{path}?lines")


@pytest.mark.parametrize(
    ("text", "settings", "wanted"),
    [
        ("abcdxyz\n" * 60, {}, "vocabulary lacks 'x', 'y', 'z'"),
        ("abcdabcdabcd\n" * 60, {}, "rows of 12 the model takes: tokens must be at most 8 long"),
        ("abcdabc\n" * 60, {"prefix": [1], "suffix": [10]}, "rows of 7 the model takes"),
        ("abcd\n" * 60, {"ids": [1, 2]}, "ids must be as many as the task has tokens, 4; got 2"),
        ("abcd\n" * 60, {"ids": [1, 2, 3, 11]}, "without the mask's"),
        ("abcd\n" * 60, {"shift": True}, r"prefix \(--prefix\) must be given for a model that predicts each token one"),
        ("abcd\n" * 60, {"shift": True, "prefix": []}, r"prefix \(--prefix\) must be given"),
        ("abcd\n" * 60, {"end_id": 10}, "end_id must be left out or the id of one of the task's tokens; got 10"),
        ("abcd\n" * 60, {"vocabulary": "."}, "vocabulary must be a folder with a file of tokens"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_writes_nothing(folder, tmp_path, monkeypatch, text, settings, wanted):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=wanted):
        import_pretrained(folder, tmp_path / "run", lines(tmp_path / "a.txt", text), **settings)
    assert not (tmp_path / "run").exists()


def test_shifted_by_blocks_a_task_is_of_the_checkpoints_own_ids(tmp_path):
    """Blocks behind a prefix would be others, and nothing but a prefix predicts the first token of a row."""
    case = golden("decoders")["Fast-dLLM v2"]
    made = save_folder(tmp_path / "published", checkpoint(case["tensors"]), case["config"])
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).integers(0, 12, (40, 8)))
    few, all_of_them = (mdm.tasks.from_spec(f"npy:{tmp_path}/rows.npy{more}") for more in ("", "?vocab=13"))
    with pytest.raises(InputError, match=r"^task must be one of the checkpoint's 13 ids for a model that goes by"):
        import_pretrained(made, tmp_path / "run", few, ids=range(12))
    run = import_pretrained(made, tmp_path / "run", all_of_them)
    canvas = mdm.sampling.canvas_of([[1], [4, 2]], length=8, mask_id=12)
    out = mdm.sample(run.denoiser, run.params, mdm.plans.uniform(3, 2), key=mdm.key(1), canvas=canvas)
    assert (mdm.models.block_length(run.denoiser), out.remaining.tolist()) == (3, [0, 0])
    assert mdm.load(run.place.path).denoiser == run.denoiser


def test_without_a_vocabulary_it_is_asked_for(folder, task, tmp_path):
    bare = save_folder(tmp_path / "bare", llada_arrays(), LLADA)
    with pytest.raises(InputError, match="vocabulary must be given"):
        import_pretrained(bare, tmp_path / "run", task)
    found = import_pretrained(bare, tmp_path / "run", task, vocabulary=folder)
    assert found.denoiser.vocab_size == 8
    assert str(folder) not in found.place.config.read_text()  # another name of the folder is the same import


def test_the_end_of_its_texts_is_the_runs_own_where_the_task_has_it(run, folder, task, tmp_path):
    assert own_end(run) is None  # config.json's, if any, is none of the task's
    found = import_pretrained(folder, tmp_path / "run", task, end_id=VOCABULARY.index("c"))
    assert own_end(found) == own_end(mdm.load(tmp_path / "run")) == LETTERS.index("c")


@pytest.mark.parametrize(
    "told", [[], {}, {"parameters": {}}, {"parameters": {"a": {"type": "float64", "shape": [2]}}}, {"parameters": [1]}]
)
def test_a_configuration_that_says_nothing_of_them_is_refused(run, tmp_path, told):
    config = {**run.place.read_config(), "source": told}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r'"source" of config.json must say'):
        mdm.load(tmp_path)

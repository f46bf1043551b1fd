"""Masked language models against ``transformers``: by golden numbers, and directly where that is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_equal_logits, denoiser, golden, logits_of_case, parameters
from made_tensors import checkpoint, made

from mdm_jax import models
from mdm_jax.models.pretrained.encoder import ACTIVATIONS, Encoder, activated
from mdm_jax.models.pretrained.families import albert, bert, esm, modernbert, roberta
from mdm_jax.models.pretrained.modern_encoder import ModernEncoder
from mdm_jax.support.errors import InputError

CASES = golden("encoders")
FAMILIES = {"BERT": bert, "RoBERTa": roberta, "ALBERT": albert, "ESM": esm, "ModernBERT": modernbert}
MASK = 12
ROW = (2, 12, 5, 12, 7, 12, 11, 3)
SIZES = {"vocab_size": 13, "length": 16, "width": 16, "heads": 4, "inner": 20}


logits_of = jax.jit(models.logits, static_argnums=0)


def family_of(name):
    return FAMILIES[name.split()[0].strip(",")].published


def told(name):
    case = CASES[name]
    return family_of(name)(case["config"], tuple(case["tensors"]), case["settings"])


def of_case(name):
    """The network of a golden case as a denoiser, and its parameters."""
    published = told(name)
    return denoiser(published), parameters(published, checkpoint(CASES[name]["tensors"]))


@pytest.mark.core
@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_an_independent_implementation(name):
    case = CASES[name]
    ours = logits_of_case(case, family_of(name))
    assert_equal_logits(ours, np.asarray(case["logits"]), case["tokens"], told(name).mask_id)


LARGER = {
    "Bert": {"type_vocab_size": 2, "layer_norm_eps": 1e-12},
    "Roberta": {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 2},
    "Albert": {"embedding_size": 24, "hidden_act": "gelu_new"},
    "Esm": {"position_embedding_type": "rotary", "token_dropout": True, "mask_token_id": 49, "layer_norm_eps": 1e-5},
    "ModernBert": {"local_attention": 10, "num_hidden_layers": 7, "cls_token_id": 2, "sep_token_id": 3},
}


@pytest.mark.parametrize("kind", LARGER)
@pytest.mark.parametrize("masked", [0.2, 1.0])
def test_logits_are_those_of_transformers_at_another_size(kind, masked):
    """48 features, 3 layers (ModernBERT 7) and 60 positions, of which a row lacks 21; a fifth masked, or all."""
    pytest.importorskip("transformers")
    from models.pretrained.golden import encoders as reference
    from models.pretrained.golden.make import filled

    config = {"vocab_size": 50, "hidden_size": 48, "num_hidden_layers": 3, "intermediate_size": 96}
    config |= {"num_attention_heads": 6, "max_position_embeddings": 80, "pad_token_id": 1, **LARGER[kind]}
    config |= {"bos_token_id": 0, "eos_token_id": 2} if kind == "ModernBert" else {}
    network = reference.model(kind, config)
    tensors = checkpoint(filled(network))
    random = np.random.default_rng(0)
    tokens = random.integers(4, 49, (2, 60))
    tokens[random.random(tokens.shape) < masked] = 49
    tokens[:, 0], tokens[:, 59], tokens[1, 38], tokens[1, 39:] = 0, 2, 2, -1
    theirs = reference.logits(network, tokens)
    family = FAMILIES[{"Bert": "BERT", "Roberta": "RoBERTa", "Albert": "ALBERT", "Esm": "ESM"}.get(kind, "ModernBERT")]
    published = family.published({**config, "model_type": kind.lower()}, tuple(tensors), {"mask_id": 49})
    model, params = denoiser(published), parameters(published, tensors)
    assert_equal_logits(logits_of(model, params, jnp.asarray(tokens, jnp.int32)), theirs, tokens, 49)


@pytest.mark.parametrize("dropped", [True, False])
def test_logits_are_those_of_fair_esm(dropped):
    """The authors' own ESM-2, under its own names, of which contacts and the wavelengths are not taken."""
    package = pytest.importorskip("esm.model.esm2")
    torch = pytest.importorskip("torch")
    network = package.ESM2(num_layers=3, embed_dim=40, attention_heads=4, token_dropout=dropped).eval()
    state = network.state_dict()
    tensors = {name: made(name, tuple(value.shape)) for name, value in state.items() if name != "lm_head.weight"}
    network.load_state_dict({name: torch.from_numpy(tensors[name]) for name in tensors}, strict=False)
    buffers = {name: value.numpy() for name, value in state.items() if name.endswith("inv_freq")}
    assert buffers
    for name, value in buffers.items():
        network.get_buffer(name).copy_(torch.from_numpy(1 / 10000 ** (np.arange(0, 10, 2, dtype=np.float32) / 10)))
        assert value.shape == (5,)
    tokens = np.array([[0, 5, 32, 7, 32, 32, 20, 12, 2], [0, 32, 32, 9, 2, -1, -1, -1, -1]])
    with torch.no_grad():
        theirs = network(torch.from_numpy(np.where(tokens < 0, 1, tokens)))["logits"].numpy()
    config = {"encoder_layers": 3, "encoder_embed_dim": 40, "encoder_attention_heads": 4, "token_dropout": dropped}
    published = esm.published(config, tuple(tensors), {})
    ours = logits_of(denoiser(published), parameters(published, tensors), jnp.asarray(tokens, jnp.int32))
    assert_equal_logits(ours, theirs, tokens, 32)


def test_activations_are_those_of_transformers():
    activations = pytest.importorskip("transformers.activations")
    torch = pytest.importorskip("torch")
    inputs = np.linspace(-5, 5, 101, dtype=np.float32)
    for name in ACTIVATIONS:
        theirs = activations.get_activation(name)(torch.from_numpy(inputs)).numpy()
        np.testing.assert_allclose(activated(jnp.asarray(inputs), name), theirs, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "ALBERT", "ESM, token dropout", "ModernBERT"])
def test_a_row_is_worth_what_it_is_worth_alone(name):
    """Beside a row of nothing, and with places behind it that lie beyond every neighbourhood."""
    model, params = of_case(name)
    alone = jnp.asarray([ROW[:5]])
    wider = jnp.pad(alone, ((0, 1), (0, 9)), constant_values=-1)
    together = logits_of(model, params, wider)
    assert models.takes_absent(model)
    np.testing.assert_allclose(together[:1, :5], logits_of(model, params, alone), atol=1e-5)
    assert not bool(jnp.isnan(together).any())


def test_a_token_of_padding_is_not_counted_but_an_absent_position_is_not_seen():
    """RoBERTa's positions: tokens behind padding have the positions that they would have without it."""
    model, params = of_case("RoBERTa")
    logits = logits_of(model, params, jnp.asarray([[0, 12, 1, 5, 2], [0, 12, -1, 5, 2]]))
    alone = logits_of(model, params, jnp.asarray([[0, 12, 5, 2]]))[0]
    np.testing.assert_allclose(logits[1, jnp.asarray([0, 1, 3, 4])], alone, atol=1e-5)
    assert float(jnp.abs(logits[0] - logits[1])[3, :MASK].max()) > 1e-3  # a token of padding is seen


def test_where_all_is_dropped_out_logits_are_finite_and_need_no_embedding():
    """Of a row of masks alone every vector is 0, so that no embedding counts but the head's, which is tied."""
    model, params = of_case("ESM, token dropout")
    tokens = jnp.full((1, 6), MASK)
    encode = jax.jit(model.encode)
    hidden = encode(params, tokens)
    other = jax.tree_util.tree_map_with_path(lambda path, leaf: leaf + ("embedding" in str(path[1])), params)
    assert bool(jnp.isfinite(hidden).all())
    np.testing.assert_array_equal(hidden, encode(other, tokens))


@pytest.mark.parametrize(
    "make", [lambda n: Encoder(**SIZES, depth=n), lambda n: ModernEncoder(**SIZES, full=(True,) * n, reach=2)]
)
def test_sixteen_layers_are_traced_like_two(make):
    """One layer is traced, whatever their number; ModernBERT's norms of attention are parameters one by one."""

    def equations(depth):
        model = models.from_linen(make(depth), 13, mask_id=MASK)
        params = jax.eval_shape(lambda: model.init(jax.random.key(0), length=8))
        traced = jax.make_jaxpr(lambda params: models.logits(model, params, jnp.zeros((1, 8), jnp.int32)))(params)
        scans = [eqn for eqn in traced.jaxpr.eqns if eqn.primitive.name == "scan"]
        assert [eqn.params["length"] for eqn in scans] == [depth]
        return sum(eqn.primitive.name == "dot_general" for eqn in scans[0].params["jaxpr"].eqns), len(
            str(scans[0].params["jaxpr"])
        )

    assert equations(2) == equations(16)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BERT, older names, own head", jnp.bfloat16),
        ("ALBERT", jnp.bfloat16),
        ("ESM, token dropout", jnp.float16),
        ("ModernBERT", jnp.bfloat16),
    ],
)
def test_stored_types_are_kept_and_logits_are_float32(name, kind):
    """Logits of rounded parameters worked out in float32 differ by less than 6% of the largest one (bfloat16)."""
    model, params = of_case(name)
    params = jax.tree.map(lambda leaf: leaf.astype(kind), params)
    tokens = jnp.asarray([[*ROW, -1]])
    with jax.numpy_dtype_promotion("strict"):  # and nothing is widened or narrowed unsaid
        assert jax.eval_shape(model.encode, params, tokens).dtype == kind
    logits = logits_of(model, params, tokens)[:, :8, :MASK]
    wide = logits_of(model, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params), tokens)[:, :8, :MASK]
    assert logits.dtype == jnp.float32
    assert float(jnp.abs(logits - wide).max()) < 0.06 * float(jnp.abs(wide).max())


@pytest.mark.parametrize(
    ("name", "kind"), [("ALBERT", jnp.float32), ("ESM, token dropout", jnp.float32), ("ModernBERT", jnp.bfloat16)]
)
def test_gradients_are_finite_and_reach_every_parameter(name, kind):
    model, params = of_case(name)
    params = jax.tree.map(lambda leaf: leaf.astype(kind), params)
    tokens = jnp.asarray([[2, 5, 12, 12, 3, -1], [-1] * 6, [12] * 6])

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: jnp.sum(jax.nn.log_softmax(models.logits(model, p, tokens)[:, 2, :MASK])[:, 4]))(
            params
        )

    leaves = jax.tree.leaves(gradient(params))
    assert all(leaf.dtype == kind and bool(jnp.isfinite(leaf.astype(jnp.float32)).all()) for leaf in leaves)
    assert sum(bool(jnp.any(leaf != 0)) for leaf in leaves) == len(leaves)


def test_equal_settings_are_equal_models():
    assert told("ModernBERT").module == told("ModernBERT").module
    assert hash(told("ESM").module) == hash(told("ESM").module)
    assert told("ESM").module != told("ESM, token dropout").module


@pytest.mark.parametrize("module", [Encoder(**SIZES, depth=1), ModernEncoder(**SIZES, full=(True,), reach=2)])
def test_longer_rows_and_contexts_are_refused_with_a_sentence(module):
    model = models.from_linen(module, 13, mask_id=MASK)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), length=8))
    with pytest.raises(InputError, match=r"^tokens must be at most 16 long, as the model is; got 17"):
        jax.eval_shape(model.encode, params, jnp.zeros((1, 17), jnp.int32))
    with pytest.raises(InputError, match=r"^context must be left out"):
        jax.eval_shape(model.encode, params, jnp.zeros((1, 8), jnp.int32), jnp.zeros((1, 3)))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"activation": "mish"}, r"^activation must be one of gelu, .*; got 'mish'"),
        ({"positions": "alibi"}, r"^positions must be one of after padding, learned, rotary; got 'alibi'"),
        ({"heads": 3}, r"^width must be a multiple of heads = 3; got 16"),
    ],
)
def test_a_network_that_cannot_be_is_refused_with_a_sentence(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        models.from_linen(Encoder(**{**SIZES, **settings}, depth=1), 13).init(jax.random.key(0), length=8)

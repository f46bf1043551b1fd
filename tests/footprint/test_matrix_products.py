"""Products counted in what JAX traces, against arithmetic by hand and XLA's own count."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import sparse

from mdm_jax import models
from mdm_jax.footprint import matrix_products, products
from mdm_jax.models.pretrained.decoder import Decoder
from mdm_jax.support.errors import InputError


def of(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@jax.custom_vjp
def scaled(a, b):
    return a @ b


scaled.defvjp(lambda a, b: (a @ b, (a, b)), lambda kept, slope: (slope @ kept[1].T, kept[0].T @ slope))
HIGH, WIDE = of(2, 5), of(5, 3)
ONE = 2 * 2 * 5 * 3


@pytest.mark.parametrize(
    ("function", "inputs", "count"),
    [
        (lambda a, b: jnp.tanh(a @ b) + 1, (HIGH, WIDE), ONE),
        (lambda a, b: jnp.einsum("rqhf,rkhf->rhqk", a, b), (of(2, 3, 4, 5), of(2, 6, 4, 5)), 2 * 2 * 4 * 3 * 6 * 5),
        (jax.jit(lambda a, b: jax.checkpoint(lambda a, b: a @ b)(a, b)), (HIGH, WIDE), ONE),
        (scaled, (HIGH, WIDE), ONE),
        (jax.vmap(lambda a, b: a @ b), (of(7, 2, 5), of(7, 5, 3)), 7 * ONE),
        # The loss is a sum: of a matrix product's gradient two more products.
        (jax.grad(lambda a, b: (a @ b).sum() ** 2, (0, 1)), (HIGH, WIDE), 3 * ONE),
        (jax.grad(lambda a, b: (a @ b).sum() ** 2, 1), (HIGH, WIDE), 2 * ONE),
        (lambda a, b: jax.lax.scan(lambda c, _: (c @ b, c), a, None, 4), (of(2, 5), of(5, 5)), 4 * 2 * 2 * 5 * 5),
        (lambda a, b: jax.lax.fori_loop(0, 3, lambda _, c: c @ b, a), (of(2, 5), of(5, 5)), 3 * 2 * 2 * 5 * 5),
        (lambda a, b: jax.lax.cond(a.sum() > 0, lambda: a @ b, lambda: a @ b @ b.T @ b), (HIGH, WIDE), 3 * ONE),
        (lambda a: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, a), (HIGH,), 0),
        # Images of 6 x 6 in 4 channels, kernels of 3 x 3, 8 channels out; in two groups each sees half of them.
        (lambda a, k: jax.lax.conv(a, k, (1, 1), "VALID"), (of(2, 4, 6, 6), of(8, 4, 3, 3)), 2 * 2 * 8 * 16 * 4 * 9),
        (
            lambda a, k: jax.lax.conv_general_dilated(a, k, (1, 1), "VALID", feature_group_count=2),
            (of(2, 4, 6, 6), of(8, 2, 3, 3)),
            2 * 2 * 8 * 16 * 2 * 9,
        ),
    ],
)
def test_products_are_counted_as_by_hand(function, inputs, count):
    assert matrix_products(function, *inputs) == count


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda a: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c @ c, a), "cannot be counted in a while_loop"),
        (lambda a: jax.lax.fori_loop(0, a[0, 0].astype(int), lambda _, c: c @ c, a), "whose rounds only a run tells"),
        (lambda a: jax.pure_callback(lambda a: a @ a, a, a), "in a model with pure_callback, which hides what it does"),
    ],
)
def test_what_cannot_be_counted_is_refused(function, sentence):
    with pytest.raises(InputError, match=sentence):
        matrix_products(function, of(4, 4))


@pytest.mark.parametrize("kind", [sparse.BCOO, sparse.BCSR, sparse.CSR, sparse.COO])
def test_sparse_products_are_refused(kind):
    matrix = kind.fromdense(jnp.eye(4))
    others = {"dense": jnp.eye(4), "vector": jnp.ones(4)} | ({"sparse": matrix} if kind is sparse.BCOO else {})
    for other in others.values():
        with pytest.raises(InputError, match=f"{kind.__name__.lower()}_.*hides what it does"):
            matrix_products(lambda other: matrix @ other, other)


def test_a_product_at_some_places_is_refused():
    def sampled(a, b):
        places = jnp.zeros((4, 2), int)
        return sparse.bcoo_dot_general_sampled(a, b, places, dimension_numbers=(((1,), (0,)), ((), ())))

    with pytest.raises(InputError, match="bcoo_dot_general_sampled, which hides what it does"):
        matrix_products(sampled, HIGH, WIDE)


def test_what_cudnn_multiplies_is_refused(monkeypatch):
    """Traced as on a GPU of today, which only checks of its version and capability tell."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda *_: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda *_: False)

    def attended(x):
        return jax.nn.dot_product_attention(x, x, x, implementation="cudnn")

    rows = jax.ShapeDtypeStruct((2, 128, 4, 64), jnp.bfloat16)
    with pytest.raises(InputError, match="dot_product_attention_fwd_wrapper, which hides what it does"):
        matrix_products(attended, rows)
    gradient = jax.make_jaxpr(jax.grad(lambda x: attended(x).sum().astype(jnp.float32)))(rows)
    found = {line.primitive.name for line in gradient.eqns if "attention" in line.primitive.name}
    assert found == {f"dot_product_attention_{way}_wrapper" for way in ("fwd", "bwd")}
    assert found <= products._OPAQUE


def test_a_program_that_was_exported_is_refused():
    exported = jax.export.export(jax.jit(lambda a: a @ a))(of(4, 4))
    with pytest.raises(InputError, match="call_exported, which hides what it does"):
        matrix_products(exported.call, of(4, 4))


def test_a_scan_over_layers_is_counted_as_by_hand_and_one_layer_as_xla_does():
    """XLA counts the body of a loop once, so that it is asked about one layer; its norms and softmax come on top."""
    width, hidden, length, heads, groups, features = 128, 256, 64, 4, 2, 32
    sizes = {"width": width, "hidden": hidden, "heads": heads, "key_value_heads": groups, "head_features": features}
    tokens = jax.ShapeDtypeStruct((3, length), jnp.int32)
    for depth in (1, 5):
        network = Decoder(vocab_size=50, embedding_rows=50, length=length, depth=depth, **sizes)
        model = models.from_linen(network, 50, mask_id=49)
        shapes = jax.eval_shape(lambda model=model: model.init(jax.random.key(0), length))
        matrices = 2 * width * heads * features + 2 * width * groups * features + 3 * width * hidden
        layer = 2 * (matrices + 2 * length * heads * features)
        found = matrix_products(model.encode, shapes, tokens)
        assert found == 3 * length * depth * layer
        if depth == 1:
            costs = jax.jit(model.encode).lower(shapes, tokens).compile().cost_analysis()
            assert 1.0 <= costs["flops"] / found <= 1.1

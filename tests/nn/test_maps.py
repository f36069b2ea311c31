"""Structured maps: each property holds for random parameters, after gradient steps, and in float32."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from sciml.nn import maps

N, M = 6, 4


class Case(NamedTuple):
    make: Callable
    violation: Callable[[np.ndarray], float]
    """By how much a matrix violates the property; rounding at most."""


def outside(values: np.ndarray, low: float, high: float) -> float:
    return float(max(low - np.min(values), np.max(values) - high))


def disc(W: np.ndarray) -> float:
    return float(np.max(np.abs(np.linalg.eigvals(W) + 2.0)) - 1.5)


def perron(W: np.ndarray) -> float:
    eigenvalues = np.linalg.eigvals(W)
    dominant = eigenvalues[np.argmax(np.abs(eigenvalues))]
    return max(outside(dominant.real, 0.8, 1.0), abs(float(dominant.imag)), -float(W.min()))


CASES = {
    "BoundedSingularValues": Case(
        lambda **o: maps.BoundedSingularValues(N, N, lower=0.3, upper=0.9, **o),
        lambda W: max(
            outside(np.linalg.svd(W, compute_uv=False), 0.3, 0.9), outside(abs(np.linalg.eigvals(W)), 0.3, 0.9)
        ),
    ),
    "Gershgorin": Case(lambda **o: maps.Gershgorin(N, lower=-3.5, upper=-0.5, **o), disc),
    "Orthogonal": Case(lambda **o: maps.Orthogonal(N, **o), lambda W: float(np.max(np.abs(W.T @ W - np.eye(N))))),
    "PerronFrobenius": Case(lambda **o: maps.PerronFrobenius(N, N, lower=0.8, upper=1.0, **o), perron),
    "PositiveDefinite": Case(
        lambda **o: maps.PositiveDefinite(N, floor=0.2, **o),
        lambda W: max(0.2 - float(np.min(np.linalg.eigvalsh(W))), float(np.max(np.abs(W - W.T)))),
    ),
    "SkewSymmetric": Case(
        lambda **o: maps.SkewSymmetric(N, **o),
        lambda W: float(max(np.max(np.abs(W + W.T)), np.max(np.abs(np.linalg.eigvals(W).real)))),
    ),
    "Symmetric": Case(lambda **o: maps.Symmetric(N, **o), lambda W: float(np.max(np.abs(W - W.T)))),
}


def scaled(tree, factor: float):
    """The map with all its parameters multiplied, far from where it starts."""
    return jax.tree.map(lambda x: factor * x if eqx.is_inexact_array(x) else x, tree)


@eqx.filter_jit
def trained(tree, target):
    """After 30 large steps of Adam towards a matrix that lacks the property."""
    method = optax.adam(0.3)
    trainable, rest = eqx.partition(tree, eqx.is_inexact_array)

    def step(carry, _):
        now, state = carry
        slopes = jax.grad(lambda free: jnp.sum((eqx.combine(free, rest).matrix() - target) ** 2))(now)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = method.update(slopes, state)
        return (optax.apply_updates(now, updates), state), None

    (now, _), _ = jax.lax.scan(step, (trainable, method.init(trainable)), None, 30)
    return eqx.combine(now, rest)


matrix = eqx.filter_jit(lambda tree: tree.matrix())
both = eqx.filter_jit(lambda tree, x: (tree(x), tree.linear()(x)))


def test_the_registry_is_complete():
    assert set(CASES) == {name for name in dir(maps) if name[0].isupper()} - {"AbstractMap"}


@pytest.mark.parametrize("name", CASES)
def test_the_property_holds_always(name, getkey):
    case = CASES[name]
    target = 3 * jr.normal(getkey(), (N, N))
    for factor in (1e-3, 1.0, 30.0):
        for _ in range(5):
            drawn = scaled(case.make(key=getkey()), factor)
            assert case.violation(np.asarray(matrix(drawn))) < 1e-12 * max(1.0, factor**2)  # entries of that size
    drawn = case.make(key=getkey())
    later = trained(drawn, target)
    before, after = np.asarray(matrix(drawn)), np.asarray(matrix(later))
    assert np.linalg.norm(after - target) < 0.97 * np.linalg.norm(before - target)  # it has learned something
    assert case.violation(after) < 1e-12 * max(1.0, np.abs(after).max() ** 2)
    single = jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, later)
    W = matrix(single)
    assert W.dtype == jnp.float32 and case.violation(np.asarray(W, float)) < 1e-5 * max(1.0, np.abs(after).max())


@pytest.mark.parametrize("name", CASES)
def test_a_map_is_its_matrix_plus_bias(name, getkey):
    tree = CASES[name].make(key=getkey(), use_bias=True)
    assert tree.bias.shape == (N,) and not np.any(tree.bias)
    tree = eqx.tree_at(lambda t: t.bias, tree, jnp.arange(1.0 * N))
    x = jr.normal(getkey(), (N,))
    expected = np.asarray(matrix(tree)) @ np.asarray(x) + np.arange(N)
    for y in both(tree, x):
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    layer = eqx.filter_eval_shape(lambda tree: tree.linear(), eqx.tree_at(lambda t: t.bias, tree, None))
    assert isinstance(layer, eqx.nn.Linear) and layer.in_features == N and layer.bias is None
    assert CASES[name].make(key=getkey()).bias is None


def test_gradients_pass_through_the_plain_layer(key):
    tree = maps.Orthogonal(N, key=key)
    x = jnp.arange(1.0 * N)
    slopes = [
        eqx.filter_jit(eqx.filter_grad(lambda t, f=f: f(t)(x)[0]))(tree) for f in (lambda t: t, lambda t: t.linear())
    ]
    np.testing.assert_allclose(slopes[0].vectors, slopes[1].vectors, atol=1e-14)
    assert np.any(slopes[0].vectors != 0)


@pytest.mark.parametrize("name", ["BoundedSingularValues", "PerronFrobenius"])
@pytest.mark.parametrize(("n", "m"), [(N, M), (M, N)])
def test_rectangular_maps(name, n, m, key):
    tree = getattr(maps, name)(n, m, lower=0.2, upper=0.7, use_bias=True, key=key)
    W = np.asarray(matrix(tree))
    assert W.shape == (m, n) and tree.bias.shape == (m,) and both(tree, jnp.ones(n))[1].shape == (m,)
    values = np.linalg.svd(W, compute_uv=False) if name == "BoundedSingularValues" else W.sum(axis=1)
    assert outside(values, 0.2, 0.7) < 1e-14


def test_the_singular_values_are_those_of_the_matrix(key):
    tree = maps.BoundedSingularValues(N, M, lower=0.0, upper=2.0, key=key)
    expected = np.sort(np.asarray(tree.singular_values()))[::-1]
    np.testing.assert_allclose(np.linalg.svd(matrix(tree), compute_uv=False), expected, rtol=1e-12)


def test_reflections_are_the_product_of_householder_matrices(key):
    tree = maps.Orthogonal(N, reflections=3, key=key)
    product = np.eye(N)
    for v in np.asarray(tree.vectors).T:
        product = product @ (np.eye(N) - 2 * np.outer(v, v) / (v @ v))
    np.testing.assert_allclose(matrix(tree), product, atol=1e-13)
    assert np.linalg.det(product) == pytest.approx(-1.0)
    # a zero vector, parallel vectors and many reflections are orthogonal too
    zero = eqx.tree_at(lambda t: t.vectors, tree, tree.vectors.at[:, 1].set(0.0))
    parallel = eqx.tree_at(lambda t: t.vectors, tree, jnp.ones((N, 3)))
    large = maps.Orthogonal(200, key=key)
    for one in (zero, parallel, large):
        W = np.asarray(matrix(one))
        np.testing.assert_allclose(W.T @ W, np.eye(W.shape[0]), atol=1e-12)
    slopes = eqx.filter_jit(eqx.filter_grad(lambda t: jnp.sum(t.matrix()[0])))(zero)
    assert np.all(np.isfinite(slopes.vectors))


def test_a_skew_map_conserves_and_a_gershgorin_map_contracts(key):
    W = np.asarray(maps.SkewSymmetric(N, key=key).matrix())
    x = np.arange(1.0, N + 1)
    assert abs(x @ W @ x) < 1e-12
    W = np.asarray(scaled(maps.Gershgorin(N, lower=-1.0, upper=1.0, key=key), 50.0).matrix())
    assert np.max(np.sum(np.abs(W), axis=1)) < 1.0


def test_bounds_get_no_gradient_where_they_became_arrays(key):
    for name in ("BoundedSingularValues", "Gershgorin", "PerronFrobenius", "PositiveDefinite"):
        tree = CASES[name].make(key=key)
        arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, tree)
        slopes = eqx.filter_jit(eqx.filter_grad(lambda t: jnp.sum(t.matrix())))(arrays)
        assert all(getattr(slopes, field, 0.0) == 0.0 for field in ("lower", "upper", "floor"))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda k: maps.Symmetric(0, key=k), r"`size`: got 0; expected an integer >= 1"),
        (lambda k: maps.Orthogonal(2, reflections=0, key=k), r"`reflections`: got 0; expected an integer >= 1"),
        (lambda k: maps.PositiveDefinite(2, floor=0.0, key=k), r"`floor`: got 0.0; expected a finite number > 0"),
        (
            lambda k: maps.Gershgorin(2, lower=1.0, upper=1.0, key=k),
            r"`lower`: got lower 1.0 and upper 1.0; .*lower < up",
        ),
        (lambda k: maps.PerronFrobenius(2, 2, lower=-0.1, upper=1.0, key=k), r"`lower`: .*expected finite 0 <= lower"),
        (lambda k: maps.BoundedSingularValues(2, 0, lower=0.1, upper=1.0, key=k), r"`out_size`: got 0"),
    ],
)
def test_bad_arguments_are_named(make, match, key):
    with pytest.raises(ValueError, match=match):
        make(key)


def test_a_key_is_asked_for(unchecked):
    with pytest.raises(TypeError, match=r"`key`: got 0; expected one key of `jax.random`"):
        maps.Symmetric(2, key=0)

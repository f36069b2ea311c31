"""Bounds hold, inputs are records, constants stay constant."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jaxtyping import Array

from sciml.nn import BoundedMLP


class Wind(NamedTuple):
    speed: Array
    gusts: Array


def policy(key, **options):
    options = {"lower": -1.0, "upper": jnp.array([2.0, 0.5]), "width": 8, "depth": 1, "key": key} | options
    return BoundedMLP(3, 2, **options)


def shifted(net, offset):
    """The same network with `offset` added to the last layer, which drives it far into saturation."""
    return eqx.tree_at(lambda n: n.mlp.layers[-1].bias, net, replace_fn=lambda b: b + offset)


def test_the_output_stays_inside_the_bounds(key):
    low, high = np.array([-0.1, -0.7]), np.array([0.3, 0.5])
    net = policy(key, lower=tuple(low), upper=high)
    x = 10 * jr.normal(jr.fold_in(key, 1), (20, 3))
    outputs = eqx.filter_jit(lambda net: jax.vmap(net)(x))
    for offset in (-1e4, -3.0, 0.0, 3.0, 1e4):
        u = np.asarray(outputs(shifted(net, offset)))
        assert u.shape == (20, 2) and np.all((u >= low) & (u <= high))
        if abs(offset) == 1e4:  # saturation reaches the bound itself, to rounding of l + (u - l)
            np.testing.assert_allclose(u, np.broadcast_to(high if offset > 0 else low, u.shape), atol=1e-15)


def test_infinite_bounds_are_one_sided_softplus_or_the_identity(key):
    inf = jnp.inf
    net = BoundedMLP(2, 4, lower=(1.0, -inf, -inf, 0.0), upper=(inf, 2.0, inf, 1.0), width=4, depth=1, key=key)
    x = jnp.array([0.3, -0.2])
    y = np.asarray(eqx.filter_jit(net.mlp)(x))
    expected = np.stack([1 + np.log1p(np.exp(y[0])), 2 - np.log1p(np.exp(-y[1])), y[2], 1 / (1 + np.exp(-y[3]))])
    np.testing.assert_allclose(eqx.filter_jit(net)(x), expected, rtol=1e-13)
    slopes = eqx.filter_jit(lambda net: jax.value_and_grad(lambda x: jnp.sum(net(x)))(x))
    for offset in (-1e6, 1e6):  # far out no entry and no derivative is NaN
        value, slope = slopes(shifted(net, offset))
        assert np.isfinite(value) and np.all(np.isfinite(slope))


def test_the_gradient_agrees_with_finite_differences(key):
    net, x, h = policy(key), jnp.array([0.1, -0.4, 0.7]), 1e-6
    slopes = eqx.filter_jit(lambda net: jax.jacobian(net)(x))(net)
    shifts = h * jnp.eye(3)
    ahead, behind = (eqx.filter_jit(eqx.filter_vmap(net))(x + s) for s in (shifts, -shifts))
    np.testing.assert_allclose(slopes.T, (ahead - behind) / (2 * h), atol=1e-9)  # h^2 and eps / h


def test_records_and_several_arguments_are_concatenated(key):
    net = policy(key)
    together = net(jnp.array([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(net(jnp.array([0.1]), Wind(jnp.array(0.2), jnp.array([0.3]))), together)
    np.testing.assert_array_equal(net((0.1, 0.2), None, jnp.array(0.3)), together)
    np.testing.assert_array_equal(net(0, jnp.array([0, 0])), net(jnp.zeros(3)))  # integers are cast


def test_center_and_scale_normalise_the_input(key):
    plain, net = policy(key), policy(key, center=Wind(1.0, (2.0, 3.0)), scale=2.0)
    np.testing.assert_allclose(net(jnp.array([3.0, 4.0, 5.0])), plain(jnp.ones(3)), rtol=1e-15)


def test_no_optimiser_moves_the_constants(key):
    net = policy(key, center=1.0, scale=2.0)
    gradient = eqx.filter_jit(eqx.filter_grad(lambda n: jnp.sum(n(jnp.ones(3)) ** 2)))
    slopes = gradient(net)
    assert slopes.lower == (None, None) and slopes.scale == (None,) * 3
    method = optax.adamw(1e-1, weight_decay=1.0)
    with jax.numpy_dtype_promotion("standard"):
        trainable = eqx.filter(net, eqx.is_inexact_array)
        updates, _ = method.update(slopes, method.init(trainable), trainable)
    trained = eqx.apply_updates(net, updates)
    assert (trained.lower, trained.upper, trained.center, trained.scale) == (
        (-1.0, -1.0),
        (2.0, 0.5),
        (1.0,) * 3,
        (2.0,) * 3,
    )
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, net)
    slopes = gradient(arrays)  # not even where they became arrays
    assert all(s == 0 for s in (*slopes.lower, *slopes.upper, *slopes.center, *slopes.scale))


def test_weights_have_the_default_dtype_and_float32_runs(key):
    net = policy(key, center=0.5, scale=2.0)
    assert net(jnp.ones(3)).dtype == jnp.float64
    single = jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, net)
    u = single(jnp.ones(3, jnp.float32))
    assert u.dtype == jnp.float32
    np.testing.assert_allclose(u, net(jnp.ones(3)), rtol=1e-5)  # a few float32 roundings
    jax.config.update("jax_enable_x64", False)
    try:
        assert policy(jr.key(0))(jnp.ones(3)).dtype == jnp.float32
    finally:
        jax.config.update("jax_enable_x64", True)


def test_jit_is_eager_and_vmap_is_the_loop(key):
    net, x = policy(key), jr.normal(key, (5, 3))
    one = eqx.filter_jit(net)
    np.testing.assert_allclose(one(x[0]), net(x[0]), rtol=1e-13)
    np.testing.assert_allclose(eqx.filter_jit(eqx.filter_vmap(net))(x), np.stack([one(v) for v in x]), rtol=1e-13)


def test_an_ensemble_is_built_by_filter_vmap(key):
    nets = eqx.filter_vmap(lambda k: policy(k))(jr.split(key, 4))
    each = eqx.filter_jit(eqx.filter_vmap(lambda n, x: n(x), in_axes=(eqx.if_array(0), None)))
    assert each(nets, jnp.ones(3)).shape == (4, 2)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lower": (0.0, 1.0, 2.0)}, r"`lower`: got 3 entries; expected 1 or 2 entries"),
        ({"lower": 1.0}, r"`lower`: got lower 1.0 and upper 0.5 for entry 1; expected lower <= upper"),
        ({"lower": jnp.inf, "upper": jnp.inf}, r"`lower`: got lower inf and upper inf for entry 0"),
        ({"upper": jnp.nan}, r"`upper`: got NaN .* use `jnp.inf`"),
        ({"upper": "high"}, r"`upper`: got 'high'; expected numbers"),
        ({"scale": 0.0}, r"`scale`: got 0.0; expected numbers > 0"),
        ({"center": (1.0, 2.0)}, r"`center`: got 2 entries; expected 1 or 3 entries"),
        ({"width": 0}, r"`width`: got 0; expected an integer >= 1"),
        ({"depth": -1}, r"`depth`: got -1; expected an integer >= 0"),
    ],
)
def test_bad_arguments_are_named(key, options, match):
    with pytest.raises(ValueError, match=match):
        policy(key, **options)


def test_bad_sizes_are_named(key):
    with pytest.raises(ValueError, match=r"`in_size`: got 0; expected an integer >= 1"):
        BoundedMLP(0, 1, lower=0.0, upper=1.0, width=1, depth=1, key=key)
    with pytest.raises(ValueError, match=r"`out_size`: got 0; expected an integer >= 1"):
        BoundedMLP(1, 0, lower=0.0, upper=1.0, width=1, depth=1, key=key)
    with pytest.raises(ValueError, match=r"`records`: got 4 entries in leaves of sizes \[3, 1\]; expected in_size = 3"):
        policy(key)(jnp.ones(3), 1.0)
    with pytest.raises(ValueError, match=r"`lower`: got a traced array; expected concrete numbers"):
        jax.jit(lambda low: policy(key, lower=low)(jnp.ones(3)))(jnp.zeros(2))

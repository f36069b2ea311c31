"""Record in, record out."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

from sciml.nn import TreeMLP


class P(NamedTuple):
    a: Array | float
    b: Array


class Z(NamedTuple):
    x: Array | float
    y: Array


P_LIKE, Z_LIKE = P(0.0, jnp.zeros(2)), Z(0.0, jnp.zeros((2, 2)))


def test_it_maps_a_record_to_a_record(key):
    net = TreeMLP(P_LIKE, Z_LIKE, width=8, depth=2, key=key)
    p = P(jnp.array(0.3), jnp.array([1.0, -1.0]))
    z = eqx.filter_jit(net)(p)
    assert isinstance(z, Z) and z.x.shape == () and z.y.shape == (2, 2)
    flat = eqx.filter_jit(net.mlp.mlp)(jnp.array([0.3, 1.0, -1.0]))  # no bound: the network itself
    np.testing.assert_allclose(jnp.concatenate([z.x[None], z.y.ravel()]), flat, rtol=1e-13)


def test_bounds_are_numbers_or_records(key):
    low, high = Z(0.0, jnp.full((2, 2), -1.0)), 1.0
    net = TreeMLP(P_LIKE, Z_LIKE, width=8, depth=1, lower=low, upper=high, key=key)
    ps = P(100 * jr.normal(key, (50,)), 100 * jr.normal(key, (50, 2)))
    z = eqx.filter_jit(eqx.filter_vmap(net))(ps)
    assert jnp.all((z.x >= 0) & (z.x <= 1)) and jnp.all((z.y >= -1) & (z.y <= 1))


def test_the_input_may_be_normalised(key):
    net = TreeMLP(P_LIKE, Z_LIKE, width=8, depth=1, center=P(1.0, jnp.ones(2)), scale=P(2.0, jnp.ones(2)), key=key)
    plain = TreeMLP(P_LIKE, Z_LIKE, width=8, depth=1, key=key)
    call = eqx.filter_jit(lambda net, p: net(p).y)
    np.testing.assert_allclose(call(net, P(3.0, jnp.ones(2))), call(plain, P(1.0, jnp.zeros(2))), rtol=1e-13)


def test_float32_runs_and_jit_is_eager(key):
    net = TreeMLP(P_LIKE, Z_LIKE, width=8, depth=1, lower=0.0, key=key)
    p = P(jnp.array(0.3), jnp.array([1.0, -1.0]))
    np.testing.assert_allclose(eqx.filter_jit(net)(p).y, net(p).y, rtol=1e-14)
    single = jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, net)
    assert single(p).x.dtype == jnp.float32


def test_another_record_is_refused(key):
    net = TreeMLP(P_LIKE, Z_LIKE, width=8, depth=1, key=key)
    with pytest.raises(ValueError, match=r"`record`: got .* of shapes \(\(\), \(3,\)\); expected .*\(\(\), \(2,\)\)"):
        net(P(0.0, jnp.zeros(3)))
    with pytest.raises(ValueError, match=r"`record`: got PyTreeDef\(\*\) of .*; expected PyTreeDef.* `in_like`"):
        net(jnp.zeros(3))
    with pytest.raises(ValueError, match=r"`in_like`: got .* without entries; expected at least one entry"):
        TreeMLP((), Z_LIKE, width=8, depth=1, key=key)
    with pytest.raises(ValueError, match=r"`out_like`: got .* without entries; expected at least one entry"):
        TreeMLP(P_LIKE, None, width=8, depth=1, key=key)

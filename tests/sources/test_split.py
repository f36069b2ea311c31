"""Parts that cover everything; data with mean zero and deviation one."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from jaxtyping import Array

from sciml.sources import split, standardise


class P(NamedTuple):
    a: Array
    b: Array


@settings(max_examples=10, deadline=None)
@given(st.integers(20, 60), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_contiguous_parts_cover_everything_in_order(count, shares):
    parts = split(np.arange(count), [s / sum(shares) for s in shares])
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(count))
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - count * share / sum(shares)) <= 1


def test_random_parts_cover_everything_and_keep_instances_together(key):
    data = P(jnp.arange(20.0), 10 * jnp.arange(20.0)[:, None])
    parts = split(data, (0.7, 0.15, 0.15), key=key)
    assert [len(part.a) for part in parts] == [14, 3, 3]
    order = np.concatenate([part.a for part in parts])
    np.testing.assert_array_equal(np.sort(order), np.arange(20))
    assert not np.array_equal(order, np.arange(20))
    assert all(np.array_equal(part.b[:, 0], 10 * part.a) and isinstance(part, P) for part in parts)


@pytest.mark.parametrize(
    ("data", "fractions", "match"),
    [
        (jnp.arange(5), (0.5, 0.4), r"`fractions`: got \(0.5, 0.4\); expected positive shares with sum 1"),
        (jnp.arange(5), (1.5, -0.5), r"`fractions`: got .*; expected positive shares"),
        (jnp.arange(5), (), r"`fractions`: got \(\); expected positive shares"),
        (jnp.arange(5), (0.95, 0.05), r"`fractions`: got parts of sizes \[5, 0\]; expected at least one instance"),
        (1.0, (1.0,), r"`data`: got leaves of shapes .*; expected one common leading axis"),
    ],
)
def test_bad_arguments_of_split_are_named(data, fractions, match):
    with pytest.raises(ValueError, match=match):
        split(data, fractions)


def test_standardised_data_has_mean_zero_and_deviation_one(key):
    x = np.asarray(jax.random.normal(key, (50, 3))) * [1.0, 1e6, 1e-6] + [1.0, 2.0, 3.0]
    data = P(np.full(50, 0.1), x)
    maps = standardise(data)
    scaled = eqx.filter_jit(maps.apply)(data)
    scaled = jax.tree.map(np.asarray, scaled)
    # The third column has lost 6 digits to its offset: eps * 3 / 1e-6.
    np.testing.assert_allclose(scaled.b.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(scaled.b.std(0), 1, rtol=1e-9)
    np.testing.assert_allclose(maps.invert(scaled).b, x, rtol=1e-14)
    np.testing.assert_allclose(maps.apply(jax.tree.map(lambda leaf: leaf[3], data)).b, scaled.b[3])  # one instance


def test_constant_columns_are_only_shifted():
    data = np.stack([np.full(7, 0.1), np.arange(7.0)], axis=1)
    maps = standardise(data)
    assert maps.scale[0] == 1 and abs(maps.mean[0] - 0.1) < 1e-16
    np.testing.assert_allclose(maps.apply(data)[:, 0], 0, atol=1e-16)
    assert standardise(np.arange(4)).scale.dtype == jnp.float64  # integers are promoted


def test_float32_data_stays_float32():
    maps = standardise(np.arange(4.0))
    assert maps.apply(jnp.ones(4, jnp.float32)).dtype == jnp.float32


def test_bad_arguments_of_standardise_are_named():
    with pytest.raises(ValueError, match=r"`data\.a`: got NaN or infinity; expected finite numbers"):
        standardise(P(jnp.array([1.0, jnp.nan]), jnp.ones(2)))
    with pytest.raises(ValueError, match=r"`data`: got leaves of shapes .*; expected one common leading axis"):
        standardise(P(jnp.ones(3), jnp.ones(2)))
    maps = standardise(P(jnp.ones(3), jnp.ones(3)))
    with pytest.raises(ValueError, match=r"`data`: got PyTreeDef\(\*\); expected PyTreeDef\(.*P"):
        maps.apply(jnp.ones(3))
    with pytest.raises(ValueError, match=r"`data`: got PyTreeDef\(\*\); expected PyTreeDef\(.*P"):
        maps.invert(jnp.ones(3))

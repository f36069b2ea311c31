"""Smooth stand-ins: close to what they replace, with finite derivatives everywhere."""

import jax
import jax.numpy as jnp
import numpy as np

from sciml.systems import safe_sqrt, smooth_max, smooth_min


def test_safe_sqrt_is_within_its_stated_error():
    x = jnp.linspace(0.0, 1e-4, 2001)
    error = jnp.sqrt(x) - safe_sqrt(x)
    # 0.3003 sqrt(width) is the maximum of sqrt(s) - s / sqrt(s + 1), at s = 0.618
    assert 0.299e-3 < float(jnp.max(error)) < 0.301e-3 and float(jnp.min(error)) >= 0
    np.testing.assert_allclose(safe_sqrt(4.0), 2.0 * (1 - 1e-6 / 8), rtol=1e-12)


def test_safe_sqrt_has_a_continuous_finite_slope():
    slope = jax.vmap(jax.grad(safe_sqrt))(jnp.array([-1.0, -1e-9, 0.0, 1e-12, 1e-9]))
    np.testing.assert_allclose(slope, 1000.0, rtol=2e-3)
    assert float(safe_sqrt(0.0)) == 0 and float(safe_sqrt(-1.0)) == -1000


def test_safe_sqrt_in_float32():
    value, slope = jax.value_and_grad(safe_sqrt)(jnp.float32(0))
    assert value.dtype == slope.dtype == jnp.float32 and np.isfinite(slope)


def test_smooth_extrema_are_on_their_stated_side():
    a = jnp.linspace(-1.0, 1.0, 401)
    up, low = smooth_max(a, 0.0) - jnp.maximum(a, 0), jnp.minimum(a, 0) - smooth_min(a, 0.0)
    for gap in (up, low):
        assert float(jnp.min(gap)) >= 0 and np.isclose(float(jnp.max(gap)), 0.5e-3)
    assert float(jax.grad(smooth_max)(0.0, 0.0)) == 0.5 == float(jax.grad(smooth_min)(0.0, 0.0))

"""Input signals: values between, at and outside the samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.simulation import Cubic, Linear, ZeroOrderHold

TS = jnp.array([0.0, 1.0, 3.0])
US = jnp.array([[0.0], [2.0], [4.0]])


def test_zero_order_hold_is_right_continuous_and_held_outside():
    values = jax.vmap(ZeroOrderHold(TS, US))(jnp.array([-1.0, 0.0, 0.999, 1.0, 2.9, 3.0, 9.0]))
    np.testing.assert_array_equal(values[:, 0], [0, 0, 0, 2, 2, 4, 4])
    np.testing.assert_array_equal(ZeroOrderHold(TS, US).jumps(), [1.0, 3.0])


def test_linear_is_numpys():
    t = jnp.linspace(0.0, 3.0, 13)
    np.testing.assert_allclose(jax.vmap(Linear(TS, US))(t)[:, 0], np.interp(t, TS, US[:, 0]), atol=1e-15)
    assert Linear(TS, US).jumps() is None


def test_cubic_interpolates_with_continuous_slope():
    signal = Cubic(TS, US)
    np.testing.assert_allclose(jax.vmap(signal)(TS), US, atol=1e-14)
    slopes = jax.vmap(jax.jacfwd(signal))(jnp.array([1.0 - 1e-9, 1.0 + 1e-9]))
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-7)
    assert signal.jumps() is None


def test_records_and_integers_are_signals():
    signal = ZeroOrderHold(np.arange(2), {"heat": np.array([1, 2]), "flow": np.array([[0.5], [0.6]])})
    assert float(signal(0.5)["heat"]) == 1.0 and signal(2.0)["flow"].shape == (1,)


@pytest.mark.parametrize("kind", [ZeroOrderHold, Linear, Cubic])
def test_bad_samples_are_named(kind):
    with pytest.raises(ValueError, match=r"`us`: got shape \(2,\); expected \(3, ...\)"):
        kind(TS, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"`ts`: got ts\[0\] = 0.0 and ts\[1\] = 0.0"):
        kind(jnp.zeros(3), US)
    with pytest.raises(ValueError, match=r"`ts`: got shape \(3, 1\)"):
        kind(US, US)

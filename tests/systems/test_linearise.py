"""Linear models against derivatives by hand; 3 CPU-s."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.systems import discretise, Exact, LinearContinuous, LinearDiscrete, linearise, RK4
from sciml.systems.zoo import TwoTank, VanDerPol

A, B, C, D = np.array([[-1.0, 0.3], [0.2, -0.5]]), np.array([[1.0], [0.5]]), np.array([[1.0, 2.0]]), np.array([[3.0]])


def test_a_linear_system_comes_back():
    for system in (LinearContinuous(A, B, C, D), LinearDiscrete(A, B, C, D, dt=0.5)):
        model = linearise(system, np.ones(2), np.ones(1))
        assert type(model) is type(system)
        for name in "ABCD":
            np.testing.assert_allclose(getattr(model, name), getattr(system, name), atol=1e-15)


def test_by_hand_and_through_the_sampling():
    x, u = jnp.array([0.5, -1.0]), jnp.array([0.3])
    model = linearise(VanDerPol(), x, u)
    np.testing.assert_allclose(model.A, [[0.0, 1.0], [-2 * 0.5 * -1.0 - 1, 1 - 0.5**2]], atol=1e-15)
    np.testing.assert_allclose(model.B, [[0.0], [1.0]], atol=1e-15)
    # At an equilibrium, to sample and to linearise commute up to the error of the method.
    rest = (jnp.zeros(2), jnp.zeros(1))
    first = discretise(linearise(VanDerPol(), *rest), Exact(), dt=0.05)
    last = linearise(discretise(VanDerPol(), RK4(), dt=0.05), *rest)
    assert isinstance(last, LinearDiscrete) and last.dt == 0.05
    np.testing.assert_allclose(last.A, first.A, atol=1e-8)
    np.testing.assert_allclose(last.B, first.B, atol=1e-8)


def test_its_derivative_by_a_parameter():
    slope = jax.jacfwd(lambda mu: linearise(VanDerPol(mu), jnp.array([0.5, -1.0]), jnp.zeros(1)).A)(jnp.asarray(1.0))
    np.testing.assert_allclose(slope, [[0.0, 0.0], [1.0, 0.75]], atol=1e-15)


def test_bad_input_is_named(unchecked):
    with pytest.raises(TypeError, match="`system`: got 3"):
        linearise(3, np.zeros(2), np.zeros(1))
    with pytest.raises(ValueError, match=r"`x`: got shape \(\)"):
        linearise(VanDerPol(), 1.0, np.zeros(1))
    with pytest.raises(ValueError, match=r"`u`: got shape \(1, 1\)"):
        linearise(VanDerPol(), np.zeros(2), np.zeros((1, 1)))
    with pytest.raises(ValueError, match=r"`x, u`: got a state \(3,\) and an input \(1,\), on which"):
        linearise(LinearContinuous(A, B), np.zeros(3), np.zeros(1))
    with pytest.raises(ValueError, match=r"`x`: got a state \(1,\) and a change of shape \(2,\)"):
        linearise(TwoTank(), np.ones(1), np.ones(2))

"""Linear systems and their exact sampling against SciPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from sciml.systems import discretise, Exact, LinearContinuous, LinearDiscrete, RK4, zero_order_hold
from sciml.systems.zoo import double_integrator, VanDerPol

A = np.array([[0.0, 1.0, 0.0], [-2.0, -0.3, 0.5], [0.0, 0.0, 0.0]])  # singular: an integrator is inside
B = np.array([[0.0, 0.0], [1.0, -1.0], [0.2, 0.0]])
C = np.array([[1.0, 0.0, 0.0]])


@pytest.mark.parametrize("dt", [0.1, 3.0])
def test_exact_sampling_is_scipys(dt):
    ours = discretise(LinearContinuous(A, B, C), Exact(), dt=dt)
    theirs = scipy.signal.cont2discrete((A, B, C, np.zeros((1, 2))), dt, method="zoh")
    assert isinstance(ours, LinearDiscrete)
    for mine, other in zip((ours.A, ours.B, ours.C, ours.D), theirs, strict=False):
        np.testing.assert_allclose(mine, other, atol=1e-13)


def test_double_integrator_in_closed_form():
    h = 0.4
    sampled = discretise(double_integrator(), Exact(), dt=h)
    np.testing.assert_allclose(sampled.A, [[1, h], [0, 1]], atol=1e-15)
    np.testing.assert_allclose(sampled.B, [[h**2 / 2], [h]], atol=1e-15)


def test_runge_kutta_agrees_with_exact_sampling():
    system, x, u = LinearContinuous(A, B, C), jnp.array([1.0, -1.0, 0.5]), jnp.array([0.3, 0.1])
    fine = discretise(system, RK4(), dt=0.1, substeps=8).step(0.0, x, u)
    # error of RK4 ~ (norm(A) dt)**5 / 120 / 8**4 < 1e-9
    np.testing.assert_allclose(fine, discretise(system, Exact(), dt=0.1).step(0.0, x, u), atol=1e-9)


def test_output_and_autonomous_forms():
    D, x, u = np.array([[1.0, 2.0]]), jnp.array([3.0, 1.0, 1.0]), jnp.array([0.5, 0.25])
    for system in (LinearContinuous(A, B, C, D), LinearDiscrete(A, B, C, D, dt=1.0)):
        np.testing.assert_allclose(system.output(0.0, x, u), [4.0])
        np.testing.assert_allclose(system.output(0.0, x, None), [3.0])
        assert system.input_shape() == (2,)
    np.testing.assert_allclose(LinearContinuous(A, B).vector_field(0.0, x, None), A @ np.asarray(x))
    np.testing.assert_allclose(LinearDiscrete(A, B).step(0.0, x, None), A @ np.asarray(x))


def test_gradient_with_respect_to_dt_is_the_vector_field():
    # d/dt exp(A t) x0 at t = 0.5 equals A x(0.5)
    def run(dt):
        return zero_order_hold(LinearContinuous(A, B), dt=dt).step(0.0, jnp.ones(3), jnp.zeros(2))

    np.testing.assert_allclose(jax.jacfwd(run)(jnp.asarray(0.5)), A @ np.asarray(run(0.5)), atol=1e-12)


def test_a_new_sampling_time_does_not_recompile():
    sample = eqx.filter_jit(
        eqx.debug.assert_max_traces(lambda dt: zero_order_hold(double_integrator(), dt=dt).A, max_traces=1)
    )
    for dt in (0.1, 0.2):
        np.testing.assert_allclose(sample(jnp.asarray(dt))[0, 1], dt)


@pytest.mark.parametrize(
    "arguments, name",
    [
        ((A[:2], B), "`A`: got shape"),
        ((A, B[:2]), "`B`: got shape"),
        ((A, B, C[0]), "`C`: got shape"),
        ((A, B, C, B), "`D`: got shape"),
    ],
)
def test_wrong_shapes_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        LinearContinuous(*arguments)


def test_wrong_requests_are_named():
    with pytest.raises(ValueError, match=r"`dt`: got -1.0; expected a finite number > 0"):
        LinearDiscrete(A, B, dt=-1.0)
    with pytest.raises(TypeError, match=r"`system`: got a VanDerPol; expected a LinearContinuous"):
        discretise(VanDerPol(), Exact(), dt=0.1)
    with pytest.raises(ValueError, match=r"`substeps`: got 2; expected 1 with"):
        discretise(double_integrator(), Exact(), dt=0.1, substeps=2)

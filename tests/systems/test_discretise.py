"""Sampling by a one-step method: truth from SciPy, substeps, implicit methods, dtypes, errors."""

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.systems import AbstractContinuousSystem, discretise, Heun, Midpoint, RK4
from sciml.systems.zoo import VanDerPol

X, U = jnp.array([1.0, -0.5]), jnp.array([0.7])


def reference(dt):
    def rate(t, x):
        return [x[1], (1 - x[0] ** 2) * x[1] - x[0] + 0.7]

    return solve_ivp(rate, (0, dt), np.asarray(X), rtol=1e-12, atol=1e-13).y[:, -1]


@pytest.mark.parametrize("method, tol", [(RK4(), 2e-7), (Heun(), 1e-3), (Midpoint(), 1e-3), (diffrax.Tsit5(), 1e-8)])
def test_one_sample_against_scipy(method, tol):
    step = eqx.filter_jit(discretise(VanDerPol(), method, dt=0.2, substeps=2).step)
    np.testing.assert_allclose(step(jnp.asarray(0.0), X, U), reference(0.2), atol=tol)


def test_substeps_converge_with_the_order_of_the_method():
    errors = [
        np.max(np.abs(discretise(VanDerPol(), RK4(), dt=0.4, substeps=n).step(0.0, X, U) - reference(0.4)))
        for n in (2, 4, 8)
    ]
    rates = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(rates - 4) < 0.5), rates


class Clock(AbstractContinuousSystem):
    """`dx/dt = 3 t**2`, so that a wrong time inside a step shows."""

    def vector_field(self, t, x, u):
        return jnp.broadcast_to(3 * t**2, x.shape)


def test_time_runs_inside_a_sample():
    step = discretise(Clock(), RK4(), dt=0.5, substeps=3).step
    np.testing.assert_allclose(step(1.0, jnp.zeros(1), None), [1.5**3 - 1], rtol=1e-12)


def test_a_failed_implicit_step_is_nan_and_a_good_one_is_close():
    stiff = VanDerPol(50.0)
    good = diffrax.ImplicitEuler(root_finder=diffrax.VeryChord(rtol=1e-8, atol=1e-8))
    x = eqx.filter_jit(discretise(stiff, good, dt=1e-3).step)(0.0, X, U)
    np.testing.assert_allclose(x, X + 1e-3 * stiff.vector_field(0.0, x, U), atol=1e-7)
    bad = diffrax.ImplicitEuler(root_finder=diffrax.VeryChord(rtol=1e-12, atol=1e-12), root_find_max_steps=2)
    assert np.all(np.isnan(eqx.filter_jit(discretise(stiff, bad, dt=10.0).step)(0.0, X, U)))


def test_float32_stays_float32():
    system = discretise(VanDerPol(jnp.float32(1)), RK4(), dt=0.2, substeps=2)
    x = system.step(jnp.asarray(0.0), X.astype(jnp.float32), U.astype(jnp.float32))
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, reference(0.2), atol=1e-6)


def test_output_and_input_shape_are_those_of_the_system():
    system = discretise(VanDerPol(), RK4(), dt=0.2)
    np.testing.assert_array_equal(system.output(0.0, X, U), X)
    assert system.input_shape() == (1,) and discretise(Clock(), RK4(), dt=1.0).input_shape() is None


def test_a_new_sampling_time_does_not_recompile():
    def run(dt):
        return discretise(VanDerPol(), RK4(), dt=dt).step(0.0, X, U)

    traced = eqx.filter_jit(eqx.debug.assert_max_traces(run, max_traces=1))
    assert not np.allclose(traced(jnp.asarray(0.1)), traced(jnp.asarray(0.2)))


@pytest.mark.parametrize("dt, got", [(0.0, "got 0.0"), (float("nan"), "got nan"), (np.ones(2), "an array of shape")])
def test_a_bad_sampling_time_is_named(dt, got):
    with pytest.raises(ValueError, match=f"`dt`: {got}" if got.startswith("got") else f"`dt`: got {got}"):
        discretise(VanDerPol(), RK4(), dt=dt)


def test_bad_methods_and_substeps_are_named():
    with pytest.raises(ValueError, match=r"`substeps`: got 0"):
        discretise(VanDerPol(), RK4(), dt=0.1, substeps=0)


def test_wrong_kinds_are_named():
    door = getattr(discretise, "__wrapped__", discretise)  # in the tests a runtime type checker stands before the door
    plant = discretise(VanDerPol(), RK4(), dt=0.1)
    with pytest.raises(TypeError, match="`system`: got Discretised, in discrete time; expected .* goes into `rollout`"):
        door(plant, RK4(), dt=0.1)
    with pytest.raises(TypeError, match=r"`method`: got <class .*RK4'>; expected `Exact\(\)` or a Diffrax solver"):
        door(VanDerPol(), RK4, dt=0.1)

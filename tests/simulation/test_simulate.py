"""`simulate` against closed forms and SciPy; failures; derivatives; errors."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.core import RESULTS
from sciml.simulation import Linear, simulate, ZeroOrderHold
from sciml.systems import AbstractContinuousSystem, discretise, Heun, LinearContinuous, RK4
from sciml.systems.zoo import VanDerPol

TS = jnp.linspace(0.0, 4.0, 9)
X0 = jnp.array([1.0, 0.0])
HELD = jnp.array([[0.5], [-1.0], [0.3], [0.8], [0.0], [1.0], [-0.4], [0.2], [0.7]])


def reference(signal, breaks=()):
    """SciPy's solution at `TS`, restarted at each break of the signal."""
    x, out = np.asarray(X0), [np.asarray(X0)]
    for a, b in zip(TS[:-1], TS[1:], strict=True):

        def rate(t, x, a=a):
            u = float(signal(a if len(breaks) else t)[0])
            return [x[1], (1 - x[0] ** 2) * x[1] - x[0] + u]

        x = solve_ivp(rate, (float(a), float(b)), x, rtol=1e-10, atol=1e-12).y[:, -1]
        out.append(x)
    return np.stack(out)


@pytest.fixture(scope="module")
def held_truth():
    return reference(ZeroOrderHold(TS, HELD), TS)


def test_adaptive_steps_stop_at_the_jumps(held_truth):
    run = simulate(VanDerPol(), X0, ZeroOrderHold(TS, HELD), ts=TS, method=diffrax.Tsit5())
    np.testing.assert_allclose(run.x, held_truth, atol=2e-5)
    np.testing.assert_array_equal(run.u, HELD)
    np.testing.assert_array_equal(run.y, run.x)
    assert run.result == RESULTS.successful and int(run.lost) == 0 and run.t.shape == (9,)


def test_constant_steps_keep_their_order_under_a_held_input(held_truth):
    errors = []
    for dt in (0.1, 0.05):
        run = simulate(VanDerPol(), X0, ZeroOrderHold(TS, HELD), ts=TS, method=RK4(), dt=dt)
        errors.append(np.max(np.abs(run.x - held_truth)))
    assert errors[1] < 1e-5 and np.log2(errors[0] / errors[1]) > 3.6, errors


def test_linear_and_callable_inputs_agree_with_scipy():
    signal = Linear(TS, HELD)
    truth = reference(lambda t: np.array([np.interp(t, TS, HELD[:, 0])]))
    run = simulate(VanDerPol(), X0, signal, ts=TS, method=diffrax.Tsit5(), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(run.x, truth, atol=1e-6)
    lag = LinearContinuous(-jnp.ones((1, 1)), jnp.ones((1, 1)))
    wave = simulate(lag, jnp.ones(1), lambda t: jnp.sin(t)[None], ts=TS, method=RK4(), dt=0.01)
    np.testing.assert_allclose(wave.x[:, 0], 1.5 * np.exp(-TS) + 0.5 * (np.sin(TS) - np.cos(TS)), atol=1e-9)


def test_float32_runs_with_its_own_tolerances():
    single = VanDerPol(jnp.float32(1))
    run = simulate(single, X0.astype(jnp.float32), None, ts=TS, method=diffrax.Tsit5())
    double = simulate(VanDerPol(), X0, None, ts=TS, method=diffrax.Tsit5())
    assert run.x.dtype == run.t.dtype == jnp.float32 and run.u is None
    np.testing.assert_allclose(run.x, double.x, atol=2e-3)


def end(mu, gain, adjoint=None):
    signal = ZeroOrderHold(TS, gain * HELD)
    return simulate(VanDerPol(mu), X0, signal, ts=TS, method=diffrax.Tsit5(), rtol=1e-8, adjoint=adjoint).x[-1, 0]


def test_gradient_against_differences_and_forward_mode():
    point = (jnp.asarray(1.0), jnp.asarray(0.7))
    reverse = jax.jit(jax.grad(end, (0, 1)))(*point)
    forward = jax.jit(jax.jacfwd(lambda m, g: end(m, g, diffrax.ForwardMode()), (0, 1)))(*point)
    run, h = jax.jit(end), 1e-4
    differences = [
        (run(point[0] + h, point[1]) - run(point[0] - h, point[1])) / (2 * h),
        (run(point[0], point[1] + h) - run(point[0], point[1] - h)) / (2 * h),
    ]
    np.testing.assert_allclose(reverse, differences, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reverse, forward, rtol=1e-5)


class Riccati(AbstractContinuousSystem):
    """`dx/dt = x**2`: infinite at `t = 1 / x0`."""

    def vector_field(self, t, x, u):
        return x**2


class Short(AbstractContinuousSystem):
    """Forgets the derivatives of all states but the first."""

    def vector_field(self, t, x, u):
        return -x[:1]


@pytest.mark.parametrize("dt", [None, 0.05])
def test_a_blow_up_is_held_counted_and_isolated_in_a_batch(dt):
    method = diffrax.Tsit5() if dt is None else RK4()

    def run(x0):
        return simulate(Riccati(), x0, None, ts=TS, method=method, dt=dt, throw=False, max_steps=256)

    runs = jax.vmap(run)(jnp.array([[0.1], [1.0]]))
    assert list(runs.lost > 0) == [False, True]
    np.testing.assert_allclose(runs.x[0, :, 0], 0.1 / (1 - 0.1 * TS), rtol=1e-4)
    bad = jax.tree.map(lambda a: a[1], runs.x)
    kept = len(TS) - int(runs.lost[1])
    assert np.all(np.isfinite(bad)) and np.all(bad[kept:] == bad[kept - 1])
    assert (runs.result != RESULTS.successful).tolist() == [False, True]
    with pytest.raises(RuntimeError, match="maximum number of solver steps" if dt is None else "NaN or infinite"):
        simulate(Riccati(), jnp.ones(1), None, ts=TS, method=method, dt=dt, max_steps=256)


def test_new_data_is_not_traced_again():
    def run(mu, gain, x0, ts):
        signal = ZeroOrderHold(ts, gain * HELD)
        return simulate(VanDerPol(mu), x0, signal, ts=ts, method=Heun(), dt=ts[1] / 8).x[-1]

    traced = eqx.filter_jit(eqx.debug.assert_max_traces(run, max_traces=1))
    first = traced(jnp.asarray(1.0), jnp.asarray(1.0), X0, TS)
    assert not np.allclose(first, traced(jnp.asarray(0.5), jnp.asarray(2.0), 2 * X0, 0.5 * TS))


def test_wrong_kinds_are_named():
    door = getattr(simulate, "__wrapped__", simulate)  # in the tests a runtime type checker stands before the door
    plant = discretise(VanDerPol(), RK4(), dt=0.1)
    with pytest.raises(TypeError, match=r"`system`: got Discretised, in discrete time; expected .*run it by `rollout"):
        door(plant, X0, ts=TS, method=diffrax.Tsit5())
    with pytest.raises(TypeError, match=r"`system`: got <function.*expected a system in continuous time.*subclass"):
        door(lambda t, x, u: x, X0, ts=TS, method=diffrax.Tsit5())
    with pytest.raises(TypeError, match=r"`method`: got <class .*Tsit5.*expected a Diffrax solver.*pass an instance"):
        door(VanDerPol(), X0, ts=TS, method=diffrax.Tsit5)
    with pytest.raises(ValueError, match="`x0`: got None; expected numbers"):
        door(VanDerPol(), None, ts=TS, method=diffrax.Tsit5())
    with pytest.raises(
        ValueError, match=r"`x0, u`: got a state .*shape=\(\).* and no input, on which `vector_field` rai"
    ):
        door(VanDerPol(), 1.0, ts=TS, method=diffrax.Tsit5())
    with pytest.raises(
        ValueError, match=r"(?s)`x0, u`: got .* and an input .*shape=\(\).*VanDerPol.*one entry per input"
    ):
        door(VanDerPol(), X0, lambda t: 0.0, ts=TS, method=diffrax.Tsit5())


def test_wrong_arguments_are_named():
    system, tsit = VanDerPol(), diffrax.Tsit5()
    with pytest.raises(TypeError, match=r"`u`: got a ArrayImpl; expected a function of time.*ZeroOrderHold\(ts, u\)"):
        simulate(system, X0, HELD, ts=TS, method=tsit)
    with pytest.raises(ValueError, match=r"`method`: got RK4, without error estimate.*give `dt`"):
        simulate(system, X0, ts=TS, method=RK4())
    with pytest.raises(ValueError, match=r"`dt`: got -0.1; expected a scalar > 0"):
        simulate(system, X0, ts=TS, method=RK4(), dt=-0.1)
    with pytest.raises(ValueError, match=r"`dt`: got constant steps and a tolerance"):
        simulate(system, X0, ts=TS, method=RK4(), dt=0.1, rtol=1e-3)
    with pytest.raises(ValueError, match=r"`ts`: got ts\[0\] = 4.0 and ts\[1\] = 3.5"):
        simulate(system, X0, ts=TS[::-1], method=tsit)
    with pytest.raises(ValueError, match=r"`ts`: got shape \(\)"):
        simulate(system, X0, ts=1.0, method=tsit)
    with pytest.raises(ValueError, match=r"`system`: got a `vector_field` that returns .*expected .*`x0`"):
        simulate(Short(), jnp.zeros(3), ts=TS, method=tsit)
    with pytest.raises(ValueError, match=r"`x0.*`: got a str"):
        simulate(system, {"level": "high"}, ts=TS, method=tsit)

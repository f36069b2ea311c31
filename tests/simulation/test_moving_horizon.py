"""Moving-horizon estimation: Kalman filter and smoother on linear systems; bad starts; derivatives; errors."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.simulation import (
    estimate_states,
    ExtendedKalmanFilter,
    filter_states,
    Gaussian,
    KalmanFilter,
    MovingHorizon,
    smooth_states,
)
from sciml.sources import record
from sciml.systems import AbstractContinuousSystem, AbstractDiscreteSystem, discretise, LinearDiscrete, RK4
from sciml.systems.zoo import VanDerPol
from tests.laws.registries import cast

A, B, C = np.array([[0.9, 0.3], [-0.2, 0.8]]), np.array([[0.0], [1.0]]), np.array([[1.0, 0.5]])
START = Gaussian(np.array([1.0, -1.0]), np.array([2.0, 1.0]))
NOISES = np.array([0.1, 0.0]), 0.2  # the second state has no process noise
PLANT = LinearDiscrete(A, B, C)


@pytest.fixture(scope="module")
def data() -> Any:
    rng = np.random.default_rng(2)
    y = np.cumsum(rng.normal(size=12)) * 0.5
    y[4] = np.nan
    return record(y=y, u=rng.normal(size=12), dt=1.0)


@pytest.mark.parametrize("horizon", [1, 4])
def test_on_a_linear_system_it_is_the_kalman_filter_for_any_horizon(data, horizon):
    mhe = MovingHorizon(PLANT, *NOISES, START, horizon=horizon, tol=1e-10)
    expected = filter_states(KalmanFilter(PLANT, *NOISES, START), data).filtered.mean
    # Rounding 1e-16 over the regularised root of a singular covariance; the least squares end at 1e-10.
    np.testing.assert_allclose(estimate_states(mhe, data).x, expected, atol=1e-7)


def test_a_window_that_holds_the_whole_record_is_the_smoother(data):
    mhe = MovingHorizon(PLANT, *NOISES, START, horizon=11, tol=1e-10)

    @eqx.filter_jit
    def last_window(mhe: MovingHorizon, data: Any) -> Any:
        def body(window: Any, sample: Any) -> tuple[Any, None]:
            y, u, is_measured = sample
            return mhe.predict(mhe.correct(window, y, u, is_measured), u), None

        inside = jax.tree.map(lambda leaf: leaf[:-1], (data.y, data.u, data.is_measured))
        window, _ = jax.lax.scan(body, mhe.init(), inside)
        return mhe.correct(window, data.y[-1], data.u[-1], data.is_measured[-1])

    window = last_window(mhe, data)
    expected = smooth_states(KalmanFilter(PLANT, *NOISES, START), data).state.mean
    np.testing.assert_allclose(window.states, expected, atol=1e-7)
    assert int(window.last) == 11 and int(window.failed) == 0


class Seen(AbstractContinuousSystem):
    """The van der Pol oscillator seen through a strongly nonlinear sensor of the position."""

    plant: VanDerPol

    def vector_field(self, t, x, u):
        return self.plant.vector_field(t, x, u)

    def output(self, t, x, u):
        return jnp.exp(1.5 * x[:1])

    def input_shape(self):
        return None


@pytest.fixture(scope="module")
def oscillator() -> tuple[AbstractDiscreteSystem, Any, np.ndarray]:
    plant, x, xs = discretise(Seen(VanDerPol()), RK4(), dt=0.2), jnp.array([1.5, 0.5]), []
    step, rng = jax.jit(lambda x: plant.step(0.0, x, None)), np.random.default_rng(0)
    for _ in range(30):
        xs.append(np.asarray(x))
        x = step(x)
    truth = np.stack(xs)
    return plant, record(y=np.exp(1.5 * truth[:, :1]) + 0.02 * rng.normal(size=(30, 1)), dt=0.2), truth


def test_it_recovers_from_a_start_that_the_extended_filter_does_not(oscillator):
    plant, data, truth = oscillator
    noises, start = (1e-4, 4e-4), Gaussian(np.array([0.3, -1.5]), 4.0)
    ekf = estimate_states(ExtendedKalmanFilter(plant, *noises, start), data).x
    mhe = estimate_states(MovingHorizon(plant, *noises, start, horizon=2), data).x
    error = lambda x: np.sqrt(np.mean((np.asarray(x) - truth)[10:] ** 2))
    assert error(mhe) < 0.02 and error(ekf) > 0.1


def test_batch_gradient_and_float32(oscillator):
    plant, data, _ = oscillator
    data = eqx.tree_at(lambda d: (d.t, d.y, d.is_measured), data, (data.t[:4], data.y[:4], data.is_measured[:4]))
    data = eqx.tree_at(lambda d: d.length, data, jnp.asarray(4))

    def last(mean: Any) -> Any:
        mhe = MovingHorizon(plant, 1e-3, 1e-3, Gaussian(mean, 0.1), horizon=2, tol=1e-9)
        return estimate_states(mhe, data).x[-1]

    means = jnp.array([[1.4, 0.6], [1.6, 0.4]])
    both = lambda mean: (jnp.sum(last(mean)), last(mean))
    run = jax.jit(jax.vmap(jax.value_and_grad(both, has_aux=True)))
    (totals, values), slopes = run(jnp.stack([means[0], means[0] + 1e-4, means[0] - 1e-4, means[1]]))
    np.testing.assert_allclose(jnp.sum(slopes[0]), (totals[1] - totals[2]) / 2e-4, rtol=1e-4)
    single = MovingHorizon(plant, 1e-3, 1e-3, Gaussian(means[0], 0.1), horizon=2)
    estimates = estimate_states(cast(single, jnp.float32), data).x
    assert estimates.dtype == jnp.float32
    np.testing.assert_allclose(estimates[-1], values[0], atol=1e-2)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"horizon": 0}, "`horizon`: got 0"),
        ({"horizon": 2, "max_steps": 0}, "`max_steps`: got 0"),
        ({"horizon": 2, "tol": 0.0}, "`tol`: got 0.0"),
    ],
)
def test_bad_input_is_named(unchecked, arguments, match):
    with pytest.raises(ValueError, match=match):
        MovingHorizon(PLANT, *NOISES, START, **arguments)
    with pytest.raises(TypeError, match="VanDerPol, in continuous time"):
        MovingHorizon(VanDerPol(), *NOISES, START, horizon=2)

"""Kalman filters against a NumPy one, dense algebra and SciPy; likelihood gradient; masks; divergence; errors."""

from functools import cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from sciml.core import RESULTS
from sciml.simulation import (
    estimate_states,
    ExtendedKalmanFilter,
    filter_states,
    Gaussian,
    KalmanFilter,
    MovingHorizon,
    smooth_states,
    steady_state,
)
from sciml.sources import record, stack
from sciml.systems import (
    AbstractContinuousSystem,
    AbstractDiscreteSystem,
    discretise,
    LinearContinuous,
    LinearDiscrete,
    RK4,
)
from sciml.systems.models import GreyBox
from sciml.systems.zoo import VanDerPol
from tests.laws.registries import cast

A = np.array([[0.9, 0.2, 0.0], [-0.1, 0.8, 0.3], [0.0, 0.1, 0.7]])
B, D = np.array([[0.0], [1.0], [0.5]]), np.array([[0.2], [0.0]])
C = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, -0.3]])
W = np.diag([0.1, 0.2, 0.0])  # the last state has no process noise
V = np.array([[0.3, 0.1], [0.1, 0.2]])
MEAN, COV = np.array([1.0, -1.0, 0.5]), np.diag([2.0, 1.0, 0.5]) + 0.1
LENGTH = 25


def draw(seed: int = 0, length: int = LENGTH) -> Any:
    """Inputs, and outputs of the model with its noise; some samples are missing."""
    rng = np.random.default_rng(seed)
    u, x, ys = rng.normal(size=(length, 1)), rng.multivariate_normal(MEAN, COV), []
    for k in range(length):
        ys.append(C @ x + D @ u[k] + rng.multivariate_normal(np.zeros(2), V))
        x = A @ x + B @ u[k] + rng.normal(size=3) * np.sqrt(np.diag(W))
    y = np.array(ys)
    y[3, 0] = y[7] = y[12, 1] = np.nan
    return record(y=y, u=u, dt=1.0)


def observer(kind: type = KalmanFilter, scale: Any = 1.0) -> Any:
    return kind(LinearDiscrete(scale * A, B, C, D), W, V, Gaussian(MEAN, COV))


def referee(y: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The textbook filter with the rows of missing samples deleted, in NumPy."""
    x, P, means, covs, total = MEAN, COV, [], [], 0.0
    for k in range(len(y)):
        ok = np.isfinite(y[k])
        H, R, e = C[ok], V[np.ix_(ok, ok)], (y[k] - C @ x - D @ u[k])[ok]
        if ok.any():
            S = H @ P @ H.T + R
            total += scipy.stats.multivariate_normal.logpdf(e, np.zeros(ok.sum()), S)
            K = P @ H.T @ np.linalg.inv(S)
            x, P = x + K @ e, P - K @ S @ K.T
        means.append(x)
        covs.append(P)
        x, P = A @ x + B @ u[k], A @ P @ A.T + W
    return np.array(means), np.array(covs), total


@cache
def compiled(function: Any) -> Any:
    return eqx.filter_jit(function)


def measured(data: Any) -> np.ndarray:
    return np.where(data.is_measured, data.y, np.nan)


def test_the_filter_against_numpy():
    data = draw()
    run = compiled(filter_states)(observer(), data)
    means, covs, total = referee(measured(data), np.asarray(data.u))
    np.testing.assert_allclose(run.filtered.mean, means, atol=1e-12)
    np.testing.assert_allclose(run.filtered.cov, covs, atol=1e-12)
    np.testing.assert_allclose(run.log_likelihood, total, rtol=1e-12)
    np.testing.assert_allclose(run.predicted.mean[1:], means[:-1] @ A.T + data.u[:-1] @ B.T, atol=1e-12)
    assert run.result == RESULTS.successful and np.all(run.innovation[7] == 0.0)


def joint(data: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Means and covariances given everything, and the likelihood, from the joint normal distribution of all states."""
    n, T = 3, LENGTH
    u, y = np.asarray(data.u), measured(data)
    mean, blocks = [MEAN], [COV]
    for k in range(T - 1):
        mean.append(A @ mean[-1] + B @ u[k])
        blocks.append(A @ blocks[-1] @ A.T + W)
    prior = np.zeros((n * T, n * T))
    for i in range(T):
        for j in range(i, T):
            cross = np.linalg.matrix_power(A, j - i) @ blocks[i]
            prior[n * j : n * j + n, n * i : n * i + n], prior[n * i : n * i + n, n * j : n * j + n] = cross, cross.T
    ok = np.isfinite(y).reshape(-1)
    H = np.kron(np.eye(T), C)[ok]
    R = np.kron(np.eye(T), V)[np.ix_(ok, ok)]
    center = np.concatenate(mean)
    e = (y.reshape(-1) - (u @ D.T).reshape(-1))[ok] - H @ center
    S = H @ prior @ H.T + R
    K = prior @ H.T @ np.linalg.inv(S)
    cov = prior - K @ S @ K.T
    covs = np.stack([cov[n * i : n * i + n, n * i : n * i + n] for i in range(T)])
    total = scipy.stats.multivariate_normal.logpdf(e, np.zeros(e.size), S)
    return (center + K @ e).reshape(T, n), covs, total


def test_smoother_and_likelihood_against_the_joint_distribution():
    data = draw()
    run = compiled(smooth_states)(observer(), data)
    means, covs, total = joint(data)
    np.testing.assert_allclose(run.state.mean, means, atol=1e-10)
    np.testing.assert_allclose(run.state.cov, covs, atol=1e-10)
    np.testing.assert_allclose(compiled(filter_states)(observer(), data).log_likelihood, total, rtol=1e-11)


def test_the_extended_filter_is_the_filter_of_a_linear_system():
    data = draw()
    plain, extended = (compiled(filter_states)(observer(kind), data) for kind in (KalmanFilter, ExtendedKalmanFilter))
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(extended), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def likelihood(theta: Any, data: Any) -> Any:
    system = LinearDiscrete(theta["scale"] * A, B, C, D)
    start = Gaussian(theta["mean"], theta["start"] * COV)
    return filter_states(
        KalmanFilter(system, jnp.exp(theta["process"]), theta["noise"] * V, start), data
    ).log_likelihood


def test_likelihood_gradient_against_differences_in_both_modes():
    theta = {
        "scale": jnp.asarray(0.95),
        "process": jnp.log(jnp.asarray([0.1, 0.2, 0.05])),
        "noise": jnp.asarray(1.1),
        "mean": jnp.asarray(MEAN),
        "start": jnp.asarray(0.8),
    }
    data = draw()
    value = compiled(likelihood)
    gradient = compiled(jax.grad(likelihood))(theta, data)
    forward = compiled(jax.jacfwd(likelihood))(theta, data)
    for name in theta:
        np.testing.assert_allclose(gradient[name], forward[name], rtol=1e-9)
        ends = [value({**theta, name: theta[name] + h}, data) for h in (1e-5, -1e-5)]
        # h² f''' of a value of about 70, and rounding 1e-14 / h
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, jnp.sum(gradient[name]), rtol=1e-6)


def test_a_batch_of_unequal_records_is_the_loop():
    parts = [draw(1, 25), draw(2, 14)]
    batch = compiled(jax.vmap(lambda data: filter_states(observer(), data)))(stack(parts))
    smooth = compiled(jax.vmap(lambda data: smooth_states(observer(), data)))(stack(parts))
    for i, part in enumerate(parts):
        n, one, state = len(part.t), filter_states(observer(), part), smooth_states(observer(), part).state
        np.testing.assert_allclose(batch.filtered.mean[i, :n], one.filtered.mean, atol=1e-12)
        np.testing.assert_allclose(batch.log_likelihood[i], one.log_likelihood, rtol=1e-12)
        np.testing.assert_allclose(smooth.state.cov[i, :n], state.cov, atol=1e-12)
    # The padding keeps the last belief.
    np.testing.assert_array_equal(batch.filtered.mean[1, 14:], np.broadcast_to(batch.filtered.mean[1, 13], (11, 3)))


def test_float32_is_sound_where_the_measurement_is_accurate():
    """A ratio of 1e6 between prior and measurement variance: `(I - K H) P` loses positive variances in float32."""
    system = LinearDiscrete(np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]]), np.array([[1.0, 0.0]]))
    make = lambda dtype: cast(KalmanFilter(system, 1e-6, 1e-4, Gaussian(np.array([0.0, 0.0]), 1e2)), dtype)
    data = record(y=np.sin(0.1 * np.arange(60)), u=np.zeros(60), dt=1.0)
    single, double = (filter_states(make(dtype), data) for dtype in (jnp.float32, jnp.float64))
    assert single.filtered.mean.dtype == single.log_likelihood.dtype == jnp.float32
    assert np.all(np.linalg.eigvalsh(np.asarray(single.filtered.cov, float)) > 0)
    np.testing.assert_allclose(single.filtered.mean, double.filtered.mean, atol=2e-3)
    np.testing.assert_allclose(single.log_likelihood, double.log_likelihood, rtol=1e-3)
    state = smooth_states(make(jnp.float32), data).state
    # `P⁺ λ` cancels where the start is almost unknown: the first velocity has a standard deviation of 10 beforehand.
    np.testing.assert_allclose(state.mean, smooth_states(make(jnp.float64), data).state.mean, atol=5e-3)


def test_the_steady_state_is_scipys_and_the_limit_of_the_filter():
    steady = steady_state(observer())
    P = scipy.linalg.solve_discrete_are(A.T, C.T, W, V)
    np.testing.assert_allclose(steady.start.cov, P, atol=1e-12)
    np.testing.assert_allclose(steady.gain, P @ C.T @ np.linalg.inv(C @ P @ C.T + V), atol=1e-12)
    rng = np.random.default_rng(0)
    data = record(y=rng.normal(size=(150, 2)), u=np.zeros(150), dt=1.0)
    exact, constant = estimate_states(observer(), data).x, estimate_states(steady, data).x
    np.testing.assert_allclose(constant[-1], exact[-1], atol=1e-9)
    gains = lambda s: steady_state(KalmanFilter(LinearDiscrete(s * A, B, C, D), W, V, Gaussian(MEAN, COV))).gain
    ends = [gains(1.0 + h) for h in (1e-6, -1e-6)]
    np.testing.assert_allclose(jax.jacfwd(gains)(1.0), (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-8)


@pytest.fixture(scope="module")
def oscillator() -> tuple[Any, Any, Any]:
    """A van der Pol oscillator whose position is measured with noise: observer, record and true states."""

    plant = discretise(Seen(), RK4(), dt=0.1)
    x, xs, rng = jnp.array([1.5, -0.5]), [], np.random.default_rng(1)
    for _ in range(80):
        xs.append(x)
        x = plant.step(0.0, x, None)
    truth = np.stack(xs)
    data = record(y=truth[:, :1] + 0.05 * rng.normal(size=(80, 1)), dt=0.1)
    return ExtendedKalmanFilter(plant, 1e-6, 0.05**2, Gaussian(np.array([1.0, 0.0]), 1.0)), data, truth


class Seen(AbstractContinuousSystem):
    """The van der Pol oscillator of which the position is seen, without input."""

    def vector_field(self, t, x, u):
        return VanDerPol().vector_field(t, x, u)

    def output(self, t, x, u):
        return x[:1]


def test_the_extended_filter_finds_the_velocity(oscillator):
    ekf, data, truth = oscillator
    run, smooth = filter_states(ekf, data), smooth_states(ekf, data)
    errors = np.abs(run.filtered.mean - truth)
    assert np.max(errors[30:]) < 0.1 and np.max(np.abs(smooth.state.mean - truth)[30:]) < 0.06
    # Normalised innovations of a right model have unit variance: 80 samples, ± 4 standard deviations
    white = run.innovation[:, 0] ** 2 / run.innovation_cov[:, 0, 0]
    assert abs(np.mean(white[10:]) - 1.0) < 4 * np.sqrt(2 / 70)
    np.testing.assert_allclose(estimate_states(ekf, data).x, run.filtered.mean, atol=1e-12)


def test_a_grey_box_model_that_does_not_tell_its_inputs():
    def decay(p, network, t, x, u):
        return -p["rate"] * x + u

    plant = discretise(GreyBox(decay, {"rate": jnp.asarray(0.5)}), RK4(), dt=1.0)
    data = record(y=np.ones(6), u=np.ones(6), dt=1.0)
    arguments = (plant, 0.1, 0.2, ONE)
    with pytest.raises(ValueError, match="`start`: got .* `inputs=`"):
        ExtendedKalmanFilter(*arguments)
    linear = LinearDiscrete(np.exp([[-0.5]]), (1 - np.exp([[-0.5]])) / 0.5)
    expected = estimate_states(KalmanFilter(linear, 0.1, 0.2, ONE), data).x
    for kind in (ExtendedKalmanFilter(*arguments, inputs=1), MovingHorizon(*arguments, horizon=2, inputs=1)):
        np.testing.assert_allclose(estimate_states(kind, data).x, expected, atol=1e-3)  # the error of RK4


def test_a_filter_that_diverges_is_a_value():
    explosive = LinearContinuous(np.eye(1) * 1e3, np.zeros((1, 1)))
    plant = discretise(explosive, RK4(), dt=1.0)  # a factor of 4e10 per step
    ekf = ExtendedKalmanFilter(plant, 1.0, 1.0, Gaussian(np.array([1.0]), 1.0))
    data = record(y=np.where(np.arange(60) > 1, np.nan, 1.0), u=np.zeros(60), dt=1.0)
    run, smooth = filter_states(ekf, data), smooth_states(ekf, data)
    assert run.result == RESULTS.diverged and smooth.result == RESULTS.diverged and run.log_likelihood == -np.inf
    kept = estimate_states(ekf, data)
    assert kept.result == RESULTS.diverged
    for leaf in jax.tree.leaves((run.filtered, run.innovation, run.innovation_cov, smooth.state, kept.x)):
        assert np.all(np.isfinite(leaf))


def test_new_records_and_covariances_do_not_recompile():
    once = eqx.filter_jit(eqx.debug.assert_max_traces(lambda f, data: filter_states(f, data), max_traces=1))
    for seed, scale in ((0, 1.0), (1, 0.9)):
        once(observer(scale=scale), draw(seed))


START = Gaussian(MEAN, COV)


@pytest.mark.parametrize(
    "call, error, match",
    [
        (
            lambda: KalmanFilter(discretise(VanDerPol(), RK4(), dt=0.1), 1.0, 1.0, START),
            TypeError,
            "`system`: got a Disc",
        ),
        (lambda: ExtendedKalmanFilter(VanDerPol(), 1.0, 1.0, START), TypeError, "VanDerPol, in continuous time"),
        (
            lambda: KalmanFilter(LinearDiscrete(A, B, C), np.ones(2), V, START),
            ValueError,
            r"`process`: got shape \(2,\)",
        ),
        (lambda: KalmanFilter(LinearDiscrete(A, B, C), -1.0, V, START), ValueError, "`process`: got variances"),
        (
            lambda: Gaussian(np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]])),
            ValueError,
            "`cov`: got eigenvalue -1; expected",
        ),
        (
            lambda: Gaussian(np.zeros(2), np.array([[1.0, 2.0], [0.0, 1.0]])),
            ValueError,
            "`cov`: got a matrix that is not symm",
        ),
        (
            lambda: filter_states(observer(), record(y=np.ones((9, 2)), u=np.ones(9), dt=0.5)),
            ValueError,
            "`record`: got samples 0.5 to 0.5 apart; expected 1, the sampling time",
        ),
        (
            lambda: estimate_states(observer(), record(y=np.ones((9, 2)), u=np.ones(9), dt=0.5)),
            ValueError,
            "`record`: got samples 0.5 to 0.5 apart",
        ),
        (
            lambda: KalmanFilter(LinearDiscrete(A, B, C), W, 0.0, START),
            ValueError,
            "`measurement`: got .* positive def",
        ),
        (lambda: Gaussian(1.0, 1.0), ValueError, "`mean`: got a scalar"),
        (
            lambda: KalmanFilter(LinearDiscrete(A, B, C), W, V, Gaussian(np.array([0.0, 0.0]), 1.0)),
            ValueError,
            r"`start`: got a mean of shape \(2,\)",
        ),
        (
            lambda: ExtendedKalmanFilter(Scalar(), 1.0, 1.0, Gaussian(np.array([0.0]), 1.0)),
            ValueError,
            "`system`: got a state",
        ),
        (lambda: filter_states(observer(), stack([draw(), draw()])), ValueError, "`record`: got 2 stacked records"),
        (lambda: estimate_states(observer(), stack([draw(), draw()])), ValueError, "`record`: got 2 stacked records"),
        (lambda: filter_states(observer(), record(y=np.ones(9), dt=1.0)), ValueError, "`record`: got 1 outputs"),
        (
            lambda: filter_states(observer(), record(y=np.ones((9, 2)), u=np.ones((9, 2)), dt=1.0)),
            ValueError,
            r"`record`: got inputs of shape \(2,\)",
        ),
        (lambda: filter_states(steady_state(observer()), draw()), TypeError, "`observer`: got SteadyKalmanFilter"),
        (
            lambda: steady_state(KalmanFilter(LinearDiscrete(2 * np.eye(1), np.eye(1), 0 * np.eye(1)), 1.0, 1.0, ONE)),
            ValueError,
            "`observer`: got a filter without steady state",
        ),
    ],
)
def test_bad_input_is_named(unchecked, call, error, match):
    with pytest.raises(error, match=match):
        call()


ONE = Gaussian(np.array([0.0]), 1.0)


class Scalar(AbstractDiscreteSystem):
    """A discrete system whose output is no vector."""

    dt: Any = 1.0

    def step(self, t, x, u):
        return x

    def output(self, t, x, u):
        return x[0]

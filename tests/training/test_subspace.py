"""Subspace identification: exact without noise, consistent with it; the observer; what is refused."""

import numpy as np
import pytest

from sciml.simulation import free_run
from sciml.sources import record, stack
from sciml.systems import LinearDiscrete
from sciml.training import initial_state_encoder, subspace
from sciml.training._subspace import _inside

A = np.array([[0.8, 0.4, 0.0], [-0.4, 0.8, 0.1], [0.0, 0.0, 0.5]])
B = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
C = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]])


def simulated(n, seed, noise=0.0, D=np.zeros((2, 2)), is_free=False):
    rng = np.random.default_rng(seed)
    u = np.zeros((n, 2)) if is_free else rng.normal(size=(n, 2))
    x, y = rng.normal(size=3), np.zeros((n, 2))
    for k in range(n):
        y[k] = C @ x + D @ u[k]
        x = A @ x + B @ u[k]
    return record(y + noise * rng.normal(size=y.shape), None if is_free else u, dt=0.1)


def markov(system, count=12):
    A, B, C = (np.asarray(part) for part in (system.A, system.B, system.C))
    return np.stack([C @ np.linalg.matrix_power(A, k) @ B for k in range(count)])


def test_exact_without_noise_from_ragged_records():
    data = stack([simulated(80, 0), simulated(60, 1)])
    model, stats = subspace(data, 3)
    np.testing.assert_allclose(markov(model.system), markov(LinearDiscrete(A, B, C, dt=0.1)), atol=1e-9)
    assert stats.singular_values[3] < 1e-9 * stats.singular_values[0] and stats.clipped == 0
    assert stats.excited == 20
    assert model.system.dt == pytest.approx(0.1)
    # The observer finds the state: the free run is the record.
    fresh = simulated(40, 2)
    run = free_run(model, fresh)
    np.testing.assert_allclose(run.y, fresh.y[model.start.lag :], atol=1e-4)  # its damping is 1e-6


def test_feedthrough_and_no_input():
    D = np.array([[0.3, 0.0], [0.0, -0.2]])
    model, _ = subspace(simulated(80, 3, D=D), 3, has_feedthrough=True)
    np.testing.assert_allclose(model.system.D, D, atol=1e-9)
    free = stack([simulated(40, seed, is_free=True) for seed in range(4)])
    model, _ = subspace(free, 3)
    eigenvalues = lambda M: np.sort_complex(np.linalg.eigvals(np.asarray(M)))
    np.testing.assert_allclose(eigenvalues(model.system.A), eigenvalues(A), atol=1e-8)


def test_noise_and_missing_samples():
    """2000 samples with a tenth of noise: Markov parameters, of order one, to 0.01."""
    data = simulated(2000, 4, noise=0.1)
    y = np.array(data.y)
    y[100:110] = np.nan
    y[500, 0] = np.nan
    model, _ = subspace(record(y, data.u, dt=0.1), 3)
    np.testing.assert_allclose(markov(model.system), markov(LinearDiscrete(A, B, C, dt=0.1)), atol=0.01)


def test_unstable_estimates_are_moved_inside():
    growing = np.exp(0.05 * np.arange(60.0))
    model, stats = subspace(record(growing, dt=1.0), 1)
    assert stats.clipped == 1 and abs(float(model.system.A[0, 0])) == pytest.approx(0.9995)


def test_slow_stable_poles_stay_where_they_are():
    """A time constant of 10,000 samples, and an integrator."""
    u = np.repeat(np.random.default_rng(0).normal(size=100), 20)
    for pole, clipped, atol in ((0.9999, 0, 1e-6), (1.0, None, 2e-6)):
        y = np.zeros(len(u))
        for k in range(len(u) - 1):
            y[k + 1] = pole * y[k] + 1e-2 * u[k]
        model, stats = subspace(record(y, u, dt=1.0), 1)
        np.testing.assert_allclose(model.system.A, pole, atol=atol)
        assert float(model.system.A[0, 0]) < 1
        assert clipped is None or stats.clipped == clipped


def test_a_defective_estimate_is_shrunk():
    twice = np.array([[1.1, 1.0], [0.0, 1.1]])
    inside, clipped = _inside(twice)
    assert clipped == 2 and np.max(np.abs(np.linalg.eigvals(inside))) < 1


def test_the_observer_of_a_known_system():
    system = LinearDiscrete(A, B, C, dt=0.1)
    data = simulated(30, 5)
    encoder = initial_state_encoder(system, 6)
    draws = np.random.default_rng(5)  # those of `simulated`: inputs first
    draws.normal(size=(30, 2))
    state = draws.normal(size=3)
    for k in range(6):
        state = A @ state + B @ np.asarray(data.u[k])
    np.testing.assert_allclose(encoder(data), state, atol=1e-4)


def test_what_is_refused():
    data = simulated(80, 0)
    with pytest.raises(ValueError, match="`order`: got 0"):
        subspace(data, 0)
    with pytest.raises(ValueError, match="`order`: got order 30 with lag 5, for records of at most 80 samples"):
        subspace(data, 30, lag=5)
    t = np.arange(80.0)
    t[40:] += 0.5
    with pytest.raises(ValueError, match="`data`: got intervals between 1 and 1.5; expected samples that lie evenly"):
        subspace(record(data.y, data.u, t=t), 3)
    rng = np.random.default_rng(0)
    many = record(rng.normal(size=45), rng.normal(size=(45, 3)), dt=1.0)
    assert subspace(many, 1)[0].start.lag == 4  # 38 windows of 32 numbers
    with pytest.raises(ValueError, match=r"`data`: got 26 windows of 20 samples; expected at least 80: 2 lag"):
        subspace(many, 1, lag=10)
    noise, t = rng.normal(size=(100, 1)), np.arange(100.0)
    for u, order, message in (
        (np.ones(100), 1, "`data`: got inputs that excite 1 of 10 directions; expected at least 2"),
        (np.sin(0.3 * t), 3, "`data`: got inputs that excite 2 of 10 directions; expected at least 4"),
        (noise * [1.0, 2.0], 1, "`data`: got 2 inputs of which 1 are independent"),
    ):
        with pytest.raises(ValueError, match=message):
            subspace(record(rng.normal(size=100), u, dt=1.0), order)
    y = np.array(data.y)
    y[::5] = np.nan
    with pytest.raises(ValueError, match="0 windows of 16 samples without a gap"):
        subspace(record(y, data.u, dt=0.1), 3)

"""Output feedback in `rollout`: the separation principle, plants of the zoo, missing samples, noise, memory, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import AbstractPolicy
from sciml.policies import OutputFeedback
from sciml.simulation import (
    estimate_states,
    ExtendedKalmanFilter,
    Gaussian,
    KalmanFilter,
    MovingHorizon,
    rollout,
    steady_state,
)
from sciml.sources import record
from sciml.systems import AbstractContinuousSystem, discretise, Exact, LinearDiscrete, RK4
from sciml.systems.zoo import double_integrator, TwoTank, VanDerPol

FULL = discretise(double_integrator(), Exact(), dt=0.2)
PLANT = LinearDiscrete(FULL.A, FULL.B, np.array([[1.0, 0.0]]), dt=0.2)
GAIN = jnp.array([[-0.8, -1.1]])
START, X0 = Gaussian(np.array([0.0, 0.0]), 1.0), jnp.array([1.0, -0.5])
FILTER = KalmanFilter(PLANT, 1e-3, 1e-2, START)


def feedback(x, w):
    return GAIN @ x


def place(x):
    return x[:1]


def test_against_a_numpy_loop():
    run = rollout(PLANT, OutputFeedback(FILTER, feedback), X0, None, steps=15, observe=place)
    A, B, C = (np.asarray(m) for m in (PLANT.A, PLANT.B, PLANT.C))
    x, guess, P = np.asarray(X0), np.zeros(2), np.eye(2)
    for k in range(15):
        K = P @ C.T / (C @ P @ C.T + 1e-2)
        guess, P = guess + K @ (C @ x - C @ guess), (np.eye(2) - K @ C) @ P
        u = GAIN @ guess
        np.testing.assert_allclose(run.u[k], u, atol=1e-12)
        x, guess, P = A @ x + B @ u, A @ guess + B @ u, A @ P @ A.T + 1e-3 * np.eye(2)
    np.testing.assert_allclose(run.x[-1], x, atol=1e-12)
    # The same estimates as over the record of the run.
    data = record(y=run.y[:-1], u=run.u, dt=0.2)
    np.testing.assert_allclose(jax.vmap(lambda x: GAIN @ x)(estimate_states(FILTER, data).x), run.u, atol=1e-10)


def test_poles_of_loop_and_observer_separate():
    """With the steady gain the loop is linear: its poles are those of `A + B G` and of `A - A K C`."""
    steady = steady_state(FILTER)
    policy = OutputFeedback(steady, feedback)

    def step(both):
        x, guess = both[:2], both[2:]
        memory = (steady.init().__class__(jnp.zeros(()), Gaussian(guess, steady.start.cov)), None)
        u, (after, _) = policy.step(memory, place(x), None, key=None)
        return jnp.concatenate([PLANT.step(0.0, x, u), steady.estimate(after)])

    poles = np.linalg.eigvals(jax.jacfwd(step)(jnp.zeros(4)))
    A, B, C, K = (np.asarray(m) for m in (PLANT.A, PLANT.B, PLANT.C, steady.gain))
    expected = np.concatenate([np.linalg.eigvals(A + B @ np.asarray(GAIN)), np.linalg.eigvals(A - A @ K @ C)])
    np.testing.assert_allclose(np.sort_complex(poles), np.sort_complex(expected), atol=1e-9)


class Position(AbstractContinuousSystem):
    """The van der Pol oscillator with a force, of which the position is seen."""

    def vector_field(self, t, x, u):
        return VanDerPol().vector_field(t, x, u)

    def output(self, t, x, u):
        return x[:1]

    def input_shape(self):
        return (1,)


@pytest.mark.parametrize("kind", ["filter", "window"])
def test_it_stabilises_the_oscillator_from_its_position(kind, key):
    """Feedback linearisation, which needs the velocity, with noise of 0.02 on the position."""
    plant = discretise(Position(), RK4(), dt=0.1)
    noises, start = (1e-5, 4e-4), Gaussian(np.array([1.0, 0.0]), 1.0)
    observer = (
        ExtendedKalmanFilter(plant, *noises, start)
        if kind == "filter"
        else MovingHorizon(plant, *noises, start, horizon=4, tol=1e-6)
    )
    law = lambda x, w: jnp.array([-(1 - x[0] ** 2) * x[1] - 2.0 * x[1]])
    policy = OutputFeedback(observer, law, noise=4e-4 * np.eye(1))
    run = rollout(plant, policy, jnp.array([1.5, 1.0]), None, steps=120, observe=place, key=key)
    assert np.max(np.abs(run.x[-20:])) < 0.1
    unforced = rollout(plant, lambda x, w: jnp.zeros(1), jnp.array([1.5, 1.0]), None, steps=120)
    assert np.max(np.abs(unforced.x[-20:])) > 1.0


class Lower(AbstractContinuousSystem):
    """Two tanks of which the level of the lower one is seen."""

    def vector_field(self, t, x, u):
        return TwoTank().vector_field(t, x, u)

    def output(self, t, x, u):
        return x[1:]

    def input_shape(self):
        return (2,)


class Integral(AbstractPolicy):
    """Proportional-integral control of both levels by pump and valve."""

    def init(self, x0, w):
        return jnp.zeros_like(x0)

    def step(self, state, x, w, *, key):
        state = state + 0.02 * (w - x)
        demand = state + 2.0 * (w - x)
        return jnp.clip(jnp.stack([jnp.sum(demand) / 2 + 0.5, 0.3 + 0.2 * (demand[1] - demand[0])]), 0.0, 1.0), state


def test_tanks_with_missing_samples_and_a_policy_with_memory():
    plant = discretise(Lower(), RK4(), dt=2.0)
    observer = ExtendedKalmanFilter(plant, 1e-6, 1e-5, Gaussian(np.array([0.5, 0.5]), 0.1))
    seen = lambda x: jnp.where(jnp.abs(x[1:] - 0.3) < 0.01, jnp.nan, x[1:])  # a sensor with a dead spot
    references = jnp.broadcast_to(jnp.array([0.5, 0.45]), (150, 2))
    run = rollout(plant, OutputFeedback(observer, Integral()), jnp.array([0.1, 0.05]), references, observe=seen)
    assert np.all(np.isfinite(run.x)) and int(run.lost) == 0
    direct = rollout(plant, Integral(), jnp.array([0.1, 0.05]), references)
    np.testing.assert_allclose(run.x[100:], direct.x[100:], atol=0.01)
    assert np.max(np.abs(run.x[:20] - direct.x[:20])) > 0.02  # before the observer has found the upper level


def test_batch_and_gradient():
    def cost(gain, x0):
        policy = OutputFeedback(FILTER, lambda x, w: gain @ x)
        return jnp.sum(rollout(PLANT, policy, x0, None, steps=10, observe=place).x ** 2)

    x0s = jnp.stack([X0, -X0, 2 * X0])
    slopes = jax.jit(jax.vmap(jax.grad(cost), (None, 0)))(GAIN, x0s)
    value = jax.jit(cost)
    ends = [value(GAIN + h, X0) for h in (1e-5, -1e-5)]
    np.testing.assert_allclose(jnp.sum(slopes[0]), (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def test_bad_input_is_named(unchecked):
    with pytest.raises(ValueError, match=r"`noise`: got shape \(\)"):
        OutputFeedback(FILTER, feedback, noise=0.1)
    with pytest.raises(ValueError, match="`key`: got None"):
        rollout(PLANT, OutputFeedback(FILTER, feedback, 0.1 * np.eye(1)), X0, None, steps=5, observe=place)

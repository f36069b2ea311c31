"""Predictive control in closed loop: exact answers, failures that are told, gradients, the controller of a host."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

from sciml import rollout
from sciml.core import is_successful, RESULTS
from sciml.policies import Controller, MPC, previews
from sciml.programs import OptimalControl
from sciml.solvers import ADMM, InteriorPoint
from sciml.systems import LinearDiscrete

A, B = np.array([[1.0, 0.2], [0.0, 1.0]]), np.array([[0.02], [0.2]])
PLANT = LinearDiscrete(A, B, dt=0.2)
Q, R = np.diag([1.0, 0.1]), np.array([[0.1]])
TAIL = scipy.linalg.solve_discrete_are(A, B, Q, R)
GAIN = np.linalg.solve(R + B.T @ TAIL @ B, B.T @ TAIL @ A)
N = 6
SLOW = np.array([-np.inf, -0.5])  # no faster than 0.5 towards the origin


def advance(x, u, w, p):
    return jnp.asarray(A) @ x + jnp.asarray(B) @ u


def problem(**options):
    """A double integrator that follows a reference of its place, with the exact cost of what comes after."""
    place = lambda w: jnp.stack([w, 0.0 * w])
    stage = lambda x, u, w, p: (x - place(w)) @ Q @ (x - place(w)) + u @ R @ u
    last = lambda x, p: (x - place(p[1][-1])) @ TAIL @ (x - place(p[1][-1]))
    given = dict(initial=lambda p: p[0], exogenous=lambda p: p[1], terminal=last, dt=0.2)
    return OptimalControl(advance, stage, horizon=N, **given, **options)


LIMITED = problem(u_lower=-1.0, u_upper=1.0, x_lower=SLOW)
HARD, SOFT = MPC(LIMITED, jnp.zeros(1)), MPC(LIMITED, jnp.zeros(1), soft_bounds=100.0)
REST, X0 = jnp.zeros((8, N)), jnp.array([1.0, 0.0])


@jax.jit
def hard(x0, w):
    return rollout(PLANT, HARD, x0, w)


@jax.jit
def soft(x0, w):
    return rollout(PLANT, SOFT, x0, w)


def slsqp(x0, w):
    """The first input by SciPy, the states eliminated."""

    def states(u):
        xs = [x0]
        for k in range(N):
            xs.append(A @ xs[-1] + B @ u[k : k + 1])
        return np.array(xs)

    def cost(u):
        xs = states(u)
        off = xs - np.stack([np.append(w, w[-1]), np.zeros(N + 1)], axis=1)
        return sum(e @ Q @ e for e in off[:-1]) + R[0, 0] * np.sum(u**2) + off[-1] @ TAIL @ off[-1]

    limits = {"type": "ineq", "fun": lambda u: states(u)[1:, 1] + 0.5}
    options = dict(bounds=[(-1.0, 1.0)] * N, constraints=limits, options={"ftol": 1e-14, "maxiter": 500})
    return scipy.optimize.minimize(cost, np.zeros(N), method="SLSQP", **options).x[0]


def test_without_limits_it_is_the_linear_quadratic_regulator():
    free = problem()
    run = jax.jit(lambda x0, w: rollout(PLANT, MPC(free, jnp.zeros(1)), x0, w))(X0, REST)
    x = np.array(X0)
    for k in range(8):
        np.testing.assert_allclose(run.u[k], -GAIN @ x, atol=1e-8)
        x = A @ x + B @ run.u[k]
    assert run.report.steps.max() <= 2


def test_limits_and_previews_against_scipy():
    signal = jnp.where(jnp.arange(8) < 3, 0.0, -2.0)
    windows = previews(signal, N)
    np.testing.assert_array_equal(windows[1], [0.0, 0.0, -2.0, -2.0, -2.0, -2.0])
    run = hard(X0, windows)
    assert not run.report.is_fallback.any() and is_successful(run.report.result).all()
    for k in range(8):
        np.testing.assert_allclose(run.u[k, 0], slsqp(np.asarray(run.x[k]), np.asarray(windows[k])), atol=2e-6)
    np.testing.assert_allclose(run.x[:, 1].min(), -0.5, atol=1e-9)
    assert np.abs(run.u).max() <= 1.0


def test_the_shifted_plan_saves_iterations():
    """The second step is as good as solved before it begins: the active set is that of the plan."""
    signal = jnp.full((8, N), -2.0)
    run = hard(X0, signal)
    assert run.report.steps[1:].max() <= 2
    assert run.report.residual.max() < 1e-8


def test_a_batch_is_its_instances():
    x0s = jnp.stack([X0, 0.5 * X0, jnp.array([0.2, 0.3])])
    runs = jax.jit(jax.vmap(hard, in_axes=(0, None)))(x0s, REST)
    for k in range(3):
        np.testing.assert_allclose(runs.x[k], hard(x0s[k], REST).x, atol=1e-10)


def test_pushed_beyond_a_hard_bound_it_falls_back_and_says_so():
    run = hard(jnp.array([1.0, -2.0]), REST)  # the speed cannot return within a step
    assert run.report.is_fallback[0] and not is_successful(run.report.result)[0]
    np.testing.assert_array_equal(run.u[0], [0.0])  # no plan yet: u0
    assert np.isfinite(run.u).all()
    brake = MPC(LIMITED, jnp.zeros(1), fallback=lambda x, w: jnp.ones(1))
    run = jax.jit(lambda x0: rollout(PLANT, brake, x0, REST))(jnp.array([1.0, -2.0]))
    np.testing.assert_array_equal(run.u[0], [1.0])
    assert run.report.is_fallback[0] and not run.report.is_fallback[-1]


def test_soft_bounds_need_no_fallback_and_are_exact_where_they_can_hold():
    pushed = soft(jnp.array([1.0, -2.0]), REST)
    assert not pushed.report.is_fallback.any()
    np.testing.assert_allclose(pushed.u[0], [1.0], atol=1e-7)  # full thrust against the violation
    np.testing.assert_allclose(pushed.report.slack[0], 2.0 - 0.5 - 0.2, atol=1e-7)
    np.testing.assert_allclose(soft(X0, REST).x, hard(X0, REST).x, atol=1e-6)


def test_a_missing_measurement_costs_one_step():
    """Not a number is seen once: the plan goes on, and the next step is solved again."""
    controller = Controller(HARD, X0, REST[0])
    plan = controller(X0, REST[0])
    x = PLANT.step(0.0, X0, plan)
    ahead = controller.memory.plan.u[0]
    blind = controller(jnp.full(2, jnp.nan), REST[0])
    assert controller.report.is_fallback and controller.report.result == RESULTS.nonfinite_start
    np.testing.assert_array_equal(blind, ahead)
    controller(PLANT.step(0.0, x, blind), REST[0])
    assert not controller.report.is_fallback


def test_the_host_controller_is_the_rollout():
    controller, x = Controller(HARD, X0, REST[0]), X0
    run = hard(X0, REST)
    for k in range(8):
        u = controller(x, REST[k])
        np.testing.assert_allclose(u, run.u[k], atol=1e-9)
        x = PLANT.step(0.0, x, u)
    assert controller.seconds is not None and controller.seconds > 0.0
    controller.reset(X0, REST[0])
    assert controller.report is None and bool(controller.memory.is_first)
    with pytest.raises(ValueError, match="`x`: got .*expected .*as `x0`"):
        controller(jnp.zeros(3), REST[0])


def test_real_time_iterations_converge_in_closed_loop():
    eager = MPC(LIMITED, jnp.zeros(1), max_steps=1, real_time=True)
    run = jax.jit(lambda x0: rollout(PLANT, eager, x0, REST))(X0)
    assert not run.report.is_fallback.any() and run.report.steps.max() == 1
    np.testing.assert_allclose(run.x, hard(X0, REST).x, atol=1e-6)  # one iteration solves a quadratic program


def test_gradient_of_the_closed_loop():
    cost = lambda x0: jnp.sum(hard(x0, REST[:4]).x ** 2)
    x0, e = jnp.array([1.0, -0.2]), 1e-5
    differences = [(cost(x0.at[i].add(e)) - cost(x0.at[i].add(-e))) / (2 * e) for i in range(2)]
    np.testing.assert_allclose(jax.grad(cost)(x0), differences, rtol=1e-6)


def test_interior_point_gives_the_same_loop():
    inner = MPC(LIMITED, jnp.zeros(1), solver=InteriorPoint())
    run = jax.jit(lambda x0, w: rollout(PLANT, inner, x0, w))(X0, REST)
    np.testing.assert_allclose(run.x, hard(X0, REST).x, atol=1e-6)


def test_bad_input():
    with pytest.raises(TypeError, match="`problem`: got a function; expected an `OptimalControl`"):
        MPC(advance, jnp.zeros(1))
    with pytest.raises(TypeError, match="`solver`: got ADMM.*expected a solver that starts from a plan"):
        MPC(LIMITED, jnp.zeros(1), solver=ADMM())
    with pytest.raises(ValueError, match="`max_steps`: got 0; expected an integer >= 1"):
        MPC(LIMITED, jnp.zeros(1), max_steps=0)
    with pytest.raises(ValueError, match="`soft`: got a price; expected None: the problem has no path limits"):
        MPC(LIMITED, jnp.zeros(1), soft=1.0)
    with pytest.raises(ValueError, match="`soft_bounds`: got 1.0; expected None: the problem has no bounds on states"):
        MPC(dataclasses.replace(LIMITED, x_lower=None), jnp.zeros(1), soft_bounds=1.0)
    with pytest.raises(ValueError, match="`horizon`: got 0; expected an integer >= 1"):
        previews(jnp.zeros(3), 0)
    with pytest.raises(TypeError, match="`policy`: got .*expected a function"):
        Controller(3.0, X0)

"""Optimal control: both of its programs, its bounds, and the optimum against CasADi and IPOPT."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from sciml.core import RESULTS
from sciml.programs import (
    along_trajectory,
    bounds,
    constraints,
    guess,
    kkt_residual,
    OptimalControl,
    Shooting,
    to_trajectory,
    transcribe,
)
from sciml.solvers import InteriorPoint, solve

N = 8


class Scenario(NamedTuple):
    x0: Array
    reference: Array
    top: Array


def levels(x, u, w, p):
    """Two tanks in a row, one Euler step of 4 s; smooth outflow."""
    flow = lambda level: 0.3 * jnp.sqrt(level + 0.01)
    return x + 0.4 * jnp.stack([u - flow(x[0]), flow(x[0]) - flow(x[1])])


PROBLEM = OptimalControl(
    levels,
    stage=lambda x, u, w, p: (x[1] - w) ** 2 + 0.1 * u**2,
    terminal=lambda x, p: 5.0 * (x[1] - p.reference[-1]) ** 2,
    initial=lambda p: p.x0,
    horizon=N,
    exogenous=lambda p: p.reference,
    path=lambda x, u, w, p: u + x[0] - 1.6,
    x_lower=0.0,
    x_upper=lambda p: jnp.stack([p.top, 2.0 * p.top]),
    u_lower=0.0,
    u_upper=1.0,
    dt=4.0,
)
SCENARIO = Scenario(jnp.array([0.4, 0.2]), jnp.linspace(0.4, 0.7, N), jnp.asarray(0.9))


@pytest.fixture(scope="module")
def solution():
    program = transcribe(PROBLEM)
    z0 = guess(PROBLEM, jnp.full(N, 0.2), SCENARIO)
    return jax.jit(lambda p: solve(program, InteriorPoint(), z0, p, throw=False))(SCENARIO)


def referee() -> tuple[float, np.ndarray]:
    """The same problem, written in CasADi and solved by IPOPT."""
    casadi = pytest.importorskip("casadi")
    x, u = casadi.SX.sym("x", 2, N + 1), casadi.SX.sym("u", N)
    ref, cost, rows = np.linspace(0.4, 0.7, N), 0.0, [x[:, 0] - np.array([0.4, 0.2])]
    flow = lambda level: 0.3 * casadi.sqrt(level + 0.01)
    for k in range(N):
        cost += (x[1, k] - ref[k]) ** 2 + 0.1 * u[k] ** 2
        change = casadi.vertcat(u[k] - flow(x[0, k]), flow(x[0, k]) - flow(x[1, k]))
        rows.append(x[:, k + 1] - x[:, k] - 0.4 * change)
    cost += 5.0 * (x[1, N] - ref[-1]) ** 2
    path = u + x[0, :N].T - 1.6
    w = casadi.vertcat(casadi.vec(x), u)
    g = casadi.vertcat(*rows, path)
    options = {"ipopt.print_level": 0, "print_time": 0, "ipopt.sb": "yes", "ipopt.tol": 1e-10}
    solver = casadi.nlpsol("s", "ipopt", {"x": w, "f": cost, "g": g}, options)
    n_eq = 2 * (N + 1)
    low = np.r_[-np.inf, -np.inf, np.zeros(2 * N), np.zeros(N)]
    high = np.r_[np.inf, np.inf, np.tile([0.9, 1.8], N), np.ones(N)]
    out = solver(x0=0.3, lbx=low, ubx=high, lbg=np.r_[np.zeros(n_eq), np.full(N, -np.inf)], ubg=0.0)
    return float(out["f"]), np.asarray(out["x"]).ravel()[-N:]


def test_optimum_is_that_of_ipopt(solution):
    cost, u = referee()
    assert solution.result == RESULTS.successful
    assert float(transcribe(PROBLEM).objective(solution.value, SCENARIO)) == pytest.approx(cost, abs=1e-6)
    # The last input acts on nothing but its own cost: 0.1 u² is flat at its bound, where barriers stop at √μ.
    np.testing.assert_allclose(solution.value.u, u, atol=1e-3)
    residual = kkt_residual(transcribe(PROBLEM), solution.value, solution.duals, SCENARIO)
    assert float(residual.largest) <= 1e-7


def test_both_programs_have_one_cost_and_agree_on_feasibility(solution):
    along = along_trajectory(PROBLEM)
    run = to_trajectory(PROBLEM, guess(PROBLEM, solution.value.u, SCENARIO), SCENARIO)
    cost = transcribe(PROBLEM).objective(solution.value, SCENARIO)
    assert float(along.objective(run, SCENARIO)) == pytest.approx(float(cost), abs=1e-7)
    limits = along.ineq(run, SCENARIO)
    assert max(float(jnp.max(v)) for v in jax.tree.leaves(limits)) <= 1e-6
    assert limits.path.shape == (N,) and limits.x_upper.shape == (N, 2) and limits.terminal == ()
    tight = along_trajectory(PROBLEM, tighten=0.1).ineq(run, SCENARIO)
    np.testing.assert_allclose(tight.u_upper, limits.u_upper + 0.1)
    np.testing.assert_allclose(run.t, 4.0 * np.arange(N + 1))
    np.testing.assert_array_equal(run.x[0], SCENARIO.x0)


class State(NamedTuple):
    position: Array
    flow: Array


def with_bounds(lower, upper, horizon=2):
    """A problem whose state has two entries, as many as there are steps: broadcasting must not confuse the two."""
    return OptimalControl(
        lambda x, u, w, p: State(x.position + u, x.flow),
        stage=lambda x, u, w, p: jnp.sum(x.position**2) + u**2,
        initial=lambda p: State(jnp.zeros(2), jnp.zeros(())),
        horizon=horizon,
        x_lower=lower,
        x_upper=upper,
    )


@pytest.mark.parametrize(
    ("bound", "position", "flow"),
    [
        (1.0, [[1, 1], [1, 1]], [1, 1]),
        (1, [[1, 1], [1, 1]], [1, 1]),
        (State(jnp.array([1.0, 2.0]), None), [[1, 2], [1, 2]], [np.inf, np.inf]),
        (State(3.0, 4.0), [[3, 3], [3, 3]], [4, 4]),
        (State(None, jnp.array([1.0, 2.0])), [[np.inf] * 2] * 2, [1, 2]),
        (lambda p: State(p, 2 * p), [[5, 5], [5, 5]], [10, 10]),
        (None, [[np.inf] * 2] * 2, [np.inf, np.inf]),
    ],
    ids=["number", "integer", "vector", "record", "over time", "function", "none"],
)
def test_bounds_of_every_form(bound, position, flow):
    problem, p = with_bounds(None, bound), jnp.asarray(5.0)
    z = guess(problem, jnp.ones(2), p)
    _, high = bounds(transcribe(problem), z, p)
    np.testing.assert_array_equal(high.x.position, position)
    np.testing.assert_array_equal(high.x.flow, flow)
    assert np.all(np.isinf(high.u))
    limits, _ = constraints(along_trajectory(problem), to_trajectory(problem, z, p), p)
    for name, expected in (("position", position), ("flow", flow)):
        excess = getattr(limits.x_upper, name, ()) if bound is not None else ()
        if isinstance(excess, tuple):
            assert np.all(np.isinf(expected))
        else:
            value = np.where(np.isinf(expected), -1.0, np.asarray(getattr(z.x, name)) - np.asarray(expected))
            np.testing.assert_array_equal(excess, value)


def test_terminal_constraints_reach_both_programs():
    problem = OptimalControl(
        lambda x, u, w, p: x + u,
        stage=lambda x, u, w, p: u**2,
        initial=lambda p: p,
        horizon=3,
        terminal_eq=lambda x, p: x - 3.0,
        terminal_ineq=lambda x, p: x - 4.0,
    )
    p = jnp.asarray(0.0)
    z = guess(problem, jnp.ones(3), p)
    for program, decision in ((transcribe(problem), z), (along_trajectory(problem), to_trajectory(problem, z, p))):
        g, h = constraints(program, decision, p)
        np.testing.assert_allclose(jnp.concatenate([jnp.ravel(v) for v in jax.tree.leaves(h)]), 0.0)
        assert -1.0 in [float(v) for v in jax.tree.leaves(g) if v.ndim == 0]


def test_decisions_of_another_horizon_or_program_are_named(solution):
    run, shooting = to_trajectory(PROBLEM, solution.value, SCENARIO), solution.value
    cut = lambda tree, n: jax.tree.map(lambda v: v[:n], tree)
    for program, decision, name, need in (
        (transcribe(PROBLEM), Shooting(cut(shooting.x, 5), cut(shooting.u, 5)), "z.x", N),
        (transcribe(PROBLEM), Shooting(shooting.x, cut(shooting.u, 5)), "z.u", N),
        (along_trajectory(PROBLEM), dataclasses.replace(run, u=cut(run.u, 5)), "z.u", N),
    ):
        with pytest.raises(ValueError, match=rf"`{name}`: got shape \(5.*; expected a leading axis of {need}.*horizon"):
            program.objective(decision, SCENARIO)
    with pytest.raises(TypeError, match="`z`: got a Trajectory; expected a `Shooting`.*use `along_trajectory"):
        transcribe(PROBLEM).objective(run, SCENARIO)
    with pytest.raises(TypeError, match="`z`: got a Shooting; expected a `Trajectory`.*give what `rollout` returns"):
        along_trajectory(PROBLEM).ineq(shooting, SCENARIO)
    short = SCENARIO._replace(reference=SCENARIO.reference[:3])
    with pytest.raises(ValueError, match=r"`exogenous`: got shape \(3,\); expected a leading axis of 8, the horizon"):
        along_trajectory(PROBLEM).objective(run, short)


@pytest.mark.parametrize("name", ["dynamics", "stage", "initial", "terminal", "path", "terminal_ineq", "terminal_eq"])
def test_functions_that_return_none_are_named(name):
    u, x0 = jnp.zeros(2), jnp.asarray(0.0)
    functions = {"dynamics": lambda x, u, w, p: x + u, "stage": lambda x, u, w, p: u**2, "initial": lambda p: p}
    z = guess(OptimalControl(**functions, horizon=2), u, x0)
    problem = OptimalControl(**functions | {name: lambda *_: None}, horizon=2)
    with pytest.raises(ValueError, match=rf"`{name}`: got a function that returned None; expected numbers"):
        solve(transcribe(problem), InteriorPoint(), z, x0)
    if name not in ("dynamics", "initial"):
        with pytest.raises(ValueError, match=rf"`{name}`: got a function that returned None; expected numbers"):
            run = to_trajectory(OptimalControl(**functions, horizon=2), z, x0)
            along = along_trajectory(problem)
            along.objective(run, x0), constraints(along, run, x0)


def test_horizon_must_be_positive():
    with pytest.raises(ValueError, match="`horizon`: got 0; expected at least one step"):
        with_bounds(None, None, horizon=0)

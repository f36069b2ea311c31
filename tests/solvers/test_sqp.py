"""Sequential quadratic programming on predictive control and on programs with a known answer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful, RESULTS
from sciml.programs import guess, OptimalControl, Program, QuadraticProgram, transcribe
from sciml.solvers import InteriorPoint, KKTAdjoint, Smoothed, solve, SQP

N = 8


def pendulum(x, u, w, p):
    """Angle [rad] and rate [rad/s] after 0.1 s under a torque, with a damping."""
    rate = x[1] + 0.1 * (9.81 * jnp.sin(x[0]) - p["damping"] * x[1] + u[0])
    return jnp.stack([x[0] + 0.1 * rate, rate])


CONTROL = OptimalControl(
    dynamics=pendulum,
    stage=lambda x, u, w, p: 10.0 * x[0] ** 2 + 0.1 * x[1] ** 2 + 0.01 * u[0] ** 2,
    terminal=lambda x, p: 100.0 * x[0] ** 2 + x[1] ** 2,
    initial=lambda p: p["x0"],
    path=lambda x, u, w, p: {"power": x[1] * u[0] - p["power"]},
    terminal_eq=lambda x, p: x[1:] - 0.1 * x[:1],
    horizon=N,
    u_lower=-8.0,
    u_upper=8.0,
)
PROGRAM = transcribe(CONTROL)
P = {"x0": jnp.array([0.5, 0.0]), "damping": jnp.asarray(0.3), "power": jnp.asarray(4.0)}


WEIGHTS = jnp.array([1.0, -2.0, 0.5])


def from_a_guess(p, warm=None):
    return solve(PROGRAM, SQP(), guess(CONTROL, jnp.zeros((N, 1)), p), p, warm=warm, throw=False)


@jax.jit
def with_slopes(p):
    """The derivatives of some inputs of the plan, and the plan: one function, compiled once for all tests of it."""

    def weighted(p):
        solution = from_a_guess(p)
        return WEIGHTS @ solution.value.u[2:5, 0], solution

    return jax.grad(weighted, has_aux=True)(p)


def sqp(p):
    return with_slopes(p)[1]


@jax.jit
def interior(p):
    return solve(PROGRAM, InteriorPoint(tol=1e-10), guess(CONTROL, jnp.zeros((N, 1)), p), p, throw=False)


def test_agrees_with_interior_point_on_control():
    one, two = sqp(P), interior(P)
    assert bool(is_successful(one.result)) and bool(is_successful(two.result))
    np.testing.assert_allclose(one.value.u, two.value.u, atol=1e-6)
    np.testing.assert_allclose(one.duals.ineq[0]["power"], two.duals.ineq[0]["power"], atol=1e-5)
    np.testing.assert_allclose(one.duals.eq[0], two.duals.eq[0], atol=1e-5)
    assert one.stats.residual.largest <= 1e-8
    assert np.max(np.abs(one.value.u)) == pytest.approx(8.0)  # a bound is active
    assert np.max(one.duals.ineq[0]["power"]) > 1e-3  # and so is a path limit


def test_derivative_of_control_against_differences_and_a_dense_solve():
    """By Riccati recursion, against central differences and against the same program without its structure."""
    slopes, solution = with_slopes(P)
    h = 1e-5
    for name in ("damping", "power"):
        step = lambda d, name=name: WEIGHTS @ sqp({**P, name: P[name] + d}).value.u[2:5, 0]
        assert float(slopes[name]) == pytest.approx(float(step(h) - step(-h)) / (2 * h), rel=1e-5, abs=1e-7)
    dense = Program(PROGRAM.objective, PROGRAM.ineq, PROGRAM.eq, PROGRAM.lower, PROGRAM.upper)
    start = solution.value
    value = lambda p: WEIGHTS @ solve(dense, InteriorPoint(tol=1e-10), start, p, throw=False).value.u[2:5, 0]
    other = jax.jit(jax.grad(value))(P)
    np.testing.assert_allclose(slopes["x0"], other["x0"], rtol=1e-5, atol=1e-7)


def test_warm_start_and_real_time_iteration():
    cold = sqp(P)
    near = {**P, "x0": P["x0"] + jnp.array([0.003, -0.01])}
    warm, fresh = jax.jit(from_a_guess)(near, cold.state), sqp(near)
    assert warm.stats.steps < fresh.stats.steps
    assert warm.state.inner < fresh.state.inner
    np.testing.assert_allclose(warm.value.u, fresh.value.u, atol=1e-6)
    once = solve(PROGRAM, SQP(), cold.value, near, warm=cold.state, max_steps=1, throw=False)
    assert once.result == RESULTS.max_steps_reached
    # One iteration leaves an error of second order in the change.
    assert np.max(np.abs(once.value.u - fresh.value.u)) < 0.05 * np.max(np.abs(cold.value.u - fresh.value.u))


def test_quadratic_program_takes_one_step():
    program = QuadraticProgram(np.diag([1.0, 2.0]), [-3.0, 1.0], G=[[1.0, 1.0]], h=[1.0], lower=-1.0)
    solution = solve(program, SQP(), jnp.zeros(2))
    np.testing.assert_allclose(solution.value, [2.0, -1.0], atol=1e-9)
    assert solution.stats.steps == 2  # the second finds that nothing is left to do


def build(k):
    """Several programs in two variables in one, by their number."""
    circle = lambda z: z[0] ** 2 + z[1] ** 2
    costs = [
        lambda z: -z[0] - z[1],  # on the unit circle: (1, 1) / √2
        lambda z: circle(z) + 0 * z[0],  # no point in both: infeasible
        lambda z: (1 - z[0]) ** 2 + 100 * (z[1] - z[0] ** 2) ** 2,  # Rosenbrock, outside the unit circle
        lambda z: z[0] + jnp.log(z[1]),  # logarithm of a negative number at the start
        lambda z: z[1] ** 2 - z[0],  # falls without end
    ]
    limits = [
        lambda z: jnp.stack([circle(z) - 1.0, -1.0 + 0 * z[0]]),
        lambda z: jnp.stack([circle(z) - 1.0, 2.0 - z[0]]),
        lambda z: jnp.stack([1.0 - circle(z), -1.0 + 0 * z[0]]),
        lambda z: jnp.stack([circle(z) - 1.0, -1.0 + 0 * z[0]]),
        lambda z: jnp.stack([-z[0], z[1] - 1.0]),
    ]
    return Program(lambda z, k: jax.lax.switch(k, costs, z), ineq=lambda z, k: jax.lax.switch(k, limits, z))


def test_answers_and_failures_side_by_side():
    starts = np.array([[0.1, 0.3], [0.1, 0.3], [1.2, 1.3], [0.1, -0.3], [0.2, 0.1]])
    elsewhere = np.random.default_rng(0).uniform(-3, 3, (27, 2))
    which = np.concatenate([np.arange(5), np.full(27, 1)])
    one = lambda k, z0: solve(build(k), SQP(), z0, k, throw=False)
    solution = jax.jit(jax.vmap(one))(which, np.concatenate([starts, elsewhere]))
    wanted = [RESULTS.successful, RESULTS.infeasible, RESULTS.successful, RESULTS.nonfinite_start]
    wanted += [RESULTS.unbounded] + [RESULTS.infeasible] * 27
    assert [int(v) for v in solution.result._value] == [int(r._value) for r in wanted]
    np.testing.assert_allclose(solution.value[0], np.sqrt([0.5, 0.5]), atol=1e-7)
    np.testing.assert_allclose(solution.value[2], [1.0, 1.0], atol=1e-6)
    assert np.all(np.isfinite(solution.value))


def test_units_of_the_decision():
    def cost(z, p):
        u = z / p
        return -u[0] * u[1] - u[1] * u[2] + 0.1 * jnp.sum(u**4)

    def ineq(z, p):
        u = z / p
        return jnp.stack([jnp.sum(u**2) - 3.0, u[0] * u[2] - 0.5])

    program = Program(cost, ineq=ineq, lower=lambda p: 0.0 * p, upper=lambda p: 2.0 * p)
    start = jnp.array([1.0, 0.5, 0.2])
    one = lambda p: solve(program, SQP(), start * p, p, throw=False)
    units = jnp.array([[1.0, 1.0, 1.0], [1e5, 1e-3, 1.0], [1e6, 1e-5, 10.0], [3e-4, 1e4, 1e2]])
    solution = jax.jit(jax.vmap(one))(units)
    assert np.all(is_successful(solution.result))
    np.testing.assert_allclose(solution.value / units, np.tile(solution.value[0], (4, 1)), atol=1e-6)
    assert int(np.max(solution.stats.steps)) <= 1.5 * int(solution.stats.steps[0])


@pytest.mark.parametrize("kind", ["ineq", "eq"])
def test_units_of_the_objective_and_the_rows(kind):
    # Neither large gradients nor small ones cost iterations, of the quadratic programs neither.
    cost = lambda z, p: p[0] * (jnp.exp(z[0]) + 10.0 * (z[1] - z[0] ** 2) ** 2 + z[2] ** 2)
    excess = lambda z: z[0] + 2.0 * z[1] + 3.0 * z[2] - 4.0 + 0.1 * z[0] ** 3
    row = lambda z, p: p[1] * (excess(z) if kind == "eq" else -excess(z))
    program = Program(cost, **{kind: row})
    one = lambda p: solve(program, SQP(), jnp.array([1.0, 2.0, -1.0]), p, throw=False)
    units = jnp.array([[1.0, 1.0], [1e6, 1.0], [1.0, 1e6], [1e-3, 1e6], [1e3, 1e-1]])
    solution = jax.jit(jax.vmap(one))(units)
    assert np.all(is_successful(solution.result))
    np.testing.assert_allclose(solution.value, np.tile(solution.value[0], (5, 1)), atol=1e-4)
    assert np.max(solution.stats.steps) <= solution.stats.steps[0] + 2
    # XLA rounds by the processor's instructions: 20 passes with SSE4.2, 21 with AVX2; the first instance takes 10.
    assert np.max(solution.state.inner) <= 2 * solution.state.inner[0] + 1


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_a_large_entry_beside_negative_curvature(dtype):
    cost = lambda z, p: 0.5 * (z[0] - p[0]) ** 2 + (z[1] ** 2 - 1.0) ** 2
    program = Program(cost, upper=lambda p: p[1] * jnp.ones(2, dtype))
    one = lambda p, z0: solve(program, SQP(), z0, p, throw=False)
    large = np.array([1.0, 1e3, 1e4] if dtype == jnp.float32 else [1.0, 1e4, 1e7])
    targets = np.concatenate([np.stack([large, 2 * large + 2], 1), np.stack([2 * large, large], 1)])
    starts = np.stack([np.tile(large, 2), np.repeat([0.1, 0.9], 3)], 1)
    solution = jax.jit(jax.vmap(one))(jnp.asarray(targets, dtype), jnp.asarray(starts, dtype))
    assert np.all(is_successful(solution.result))
    wanted = np.stack([np.tile(large, 2), np.ones(6)], 1)
    np.testing.assert_allclose(solution.value, wanted, rtol=1e-7 if dtype == jnp.float64 else 1e-4)


def test_leaves_a_saddle_of_the_violation():
    # Hock & Schittkowski (1981), problem 61: at the start both constraints have a gradient along the first entry alone.
    cost = lambda z, p: 4 * z[0] ** 2 + 2 * z[1] ** 2 + 2 * z[2] ** 2 - 33 * z[0] + 16 * z[1] - 24 * z[2]
    eq = lambda z, p: jnp.stack([3 * z[0] - 2 * z[1] ** 2 - 7.0, 4 * z[0] - z[2] ** 2 - 11.0])
    solution = solve(Program(cost, eq=eq), SQP(), jnp.zeros(3))
    assert solution.stats.residual.largest <= 1e-8
    np.testing.assert_allclose(eq(solution.value, None), 0.0, atol=1e-8)


def test_unbounded_along_an_equality():
    program = Program(lambda z, p: -z[0] - z[1] + z[2] ** 2, eq=lambda z, p: z[0] - 2.0 * z[1] + z[2])
    solution = solve(program, SQP(), jnp.ones(3), throw=False)
    assert solution.result == RESULTS.unbounded
    assert solution.stats.steps <= 10


def test_inconsistent_linearisation_and_overestimated_multipliers():
    """Hock & Schittkowski (1981), problem 15, at (0.5, 2) with the value 306.5."""
    rosenbrock = lambda z, p: 100 * (z[1] - z[0] ** 2) ** 2 + (1 - z[0]) ** 2
    limits = lambda z, p: jnp.stack([1 - z[0] * z[1], -z[0] - z[1] ** 2])
    program = Program(rosenbrock, ineq=limits, upper=jnp.array([0.5, jnp.inf]))
    solution = solve(program, SQP(), jnp.array([-2.0, 1.0]), throw=False)
    assert solution.result == RESULTS.successful
    np.testing.assert_allclose(solution.value, [0.5, 2.0], atol=1e-8)
    np.testing.assert_allclose(solution.duals.ineq, [700.0, 0.0], atol=1e-5)
    assert solution.stats.steps <= 20


def test_smoothed_derivative_is_finite_where_the_active_set_changes():
    """min (z - p)² with z <= 0 at p = 0: slopes 1 and 0 on the two sides, a half in between."""
    program = Program(lambda z, p: 0.5 * (z - p) ** 2, ineq=lambda z, p: z)
    adjoint = KKTAdjoint(Smoothed(1e-4))
    value = lambda p: solve(program, SQP(tol=1e-10), -0.1, p, adjoint=adjoint, throw=False).value
    slopes = jax.jit(jax.vmap(jax.grad(value)))(jnp.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(slopes, [1.0, 0.5, 0.0], atol=1e-3)

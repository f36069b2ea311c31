"""Quadratic programs: against closed forms and an outside referee, in every degenerate shape, in both precisions."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful, RESULTS
from sciml.programs import Program, QuadraticProgram
from sciml.solvers import derivative_health, InteriorPoint, InteriorPointQP, solve

inf = np.inf


def answer(program, n, p=None, dtype=jnp.float64, solver=None):
    return solve(program, InteriorPointQP() if solver is None else solver, jnp.zeros(n, dtype), p, throw=False)


def named(solution) -> str:
    return next(name for name in RESULTS._name_to_item if bool(solution.result == getattr(RESULTS, name)))


def random_program(seed: int, n: int = 8, m: int = 3, g: int = 6):
    """Strictly feasible by construction, with bounds of which some are active."""
    rng = np.random.default_rng(seed)
    root, inside = rng.normal(size=(n, n)), rng.uniform(-0.5, 0.5, n)
    A, G = rng.normal(size=(m, n)), rng.normal(size=(g, n))
    return root @ root.T, 3 * rng.normal(size=n), A, A @ inside, G, G @ inside + 0.1, -np.ones(n), np.ones(n)


def referee(data, z, duals) -> float:
    """The KKT residual in NumPy."""
    Q, q, A, b, G, h, lower, upper = data
    ineq, eq, low, up = (np.asarray(v, float) for v in (duals.ineq, duals.eq, duals.lower, duals.upper))
    slope = Q @ z + q + A.T @ eq + G.T @ ineq - low + up
    excess = np.concatenate([G @ z - h, lower - z, z - upper])
    signed = np.concatenate([ineq, low, up])
    parts = [np.abs(slope), np.abs(A @ z - b), excess, -signed, np.abs(signed * excess)]
    return max(float(part.max()) for part in parts)


@cache
def compiled(dtype):
    def one(p):
        program = QuadraticProgram(*[lambda p, i=i: p[i] for i in range(8)])
        return solve(program, InteriorPointQP(), jnp.zeros(8, dtype), p, throw=False)

    return jax.jit(one)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("dtype", "tol"), [(jnp.float64, 1e-9), (jnp.float32, 3e-5)])
def test_referee_agrees(seed: int, dtype, tol: float):
    """In float32 the referee sees the rounding of data of size 10 as well."""
    data = random_program(seed)
    solution = compiled(dtype)(tuple(jnp.asarray(v, dtype) for v in data))
    assert bool(is_successful(solution.result))
    assert referee(data, np.asarray(solution.value, float), solution.duals) <= tol


def test_agrees_with_the_general_solver():
    data = random_program(7)
    program = QuadraticProgram(*data)
    quick, general = answer(program, 8), answer(program, 8, solver=InteriorPoint(tol=1e-10))
    np.testing.assert_allclose(quick.value, general.value, atol=1e-7)
    np.testing.assert_allclose(quick.duals.eq, general.duals.eq, atol=1e-6)
    np.testing.assert_allclose(quick.duals.ineq, general.duals.ineq, atol=1e-6)


SHARED = QuadraticProgram(*random_program(1)[:3], lambda p: p, *random_program(1)[4:])


def test_what_is_shared_gives_the_same_answers():
    """Eliminated equalities (a known `A`) against equalities that stay (`A` from the instance)."""
    data = random_program(1)
    general = QuadraticProgram(
        data[0], data[1], lambda p: jnp.asarray(data[2]) + 0 * p[:, None], lambda p: p, *data[4:]
    )
    bs = jnp.asarray(data[3]) + jnp.linspace(-0.05, 0.05, 4)[:, None]
    solved = [jax.jit(jax.vmap(lambda b, q=q: answer(q, 8, b)))(bs) for q in (SHARED, general)]
    assert bool(jnp.all(is_successful(solved[0].result) & is_successful(solved[1].result)))
    np.testing.assert_allclose(solved[0].value, solved[1].value, atol=1e-8)
    np.testing.assert_allclose(solved[0].duals.eq, solved[1].duals.eq, atol=1e-7)


CASES = {
    "no constraint": (QuadraticProgram(np.eye(2), [1.0, -2.0]), [-1.0, 2.0]),
    "linear over a box": (QuadraticProgram(q=[1.0, -2.0], lower=-1.0, upper=[3.0, 4.0]), [-1.0, 4.0]),
    "linear over a simplex": (QuadraticProgram(q=[-1.0, -2.0], G=[[1.0, 1.0]], h=[1.0], lower=0.0), [0.0, 1.0]),
    "dependent rows": (QuadraticProgram(np.eye(2), A=[[1.0, 1.0], [2.0, 2.0]], b=[1.0, 2.0]), [0.5, 0.5]),
    "as many rows as entries": (QuadraticProgram(np.eye(2), A=[[1.0, 1.0], [1.0, 2.0]], b=[1.0, 3.0]), [-1.0, 2.0]),
    "a fixed entry": (QuadraticProgram(np.eye(2), [1.0, 1.0], lower=[0.5, -3.0], upper=[0.5, 3.0]), [0.5, -1.0]),
    "infinite bounds": (QuadraticProgram(np.eye(2), [1.0, 1.0], lower=[0.0, -inf], upper=inf), [0.0, -1.0]),
    "a row without limit": (
        QuadraticProgram(np.eye(2), [-1.0, 0.0], G=[[1.0, 0.0], [1.0, 1.0]], h=[inf, 0.5]), [0.75, -0.25],
    ),
    "the same row thrice": (QuadraticProgram(np.eye(2), [-3.0, -3.0], G=np.ones((3, 2)), h=np.ones(3)), [0.5, 0.5]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_degenerate_shapes(name: str):
    program, wanted = CASES[name]
    solution = answer(program, 2)
    assert named(solution) == "successful"
    np.testing.assert_allclose(solution.value, wanted, atol=1e-9)
    assert solution.stats.residual.largest <= 1e-8


FAILURES = {
    "contradicting rows": (QuadraticProgram(np.eye(2), G=[[1.0, 0.0], [-1.0, 0.0]], h=[0.0, -1.0]), "infeasible"),
    "rows against bounds": (QuadraticProgram(np.eye(2), G=[[1.0, 1.0]], h=[-1.0], lower=0.0), "infeasible"),
    "contradicting equalities": (QuadraticProgram(np.eye(2), A=[[1.0, 1.0], [2.0, 2.0]], b=[1.0, 3.0]), "infeasible"),
    "linear, no limit": (QuadraticProgram(q=[1.0, 2.0]), "unbounded"),
    "flat in one direction": (QuadraticProgram(np.diag([1.0, 0.0]), [1.0, 1.0], upper=1.0), "unbounded"),
    "crossed bounds": (QuadraticProgram(np.eye(2), lower=1.0, upper=0.0), "contradictory_bounds"),
    "a row below everything": (QuadraticProgram(np.eye(2), G=[[1.0, 0.0]], h=[-inf]), "contradictory_bounds"),
    "not a number": (QuadraticProgram(np.eye(2), [np.nan, 0.0]), "nonfinite_start"),
    "not convex": (QuadraticProgram(np.diag([1.0, -1.0]), [1.0, 1.0]), "stalled"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_have_names(name: str):
    program, wanted = FAILURES[name]
    solution = answer(program, 2)
    assert named(solution) == wanted
    assert bool(jnp.all(jnp.isfinite(solution.value)))


def test_failures_leave_their_neighbours_alone():
    program = QuadraticProgram(
        np.eye(2), [1.0, 1.0], G=[[1.0, 0.0], [-1.0, 0.0]], h=lambda p: jnp.stack([p, -1.0 + 0 * p])
    )
    ps = jnp.array([2.0, 0.0, jnp.nan, 3.0])
    value = lambda p: (answer(program, 2, p).value.sum(), answer(program, 2, p))
    slopes, solution = jax.jit(jax.vmap(jax.grad(value, has_aux=True)))(ps)
    assert list(is_successful(solution.result)) == [True, False, False, True]
    np.testing.assert_allclose(solution.value[jnp.array([0, 3])], [[1.0, -1.0]] * 2, atol=1e-9)
    assert not np.any(slopes)  # the limit is not active, and failures have no derivative
    assert list(solution.stats.has_derivative) == [True, False, False, True]


def test_warm_start_and_state():
    cold = answer(SHARED, 8, jnp.asarray(random_program(1)[3]))
    near = jnp.asarray(random_program(1)[3]) * 1.001
    warm = solve(SHARED, InteriorPointQP(), jnp.zeros(8), near, warm=cold.state)
    np.testing.assert_allclose(warm.value, answer(SHARED, 8, near).value, atol=1e-9)


def test_needs_matrices():
    with pytest.raises(ValueError, match="`program`: got a program of functions; expected a `QuadraticProgram`"):
        answer(Program(lambda z, p: jnp.sum(z**2)), 2)
    with pytest.raises(ValueError, match="`z0`: got .*expected one vector"):
        solve(SHARED, InteriorPointQP(), {"a": jnp.zeros(8)}, jnp.zeros(3))


def test_health():
    """At z = (½, ½) the row has the multiplier 2.5; the bound of -3 is far."""
    program = QuadraticProgram(np.eye(2), [-3.0, -3.0], G=[[1.0, 1.0]], h=[1.0], lower=-3.0)
    health = derivative_health(program, answer(program, 2))
    assert health.margin == pytest.approx(2.5)
    assert health.residual < 1e-9 and health.pivot > 0
    weak = QuadraticProgram(np.eye(2), [-0.5, -0.5], G=[[1.0, 1.0]], h=[1.0])
    assert derivative_health(weak, answer(weak, 2)).margin < 1e-4
    failed, _ = FAILURES["contradicting rows"]
    report = derivative_health(failed, answer(failed, 2))
    assert report.margin == 0 and report.pivot == 0 and report.residual == jnp.inf

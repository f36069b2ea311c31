"""Solvers of other packages: the same answers, derivatives and verdicts as ours. Skipped where a package is absent."""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful, RESULTS
from sciml.programs import kkt_residual, Program, QuadraticProgram
from sciml.solvers import AbstractSolver, InteriorPointQP, Moreau, MPAX, solve, solve_batch

SOLVERS = {"moreau": Moreau(polish=None), "mpax": MPAX(polish=None)}
N = 4


@pytest.fixture(params=list(SOLVERS))
def solver(request: pytest.FixtureRequest) -> AbstractSolver:
    """Each of them, without a polish, so that the package's own answer is seen."""
    pytest.importorskip(request.param, reason=f"`{request.param}` is not installed: pip install sciml-jax[backends]")
    return SOLVERS[request.param]


def entry(p: Any, name: str) -> Any:
    return p[name]


PROGRAM = QuadraticProgram(
    np.array([[2.0, 0.5, 0.0, 0.0], [0.5, 1.0, 0.0, 0.0], [0.0, 0.0, 1.5, -0.2], [0.0, 0.0, -0.2, 0.8]]),
    lambda p: entry(p, "q"),
    np.array([[1.0, 1.0, 1.0, 1.0]]),
    np.array([1.0]),
    np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 2.0]]),
    lambda p: entry(p, "h"),
    np.array([-1.0, -np.inf, 0.1, 0.0]),
    lambda p: entry(p, "upper"),
)
# A bound and a row active; an entry fixed; a row that does not exist.
BATCH = {
    "q": jnp.array([[-3.0, 0.3, 0.2, 1.0], [0.1, -0.2, -0.4, 0.3], [-3.0, 0.3, 0.2, -0.1]]),
    "h": jnp.array([[0.4, 2.0], [3.0, 0.5], [jnp.inf, 2.0]]),
    "upper": jnp.array([[5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 0.1, 5.0], [0.9, jnp.inf, 5.0, 5.0]]),
}


def batch(solver: AbstractSolver, program: QuadraticProgram = PROGRAM) -> Any:
    return jax.jit(jax.vmap(lambda p: solve(program, solver, jnp.zeros(N), p, throw=False)))


def test_answers_and_multipliers_are_ours(solver: AbstractSolver) -> None:
    found, ours = batch(solver)(BATCH), batch(InteriorPointQP())(BATCH)
    assert jnp.all(is_successful(found.result)) and jnp.all(is_successful(ours.result))
    np.testing.assert_allclose(found.value, ours.value, atol=1e-7)  # tol / smallest curvature
    for a, b in zip(jax.tree.leaves(found.duals), jax.tree.leaves(ours.duals), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    assert jnp.all(found.stats.residual.largest <= 1e-8) and jnp.all(found.stats.steps == 1)


def test_derivatives_are_those_of_the_solution(solver: AbstractSolver) -> None:
    def total(solver: AbstractSolver, q: Any) -> Any:
        one = lambda p: solve(PROGRAM, solver, jnp.zeros(N), p, throw=False)
        solution = jax.vmap(one)({**BATCH, "q": q})
        return jnp.sum(jnp.sin(solution.value)) + jnp.sum(solution.duals.ineq**2)

    gradient = [jax.jit(jax.grad(lambda q: total(s, q)))(BATCH["q"]) for s in (solver, InteriorPointQP())]  # noqa: B023
    np.testing.assert_allclose(*gradient, atol=1e-6)
    assert jnp.max(jnp.abs(gradient[0])) > 0.1


def test_linear_programs_and_nested_batches(solver: AbstractSolver) -> None:
    # max p'z over the simplex: the best entry is one.
    program = QuadraticProgram(None, lambda p: -p, np.ones((1, N)), np.array([1.0]), lower=0.0)
    ps = jnp.array([[[1.0, 2.0, 3.0, 4.0], [5.0, 2.0, 1.0, 0.0]], [[0.1, 0.9, 0.3, 0.2], [1.0, 2.0, 4.0, 3.0]]])
    run = jax.jit(jax.vmap(jax.vmap(lambda p: solve(program, solver, jnp.zeros(N), p, throw=False))))
    solution = run(ps)
    assert jnp.all(is_successful(solution.result))
    np.testing.assert_allclose(solution.value, ps == jnp.max(ps, axis=2, keepdims=True), atol=1e-6)


def test_one_instance_and_the_slots_agree_with_the_batch(solver: AbstractSolver) -> None:
    many = solve_batch(PROGRAM, solver, jnp.zeros((3, N)), BATCH, progress=False)
    np.testing.assert_allclose(many.value, batch(solver)(BATCH).value, atol=1e-7)
    alone = solve(PROGRAM, solver, jnp.zeros(N), jax.tree.map(lambda v: v[1], BATCH))
    np.testing.assert_allclose(alone.value, many.value[1], atol=1e-7)
    assert kkt_residual(PROGRAM, alone.value, alone.duals, jax.tree.map(lambda v: v[1], BATCH)).largest <= 1e-8


def test_failures_are_named(solver: AbstractSolver) -> None:
    # In turn: fine, contradictory bounds, NaN in the data, no feasible point.
    program = QuadraticProgram(
        None, lambda p: p[:N], np.ones((1, N)), lambda p: p[N:5], None, None, 0.0, lambda p: p[5]
    )
    rows = [[1.0, 2.0, 3.0, 4.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 1.0, -2.0], [np.nan] * 4 + [1.0, 2.0]]
    solution = batch(solver, program)(jnp.array([*rows, [1.0, 2.0, 3.0, 4.0, -1.0, 2.0]]))
    wanted = [RESULTS.successful, RESULTS.contradictory_bounds, RESULTS.nonfinite_start, RESULTS.infeasible]
    np.testing.assert_array_equal(solution.result._value, [int(one._value) for one in wanted])
    assert jnp.all(jnp.isfinite(solution.value))


def test_success_is_our_residual_and_not_the_claim(solver: AbstractSolver) -> None:
    # 1e-18 is below what rounding leaves of these numbers, whatever the package says.
    strict = type(solver)(tol=1e-18, polish=None)
    assert not jnp.any(is_successful(batch(strict)(BATCH).result))


def test_a_polish_adds_the_last_digits(solver: AbstractSolver) -> None:
    rough = MPAX(accuracy=1e-4, tol=1e-11) if isinstance(solver, MPAX) else Moreau(tol=1e-11)
    solution = batch(rough)(BATCH)
    assert jnp.all(is_successful(solution.result)) and jnp.all(solution.stats.residual.largest <= 1e-11)


def test_float32(solver: AbstractSolver) -> None:
    data = jax.tree.map(lambda v: v.astype(jnp.float32), BATCH)
    with jax.numpy_dtype_promotion("standard"):
        run = jax.jit(jax.vmap(lambda p: solve(PROGRAM, solver, jnp.zeros(N, jnp.float32), p, throw=False)))
        solution = run(data)
    assert jnp.all(is_successful(solution.result)) and solution.value.dtype == jnp.float32
    np.testing.assert_allclose(solution.value, batch(solver)(BATCH).value, atol=1e-3)


def test_a_start_that_is_the_answer_is_taken_by_mpax() -> None:
    pytest.importorskip("mpax", reason="`mpax` is not installed: pip install sciml-jax[backends]")
    p = jax.tree.map(lambda v: v[0], BATCH)
    first = solve(PROGRAM, MPAX(polish=None), jnp.zeros(N), p)
    again = solve(PROGRAM, MPAX(polish=None, loops=1), jnp.zeros(N), p, warm=first.state)
    assert jnp.max(jnp.abs(first.value - again.value)) <= 1e-8


def test_bounds_alone_and_nothing_at_all(solver: AbstractSolver) -> None:
    if isinstance(solver, MPAX):
        with pytest.raises(ValueError, match="at least one row, which MPAX needs"):
            solve(QuadraticProgram(np.eye(2), np.ones(2), lower=0.0), solver, jnp.zeros(2))
        return
    boxed = QuadraticProgram(np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([-4.0, 1.0]), lower=0.0, upper=1.0)
    np.testing.assert_allclose(solve(boxed, solver, jnp.zeros(2)).value, [1.0, 0.0], atol=1e-7)
    free = QuadraticProgram(np.diag([2.0, 0.5]), np.array([-4.0, 1.0]))
    np.testing.assert_allclose(solve(free, solver, jnp.zeros(2)).value, [2.0, -2.0], atol=1e-7)


def test_only_quadratic_programs_are_accepted(solver: AbstractSolver) -> None:
    with pytest.raises(ValueError, match="expected a `QuadraticProgram`"):
        solve(Program(lambda z, p: jnp.sum(z**2)), solver, jnp.zeros(2))


@pytest.mark.parametrize("name", list(SOLVERS))
def test_an_absent_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    program = QuadraticProgram(np.eye(3), np.ones(3), np.ones((1, 3)), np.ones(1))
    with pytest.raises(ImportError, match=f"pip install {name}"):
        solve(program, SOLVERS[name], jnp.zeros(3))

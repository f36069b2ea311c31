"""Derivatives of badly scaled programs: the linear solve against NumPy, and a health report that tells the truth.

Each system is that of a random program in random units: objective, rows and decisions multiplied by powers of ten.
Exact solutions come from NumPy with the units undone, where the systems are well conditioned.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import RESULTS
from sciml.programs import QuadraticProgram
from sciml.solvers import derivative_health, InteriorPointQP, KKTAdjoint, solve
from sciml.solvers._dense import DenseModel
from sciml.solvers._sensitivity import factorise, KKTMatrix
from tests.laws.members import Told

N, ROWS, EQUALITIES = 12, 6, 3
UNITS = {  # powers of ten: of the objective; ranges of those of inequalities, equalities and decisions
    "as it is": (0, 0, 0, 0),
    "small objective": (-8, 0, 0, 0),
    "large objective": (8, 0, 0, 0),
    "rows": (0, 4, 4, 0),
    "decisions": (0, 0, 0, 3),
    "all": (5, 3, 3, 3),
}


@jax.jit
def solved(H, G, E, active, right):
    return factorise(KKTMatrix(DenseModel(H, G, E, None, True), active, 1 - active, (len(H), len(active), len(E))))(
        right
    )


@pytest.mark.parametrize("indefinite", [False, True], ids=["convex", "indefinite"])
@pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
def test_linear_solve_in_any_units(units: tuple[int, int, int, int], indefinite: bool):
    """1e-9: refinement stops where 4e-11 are expected to be left, relative to the whole solution."""
    rng = np.random.default_rng(0)
    objective, *ranges = units
    unit = lambda width, size: 10.0 ** rng.uniform(-width, width, size)
    r, e, d = (unit(width, size) for width, size in zip(ranges, (ROWS, EQUALITIES, N), strict=True))
    basis = np.linalg.qr(rng.standard_normal((N, N)))[0]
    H = basis @ np.diag(np.logspace(0, -1, N)) @ basis.T
    G, E = rng.standard_normal((ROWS, N)), rng.standard_normal((EQUALITIES, N))
    if indefinite:  # along an active row only
        H = H - 2 * np.outer(G[0], G[0]) / (G[0] @ G[0])
    active = np.zeros(ROWS + 2 * N)
    active[[0, 1, ROWS + 3, ROWS + N + 5]] = 1.0
    C = np.vstack([G, -np.eye(N), np.eye(N)])[active > 0]
    none = np.zeros((len(C) + EQUALITIES, len(C) + EQUALITIES))
    matrix = np.block([[H, np.vstack([C, E]).T], [np.vstack([C, E]), none]])
    right = rng.standard_normal(len(matrix))
    x, y, nu = np.split(np.linalg.solve(matrix, right), [N, N + len(C)])
    b, by_row, by_eq = np.split(right, [N, N + len(C)])
    # x = d x̂ with H = 10^k D⁻¹ĤD⁻¹, and rows multiplied by r, e; those of bounds by the units of their entries.
    size = np.concatenate([r, d, d])
    rows = np.zeros(len(active))
    rows[active > 0] = by_row
    scaled = (10.0**objective * H / d / d[:, None], r[:, None] * G / d, e[:, None] * E / d, active)
    found = solved(
        *map(jnp.asarray, scaled), tuple(map(jnp.asarray, (10.0**objective * b / d, size * rows, e * by_eq)))
    )
    dx, dy, dnu = (np.asarray(v) for v in found)
    got = np.concatenate([dx / d, (dy * size)[active > 0] / 10.0**objective, dnu * e / 10.0**objective])
    wanted = np.concatenate([x, y, nu])
    assert np.max(np.abs(got - wanted)) <= 1e-9 * np.max(np.abs(wanted))


HILBERT = 1.0 / (np.arange(8)[:, None] + np.arange(8) + 1.0)


def slopes(tail: float) -> tuple[np.ndarray, float]:
    """Derivatives of `-Q⁻¹q` with respect to `q` for `Q = HILBERT + tail I`, and the error that health expects."""
    Q = jnp.asarray(HILBERT + tail * np.eye(8))
    program = QuadraticProgram(Q, lambda p: p, upper=1e9)
    q = jnp.ones(8)
    root = jnp.asarray(-np.linalg.solve(np.asarray(Q), np.ones(8)))

    def told(q):
        solution = solve(program, Told(), jnp.zeros(8), q, warm=root, adjoint=KKTAdjoint(), throw=False)
        return solution.value, solution

    slope, solution = jax.jit(jax.jacrev(told, has_aux=True))(q)
    health = jax.jit(lambda s, q: derivative_health(program, s, q))(solution, q)
    return np.asarray(slope), float(health.error)


@pytest.mark.parametrize("tail", [1.0, 0.0])
def test_expected_error_is_that_of_rounding(tail: float):
    """The Hilbert matrix of order 8 has a condition number of 1.5e10 and an inverse of whole numbers."""
    slope, expected = slopes(tail)
    inverse = np.linalg.inv(HILBERT + tail * np.eye(8)) if tail else np.round(np.linalg.inv(HILBERT))
    error = np.max(np.abs(slope + inverse)) / np.max(np.abs(inverse))
    assert error <= 10 * expected and expected <= (1e-4 if tail == 0 else 1e-9)


def test_health_of_what_rounding_stopped():
    """Entries of 1e11 leave a residual that no small tolerance accepts, but its rounding is allowed for.

    Stopped before it gets there, the instance is no success, has no derivative, and says so.
    """
    Q = jnp.asarray(1e11 * HILBERT + np.eye(8))
    program = QuadraticProgram(Q, lambda p: p, lower=-1.0, upper=1.0)
    q = jnp.asarray(1e11 * np.cos(np.arange(8)))
    solver = InteriorPointQP(tol=1e-12)

    def sum_of(q, max_steps):
        solution = solve(program, solver, jnp.zeros(8), q, max_steps=max_steps, throw=False)
        return jnp.sum(solution.value), solution

    for max_steps, succeeds in ((3, False), (256, True)):
        slope, solution = jax.jit(jax.grad(lambda q, n=max_steps: sum_of(q, n), has_aux=True))(q)
        health = jax.jit(lambda s, q: derivative_health(program, s, q))(solution, q)
        assert float(solution.stats.residual.largest) > 1e-10
        assert bool(solution.stats.has_derivative) is succeeds
        assert bool(jnp.isfinite(health.error)) is succeeds and bool(jnp.isfinite(health.residual)) is succeeds
        assert bool(solution.result == RESULTS.max_steps_reached) is not succeeds
        assert bool(jnp.any(slope != 0)) is succeeds

"""How solutions of a small quadratic program are differentiated: closed forms, dependent constraints, failures.

minimise ½ zᵀQz + qᵀz with `Q = [[2, 1], [1, 2]]` subject to `G z <= h` (two rows) and `z_0 <= u`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from sciml.core import is_successful
from sciml.programs import QuadraticProgram
from sciml.solvers import ActiveSet, derivative_health, InteriorPointQP, KKTAdjoint, LeastNorm, Smoothed, solve
from tests.laws.members import Told

INF = np.inf
Q = np.array([[2.0, 1.0], [1.0, 2.0]])


class P(NamedTuple):
    q: Array
    G: Array
    h: Array
    upper: Array


def program() -> QuadraticProgram:
    upper = lambda p: jnp.stack([p.upper, jnp.full_like(p.upper, INF)])
    return QuadraticProgram(Q, lambda p: p.q, G=lambda p: p.G, h=lambda p: p.h, upper=upper)


PROGRAM = program()
SUM, AGAINST, NONE = [1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]
CASES = {
    "bound": P([-3.0, -1.0], [NONE, NONE], [1.0, 1.0], 0.5),
    "row": P([-3.0, -3.0], [SUM, NONE], [1.0, 1.0], 5.0),
    "row twice": P([-3.0, -3.0], [SUM, SUM], [1.0, 1.0], 5.0),
    "barely active": P([-1.5, -1.5], [SUM, NONE], [1.0, 1.0], 5.0),
    "infeasible": P([-3.0, -3.0], [SUM, AGAINST], [1.0, -2.0], 5.0),
    "bounds and rows not finite": P([np.nan, -3.0], [SUM, NONE], [1.0, 1.0], 5.0),
}
PS = P(*(jnp.asarray(np.array(leaf)) for leaf in zip(*CASES.values(), strict=True)))
AT = {name: i for i, name in enumerate(CASES)}


@jax.jit
@jax.vmap
def answers(p):
    """Solutions, and the derivatives of decision and multipliers of rows and upper bound with respect to everything."""

    def parts(p):
        solution = solve(PROGRAM, InteriorPointQP(), jnp.zeros(2), p, throw=False)
        return (solution.value, solution.duals.ineq, solution.duals.upper[0]), solution

    return jax.jacrev(parts, has_aux=True)(p)


@pytest.fixture(scope="module")
def found():
    return answers(PS)


def one(tree, name: str):
    return jax.tree.map(lambda leaf: np.asarray(leaf[AT[name]]), tree)


def test_closed_form_at_a_bound(found):
    """With `z_0 = u`, `z_1 = (1 - u) / 2`, and the bound's multiplier is `-(2u + z_1 - 3)`."""
    slopes, solution = found
    z, _, multiplier = one(slopes, "bound")
    np.testing.assert_allclose(one(solution.value, "bound"), [0.5, 0.25], atol=1e-9)
    np.testing.assert_allclose(z.upper, [1.0, -0.5], atol=1e-9)
    np.testing.assert_allclose(z.q, [[0.0, 0.0], [0.0, -0.5]], atol=1e-9)
    assert multiplier.upper == pytest.approx(-1.5) and multiplier.q == pytest.approx([-1.0, 0.5])


def test_closed_form_at_a_row(found):
    """`z = (h/2, h/2)` and `λ = 3 - 3h/2`."""
    z, ineq, _ = one(found[0], "row")
    np.testing.assert_allclose(z.h, [[0.5, 0.0], [0.5, 0.0]], atol=1e-9)
    np.testing.assert_allclose(ineq.h, [[-1.5, 0.0], [0.0, 0.0]], atol=1e-9)


def test_failures_have_no_derivative(found):
    slopes, solution = found
    assert list(is_successful(solution.result)) == [True, True, True, True, False, False]
    assert list(solution.stats.has_derivative) == [True, True, True, True, False, False]
    for name in ("infeasible", "bounds and rows not finite"):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(one(slopes, name)))


def test_every_derivative_is_finite(found):
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found[0]))


def test_health(found):
    """Margins in closed form: multipliers 1.75 of the bound, 1.5 of the row, none of the row that is barely active."""
    report = jax.jit(jax.vmap(lambda solution, p: derivative_health(PROGRAM, solution, p)))(found[1], PS)
    margin, pivot, residual = (np.asarray(v) for v in (report.margin, report.pivot, report.residual))
    assert margin[AT["bound"]] == pytest.approx(1.0)  # rows that say nothing, `0 <= 1`, are at a distance of 1
    assert margin[AT["row"]] == pytest.approx(1.0)
    assert margin[AT["row twice"]] <= 1.5 and margin[AT["barely active"]] <= 1e-4
    assert np.all(pivot[:4] > 0) and np.all(residual[:4] <= 1e-9)
    assert not np.any(margin[4:]) and not np.any(pivot[4:]) and np.all(residual[4:] == INF)


def test_second_derivative_of_the_value():
    """`V(u) = u² - 3u - (1 - u)²/4` has `V' = 2u - 3 + (1 - u)/2` and `V'' = 3/2`, until the bound is idle."""

    def value(u):
        p = P(*(leaf[0] for leaf in PS))._replace(upper=u)
        z = solve(PROGRAM, InteriorPointQP(), jnp.zeros(2), p, throw=False).value
        return PROGRAM.objective(z, p)

    slope = jax.value_and_grad(value)
    (_, first), (_, second) = jax.jit(lambda u: jax.jvp(slope, (u,), (jnp.ones_like(u),)))(jnp.asarray(0.5))
    assert first == pytest.approx(-1.75, abs=1e-9) and second == pytest.approx(1.5, abs=1e-8)


@jax.jit
def told(root, p, adjoint):
    """The derivative with respect to `h` of decision and multipliers of rows, at a given solution."""

    def parts(h):
        solution = solve(PROGRAM, Told(), jnp.zeros(2), p._replace(h=h), warm=root, adjoint=adjoint, throw=False)
        return jnp.concatenate([solution.value, solution.duals.ineq])

    return jax.jacrev(parts)(p.h)


@pytest.mark.parametrize("split", [(0.75, 0.75), (1.4, 0.1)])
def test_least_norm_where_rows_depend(split):
    """The same row twice: `z` is known, the multipliers only in their sum. The pseudoinverse is the referee."""
    p = jax.tree.map(lambda leaf: leaf[AT["row twice"]], PS)
    root = jnp.array([0.5, 0.5, *split])
    matrix = np.block([[Q, np.ones((2, 2))], [np.ones((2, 2)), np.zeros((2, 2))]])
    wanted = np.linalg.pinv(matrix) @ np.vstack([np.zeros((2, 2)), np.eye(2)])
    np.testing.assert_allclose(told(root, p, KKTAdjoint(LeastNorm())), wanted, atol=1e-7)
    # Together the rows move as one does; what `ActiveSet` gives is finite, and right in that direction.
    exact = told(root, p, KKTAdjoint(ActiveSet()))
    assert np.all(np.isfinite(exact))
    np.testing.assert_allclose(exact.sum(axis=1)[:2], [0.5, 0.5], atol=1e-6)
    assert float(exact.sum(axis=1)[2:].sum()) == pytest.approx(-1.5, abs=1e-6)


def test_smoothed_sees_a_row_that_is_barely_active():
    """A row `z_0 + z_1 <= h` with multiplier λ at a distance s: `dz/dh = ½ / (1 + 3s / (2λ))`, here s = λ = √μ."""
    p = jax.tree.map(lambda leaf: leaf[AT["barely active"]], PS)._replace(upper=jnp.asarray(INF))
    slope = told(jnp.array([0.5, 0.5, 0.0, 0.0]), p, KKTAdjoint(Smoothed(1e-4)))
    np.testing.assert_allclose(slope[:2, 0], 0.5 / 2.5, rtol=1e-6)


def test_a_sensitivity_is_an_object_of_its_kind():
    door = getattr(derivative_health, "__wrapped__", derivative_health)  # past the runtime type checker of the tests
    with pytest.raises(TypeError, match=r"`sensitivity`: got KKTAdjoint.*pass an instance"):
        door(PROGRAM, None, None, sensitivity=KKTAdjoint())

"""Derivatives of solutions: against central differences, Optimistix's own adjoint, and where they do not exist."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from jax.flatten_util import ravel_pytree
from jaxtyping import Array

from sciml.core import RESULTS
from sciml.programs import Program
from sciml.solvers import InteriorPoint, solve


class Z(NamedTuple):
    x: Array
    y: Array


class P(NamedTuple):
    target: Array
    limit: Array
    slope: Array
    top: Array


def cost(z: Z, p: P):
    return jnp.sum((z.x - p.target) ** 2) + 0.5 * z.y**2 + 0.1 * z.x[0] * z.x[1] ** 2


# At `AT` the inequality and the upper bound of x[1] are active with multipliers of order one; the equality always is.
PROGRAM = Program(
    cost,
    ineq=lambda z, p: {"sum": jnp.sum(z.x) - p.limit, "idle": -z.x[0] - 10.0},
    eq=lambda z, p: z.y - p.slope * z.x[0] ** 2,
    lower=-5.0,
    upper=lambda p: Z(jnp.stack([jnp.inf * jnp.ones_like(p.top), p.top]), None),
)
START = Z(jnp.zeros(2), jnp.zeros(()))
AT = P(jnp.array([1.0, 2.0]), jnp.asarray(1.2), jnp.asarray(0.7), jnp.asarray(0.8))
FLAT, unravel = ravel_pytree(AT)


def answers(flat, adjoint=None):
    """Decision and multipliers of inequality, equality and upper bounds; behind them what carries no derivative."""
    solution = solve(PROGRAM, InteriorPoint(tol=1e-12), START, unravel(flat), adjoint=adjoint, throw=False)
    duals, state, stats = solution.duals, solution.state, solution.stats
    bookkeeping = [state.x, state.dual, state.mu, stats.residual.largest, stats.barrier]
    return ravel_pytree((solution.value, duals.ineq["sum"], duals.eq, duals.upper.x, bookkeeping))[0]


SIZE = 7  # of what carries derivatives
plain = jax.jit(answers)
reverse = jax.jit(jax.jacrev(answers))


@pytest.fixture(scope="module")
def differences() -> np.ndarray:
    """Central differences; h = 1e-4 and solutions to 1e-11 leave errors of 1e-7."""
    h = 1e-4
    columns = [(plain(FLAT.at[i].add(h)) - plain(FLAT.at[i].add(-h))) / (2 * h) for i in range(FLAT.size)]
    return np.stack([np.asarray(c)[:SIZE] for c in columns], axis=1)


def test_the_point_is_what_the_tests_need():
    x0, x1, y, multiplier, _, _, top = np.asarray(plain(FLAT))[:SIZE]
    assert x1 == pytest.approx(0.8) and x0 + x1 == pytest.approx(1.2) and y == pytest.approx(0.7 * x0**2)
    assert multiplier > 0.1 and top > 0.1


def test_reverse_mode_agrees_with_differences(differences):
    np.testing.assert_allclose(reverse(FLAT)[:SIZE], differences, atol=1e-6)
    assert not np.any(reverse(FLAT)[SIZE:])


def test_forward_mode_agrees_with_differences(differences):
    tangent = jnp.linspace(0.3, -1.0, FLAT.size)
    _, out = jax.jit(lambda p, v: jax.jvp(answers, (p,), (v,)))(FLAT, tangent)
    np.testing.assert_allclose(out[:SIZE], differences @ np.asarray(tangent), atol=1e-6)
    assert not np.any(out[SIZE:])


def test_optimistix_adjoint_in_a_jitted_batch(differences):
    weights = jnp.arange(1.0, SIZE + 1)
    total = lambda flat: answers(flat, optx.ImplicitAdjoint())[:SIZE] @ weights
    batch = jax.jit(jax.vmap(jax.grad(total)))(jnp.stack([FLAT, FLAT + 0.01]))
    np.testing.assert_allclose(batch[0], np.asarray(weights) @ differences, atol=2e-5)
    np.testing.assert_allclose(batch[1], weights @ reverse(FLAT + 0.01)[:SIZE], atol=1e-6)


def test_second_derivative():
    """min ½z² - p z with z = p³ imposed: the value p³ has the second derivative 6p."""
    program = Program(lambda z, p: 0.5 * z**2, eq=lambda z, p: z - p**3)
    value = lambda p: solve(program, InteriorPoint(), 1.0, p, throw=False).value
    first, second = jax.grad(value), jax.grad(jax.grad(value))
    assert jax.jit(lambda p: (first(p), second(p)))(jnp.asarray(1.5)) == (pytest.approx(6.75), pytest.approx(9.0))


def test_degenerate_point_failed_lane_and_closed_over_array():
    """One program with everything that must not break a batch: `scale` enters by closure.

    min (z - scale)² subject to z <= 1 and z <= 1 (twice the same row: no unique multiplier) and z >= p.
    For p = 0 it has the solution 1; for p = 2 it is infeasible.
    """

    def value(scale, p):
        program = Program(lambda z, p: (z - scale) ** 2, ineq=lambda z, p: jnp.stack([z - 1.0, z - 1.0, p - z]))
        solution = solve(program, InteriorPoint(), 0.0, p, throw=False)
        return solution.value, (solution.result._value, solution.stats.has_derivative)

    ps = jnp.array([0.0, 2.0, -3.0])
    grads = jax.jit(jax.vmap(jax.value_and_grad(value, argnums=(0, 1), has_aux=True), in_axes=(0, 0)))
    (z, (result, has_derivative)), (by_scale, by_p) = grads(jnp.array([3.0, 3.0, 0.5]), ps)
    assert list(has_derivative) == [True, False, True]
    assert int(result[1]) == int(RESULTS.infeasible._value)
    np.testing.assert_allclose(z[jnp.array([0, 2])], [1.0, 0.5], atol=1e-6)
    # Pinned by the doubled row: zero. Failed: zero. Free: z = scale.
    np.testing.assert_allclose(by_scale, [0.0, 0.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(by_p, 0.0, atol=1e-6)

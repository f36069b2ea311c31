"""Laws of derivatives over programs: central differences, Optimistix's adjoint, forward = reverse, smoothing, health.

Differences are of solutions by the real solvers, in the batches of `members`. Derivatives are taken at those solutions
by a solver that is told the answer: they depend on program and solution, not on the way there, and compile fast.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
from jaxtyping import Array

from sciml.core import is_successful
from sciml.solvers import AbstractSolver, derivative_health, KKTAdjoint, LeastNorm, Smoothed
from tests.laws.chain import side_by_side
from tests.laws.members import alone, flat, GENERAL, instances, member, pairs, QUICK, solved, STEP, Told

SLOW = pytest.param("control", marks=pytest.mark.slow)
each = pytest.mark.parametrize("name", ["mixed", "in p", "shared", SLOW])
ODDS = {"in p": QUICK, "shared": QUICK}  # the solver whose answers are told, where it is not the general one


def at_instances(name: str, tree: Any) -> Any:
    """Of a batch of neighbours, the entries of the instances themselves."""
    each = 2 * instances(name).shape[1] + 1
    return jax.tree.map(lambda leaf: leaf[::each], tree)


@cache
def roots(name: str) -> Array:
    solution = at_instances(name, solved(ODDS.get(name, GENERAL), name))
    return jax.vmap(flat)((solution.value, solution.duals.ineq, solution.duals.eq))


def differences(solver: AbstractSolver, name: str) -> np.ndarray:
    """Central differences of decision and all multipliers."""
    solution = solved(solver, name)
    assert bool(jnp.all(is_successful(solution.result)))
    count, size = instances(name).shape
    values = np.asarray(jax.vmap(flat)((solution.value, solution.duals))).reshape(count, 2 * size + 1, -1)
    return ((values[:, 1 : size + 1] - values[:, size + 1 :]) / (2 * STEP)).swapaxes(1, 2)


@cache
def batch(name: str, mode: Callable, dtype: Any) -> Any:
    """The Jacobians at given solutions and instances of a program, under `jit`, with any adjoint."""

    chosen = member(name, dtype)

    def one(root: Array, p: Array, adjoint: Any) -> Array:
        def told(p: Array) -> Array:
            solution = alone(Told(), chosen, p, warm=root, adjoint=adjoint)
            return flat((solution.value, solution.duals))

        return mode(told)(p)

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None)))


def jacobian(name: str, mode: Callable, dtype: Any = jnp.float64) -> Callable:
    """The Jacobians at the instances of a program as a function of the adjoint."""
    where = roots(name).astype(dtype), jnp.asarray(instances(name), dtype)
    return lambda adjoint: batch(name, mode, dtype)(*where, adjoint)


@cache
def exact(name: str) -> np.ndarray:
    return np.asarray(jacobian(name, jax.jacrev)(KKTAdjoint()))


def error(got: Any, wanted: Any) -> float:
    """Relative to the largest entry of each instance's Jacobian."""
    got, wanted = np.asarray(got, float), np.asarray(wanted)
    sizes = np.abs(wanted).max(axis=(1, 2))
    return float((np.abs(got - wanted).max(axis=(1, 2)) / sizes).max())


@pairs()
def test_reverse_mode_agrees_with_differences(solver: AbstractSolver, name: str):
    assert error(exact(name), differences(solver, name)) <= 1e-6


@each
def test_forward_mode_is_reverse_mode(name: str):
    assert error(jacobian(name, jax.jacfwd)(KKTAdjoint()), exact(name)) <= 1e-10


def compiled_text(name: str, mode: Callable, adjoint: Any) -> str:
    given = roots(name), jnp.asarray(instances(name)), adjoint
    return batch(name, mode, jnp.float64).lower(*given).compile().as_text()


@each
@pytest.mark.parametrize("mode", [jax.jacrev, jax.jacfwd])
def test_factorisations_of_a_batch_are_one_chain(name: str, mode: Callable):
    """Decision 2: two at once may wait for each other for ever."""
    assert list(side_by_side(compiled_text(name, mode, KKTAdjoint()))) == []


@pytest.mark.parametrize(
    ("name", "adjoint"), [("mixed", KKTAdjoint()), ("in p", KKTAdjoint()), ("mixed", KKTAdjoint(LeastNorm()))]
)
def test_so_are_those_of_second_derivatives(name: str, adjoint: KKTAdjoint):
    text = compiled_text(name, jax.hessian, adjoint)
    assert text.count("lapack_dpotrf") >= 2 and list(side_by_side(text)) == []


def test_two_of_a_batch_that_do_not_wait_are_found():
    apart = jax.jit(lambda a, b: (jnp.linalg.cholesky(a), jnp.linalg.cholesky(b)))
    two = jnp.stack([jnp.eye(3), 2 * jnp.eye(3)])
    assert len(list(side_by_side(apart.lower(two, 3 * two).compile().as_text()))) == 1


@each
def test_optimistix_agrees(name: str):
    assert error(jacobian(name, jax.jacrev)(optx.ImplicitAdjoint()), exact(name)) <= 1e-6


@each
def test_least_norm_is_exact_at_regular_points(name: str):
    assert error(jacobian(name, jax.jacrev)(KKTAdjoint(LeastNorm())), exact(name)) <= 1e-6


@each
def test_smoothed_tends_to_the_exact_derivative(name: str):
    """The bias is of the order of μ at strictly complementary points: a hundredth of μ, a hundredth of the bias."""
    smoothed = jacobian(name, jax.jacrev)
    coarse, fine = (error(smoothed(KKTAdjoint(Smoothed(jnp.asarray(mu)))), exact(name)) for mu in (1e-8, 1e-10))
    assert fine <= 0.02 * coarse + 1e-9 and fine <= 1e-4


@each
def test_float32(name: str):
    """1e-3: in float32 the linear system is regularised and refined."""
    single = jacobian(name, jax.jacrev, jnp.float32)(KKTAdjoint())
    assert single.dtype == jnp.float32
    assert error(single, exact(name)) <= 1e-3


@each
def test_instances_are_strictly_complementary_and_healthy(name: str):
    solution, ps = at_instances(name, solved(ODDS.get(name, GENERAL), name)), jnp.asarray(instances(name))
    program = member(name, jnp.float64).program
    health = jax.jit(jax.vmap(lambda solution, p: derivative_health(program, solution, p)))(solution, ps)
    assert float(jnp.min(health.margin)) > 1e-4
    assert float(jnp.min(health.pivot)) > 0.0
    assert float(jnp.max(health.residual)) <= 1e-9

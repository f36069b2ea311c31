"""A linear solver for matrices that may be singular, in batches."""

from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import lineax as lx
from jaxtyping import Array, Float, PyTree, Scalar

from ._linalg import cholesky, one_at_a_time, solve_triangular

_lu_factor = one_at_a_time(jsl.lu_factor)
_lu_solve = one_at_a_time(lambda lu, pivots, right: jsl.lu_solve((lu, pivots), right))
_lu_solve_transposed = one_at_a_time(lambda lu, pivots, right: jsl.lu_solve((lu, pivots), right, trans=1))


class DampedInverse(eqx.Module):
    """Least-squares solutions with a square matrix in any condition, by its damped normal equations.

    All factorisations are in the constructor; what is solved with it are products, so that several solves may run side
    by side.

    Source: Björck (1996), Numerical Methods for Least Squares Problems, section 2.7, DOI 10.1137/1.9781611971484.
    """

    unit: Float[Array, "n n"]
    """The matrix, scaled to norm one."""
    half: Float[Array, "n n"]
    """The inverse of the Cholesky factor of the damped normal matrix."""
    scale: Scalar

    def __init__(self, matrix: Float[Array, "n n"]):
        eps, eye = jnp.finfo(matrix.dtype).eps, jnp.eye(matrix.shape[0], dtype=matrix.dtype)
        self.scale = jnp.maximum(jnp.linalg.norm(matrix), jnp.finfo(matrix.dtype).tiny ** 0.25)
        self.unit = matrix / self.scale
        factor = cholesky(self.unit.T @ self.unit + eps ** (2 / 3) * eye)
        self.half = solve_triangular(factor, eye)

    def __call__(self, vector: Float[Array, " n"], refinements: int = 3) -> Float[Array, " n"]:
        """The solution, refined; zero where it is not finite."""
        x = jnp.zeros_like(vector)
        for _ in range(refinements):
            x = x + self.half.T @ (self.half @ (self.unit.T @ (vector / self.scale - self.unit @ x)))
        return jnp.where(jnp.all(jnp.isfinite(x)), x, 0.0)


class RobustLU(lx.AbstractLinearSolver):
    """Solves `A x = b` by LU, and by damped least squares where `A` is singular; never raises, never NaN.

    A stock LU makes a whole batch fail when one instance is singular, which for a KKT matrix means a degenerate
    solution (linearly dependent active constraints, or no strict complementarity). There the answer is
    `(AᵀA + ε‖A‖²I)⁻¹Aᵀb`, which tends to the least-norm least-squares solution as `ε` vanishes, sharpened by iterated
    refinement. `ε` is the dtype's epsilon to the power 2/3: rounding moves the answer by its cube root. The operator's
    input and output must each be a single vector.

    Source: Björck (1996), Numerical Methods for Least Squares Problems, section 2.7, DOI 10.1137/1.9781611971484.
    """

    refinements: int = 3

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Any:
        """Factors the operator's matrix once, plainly and damped."""
        del options
        matrix = operator.as_matrix()
        return matrix, _lu_factor(matrix), eqxi.Static(False)

    def compute(self, state: Any, vector: PyTree[Array], options: dict[str, Any]) -> Any:
        """The solution, a success, and no statistics."""
        del options
        matrix, factors, transposed = state
        operator = matrix.T if transposed.value else matrix
        plain = (_lu_solve_transposed if transposed.value else _lu_solve)(*factors, vector)
        eps = jnp.finfo(matrix.dtype).eps
        finite = jnp.all(jnp.isfinite(plain))
        plain = jnp.where(finite, plain, 0.0)
        residual = jnp.linalg.norm(operator @ plain - vector)
        # A backward-stable solution has a residual of eps‖A‖‖x‖; a huge x betrays a singular matrix.
        sound = residual <= eps**0.5 * jnp.linalg.norm(vector)
        bounded = jnp.linalg.norm(plain) * jnp.linalg.norm(operator) <= jnp.linalg.norm(vector) / (100 * eps)
        good = finite & sound & bounded
        # The second factorisation depends on the first on purpose: batched LAPACK calls that may run side by side can
        # wait for each other for ever (jaxlib runs both in one thread pool).
        damped = self.least_squares(jnp.where(good, jnp.eye(plain.size, dtype=plain.dtype), operator), vector)
        return jnp.where(good, plain, damped), lx.RESULTS.successful, {}

    def least_squares(self, matrix: Float[Array, "n n"], vector: Float[Array, " n"]) -> Float[Array, " n"]:
        """The damped least-squares solution."""
        return DampedInverse(matrix)(vector, self.refinements)

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        """The state for the transposed operator, from the same factors."""
        matrix, factors, transposed = state
        return (matrix, factors, eqxi.Static(not transposed.value)), {}

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        """The state itself: real matrices only."""
        return state, {}

    def assume_full_rank(self) -> bool:
        """False: singular matrices are what this solver is for."""
        return False

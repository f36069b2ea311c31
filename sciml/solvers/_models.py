"""The quadratic model of a program at a primal-dual point, with the linear algebra that fits the program."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ..programs import FlatProgram, null_space
from ._dense import DenseFactors, DenseModel
from ._evaluate import columns


class NullSpaceModel(eqx.Module):
    """A dense model whose equalities are eliminated by a basis of their null space."""

    dense: DenseModel
    """With equalities, to be applied; factorised without."""
    basis: Float[Array, "n k"]
    inverse: Float[Array, "n h"]

    def curvature(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """`H x`."""
        return self.dense.curvature(x)

    def rows(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """`C x`."""
        return self.dense.rows(x)

    def rows_transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        """`Cᵀ y`."""
        return self.dense.rows_transposed(y)

    def equalities(self, x: Float[Array, " n"]) -> Float[Array, " h"]:
        """`E x`."""
        return self.dense.equalities(x)

    def equalities_transposed(self, y: Float[Array, " h"]) -> Float[Array, " n"]:
        """`Eᵀ y`."""
        return self.dense.equalities_transposed(y)

    def factorise(self, weights: Float[Array, " m"], rho: Scalar, delta: Scalar) -> "NullSpaceFactors":
        """Factors of `Zᵀ(H + Cᵀ diag(weights) C + ρI)Z`."""
        dense, basis = self.dense, self.basis
        none = jnp.zeros((0, basis.shape[1]), basis.dtype)
        H = basis.T @ (dense.H @ basis)
        reduced = DenseModel(H, dense.G @ basis, none, basis if dense.is_bounded else None, dense.is_bounded)
        return NullSpaceFactors(self, weights, rho, reduced.factorise(weights, rho, delta))


class NullSpaceFactors(eqx.Module):
    """A factored model, without its equalities."""

    model: NullSpaceModel
    weights: Float[Array, " m"]
    rho: Scalar
    reduced: DenseFactors

    @property
    def is_definite(self) -> Array:
        """Whether the reduced matrix is positive definite."""
        return self.reduced.is_definite

    @property
    def pivot(self) -> Scalar:
        """The smallest pivot of the Cholesky factorisation."""
        return self.reduced.pivot

    def solve(self, right: Float[Array, " n"], level: Float[Array, " h"]) -> tuple[Array, Array]:
        """`dx = A⁺ level + Z dy`, and the `dν` that explains what is left of `right`."""
        model = self.model
        matrix = lambda x: model.curvature(x) + self.rho * x + model.rows_transposed(self.weights * model.rows(x))
        particular = model.inverse @ level
        dy, _ = self.reduced.solve(model.basis.T @ (right - matrix(particular)), level[:0])
        dx = particular + model.basis @ dy
        return dx, model.inverse.T @ (right - matrix(dx))


Model = DenseModel | NullSpaceModel


def model_at(program: FlatProgram, x: Array, ineq: Array, eq: Array, p: Any) -> Model:
    """The Hessian of the Lagrangian, the Jacobians, and how to solve with them.

    Args:
        program: the program.
        x, ineq, eq: decision and multipliers.
        p: the instance.
    """
    if program.quadratic is not None:
        data = program.quadratic(p)
        dense = DenseModel(data.Q, data.G, data.A, None, program.is_bounded)
        if program.rank is not None and 0 < program.rank < program.size:
            return NullSpaceModel(dense, *null_space(data.A, program.rank))
        return dense

    def both(x: Array) -> tuple[tuple[Array, Array], None]:
        (f, g, h), pull = jax.vjp(lambda x: program.functions(x, p), x)
        (slope,) = pull((jnp.ones_like(f), ineq, eq))
        return (jnp.concatenate([f[None], g, h]), slope), None

    _, push, _ = jax.linearize(both, x, has_aux=True)
    rows, hessian = columns(program, push, x)
    g = 1 + program.n_ineq
    return DenseModel(0.5 * (hessian + hessian.T), rows[:, 1:g].T, rows[:, g:].T, None, program.is_bounded)
